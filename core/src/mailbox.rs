//! Where a node's messages arrive.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::peer::{Channel, PeerId};
use crate::signal::Signal;
use crate::transport::Envelope;

/// What one peer may have waiting in a mailbox, in bytes: two payloads of the largest size.
pub const PEER_BYTES_MAX: usize = 2 * crate::transport::PAYLOAD_BYTES_MAX;

/// What each message counts beside its payload, so that empty ones are bounded too.
const MESSAGE_BYTES: usize = 64;

/// A node's incoming messages: one mailbox for all its protocols, one wake-up for a whole batch.
///
/// Bounded by [`PEER_BYTES_MAX`] for each peer, so that a flood from one cannot crowd out the others.
#[derive(Debug)]
pub struct Mailbox {
    inner: Mutex<Inner>,
    signal: Arc<Signal>,
}

#[derive(Debug, Default)]
struct Inner {
    arrived: Arrived,
    bytes: BTreeMap<PeerId, usize>,
    waiting: Vec<Waker>,
}

/// What a mailbox held.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    pub(crate) messages: Vec<Envelope>,
    /// Messages to this peer on this channel were probably lost.
    pub(crate) unreachable: Vec<(PeerId, Channel)>,
}

impl Mailbox {
    /// An empty mailbox that wakes its owner through `signal`.
    #[must_use]
    pub fn new(signal: Arc<Signal>) -> Self {
        Self {
            inner: Mutex::default(),
            signal,
        }
    }

    /// Takes the messages of `batch` in order while there is room for their senders; what stays in `batch` found none.
    pub fn deliver(&self, batch: &mut Vec<Envelope>) {
        let mut inner = self.inner.lock();
        let was_empty = inner.is_empty();
        let Inner { arrived, bytes, .. } = &mut *inner;
        let fits = |message: &mut Envelope| {
            let cost = message.payload.len() + MESSAGE_BYTES;
            let bytes = bytes.entry(message.from).or_default();
            let fits = *bytes + cost <= PEER_BYTES_MAX;
            *bytes += if fits { cost } else { 0 };
            fits
        };
        arrived.messages.extend(batch.extract_if(.., fits));
        let wake = was_empty && !inner.is_empty();
        drop(inner);
        if wake {
            self.signal.wake();
        }
    }

    /// Ready once `peer` has room for a payload of the largest size; until then `cx` is woken when that may have changed.
    pub fn poll_room(&self, peer: PeerId, cx: &Context<'_>) -> Poll<()> {
        let mut inner = self.inner.lock();
        if inner
            .bytes
            .get(&peer)
            .is_none_or(|&bytes| bytes <= PEER_BYTES_MAX / 2 - MESSAGE_BYTES)
        {
            return Poll::Ready(());
        }
        // A task polled again for another reason waits once.
        if !inner.waiting.iter().any(|kept| kept.will_wake(cx.waker())) {
            inner.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Reports that messages sent to `peer` on `channel` were probably lost, as when a connection breaks.
    pub fn report_unreachable(&self, peer: PeerId, channel: Channel) {
        let mut inner = self.inner.lock();
        let was_empty = inner.is_empty();
        if !inner.arrived.unreachable.contains(&(peer, channel)) {
            inner.arrived.unreachable.push((peer, channel));
        }
        drop(inner);
        if was_empty {
            self.signal.wake();
        }
    }

    /// Swaps what has arrived into `arrived`, which must be empty.
    pub(crate) fn drain(&self, arrived: &mut Arrived) {
        let mut inner = self.inner.lock();
        if inner.is_empty() {
            return;
        }
        std::mem::swap(&mut inner.arrived, arrived);
        inner.bytes.clear();
        let waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        for waker in waiting {
            waker.wake();
        }
    }

    #[cfg(any(test, feature = "conformance"))]
    /// Takes everything that has arrived, for tests that have no node.
    pub fn take(&self) -> Vec<Envelope> {
        let mut arrived = Arrived::default();
        self.drain(&mut arrived);
        arrived.messages
    }
}

impl Inner {
    const fn is_empty(&self) -> bool {
        self.arrived.messages.is_empty() && self.arrived.unreachable.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::peer::ProtocolId;

    fn message(from: u64, bytes: usize) -> Envelope {
        Envelope {
            from: PeerId::new(from).unwrap(),
            channel: Channel::new(ProtocolId(2000), 0),
            payload: Bytes::from(vec![0; bytes]),
        }
    }

    #[test]
    fn a_flood_from_one_peer_leaves_room_for_another() {
        let mailbox = Mailbox::new(Arc::default());
        let mut flood = vec![
            message(1, PEER_BYTES_MAX / 2),
            message(1, PEER_BYTES_MAX / 2),
        ];
        mailbox.deliver(&mut flood);
        assert_eq!(flood.len(), 1, "the second does not fit beside the first");

        let mut other = vec![message(2, 10)];
        mailbox.deliver(&mut other);
        assert!(other.is_empty());
        assert_eq!(mailbox.take().len(), 2);
        mailbox.deliver(&mut flood);
        assert!(flood.is_empty(), "taking made room");
    }

    #[test]
    fn empty_messages_are_bounded_too() {
        let mailbox = Mailbox::new(Arc::default());
        let mut flood: Vec<_> = (0..=PEER_BYTES_MAX / MESSAGE_BYTES)
            .map(|_| message(1, 0))
            .collect();
        mailbox.deliver(&mut flood);
        assert_eq!(flood.len(), 1);
    }
}
