mod acknowledged;
mod refused;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

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

/// A store may come from a build that knows more reasons: what it has of these is told as it is, each by itself.
#[test]
fn gaps_for_reasons_that_are_not_known_outlive_a_restart_and_are_told() {
    let mut bench = Bench::new(SpoolSettings::default());
    let reasons = [GapReason::Dropped, GapReason::Refused].into_iter();
    let unknown = [17, 128, 255, 256, u64::MAX].map(GapReason::Unknown);
    let reasons: Vec<_> = reasons.chain(unknown).collect();
    let at = Position::new(BootEpoch::FIRST, 1);
    for reason in &reasons {
        let gap = gaps::one(Stream::Custom, at, *reason);
        bench.spool.gaps.note(&mut bench.batch, gap);
    }
    bench.commit();
    bench.restart();
    bench.drain();
    let mut told: Vec<_> = bench.sink.gaps.iter().map(|gap| gap.reason).collect();
    told.sort_unstable();
    assert_eq!(told, reasons);
}
