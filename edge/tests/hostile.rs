//! Bytes from strangers that claim more than there is: every decoder allocates within a constant times their length.
//!
//! A program with one test: allocations are counted for all threads together.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test says what it sees, and ends at what should not be"
)]

use std::alloc::System;

use bytes::Bytes;
use peaberry_core::{Batch, Channel, MemoryStorage, ProtocolId, Subspace};
use peaberry_edge::collector::{COLLECTOR, Collector, CollectorSettings};
use peaberry_edge::payload::{
    Action, Alert, Column, Command, Delivery, Exchange, Gap, GapReason, Health, Level,
    Notification, OrderPhase, OrderUpdate, Payload, Readings, Record, SinkAck, Text, Wire,
    from_json, to_json,
};
use peaberry_edge::sparkplug::{EdgeNode, SparkplugTopic, wire};
use peaberry_edge::topic::{Lane, Stream, Topic};
use peaberry_edge::twin::{Side, Twin, TwinValue, receive_any_twin_bytes};
use peaberry_edge::uplink::Message;
use peaberry_edge::uplink::mqtt::read_any_mqtt_bytes;
use peaberry_edge::{BootEpoch, Name, Position, RecordId, decode_any_stored_bytes, order};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What a decoder may allocate, freed or not, whatever it is given; and for each byte of that.
#[derive(Clone, Copy)]
struct Allowance {
    anyway: usize,
    for_each_byte: usize,
}

/// Messages: an error with its words, and eight bytes for each that a column's number takes.
const MESSAGE: Allowance = Allowance {
    anyway: 2_000,
    for_each_byte: 32,
};

/// Two twins read into documents, answer, and are written to.
const TWIN: Allowance = Allowance {
    anyway: 60_000,
    for_each_byte: 100,
};

/// Two connections, one of each version, with something on its way.
const BROKER: Allowance = Allowance {
    anyway: 8_000,
    for_each_byte: 64,
};

