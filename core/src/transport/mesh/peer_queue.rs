use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::config::MeshLimits;
use crate::peer::Channel;
use crate::transport::PAYLOAD_BYTES_MAX;

/// What each message counts beside its payload: about what it takes in the queue and on the wire.
pub(super) const MESSAGE_BYTES: usize = 64;

/// What one channel may send before the next has its turn, in bytes.
const QUANTUM_BYTES: usize = 32 << 10;

/// Up to what a channel counts as having little waiting, in bytes; see [`MeshLimits::peer_bytes_max`].
const LITTLE_BYTES: usize = 64 << 10;

/// How many emptied queues keep their memory for the next channel.
const SPARE_MAX: usize = 64;

/// What waits for one peer: a queue for each channel, drained by deficit round robin (Shreedhar and Varghese, 1995), so
/// that each busy channel gets an equal share of the bytes.
#[derive(Debug, Default)]
pub(super) struct PeerQueue {
    /// Only channels with messages.
    channels: BTreeMap<Channel, ChannelQueue>,
    /// The same channels in the order of their turns.
    turns: VecDeque<Channel>,
    bytes: usize,
    spare: Vec<VecDeque<Bytes>>,
}

#[derive(Debug)]
struct ChannelQueue {
    messages: VecDeque<Bytes>,
    bytes: usize,
    /// What it may send now.
    deficit: usize,
}

const fn cost(payload: &Bytes) -> usize {
    payload.len() + MESSAGE_BYTES
}

impl PeerQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Adds a message, or gives it back where there is no room.
    pub(super) fn push(
        &mut self,
        channel: Channel,
        payload: Bytes,
        limits: &MeshLimits,
    ) -> Result<(), Bytes> {
        let cost = cost(&payload);
        let (messages, bytes) = self
            .channels
            .get(&channel)
            .map_or((0, 0), |queue| (queue.messages.len(), queue.bytes));
        let channel_bytes_max = limits
            .queue_bytes_max
            .max(PAYLOAD_BYTES_MAX + MESSAGE_BYTES);
        let peer_bytes_max = if bytes + cost <= LITTLE_BYTES {
            limits.peer_bytes_max
        } else {
            limits.peer_bytes_max / 4 * 3
        };
        if messages >= limits.queue_messages_max
            || bytes + cost > channel_bytes_max
            || self.bytes + cost > peer_bytes_max
        {
            return Err(payload);
        }
        self.bytes += cost;
        let queue = self.channels.entry(channel).or_insert_with(|| {
            self.turns.push_back(channel);
            ChannelQueue {
                messages: self.spare.pop().unwrap_or_default(),
                bytes: 0,
                deficit: 0,
            }
        });
        queue.bytes += cost;
        queue.messages.push_back(payload);
        Ok(())
    }

    /// Moves messages to `out` until they amount to `bytes_max` or more, or none is left: at least one if there is any.
    pub(super) fn take(&mut self, bytes_max: usize, out: &mut Vec<(Channel, Bytes)>) {
        let mut left = bytes_max;
        while left > 0
            && let Some(&channel) = self.turns.front()
        {
            let queue = self
                .channels
                .get_mut(&channel)
                .expect("a channel with a turn has messages");
            let taken = queue.take(channel, left, out);
            self.bytes -= taken;
            left = left.saturating_sub(taken);
            self.end_turn(channel);
        }
    }

    /// Lets the next channel have its turn once this one has used up its own.
    fn end_turn(&mut self, channel: Channel) {
        let Some(queue) = self.channels.get_mut(&channel) else {
            return;
        };
        if queue.messages.is_empty() {
            self.turns.pop_front();
            let emptied = self.channels.remove(&channel);
            if let Some(emptied) = emptied
                && self.spare.len() < SPARE_MAX
                && emptied.messages.capacity() <= QUANTUM_BYTES / MESSAGE_BYTES
            {
                self.spare.push(emptied.messages);
            }
        } else if queue.is_spent() {
            queue.deficit += QUANTUM_BYTES;
            self.turns.rotate_left(1);
        }
    }

    /// Empties the queue; returns how many messages each channel had.
    pub(super) fn clear(&mut self) -> Vec<(Channel, usize)> {
        self.turns.clear();
        self.bytes = 0;
        let channels = std::mem::take(&mut self.channels);
        channels
            .into_iter()
            .map(|(channel, queue)| (channel, queue.messages.len()))
            .collect()
    }
}

