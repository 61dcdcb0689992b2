//! What strangers, replaced disks and made-up names can do to a collector and to the devices it serves: nothing that is not
//! told by name, and nothing that lasts.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends at what should not be"
)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use peaberry_core::{Batch, Channel, Durability, Instant, MemoryStorage, Storage};
use peaberry_edge::collector::{COLLECTOR, Collector, CollectorSettings, Intake, Received};
use peaberry_edge::courier::Courier;
use peaberry_edge::payload::{Delivery, Gap, GapReason, Payload, Record, SinkAck, Wire};
use peaberry_edge::spool::{SPOOL, Spool, SpoolSettings};
use peaberry_edge::topic::{Lane, Stream, Topic};
use peaberry_edge::uplink::{
    AckToken, MemoryBroker, MemoryUplink, Message, SubmitError, Uplink, UplinkEvent,
};
use peaberry_edge::{
    BOOT_JUMP_MAX, BOOT_SKIP_MAX, BootEpoch, BootSalt, EdgeError, Name, Position, RecordId,
    SEQUENCE_JUMP_MAX,
};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn boot(number: u64) -> BootEpoch {
    BootEpoch::new(number).unwrap()
}

fn delivery(device: &str, at: (u64, u64), after: Option<(u64, u64)>) -> Message {
    let record = Record {
        id: RecordId {
            device: name(device),
            boot: boot(at.0),
            sequence: at.1,
        },
        at_ms: 1,
        payload: Payload::Twin(Bytes::from_static(b"x")),
    };
    let after = after.map(|(number, sequence)| Position::new(boot(number), sequence));
    let topic = Topic {
        site: name("site"),
        device: name(device),
        lane: Lane::Up(Stream::Twin),
    };
    Message::new(topic.to_string(), Delivery { record, after }.encode())
}

fn collector(storage: &MemoryStorage, devices_max: usize) -> Collector {
    let settings = CollectorSettings {
        devices_max,
        ..CollectorSettings::default()
    };
    Collector::open(storage, Channel::new(COLLECTOR, 0), name("site"), settings).unwrap()
}

fn take(
    collector: &mut Collector,
    storage: &MemoryStorage,
    message: &Message,
) -> Result<Received, EdgeError> {
    let received = collector.receive(storage, message);
    collector.commit(storage).unwrap();
    received
}

#[test]
fn a_position_beyond_all_reason_is_refused_and_silences_nobody() {
    let storage = MemoryStorage::new();
    let mut collector = collector(&storage, 10);
    take(&mut collector, &storage, &delivery("m", (3, 7), None)).unwrap();
    for (at, after) in [
        ((u64::MAX, u64::MAX), None),
        ((3 + BOOT_JUMP_MAX + 1, 1), Some((3, 7))),
        ((3, 7 + SEQUENCE_JUMP_MAX + 1), Some((3, 7))),
        ((4, SEQUENCE_JUMP_MAX + 1), None),
    ] {
        let refused = take(&mut collector, &storage, &delivery("m", at, after));
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("too far ahead"), "{refused}");
    }
    for fresh in ["other", "m"] {
        let absurd = delivery(fresh, (u64::MAX, 1), None);
        assert!(take(&mut collector, &storage, &absurd).is_err());
    }
    let next = take(
        &mut collector,
        &storage,
        &delivery("m", (3, 8), Some((3, 7))),
    );
    assert_eq!(next.unwrap(), Received::New(1));
    assert_eq!(collector.device_count(), 1);
}

#[test]
fn made_up_names_are_named_and_forgotten() {
    let storage = MemoryStorage::new();
    let mut collector = collector(&storage, 2);
    for made_up in ["x1", "x2"] {
        take(&mut collector, &storage, &delivery(made_up, (1, 1), None)).unwrap();
    }
    let ours = delivery("m", (1, 1), None);
    let refused = take(&mut collector, &storage, &ours).unwrap_err();
    assert!(refused.to_string().contains("forget one"), "{refused}");
    let mut batch = Batch::new();
    assert!(collector.forget(&mut batch, &name("x1")));
    assert!(!collector.forget(&mut batch, &name("x1")));
    storage.commit(&batch, Durability::Synced).unwrap();
    assert_eq!(
        take(&mut collector, &storage, &ours).unwrap(),
        Received::New(2)
    );
    // Also after a restart.
    let mut collector = self::collector(&storage, 2);
    assert_eq!(collector.device_count(), 2);
    assert!(take(&mut collector, &storage, &delivery("x1", (1, 1), None)).is_err());
}