struct Decoder {
    name: &'static str,
    allowance: Allowance,
    samples: Vec<Vec<u8>>,
    decode: fn(&[u8]),
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn of<T: Wire>(name: &'static str, samples: impl IntoIterator<Item = T>) -> Decoder {
    Decoder {
        name,
        allowance: MESSAGE,
        samples: samples.into_iter().map(|it| it.encode()).collect(),
        decode: |bytes| drop(T::decode(bytes)),
    }
}

fn json<T>(name: &'static str, samples: impl IntoIterator<Item = T>) -> Decoder
where
    T: Wire + PartialEq + serde::Serialize + serde::de::DeserializeOwned,
{
    let samples = samples.into_iter().map(|it| to_json(&it).unwrap().into());
    Decoder {
        name,
        allowance: MESSAGE,
        samples: samples.collect(),
        decode: |bytes| drop(from_json::<T>(bytes)),
    }
}

fn readings() -> Readings {
    let column = |metric, values: [f64; 4]| {
        let mut column = Column::new(name(metric));
        for (second, value) in values.into_iter().enumerate() {
            column.push(second as u64 * 1_000, value).unwrap();
        }
        column
    };
    let columns = vec![
        column("t", [93.5, 93.6, 93.4, 93.5]),
        column("p", [0.1 + 0.2, f64::MAX, -1.0, 9.0]),
    ];
    Readings { columns }
}

fn records() -> Vec<Record> {
    let position = |sequence| Position::new(BootEpoch::FIRST, sequence);
    let alert = Alert {
        rule: name("hot"),
        metric: name("t"),
        level: Level::Critical,
        is_raised: true,
        value: 99.5,
    };
    let gap = Gap {
        stream: Stream::Telemetry,
        first: position(3),
        last: position(9),
        count: 7,
        reason: GapReason::TooLong,
    };
    let order = OrderUpdate {
        step: Some((2, name("heat"))),
        permille: Some(500),
        reason: Some(Text::new("slow")),
        ..OrderUpdate::new(name("o-1"), OrderPhase::Progress)
    };
    let notification = Notification {
        level: Level::Info,
        text: Text::new("ready"),
        order: Some(name("o-1")),
    };
    let health = Health {
        firmware: Text::new("1.2"),
        location: Text::new("window"),
        capabilities: vec![name("grind"), name("heat")],
        ..Health::default()
    };
    let bytes = Bytes::from_static(b"0123456789");
    let payloads = [
        Payload::Readings(readings()),
        Payload::Health(health),
        Payload::Alert(alert),
        Payload::Order(order),
        Payload::Notification(notification),
        Payload::Gap(gap),
        Payload::Twin(bytes.clone()),
        Payload::Custom {
            name: name("c"),
            bytes,
        },
        // A map with an array and a text.
        Payload::Unknown {
            kind: 99,
            body: Bytes::from_static(&[0xa1, 1, 0x82, 2, 0x61, b'x']),
        },
    ];
    let records = payloads.into_iter().zip(1..).map(|(payload, sequence)| {
        let id = RecordId {
            device: name("m"),
            boot: BootEpoch::FIRST,
            sequence,
        };
        Record {
            id,
            at_ms: 1_000,
            payload,
        }
    });
    records.collect()
}

fn commands() -> Vec<Command> {
    let (key, bytes) = (name("o-1"), Bytes::from_static(b"0123456789"));
    let actions = [
        Action::PlaceOrder {
            key: key.clone(),
            recipe: name("latte"),
        },
        Action::CancelOrder { key },
        Action::SafeStop {
            reason: Text::new("smoke"),
        },
        Action::Ping,
        Action::Custom {
            name: name("rinse"),
            bytes,
        },
    ];
    let device = name("m");
    let commands = actions.into_iter().map(|action| Command {
        device: device.clone(),
        action,
    });
    commands.collect()
}

fn exchange() -> Exchange {
    let message = |record: &Record| {
        let topic = Topic {
            site: name("site"),
            device: name("m"),
            lane: Lane::Up(record.payload.stream()),
        };
        (topic.to_string().into(), record.encode().into())
    };
    Exchange {
        messages: records().iter().map(message).collect(),
    }
}

fn ack() -> SinkAck {
    SinkAck {
        device: name("m"),
        boot: BootEpoch::FIRST,
        stream: Stream::Twin,
        through: 7,
    }
}

/// What a device and a service say to each other of a twin with a few entries.
fn twin_frames() -> Vec<Vec<u8>> {
    let storage = MemoryStorage::new();
    let space = Subspace::of(Channel::new(ProtocolId(2000), 1));
    let mut twin = Twin::open(&storage, &space, Side::Device).unwrap();
    let mut batch = Batch::new();
    let mut frames = Vec::new();
    for key in ["config.heartbeat_ms", "config.status", "boiler"] {
        let value = TwinValue::from("maintenance");
        let written = twin.desire(name(key), value, Some(1_000), &mut batch);
        frames.push(written.unwrap().to_vec());
    }
    frames.push(twin.hello().to_vec());
    frames
}

/// What brokers of 3.1.1 and 5 say.
fn broker_packets() -> Vec<Vec<u8>> {
    let packets: [&[u8]; 13] = [
        b"\x20\x02\x00\x00",
        b"\x20\x09\x00\x00\x06\x21\x00\x0a\x13\x00\x3c",
        b"\x40\x02\x00\x02",
        b"\x40\x04\x00\x02\x97\x00",
        b"\x90\x03\x00\x01\x01",
        b"\x90\x04\x00\x01\x00\x87",
        b"\xb0\x02\x00\x03",
        b"\xb0\x04\x00\x03\x00\x00",
        b"\x32\x09\x00\x03d/c\x00\x07xy",
        b"\x32\x0a\x00\x03d/c\x00\x07\x00xy",
        b"\x32\x11\x00\x03d/c\x00\x07\x07\x26\x00\x01k\x00\x01vxy",
        b"\xd0\x00",
        b"\xe0\x02\x8b\x00",
    ];
    let mut packets: Vec<_> = packets.map(<[u8]>::to_vec).into();
    packets.push(packets.concat());
    packets
}

fn sparkplug_payload() -> wire::Payload {
    let values = [
        wire::Value::Long(7),
        wire::Value::Double(1.5),
        wire::Value::String("latte".into()),
        wire::Value::Bytes(vec![1, 2, 3]),
    ];
    let metrics = values.into_iter().map(|value| wire::Metric {
        name: Some("Order/latte".into()),
        alias: Some(3),
        timestamp_ms: Some(1),
        datatype: Some(wire::datatype::STRING),
        is_historical: true,
        value: Some(value),
    });
    wire::Payload {
        timestamp_ms: Some(1),
        metrics: metrics.collect(),
        seq: Some(255),
    }
}

fn collect(bytes: &[u8]) {
    let storage = MemoryStorage::new();
    let settings = CollectorSettings::default();
    let owner = Channel::new(COLLECTOR, 0);
    let mut collector = Collector::open(&storage, owner, name("site"), settings).unwrap();
    let topic = "peaberry/1/site/m/up/telemetry";
    let message = Message::new(topic, Bytes::copy_from_slice(bytes));
    let _ = collector.receive(&storage, &message);
    let _ = collector.exchange(&storage, bytes);
}

fn text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let _ = Topic::parse(text);
    let _ = SparkplugTopic::parse(text);
    let _ = EdgeNode::new(name("g"), name("n")).command(text, bytes);
}

fn decoders() -> Vec<Decoder> {
    let delivery = |record| Delivery {
        record,
        after: Some(Position::new(BootEpoch::FIRST, 0)),
    };
    let encoded: Vec<_> = records().iter().map(Wire::encode).collect();
    let decoder = |name, allowance, samples, decode| Decoder {
        name,
        allowance,
        samples,
        decode,
    };
    let collecting = Allowance {
        anyway: 8_000,
        for_each_byte: 40,
    };
    let sparkplug = sparkplug_payload().encode();
    let topics = ["peaberry/1/site/m/down/commands", "spBv1.0/g/NCMD/n"];
    vec![
        of("readings", [readings()]),
        of("records", records()),
        of("deliveries", records().into_iter().map(delivery)),
        of("commands", commands()),
        of("acknowledgements", [ack()]),
        of("exchanges", [exchange()]),
        json("records in JSON", records()),
        json("readings in JSON", [readings()]),
        json("commands in JSON", commands()),
        json("acknowledgements in JSON", [ack()]),
        decoder("a collector", collecting, encoded.clone(), collect),
        decoder(
            "a collector's exchange",
            collecting,
            vec![exchange().encode()],
            collect,
        ),
        decoder("twins", TWIN, twin_frames(), receive_any_twin_bytes),
        decoder(
            "stored orders",
            MESSAGE,
            vec![vec![1; 40]],
            order::decode_any_order_bytes,
        ),
        decoder("what is stored", MESSAGE, encoded, decode_any_stored_bytes),
        decoder(
            "what is stored of a stream",
            MESSAGE,
            vec![vec![1; 40]],
            decode_any_stored_bytes,
        ),
        decoder(
            "MQTT's packets",
            BROKER,
            broker_packets(),
            read_any_mqtt_bytes,
        ),
        decoder("Sparkplug", MESSAGE, vec![sparkplug.clone()], |bytes| {
            drop(wire::Payload::decode(bytes));
        }),
        decoder("Sparkplug's commands", MESSAGE, vec![sparkplug], |bytes| {
            let node = EdgeNode::new(name("g"), name("n"));
            let _ = node.command("spBv1.0/g/NCMD/n", bytes);
            let _ = node.command("spBv1.0/g/DCMD/n/m", bytes);
        }),
        decoder(
            "topics",
            MESSAGE,
            topics.map(|it| it.as_bytes().to_vec()).into(),
            text,
        ),
    ]
}

/// Lengths of what is not there: in CBOR, in varints, in JSON.
const CLAIMS: [&[u8]; 14] = [
    b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x9b\0\0\0\0\xff\xff\xff\xff",
    b"\x9a\0\x10\0\0",
    b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xba\0\x10\0\0",
    b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\x5a\0\x03\xff\xff",
    b"\x7a\0\x03\xff\xff",
    b"\x9f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xff\xff\x0f",
    b"\xff\x1f",
    b"[[[[",
    b"{\"a\":[1e999,",
];

impl Decoder {
    /// Answers how many bytes it allocated for a byte, at worst, beyond what it may anyway.
    fn check(&self, bytes: &[u8]) -> usize {
        let region = Region::new(ALLOCATOR);
        (self.decode)(bytes);
        let change = region.change();
        let allocated = change.bytes_allocated;
        let Allowance {
            anyway,
            for_each_byte,
        } = self.allowance;
        assert!(
            allocated <= anyway + for_each_byte * bytes.len(),
            "{} allocate {allocated} bytes for {}: {:02x?}",
            self.name,
            bytes.len(),
            &bytes[..bytes.len().min(80)]
        );
        allocated.saturating_sub(anyway) / bytes.len().max(1)
    }

