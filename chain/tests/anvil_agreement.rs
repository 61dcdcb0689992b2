//! The same transactions on this crate's development chain and on Anvil give the same blocks, gas, receipts, logs,
//! traces and balances.
//!
//! Several transactions share a block, some in the wrong order of their nonces, and some take the place of others in the
//! mempool. Where Anvil's rules are laxer than geth's, what depends on these is not asked of it: it takes replacements
//! that pay only 5 % more, so these pay an eighth more or nothing more; it orders a block by the most that is offered and
//! not by the tip, so here both rise together; and it takes tips of zero. Its second block has the base fee of its first,
//! so that one is told.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as loudly as the test"
)]

mod dice;
mod node;

use std::collections::BTreeSet;

use dice::Dice;
use node::{Called, Node};
use peaberry_chain::bindings::{CoffeeToken, SolCall, creation};
use peaberry_chain::dev::DevOptions;
use peaberry_chain::evm::{EvmRpc, FeeHistory, Fees, Transaction};
use peaberry_chain::primitives::{Address, B256, Bytes, U256, keccak256};
use peaberry_chain::wallet::EvmKey;
use peaberry_chain::{BlockAt, ChainError, ChainId, LogFilter, LogRange};
use serde_json::Value;

const TRANSACTIONS: usize = 200;
const AT_ONCE: u64 = 6;
const BLOCK_TIME_S: u64 = 12;
const GWEI: u128 = 1_000_000_000;
const ACCOUNTS: usize = 4;

struct Player {
    keys: Vec<EvmKey>,
    nonces: Vec<u64>,
    dice: Dice,
    tokens: Vec<Address>,
    /// What those of this block offer: no two the same, or each node would order them to its own taste.
    ranks: BTreeSet<u64>,
}

impl Player {
    fn address(&self, who: usize) -> Address {
        self.keys[who].evm_address()
    }

    /// What is offered rises together: the most for a unit of gas, and the tip in it.
    fn fees(&mut self) -> Fees {
        let rank = loop {
            let rank = self.dice.roll(1000);
            if self.ranks.insert(rank) {
                break u128::from(rank);
            }
        };
        match self.dice.roll(3) {
            0 => Fees::Legacy {
                gas_price: 1000 * GWEI + rank * GWEI,
            },
            _ => {
                let tip_max = GWEI + rank * GWEI / 1000;
                let fee_max = 10 * tip_max;
                Fees::Eip1559 { fee_max, tip_max }
            }
        }
    }

    /// A transaction that nobody expects anything of: some pay, some deploy, some fail in every way.
    fn next(&mut self, who: usize) -> Transaction {
        let other = self.dice.place(ACCOUNTS);
        let other = self.address(other);
        let amount = U256::from(self.dice.roll(1000));
        let order = B256::from(U256::from(self.dice.roll(8)));
        let mut transaction = Transaction {
            chain: ChainId::evm(31_337),
            nonce: self.nonces[who],
            gas_limit: 400_000,
            fees: self.fees(),
            to: Some(other),
            value: U256::ZERO,
            data: Bytes::new(),
        };
        let token = self.tokens.last().copied();
        match (self.dice.roll(12), token) {
            (0, _) | (_, None) => {
                let constructor = CoffeeToken::constructorCall {
                    name_: "Coffee".into(),
                    symbol_: "CFE".into(),
                    cap_: U256::from(1_000_000),
                    pointsPerToken_: U256::from(10).pow(U256::from(18)),
                    admin: self.address(who),
                };
                transaction.to = None;
                transaction.data = creation(&CoffeeToken::BYTECODE, &constructor);
                transaction.gas_limit = 3_000_000;
                self.tokens.push(self.address(who).create(self.nonces[who]));
            }
            (1..=2, _) => {
                transaction.value = amount;
                transaction.gas_limit = 21_000;
            }
            // Too little gas to finish.
            (3, Some(token)) => {
                transaction.to = Some(token);
                transaction.gas_limit = 25_000 + self.dice.roll(30_000);
                let value = amount;
                let call = CoffeeToken::transferCall { to: other, value };
                transaction.data = call.abi_encode().into();
            }
            // An invalid instruction, in a constructor.
            (4, _) => {
                transaction.to = None;
                transaction.data = vec![0xfe].into();
            }
            (_, Some(token)) => {
                transaction.to = Some(token);
                transaction.data = self.call_of_token(who, other, amount, order);
            }
        }
        self.nonces[who] += 1;
        transaction
    }

