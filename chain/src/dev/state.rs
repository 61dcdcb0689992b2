//! Accounts and their storage at every height.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use alloy_consensus::TrieAccount;
use alloy_consensus::proofs::{state_root_unhashed, storage_root_unhashed};
use alloy_primitives::{Address, B256, Bytes, U256};
use revm::DatabaseRef;
use revm::bytecode::Bytecode;
use revm::state::{AccountInfo, EvmState};

/// An account at the end of a block, or of a transaction in the block to come.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    info: AccountInfo,
    storage_root: B256,
}

/// What a value was from which height on; ascending.
type History<T> = Vec<(u64, T)>;

/// Every account and slot with all its past, so that any height can be read and the newest ones undone.
#[derive(Debug, Default)]
pub(super) struct State {
    accounts: BTreeMap<Address, History<Option<Record>>>,
    slots: BTreeMap<(Address, U256), History<U256>>,
    // By their hash; code is never forgotten, so that a reorganisation may bring it back.
    codes: BTreeMap<B256, Bytecode>,
    // What was written at which height: what undoing it has to look at.
    written: BTreeMap<u64, Written>,
}

/// An account as it was before somebody set its balance.
#[derive(Debug)]
pub(super) struct Replaced {
    address: Address,
    pub(super) height: u64,
    record: Option<Record>,
}

#[derive(Debug, Default)]
struct Written {
    accounts: BTreeSet<Address>,
    slots: BTreeSet<(Address, U256)>,
}

fn at<T>(history: &History<T>, height: u64) -> Option<&T> {
    let later = match history.last() {
        Some((newest, _)) if *newest <= height => history.len(),
        _ => history.partition_point(|(written, _)| *written <= height),
    };
    history.get(later.checked_sub(1)?).map(|(_, value)| value)
}

fn write<T>(history: &mut History<T>, height: u64, value: T) {
    match history.last_mut() {
        Some((newest, held)) if *newest == height => *held = value,
        _ => history.push((height, value)),
    }
}

fn truncate<T>(history: &mut History<T>, height: u64) {
    while history.last().is_some_and(|(written, _)| *written > height) {
        history.pop();
    }
}

impl State {
    /// The accounts of the first block.
    pub(super) fn genesis(balances: &BTreeMap<Address, U256>) -> Self {
        let mut state = Self::default();
        for (&address, &balance) in balances {
            let info = AccountInfo::from_balance(balance);
            state.write_account(address, 0, Some(info));
        }
        state
    }

    pub(super) fn balance(&self, address: Address, height: u64) -> U256 {
        let record = self.record(address, height);
        record.map_or(U256::ZERO, |record| record.info.balance)
    }

    pub(super) fn nonce(&self, address: Address, height: u64) -> u64 {
        let record = self.record(address, height);
        record.map_or(0, |record| record.info.nonce)
    }

    pub(super) fn code(&self, address: Address, height: u64) -> Bytes {
        let record = self.record(address, height);
        let code = record.and_then(|record| self.codes.get(&record.info.code_hash));
        code.map_or_else(Bytes::new, Bytecode::original_bytes)
    }

    pub(super) fn slot(&self, address: Address, slot: U256, height: u64) -> U256 {
        let history = self.slots.get(&(address, slot));
        history
            .and_then(|history| at(history, height))
            .copied()
            .unwrap_or_default()
    }

    /// Writes what a transaction changed.
    pub(super) fn apply(&mut self, changes: EvmState, height: u64) {
        for (address, account) in changes {
            if !account.is_touched() {
                continue;
            }
            if account.is_selfdestructed() {
                self.destroy(address, height);
                continue;
            }
            for (slot, value) in account.changed_storage_slots() {
                self.write_slot(address, *slot, height, value.present_value());
            }
            if let Some(code) = &account.info.code
                && !code.is_empty()
            {
                self.codes.insert(account.info.code_hash, code.clone());
            }
            // An account of nothing is no account (EIP-161).
            let info = (!account.is_empty()).then_some(account.info);
            self.write_account(address, height, info);
        }
    }

    /// Gives an account this balance at the end of `height`, which must be the newest; what was there.
    pub(super) fn set_balance(&mut self, address: Address, height: u64, balance: U256) -> Replaced {
        let record = self.record(address, height).cloned();
        let info = record.as_ref().map(|record| record.info.clone());
        let info = AccountInfo {
            balance,
            ..info.unwrap_or_default()
        };
        let is_nothing = info.is_empty();
        self.write_account(address, height, (!is_nothing).then_some(info));
        Replaced {
            address,
            height,
            record,
        }
    }

    pub(super) fn put_back(&mut self, replaced: Replaced) {
        self.write_record(replaced.address, replaced.height, replaced.record);
    }

