use alloc::collections::VecDeque;
use core::time::Duration;

use super::frame::{Hello, Session};
use super::in_vain::InVain;
use super::outcome::Refusal;
use super::transfer::{Departing, Progress, TransferId};
use crate::wire::Message;
use crate::{Lattice, VersionVector};

/// How long at most nothing is sent to a peer that refuses what it is sent.
const HOLD_MAX: Duration = Duration::from_secs(3600);

/// What a peer is owed beside events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owed {
    Nothing,
    /// Our vector, because it lacks or has something.
    Vector,
    /// Our vector, and we want its.
    VectorAsking,
    /// Our vector in place of what it believes.
    VectorReset,
}

/// Some of what a peer lacks.
#[derive(Debug)]
pub(super) enum Part<D> {
    /// To be sent in one frame.
    Delta(D),
    /// Too long for that.
    Pieces(Departing),
}

impl<D> Part<D> {
    /// Whether all of it was sent, once at least; of a delta, `is_sent` tells.
    fn was_sent(&self, is_sent: bool, part_bytes: usize) -> bool {
        match self {
            Self::Delta(_) => is_sent,
            Self::Pieces(departing) => departing.was_sent(part_bytes),
        }
    }

    /// What the peer knows afterwards.
    pub(super) fn gives<'a>(
        &'a self,
        of: impl Fn(&'a D) -> &'a VersionVector,
    ) -> &'a VersionVector {
        match self {
            Self::Delta(delta) => of(delta),
            Self::Pieces(departing) => &departing.gives,
        }
    }
}

/// One peer, as this replica knows it in its present life.
#[derive(Debug)]
pub(super) struct Peer<D> {
    /// The epoch in which it joined: who joins again is another.
    pub(super) joined: u64,
    /// Its session, if it has said hello.
    pub(super) session: Option<Session>,
    /// Whether it has said that it knows our session and our membership.
    pub(super) hears_us: bool,
    /// What it has said it knows.
    pub(super) known: VersionVector,
    /// What is to be sent, in order; the first is on its way if `is_sent`.
    pub(super) parts: VecDeque<Part<D>>,
    pub(super) is_sent: bool,
    /// How the frame ended that is on its way.
    pub(super) sent: [u8; 4],
    /// Until when nothing is sent, since it would be refused or is too much at once.
    pub(super) hold_until: Duration,
    /// How often in succession it has refused what it was sent and could not be divided.
    refusals: u32,
    /// What it would have known with what it refused last.
    refused: Option<VersionVector>,
    /// To how many bytes deltas are split for it, fewer than for others, so as to find what it refuses.
    pub(super) narrowed: Option<usize>,
    /// Whether it has yet to take something, after it has refused something, or has said that it knows nothing: until then
    /// no more is made for it than it is sent.
    pub(super) is_proving: bool,
    /// What was made for it and not taken.
    pub(super) in_vain: InVain,
    /// Until when it waits for a place among the transfers, if none becomes free before.
    pub(super) place_at: Duration,
    /// When to say again what was not answered.
    pub(super) retry_at: Duration,
    pub(super) attempts: u32,
    /// How often the first part was sent without news that some of it has arrived: other words of the peer are none.
    pub(super) part_attempts: u32,
    pub(super) owes_hello: bool,
    /// Until when no frame of its makes us say hello once more.
    pub(super) hello_after: Duration,
    pub(super) owed: Owed,
    /// What is left of the vector that is being told in several frames.
    pub(super) untold: Option<VersionVector>,
    /// What it is told to have arrived.
    pub(super) ack: Option<VersionVector>,
    /// What it is told of a delta that comes in pieces.
    pub(super) progress: Option<Progress>,
    /// The last of these that was applied.
    pub(super) completed: Option<TransferId>,
    /// How the frame ended that it is told to be refused, and why.
    pub(super) refusal: Option<([u8; 4], Refusal)>,
    pub(super) digest_at: Duration,
    /// Whether something has happened since events for it were looked for.
    pub(super) is_stale: bool,
    /// Whether it has told all it knows since this replica last learned something from another.
    pub(super) is_told: bool,
    /// Whether it has told all that it knew once in its present life.
    #[cfg(feature = "protocol")]
    pub(super) has_told: bool,
    /// Whether we have once had all that it had told.
    #[cfg(feature = "protocol")]
    pub(super) is_matched: bool,
    /// When to ask what it knows, if that is to be asked before more is sent.
    pub(super) ask_at: Option<Duration>,
}

