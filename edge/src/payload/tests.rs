use proptest::prelude::*;

use crate::topic::Stream;
use crate::{BootEpoch, Name, Position, RecordId};

use super::*;

fn name() -> impl Strategy<Value = Name> {
    "[A-Za-z0-9._-]{1,64}".prop_map(|text| Name::new(&text).unwrap())
}

fn text() -> impl Strategy<Value = Text> {
    ".{0,40}".prop_map(|text| Text::new(&text))
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        (-100_000_i32..100_000).prop_map(|whole| f64::from(whole) / 100.0),
        any::<f64>(),
        any::<u64>().prop_map(f64::from_bits),
    ]
}

fn column() -> impl Strategy<Value = Column> {
    let readings = proptest::collection::vec((any::<u64>(), value()), 0..20);
    (name(), readings).prop_map(|(metric, readings)| {
        let mut column = Column::new(metric);
        for (at_ms, value) in readings {
            column.push(at_ms, value).unwrap();
        }
        column
    })
}

/// Also of reasons that nobody knows yet.
fn gap() -> impl Strategy<Value = Gap> {
    let reason = prop_oneof![0..10_u64, any::<u64>()].prop_map(GapReason::from_number);
    let position = (1..9_u64, 1..99_u64);
    (0..6_u64, position.clone(), position, reason).prop_map(|(stream, one, other, reason)| {
        let at = |(boot, sequence)| Position::new(BootEpoch::new(boot).unwrap(), sequence);
        Gap {
            stream: Stream::from_number(stream).unwrap(),
            first: at(one.min(other)),
            last: at(one.max(other)),
            count: 1,
            reason,
        }
    })
}

fn payload() -> impl Strategy<Value = Payload> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40).prop_map(bytes::Bytes::from);
    prop_oneof![
        proptest::collection::vec(column(), 0..4)
            .prop_map(|columns| Payload::Readings(Readings { columns })),
        (
            any::<u64>(),
            any::<u64>(),
            any::<Option<i64>>(),
            text(),
            proptest::collection::vec(name(), 0..4)
        )
            .prop_map(
                |(uptime_ms, spooled_records, wall_offset_ms, firmware, capabilities)| {
                    Payload::Health(Health {
                        location: firmware.clone(),
                        capabilities,
                        status: Status::Online,
                        uptime_ms,
                        spooled_records,
                        wall_offset_ms,
                        firmware,
                        ..Health::default()
                    })
                }
            ),
        (name(), name(), any::<bool>(), value()).prop_map(|(rule, metric, is_raised, value)| {
            Payload::Alert(Alert {
                rule,
                metric,
                level: Level::Warning,
                is_raised,
                value,
            })
        }),
        (
            name(),
            proptest::option::of((any::<u16>(), name())),
            proptest::option::of(text())
        )
            .prop_map(|(key, step, reason)| {
                let phase = OrderPhase::Began;
                Payload::Order(OrderUpdate {
                    step,
                    reason,
                    permille: Some(250),
                    ..OrderUpdate::new(key, phase)
                })
            }),
        (text(), proptest::option::of(name())).prop_map(|(text, order)| {
            let level = Level::Info;
            Payload::Notification(Notification { level, text, order })
        }),
        gap().prop_map(Payload::Gap),
        bytes().prop_map(Payload::Twin),
        (name(), bytes()).prop_map(|(name, bytes)| Payload::Custom { name, bytes }),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    (name(), 1..u64::MAX, 1..u64::MAX, any::<u64>(), payload()).prop_map(
        |(device, boot, sequence, at_ms, payload)| Record {
            id: RecordId {
                device,
                boot: BootEpoch::new(boot).unwrap(),
                sequence,
            },
            at_ms,
            payload,
        },
    )
}