#[test]
fn a_device_that_counts_its_starts_anew_is_told_apart_and_can_be_forgotten() {
    let storage = MemoryStorage::new();
    let mut collector = collector(&storage, 10);
    take(&mut collector, &storage, &delivery("m", (9, 4), None)).unwrap();
    let anew = delivery("m", (1, 1), None);
    let received = take(&mut collector, &storage, &anew).unwrap();
    assert_eq!(received, Received::OfEarlierStart { known: boot(9) });
    let same = take(&mut collector, &storage, &delivery("m", (9, 4), None));
    assert_eq!(same.unwrap(), Received::Repeated);
    let mut batch = Batch::new();
    collector.forget(&mut batch, &name("m"));
    storage.commit(&batch, Durability::Synced).unwrap();
    assert_eq!(
        take(&mut collector, &storage, &anew).unwrap(),
        Received::New(1)
    );
}

/// One device with its spool, and somebody who can publish.
struct Field {
    storage: MemoryStorage,
    broker: MemoryBroker,
    courier: Courier<MemoryUplink>,
    other: MemoryUplink,
    now: Instant,
}

fn courier(
    broker: &MemoryBroker,
    storage: &MemoryStorage,
    boot_salt: u64,
) -> Courier<MemoryUplink> {
    let mut batch = Batch::new();
    let settings = SpoolSettings {
        boot_salt: BootSalt::Given(boot_salt),
        ..SpoolSettings::default()
    };
    let (owner, settings) = (Channel::new(SPOOL, 1), Arc::new(settings));
    let spool = Spool::open(
        storage,
        owner,
        name("site"),
        name("m"),
        settings,
        &mut batch,
    );
    let (uplink, now) = (broker.connect("m"), Instant::default());
    let spools = vec![spool.unwrap()];
    Courier::new(uplink, &name("site"), spools, &batch, now, storage).unwrap()
}

impl Field {
    fn new() -> Self {
        Self::salted(0)
    }

    /// Its starts are.
    fn salted(salt: u64) -> Self {
        let (storage, broker) = (MemoryStorage::new(), MemoryBroker::new(1));
        Self {
            courier: courier(&broker, &storage, salt),
            other: broker.connect("other"),
            storage,
            broker,
            now: Instant::default(),
        }
    }

    fn restart(&mut self) {
        self.courier = courier(&self.broker, &self.storage, 0);
    }

    fn append(&mut self) {
        let payload = Payload::Twin(Bytes::from_static(b"x"));
        self.courier
            .append(0, self.now, &self.storage, payload)
            .unwrap();
    }

    /// What was refused, in words.
    fn turn(&mut self) -> Vec<String> {
        let mut cx = Context::from_waker(Waker::noop());
        self.now += Duration::from_secs(1);
        let turned = self.courier.turn(&mut cx, self.now, &self.storage).unwrap();
        let Poll::Ready(report) = turned else {
            return Vec::new();
        };
        let refused = report.refused.iter();
        refused.map(|(_, error)| error.to_string()).collect()
    }

    fn ack(&mut self, number: u64, through: u64) -> Vec<String> {
        let ack = SinkAck {
            device: name("m"),
            boot: boot(number),
            stream: Stream::Twin,
            through,
        };
        let topic = Topic {
            site: name("site"),
            device: name("m"),
            lane: Lane::Acks,
        };
        let message = Message::new(topic.to_string(), ack.encode());
        self.other.submit(1, message).unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        let _ = self.other.poll_events(&mut cx, &mut Vec::new());
        self.turn()
    }

    fn records(&self) -> u64 {
        self.courier.spool(0).unwrap().status().records
    }

    fn boot(&self) -> u64 {
        self.courier.spool(0).unwrap().boot().get()
    }
}

#[test]
fn an_ack_of_what_was_never_made_cuts_nothing() {
    let mut field = Field::new();
    field.turn();
    (0..3).for_each(|_| field.append());
    field.turn();
    for (number, through) in [
        (1, 4 + SEQUENCE_JUMP_MAX),
        (1, u64::MAX),
        (2 + BOOT_SKIP_MAX, 1),
        (u64::MAX, 1),
    ] {
        let refused = field.ack(number, through);
        assert_eq!(refused.len(), 1, "{number}/{through}");
        assert!(
            refused[0].contains("has made no more than 1/3"),
            "{refused:?}"
        );
        assert_eq!(field.records(), 3);
    }
    assert!(field.ack(1, 2).is_empty());
    assert_eq!(field.records(), 1);
    field.restart();
    assert_eq!(field.boot(), 2);
}

