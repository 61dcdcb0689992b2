//! What broker and sink say that they have, and what of it is let go of.

use super::*;

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

/// What is new was sent before the backlog, and all of the backlog has given way since: nothing in front of it is waited for.
#[test]
fn what_gave_way_in_front_of_what_the_broker_has_is_not_waited_for() {
    for is_answered_first in [true, false] {
        what_is_new_goes_first_and_the_backlog_gives_way(is_answered_first);
    }
}

fn what_is_new_goes_first_and_the_backlog_gives_way(is_answered_first: bool) {
    let mut bench = Bench::new(SpoolSettings {
        keep_until: AckLevel::Broker,
        ..SpoolSettings::default()
    });
    for _ in 0..2 {
        bench.append(payload(Stream::Health, 0)).unwrap();
    }
    bench.commit();
    bench.spool.up(bench.now, false);
    let new = bench.append(payload(Stream::Health, 0)).unwrap();
    bench.commit();
    let sent = bench.next().unwrap();
    assert_eq!(sent.at, new, "before the backlog");
    if is_answered_first {
        bench.accept(sent.seq);
    }
    for _ in 0..2 {
        let (storage, batch) = (&bench.storage, &mut bench.batch);
        assert!(bench.spool.relieve(storage, batch).unwrap());
        bench.commit();
    }
    assert_eq!(bench.spool.status().dropped_records, 2, "the backlog");
    bench.append(payload(Stream::Health, 0)).unwrap();
    bench.commit();
    if !is_answered_first {
        // It is found only now that nothing of the backlog is left.
        let behind = bench.next().unwrap();
        bench.accept(sent.seq);
        bench.accept(behind.seq);
    }
    for _ in 0..100 {
        while let Some(outgoing) = bench.next() {
            bench.accept(outgoing.seq);
        }
        bench.commit();
        bench.now += Duration::from_secs(40);
        bench.tend();
        bench.commit();
    }
    assert_eq!(bench.spool.status().records, 0);
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
/// that up. It is refused by name whenever it comes, with all that may be taken for repeated before any of that is cut, and the
/// next that can be so cuts.
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
        Err(EdgeError::LaterStart { known, own, .. }) => (known, own.get()),
        other => panic!("{other:?}"),
    };
    let up_to = |sequence| Position::new(BootEpoch::FIRST, sequence);
    assert_eq!(told(ack(&mut bench, 70)), (up_to(70), 1));
    bench.commit();
    assert_eq!(bench.spool.status().records, 2);
    ack(&mut bench, 2).unwrap();
    bench.commit();
    assert_eq!(bench.spool.status().records, 1);
    // Also the very next that is made.
    assert_eq!(told(ack(&mut bench, 4)), (up_to(4), 1));
    append(&mut bench, 1);
    ack(&mut bench, 4).unwrap();
    bench.commit();
    assert_eq!(bench.spool.status().records, 0);
    assert_eq!(told(ack(&mut bench, 70)), (up_to(70), 1));
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