    fn check_claims(&self) -> usize {
        let mut worst = 0;
        for sample in &self.samples {
            for at in 0..=sample.len() {
                let (head, tail) = sample.split_at(at);
                worst = worst.max(self.check(head));
                for claim in CLAIMS {
                    let cut = [head, claim].concat();
                    let inserted = [head, claim, tail].concat();
                    let replaced = [head, claim, tail.get(1..).unwrap_or_default()].concat();
                    for bytes in [cut, inserted, replaced] {
                        worst = worst.max(self.check(&bytes));
                    }
                }
            }
        }
        worst
    }

    fn check_mutated(&self, rounds: usize, rng: &mut fastrand::Rng) -> usize {
        let mut worst = 0;
        for _ in 0..rounds {
            let mut bytes = rng.choice(&self.samples).unwrap().clone();
            for _ in 0..=rng.usize(..3) {
                let at = rng.usize(..bytes.len().max(1));
                match rng.u32(..4) {
                    0 if !bytes.is_empty() => bytes[at] ^= 1 << rng.u32(..8),
                    1 if !bytes.is_empty() => bytes[at] = rng.u8(..),
                    2 => bytes.truncate(at),
                    _ => {
                        let repeated = bytes[at..].repeat(rng.usize(..4));
                        bytes.extend(repeated);
                    }
                }
            }
            worst = worst.max(self.check(&bytes));
        }
        worst
    }