/// A disk was replaced: the sink knows start 9, and this is the first.
#[test]
fn a_device_whose_disk_was_replaced_goes_on_above_the_starts_that_its_sink_knows() {
    let mut field = Field::new();
    field.turn();
    field.append();
    field.turn();
    for _ in 0..2 {
        let refused = field.ack(9, 70);
        assert!(
            refused[0].contains("a sink knows m up to 9/70"),
            "{refused:?}"
        );
        assert_eq!(field.records(), 1, "nothing is cut");
    }
    field.restart();
    assert_eq!(field.boot(), 10);
    // An acknowledgement of what was heard before is no news.
    assert!(field.ack(9, 70).is_empty());
    field.restart();
    assert_eq!(field.boot(), 11);
}

/// A device may be newer than its collector: what it lost for a reason that is not known here is told all the same, and what comes
/// after that does not wait for ever.
#[test]
fn a_gap_for_a_reason_that_is_not_known_is_collected_and_so_is_what_follows() {
    let archive = MemoryStorage::new();
    let mut collector = collector(&archive, 10);
    let reasons = [17, u64::MAX];
    for (sequence, reason) in (1..).zip(reasons) {
        let gap = Gap {
            stream: Stream::Custom,
            first: Position::new(boot(1), 3),
            last: Position::new(boot(1), 9),
            count: 2,
            reason: GapReason::Unknown(reason),
        };
        let record = Record {
            id: RecordId {
                device: name("m"),
                boot: boot(2),
                sequence,
            },
            at_ms: 1,
            payload: Payload::Gap(gap),
        };
        let after = (sequence > 1).then(|| Position::new(boot(2), sequence - 1));
        let topic = Topic {
            site: name("site"),
            device: name("m"),
            lane: Lane::Up(Stream::Alerts),
        };
        let message = Message::new(topic.to_string(), Delivery { record, after }.encode());
        let received = take(&mut collector, &archive, &message);
        assert_eq!(received.unwrap(), Received::New(sequence - 1));
    }
    let kept = collector.records(&archive, 0, usize::MAX).unwrap();
    let kept = kept.iter().map(|record| match record.payload {
        Payload::Gap(gap) => gap.reason,
        _ => unreachable!("gaps were sent"),
    });
    assert!(kept.eq(reasons.map(GapReason::Unknown)));
}

/// A disk was replaced within the first start: the sink knows more of that than this one has made.
#[test]
fn a_device_whose_disk_was_replaced_in_its_first_start_hears_of_it_until_it_has_come_as_far() {
    let mut field = Field::new();
    let archive = MemoryStorage::new();
    let mut collector = collector(&archive, 10);
    take(&mut collector, &archive, &delivery("m", (1, 70), None)).unwrap();
    field.turn();
    field.append();
    field.turn();
    let received = take(&mut collector, &archive, &delivery("m", (1, 1), None));
    assert_eq!(received.unwrap(), Received::Repeated, "it cannot know");
    for records in [1, 69] {
        let refused = field.ack(1, 70);
        assert!(
            refused[0]
                .contains("a sink knows m up to 1/70, and this start, 1, has not come so far"),
            "{refused:?}"
        );
        assert_eq!(field.records(), records, "nothing is cut");
        (0..68).for_each(|_| field.append());
        field.turn();
    }
    // It may have been made up, and this one is not: both look alike.
    assert!(field.ack(1, 70).is_empty());
    assert_eq!(field.records(), 67);
    field.restart();
    assert_eq!(field.boot(), 2);
    let next = delivery("m", (2, 1), Some((1, 137)));
    let next = take(&mut collector, &archive, &next);
    assert_eq!(next.unwrap(), Received::New(1));
}

/// Three lives of a device that each begin on an empty disk, with starts that are salted: one above all that is known goes on,
/// one below is noticed on both sides; none is taken for another.
#[test]
fn salted_starts_on_replaced_disks_are_not_taken_for_one_another() {
    let archive = MemoryStorage::new();
    let mut collector = collector(&archive, 10);
    for (salt, received) in [
        (500, Received::New(0)),
        (900, Received::New(1)),
        (100, Received::OfEarlierStart { known: boot(901) }),
    ] {
        let mut field = Field::salted(salt);
        field.turn();
        field.append();
        field.turn();
        assert_eq!(field.boot(), 1 + salt);
        let anew = delivery("m", (field.boot(), 1), None);
        assert_eq!(take(&mut collector, &archive, &anew).unwrap(), received);
        let refused = field.ack(901, 1);
        assert_eq!(refused.is_empty(), salt == 900, "{refused:?}");
        assert_eq!(field.records(), u64::from(salt != 900));
    }
}

