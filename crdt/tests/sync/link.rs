//! Members that talk over a link with losses, in steps of time.

use std::time::Duration;

use peaberry_crdt::sync::{AntiEntropy, Member, Membership, SyncConfig, SyncError, SyncEvent};
use peaberry_crdt::testkit::Dice;
use peaberry_crdt::{Limits, Replicated, Tolerance};

pub(crate) fn member(number: u64) -> Member {
    Member::new(number).unwrap()
}

pub(crate) struct Side<R: Replicated> {
    pub(crate) member: Member,
    pub(crate) sync: AntiEntropy<R>,
    pub(crate) state: R,
    pub(crate) tolerance: Tolerance,
    pub(crate) events: Vec<SyncEvent>,
    pub(crate) errors: Vec<SyncError>,
    /// Bytes of all frames that it has sent, and of the longest.
    pub(crate) sent: u64,
    pub(crate) longest: usize,
    /// How many of them carried events.
    pub(crate) deltas: u64,
}

impl<R: Replicated> Side<R> {
    pub(crate) fn new(config: SyncConfig, now: Duration, state: R) -> Self {
        Self {
            member: config.local,
            sync: AntiEntropy::new(config, now),
            state,
            tolerance: Tolerance::USUAL,
            events: Vec::new(),
            errors: Vec::new(),
            sent: 0,
            longest: 0,
            deltas: 0,
        }
    }
}

/// Members 1 to `count`, each with a state.
pub(crate) fn config(number: u64, count: u64, seed: u64) -> SyncConfig {
    let members = Membership::new((1..=count).map(member));
    SyncConfig::new(member(number), 7, members, seed)
}

pub(crate) struct Link {
    pub(crate) now: Duration,
    pub(crate) step: Duration,
    pub(crate) lost_percent: u64,
    /// Who gets no piece of a large delta, and every other frame.
    pub(crate) without_pieces: Vec<Member>,
    pub(crate) dice: Dice,
    /// What every member's calendar shows when the link's time begins.
    pub(crate) wall_ms: u64,
}

impl Link {
    pub(crate) fn new(lost_percent: u64) -> Self {
        Self {
            now: Duration::ZERO,
            step: Duration::from_millis(50),
            lost_percent,
            without_pieces: Vec::new(),
            dice: Dice::new(11),
            wall_ms: 1_767_225_600_000,
        }
    }

    pub(crate) fn wall_ms(&self) -> u64 {
        self.wall_ms + u64::try_from(self.now.as_millis()).unwrap()
    }

    /// Everybody speaks until nobody has anything to say at this moment; then a step passes.
    pub(crate) fn step<R: Replicated>(&mut self, sides: &mut [Side<R>]) {
        let mut is_silent = false;
        while !is_silent {
            is_silent = true;
            for from in 0..sides.len() {
                let sender = &mut sides[from];
                let member = sender.member;
                let Some(sent) = sender.sync.poll_transmit(self.now, &sender.state) else {
                    continue;
                };
                is_silent = false;
                sender.sent += sent.frame.len() as u64;
                sender.deltas += u64::from(matches!(sent.frame[0], 6 | 8));
                if matches!(sent.frame[0], 6 | 8) {
                    sender.longest = sender.longest.max(sent.frame.len());
                }
                if self.dice.below(100) < self.lost_percent {
                    continue;
                }
                if sent.frame[0] == 8 && self.without_pieces.contains(&sent.to) {
                    continue;
                }
                let Some(to) = sides.iter_mut().find(|side| side.member == sent.to) else {
                    continue;
                };
                let limits: Limits = to.tolerance.at(self.wall_ms());
                let handled = to
                    .sync
                    .handle(self.now, member, &sent.frame, &mut to.state, &limits);
                match handled {
                    Ok(handled) => to.events.extend(handled.event),
                    Err(SyncError::Unreadable { .. }) => {}
                    Err(error) => to.errors.push(error),
                }
            }
        }
        self.now += self.step;
    }

    /// Steps until `is_done`, at most `patience`; how many it took.
    pub(crate) fn until<R: Replicated>(
        &mut self,
        sides: &mut [Side<R>],
        patience: Duration,
        is_done: impl Fn(&[Side<R>]) -> bool,
    ) -> u64 {
        let end = self.now + patience;
        let mut steps = 0;
        while !is_done(sides) {
            assert!(self.now < end, "not within {patience:?}");
            self.step(sides);
            steps += 1;
        }
        steps
    }
}