    /// What is nested, or many, to the limit of a message: behind the beginning of each sample, and alone.
    fn check_long(&self) -> usize {
        let mut worst = 0;
        let patterns: [&[u8]; 12] = [
            b"\x9f",
            b"\xbf",
            b"\x81",
            b"\xa1\x01",
            b"\xc1",
            b"\x5f",
            b"\x12\0",
            b"\x60",
            b"[",
            b"{\"a\":",
            b"\x01\x01",
            b"\x80",
        ];
        for pattern in patterns {
            let long = pattern.repeat(60_000 / pattern.len());
            worst = worst.max(self.check(&long));
            // Under a key that nobody knows.
            worst = worst.max(self.check(&[b"\xa1\x18\x63".as_slice(), &long].concat()));
            for sample in &self.samples {
                for at in [sample.len() / 3, sample.len() / 2, sample.len()] {
                    let bytes = [&sample[..at], &long].concat();
                    worst = worst.max(self.check(&bytes));
                }
            }
        }
        worst
    }
}

#[test]
fn no_claim_takes_memory_that_its_bytes_do_not_pay_for() {
    // What is made once for all, first.
    for decoder in decoders() {
        for sample in &decoder.samples {
            (decoder.decode)(sample);
        }
    }
    let rounds = std::env::var("PEABERRY_FUZZ_ROUNDS").ok();
    let rounds = rounds.and_then(|it| it.parse().ok()).unwrap_or(300);
    let mut rng = fastrand::Rng::with_seed(1);
    for decoder in decoders() {
        let worst = [
            decoder.check_claims(),
            decoder.check_mutated(rounds, &mut rng),
            decoder.check_long(),
        ];
        println!("{:>26}: at worst {worst:?} bytes for a byte", decoder.name);
    }
}