    /// Undoes everything above `height`.
    pub(super) fn rewind(&mut self, height: u64) {
        while let Some(newest) = self.written.last_entry() {
            if *newest.key() <= height {
                break;
            }
            let written = newest.remove();
            for address in written.accounts {
                if let Some(history) = self.accounts.get_mut(&address) {
                    truncate(history, height);
                }
            }
            for slot in written.slots {
                if let Some(history) = self.slots.get_mut(&slot) {
                    truncate(history, height);
                }
            }
        }
    }

    /// The root of the state as it is after everything written at `height`, which must be the newest.
    pub(super) fn root(&mut self, height: u64) -> B256 {
        self.renew_storage_roots(height);
        let accounts = self.accounts.iter().filter_map(|(address, history)| {
            let record = at(history, height)?.as_ref()?;
            Some((
                *address,
                TrieAccount {
                    nonce: record.info.nonce,
                    balance: record.info.balance,
                    storage_root: record.storage_root,
                    code_hash: record.info.code_hash,
                },
            ))
        });
        state_root_unhashed(accounts)
    }

    fn renew_storage_roots(&mut self, height: u64) {
        let Some(written) = self.written.get(&height) else {
            return;
        };
        let owners: BTreeSet<Address> = written.slots.iter().map(|(owner, _)| *owner).collect();
        for owner in owners {
            let slots = self.slots.range((owner, U256::ZERO)..=(owner, U256::MAX));
            let storage_root = storage_root_unhashed(slots.filter_map(|((_, slot), history)| {
                let value = at(history, height).filter(|value| !value.is_zero())?;
                Some((B256::from(*slot), *value))
            }));
            let Some(record) = self.record(owner, height).cloned() else {
                continue;
            };
            let renewed = Record {
                storage_root,
                ..record
            };
            self.write_record(owner, height, Some(renewed));
        }
    }

    fn record(&self, address: Address, height: u64) -> Option<&Record> {
        at(self.accounts.get(&address)?, height)?.as_ref()
    }

    fn destroy(&mut self, address: Address, height: u64) {
        let range = (address, U256::ZERO)..=(address, U256::MAX);
        let slots: Vec<U256> = self
            .slots
            .range(range)
            .map(|((_, slot), _)| *slot)
            .collect();
        for slot in slots {
            self.write_slot(address, slot, height, U256::ZERO);
        }
        self.write_account(address, height, None);
    }

    fn write_account(&mut self, address: Address, height: u64, info: Option<AccountInfo>) {
        let known_root = self
            .record(address, height)
            .map(|record| record.storage_root);
        let record = info.map(|info| Record {
            info: AccountInfo { code: None, ..info },
            storage_root: known_root.unwrap_or(alloy_consensus::EMPTY_ROOT_HASH),
        });
        self.write_record(address, height, record);
    }

    fn write_record(&mut self, address: Address, height: u64, record: Option<Record>) {
        write(self.accounts.entry(address).or_default(), height, record);
        let written = self.written.entry(height).or_default();
        written.accounts.insert(address);
    }

    fn write_slot(&mut self, address: Address, slot: U256, height: u64, value: U256) {
        write(
            self.slots.entry((address, slot)).or_default(),
            height,
            value,
        );
        let written = self.written.entry(height).or_default();
        written.slots.insert((address, slot));
    }
}

/// The state at one height, as the EVM reads it.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) state: &'a State,
    pub(super) height: u64,
    /// The hash of each block so far.
    pub(super) hashes: &'a dyn BlockHashes,
}

/// Who knows the hashes of blocks.
pub(super) trait BlockHashes {
    /// Of the block `number`, if there is one.
    fn hash(&self, number: u64) -> Option<B256>;
}

impl DatabaseRef for View<'_> {
    type Error = Infallible;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        let record = self.state.record(address, self.height);
        Ok(record.map(|record| record.info.clone()))
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, Infallible> {
        Ok(self
            .state
            .codes
            .get(&code_hash)
            .cloned()
            .unwrap_or_default())
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, Infallible> {
        Ok(self.state.slot(address, slot, self.height))
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Infallible> {
        Ok(self.hashes.hash(number).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_are_read_apart_and_undone() {
        let address = Address::repeat_byte(1);
        let mut state = State::genesis(&BTreeMap::from([(address, U256::from(5))]));
        let genesis_root = state.root(0);
        state.write_account(address, 1, Some(AccountInfo::from_balance(U256::from(7))));
        state.write_slot(address, U256::ONE, 2, U256::from(9));
        let (first, second) = (state.root(1), state.root(2));
        assert_eq!(state.balance(address, 0), U256::from(5));
        assert_eq!(state.balance(address, 1), U256::from(7));
        assert_eq!(state.slot(address, U256::ONE, 1), U256::ZERO);
        assert_eq!(state.slot(address, U256::ONE, 2), U256::from(9));
        assert!(genesis_root != first && first != second);

        state.rewind(0);
        assert_eq!(state.balance(address, 2), U256::from(5));
        assert_eq!(state.slot(address, U256::ONE, 2), U256::ZERO);
        assert_eq!(state.root(0), genesis_root);
    }
}
