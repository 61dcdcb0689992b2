//! What an uplink finds too long, and what a broker refuses.

use super::*;

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

/// A record is given up, and the disk has no room to write that down: it is there again, as often refused as before, and the
/// next refusal is the last.
#[test]
fn a_record_whose_giving_up_finds_no_room_on_the_disk_is_given_up_at_the_next_refusal() {
    for reason in [GapReason::TooLong, GapReason::Refused] {
        let mut bench = Bench::new(SpoolSettings {
            keep_until: AckLevel::Broker,
            ..SpoolSettings::default()
        });
        bench.append(payload(Stream::Custom, 10)).unwrap();
        bench.commit();
        bench.spool.up(bench.now, false);
        let refuse = |bench: &mut Bench| {
            let outgoing = bench.next().expect("it goes again");
            if reason == GapReason::Refused {
                bench.spool.refused(bench.now, outgoing.seq);
            } else {
                let (storage, batch) = (&bench.storage, &mut bench.batch);
                let seq = outgoing.seq;
                let told = bench.spool.too_long(bench.now, seq, storage, batch);
                told.unwrap();
            }
        };
        for _ in 1..TOO_LONG_MAX.max(REFUSED_MAX) {
            refuse(&mut bench);
            bench.now += TOO_LONG_INTERVAL;
            bench.tend();
            bench.commit();
        }
        for is_full in [true, true, false] {
            assert!(bench.spool.holds(Stream::Custom));
            refuse(&mut bench);
            // All goes again by now, and nothing that is refused counts so soon.
            bench.now += Duration::from_secs(1_000);
            bench.tend();
            assert!(!bench.spool.holds(Stream::Custom), "{reason:?}");
            if is_full {
                bench.batch.clear();
                bench.spool.aborted();
            } else {
                bench.commit();
            }
        }
        assert!(bench.now < Instant::default() + 3 * TOO_LONG_INTERVAL);
        bench.drain();
        let mut told = bench.sink.gaps.iter();
        let told = told.find(|gap| gap.stream == Stream::Custom);
        assert_eq!(told.map(|gap| (gap.reason, gap.count)), Some((reason, 1)));
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

/// The second record has been refused often enough, and then the broker takes it, while the first is still refused: only the
/// first is given up.
#[test]
fn what_the_broker_takes_in_the_end_is_not_told_to_be_gone() {
    let mut bench = Bench::new(SpoolSettings {
        keep_until: AckLevel::Broker,
        ..SpoolSettings::default()
    });
    let first = bench.append(payload(Stream::Custom, 10)).unwrap();
    bench.append(payload(Stream::Custom, 10)).unwrap();
    bench.commit();
    bench.spool.up(bench.now, false);
    for round in 0..=2 * REFUSED_MAX {
        while let Some(outgoing) = bench.next() {
            // First the answers about the one stay away, then the other is taken.
            match (outgoing.at == first, round < REFUSED_MAX) {
                (true, true) => {}
                (true, false) | (false, true) => bench.spool.refused(bench.now, outgoing.seq),
                (false, false) => {
                    bench.sink.take(&outgoing.message);
                    bench.accept(outgoing.seq);
                }
            }
        }
        if round == REFUSED_MAX - 1 {
            bench.spool.up(bench.now, false);
            continue;
        }
        bench.commit();
        bench.now += TOO_LONG_INTERVAL;
        bench.tend();
        bench.commit();
    }
    assert!(!bench.spool.holds(Stream::Custom));
    assert_eq!(bench.spool.status().dropped_records, 1);
}

impl Bench {
    /// Offers all there is, and the broker refuses what is not its own health; which makes a record, as devices do.
    fn round_with_a_broker_that_refuses(&mut self) {
        while let Some(outgoing) = self.next() {
            if outgoing.stream == Stream::Custom {
                self.spool.refused(self.now, outgoing.seq);
            } else {
                self.sink.take(&outgoing.message);
                self.accept(outgoing.seq);
            }
        }
        self.append(payload(Stream::Health, 0)).unwrap();
        self.commit();
    }

    /// A device with a record that its broker will refuse.
    fn with_a_record_to_be_refused() -> Self {
        let mut bench = Self::new(SpoolSettings {
            keep_until: AckLevel::Broker,
            ..SpoolSettings::default()
        });
        bench.append(payload(Stream::Custom, 10)).unwrap();
        bench.commit();
        bench
    }

    /// Runs for 20 minutes and is off for a day.
    fn run_and_be_off(&mut self) {
        self.restart();
        let end = self.now + Duration::from_secs(1_200);
        self.spool.up(self.now, false);
        while self.now < end && self.spool.holds(Stream::Custom) {
            self.round_with_a_broker_that_refuses();
            self.now = self.spool.deadline().unwrap_or(end).max(self.now);
            self.tend();
            self.commit();
        }
        self.now += Duration::from_secs(86_400);
    }
}

/// A device never runs for an hour at a stretch. Each start counts on from the last, and only the time in which it runs: the
/// third refusal that counts comes after two hours of that.
#[test]
fn what_is_refused_for_good_is_given_up_also_by_a_device_that_never_runs_for_long() {
    let mut bench = Bench::with_a_record_to_be_refused();
    let mut starts = 0;
    while bench.spool.holds(Stream::Custom) {
        assert!(starts < 20, "it is kept for ever");
        starts += 1;
        bench.run_and_be_off();
    }
    // The last refusal of a start comes after 15.5 minutes: four starts to the hour.
    assert_eq!(starts, 8);
    bench.drain();
    let mut told = bench.sink.gaps.iter();
    let told = told.find(|gap| gap.stream == Stream::Custom);
    let told = told.map(|gap| (gap.reason, gap.count));
    assert_eq!(told, Some((GapReason::Refused, 1)));
}

/// However often a device starts within the hour, and however long it was off in between: its broker has had no time to be set
/// right.
#[test]
fn a_start_alone_counts_no_refusal() {
    let mut bench = Bench::with_a_record_to_be_refused();
    for _ in 0..50 {
        bench.restart();
        bench.spool.up(bench.now, false);
        bench.round_with_a_broker_that_refuses();
        bench.now += Duration::from_secs(86_400);
        bench.restart();
        bench.spool.up(bench.now, false);
        bench.round_with_a_broker_that_refuses();
        bench.now += Duration::from_secs(10);
        bench.tend();
        bench.commit();
        assert!(bench.spool.holds(Stream::Custom));
    }
}

/// What is too long is tried on another connection; that is one also where it is of another start.
#[test]
fn a_record_too_long_for_every_uplink_is_given_up_by_a_device_that_connects_once_a_start() {
    let mut bench = Bench::new(SpoolSettings::default());
    bench.append(payload(Stream::Twin, 1_000)).unwrap();
    bench.commit();
    for start in 1..=TOO_LONG_MAX {
        bench.restart();
        bench.spool.up(bench.now, false);
        let given_up = bench.round_with_a_narrow_uplink();
        assert_eq!(given_up, [start == TOO_LONG_MAX]);
        bench.append(payload(Stream::Health, 0)).unwrap();
        bench.commit();
    }
    assert!(!bench.spool.holds(Stream::Twin));
}

/// The disk was full when a count was written: it is written with what is written next. What the broker has taken in the end is
/// not counted on.
#[test]
fn a_count_that_found_no_room_is_written_with_the_next_record() {
    for is_taken in [false, true] {
        let mut bench = Bench::with_a_record_to_be_refused();
        bench.append(payload(Stream::Custom, 10)).unwrap();
        bench.commit();
        bench.spool.up(bench.now, false);
        for _ in 1..REFUSED_MAX {
            let first = bench.next().unwrap();
            bench.spool.refused(bench.now, first.seq);
            while let Some(behind) = bench.next() {
                bench.spool.refused(bench.now, behind.seq);
            }
            bench.now += TOO_LONG_INTERVAL;
            bench.tend();
            bench.commit();
        }
        let first = bench.next().unwrap();
        if is_taken {
            bench.accept(first.seq);
        } else {
            bench.spool.refused(bench.now, first.seq);
        }
        bench.append(payload(Stream::Health, 0)).unwrap();
        bench.batch.clear();
        bench.spool.aborted();
        bench.append(payload(Stream::Health, 0)).unwrap();
        bench.commit();
        bench.restart();
        bench.spool.up(bench.now, false);
        bench.round_with_a_broker_that_refuses();
        bench.now = bench.spool.deadline().unwrap();
        bench.tend();
        // Of the first, the third refusal was written; or it was let go of.
        let held = bench.spool.status();
        let dropped = u64::from(!is_taken);
        assert_eq!(held.dropped_records, dropped, "{held:?}");
    }
}
