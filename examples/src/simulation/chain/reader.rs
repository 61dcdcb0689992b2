//! An application that follows the chain, and what it must have seen in the end.

use peaberry_chain::follow::{Alarm, Change, ChangeKind};
use peaberry_chain::{Block, Log};

use super::application::Applied;
use super::model::Model;

/// Applies changes one after the other, and remembers them durably.
#[derive(Debug, Default)]
pub(super) struct Reader {
    changes: Vec<ChangeKind>,
    /// What an application that applies each change once must have come to behind each of them.
    wanted: Vec<Applied>,
    /// What the application on the machine's own store has come to.
    pub(super) applied: Applied,
    /// The blocks as they stand, each with its logs; the first number that each stands for.
    stack: Vec<(u64, Block, Vec<Log>)>,
    pub(super) final_number: Option<u64>,
    /// The alarms that were told, once a final block has changed.
    pub(super) alarms: Vec<Alarm>,
    pub(super) expects_alarm: bool,
    pub(super) retold: u64,
    pub(super) removed: u64,
    pub(super) violations: Vec<String>,
}

impl Reader {
    pub(super) fn number(&self) -> u64 {
        self.changes.len() as u64
    }

    pub(super) fn alarmed(&mut self, alarm: Alarm) {
        if !self.expects_alarm || Some(alarm.number) != self.final_number {
            self.complain(format!("false alarm: {alarm:?}"));
        }
        self.alarms.push(alarm);
    }

    pub(super) fn complain(&mut self, violation: String) {
        if self.violations.len() < 8 {
            self.violations.push(violation);
        }
    }

    /// The application has applied one more change.
    pub(super) fn applied(&mut self, applied: Applied) {
        let at = usize::try_from(applied.number - 1).unwrap_or(usize::MAX);
        if self.wanted.get(at) != Some(&applied) {
            self.complain(format!("change {} was applied otherwise", applied.number));
        }
        if applied.number <= self.applied.number {
            self.complain(format!("change {} was applied twice", applied.number));
        }
        self.applied = applied;
    }

    pub(super) fn apply(&mut self, change: &Change) {
        let number = change.number;
        if number <= self.number() {
            self.retold += 1;
            let at = usize::try_from(number - 1).unwrap_or(usize::MAX);
            if self.changes.get(at) != Some(&change.kind) {
                self.complain(format!("change {number} was told in two ways"));
            }
            return;
        }
        if number != self.number() + 1 {
            self.complain(format!("change {} was never told", self.number() + 1));
        }
        if !self.alarms.is_empty() {
            self.complain(format!("change {number} was told after an alarm"));
        }
        self.changes.push(change.kind.clone());
        let before = self.wanted.last().copied().unwrap_or_default();
        self.wanted.push(before.and(change));
        match change.kind.clone() {
            ChangeKind::Added { first, block, logs } => {
                if let Some((_, tip, _)) = self.stack.last() {
                    let follows = first == tip.number + 1
                        && (first < block.number || block.parent == tip.hash);
                    if !follows {
                        self.complain(format!("{block} does not follow {tip}"));
                    }
                }
                self.stack.push((first, block, logs));
            }
            ChangeKind::Removed { block, logs } => {
                self.removed += 1;
                if self.final_number.is_some_and(|at| block.number <= at) {
                    self.complain(format!("{block} was final and is removed"));
                }
                match self.stack.pop() {
                    Some((_, tip, had)) if tip == block && had == logs => {}
                    _ => self.complain(format!("{block} was removed and was not the tip")),
                }
            }
            ChangeKind::Finalized { block } => {
                if !self.stack.iter().any(|(_, known, _)| *known == block) {
                    self.complain(format!("{block} is final and was never added"));
                }
                self.final_number = Some(block.number);
            }
        }
    }

    pub(super) fn tip(&self) -> Option<Block> {
        self.stack.last().map(|(_, block, _)| *block)
    }

    /// What stands is the chain, log for log.
    pub(super) fn conclude(&mut self, model: &Model, has_application: bool) {
        if has_application && self.applied.number != self.number() {
            let (applied, told) = (self.applied.number, self.number());
            self.complain(format!("{applied} of {told} changes were applied"));
        }
        if self.tip().map(|tip| tip.hash) != model.chain.last().map(|sealed| sealed.block.hash) {
            self.complain("the follower did not reach the tip".into());
        }
        let seen: Vec<Log> = self
            .stack
            .iter()
            .flat_map(|(_, _, logs)| logs.clone())
            .collect();
        let first = self.stack.first().map_or(0, |(first, ..)| *first);
        let blocks = model
            .chain
            .iter()
            .filter(|sealed| sealed.block.number >= first);
        let there: Vec<Log> = blocks.flat_map(super::model::Sealed::logs).collect();
        if seen != there {
            self.complain(format!(
                "{} logs were seen, {} are there",
                seen.len(),
                there.len()
            ));
        }
    }
}
