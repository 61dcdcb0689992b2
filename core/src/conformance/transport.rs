//! What every [`Transport`] promises, as checks to run against yours.
//!
//! Write a [`Harness`] that makes connected peers, and call [`all`]. A check that fails panics and says which promise
//! was broken. Nothing here looks at a clock: a check waits for what must come by calling [`Harness::wait`], at most
//! [`Harness::waits_max`] times, and as a transport may lose messages, it sends again what does not come.
//!
//! ```
//! use std::sync::Arc;
//! use peaberry_core::conformance::transport::{Harness, all};
//! use peaberry_core::{MemoryNetwork, PeerId, Transport};
//!
//! struct Memory;
//!
//! impl Harness for Memory {
//!     fn connect(&mut self, count: usize) -> Vec<Arc<dyn Transport>> {
//!         let network = MemoryNetwork::new();
//!         let ids = (1..).filter_map(PeerId::new).take(count);
//!         ids.map(|id| Arc::new(network.join(id)) as Arc<dyn Transport>).collect()
//!     }
//!     fn wait(&mut self) {}
//! }
//!
//! all(&mut Memory);
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::mailbox::Mailbox;
use crate::peer::{Channel, PeerId, Peers, ProtocolId};
use crate::transport::{Envelope, Outgoing, PAYLOAD_BYTES_MAX, Transport, TransportError};

/// Makes the transports to check, and lets them work.
pub trait Harness {
    /// `count` new peers with different ids, each of which can send to each other. They need not be connected yet.
    /// Nothing is bound on them.
    fn connect(&mut self, count: usize) -> Vec<Arc<dyn Transport>>;

    /// Lets a little time pass, a millisecond say, or takes one step of a transport that does not run by itself.
    fn wait(&mut self);

    /// After how many waits in vain something is taken never to come. Be generous.
    fn waits_max(&self) -> usize {
        60_000
    }

    /// How much may be under way to one peer, in bytes, before it must refuse: the mailbox, the queue, and whatever
    /// lies between. Each message counts 64 bytes more than its payload.
    fn in_flight_bytes_max(&self) -> usize {
        64 << 20
    }
}

/// Runs every check.
///
/// # Panics
///
/// When the transport breaks a promise, as does each check below.
pub fn all(harness: &mut impl Harness) {
    payloads_arrive_as_they_were_sent(harness);
    senders_are_who_they_are(harness);
    mailboxes_get_their_protocol_only(harness);
    mailboxes_get_accepted_peers_only(harness);
    a_protocol_is_bound_once(harness);
    what_cannot_be_sent_stays_in_the_batch(harness);
    a_full_queue_refuses_and_recovers(harness);
    a_long_transfer_holds_up_no_other_channel(harness);
    a_stuck_mailbox_holds_up_no_other_protocol(harness);
    any_thread_may_send(harness);
}

/// A payload arrives with the bytes that were sent, under the channel it was sent on, whatever its length up to
/// [`PAYLOAD_BYTES_MAX`].
///
/// # Panics
///
/// When it does not.
pub fn payloads_arrive_as_they_were_sent(harness: &mut impl Harness) {
    let [anna, ben] = members(harness);
    let lengths = [0, 1, 127, 4096, 65_535, 65_536, 1 << 20, PAYLOAD_BYTES_MAX];
    let wanted: Vec<_> = lengths
        .into_iter()
        .zip(1_u64..)
        .map(|(length, group)| ben.outgoing(group, pattern(length, group)))
        .collect();
    for message in wanted {
        let arrived = exchange(harness, &anna, std::slice::from_ref(&message), &ben);
        for envelope in arrived {
            assert!(
                envelope.payload.len() <= PAYLOAD_BYTES_MAX
                    && envelope.payload == pattern(envelope.payload.len(), envelope.channel.group),
                "a payload of {} bytes on {} arrived with other bytes or on another channel",
                envelope.payload.len(),
                envelope.channel
            );
        }
    }
}

