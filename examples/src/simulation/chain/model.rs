//! A model of an EVM chain: blocks, forks, a mempool by geth's rules, receipts and logs. No gas, no state but nonces.

use std::collections::{BTreeMap, BTreeSet};

use peaberry_chain::primitives::{Address, B256, Bytes, U256, keccak256};
use peaberry_chain::{Block, Log, TxId};

const BLOCK_TRANSACTIONS_MAX: usize = 5;
pub(super) const TIP: u128 = 2;
/// What nodes say of transactions that they never take.
pub(super) const REFUSAL: &str = "the rules of this node forbid it";

/// A transaction, as its bytes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transaction {
    pub(super) from: Address,
    pub(super) nonce: u64,
    pub(super) fee_max: u128,
    pub(super) tip: u128,
    pub(super) gas: u64,
    /// What it is for; zero for those that carry nothing.
    pub(super) payload: u64,
    pub(super) hash: B256,
}

impl Transaction {
    /// Its bytes; `salt` is what differs between two signatures.
    pub(super) fn encode(
        from: Address,
        nonce: u64,
        fees: (u128, u128),
        gas: u64,
        payload: u64,
        salt: u64,
    ) -> Bytes {
        let mut raw = from.to_vec();
        raw.extend(nonce.to_be_bytes());
        raw.extend(fees.0.to_be_bytes());
        raw.extend(fees.1.to_be_bytes());
        raw.extend(gas.to_be_bytes());
        raw.extend(payload.to_be_bytes());
        raw.extend(salt.to_be_bytes());
        raw.into()
    }

    pub(super) fn decode(raw: &[u8]) -> Option<Self> {
        let (from, rest) = raw.split_first_chunk::<20>()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let (fee_max, rest) = rest.split_first_chunk()?;
        let (tip, rest) = rest.split_first_chunk()?;
        let (gas, rest) = rest.split_first_chunk()?;
        let payload = rest.first_chunk()?;
        Some(Self {
            from: Address::from(*from),
            nonce: u64::from_be_bytes(*nonce),
            fee_max: u128::from_be_bytes(*fee_max),
            tip: u128::from_be_bytes(*tip),
            gas: u64::from_be_bytes(*gas),
            payload: u64::from_be_bytes(*payload),
            hash: keccak256(raw),
        })
    }

    /// Whether no node takes it, ever.
    pub(super) fn is_refused(&self) -> bool {
        is_refused(self.payload) || !(GAS_MIN..=GAS_MAX).contains(&self.gas)
    }

    /// Whether nothing comes of it but its cost.
    pub(super) const fn is_undone(&self) -> bool {
        is_undone(self.payload) || self.gas < gas_for(self.payload)
    }

    /// What the contract says that undoes it; `None` of what ran out of gas.
    pub(super) fn reason(&self) -> Option<String> {
        is_undone(self.payload).then(|| format!("no beans for {}", self.payload))
    }
}

/// What every transaction takes, and the most that there is room for in a block.
pub(super) const GAS_MIN: u64 = 21_000;
const GAS_MAX: u64 = 30_000_000;

/// What a transaction with this payload takes.
pub(super) const fn gas_for(payload: u64) -> u64 {
    if payload % 6 == 3 { 50_000 } else { GAS_MIN }
}

/// Whether no node takes a transaction with this payload, ever.
pub(super) const fn is_refused(payload: u64) -> bool {
    payload != 0 && payload.is_multiple_of(17)
}

/// Whether a contract undoes what has this payload.
pub(super) const fn is_undone(payload: u64) -> bool {
    payload != 0 && payload.is_multiple_of(19)
}

/// A block with what is in it, and every account's nonce behind it.
#[derive(Clone, Debug)]
pub(super) struct Sealed {
    pub(super) block: Block,
    pub(super) transactions: Vec<Transaction>,
    pub(super) nonces: BTreeMap<Address, u64>,
}

impl Sealed {
    pub(super) fn nonce(&self, account: Address) -> u64 {
        self.nonces.get(&account).copied().unwrap_or(0)
    }

    /// What an account has behind it: less with each transaction.
    pub(super) fn balance(&self, account: Address) -> U256 {
        U256::from(1_000_000_000 - self.nonce(account))
    }

    /// The code of each address is its own.
    pub(super) fn code(&self, address: Address) -> Bytes {
        Bytes::copy_from_slice(address.as_slice())
    }

    /// What a contract answers that is asked where it is.
    pub(super) fn called(&self) -> Bytes {
        Bytes::copy_from_slice(self.block.hash.as_slice())
    }