impl<D> Peer<D> {
    pub(super) const fn new(joined: u64, now: Duration) -> Self {
        Self {
            joined,
            session: None,
            hears_us: false,
            known: VersionVector::new(),
            parts: VecDeque::new(),
            is_sent: false,
            sent: [0; 4],
            hold_until: Duration::ZERO,
            refusals: 0,
            refused: None,
            narrowed: None,
            is_proving: true,
            in_vain: InVain::new(),
            place_at: Duration::ZERO,
            retry_at: now,
            attempts: 0,
            part_attempts: 0,
            owes_hello: true,
            hello_after: Duration::ZERO,
            owed: Owed::Nothing,
            untold: None,
            ack: None,
            progress: None,
            completed: None,
            refusal: None,
            digest_at: now,
            is_stale: true,
            is_told: false,
            #[cfg(feature = "protocol")]
            has_told: false,
            #[cfg(feature = "protocol")]
            is_matched: false,
            ask_at: None,
        }
    }

    /// Whether the conversation can go on: each knows the other's session, and both go by one membership.
    pub(super) const fn is_met(&self) -> bool {
        self.session.is_some() && self.hears_us
    }

    /// Has yet to hear our session and our membership, and is told until it says that it has.
    pub(super) const fn must_hear(&mut self) {
        self.hears_us = false;
        self.owes_hello = true;
        self.attempts = 0;
    }

    /// Takes in what the peer says of itself; `is_behind` if it does not know our membership yet. The longest wait is `wait_max`.
    pub(super) fn meet(
        &mut self,
        hello: &Hello,
        our_session: u64,
        is_behind: bool,
        now: Duration,
        wait_max: Duration,
    ) {
        let is_new = self
            .session
            .as_ref()
            .is_none_or(|session| session.number != hello.session);
        if is_new {
            self.session = Some(Session {
                number: hello.session,
                table: hello.ids.iter().copied().collect(),
            });
            self.forget(now, wait_max);
        }
        self.hears_us = hello.echo == our_session && !is_behind;
        if !hello.is_heard || !self.hears_us {
            self.owes_hello = true;
        }
        // To one who does not take our membership it is said again after a longer and longer while.
        if is_new || !is_behind {
            self.attempts = 0;
        }
    }

    /// Believes nothing of the peer any more. The longest wait is `wait_max`.
    pub(super) fn forget(&mut self, now: Duration, wait_max: Duration) {
        self.known = VersionVector::new();
        let is_refusing = self.narrowed.is_some() || self.refused.is_some();
        let has_open = !self.parts.is_empty() || is_refusing;
        self.in_vain.begins_anew(now, wait_max, has_open);
        self.drop_parts();
        self.release();
        self.narrowed = None;
        self.is_proving = true;
        self.ack = None;
        self.untold = None;
        self.progress = None;
        self.completed = None;
        self.refusal = None;
        self.is_stale = true;
        self.is_told = false;
        self.ask_at = None;
        #[cfg(feature = "protocol")]
        {
            self.has_told = false;
        }
    }

    pub(super) fn drop_parts(&mut self) {
        self.parts = VecDeque::new();
        self.is_sent = false;
        self.is_stale = true;
    }

    /// Nothing is held back any more.
    pub(super) fn release(&mut self) {
        self.hold_until = Duration::ZERO;
        self.refusals = 0;
        self.refused = None;
    }

    /// Whether it knows what it refused from us: it has changed its mind, or another has brought it that.
    pub(super) fn knows_what_it_refused(&self) -> bool {
        self.refused
            .as_ref()
            .is_some_and(|refused| refused.partial_le(&self.known))
    }

    /// It has taken what it was sent; twice as much may do.
    fn widen(&mut self, part_bytes: usize) {
        let twice = self.narrowed.map(|bytes| bytes.saturating_mul(2).max(1));
        self.narrowed = twice.filter(|bytes| *bytes < part_bytes);
    }

    /// With what it is known to know, it would tell of more than `ids_max` replicas: how many.
    pub(super) fn tells_too_many(&self, vector: &VersionVector, ids_max: usize) -> Option<usize> {
        let told = self.known.iter().len() + self.known.count_new(vector);
        (told > ids_max).then_some(told)
    }

