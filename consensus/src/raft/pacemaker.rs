//! When a group's time passes, and whose election comes first.

use std::time::Duration;

use peaberry_core::Instant;
use raft::{RawNode, StateRole};

use super::config::RaftConfig;
use super::log_store::LogStore;

/// Ticks raft-rs, and overrules the election timeouts that it draws from the thread's random numbers.
#[derive(Debug)]
pub(super) struct Pacemaker {
    tick: Duration,
    /// `None` before the first turn.
    next: Option<Instant>,
    seed: u64,
    election_ticks: u16,
    /// Elections this replica has called, so that two replicas that collide once do not collide for ever.
    campaigns: u64,
}

impl Pacemaker {
    pub(super) fn new(config: &RaftConfig) -> Self {
        Self {
            tick: config.tick,
            next: None,
            seed: config.seed ^ config.local.get().wrapping_mul(0x9e37_79b9_7f4a_7c15),
            election_ticks: config.election_ticks,
            campaigns: 0,
        }
    }

    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// Sets the first tick, in the group's first turn.
    pub(super) fn start(&mut self, now: Instant) {
        self.next.get_or_insert(now + self.tick);
    }

    /// Whether a tick is due. One at most, however late: a replica that was paused must not use up an election timeout
    /// in one burst before it has read its messages.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let due = self.next.is_some_and(|next| next <= now);
        if due {
            self.next = Some(now + self.tick);
        }
        due
    }

    pub(super) fn tick(&mut self, raw: &mut RawNode<LogStore>) {
        if raw.tick() && raw.raft.state != StateRole::Leader {
            self.campaigns += 1;
        }
    }

    /// Sets the election timeout to what the seed says. To be called behind every call into raft-rs that may have drawn
    /// one: all that can change its role or term.
    pub(super) fn reseed(&self, raw: &mut RawNode<LogStore>) {
        let role = raw.raft.state as u64;
        let salt = raw.raft.term.rotate_left(32) ^ self.campaigns.rotate_left(8) ^ role;
        let mut random =
            fastrand::Rng::with_seed(self.seed ^ salt.wrapping_mul(0xd134_2543_de82_ef95));
        let timeout =
            random.usize(usize::from(self.election_ticks)..2 * usize::from(self.election_ticks));
        raw.raft.set_randomized_election_timeout(timeout);
    }
}
