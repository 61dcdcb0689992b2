use super::*;

fn events(uplink: &mut MemoryUplink) -> Vec<UplinkEvent> {
    let mut events = Vec::new();
    let _ = uplink.poll_events(&mut Context::from_waker(Waker::noop()), &mut events);
    events
}

fn inbound(events: &[UplinkEvent]) -> Vec<(String, Option<AckToken>)> {
    let read = |event: &UplinkEvent| match event {
        UplinkEvent::Inbound { message, token } => {
            let text = String::from_utf8(message.payload.to_vec()).unwrap();
            Some((text, *token))
        }
        _ => None,
    };
    events.iter().filter_map(read).collect()
}

#[test]
fn what_was_not_acknowledged_comes_again_unless_the_broker_died() {
    let broker = MemoryBroker::new(1);
    let (mut sender, mut reader) = (broker.connect("s"), broker.connect("r"));
    reader.subscribe("a/#");
    for seq in 0..3 {
        let message = Message::new("a/b", seq.to_string());
        sender.submit(seq, message).unwrap();
    }
    let first = inbound(&events(&mut reader));
    assert_eq!(first.len(), 3);
    reader.acknowledge(first[0].1.unwrap());
    broker.cut("r");
    broker.mend("r");
    let again = events(&mut reader);
    assert!(matches!(again[0], UplinkEvent::Down { .. }));
    assert_eq!(again[1], UplinkEvent::Up { is_resumed: true });
    assert_eq!(inbound(&again), first[1..]);
    broker.kill();
    assert_eq!(sender.room(), 0);
    assert_eq!(
        sender.submit(3, Message::new("a/b", "3")),
        Err(SubmitError::Down)
    );
    broker.start();
    let later = events(&mut reader);
    assert!(later.contains(&UplinkEvent::Up { is_resumed: false }));
    assert!(inbound(&later).is_empty());
    sender.submit(4, Message::new("a/b", "4")).unwrap();
    assert_eq!(inbound(&events(&mut reader)).len(), 1, "subscribed again");
}

#[test]
fn what_is_retained_reaches_those_who_come_later() {
    let broker = MemoryBroker::new(1);
    let mut sender = broker.connect("s");
    let message = Message {
        is_retained: true,
        ..Message::new("a/b", "kept")
    };
    sender.submit(1, message).unwrap();
    let mut reader = broker.connect("r");
    reader.subscribe("a/+");
    let first = inbound(&events(&mut reader));
    assert_eq!(first[0].0, "kept");
    // And those who come back hear it again, whatever they acknowledged.
    reader.acknowledge(first[0].1.unwrap());
    broker.cut("r");
    broker.mend("r");
    assert_eq!(inbound(&events(&mut reader))[0].0, "kept");
}

#[test]
fn a_seed_gives_one_history_with_every_fault() {
    let run = |seed| {
        let faults = Faults {
            lost: 50,
            unanswered: 50,
            repeated: 50,
            forgotten: 50,
        };
        let broker = MemoryBroker::with_faults(seed, faults);
        let (mut sender, mut reader) = (broker.connect("s"), broker.connect("r"));
        reader.subscribe("#");
        let mut heard = Vec::new();
        for seq in 0..500 {
            sender
                .submit(seq, Message::new("t", seq.to_string()))
                .unwrap();
            heard.extend(events(&mut sender));
            heard.extend(events(&mut reader));
        }
        (heard, broker.counts())
    };
    let (heard, counts) = run(7);
    assert_eq!(run(7).0, heard);
    assert_ne!(run(8).0, heard);
    assert!(counts.lost > 0 && counts.unanswered > 0);
    assert!(counts.repeated > 0 && counts.forgotten > 0);
}