    /// The peer knows these events.
    pub(super) fn knows(&mut self, vector: &VersionVector) {
        self.known.join(vector);
        self.attempts = 0;
        self.is_stale = true;
    }

    /// The peer knows these events, and no others when it said so.
    pub(super) fn tells(&mut self, vector: &VersionVector) {
        self.knows(vector);
        self.is_told = true;
        self.ask_at = None;
        #[cfg(feature = "protocol")]
        {
            self.has_told = true;
        }
    }

    /// Another than the peer has brought events: perhaps it has them too. Its digest will tell.
    pub(super) fn may_have_learned(&mut self, digest_at: Duration) {
        self.is_told = false;
        self.digest_at = self.digest_at.min(digest_at);
    }

    pub(super) fn owe(&mut self, owed: Owed) {
        self.owed = self.owed.max(owed);
    }

    /// The entries of our vector that answer a delta which gave `given`; joined with what it is owed already.
    pub(super) fn acknowledge(&mut self, given: &VersionVector, ours: &VersionVector) {
        let ack = self.ack.get_or_insert_default();
        for (replica, _) in given.iter() {
            ack.raise(replica, ours.get(replica));
        }
    }

    /// When there is something to do for it, if nothing happens before, and if all places for transfers are taken or not.
    pub(super) fn due(&self, now: Duration, are_places_taken: bool) -> Duration {
        if !self.is_met() {
            return if self.owes_hello && self.attempts == 0 {
                now
            } else {
                self.retry_at
            };
        }
        let is_owed = self.owes_hello
            || self.owed != Owed::Nothing
            || self.ack.is_some()
            || self.progress.is_some()
            || self.refusal.is_some();
        if is_owed || (!self.parts.is_empty() && !self.is_sent) {
            return now;
        }
        let looks_at = if self.is_stale {
            let place_at = if are_places_taken && self.parts.is_empty() {
                self.place_at
            } else {
                now
            };
            self.hold_until.max(place_at).max(now)
        } else {
            self.digest_at
        };
        let asks_at = self.ask_at.unwrap_or(self.digest_at);
        let retry_at = if self.is_sent {
            self.retry_at
        } else {
            self.digest_at
        };
        self.digest_at.min(looks_at).min(asks_at).min(retry_at)
    }

    /// Bytes waiting and on their way are frames of one delta; this tells how many parts of it.
    pub(super) fn is_in_transfer(&self) -> bool {
        self.parts.len() > 1 || matches!(self.parts.front(), Some(Part::Pieces(_)))
    }

    /// Drops the parts whose events the peer knows by now; others are split to `part_bytes`. What was not sent another has
    /// brought it, or so it says.
    pub(super) fn drop_known(&mut self, gives: impl Fn(&D) -> &VersionVector, part_bytes: usize) {
        while let Some(first) = self.parts.front()
            && first.gives(&gives).partial_le(&self.known)
        {
            if !first.was_sent(self.is_sent, part_bytes) {
                self.in_vain.is_claimed();
            }
            self.parts.pop_front();
            self.is_sent = false;
            self.part_attempts = 0;
            self.release();
            self.widen(part_bytes);
            self.is_proving = self.narrowed.is_some();
        }
    }

    pub(super) fn take_parts(&mut self, now: Duration, parts: impl IntoIterator<Item = D>) {
        self.in_vain.begins(now);
        self.parts = parts.into_iter().map(Part::Delta).collect();
        self.is_sent = false;
        self.part_attempts = 0;
    }
}