/// `from` is who sent it.
///
/// # Panics
///
/// When it is somebody else.
pub fn senders_are_who_they_are(harness: &mut impl Harness) {
    let [anna, ben, cleo] = members(harness);
    for sender in [&anna, &cleo] {
        let name = Bytes::from(sender.id().to_string());
        exchange(harness, sender, &[ben.outgoing(1, name)], &ben);
    }
    let both = [&anna, &cleo].map(|sender| Bytes::from(sender.id().to_string()));
    for (sender, name) in [&anna, &cleo].into_iter().zip(both) {
        for envelope in exchange(harness, sender, &[ben.outgoing(2, name)], &ben) {
            assert_eq!(
                envelope.payload,
                envelope.from.to_string(),
                "a message arrived in another's name"
            );
        }
    }
}

/// A mailbox bound for a protocol gets that protocol's messages and no others; what nobody has bound is dropped.
///
/// # Panics
///
/// When a mailbox gets another protocol's message.
pub fn mailboxes_get_their_protocol_only(harness: &mut impl Harness) {
    let [anna, ben] = members(harness);
    let other = Arc::new(Mailbox::new(Arc::default()));
    bind(&ben, OTHER, Peers::Any, &other);
    let unbound = Channel::new(UNBOUND, 1);
    for round in 0..20_u64 {
        let to = ben.id();
        let payload = Bytes::from(round.to_string());
        send_until_taken(harness, &anna, to, unbound, &payload);
        send_until_taken(harness, &anna, to, Channel::new(OTHER, 1), &payload);
        let arrived = exchange(harness, &anna, &[ben.outgoing(round, payload)], &ben);
        let strays = arrived
            .iter()
            .filter(|envelope| envelope.channel.protocol != PROTOCOL);
        assert_eq!(strays.count(), 0, "a mailbox got another protocol's");
    }
    let wanted = Outgoing {
        to: ben.id(),
        channel: Channel::new(OTHER, 7),
        payload: Bytes::from("end"),
    };
    let arrived = exchange_at(harness, &anna, &[wanted], &other);
    assert!(
        arrived
            .iter()
            .all(|envelope| envelope.channel.protocol == OTHER),
        "a mailbox got another protocol's"
    );
}

/// A mailbox bound for a protocol gets messages from peers in `accept` and from no others.
///
/// # Panics
///
/// When it gets one from another peer.
pub fn mailboxes_get_accepted_peers_only(harness: &mut impl Harness) {
    let [anna, ben, cleo] = members(harness);
    let chosen = Arc::new(Mailbox::new(Arc::default()));
    bind(&ben, OTHER, [cleo.id()].into_iter().collect(), &chosen);
    let channel = Channel::new(OTHER, 1);
    for round in 0..20_u64 {
        let payload = Bytes::from(round.to_string());
        send_until_taken(harness, &anna, ben.id(), channel, &payload);
        // Anna's next message on a protocol that accepts her, so that the refused one has had its chance to arrive.
        exchange(
            harness,
            &anna,
            &[ben.outgoing(round, payload.clone())],
            &ben,
        );
        let wanted = Outgoing {
            to: ben.id(),
            channel,
            payload,
        };
        for envelope in exchange_at(harness, &cleo, &[wanted], &chosen) {
            assert_eq!(
                envelope.from,
                cleo.id(),
                "a mailbox got a message from a peer that is not accepted"
            );
        }
    }
}

