//! What contracts wrote down.

use std::ops::RangeInclusive;

use alloy_primitives::{B256, Bytes};
#[cfg(any(feature = "dev", feature = "http"))]
use alloy_primitives::{Bloom, BloomInput};

use crate::{Address, TxId};

/// An event that a contract logged.
///
/// Named for ever by its block's hash and its index in the block.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Log {
    /// The contract.
    pub address: Address,
    /// Up to four: by convention the event's signature hash, then its indexed fields.
    pub topics: Vec<B256>,
    /// The other fields, ABI-encoded.
    pub data: Bytes,
    /// The number of its block.
    pub block_number: u64,
    /// The hash of its block.
    pub block_hash: B256,
    /// The transaction that logged it.
    pub transaction: TxId,
    /// That transaction's index in the block.
    pub transaction_index: u64,
    /// Its own index among the block's logs.
    pub index: u64,
}

/// Which logs are wanted. The default is all of them.
///
/// ```
/// use peaberry_chain::LogFilter;
/// use peaberry_chain::primitives::B256;
///
/// let transfers = LogFilter::default().topic(0, B256::repeat_byte(0xdd));
/// assert!(transfers.addresses.is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// Logs of any of these contracts; of every contract if empty.
    pub addresses: Vec<Address>,
    /// For each place one of these topics; any, and also none, where empty.
    pub topics: [Vec<B256>; 4],
}

impl LogFilter {
    /// Also those of the contract `address`.
    #[must_use]
    pub fn address(mut self, address: impl Into<Address>) -> Self {
        self.addresses.push(address.into());
        self
    }

    /// Also those with `topic` at `place`.
    ///
    /// # Panics
    ///
    /// `place` is not 0 to 3: a log has four topics.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "documented to panic")]
    pub fn topic(mut self, place: usize, topic: B256) -> Self {
        self.topics[place].push(topic);
        self
    }

    /// Whether a block with this bloom may hold such a log. Most blocks need not be looked at.
    #[cfg(any(feature = "dev", feature = "http"))]
    pub(crate) fn may_match(&self, bloom: &Bloom) -> bool {
        let holds = |bytes: &[u8]| bloom.contains_input(BloomInput::Raw(bytes));
        let holds_address = |address: &Address| match address {
            Address::Evm(address) => holds(address.as_slice()),
            _ => false,
        };
        let is_address = self.addresses.is_empty() || self.addresses.iter().any(holds_address);
        let mut places = self.topics.iter();
        is_address
            && places.all(|wanted| {
                wanted.is_empty() || wanted.iter().any(|topic| holds(topic.as_slice()))
            })
    }

    /// Whether `log` is one of them: for chains and tests that filter themselves, and for answers not to be trusted.
    #[must_use]
    pub fn matches(&self, log: &Log) -> bool {
        let address = self.addresses.is_empty() || self.addresses.contains(&log.address);
        address
            && self.topics.iter().enumerate().all(|(place, wanted)| {
                wanted.is_empty()
                    || log
                        .topics
                        .get(place)
                        .is_some_and(|topic| wanted.contains(topic))
            })
    }
}

/// The blocks whose logs are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogRange {
    /// One block, by its hash: the only way that cannot mix two forks.
    Block(B256),
    /// Blocks by number on the chain as it is now. Nodes refuse ranges that they find too wide.
    Numbers(RangeInclusive<u64>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EvmAddress;

    #[test]
    fn a_filter_matches_by_contract_and_place() {
        let coffee = EvmAddress::repeat_byte(1);
        let log = Log {
            address: coffee.into(),
            topics: vec![B256::repeat_byte(1), B256::repeat_byte(2)],
            data: Bytes::new(),
            block_number: 1,
            block_hash: B256::ZERO,
            transaction: TxId::Evm(B256::ZERO),
            transaction_index: 0,
            index: 0,
        };
        let filter = LogFilter::default();
        assert!(filter.matches(&log));
        assert!(
            filter
                .clone()
                .address(coffee)
                .topic(1, B256::repeat_byte(2))
                .matches(&log)
        );
        assert!(
            filter
                .clone()
                .topic(0, B256::ZERO)
                .topic(0, B256::repeat_byte(1))
                .matches(&log)
        );
        assert!(!filter.clone().topic(0, B256::repeat_byte(2)).matches(&log));
        assert!(!filter.clone().topic(2, B256::repeat_byte(2)).matches(&log));
        assert!(!filter.address(EvmAddress::ZERO).matches(&log));
    }
}