impl<D: Message> Peer<D> {
    /// It will not take what it was sent. If others are sent `part_bytes` at a time, it is sent half of this, at once, until
    /// what it refuses is alone: so it gets all that comes before. Then nothing should be sent for a while, which is
    /// returned: `wait`, and each time that it refuses twice as long. After it as much is sent at once as to others: what
    /// was refused by itself may be taken with what has come behind it, such as removals that make room.
    pub(super) fn refuses(
        &mut self,
        wait: Duration,
        gives: impl Fn(&D) -> &VersionVector,
        part_bytes: usize,
    ) -> Option<Duration> {
        let first = self.parts.pop_front()?;
        if !self.parts.is_empty() || !first.was_sent(true, part_bytes) {
            self.in_vain.count();
        }
        self.drop_parts();
        self.is_proving = true;
        let was_alone = self.refused.as_ref() == Some(first.gives(&gives));
        if let Part::Delta(delta) = &first
            && !was_alone
        {
            let half = delta.to_bytes().len() / 2;
            if half < self.narrowed.unwrap_or(part_bytes) {
                self.narrowed = Some(half);
                return None;
            }
        }
        self.narrowed = None;
        self.refused = Some(first.gives(gives).clone());
        let factor = 1_u32.checked_shl(self.refusals).unwrap_or(u32::MAX);
        self.refusals = self.refusals.saturating_add(1);
        Some(wait.saturating_mul(factor).min(HOLD_MAX))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use core::time::Duration;

    use super::Peer;
    use crate::{ReplicaId, VersionVector};

    const WAIT: Duration = Duration::from_secs(10);

    fn gives(vector: &VersionVector) -> &VersionVector {
        vector
    }

    /// What it refused it took when it was sent again; then comes the refusal once more.
    #[test]
    fn a_refusal_that_comes_late_and_twice_ends_with_what_was_taken() {
        let mut peer: Peer<VersionVector> = Peer::new(1, Duration::ZERO);
        let mut vector = VersionVector::new();
        vector.raise(ReplicaId::new(1).unwrap(), 1);
        let send =
            |peer: &mut Peer<_>| peer.take_parts(Duration::ZERO, Vec::from([vector.clone()]));
        send(&mut peer);
        // Perhaps there is less of it.
        assert_eq!(peer.refuses(WAIT, gives, 64 << 10), None);
        for hold in [WAIT, 2 * WAIT] {
            send(&mut peer);
            assert_eq!(peer.refuses(WAIT, gives, 64 << 10), Some(hold));
        }
        assert!(!peer.knows_what_it_refused());
        peer.knows(&vector);
        assert!(peer.knows_what_it_refused());
        peer.release();
        send(&mut peer);
        assert_eq!(peer.refuses(WAIT, gives, 64 << 10), None);
        send(&mut peer);
        assert_eq!(peer.refuses(WAIT, gives, 64 << 10), Some(WAIT));
    }

    /// Each of `counters` in one part.
    fn parts(counters: core::ops::RangeInclusive<u64>) -> Vec<VersionVector> {
        let part = |counter| VersionVector::from_iter([(ReplicaId::new(1).unwrap(), counter)]);
        counters.map(part).collect()
    }

    /// What another has brought it before we came to send it was made for nothing, and is not its fault.
    #[test]
    fn who_is_served_faster_by_others_is_not_named() {
        let mut peer: Peer<VersionVector> = Peer::new(1, Duration::ZERO);
        for time in 0..20 {
            let now = Duration::from_secs(time);
            let parts = parts(3 * time + 1..=3 * time + 3);
            let all = parts.last().unwrap().clone();
            peer.take_parts(now, parts);
            peer.is_sent = true;
            peer.knows(&all);
            peer.drop_known(gives, 64 << 10);
            assert!(peer.parts.is_empty());
            assert_eq!(peer.in_vain.rests_until(now, WAIT / 10, WAIT), None);
            assert!(!peer.in_vain.is_to_be_named());
        }
    }

    /// Whoever said the same and then says that it knows nothing was not served by others.
    #[test]
    fn who_claims_all_and_then_nothing_is_named() {
        let mut peer: Peer<VersionVector> = Peer::new(1, Duration::ZERO);
        let mut is_named = false;
        for _ in 0..4 {
            peer.take_parts(Duration::ZERO, parts(1..=3));
            peer.knows(&parts(3..=3)[0]);
            peer.drop_known(gives, 64 << 10);
            assert!(peer.parts.is_empty());
            peer.forget(Duration::ZERO, WAIT);
            is_named |= peer.in_vain.is_to_be_named();
        }
        assert!(is_named);
    }

    /// Four lives that begin amid a transfer, each long after the one before.
    #[test]
    fn what_was_in_vain_long_ago_names_nobody() {
        let mut peer: Peer<VersionVector> = Peer::new(1, Duration::ZERO);
        for life in 1..20 {
            let now = life * 3 * WAIT;
            peer.take_parts(now, parts(1..=3));
            peer.forget(now, WAIT);
            assert!(!peer.in_vain.is_to_be_named());
        }
    }
}
