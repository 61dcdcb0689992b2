use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::drops::Drops;
use super::event::{DisconnectReason, Side};
use crate::peer::{Channel, PeerId};

/// How many channels are remembered as having messages on the way. More are not told of their loss.
const UNCONFIRMED_MAX: usize = 1 << 16;

/// One standing connection, as the tasks and threads around it see it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) peer: PeerId,
    pub(super) side: Side,
    /// Wakes the connection's writer.
    pub(super) wake: Notify,
    pub(super) duties: Mutex<Duties>,
    pub(super) pulse: Pulse,
    pub(super) drops: Drops,
    closing: Mutex<Option<DisconnectReason>>,
    closed: Notify,
}

/// What the writer owes besides messages, and what the other side has not confirmed.
#[derive(Debug, Default)]
pub(super) struct Duties {
    /// A ping is due.
    pub(super) ping: bool,
    /// The last ping that waits for an answer. Answering it answers those before.
    pub(super) pong: Option<u64>,
    pub(super) unconfirmed: Unconfirmed,
}

/// Signs of life, looked at by the watchdog once a ping interval.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// Something came since the last look.
    pub(super) heard: AtomicBool,
    /// The reader waits for a mailbox and cannot hear.
    pub(super) deaf: AtomicBool,
    /// A write is under way.
    pub(super) writing: AtomicBool,
    /// Something could be written since the last look.
    pub(super) wrote: AtomicBool,
}

impl Link {
    pub(super) fn new(peer: PeerId, side: Side) -> Self {
        Self {
            peer,
            side,
            wake: Notify::new(),
            duties: Mutex::default(),
            pulse: Pulse::default(),
            drops: Drops::default(),
            closing: Mutex::new(None),
            closed: Notify::new(),
        }
    }

    /// Asks the connection to end. The first reason counts.
    pub(super) fn close(&self, reason: DisconnectReason) {
        self.closing.lock().get_or_insert(reason);
        self.closed.notify_one();
    }

    /// Completes once the connection has been asked to end.
    pub(super) async fn closed(&self) {
        self.closed.notified().await;
    }

    /// Why the connection was asked to end, if it was.
    pub(super) fn take_close_reason(&self) -> Option<DisconnectReason> {
        self.closing.lock().take()
    }
}

impl Pulse {
    /// Whether the other side has been silent, and whether it has taken nothing of a write, since the last look.
    pub(super) fn look(&self) -> (bool, bool) {
        let heard = self.heard.swap(false, Ordering::Relaxed) || self.deaf.load(Ordering::Relaxed);
        let wrote = self.wrote.swap(false, Ordering::Relaxed);
        (!heard, self.writing.load(Ordering::Relaxed) && !wrote)
    }
}

/// The channels whose messages may be lost if the connection breaks now.
///
/// Frames arrive in order, so a pong confirms all that was sent before its ping. One ping at a time is waited for.
#[derive(Debug, Default)]
pub(super) struct Unconfirmed {
    before_ping: BTreeSet<Channel>,
    since_ping: BTreeSet<Channel>,
    ping: Option<u64>,
}

impl Unconfirmed {
    pub(super) fn sent(&mut self, channels: impl Iterator<Item = Channel>) {
        let mut last = None;
        for channel in channels {
            if last != Some(channel) && self.since_ping.len() < UNCONFIRMED_MAX {
                self.since_ping.insert(channel);
                last = Some(channel);
            }
        }
    }

    pub(super) fn pinged(&mut self, sequence: u64) {
        if self.ping.is_none() {
            self.before_ping = std::mem::take(&mut self.since_ping);
            self.ping = Some(sequence);
        }
    }

    pub(super) fn ponged(&mut self, answers: u64) {
        // A pong for a later ping answers the earlier ones too; sequences wrap.
        let answered = |ping: u64| answers.wrapping_sub(ping) < 1 << 63;
        if self.ping.is_some_and(answered) {
            self.before_ping.clear();
            self.ping = None;
        }
    }

    /// Every channel that is not confirmed.
    pub(super) fn take(&mut self) -> BTreeSet<Channel> {
        let mut channels = std::mem::take(&mut self.before_ping);
        channels.append(&mut self.since_ping);
        channels
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::ProtocolId;

    #[test]
    fn a_pong_confirms_what_was_sent_before_its_ping() {
        let [one, two, three] = [1, 2, 3].map(|group| Channel::new(ProtocolId(2000), group));
        let mut unconfirmed = Unconfirmed::default();
        unconfirmed.sent([one].into_iter());
        unconfirmed.pinged(u64::MAX);
        unconfirmed.sent([two, two].into_iter());
        unconfirmed.pinged(0);
        unconfirmed.sent([three].into_iter());
        unconfirmed.ponged(u64::MAX - 1);
        assert!(unconfirmed.ping.is_some(), "that ping was never sent");
        unconfirmed.ponged(0);
        assert_eq!(unconfirmed.take(), BTreeSet::from([two, three]));
    }
}