/// A protocol has one mailbox at a time: another is [`AlreadyBound`](TransportError::AlreadyBound) and changes nothing,
/// until every owner of the first has dropped it.
///
/// # Panics
///
/// When a second mailbox is bound, the first is lost, or the protocol cannot be bound again.
pub fn a_protocol_is_bound_once(harness: &mut impl Harness) {
    let [anna, ben] = members(harness);
    let second = Arc::new(Mailbox::new(Arc::default()));
    let refused = ben.transport.bind(PROTOCOL, Peers::Any, second.clone());
    let expected = TransportError::AlreadyBound {
        protocol: PROTOCOL,
        local: ben.id(),
    };
    assert_eq!(refused, Err(expected), "a second mailbox was bound");
    let first = [ben.outgoing(1, Bytes::from("to the first"))];
    exchange(harness, &anna, &first, &ben);
    assert!(second.take().is_empty(), "the refused mailbox got messages");

    let Member { transport, mailbox } = ben;
    drop(mailbox);
    let mut waits = harness.waits_max();
    while transport
        .bind(PROTOCOL, Peers::Any, second.clone())
        .is_err()
    {
        waits = wait(harness, waits, "a binding whose mailbox is gone ends");
    }
    let ben = Member {
        transport,
        mailbox: second,
    };
    let again = [ben.outgoing(2, Bytes::from("to the second"))];
    exchange(harness, &anna, &again, &ben);
}

/// Messages to an unknown peer, to oneself and over [`PAYLOAD_BYTES_MAX`] stay in the batch, and nothing else does.
///
/// # Panics
///
/// When one is taken, or a good one among them is not.
pub fn what_cannot_be_sent_stays_in_the_batch(harness: &mut impl Harness) {
    let [anna, ben] = members(harness);
    let nobody = (1..)
        .filter_map(PeerId::new)
        .find(|id| *id != anna.id() && *id != ben.id())
        .expect("there are more than two ids");
    let good = [ben.outgoing(1, Bytes::from("good"))];
    exchange(harness, &anna, &good, &ben);

    let oversized = Bytes::from(vec![0; PAYLOAD_BYTES_MAX + 1]);
    let bad = [
        ben.outgoing(2, oversized),
        Outgoing {
            to: nobody,
            ..ben.outgoing(3, Bytes::from("to nobody"))
        },
        anna.outgoing(4, Bytes::from("to myself")),
    ];
    let mut waits = harness.waits_max();
    loop {
        let mut batch = Vec::new();
        for message in &bad {
            batch.extend_from_slice(&good);
            batch.push(message.clone());
        }
        anna.transport.send(&mut batch);
        let kept: BTreeSet<_> = batch.iter().map(|message| message.channel.group).collect();
        assert!(
            [2, 3, 4].iter().all(|group| kept.contains(group)),
            "of an oversized message, one to nobody and one to oneself, one was taken"
        );
        // A good one may be refused only because there is no room yet.
        if kept.len() == bad.len() {
            return;
        }
        ben.mailbox.take();
        waits = wait(harness, waits, "a good message is taken");
    }
}

/// `send` never waits, and queues are bounded: to a peer that takes nothing, messages are refused at some point; when it
/// takes them again, they are accepted again.
///
/// # Panics
///
/// When more than [`Harness::in_flight_bytes_max`] is accepted at once, or nothing is when there is room again.
pub fn a_full_queue_refuses_and_recovers(harness: &mut impl Harness) {
    for length in [0, 64 << 10] {
        let [anna, ben] = members(harness);
        let start = [ben.outgoing(1, Bytes::from("start"))];
        exchange(harness, &anna, &start, &ben);

        let message = ben.outgoing(2, pattern(length, 2));
        let count = harness.in_flight_bytes_max() / (length + 64) + 1;
        // In one batch, so that a transport with threads of its own cannot carry it away meanwhile.
        let mut batch = vec![message; count];
        anna.transport.send(&mut batch);
        assert!(
            !batch.is_empty(),
            "{count} messages of {length} bytes to a peer that takes nothing, and none refused"
        );
        exchange(
            harness,
            &anna,
            &[ben.outgoing(3, Bytes::from("again"))],
            &ben,
        );
    }
}

