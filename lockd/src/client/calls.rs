use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use peaberry_core::{Instant, PeerId};

use crate::message::{Call, CallKind, put_call};

/// How long a call waits for its first answer; each time-out doubles it up to the maximum.
const TIMEOUT_MIN: Duration = Duration::from_millis(300);
const TIMEOUT_MAX: Duration = Duration::from_secs(2);

/// How long a call that was sent away waits before it is sent again, at first and at most.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// How long a server that left a call unanswered is avoided.
const SILENCE: Duration = Duration::from_secs(1);

/// The first call's number is drawn from below this: it fits into eight bytes on the wire.
const FIRST_NUMBER_MAX: u64 = 1 << 56;

/// When a message is long enough; the next call begins another.
const MESSAGE_BYTES: usize = 64 << 10;

/// Calls that wait for an answer, the server they are sent to, and when to send them again.
#[derive(Debug)]
pub(super) struct Calls<P> {
    servers: Vec<PeerId>,
    /// Which server is taken for the leader.
    target: usize,
    /// The server that last left a call unanswered and has said nothing since, and until when it is avoided. Others may
    /// still point at it, as followers do at a leader that has just died.
    silent: Option<(usize, Instant)>,
    open: BTreeMap<u64, OpenCall<P>>,
    timers: BTreeSet<(Instant, u64)>,
    /// To be sent at the end of this turn.
    due: Vec<u64>,
    last_number: u64,
    rng: fastrand::Rng,
}

/// What a call is called when it is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbering {
    /// The same: any answer will do.
    Once,
    /// Anew: an answer tells which attempt it is for, and so when that was sent.
    EachAttempt,
}

#[derive(Debug)]
struct OpenCall<P> {
    numbering: Numbering,
    kind: CallKind,
    body: Bytes,
    purpose: P,
    /// Of the attempts that share the number.
    first_sent: Instant,
    is_sent: bool,
    sent_to: usize,
    attempts: u32,
    /// Whether a hint was followed since the last wait: two replicas that point at each other are not chased.
    redirected: bool,
    timer: Instant,
}

