//! What has come since somebody asked last: filters that stay on the node.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use alloy_primitives::B256;

use super::super::execution::refused;
use super::super::sealed::Sealed;
use super::Ledger;
use super::logs::Found;
use crate::evm::NodeError;
use crate::{Log, LogFilter, LogRange};

/// The most at once: the one that nobody has asked for longest makes room.
const FILTERS_MAX: usize = 256;
/// What has happened is kept so far back. A filter that is asked more rarely is forgotten, and whoever asks for it is told so.
const EVENTS_MAX: usize = 16_384;

/// What a filter tells of.
#[derive(Clone, Debug)]
pub(in super::super) enum Watched {
    /// Hashes of new blocks.
    Blocks,
    /// Hashes of transactions that have come into the mempool.
    Waiting,
    /// Logs, of blocks of these numbers; open at an end that is not named.
    Logs {
        filter: LogFilter,
        from: Option<u64>,
        to: Option<u64>,
    },
}

/// What has come.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum News {
    Hashes(Vec<B256>),
    /// Each with whether it was undone.
    Logs(Vec<(Log, bool)>),
}

#[derive(Debug, Default)]
pub(super) struct Filters {
    open: BTreeMap<u64, Filter>,
    last: u64,
    /// Counts what is asked: the clock of forgetting.
    asked: u64,
    events: VecDeque<Event>,
    /// How many events have gone from the front.
    gone: u64,
}

#[derive(Debug)]
struct Filter {
    watched: Watched,
    /// The first event that it has not told.
    next: u64,
    asked: u64,
}

#[derive(Debug)]
enum Event {
    Added { hash: B256, number: u64 },
    Undone { hash: B256, logs: Vec<Log> },
    Waiting(B256),
}

impl Filters {
    fn happen(&mut self, event: impl FnOnce() -> Event) {
        // Where nobody asks nothing is kept.
        if self.open.is_empty() {
            return;
        }
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
            self.gone += 1;
        }
        self.events.push_back(event());
    }

    pub(super) fn added(&mut self, block: &Sealed) {
        let (hash, number) = (block.hash, block.header.number);
        self.happen(|| Event::Added { hash, number });
    }

    pub(super) fn undone(&mut self, block: &Sealed) {
        self.happen(|| {
            let logs = (0..block.included.len()).flat_map(|index| block.logs_of(index));
            Event::Undone {
                hash: block.hash,
                logs: logs.collect(),
            }
        });
    }

    pub(super) fn waits(&mut self, hash: B256) {
        self.happen(|| Event::Waiting(hash));
    }

    fn end(&self) -> u64 {
        self.gone + self.events.len() as u64
    }

    fn since(&self, next: u64) -> impl Iterator<Item = &Event> {
        let told = usize::try_from(next - self.gone).unwrap_or(usize::MAX);
        self.events.iter().skip(told)
    }

    /// The filter, which somebody asks for now.
    fn find(&mut self, number: u64) -> Result<(Watched, u64), NodeError> {
        self.asked += 1;
        let (asked, gone) = (self.asked, self.gone);
        let found = self.open.get_mut(&number).filter(|one| one.next >= gone);
        let Some(filter) = found else {
            self.open.remove(&number);
            return Err(refused("filter not found"));
        };
        filter.asked = asked;
        Ok((filter.watched.clone(), filter.next))
    }
}

impl Ledger {
    /// Makes a filter of what comes from now on; the number to ask for it by.
    pub(in super::super) fn watch_for(&mut self, watched: Watched) -> u64 {
        let filters = &mut self.filters;
        if filters.open.len() >= FILTERS_MAX {
            let oldest = filters.open.iter().min_by_key(|(_, one)| one.asked);
            if let Some(oldest) = oldest.map(|(number, _)| *number) {
                filters.open.remove(&oldest);
            }
        }
        filters.last += 1;
        filters.asked += 1;
        let filter = Filter {
            watched,
            next: filters.end(),
            asked: filters.asked,
        };
        filters.open.insert(filters.last, filter);
        filters.last
    }