    fn call_of_token(&mut self, who: usize, other: Address, amount: U256, order: B256) -> Bytes {
        let call = match self.dice.roll(7) {
            0..=1 => CoffeeToken::grantRoleCall {
                role: keccak256("MINTER_ROLE"),
                account: other,
            }
            .abi_encode(),
            2..=3 => CoffeeToken::mintCall { to: other, amount }.abi_encode(),
            4 => {
                let amount = amount / U256::from(9);
                CoffeeToken::burnCall { amount }.abi_encode()
            }
            _ => CoffeeToken::processPaymentCall {
                from: self.address(who),
                to: other,
                amount: amount / U256::from(5),
                orderId: order,
            }
            .abi_encode(),
        };
        call.into()
    }
}

/// An eighth more of everything.
fn outbid(fees: Fees) -> Fees {
    let more = |price: u128| price + price / 8;
    match fees {
        Fees::Legacy { gas_price } => Fees::Legacy {
            gas_price: more(gas_price),
        },
        Fees::Eip1559 { fee_max, tip_max } => Fees::Eip1559 {
            fee_max: more(fee_max),
            tip_max: more(tip_max),
        },
    }
}

/// Both nodes, told the same.
struct Pair {
    nodes: [Node; 2],
    replaced: usize,
    underbid: usize,
}

impl Pair {
    /// Both take it, or both refuse it for the same reason.
    async fn offer(
        &self,
        player: &Player,
        who: usize,
        transaction: &Transaction,
    ) -> Result<B256, ChainError> {
        let signed = transaction.sign(&player.keys[who]).await.unwrap();
        let [ours, theirs] = &self.nodes;
        let ours = ours.rpc.broadcast(signed.raw()).await;
        let theirs = theirs.rpc.broadcast(signed.raw()).await;
        assert_eq!(
            ours.as_ref().map_err(std::mem::discriminant),
            theirs.as_ref().map_err(std::mem::discriminant),
            "{ours:?} and {theirs:?}"
        );
        ours
    }

    /// A block's transactions; what is in it, in the order in which it was offered.
    async fn round(&mut self, player: &mut Player) -> Vec<B256> {
        player.ranks.clear();
        let mut transactions = Vec::new();
        for _ in 0..=player.dice.roll(AT_ONCE) {
            let who = player.dice.place(ACCOUNTS);
            transactions.push((who, player.next(who)));
        }
        // Whoever comes too early waits in the gap queue.
        if player.dice.roll(3) == 0 {
            transactions.reverse();
        }
        let mut sent = Vec::new();
        for (who, mut transaction) in transactions {
            let mut hash = self.offer(player, who, &transaction).await.unwrap();
            if player.dice.roll(4) == 0 {
                transaction.value += U256::ONE;
                let refused = self.offer(player, who, &transaction).await;
                assert!(matches!(refused, Err(ChainError::ReplacementUnderpriced)));
                self.underbid += 1;
            }
            if player.dice.roll(4) == 0 {
                transaction.fees = outbid(transaction.fees);
                hash = self.offer(player, who, &transaction).await.unwrap();
                self.replaced += 1;
            }
            sent.push(hash);
        }
        sent
    }

    async fn compare_transaction(&self, hash: B256) -> peaberry_chain::evm::Receipt {
        let [ours, theirs] = &self.nodes;
        let receipt = ours.rpc.receipt(hash).await.unwrap().unwrap();
        let mut their_receipt = theirs.rpc.receipt(hash).await.unwrap().unwrap();
        // Their headers differ from ours (what is random, what is extra): hashes of blocks name different blocks.
        their_receipt.block_hash = receipt.block_hash;
        for log in &mut their_receipt.logs {
            log.block_hash = receipt.block_hash;
        }
        assert_eq!(receipt, their_receipt);
        let raw =
            async |node: &Node| -> Value { node.ask("eth_getTransactionReceipt", (hash,)).await };
        let [raw, their_raw] = [raw(ours).await, raw(theirs).await];
        assert_eq!(told(raw), told(their_raw));
        let [trace, their_trace] = [ours.trace(hash).await, theirs.trace(hash).await];
        assert_eq!(
            Called::read(&trace),
            Called::read(&their_trace),
            "{trace:#} and {their_trace:#}"
        );
        receipt
    }

