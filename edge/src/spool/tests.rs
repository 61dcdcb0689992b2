use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use peaberry_core::simulation::check_seeds;
use peaberry_core::{Durability, Instant, MemoryStorage};

use super::*;
use crate::Name;
use crate::coverage::{Arrival, Coverage};
use crate::identity::{BootSalt, Position};
use crate::payload::{Alert, Delivery, Gap, Level, SinkAck};
use crate::uplink::Message;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A device whose store outlives it, and a sink that remembers all.
struct Bench {
    storage: MemoryStorage,
    settings: Arc<SpoolSettings>,
    spool: Spool,
    batch: Batch,
    now: Instant,
    sink: Sink,
}

#[derive(Default)]
struct Sink {
    coverage: BTreeMap<Stream, Coverage>,
    got: BTreeMap<Position, Stream>,
    order: Vec<Position>,
    gaps: Vec<Gap>,
}

impl Sink {
    fn take(&mut self, message: &Message) {
        let Delivery { record, after } = Delivery::decode(&message.payload).unwrap();
        let stream = record.payload.stream();
        let coverage = self.coverage.entry(stream).or_default();
        if coverage.take(after, record.id.position()) != Arrival::New {
            return;
        }
        self.got.insert(record.id.position(), stream);
        self.order.push(record.id.position());
        if let Payload::Gap(gap) = record.payload {
            self.gaps.push(gap);
        }
    }

    fn ack(&self, stream: Stream) -> Option<SinkAck> {
        let through = self.coverage.get(&stream)?.through()?;
        Some(SinkAck {
            device: name("m"),
            boot: through.boot,
            stream,
            through: through.sequence,
        })
    }
}

impl Bench {
    /// Its starts count by one.
    fn new(mut settings: SpoolSettings) -> Self {
        settings.boot_salt = BootSalt::Given(0);
        let storage = MemoryStorage::new();
        let settings = Arc::new(settings);
        let mut batch = Batch::new();
        let spool = open(&storage, &settings, &mut batch);
        let mut bench = Self {
            storage,
            settings,
            spool,
            batch,
            now: Instant::default(),
            sink: Sink::default(),
        };
        bench.commit();
        bench
    }

    fn restart(&mut self) {
        self.batch.clear();
        self.spool = open(&self.storage, &self.settings, &mut self.batch);
        self.commit();
    }

    fn append(&mut self, payload: Payload) -> Result<Position, EdgeError> {
        let id = self
            .spool
            .append(&self.storage, &mut self.batch, 1, payload)?;
        Ok(id.position())
    }

    fn commit(&mut self) {
        self.storage
            .commit(&self.batch, Durability::Synced)
            .unwrap();
        self.spool.committed();
        self.batch.clear();
    }

    fn tend(&mut self) {
        self.spool
            .tend(self.now, 1, &self.storage, &mut self.batch)
            .unwrap();
    }

    fn next(&mut self) -> Option<Outgoing> {
        self.spool.next(self.now, &self.storage).unwrap()
    }

    fn accept(&mut self, seq: u64) {
        self.spool
            .accepted(self.now, seq, &self.storage, &mut self.batch)
            .unwrap();
    }

    fn ack(&mut self, stream: Stream) {
        if let Some(ack) = self.sink.ack(stream) {
            self.spool
                .acknowledged(self.now, &ack, &self.storage, &mut self.batch)
                .unwrap();
        }
    }

    /// Sends everything there is, and has the sink acknowledge it.
    fn drain(&mut self) {
        self.spool.up(self.now, false);
        for _ in 0..100_000 {
            self.now += Duration::from_secs(40);
            self.tend();
            self.commit();
            while let Some(outgoing) = self.next() {
                self.sink.take(&outgoing.message);
                self.accept(outgoing.seq);
            }
            for stream in Stream::ALL {
                self.ack(stream);
            }
            self.commit();
            let status = self.spool.status();
            if status.records == 0 && !status.has_gaps {
                return;
            }
        }
        panic!("the spool does not drain: {:?}", self.spool.status());
    }
}

use std::time::Duration;