    /// Whether there was such a filter.
    pub(in super::super) fn unwatch(&mut self, number: u64) -> bool {
        self.filters.open.remove(&number).is_some()
    }

    /// What has come since the last time, or since the filter was made. Of more logs than one answer holds those of the first
    /// blocks, and the others the next time. Where one block has too many the filter says so and is gone.
    pub(in super::super) fn news(&mut self, number: u64) -> Result<News, NodeError> {
        let (watched, next) = self.filters.find(number)?;
        let mut end = self.filters.end();
        let news = match &watched {
            Watched::Blocks => News::Hashes(self.hashes_since(next, |event| match event {
                Event::Added { hash, .. } => Some(*hash),
                _ => None,
            })),
            Watched::Waiting => News::Hashes(self.hashes_since(next, |event| match event {
                Event::Waiting(hash) => Some(*hash),
                _ => None,
            })),
            Watched::Logs { filter, from, to } => {
                let range = from.unwrap_or(0)..=to.unwrap_or(u64::MAX);
                let told = self.logs_since(next, filter, &range);
                let (logs, told_upto) = told.inspect_err(|_too_many| {
                    self.filters.open.remove(&number);
                })?;
                end = told_upto;
                News::Logs(logs)
            }
        };
        if let Some(filter) = self.filters.open.get_mut(&number) {
            filter.next = end;
        }
        Ok(news)
    }

    /// All logs of a filter's blocks, told before or not.
    pub(in super::super) fn watched_logs(&mut self, number: u64) -> Result<Vec<Log>, NodeError> {
        let Watched::Logs { filter, from, to } = self.filters.find(number)?.0 else {
            return Err(refused("filter not found"));
        };
        let head = self.height();
        let range = from.unwrap_or(head)..=to.unwrap_or(head);
        self.logs(&filter, &LogRange::Numbers(range))
    }

    fn hashes_since(&self, next: u64, hash: impl Fn(&Event) -> Option<B256>) -> Vec<B256> {
        self.filters.since(next).filter_map(hash).collect()
    }

    /// Logs of blocks that have come and stay, and of those that had come before and are gone, with the first event of which
    /// nothing is told: whole events, as many as one answer holds.
    fn logs_since(
        &self,
        next: u64,
        filter: &LogFilter,
        range: &std::ops::RangeInclusive<u64>,
    ) -> Result<(Vec<(Log, bool)>, u64), NodeError> {
        // What lies between a block's coming and its going stands on it, and is gone, too: no answer ends there.
        let mut untold = BTreeSet::new();
        let mut told = Vec::new();
        let mut found = Found::default();
        let mut end = next;
        for event in self.filters.since(next) {
            let logs = match event {
                Event::Added { hash, number } if self.hashed(*hash).is_some() => {
                    match range.contains(number) {
                        true => self.logs(filter, &LogRange::Block(*hash)),
                        false => Ok(Vec::new()),
                    }
                }
                Event::Added { hash, .. } => {
                    untold.insert(*hash);
                    Ok(Vec::new())
                }
                Event::Undone { hash, .. } if untold.remove(hash) => Ok(Vec::new()),
                Event::Undone { logs, .. } => {
                    let is_wanted =
                        |log: &&Log| range.contains(&log.block_number) && filter.matches(log);
                    Ok(logs.iter().filter(is_wanted).cloned().collect())
                }
                Event::Waiting(_) => Ok(Vec::new()),
            };
            let fitting = logs.and_then(|logs| {
                logs.iter().try_for_each(|log| found.add(log))?;
                Ok(logs)
            });
            let is_undone = matches!(event, Event::Undone { .. });
            match fitting {
                Ok(logs) => told.extend(logs.into_iter().map(|log| (log, is_undone))),
                Err(too_many) if told.is_empty() => return Err(too_many),
                Err(_) => break,
            }
            end += 1;
        }
        Ok((told, end))
    }
}