impl ChannelQueue {
    /// Takes what the turn allows, up to about `bytes_max`; returns its bytes.
    fn take(
        &mut self,
        channel: Channel,
        bytes_max: usize,
        out: &mut Vec<(Channel, Bytes)>,
    ) -> usize {
        let mut taken = 0;
        while taken < bytes_max
            && !self.is_spent()
            && let Some(payload) = self.messages.pop_front()
        {
            let cost = cost(&payload);
            self.deficit -= cost;
            self.bytes -= cost;
            taken += cost;
            out.push((channel, payload));
        }
        taken
    }

    /// Whether the next message has to wait for the channel's next turn.
    fn is_spent(&self) -> bool {
        self.messages
            .front()
            .is_some_and(|payload| cost(payload) > self.deficit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::peer::ProtocolId;

    fn channel(group: u64) -> Channel {
        Channel::new(ProtocolId(2000), group)
    }

    fn payload(bytes: usize) -> Bytes {
        Bytes::from(vec![0; bytes])
    }

    fn push(queue: &mut PeerQueue, group: u64, bytes: usize) -> bool {
        let limits = MeshLimits::default();
        queue.push(channel(group), payload(bytes), &limits).is_ok()
    }

    #[test]
    fn a_heartbeat_overtakes_a_snapshot() {
        let mut queue = PeerQueue::default();
        while push(&mut queue, 1, 1 << 20) {}
        assert!(push(&mut queue, 2, 10));
        let mut out = Vec::new();
        queue.take(1, &mut out);
        queue.take(1, &mut out);
        assert!(out.iter().any(|(from, _)| *from == channel(2)));
    }

    #[test]
    fn a_full_channel_refuses_and_leaves_room_for_others() {
        let mut queue = PeerQueue::default();
        for bulk in 0..10 {
            while push(&mut queue, bulk, 1 << 20) {}
        }
        assert!(queue.bytes <= MeshLimits::default().peer_bytes_max);
        assert!(push(&mut queue, 99, 1000), "a little always has room");
        assert!(!push(&mut queue, 99, 1 << 20));
    }

    #[test]
    fn empty_messages_are_bounded_by_their_count() {
        let limits = MeshLimits {
            queue_messages_max: 10,
            ..MeshLimits::default()
        };
        let mut queue = PeerQueue::default();
        let taken = (0..20)
            .filter(|_| queue.push(channel(1), Bytes::new(), &limits).is_ok())
            .count();
        assert_eq!(taken, 10);
    }

    #[test]
    fn busy_channels_share_the_bytes() {
        let mut queue = PeerQueue::default();
        for _ in 0..100 {
            push(&mut queue, 1, 100_000);
            for _ in 0..100 {
                push(&mut queue, 2, 1_000);
            }
        }
        let mut out = Vec::new();
        while out.iter().map(|(_, payload)| cost(payload)).sum::<usize>() < 4_000_000 {
            queue.take(256 << 10, &mut out);
        }
        let share = |group| {
            let messages = out.iter().filter(|(from, _)| *from == channel(group));
            messages.map(|(_, payload)| cost(payload)).sum::<usize>()
        };
        let (big, small) = (share(1), share(2));
        assert!(
            big.abs_diff(small) <= 100_064 + 2 * QUANTUM_BYTES,
            "{big} and {small}"
        );
    }

    proptest! {
        #[test]
        fn everything_comes_out_once_and_in_its_channels_order(
            pushes in prop::collection::vec((0..4_u64, 0..100_000_usize), 0..200),
            bytes_max in 1..300_000_usize,
        ) {
            let mut queue = PeerQueue::default();
            let mut expected: BTreeMap<Channel, Vec<usize>> = BTreeMap::new();
            for (group, bytes) in pushes {
                if push(&mut queue, group, bytes) {
                    expected.entry(channel(group)).or_default().push(bytes);
                }
            }
            let mut got: BTreeMap<Channel, Vec<usize>> = BTreeMap::new();
            let mut out = Vec::new();
            while !queue.is_empty() {
                queue.take(bytes_max, &mut out);
                prop_assert!(!out.is_empty(), "each call makes progress");
                for (channel, payload) in out.drain(..) {
                    got.entry(channel).or_default().push(payload.len());
                }
            }
            prop_assert_eq!(got, expected);
            prop_assert_eq!(queue.bytes, 0);
        }
    }
}