fn open(storage: &MemoryStorage, settings: &Arc<SpoolSettings>, batch: &mut Batch) -> Spool {
    let owner = Channel::new(SPOOL, 1);
    let settings = settings.clone();
    Spool::open(storage, owner, name("site"), name("m"), settings, batch).unwrap()
}

fn payload(stream: Stream, bytes: usize) -> Payload {
    let bytes = Bytes::from(vec![7; bytes]);
    match stream {
        Stream::Telemetry => {
            let mut column = crate::payload::Column::new(name("t"));
            for at in 0..bytes.len() as u64 / 2 {
                column.push(at * at, 0.1).unwrap();
            }
            Payload::Readings(crate::payload::Readings {
                columns: vec![column],
            })
        }
        Stream::Alerts => Payload::Alert(Alert {
            rule: name("r"),
            metric: name("t"),
            level: Level::Warning,
            is_raised: true,
            value: 1.0,
        }),
        Stream::Orders => Payload::Notification(crate::payload::Notification {
            level: Level::Info,
            text: "done".into(),
            order: None,
        }),
        Stream::Health => Payload::Health(crate::payload::Health::default()),
        Stream::Twin => Payload::Twin(bytes),
        Stream::Custom => Payload::Custom {
            name: name("c"),
            bytes,
        },
    }
}

fn small() -> SpoolSettings {
    SpoolSettings {
        bytes_max: 6_000,
        reserved_bytes: 1_500,
        window_max: 5,
        ..SpoolSettings::default()
    }
}

impl Bench {
    fn holds_something(&self) -> bool {
        let status = self.spool.status();
        status.records > 0 || status.has_gaps
    }

    /// Sends what there is by an uplink that takes no record of a kilobyte, and waits until everything goes again. Answers of
    /// each that it did not take whether it was given up.
    fn round_with_a_narrow_uplink(&mut self) -> Vec<bool> {
        let mut given_up = Vec::new();
        while let Some(outgoing) = self.next() {
            if outgoing.message.payload.len() < 1_000 {
                self.sink.take(&outgoing.message);
                self.accept(outgoing.seq);
                continue;
            }
            let (storage, batch) = (&self.storage, &mut self.batch);
            let outcome = self.spool.too_long(self.now, outgoing.seq, storage, batch);
            given_up.push(outcome.unwrap());
        }
        for stream in Stream::ALL {
            self.ack(stream);
        }
        self.commit();
        self.now += TOO_LONG_INTERVAL;
        self.tend();
        self.commit();
        given_up
    }
}

