use proptest::prelude::*;

use super::wire::{Metric, Payload, Value, datatype, decode_any_sparkplug_bytes};
use super::*;
use crate::payload::{Action, Alert, Level, Payload as Body, Record};
use crate::{BootEpoch, EdgeError, Name, RecordId};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn node() -> EdgeNode {
    EdgeNode::new(name("berlin"), name("gw"))
}

fn seq_of(message: &Outgoing) -> u64 {
    Payload::decode(&message.payload).unwrap().seq.unwrap()
}

/// Encoded by hand from the published schema.
#[test]
fn the_bytes_are_those_of_the_schema() {
    let payload = Payload {
        timestamp_ms: Some(300),
        metrics: vec![Metric {
            name: Some("t".to_owned()),
            alias: Some(1),
            datatype: Some(datatype::DOUBLE),
            value: Some(Value::Double(1.0)),
            ..Metric::default()
        }],
        seq: Some(2),
    };
    let bytes = [
        0x08, 0xac, 0x02, 0x12, 0x10, 0x0a, 0x01, b't', 0x10, 0x01, 0x20, 0x0a, 0x69, 0, 0, 0, 0,
        0, 0, 0xf0, 0x3f, 0x18, 0x02,
    ];
    assert_eq!(payload.encode(), bytes);
    assert_eq!(Payload::decode(&bytes).unwrap(), payload);
}

#[test]
fn a_session_counts_from_its_birth_and_wraps_at_256() {
    let mut node = node();
    assert_eq!(seq_of(&node.birth(0)), 0);
    assert_eq!(seq_of(&node.device_birth(&name("m"), [name("t")], 0)), 1);
    let alert = Record {
        id: RecordId {
            device: name("m"),
            boot: BootEpoch::FIRST,
            sequence: 1,
        },
        at_ms: 0,
        payload: Body::Alert(Alert {
            rule: name("hot"),
            metric: name("t"),
            level: Level::Warning,
            is_raised: true,
            value: 99.0,
        }),
    };
    let mut last = 1;
    for _ in 0..256 {
        let next = seq_of(&node.data(&alert, 0, 0, false).unwrap());
        assert_eq!(next, (last + 1) % 256);
        last = next;
    }
    // A death belongs to the birth of its connection.
    let births = |message: &Outgoing| Payload::decode(&message.payload).unwrap().metrics[0].clone();
    let birth = births(&node.birth(7));
    assert_eq!(births(&node.death()).value, birth.value);
    assert_eq!(birth.timestamp_ms, Some(7));
    let before = births(&node.death());
    node.disconnected();
    assert_ne!(births(&node.death()), before);
    assert_eq!(seq_of(&node.birth(0)), 0);
    // What was not born again has no alias.
    assert_eq!(node.data(&alert, 0, 0, false), None);
}

#[test]
fn hosts_order_by_name_and_are_refused_by_reason() {
    let node = node();
    let command = |metric: &str, text: &str| {
        let metrics = vec![Metric {
            name: Some(metric.to_owned()),
            value: Some(Value::String(text.to_owned())),
            ..Metric::default()
        }];
        let payload = Payload {
            metrics,
            ..Payload::default()
        };
        node.command("spBv1.0/berlin/DCMD/gw/m", &payload.encode())
    };
    let placed = command("Order/latte", "o-1").unwrap();
    let action = Action::PlaceOrder {
        key: name("o-1"),
        recipe: name("latte"),
    };
    let device = name("m");
    assert_eq!(placed, [HostCommand::Device { device, action }]);
    assert!(command("Order/latte", "no name").is_err());
    assert!(command("Dance", "").is_err());
    let error = node.command("spBv1.0/berlin/NCMD/other", &[]).unwrap_err();
    assert!(matches!(error, EdgeError::WrongDevice { .. }));
    assert!(node.command("spBv1.0/berlin/NBIRTH/gw", &[]).is_err());
    let rebirth = Payload {
        metrics: vec![Metric {
            name: Some("Node Control/Rebirth".to_owned()),
            value: Some(Value::Boolean(true)),
            ..Metric::default()
        }],
        ..Payload::default()
    };
    let asked = node.command("spBv1.0/berlin/NCMD/gw", &rebirth.encode());
    assert_eq!(asked.unwrap(), [HostCommand::Rebirth]);
}