proptest! {
    #[test]
    fn a_record_comes_back_bit_for_bit(record in record()) {
        let bytes = record.encode();
        // Bytes rather than values: a NaN does not equal itself.
        prop_assert_eq!(Record::decode(&bytes).unwrap().encode(), bytes);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        decode_any_payload_bytes(&bytes);
    }

    #[test]
    fn damaged_records_are_read_or_refused(record in record(), at: prop::sample::Index, byte: u8) {
        let mut bytes = record.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        decode_any_payload_bytes(&bytes);
        decode_any_payload_bytes(&bytes[..at]);
    }

    #[cfg(feature = "json")]
    #[test]
    fn what_json_can_say_comes_back(record in record()) {
        let json = to_json(&record).unwrap();
        if !json.contains("null") {
            prop_assert_eq!(from_json::<Record>(json.as_bytes()).unwrap(), record);
        }
    }

    #[cfg(feature = "json")]
    #[test]
    fn damaged_json_is_read_or_refused(record in record(), at: prop::sample::Index, byte: u8) {
        let mut text = to_json(&record).unwrap().into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        decode_any_json_bytes(&text);
        decode_any_json_bytes(&text[..at]);
    }
}

/// Whatever a person gets wrong is refused, in words that help.
#[cfg(feature = "json")]
#[test]
fn malformed_json_is_refused_and_says_where() {
    let command = |text: &str| {
        from_json::<Command>(text.as_bytes())
            .unwrap_err()
            .to_string()
    };
    let update = |text: &str| {
        from_json::<OrderUpdate>(text.as_bytes())
            .unwrap_err()
            .to_string()
    };
    let cases = [
        (command(""), "EOF while parsing"),
        (command("{\"device\": \"m-17\", "), "EOF while parsing"),
        (command("[1, 2"), "line 1"),
        (command("{\"device\": \"m-17\"}"), "missing field `action`"),
        (command(r#"{"device": "m/17", "action": "ping"}"#), "m/17"),
        (
            command(r#"{"device": "m-17", "action": "dance"}"#),
            "unknown variant `dance`",
        ),
        (
            command(r#"{"device": 17, "action": "ping"}"#),
            "invalid type: integer `17`",
        ),
        (
            command(r#"{"device": "m-17", "action": "ping"} and more"#),
            "trailing characters",
        ),
        (
            command(r#"{"device": "m-17", "action": {"custom": {"name": "n", "bytes": "0g"}}}"#),
            "no hexadecimal digit",
        ),
        (
            update(r#"{"key": "o", "phase": "began", "permille": 1001}"#),
            "1000 thousandths",
        ),
        (
            update(r#"{"key": "o", "phase": "began", "permille": -1}"#),
            "invalid value",
        ),
    ];
    for (told, words) in cases {
        assert!(told.contains(words), "{told:?} does not say {words:?}");
    }
    let deep = format!("{{\"later\": {}", "[".repeat(100_000));
    assert!(command(&deep).contains("EOF while parsing"));
    let deep = from_json::<Record>(deep.as_bytes()).unwrap_err();
    assert!(deep.to_string().contains("recursion limit"), "{deep}");
    let long = " ".repeat(MESSAGE_BYTES_MAX + 1);
    assert!(matches!(
        from_json::<Command>(long.as_bytes()),
        Err(EdgeError::TooLong { .. })
    ));
}

/// JSON is no way around what CBOR bounds.
#[cfg(feature = "json")]
#[test]
fn json_says_nothing_that_cbor_cannot() {
    let gap = r#"{"stream": "telemetry", "first": {"boot": 1, "sequence": 9}, "last": {"boot": 1, "sequence": 3}, "count": 1, "reason": "dropped"}"#;
    assert!(from_json::<Gap>(gap.as_bytes()).is_err());
    let right = gap.replacen("9", "2", 1);
    assert!(from_json::<Gap>(right.as_bytes()).is_ok());
    let column = r#"{"metric": "t", "readings": [[1, 93.5]]}"#;
    let columns = |count| format!(r#"{{"columns": [{}]}}"#, vec![column; count].join(","));
    assert!(from_json::<Readings>(columns(COLUMNS_MAX).as_bytes()).is_ok());
    assert!(from_json::<Readings>(columns(COLUMNS_MAX + 1).as_bytes()).is_err());
    let record =
        r#"{"device": "m", "boot": 1, "sequence": 0, "at_ms": 3, "payload": {"twin": "00"}}"#;
    assert!(
        from_json::<Record>(record.as_bytes()).is_err(),
        "sequences begin at 1"
    );
    let disguised = r#"{"device": "m", "boot": 1, "sequence": 1, "at_ms": 3, "payload": {"unknown": {"kind": 7, "body": "a10040"}}}"#;
    assert!(
        from_json::<Record>(disguised.as_bytes()).is_err(),
        "7 is known"
    );
    assert!(from_json::<Record>(disguised.replace("7", "77").as_bytes()).is_ok());
}

fn command(action: Action) -> Command {
    let device = Name::new("m-17").unwrap();
    Command { device, action }
}

/// The bytes that `PAYLOAD.md` shows.
#[test]
fn the_documented_bytes_are_the_ones_written() {
    let key = Name::new("o1").unwrap();
    let place = command(Action::PlaceOrder {
        key,
        recipe: Name::new("latte").unwrap(),
    });
    let hex = "a50001 0164 6d2d3137 0201 0362 6f31 0465 6c61747465".replace(' ', "");
    assert_eq!(to_hex(&place.encode()), hex);
    let mut column = Column::new(Name::new("t").unwrap());
    for (at_ms, value) in [(1000, 93.0), (2000, 93.5), (3000, 93.4)] {
        column.push(at_ms, value).unwrap();
    }
    let columns = vec![column];
    let hex = "a100 81 a4 006174 0144d00f0000 0201 0344c40e0a01".replace(' ', "");
    assert_eq!(to_hex(&Readings { columns }.encode()), hex);
}

/// One example of each kind, as `PAYLOAD.md` shows them: what was written once is read for ever.
#[test]
fn every_kind_has_its_bytes() {
    let name = |text: &str| Name::new(text).unwrap();
    let boot = |number| BootEpoch::new(number).unwrap();
    let health = Health {
        status: Status::Maintenance,
        uptime_ms: 1_000,
        firmware: Text::new("1.2"),
        spooled_records: 3,
        wall_offset_ms: Some(-5),
        capabilities: vec![name("grind")],
        ..Health::default()
    };
    let alert = Alert {
        rule: name("hot"),
        metric: name("t"),
        level: Level::Critical,
        is_raised: true,
        value: 93.5,
    };
    let update = OrderUpdate {
        step: Some((1, name("heat"))),
        permille: Some(500),
        ..OrderUpdate::new(name("o1"), OrderPhase::Progress)
    };
    let notification = Notification {
        level: Level::Info,
        text: Text::new("ready"),
        order: Some(name("o1")),
    };
    let gap = Gap {
        stream: Stream::Telemetry,
        first: Position::new(boot(1), 7),
        last: Position::new(boot(2), 3),
        count: 4,
        reason: GapReason::TooLong,
    };
    let record = |payload| Record {
        id: RecordId {
            device: name("m"),
            boot: boot(2),
            sequence: 5,
        },
        at_ms: 9,
        payload,
    };
    let twin = record(Payload::Twin(vec![1, 2].into()));
    let custom = Payload::Custom {
        name: name("c"),
        bytes: vec![1, 2].into(),
    };
    let delivery = Delivery {
        record: twin.clone(),
        after: Some(Position::new(boot(1), 4)),
    };
    let ack = SinkAck {
        device: name("m"),
        boot: boot(2),
        stream: Stream::Twin,
        through: 5,
    };
    let exchange = Exchange {
        messages: vec![("t/1".into(), vec![1, 2].into())],
    };
    let shown = include_str!("../../PAYLOAD.md").replace(char::is_whitespace, "");
    let examples = [
        (
            health.encode(),
            "a6 0002 011903e8 0263312e32 0303 0924 0c81656772696e64",
        ),
        (
            alert.encode(),
            "a5 0063686f74 016174 0202 0301 04fb4057600000000000",
        ),
        (
            update.encode(),
            "a5 00626f31 0102 0201 036468656174 041901f4",
        ),
        (notification.encode(), "a3 0000 01657265616479 02626f31"),
        (gap.encode(), "a7 0000 0107 0203 0304 0404 0501 0601"),
        (
            twin.encode(),
            "a7 0001 01616d 0202 0305 0409 0507 06a100420102",
        ),
        (
            record(custom).encode(),
            "a7 0001 01616d 0202 0305 0409 0508 06a2006163 01420102",
        ),
        (
            delivery.encode(),
            "a9 0001 01616d 0202 0305 0409 0507 06a100420102 0704 0801",
        ),
        (ack.encode(), "a5 0001 01616d 0202 0304 0405"),
        (exchange.encode(), "a2 0001 0181 a20063742f31 01420102"),
    ];
    for (bytes, hex) in examples {
        let hex = hex.replace(' ', "");
        assert_eq!(to_hex(&bytes), hex);
        assert!(shown.contains(&hex), "PAYLOAD.md shows {hex}");
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn keys_of_a_later_build_are_skipped_and_keys_out_of_order_refused() {
    let mut bytes = command(Action::Ping).encode();
    assert_eq!(bytes[0], 0xa3);
    bytes[0] = 0xa4;
    // Key 40: an array of a text, a map and an indefinite byte string.
    bytes.extend([
        0x18, 40, 0x83, 0x61, b'x', 0xa1, 0x20, 0xf6, 0x5f, 0x41, 1, 0xff,
    ]);
    assert_eq!(Command::decode(&bytes).unwrap(), command(Action::Ping));
    let mut repeated = command(Action::Ping).encode();
    repeated[0] = 0xa4;
    repeated.extend([0x02, 0x05]);
    assert!(Command::decode(&repeated).is_err());
}

#[test]
fn a_record_of_an_unknown_kind_is_kept_as_it_came() {
    let id = RecordId {
        device: Name::new("m").unwrap(),
        boot: BootEpoch::FIRST,
        sequence: 9,
    };
    let payload = Payload::Unknown {
        kind: 77,
        body: vec![0x82, 1, 2].into(),
    };
    let record = Record {
        id,
        at_ms: 3,
        payload,
    };
    assert_eq!(Record::decode(&record.encode()).unwrap(), record);
}

#[test]
fn oversized_and_misaddressed_commands_are_refused() {
    let long = vec![0; MESSAGE_BYTES_MAX + 1];
    assert!(matches!(
        Command::decode(&long),
        Err(EdgeError::TooLong { .. })
    ));
    let other = Name::new("m-18").unwrap();
    let error = command(Action::Resume).addressed_to(&other).unwrap_err();
    assert_eq!(
        error.to_string(),
        "command for m-17 reached m-18: it was not carried out"
    );
}

/// A length of 2^60 readings in eleven bytes takes no memory for them.
#[test]
fn a_claimed_length_is_refused_before_memory_is_taken() {
    let bytes = [0xa1, 0, 0x9b, 0x10, 0, 0, 0, 0, 0, 0, 0];
    assert!(matches!(
        Readings::decode(&bytes),
        Err(EdgeError::TooLong { .. })
    ));
}

#[test]
fn an_exchange_is_bounded_and_reads_back() {
    let message = |at: usize| (format!("t/{at}").into(), vec![7; 10].into());
    let exchange = Exchange {
        messages: (0..EXCHANGE_MESSAGES_MAX).map(message).collect(),
    };
    assert_eq!(Exchange::decode(&exchange.encode()).unwrap(), exchange);
    let more = Exchange {
        messages: (0..=EXCHANGE_MESSAGES_MAX).map(message).collect(),
    };
    assert!(matches!(
        Exchange::decode(&more.encode()),
        Err(EdgeError::TooLong { .. })
    ));
    let unversioned = [0xa1, 1, 0x80];
    assert!(Exchange::decode(&unversioned).is_err());
}