/// Whatever happens to device, disk, link and acknowledgements: every record that was durable reaches the sink or lies in a gap
/// that tells of it; gaps tell exactly as many as were lost; nothing is forgotten that the sink has not got.
#[test]
fn every_record_arrives_or_is_told_to_be_gone() {
    let reached = std::sync::Mutex::new(BTreeSet::new());
    check_seeds(0..400, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut settings = small();
        if rng.bool() {
            let policy = DropPolicy::DropOldest;
            settings = settings.with_stream(Stream::Telemetry, StreamSettings::new(policy, 5));
        }
        let mut bench = Bench::new(settings);
        let mut durable: BTreeMap<Position, Stream> = BTreeMap::new();
        let mut lost_for_good = 0_u64;
        let mut staged = Vec::new();
        let mut flying = Vec::new();
        for _ in 0..rng.usize(50..600) {
            match rng.u32(0..100) {
                0..45 => {
                    let stream = Stream::ALL[rng.usize(..Stream::ALL.len())];
                    match bench.append(payload(stream, rng.usize(0..300))) {
                        Ok(at) => staged.push((at, stream)),
                        Err(EdgeError::SpoolFull { .. }) => {
                            reached.lock().unwrap().insert("rejected");
                        }
                        Err(error) => return Err(error.to_string()),
                    }
                }
                45..60 => {
                    bench.tend();
                    bench.commit();
                    durable.extend(staged.drain(..));
                }
                60..62 => {
                    lost_for_good += bench.spool.aborted();
                    bench.batch.clear();
                    staged.clear();
                }
                62..64 => {
                    bench.restart();
                    staged.clear();
                    flying.clear();
                }
                64..68 => bench.spool.down(),
                68..74 => {
                    let is_resumed = rng.bool();
                    bench.spool.up(bench.now, is_resumed);
                }
                74..90 => {
                    if let Some(outgoing) = bench.next() {
                        if rng.u32(0..10) > 0 {
                            bench.sink.take(&outgoing.message);
                        }
                        flying.push(outgoing.seq);
                    }
                }
                90..95 if !flying.is_empty() => {
                    let seq = flying.swap_remove(rng.usize(..flying.len()));
                    if rng.u32(0..10) == 0 {
                        bench.spool.returned(seq);
                    } else {
                        bench.accept(seq);
                    }
                }
                95..98 => bench.ack(Stream::ALL[rng.usize(..Stream::ALL.len())]),
                _ => bench.now += Duration::from_secs(rng.u64(0..20)),
            }
            let status = bench.spool.status();
            if status.bytes > bench.settings.bytes_max {
                return Err(format!("{} bytes", status.bytes));
            }
        }
        bench.commit();
        durable.extend(staged.drain(..));
        bench.drain();
        let gaps = &bench.sink.gaps;
        for (at, stream) in &durable {
            let is_told = gaps
                .iter()
                .any(|gap| gap.stream == *stream && gap.first <= *at && *at <= gap.last);
            if !bench.sink.got.contains_key(at) && !is_told {
                return Err(format!("{at} of {stream:?} is neither there nor told"));
            }
        }
        let mut seen = reached.lock().unwrap();
        seen.extend(gaps.iter().map(|gap| match gap.reason {
            GapReason::Dropped => "dropped",
            GapReason::Decimated => "decimated",
            GapReason::Rejected => "told rejected",
            _ => "other",
        }));
        if lost_for_good > 0 {
            seen.insert("aborted");
        }
        Ok(())
    });
    let wanted = [
        "aborted",
        "decimated",
        "dropped",
        "rejected",
        "told rejected",
    ];
    if peaberry_core::simulation::replayed_seed().is_none() {
        assert!(
            wanted
                .iter()
                .all(|one| reached.lock().unwrap().contains(one))
        );
    }
}

#[test]
fn a_brokers_acknowledgement_forgets_nothing_unless_it_is_to() {
    for (keep_until, left) in [(AckLevel::Sink, 3), (AckLevel::Broker, 0)] {
        let mut bench = Bench::new(SpoolSettings {
            keep_until,
            ..SpoolSettings::default()
        });
        for _ in 0..3 {
            bench.append(payload(Stream::Custom, 10)).unwrap();
        }
        bench.commit();
        bench.spool.up(bench.now, false);
        let sent: Vec<_> = std::iter::from_fn(|| bench.next()).collect();
        for outgoing in sent.iter().rev() {
            bench.accept(outgoing.seq);
        }
        bench.commit();
        assert_eq!(bench.spool.status().records, left);
    }
}

#[test]
fn nothing_is_sent_before_it_is_durable() {
    let mut bench = Bench::new(SpoolSettings::default());
    bench.spool.up(bench.now, false);
    bench.append(payload(Stream::Twin, 10)).unwrap();
    assert!(bench.next().is_none());
    bench.commit();
    assert!(bench.next().is_some());
}

#[test]
fn alerts_go_first_what_is_new_before_the_backlog_and_the_backlog_has_its_share() {
    let mut bench = Bench::new(SpoolSettings::default());
    let old: Vec<_> = (0..20)
        .map(|_| bench.append(payload(Stream::Telemetry, 10)).unwrap())
        .collect();
    bench.commit();
    bench.spool.up(bench.now, false);
    let new: Vec<_> = (0..20)
        .map(|_| bench.append(payload(Stream::Telemetry, 10)).unwrap())
        .collect();
    let alert = bench.append(payload(Stream::Alerts, 0)).unwrap();
    bench.commit();
    let sent: Vec<_> = std::iter::from_fn(|| bench.next())
        .map(|one| one.at)
        .collect();
    assert_eq!(sent.len(), 41);
    assert_eq!(sent[0], alert);
    assert_eq!(sent[1..7], new[..6]);
    assert_eq!(sent[7], old[0], "one in eight");
    assert!(sent[8..24].iter().filter(|at| old.contains(at)).count() <= 3);
}