#[test]
fn lengths_that_are_claimed_take_no_memory() {
    // A metric of 2^62 bytes.
    let bytes = [0x12, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40];
    assert!(Payload::decode(&bytes).is_err());
    let many = [0x12, 0x00].repeat(wire::METRICS_MAX + 1);
    assert!(matches!(
        Payload::decode(&many),
        Err(EdgeError::TooLong { .. })
    ));
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u32>().prop_map(Value::Int),
        any::<u64>().prop_map(Value::Long),
        any::<f32>().prop_map(Value::Float),
        any::<f64>().prop_map(Value::Double),
        any::<bool>().prop_map(Value::Boolean),
        ".{0,9}".prop_map(Value::String),
        proptest::collection::vec(any::<u8>(), 0..9).prop_map(Value::Bytes),
    ]
}

fn metric() -> impl Strategy<Value = Metric> {
    (
        proptest::option::of(".{0,9}"),
        any::<Option<u64>>(),
        any::<Option<u64>>(),
        any::<Option<u32>>(),
        any::<bool>(),
        proptest::option::of(value()),
    )
        .prop_map(
            |(name, alias, timestamp_ms, datatype, is_historical, value)| Metric {
                name,
                alias,
                timestamp_ms,
                datatype,
                is_historical,
                value,
            },
        )
}

proptest! {
    #[test]
    fn payloads_come_back(
        timestamp_ms: Option<u64>, seq: Option<u64>, metrics in proptest::collection::vec(metric(), 0..5),
        at: prop::sample::Index, byte: u8,
    ) {
        let mut bytes = Payload { timestamp_ms, metrics, seq }.encode();
        prop_assert_eq!(Payload::decode(&bytes).unwrap().encode(), bytes.clone());
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            decode_any_sparkplug_bytes(&bytes[..at]);
            bytes[at] = byte;
            decode_any_sparkplug_bytes(&bytes);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..99), topic in "spBv1.0/[a-z]{0,3}/[A-Z]{5,6}/[a-z]{1,2}(/[a-z])?") {
        decode_any_sparkplug_bytes(&bytes);
        decode_any_sparkplug_bytes(topic.as_bytes());
    }
}

/// A host knows each alias of the data from the birth before it, and each will has the number of the birth behind it.
#[test]
fn everything_in_data_was_born_and_every_connection_has_its_own_number() {
    use crate::uplink::Qos;

    let mut node = node();
    let metrics = |payload: &[u8]| Payload::decode(payload).unwrap().metrics;
    let mut numbers = Vec::new();
    for _ in 0..3 {
        let will = node.connecting();
        assert_eq!((will.qos, will.is_retained), (Qos::AtLeastOnce, false));
        assert_eq!(&*will.topic, "spBv1.0/berlin/NDEATH/gw");
        let birth = metrics(&node.birth(1).payload);
        let number = metrics(&will.payload)[0].value.clone();
        assert_eq!(birth[0].value, number);
        numbers.push(number);
    }
    let expected = [0, 1, 2].map(|number| Some(Value::Long(number)));
    assert_eq!(numbers, expected);
    let born = metrics(
        &node
            .device_birth(&name("m"), [name("t"), name("u")], 1)
            .payload,
    );
    let alert = Alert {
        rule: name("hot"),
        metric: name("u"),
        level: Level::Warning,
        is_raised: true,
        value: 99.5,
    };
    let mut record = Record {
        id: RecordId {
            device: name("m"),
            boot: BootEpoch::FIRST,
            sequence: 1,
        },
        at_ms: 0,
        payload: Body::Alert(alert.clone()),
    };
    let told = metrics(&node.data(&record, 0, 0, false).unwrap().payload);
    let known = born.iter().find(|metric| metric.alias == told[0].alias);
    let known = known.expect("the alert's alias was born");
    assert_eq!(known.name.as_deref(), Some("Alert/u"));
    assert_eq!(known.datatype, told[0].datatype);
    let text = "raised: hot 99.5".to_owned();
    assert_eq!(told[0].value, Some(Value::String(text)));
    record.payload = Body::Alert(Alert {
        metric: name("v"),
        ..alert
    });
    assert_eq!(node.data(&record, 0, 0, false), None, "it was not born");
}