/// A long transfer on one channel does not hold up another: a small message arrives while the transfer's queue is kept
/// full.
///
/// # Panics
///
/// When four times [`Harness::in_flight_bytes_max`] of the transfer arrives first.
pub fn a_long_transfer_holds_up_no_other_channel(harness: &mut impl Harness) {
    let [anna, ben] = members(harness);
    let start = [ben.outgoing(1, Bytes::from("start"))];
    exchange(harness, &anna, &start, &ben);

    let bulk = pattern(64 << 10, 2);
    let small = ben.outgoing(3, Bytes::from("heartbeat"));
    let mut transferred = 0;
    let mut waits = harness.waits_max();
    fill(&anna, &ben, &bulk);
    loop {
        // The small one goes behind everything that the transfer has queued, and again in case it was lost.
        anna.transport.send(&mut vec![small.clone()]);
        fill(&anna, &ben, &bulk);
        let arrived = ben.mailbox.take();
        transferred += arrived
            .iter()
            .filter(|envelope| envelope.channel.group == 2)
            .map(|envelope| envelope.payload.len())
            .sum::<usize>();
        if arrived.iter().any(|envelope| envelope.channel.group == 3) {
            return;
        }
        assert!(
            transferred <= 4 * harness.in_flight_bytes_max(),
            "{transferred} bytes of a transfer arrived before a small message on another channel"
        );
        waits = wait(harness, waits, "a small message beside a transfer arrives");
    }
}

/// Queues as much of a transfer as there is room for.
fn fill(from: &Member, to: &Member, bulk: &Bytes) {
    loop {
        let mut batch = vec![to.outgoing(2, bulk.clone())];
        from.transport.send(&mut batch);
        if !batch.is_empty() {
            return;
        }
    }
}

/// A mailbox that nobody empties does not hold up another protocol's messages from the same peer.
///
/// # Panics
///
/// When it does.
pub fn a_stuck_mailbox_holds_up_no_other_protocol(harness: &mut impl Harness) {
    let [anna, ben] = members(harness);
    let start = [ben.outgoing(1, Bytes::from("start"))];
    exchange(harness, &anna, &start, &ben);
    let stuck = Arc::new(Mailbox::new(Arc::default()));
    bind(&ben, OTHER, Peers::Any, &stuck);
    let bulk = Outgoing {
        to: ben.id(),
        channel: Channel::new(OTHER, 1),
        payload: pattern(1 << 20, 1),
    };
    for round in 0..50_u64 {
        // What is refused here has found the way to the stuck mailbox full.
        let mut batch = vec![bulk.clone(); 8];
        anna.transport.send(&mut batch);
        let wanted = [ben.outgoing(10 + round, Bytes::from("still here"))];
        exchange(harness, &anna, &wanted, &ben);
    }
}

/// `send` may be called from any thread, from several at once.
///
/// # Panics
///
/// When a message does not arrive, or another one does.
pub fn any_thread_may_send(harness: &mut impl Harness) {
    let [anna, ben] = members(harness);
    let message = |thread: u64, number: u64| {
        let text = format!("{number} of thread {thread}");
        ben.outgoing(thread, Bytes::from(text))
    };
    std::thread::scope(|scope| {
        for thread in 1..=4 {
            let (anna, message) = (&anna, &message);
            scope.spawn(move || {
                for number in 0..100 {
                    anna.transport.send(&mut vec![message(thread, number)]);
                }
            });
        }
    });
    let wanted: Vec<_> = (1..=4)
        .flat_map(|thread| (0..100).map(move |number| (thread, number)))
        .map(|(thread, number)| message(thread, number))
        .collect();
    let all: BTreeSet<_> = wanted.iter().map(key).collect();
    for envelope in exchange(harness, &anna, &wanted, &ben) {
        let arrived = (envelope.channel, envelope.payload);
        assert!(
            all.contains(&arrived),
            "something arrived that was not sent"
        );
    }
}

const PROTOCOL: ProtocolId = ProtocolId(2000);
const OTHER: ProtocolId = ProtocolId(2001);
const UNBOUND: ProtocolId = ProtocolId(2002);

/// After how many waits what has not come is sent again.
const WAITS_BEFORE_RESEND: usize = 500;