#[test]
fn an_outage_decimates_telemetry_and_leaves_alerts_alone() {
    let mut bench = Bench::new(SpoolSettings {
        bytes_max: 60_000,
        reserved_bytes: 10_000,
        ..SpoolSettings::default()
    });
    for n in 0..2_000 {
        bench.append(payload(Stream::Telemetry, 20)).unwrap();
        if n % 50 == 0 {
            bench.append(payload(Stream::Alerts, 0)).unwrap();
        }
        if n % 10 == 0 {
            bench.commit();
        }
    }
    bench.commit();
    bench.drain();
    let sink = &bench.sink;
    let of = |wanted| {
        sink.got
            .iter()
            .filter(move |(_, stream)| **stream == wanted)
    };
    assert_eq!(of(Stream::Alerts).count(), 40 + sink.gaps.len());
    let kept = of(Stream::Telemetry).count() as u64;
    let told: u64 = sink.gaps.iter().map(|gap| gap.count).sum();
    assert_eq!(kept + told, 2_000);
    assert!(kept > 300);
    // The older half is still there, thinner than the newer.
    let middle = Position::new(BootEpoch::FIRST, 1_020);
    let older = of(Stream::Telemetry)
        .filter(|(at, _)| **at < middle)
        .count() as u64;
    assert!(older > 20 && older < kept / 2, "{older} of {kept}");
}

#[test]
fn reserved_space_is_for_alerts_and_orders_alone() {
    let mut bench = Bench::new(small());
    let mut count = 0;
    while bench.append(payload(Stream::Custom, 100)).is_ok() {
        bench.commit();
        count += 1;
    }
    bench.commit();
    assert!(count > 20);
    for _ in 0..8 {
        bench.append(payload(Stream::Orders, 0)).unwrap();
    }
    bench.commit();
    bench.drain();
    let rejected = bench
        .sink
        .gaps
        .iter()
        .find(|gap| gap.stream == Stream::Custom);
    assert_eq!(rejected.unwrap().count, 1);
}

#[test]
fn a_restart_sends_again_under_the_old_identities_and_epochs_never_repeat() {
    let mut bench = Bench::new(SpoolSettings::default());
    let first = bench.append(payload(Stream::Custom, 10)).unwrap();
    bench.commit();
    // Never durable: gone with the restart, and its epoch is not used again.
    bench.append(payload(Stream::Custom, 10)).unwrap();
    bench.restart();
    let second = bench.append(payload(Stream::Custom, 10)).unwrap();
    bench.commit();
    assert!(second.boot > first.boot);
    bench.drain();
    assert_eq!(bench.sink.order, [first, second]);
}

#[test]
fn silence_of_the_sink_sends_everything_again_ever_more_rarely() {
    let mut bench = Bench::new(SpoolSettings::default());
    bench.append(payload(Stream::Custom, 10)).unwrap();
    bench.commit();
    bench.spool.up(bench.now, false);
    for wait in [30, 60, 120, 240, 480, 960, 960] {
        let outgoing = bench.next().unwrap();
        bench.accept(outgoing.seq);
        assert!(bench.next().is_none());
        let due = bench.spool.deadline().unwrap();
        assert_eq!(due.since(bench.now), Duration::from_secs(wait));
        bench.now = due;
        bench.tend();
    }
}

#[test]
fn a_lost_record_of_a_quiet_stream_is_sent_again_however_busy_another_is() {
    let mut bench = Bench::new(SpoolSettings::default());
    bench.spool.up(bench.now, false);
    let alert = bench.append(payload(Stream::Alerts, 0)).unwrap();
    bench.commit();
    // The broker says that it has it, and loses it.
    let lost = bench.next().unwrap();
    assert_eq!(lost.at, alert);
    bench.accept(lost.seq);
    let mut sent_again = false;
    for _ in 0..60 {
        bench.append(payload(Stream::Telemetry, 10)).unwrap();
        bench.commit();
        while let Some(outgoing) = bench.next() {
            sent_again |= outgoing.at == alert;
            bench.sink.take(&outgoing.message);
            bench.accept(outgoing.seq);
        }
        bench.ack(Stream::Telemetry);
        bench.commit();
        bench.now += Duration::from_secs(1);
        bench.tend();
    }
    assert!(sent_again, "telemetry was acknowledged every second");
}

