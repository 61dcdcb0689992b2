//! Finding logs.

use alloy_primitives::{Bloom, BloomInput};

use super::super::execution::refused;
use super::super::sealed::Sealed;
use super::Ledger;
use crate::evm::NodeError;
use crate::{Address, Log, LogFilter, LogRange};

/// The most logs that one question is answered with.
pub(in super::super) const LOGS_MAX: usize = 10_000;
const TOO_MANY: i64 = -32005;

impl Ledger {
    pub(in super::super) fn logs(
        &self,
        filter: &LogFilter,
        range: &LogRange,
    ) -> Result<Vec<Log>, NodeError> {
        let numbers = match range {
            LogRange::Block(hash) => {
                let block = self.hashed(*hash).ok_or_else(|| refused("unknown block"))?;
                block.header.number..=block.header.number
            }
            LogRange::Numbers(numbers) if numbers.is_empty() => {
                return Err(refused("invalid block range params"));
            }
            LogRange::Numbers(numbers) => *numbers.start()..=(*numbers.end()).min(self.height()),
        };
        let mut found = Vec::new();
        for block in numbers.filter_map(|number| self.numbered(number)) {
            if may_match(filter, &block.header.logs_bloom) {
                found.extend(matching(filter, block));
            }
            if found.len() > LOGS_MAX {
                return Err(NodeError {
                    code: TOO_MANY,
                    message: format!("query returned more than {LOGS_MAX} results"),
                    data: None,
                });
            }
        }
        Ok(found)
    }
}

fn matching(filter: &LogFilter, block: &Sealed) -> impl Iterator<Item = Log> {
    let logs = (0..block.included.len()).flat_map(|index| block.logs_of(index));
    logs.filter(|log| filter.matches(log))
}

/// Whether a block with this bloom may hold such a log. Most blocks need not be looked at.
fn may_match(filter: &LogFilter, bloom: &Bloom) -> bool {
    let holds = |bytes: &[u8]| bloom.contains_input(BloomInput::Raw(bytes));
    let holds_address = |address: &Address| match address {
        Address::Evm(address) => holds(address.as_slice()),
        _ => false,
    };
    let is_address = filter.addresses.is_empty() || filter.addresses.iter().any(holds_address);
    is_address
        && filter
            .topics
            .iter()
            .all(|wanted| wanted.is_empty() || wanted.iter().any(|topic| holds(topic.as_slice())))
}