impl<P> Calls<P> {
    pub(super) fn new(servers: Vec<PeerId>, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        Self {
            servers,
            target: 0,
            silent: None,
            open: BTreeMap::new(),
            timers: BTreeSet::new(),
            due: Vec::new(),
            // Not zero: a late answer to a call from before a restart would be taken for the answer to this life's.
            last_number: rng.u64(..FIRST_NUMBER_MAX),
            rng,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn nonce(&mut self) -> u128 {
        self.rng.u128(..)
    }

    /// Sends `body` until it is answered.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        (kind, numbering): (CallKind, Numbering),
        body: Bytes,
        purpose: P,
    ) -> u64 {
        self.last_number += 1;
        let number = self.last_number;
        let call = OpenCall {
            numbering,
            is_sent: false,
            kind,
            body,
            purpose,
            first_sent: now,
            sent_to: self.target,
            attempts: 0,
            redirected: false,
            timer: now,
        };
        self.open.insert(number, call);
        self.due.push(number);
        number
    }

    /// Forgets a call; answers its purpose and when it was first sent. Late answers find nothing.
    pub(super) fn end(&mut self, number: u64) -> Option<(P, Instant)> {
        let call = self.open.remove(&number)?;
        self.timers.remove(&(call.timer, number));
        Some((call.purpose, call.first_sent))
    }

    pub(super) fn is_open(&self, number: u64) -> bool {
        self.open.contains_key(&number)
    }

    /// Forgets the calls made for such a purpose; answers whether there were any.
    pub(super) fn end_where(&mut self, is: impl Fn(&P) -> bool) -> bool {
        let before = self.open.len();
        let timers = &mut self.timers;
        self.open.retain(|&number, call| {
            let ends = is(&call.purpose);
            if ends {
                timers.remove(&(call.timer, number));
            }
            !ends
        });
        self.open.len() < before
    }

    /// A server says that it does not lead.
    pub(super) fn redirect(
        &mut self,
        now: Instant,
        from: PeerId,
        number: u64,
        hint: Option<PeerId>,
    ) {
        let hinted = hint
            .filter(|&hint| hint != from)
            .and_then(|hint| self.servers.iter().position(|&server| server == hint))
            .filter(|&hinted| !self.is_silent(hinted, now));
        if self.servers.get(self.target) == Some(&from) {
            self.target = hinted.unwrap_or_else(|| self.next_server(now));
        }
        match self.open.get_mut(&number) {
            Some(call) if hinted.is_some() && !call.redirected => {
                call.redirected = true;
                self.timers.remove(&(call.timer, number));
                self.due.push(number);
            }
            _ => self.back_off(now, number),
        }
    }

    /// Sends a call again a little later.
    pub(super) fn back_off(&mut self, now: Instant, number: u64) {
        let Some(call) = self.open.get_mut(&number) else {
            return;
        };
        let full = doubled(BACKOFF_MIN, call.attempts).min(BACKOFF_MAX);
        let wait = full.mul_f64(0.5 + 0.5 * self.rng.f64());
        call.attempts = call.attempts.saturating_add(1);
        call.redirected = false;
        self.timers.remove(&(call.timer, number));
        call.timer = now + wait;
        // Not a time-out: what fires now was sent away, not left unanswered.
        call.sent_to = usize::MAX;
        self.timers.insert((call.timer, number));
    }

    /// A server has said something.
    pub(super) fn heard(&mut self, from: PeerId) {
        let silent = self.silent.and_then(|(silent, _)| self.servers.get(silent));
        if silent == Some(&from) {
            self.silent = None;
        }
    }

    /// Messages to a server were lost: if it is the target, another one becomes it and every call goes there.
    pub(super) fn unreachable(&mut self, now: Instant, peer: PeerId) {
        if self.servers.get(self.target) != Some(&peer) {
            return;
        }
        self.avoid_target(now);
        let numbers: Vec<_> = self.open.keys().copied().collect();
        for number in numbers {
            self.back_off(now, number);
        }
    }

    /// Looks for calls whose time has come.
    pub(super) fn fire(&mut self, now: Instant) {
        while let Some(&(at, number)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            let Some(call) = self.open.get_mut(&number) else {
                continue;
            };
            call.attempts = call.attempts.saturating_add(1);
            // Of many calls that the same silent server leaves unanswered, the first turns to the next server.
            if call.sent_to == self.target {
                self.avoid_target(now);
            }
            self.due.push(number);
        }
    }

    /// Turns to the next server, and avoids this one for a while: an election's length, not for ever, since it may lead
    /// again.
    fn avoid_target(&mut self, now: Instant) {
        self.silent = Some((self.target, now + SILENCE));
        self.target = self.next_server(now);
    }

    fn is_silent(&self, server: usize, now: Instant) -> bool {
        self.silent
            .is_some_and(|(silent, until)| silent == server && now < until)
    }

    /// The next server in turn that is not known to be silent.
    fn next_server(&self, now: Instant) -> usize {
        let count = self.servers.len().max(1);
        let next = (self.target + 1) % count;
        if self.is_silent(next, now) {
            (next + 1) % count
        } else {
            next
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|&(at, _)| at)
    }

    /// Hands what is due to `send`, many calls in one message.
    pub(super) fn flush(&mut self, now: Instant, mut send: impl FnMut(PeerId, Bytes)) {
        let Some(&server) = self.servers.get(self.target) else {
            return;
        };
        let mut message = Vec::new();
        for number in std::mem::take(&mut self.due) {
            let Some(number) = self.number_for_attempt(now, number) else {
                continue;
            };
            let Some(call) = self.open.get_mut(&number) else {
                continue;
            };
            call.is_sent = true;
            let (kind, body) = (call.kind, &call.body);
            put_call(&mut message, Call { number, kind, body });
            call.sent_to = self.target;
            self.timers.remove(&(call.timer, number));
            call.timer = now + doubled(TIMEOUT_MIN, call.attempts).min(TIMEOUT_MAX);
            self.timers.insert((call.timer, number));
            if message.len() >= MESSAGE_BYTES {
                send(server, std::mem::take(&mut message).into());
            }
        }
        if !message.is_empty() {
            send(server, message.into());
        }
    }
}

impl<P> Calls<P> {
    /// The number for a call's next attempt; `None` when the call has ended.
    fn number_for_attempt(&mut self, now: Instant, number: u64) -> Option<u64> {
        let call = self.open.get(&number)?;
        if call.numbering == Numbering::Once || !call.is_sent {
            return Some(number);
        }
        let mut call = self.open.remove(&number)?;
        self.timers.remove(&(call.timer, number));
        call.first_sent = now;
        self.last_number += 1;
        self.open.insert(self.last_number, call);
        Some(self.last_number)
    }
}

fn doubled(base: Duration, times: u32) -> Duration {
    base.saturating_mul(1 << times.min(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(id: u64) -> PeerId {
        PeerId::new(id).unwrap()
    }

    /// Where what is due goes.
    fn sent_to(calls: &mut Calls<()>, now: Instant) -> Option<PeerId> {
        let mut to = None;
        calls.flush(now, |server, _| to = Some(server));
        to
    }

    /// Followers go on naming a dead leader until they elect another; each chase would cost a time-out.
    #[test]
    fn nobody_is_sent_to_a_silent_server_on_anothers_word() {
        let mut calls = Calls::new(vec![peer(1), peer(2), peer(3)], 1);
        let mut now = Instant::default();
        let number = calls.begin(now, (CallKind::Request, Numbering::Once), Bytes::new(), ());
        assert_eq!(sent_to(&mut calls, now), Some(peer(1)));
        let mut followers = BTreeSet::new();
        loop {
            now = calls.deadline().unwrap();
            calls.fire(now);
            let follower = sent_to(&mut calls, now).unwrap();
            followers.insert(follower);
            calls.heard(follower);
            calls.redirect(now, follower, number, Some(peer(1)));
            if !calls.is_silent(0, now) {
                break;
            }
            assert_eq!(
                sent_to(&mut calls, now),
                None,
                "it waits a little for an election"
            );
        }
        assert_eq!(followers, BTreeSet::from([peer(2), peer(3)]));
        // It may lead again: nobody is avoided for ever.
        assert_eq!(sent_to(&mut calls, now), Some(peer(1)));
    }
}