#[test]
fn what_the_broker_accepted_and_the_sink_never_had_is_sent_again_also_in_a_resumed_session() {
    let mut bench = Bench::new(SpoolSettings::default());
    bench.append(payload(Stream::Orders, 10)).unwrap();
    bench.commit();
    bench.spool.up(bench.now, false);
    let outgoing = bench.next().unwrap();
    bench.accept(outgoing.seq);
    bench.spool.down();
    bench.spool.up(bench.now, true);
    assert!(bench.next().is_none(), "the broker has it");
    bench.now = bench.spool.deadline().expect("the sink has not said so");
    bench.tend();
    assert_eq!(bench.next().unwrap().at, outgoing.at);
}

#[test]
fn an_acknowledgement_that_finds_no_room_on_the_disk_is_asked_for_again() {
    let mut bench = Bench::new(SpoolSettings::default());
    bench.append(payload(Stream::Custom, 10)).unwrap();
    bench.commit();
    bench.spool.up(bench.now, false);
    let outgoing = bench.next().unwrap();
    bench.sink.take(&outgoing.message);
    bench.accept(outgoing.seq);
    bench.ack(Stream::Custom);
    assert_eq!(bench.spool.status().records, 0);
    // The disk is full: what was cut is there again.
    bench.batch.clear();
    bench.spool.aborted();
    assert_eq!(bench.spool.status().records, 1);
    bench.now = bench.spool.deadline().unwrap();
    bench.tend();
    assert_eq!(bench.next().unwrap().at, outgoing.at);
}

#[test]
fn what_is_too_long_is_refused_and_changes_nothing() {
    let mut bench = Bench::new(SpoolSettings::default());
    let before = bench.spool.status();
    let error = bench.append(payload(Stream::Custom, MESSAGE_BYTES_MAX));
    assert!(matches!(error, Err(EdgeError::TooLong { .. })));
    assert_eq!(bench.spool.status(), before);
    assert_eq!(
        bench.append(payload(Stream::Custom, 1)).unwrap().sequence,
        1
    );
}

#[test]
fn another_devices_acknowledgement_is_refused() {
    let mut bench = Bench::new(SpoolSettings::default());
    let ack = SinkAck {
        device: name("other"),
        boot: BootEpoch::FIRST,
        stream: Stream::Custom,
        through: 9,
    };
    let refused = bench
        .spool
        .acknowledged(bench.now, &ack, &bench.storage, &mut bench.batch);
    assert!(matches!(refused, Err(EdgeError::WrongDevice { .. })));
}

/// A record that the uplink will never take: what is behind it goes on, and when it is the last thing that is missed it is
/// given up and told.
#[test]
fn a_record_that_is_too_long_for_the_uplink_is_given_up_and_told() {
    for keep_until in [AckLevel::Sink, AckLevel::Broker] {
        let mut bench = Bench::new(SpoolSettings {
            record_bytes_max: 2_000,
            keep_until,
            ..SpoolSettings::default()
        });
        let refused = bench.append(payload(Stream::Twin, 2_100));
        assert!(matches!(refused, Err(EdgeError::TooLong { .. })));
        for bytes in [10, 1_000, 10, 10] {
            bench.append(payload(Stream::Twin, bytes)).unwrap();
        }
        bench.commit();
        bench.spool.up(bench.now, false);
        let (mut refusals, mut rounds) = (0, 0);
        while bench.holds_something() {
            rounds += 1;
            assert!(rounds < 50, "{:?}", bench.spool.status());
            for is_given_up in bench.round_with_a_narrow_uplink() {
                refusals += 1;
                assert_eq!(is_given_up, refusals == TOO_LONG_MAX);
            }
        }
        assert_eq!(refusals, TOO_LONG_MAX);
        let sequences = bench.sink.order.iter().map(|at| at.sequence);
        let sent: Vec<_> = sequences.collect();
        assert_eq!(sent, [1, 3, 4, 5]);
        let [gap] = bench.sink.gaps.as_slice() else {
            panic!("{:?}", bench.sink.gaps);
        };
        assert_eq!(
            (gap.reason, gap.first.sequence, gap.count),
            (GapReason::TooLong, 2, 1)
        );
    }
}