/// A peer with a mailbox bound for [`PROTOCOL`].
struct Member {
    transport: Arc<dyn Transport>,
    mailbox: Arc<Mailbox>,
}

impl Member {
    fn id(&self) -> PeerId {
        self.transport.local()
    }

    /// A message to this peer.
    fn outgoing(&self, group: u64, payload: Bytes) -> Outgoing {
        Outgoing {
            to: self.id(),
            channel: Channel::new(PROTOCOL, group),
            payload,
        }
    }
}

fn members<const N: usize>(harness: &mut impl Harness) -> [Member; N] {
    let mut transports = harness.connect(N).into_iter();
    let members = [(); N].map(|()| {
        let member = Member {
            transport: transports
                .next()
                .expect("the harness makes as many peers as asked for"),
            mailbox: Arc::new(Mailbox::new(Arc::default())),
        };
        bind(&member, PROTOCOL, Peers::Any, &member.mailbox);
        member
    });
    let ids: BTreeSet<_> = members.iter().map(Member::id).collect();
    assert_eq!(ids.len(), N, "the harness makes peers of different ids");
    members
}

fn bind(member: &Member, protocol: ProtocolId, accept: Peers, mailbox: &Arc<Mailbox>) {
    let bound = member.transport.bind(protocol, accept, mailbox.clone());
    assert_eq!(bound, Ok(()), "a protocol that is free can be bound");
}

/// Bytes that differ for each length and number.
fn pattern(length: usize, number: u64) -> Bytes {
    let mut state = (length as u64) << 8 ^ number;
    let bytes = std::iter::repeat_with(|| {
        // The step of Knuth's MMIX generator.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()
    });
    bytes.flatten().take(length).collect()
}

type Key = (Channel, Bytes);

fn key(message: &Outgoing) -> Key {
    (message.channel, message.payload.clone())
}

/// Sends `wanted` until each of them has arrived at `to`; returns everything that has.
fn exchange(
    harness: &mut impl Harness,
    from: &Member,
    wanted: &[Outgoing],
    to: &Member,
) -> Vec<Envelope> {
    exchange_at(harness, from, wanted, &to.mailbox)
}

fn exchange_at(
    harness: &mut impl Harness,
    from: &Member,
    wanted: &[Outgoing],
    mailbox: &Mailbox,
) -> Vec<Envelope> {
    let mut missing = wanted.to_vec();
    let mut arrived = Vec::new();
    let mut waits = harness.waits_max();
    let mut refused: Vec<Outgoing> = Vec::new();
    for round in 0.. {
        if round % WAITS_BEFORE_RESEND == 0 {
            refused.clone_from(&missing);
        }
        from.transport.send(&mut refused);
        let new = mailbox.take();
        let got: BTreeSet<Key> = new
            .iter()
            .filter(|envelope| envelope.from == from.id())
            .map(|envelope| (envelope.channel, envelope.payload.clone()))
            .collect();
        missing.retain(|message| !got.contains(&key(message)));
        arrived.extend(new);
        if missing.is_empty() {
            break;
        }
        waits = wait(harness, waits, "what is sent again and again arrives");
    }
    arrived
}

/// Sends a message until the transport takes it; whether it arrives is another matter.
fn send_until_taken(
    harness: &mut impl Harness,
    from: &Member,
    to: PeerId,
    channel: Channel,
    payload: &Bytes,
) {
    let mut batch = vec![Outgoing {
        to,
        channel,
        payload: payload.clone(),
    }];
    let mut waits = harness.waits_max();
    loop {
        from.transport.send(&mut batch);
        if batch.is_empty() {
            return;
        }
        waits = wait(harness, waits, "a message is taken");
    }
}

/// Waits once; returns how many waits are left.
fn wait(harness: &mut impl Harness, left: usize, promise: &str) -> usize {
    assert!(left > 0, "waited in vain: {promise}");
    harness.wait();
    left - 1
}
