//! A member that says whatever it likes.

use std::time::Duration;

use peaberry_crdt::sync::{AntiEntropy, Handled, Member, SyncError, SyncEvent};
use peaberry_crdt::wire::{IdTable, Message as _};
use peaberry_crdt::{Limits, Replicated, VersionVector};

use crate::link::{Side, config, member};

pub(crate) const VECTOR_ASKING: u8 = 3;
pub(crate) const VECTOR: u8 = 4;
pub(crate) const VECTOR_RESET: u8 = 5;
pub(crate) const ACK: u8 = 7;
pub(crate) const REFUSAL: u8 = 10;
pub(crate) const VECTOR_RESET_BEGUN: u8 = 11;

const HELLO: u8 = 1;
const DELTA: u8 = 6;
const PIECE: u8 = 8;

/// It shakes hands as everybody does, and goes on as it likes.
pub(crate) struct Forger<R: Replicated> {
    pub(crate) member: Member,
    mask: AntiEntropy<R>,
    nothing: R,
    session: [u8; 8],
    victims: [u8; 8],
    /// How often it was named.
    pub(crate) named: u64,
}

impl<R: Replicated> Forger<R> {
    /// Member 2 of two in one of its lives, who knows `nothing` and has met the first.
    pub(crate) fn of(victim: &mut Side<R>, nothing: R, life: u64, now: Duration) -> Self {
        let mut it = Self {
            member: member(2),
            mask: AntiEntropy::new(config(2, 2, life), now).unwrap(),
            nothing,
            session: [0; 8],
            victims: [0; 8],
            named: 0,
        };
        it.meet(victim, now);
        it
    }

    /// Says and hears hello until both know the other's session.
    fn meet(&mut self, victim: &mut Side<R>, now: Duration) {
        for _ in 0..4 {
            while let Some(sent) = self.mask.poll_transmit(now, &self.nothing) {
                if sent.to == victim.member && sent.frame[0] == HELLO {
                    self.session = session_of(&sent.frame);
                    self.hand(victim, now, &sent.frame).unwrap();
                }
            }
            while let Some(sent) = victim.sync.poll_transmit(now, &victim.state) {
                if sent.to == self.member && sent.frame[0] == HELLO {
                    self.victims = session_of(&sent.frame);
                    self.mask
                        .handle(
                            now,
                            victim.member,
                            &sent.frame,
                            &mut self.nothing,
                            &Limits::NONE,
                        )
                        .unwrap();
                }
            }
        }
    }

    /// Sends a frame of a kind.
    pub(crate) fn say(
        &mut self,
        victim: &mut Side<R>,
        now: Duration,
        kind: u8,
        body: &[u8],
    ) -> Result<Handled, SyncError> {
        let mut frame = vec![kind];
        frame.extend_from_slice(body);
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.session);
        hasher.update(&self.victims);
        hasher.update(&frame);
        frame.extend_from_slice(&hasher.finalize().to_be_bytes());
        self.hand(victim, now, &frame)
    }

    fn hand(
        &mut self,
        victim: &mut Side<R>,
        now: Duration,
        frame: &[u8],
    ) -> Result<Handled, SyncError> {
        let handled =
            victim
                .sync
                .handle(now, self.member, frame, &mut victim.state, &Limits::NONE)?;
        let is_named = SyncEvent::ServedInVain {
            member: self.member,
        };
        self.named += u64::from(handled.event == Some(is_named));
        Ok(handled)
    }

    /// Says what it knows.
    pub(crate) fn tell(
        &mut self,
        victim: &mut Side<R>,
        now: Duration,
        kind: u8,
        vector: &VersionVector,
    ) -> Result<Handled, SyncError> {
        let mut body = Vec::new();
        vector.to_session_bytes(&IdTable::new(), &mut body);
        self.say(victim, now, kind, &body)
    }

    /// The frames with events that it is sent now, beside other words.
    pub(crate) fn is_sent(&self, victim: &mut Side<R>, now: Duration) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while let Some(sent) = victim.sync.poll_transmit(now, &victim.state) {
            if sent.to == self.member && matches!(sent.frame[0], DELTA | PIECE) {
                frames.push(sent.frame);
            }
        }
        frames
    }
}

/// Behind kind, ids, version, schema and document.
fn session_of(hello: &[u8]) -> [u8; 8] {
    hello[15..23].try_into().unwrap()
}