    async fn compare_account(&self, account: Address, at: BlockAt) {
        let [ours, theirs] = [&self.nodes[0].rpc, &self.nodes[1].rpc];
        assert_eq!(
            ours.balance(account, at).await.unwrap(),
            theirs.balance(account, at).await.unwrap()
        );
        assert_eq!(
            ours.nonce(account, at).await.unwrap(),
            theirs.nonce(account, at).await.unwrap()
        );
        assert_eq!(
            ours.code(account, at).await.unwrap(),
            theirs.code(account, at).await.unwrap()
        );
    }
}

/// All fields of a receipt that both nodes have, down to bloom and type, but for what names a block's hash.
fn told(mut receipt: Value) -> Value {
    let forget = |fields: &mut Value, names: &[&str]| {
        let fields = fields.as_object_mut().expect("a receipt is there");
        fields.retain(|name, _| !names.contains(&name.as_str()));
    };
    forget(
        &mut receipt,
        &["blockHash", "blockTimestamp", "blobGasPrice"],
    );
    for log in receipt["logs"].as_array_mut().expect("it has its logs") {
        forget(log, &["blockHash", "blockTimestamp"]);
    }
    for field in ["cumulativeGasUsed", "logsBloom", "type"] {
        assert!(receipt[field].is_string(), "{field}");
    }
    receipt
}

#[tokio::test]
async fn the_same_transactions_do_the_same_on_anvil() {
    let keys: Vec<EvmKey> = (1..=ACCOUNTS)
        .map(|seed| EvmKey::from_bytes(&[u8::try_from(seed).unwrap(); 32]).unwrap())
        .collect();
    let options = keys.iter().fold(DevOptions::default(), |options, key| {
        options.fund(key.evm_address())
    });
    let Some(anvil) = Node::anvil(&options).await else {
        return;
    };
    // From there on both follow EIP-1559.
    let second = U256::from(options.base_fee / 8 * 7);
    let _: Value = anvil
        .ask("anvil_setNextBlockBaseFeePerGas", (second,))
        .await;
    let genesis_s = options.genesis_timestamp_s;
    let mut pair = Pair {
        nodes: [Node::dev(options), anvil],
        replaced: 0,
        underbid: 0,
    };
    let mut player = Player {
        keys,
        nonces: vec![0; ACCOUNTS],
        dice: Dice(4),
        tokens: Vec::new(),
        ranks: BTreeSet::new(),
    };

    let mut sent = Vec::new();
    let (mut blocks, mut crowded) = (0, 0);
    while sent.len() < TRANSACTIONS {
        let round = pair.round(&mut player).await;
        blocks += 1;
        for node in &pair.nodes {
            node.mine_at(genesis_s + blocks * BLOCK_TIME_S).await;
        }
        crowded += u64::from(round.len() > 1);
        sent.extend(round);
    }

    let (mut failed, mut created, mut logged) = (0, 0, 0);
    for hash in &sent {
        let receipt = pair.compare_transaction(*hash).await;
        failed += u64::from(!receipt.is_success);
        created += u64::from(receipt.contract.is_some());
        logged += receipt.logs.len();
    }
    let Pair {
        replaced, underbid, ..
    } = pair;
    println!(
        "{} transactions in {blocks} blocks, {crowded} of them with several; {replaced} replaced and {underbid} \
         underbid; {failed} failed, {created} creations, {logged} logs",
        sent.len()
    );
    assert!(
        failed > 20
            && created > 10
            && logged > 20
            && crowded > 20
            && replaced > 20
            && underbid > 20,
        "the dice were one-sided"
    );

    let players = player.keys.iter().map(EvmKey::evm_address);
    for account in players
        .chain(player.tokens.iter().copied())
        .chain([Address::ZERO])
    {
        for at in [BlockAt::Number(blocks / 2), BlockAt::Latest] {
            pair.compare_account(account, at).await;
        }
    }
    let [ours, theirs] = [&pair.nodes[0].rpc, &pair.nodes[1].rpc];
    let base_fees = |history: FeeHistory| history.base_fees;
    assert_eq!(
        base_fees(ours.fee_history(20, &[]).await.unwrap()),
        base_fees(theirs.fee_history(20, &[]).await.unwrap())
    );
    let all = LogRange::Numbers(0..=blocks);
    let ours = ours.logs(&LogFilter::default(), &all).await.unwrap();
    let theirs = theirs.logs(&LogFilter::default(), &all).await.unwrap();
    let strip = |logs: &[peaberry_chain::Log]| -> Vec<_> {
        let logs = logs.iter();
        logs.map(|log| {
            (
                log.transaction,
                log.index,
                log.topics.clone(),
                log.data.clone(),
            )
        })
        .collect()
    };
    assert_eq!(strip(&ours), strip(&theirs));
}