    pub(super) fn logs(&self) -> Vec<Log> {
        let paying = self.transactions.iter().enumerate();
        let paying = paying.filter(|(_, one)| one.payload > 0 && !one.is_undone());
        paying
            .map(|(index, transaction)| Log {
                address: Address::repeat_byte(0xc0).into(),
                topics: vec![B256::left_padding_from(&transaction.payload.to_be_bytes())],
                data: Bytes::new(),
                block_number: self.block.number,
                block_hash: self.block.hash,
                transaction: TxId::Evm(transaction.hash),
                transaction_index: index as u64,
                index: index as u64,
            })
            .collect()
    }
}

/// What waits for a block.
pub(super) type Pool = BTreeMap<(Address, u64), Transaction>;

/// The first nonce from `nonce` on that does not wait.
pub(super) fn first_free(pool: &Pool, account: Address, nonce: u64) -> u64 {
    let mut nonces = nonce..;
    let free = nonces.find(|nonce| !pool.contains_key(&(account, *nonce)));
    free.unwrap_or(u64::MAX)
}

/// Why the mempool does not take a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejection {
    NonceTooLow,
    Underpriced,
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) chain: Vec<Sealed>,
    pub(super) forks: BTreeMap<B256, Sealed>,
    pub(super) pool: Pool,
    pub(super) base_fee: u128,
    /// The highest that it ever was.
    pub(super) base_fee_max: u128,
    /// Who cannot pay now.
    pub(super) broke: Option<Address>,
    /// Mempools take nothing now.
    pub(super) is_full: bool,
    /// Final is what lies under so many blocks.
    pub(super) finality: u64,
    sealed_count: u64,
    /// What honest nodes have taken, ever.
    pub(super) taken: BTreeSet<B256>,
    /// The highest block that was ever final: nothing below it is reorganised.
    final_number: u64,
    pub(super) was_included: BTreeMap<B256, Transaction>,
}

impl Model {
    pub(super) fn new(finality: u64) -> Self {
        let mut model = Self {
            chain: Vec::new(),
            forks: BTreeMap::new(),
            pool: BTreeMap::new(),
            base_fee: 100,
            base_fee_max: 100,
            broke: None,
            is_full: false,
            finality,
            sealed_count: 0,
            taken: BTreeSet::new(),
            final_number: 0,
            was_included: BTreeMap::new(),
        };
        model.seal(Vec::new());
        model
    }

    pub(super) fn set_base_fee(&mut self, base_fee: u128) {
        self.base_fee = base_fee;
        self.base_fee_max = self.base_fee_max.max(base_fee);
    }

    pub(super) fn tip(&self) -> u64 {
        self.chain.len() as u64 - 1
    }

    pub(super) fn sealed(&self, number: u64) -> Option<&Sealed> {
        self.chain.get(usize::try_from(number).ok()?)
    }

    pub(super) fn nonce(&self, account: Address) -> u64 {
        self.chain.last().map_or(0, |sealed| sealed.nonce(account))
    }

    /// The first nonce that is neither used nor waiting.
    pub(super) fn pending_nonce(&self, account: Address) -> u64 {
        first_free(&self.pool, account, self.nonce(account))
    }

    pub(super) fn submit(&mut self, transaction: Transaction) -> Result<(), Rejection> {
        if transaction.nonce < self.nonce(transaction.from) {
            return Err(Rejection::NonceTooLow);
        }
        let place = (transaction.from, transaction.nonce);
        if let Some(waiting) = self.pool.get(&place)
            && waiting.hash != transaction.hash
        {
            let is_more = |new: u128, old: u128| {
                new.saturating_mul(10) >= old.saturating_mul(11) && new > old
            };
            if !is_more(transaction.fee_max, waiting.fee_max)
                || !is_more(transaction.tip, waiting.tip)
            {
                return Err(Rejection::Underpriced);
            }
        }
        self.pool.insert(place, transaction);
        Ok(())
    }

    /// A block of what waits and pays enough, in order of nonces.
    pub(super) fn mine(&mut self) {
        let mut chosen = Vec::new();
        let mut nonces: BTreeMap<Address, u64> = BTreeMap::new();
        for ((from, nonce), transaction) in &self.pool {
            let next = nonces.entry(*from).or_insert_with(|| {
                let newest = self.chain.last();
                newest.map_or(0, |sealed| sealed.nonces.get(from).copied().unwrap_or(0))
            });
            let fits = chosen.len() < BLOCK_TRANSACTIONS_MAX;
            if fits && *nonce == *next && transaction.fee_max > self.base_fee {
                *next += 1;
                chosen.push(transaction.clone());
            }
        }
        self.seal(chosen);
    }