/// One connection has one voice, however often it is asked within the hour: somebody may set its broker right.
#[test]
fn tries_of_one_connection_within_the_hour_are_one() {
    let mut bench = Bench::new(SpoolSettings::default());
    bench.append(payload(Stream::Twin, 1_000)).unwrap();
    bench.commit();
    bench.spool.up(bench.now, false);
    let refuse = |bench: &mut Bench| {
        let outgoing = bench.next().unwrap();
        let (storage, batch) = (&bench.storage, &mut bench.batch);
        let outcome = bench
            .spool
            .too_long(bench.now, outgoing.seq, storage, batch);
        outcome.unwrap()
    };
    for _ in 0..2 * TOO_LONG_MAX {
        assert!(!refuse(&mut bench), "it was asked before");
        bench.now = bench.spool.deadline().unwrap();
        bench.tend();
    }
    assert!(bench.now < Instant::default() + TOO_LONG_INTERVAL);
    for tries in 2..=TOO_LONG_MAX {
        bench.spool.down();
        bench.spool.up(bench.now, false);
        assert_eq!(refuse(&mut bench), tries == TOO_LONG_MAX);
    }
}

/// More of them than it is known how often they were tried: the oldest always is, so all are given up in their turn.
#[test]
fn any_number_of_records_that_are_too_long_are_given_up() {
    let mut bench = Bench::new(SpoolSettings::default());
    for _ in 0..20 {
        bench.append(payload(Stream::Twin, 1_000)).unwrap();
    }
    bench.append(payload(Stream::Twin, 10)).unwrap();
    bench.commit();
    bench.spool.up(bench.now, false);
    let mut rounds = 0;
    while bench.holds_something() {
        rounds += 1;
        assert!(rounds < 200, "{:?}", bench.spool.status());
        bench.round_with_a_narrow_uplink();
    }
    let told = bench.sink.gaps.iter().map(|gap| gap.count).sum::<u64>();
    assert_eq!(told, 20);
    assert!(bench.sink.order.iter().any(|at| at.sequence == 21));
}

/// Where the broker's acknowledgement is all there is to wait for, what it has refused goes again, on the same connection and
/// on the next, and nothing behind it stays for ever.
#[test]
fn what_the_broker_refuses_goes_again_ever_more_rarely_and_nothing_stays_for_it() {
    let mut bench = Bench::new(SpoolSettings {
        keep_until: AckLevel::Broker,
        ..SpoolSettings::default()
    });
    for _ in 0..5 {
        bench.append(payload(Stream::Custom, 10)).unwrap();
    }
    bench.commit();
    bench.spool.up(bench.now, false);
    assert_eq!(bench.spool.deadline(), None, "nothing is refused");
    let mut refused = None;
    for wait in [30, 60, 120, 240] {
        while let Some(outgoing) = bench.next() {
            match *refused.get_or_insert(outgoing.at) == outgoing.at {
                true => bench.spool.refused(bench.now, outgoing.seq),
                false => bench.accept(outgoing.seq),
            }
        }
        bench.commit();
        assert_eq!(bench.spool.status().records, 5);
        let due = bench.spool.deadline().expect("it goes again");
        assert_eq!(due.since(bench.now), Duration::from_secs(wait));
        bench.now = due;
        bench.tend();
    }
    // Refused once more, the link is lost, and the session is resumed.
    let outgoing = bench.next().unwrap();
    assert_eq!(Some(outgoing.at), refused);
    bench.spool.refused(bench.now, outgoing.seq);
    while let Some(outgoing) = bench.next() {
        bench.accept(outgoing.seq);
    }
    bench.spool.down();
    bench.spool.up(bench.now, true);
    let outgoing = bench.next().expect("it goes again");
    assert_eq!(Some(outgoing.at), refused);
    bench.accept(outgoing.seq);
    bench.commit();
    assert_eq!(bench.spool.status().records, 0);
    assert_eq!(bench.spool.deadline(), None);
}

