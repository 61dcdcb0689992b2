//! Finding logs.

use super::super::execution::refused;
use super::super::sealed::Sealed;
use super::Ledger;
use crate::evm::NodeError;
use crate::{Log, LogFilter, LogRange};

/// The most logs that one question is answered with.
const LOGS_MAX: usize = 10_000;
/// The most that they take as JSON: less than clients read, and more than one block of usual size can log.
const LOGS_BYTES_MAX: usize = 14 << 20;
/// What a log takes as JSON beside its data, of which each byte takes two.
const LOG_BYTES: usize = 800;
const TOO_MANY: i64 = -32005;

/// How much has been found.
#[derive(Default)]
pub(super) struct Found {
    logs: usize,
    bytes: usize,
}

impl Found {
    /// Counts one more.
    ///
    /// # Errors
    ///
    /// In geth's words: it is more than one answer holds.
    pub(super) fn add(&mut self, log: &Log) -> Result<(), NodeError> {
        self.logs += 1;
        self.bytes += LOG_BYTES + 2 * log.data.len();
        let (most, what) = match (self.logs > LOGS_MAX, self.bytes > LOGS_BYTES_MAX) {
            (true, _) => (LOGS_MAX, "results"),
            (_, true) => (LOGS_BYTES_MAX, "bytes"),
            _ => return Ok(()),
        };
        Err(NodeError {
            code: TOO_MANY,
            message: format!("query returned more than {most} {what}"),
            data: None,
        })
    }
}

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
        let blocks = numbers.filter_map(|number| self.numbered(number));
        let blocks = blocks.filter(|block| filter.may_match(&block.header.logs_bloom));
        let mut found = Found::default();
        let logs = blocks.flat_map(|block| matching(filter, block));
        logs.map(|log| found.add(&log).map(|()| log)).collect()
    }
}

fn matching(filter: &LogFilter, block: &Sealed) -> impl Iterator<Item = Log> {
    let logs = (0..block.included.len()).flat_map(|index| block.logs_of(index));
    logs.filter(|log| filter.matches(log))
}