    pub(super) fn seal(&mut self, transactions: Vec<Transaction>) {
        let parent = self.chain.last();
        let mut nonces = parent
            .map(|sealed| sealed.nonces.clone())
            .unwrap_or_default();
        let parent = parent.map(|sealed| sealed.block);
        for transaction in &transactions {
            nonces.insert(transaction.from, transaction.nonce + 1);
        }
        self.pool
            .retain(|(from, nonce), _| nonces.get(from).is_none_or(|next| nonce >= next));
        let sealed = self.make(parent, transactions, nonces);
        let number = sealed.block.number;
        self.chain.push(sealed);
        self.final_number = self.final_number.max(number.saturating_sub(self.finality));
    }

    /// A block on a fork that is not the chain.
    pub(super) fn seal_on(
        &mut self,
        parent: Block,
        transactions: Vec<Transaction>,
        nonces: BTreeMap<Address, u64>,
    ) -> Sealed {
        self.make(Some(parent), transactions, nonces)
    }

    fn make(
        &mut self,
        parent: Option<Block>,
        transactions: Vec<Transaction>,
        nonces: BTreeMap<Address, u64>,
    ) -> Sealed {
        for transaction in &transactions {
            self.was_included
                .insert(transaction.hash, transaction.clone());
        }
        self.sealed_count += 1;
        let number = parent.map_or(0, |parent| parent.number + 1);
        let parent = parent.map_or(B256::ZERO, |parent| parent.hash);
        let mut seed = parent.to_vec();
        seed.extend(self.sealed_count.to_be_bytes());
        let sealed = Sealed {
            block: Block {
                number,
                hash: keccak256(seed),
                parent,
                timestamp_s: number,
            },
            transactions,
            nonces,
        };
        self.forks.insert(sealed.block.hash, sealed.clone());
        sealed
    }

    /// Whether this block is on the chain to stay.
    pub(super) fn is_final(&self, sealed: &Sealed) -> bool {
        let there = self.sealed(sealed.block.number);
        sealed.block.number <= self.final_number
            && there.is_some_and(|there| there.block.hash == sealed.block.hash)
    }

    /// How deep a reorganisation may be.
    pub(super) fn depth_max(&self) -> u64 {
        self.tip() - self.final_number
    }

    /// Undoes `depth` blocks and makes one more others; `keep` says whose transactions wait again.
    pub(super) fn reorganise(
        &mut self,
        depth: u64,
        mut keep: impl FnMut(&Transaction) -> bool,
        mut is_empty: impl FnMut() -> bool,
    ) {
        let from = self.chain.len() - usize::try_from(depth).unwrap_or(0);
        for sealed in self.chain.split_off(from) {
            for transaction in sealed.transactions {
                if keep(&transaction) {
                    self.pool
                        .entry((transaction.from, transaction.nonce))
                        .or_insert(transaction);
                }
            }
        }
        for _ in 0..=depth {
            if is_empty() {
                self.seal(Vec::new());
            } else {
                self.mine();
            }
        }
    }

    /// Where a transaction is on the chain up to the block `tip`.
    pub(super) fn find(&self, hash: B256, tip: u64) -> Option<(&Sealed, &Transaction)> {
        // Without a search for what was never included anywhere.
        self.was_included.get(&hash)?;
        find(&self.chain, hash, tip)
    }

    /// Whether what carries no intent has used this nonce, in a block that is final: another wallet's transaction, or a filler
    /// that was given up.
    pub(super) fn is_used_for_nothing(&self, account: Address, nonce: u64) -> bool {
        let all = self.chain.iter().filter(|sealed| self.is_final(sealed));
        let mut all = all.flat_map(|sealed| &sealed.transactions);
        let found = all.find(|one| one.from == account && one.nonce == nonce);
        found.is_some_and(|found| found.payload == 0)
    }

    /// How often `payload` is on the chain.
    pub(super) fn count(&self, payload: u64) -> usize {
        let all = self.chain.iter().flat_map(|sealed| &sealed.transactions);
        all.filter(|transaction| transaction.payload == payload)
            .count()
    }
}

/// Where a transaction is on `chain` up to the block `tip`.
pub(super) fn find(chain: &[Sealed], hash: B256, tip: u64) -> Option<(&Sealed, &Transaction)> {
    let seen = chain.iter().take(usize::try_from(tip).ok()? + 1);
    seen.rev().find_map(|sealed| {
        let found = sealed.transactions.iter().find(|one| one.hash == hash)?;
        Some((sealed, found))
    })
}