/// Where there is no sink, the broker refuses two records for good: they are given up after two hours, however often the link is
/// lost, and told; what is behind them is let go of.
#[test]
fn what_the_broker_refuses_for_good_is_given_up_and_told() {
    let mut bench = Bench::new(SpoolSettings {
        keep_until: AckLevel::Broker,
        ..SpoolSettings::default()
    });
    let made: Vec<_> = (0..6)
        .map(|_| bench.append(payload(Stream::Custom, 10)).unwrap())
        .collect();
    bench.commit();
    let unwanted = [made[1], made[3]];
    let (mut refusals, mut rounds) = (0, 0);
    let begun = bench.now;
    bench.spool.up(bench.now, false);
    while bench.spool.status().records > 0 {
        rounds += 1;
        assert!(rounds < 60, "{:?}", bench.spool.status());
        if rounds < 12 {
            bench.spool.down();
            bench.spool.up(bench.now, true);
        }
        while let Some(outgoing) = bench.next() {
            if unwanted.contains(&outgoing.at) {
                refusals += 1;
                bench.spool.refused(bench.now, outgoing.seq);
            } else {
                bench.sink.take(&outgoing.message);
                bench.accept(outgoing.seq);
            }
        }
        bench.commit();
        let is_early = bench.now < begun + (REFUSED_MAX - 1) * TOO_LONG_INTERVAL;
        assert!(!is_early || bench.spool.status().dropped_records == 0);
        bench.now = bench.spool.deadline().unwrap_or(bench.now).max(bench.now);
        bench.tend();
        bench.commit();
    }
    assert!(refusals < 100, "{refusals}");
    assert!(bench.now < begun + 4 * TOO_LONG_INTERVAL);
    assert_eq!(bench.spool.deadline(), None, "nothing goes again");
    assert_eq!(bench.spool.status().dropped_records, 2);
    let told = bench.sink.gaps.iter().map(|gap| (gap.reason, gap.count));
    let told: u64 = told
        .inspect(|(reason, _)| assert_eq!(*reason, GapReason::Refused))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(told, 2);
}

/// The broker answers every second first: more holes than are remembered, and in the end all is let go of.
#[test]
fn however_many_holes_the_brokers_answers_leave_all_is_let_go_of() {
    let mut bench = Bench::new(SpoolSettings {
        keep_until: AckLevel::Broker,
        ..SpoolSettings::default()
    });
    for _ in 0..64 {
        bench.append(payload(Stream::Custom, 10)).unwrap();
    }
    bench.commit();
    bench.spool.up(bench.now, false);
    let mut rounds = 0;
    while bench.spool.status().records > 0 {
        rounds += 1;
        assert!(rounds < 10, "{:?}", bench.spool.status());
        let sent: Vec<_> = std::iter::from_fn(|| bench.next()).collect();
        let odd = sent.iter().skip(1).step_by(2);
        for outgoing in odd.chain(sent.iter().step_by(2)) {
            bench.accept(outgoing.seq);
        }
        bench.commit();
        bench.now = bench.spool.deadline().unwrap_or(bench.now);
        bench.tend();
    }
    assert!(rounds > 1, "there were too many holes");
}