/// What comes twice around a restart is of no earlier start than what has followed on it: nobody is named for a healthy start.
#[test]
fn a_repetition_behind_a_hole_names_no_earlier_start() {
    let archive = MemoryStorage::new();
    let mut collector = collector(&archive, 10);
    take(&mut collector, &archive, &delivery("m", (1, 1), None)).unwrap();
    // What the new start makes comes first; between the two there is a hole.
    let live = delivery("m", (2, 1), Some((1, 3)));
    take(&mut collector, &archive, &live).unwrap();
    let again = take(&mut collector, &archive, &delivery("m", (1, 1), None));
    assert_eq!(again.unwrap(), Received::Repeated);
    let late = take(
        &mut collector,
        &archive,
        &delivery("m", (1, 2), Some((1, 1))),
    );
    assert_eq!(late.unwrap(), Received::New(2));
}

/// However far a stranger makes a device skip, its sink hears its next start.
#[test]
fn the_start_behind_a_made_up_ack_is_in_the_sinks_reach() {
    let mut field = Field::new();
    field.turn();
    let storage = MemoryStorage::new();
    let mut collector = collector(&storage, 10);
    take(&mut collector, &storage, &delivery("m", (1, 1), None)).unwrap();
    assert_eq!(field.ack(1 + BOOT_SKIP_MAX, 1).len(), 1);
    field.restart();
    assert_eq!(field.boot(), 2 + BOOT_SKIP_MAX);
    let next = delivery("m", (field.boot(), 1), Some((1, 1)));
    let next = take(&mut collector, &storage, &next);
    assert_eq!(next.unwrap(), Received::New(1));
}

/// An uplink that takes few messages in a turn, whatever there is to say.
#[derive(Default)]
struct Narrow {
    room: usize,
    inbound: VecDeque<Message>,
    sent: Vec<Message>,
}

impl Uplink for Narrow {
    fn subscribe(&mut self, _filter: &str) {}

    fn room(&self) -> usize {
        self.room
    }

    fn submit(&mut self, _seq: u64, message: Message) -> Result<(), SubmitError> {
        self.room = self.room.checked_sub(1).ok_or(SubmitError::Busy)?;
        self.sent.push(message);
        Ok(())
    }

    fn acknowledge(&mut self, _token: AckToken) {}

    fn poll_events(&mut self, _cx: &mut Context<'_>, events: &mut Vec<UplinkEvent>) -> Poll<()> {
        let inbound = self.inbound.drain(..);
        events.extend(inbound.map(|message| UplinkEvent::Inbound {
            message,
            token: None,
        }));
        Poll::Ready(())
    }
}

/// What is shared with the intake, which owns its uplink.
#[derive(Clone, Default)]
struct Shared(Arc<std::sync::Mutex<Narrow>>);

impl Shared {
    fn with<T>(&self, look: impl FnOnce(&mut Narrow) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }
}

impl Uplink for Shared {
    fn subscribe(&mut self, filter: &str) {
        self.with(|it| it.subscribe(filter));
    }

    fn room(&self) -> usize {
        self.with(|it| it.room())
    }

    fn submit(&mut self, seq: u64, message: Message) -> Result<(), SubmitError> {
        self.with(|it| it.submit(seq, message))
    }

    fn acknowledge(&mut self, token: AckToken) {
        self.with(|it| it.acknowledge(token));
    }

    fn poll_events(&mut self, cx: &mut Context<'_>, events: &mut Vec<UplinkEvent>) -> Poll<()> {
        self.with(|it| it.poll_events(cx, events))
    }
}

/// Devices that send again and again, and a broker that takes one message a turn: acknowledgements do not pile up.
#[test]
fn acknowledgements_that_cannot_leave_take_one_place_for_each_stream() {
    const DEVICES: u64 = 20;
    let storage = MemoryStorage::new();
    let uplink = Shared::default();
    let mut intake = Intake::new(collector(&storage, 100), uplink.clone());
    let mut cx = Context::from_waker(Waker::noop());
    let mut now = Instant::default();
    for _ in 0..100 {
        now += Duration::from_secs(1);
        uplink.with(|it| {
            it.room = 1;
            let again = (0..DEVICES).map(|at| delivery(&format!("m-{at}"), (1, 1), None));
            it.inbound.extend(again);
        });
        let _ = intake.turn(&mut cx, now, &storage).unwrap();
    }
    uplink.with(|it| {
        it.room = 10_000;
        it.sent.clear();
    });
    for _ in 0..3 {
        now += Duration::from_secs(1);
        let _ = intake.turn(&mut cx, now, &storage).unwrap();
    }
    let left = uplink.with(|it| it.sent.len() as u64);
    assert!((DEVICES..=2 * DEVICES).contains(&left), "{left}");
}