/// What was found at the start may have been made in a start that the sink's knowledge had overtaken: the sink acknowledges
/// what came later, and has never seen it. The broker has it before it is cut, and again if the broker has lost it.
#[test]
fn what_was_found_at_the_start_is_with_the_broker_before_it_is_cut() {
    let mut bench = Bench::new(SpoolSettings::default());
    for _ in 0..3 {
        bench.append(payload(Stream::Telemetry, 10)).unwrap();
    }
    bench.commit();
    bench.restart();
    bench.spool.up(bench.now, false);
    let live = bench.append(payload(Stream::Telemetry, 10)).unwrap();
    bench.commit();
    let outgoing = bench.next().unwrap();
    assert_eq!(outgoing.at, live);
    // Another life of the device has told the sink so much that this follows on it.
    let ack = SinkAck {
        device: name("m"),
        boot: live.boot,
        stream: Stream::Telemetry,
        through: live.sequence,
    };
    let records_left = |bench: &mut Bench| {
        let (storage, batch) = (&bench.storage, &mut bench.batch);
        let acknowledged = bench.spool.acknowledged(bench.now, &ack, storage, batch);
        acknowledged.unwrap();
        bench.commit();
        bench.spool.status().records
    };
    assert_eq!(records_left(&mut bench), 4);
    let sent: Vec<_> = std::iter::from_fn(|| bench.next()).collect();
    assert_eq!(sent.len(), 3);
    assert_eq!(records_left(&mut bench), 4, "it is only handed over");
    for outgoing in &sent {
        bench.accept(outgoing.seq);
    }
    bench.spool.down();
    bench.spool.up(bench.now, false);
    assert_eq!(records_left(&mut bench), 4, "the broker has lost it");
    let sent: Vec<_> = std::iter::from_fn(|| bench.next()).collect();
    assert_eq!(sent.len(), 4);
    // The last of them was accepted first: what is before it may still be lost.
    bench.accept(sent[2].seq);
    assert_eq!(records_left(&mut bench), 4);
    bench.accept(sent[0].seq);
    assert_eq!(records_left(&mut bench), 3);
    bench.accept(sent[1].seq);
    assert_eq!(records_left(&mut bench), 0);
}

/// Record 70 of this very start is acknowledged, which has made three: another start had its number, or somebody has made
/// that up. It is refused by name whenever it comes, and the next that can be so cuts.
#[test]
fn an_acknowledgement_of_more_than_was_made_is_named_and_the_next_honest_one_cuts() {
    let mut bench = Bench::new(SpoolSettings::default());
    bench.spool.up(bench.now, false);
    let ack = |bench: &mut Bench, through| {
        let ack = SinkAck {
            device: name("m"),
            boot: BootEpoch::FIRST,
            stream: Stream::Custom,
            through,
        };
        let (storage, batch) = (&bench.storage, &mut bench.batch);
        bench.spool.acknowledged(bench.now, &ack, storage, batch)
    };
    let append = |bench: &mut Bench, count| {
        for _ in 0..count {
            bench.append(payload(Stream::Custom, 10)).unwrap();
        }
        bench.commit();
    };
    append(&mut bench, 3);
    ack(&mut bench, 1).unwrap();
    assert_eq!(bench.spool.status().records, 2);
    let told = |outcome| match outcome {
        Err(EdgeError::LaterStart { known, own, .. }) => (known.get(), own.get()),
        other => panic!("{other:?}"),
    };
    assert_eq!(told(ack(&mut bench, 70)), (1, 1));
    bench.commit();
    assert_eq!(bench.spool.status().records, 2);
    ack(&mut bench, 2).unwrap();
    bench.commit();
    assert_eq!(bench.spool.status().records, 1);
    // Also the very next that is made.
    assert_eq!(told(ack(&mut bench, 4)), (1, 1));
    append(&mut bench, 1);
    ack(&mut bench, 4).unwrap();
    bench.commit();
    assert_eq!(bench.spool.status().records, 0);
    assert_eq!(told(ack(&mut bench, 70)), (1, 1));
    bench.restart();
    let next = bench.append(payload(Stream::Custom, 10)).unwrap();
    assert_eq!(next.boot.get(), 2, "its number is its own");
}

/// A broker may hand out acknowledgements late and in another order: what was known before is not forgotten.
#[test]
fn a_late_acknowledgement_takes_nothing_back() {
    let mut bench = Bench::new(SpoolSettings::default());
    bench.spool.up(bench.now, false);
    for _ in 0..10 {
        bench.append(payload(Stream::Custom, 10)).unwrap();
    }
    bench.commit();
    for through in [9, 4] {
        let ack = SinkAck {
            device: name("m"),
            boot: BootEpoch::FIRST,
            stream: Stream::Custom,
            through,
        };
        let (storage, batch) = (&bench.storage, &mut bench.batch);
        // Nothing of it is kept by a disk that is full.
        bench
            .spool
            .acknowledged(bench.now, &ack, storage, batch)
            .unwrap();
        bench.batch.clear();
        bench.spool.aborted();
    }
    bench
        .spool
        .let_go(bench.now, &bench.storage, &mut bench.batch)
        .unwrap();
    bench.commit();
    assert_eq!(bench.spool.status().records, 1);
}
