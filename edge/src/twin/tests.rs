use peaberry_core::{Channel, Durability, MemoryStorage, ProtocolId};
use proptest::prelude::*;

use super::*;

const WALL_MS: u64 = 1_700_000_000_000;

fn space() -> Subspace {
    Subspace::of(Channel::new(ProtocolId(2001), 0))
}

fn service_id(number: u128) -> Side {
    Side::Service(ReplicaId::new(0x5e1f_0000 + number).unwrap())
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A twin with a store of its own.
struct Copy {
    storage: MemoryStorage,
    twin: Twin,
    side: Side,
    outbox: Vec<Bytes>,
}

impl Copy {
    fn new(side: Side) -> Self {
        let storage = MemoryStorage::new();
        let twin = Twin::open(&storage, &space(), side).unwrap();
        Self {
            storage,
            twin,
            side,
            outbox: Vec::new(),
        }
    }

    fn commit(&self, batch: &Batch) {
        self.storage.commit(batch, Durability::Synced).unwrap();
    }

    fn desire(&mut self, key: &str, value: f64, wall_ms: u64) {
        let mut batch = Batch::new();
        let message = self
            .twin
            .desire(name(key), value.into(), Some(wall_ms), &mut batch);
        self.commit(&batch);
        self.outbox.push(message.unwrap());
    }

    fn report(&mut self, key: &str, value: f64) {
        let mut batch = Batch::new();
        let message = self
            .twin
            .report(name(key), value.into(), Some(WALL_MS), &mut batch);
        self.commit(&batch);
        self.outbox.push(message.unwrap());
    }

    fn receive(&mut self, message: &[u8]) -> Result<Received, EdgeError> {
        let mut batch = Batch::new();
        let received = self.twin.receive(message, Some(WALL_MS), &mut batch);
        self.commit(&batch);
        received
    }

    fn restart(&mut self) {
        self.twin = Twin::open(&self.storage, &space(), self.side).unwrap();
    }
}

/// Lets both say hello, and passes messages to and fro until they are silent. How many there were.
fn connect(one: &mut Copy, other: &mut Copy) -> usize {
    let mut to_other = vec![one.twin.hello()];
    let mut to_one = vec![other.twin.hello()];
    let mut count = 0;
    while !to_other.is_empty() || !to_one.is_empty() {
        count += to_other.len() + to_one.len();
        assert!(count < 100, "the sides do not fall silent");
        let arrived = std::mem::take(&mut to_other);
        for message in std::mem::take(&mut to_one) {
            to_other.extend(one.receive(&message).unwrap().answers);
        }
        for message in arrived {
            to_one.extend(other.receive(&message).unwrap().answers);
        }
    }
    count
}

#[test]
fn edits_made_apart_come_together_on_both_sides() {
    let mut device = Copy::new(Side::Device);
    let mut service = Copy::new(service_id(1));
    service.desire("boiler.target", 94.0, WALL_MS);
    service.desire("grind", 3.0, WALL_MS);
    // Meanwhile, somebody at the machine turns the knob, later.
    device.desire("grind", 5.0, WALL_MS + 10);
    device.report("boiler.target", 93.0);
    connect(&mut device, &mut service);
    for copy in [&device, &service] {
        assert_eq!(copy.twin.desired(&name("grind")), Some(&5.0.into()));
        let delta = copy.twin.delta();
        assert_eq!(
            delta,
            [
                (name("boiler.target"), 94.0.into()),
                (name("grind"), 5.0.into())
            ]
        );
    }
    // What is known on both sides is not told again.
    assert_eq!(connect(&mut device, &mut service), 2);
}

#[test]
fn a_delta_that_came_too_early_is_asked_for() {
    let mut device = Copy::new(Side::Device);
    let mut service = Copy::new(service_id(1));
    device.report("a", 1.0);
    device.report("a", 2.0);
    let late = device.outbox.pop().unwrap();
    let received = service.receive(&late).unwrap();
    assert!(!received.has_changed);
    let answer = device.receive(&received.answers[0]).unwrap().answers;
    assert!(service.receive(&answer[0]).unwrap().has_changed);
    assert_eq!(service.twin.reported(&name("a")), Some(&2.0.into()));
}

#[test]
fn what_was_written_survives_a_restart_and_goes_on() {
    let mut device = Copy::new(Side::Device);
    let mut service = Copy::new(service_id(1));
    for round in 0..5 {
        device.report("a", f64::from(round));
        service.desire("b", f64::from(round), WALL_MS - 1000);
        device.restart();
        service.restart();
        connect(&mut device, &mut service);
        assert_eq!(
            service.twin.reported(&name("a")),
            Some(&f64::from(round).into())
        );
        assert_eq!(
            device.twin.desired(&name("b")),
            Some(&f64::from(round).into())
        );
    }
}

#[test]
fn stamps_from_the_far_future_are_refused_and_do_not_win() {
    let mut device = Copy::new(Side::Device);
    let mut service = Copy::new(service_id(1));
    service.desire("a", 1.0, WALL_MS + DRIFT_MS_MAX + 1);
    let message = service.outbox.pop().unwrap();
    let error = device.receive(&message).unwrap_err();
    assert!(matches!(
        error,
        EdgeError::Twin {
            source: ApplyError::FarFuture(_)
        }
    ));
    assert_eq!(device.twin.desired(&name("a")), None);
    // A device that does not know the time takes it.
    let mut batch = Batch::new();
    assert!(
        device
            .twin
            .receive(&message, None, &mut batch)
            .unwrap()
            .has_changed
    );
}

#[test]
fn only_the_device_reports() {
    let mut service = Copy::new(service_id(1));
    let mut batch = Batch::new();
    let report = service
        .twin
        .report(name("a"), true.into(), None, &mut batch);
    assert!(report.is_err());
    // One who writes it all the same is refused by name.
    let written = service
        .twin
        .write(Section::Reported, name("a"), true.into(), None, &mut batch);
    let error = Copy::new(Side::Device)
        .receive(&written.unwrap())
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("5e1f0001 reports a, which only the device may"),
        "{error}"
    );
}

#[test]
fn a_twin_has_bounded_entries() {
    let mut device = Copy::new(Side::Device);
    for number in 0..TWIN_ENTRIES_MAX {
        device.report(&format!("k{number}"), 0.0);
    }
    let mut batch = Batch::new();
    let error = device
        .twin
        .report(name("more"), true.into(), None, &mut batch);
    assert!(matches!(error, Err(EdgeError::TooLong { .. })));
    assert!(
        device
            .twin
            .desire(name("k0"), true.into(), None, &mut batch)
            .is_err()
    );
    device.report("k0", 1.0);
}

#[test]
fn what_is_no_longer_desired_is_gone_on_both_sides() {
    let mut device = Copy::new(Side::Device);
    let mut service = Copy::new(service_id(1));
    service.desire("a", 1.0, WALL_MS);
    connect(&mut device, &mut service);
    let mut batch = Batch::new();
    let message = service.twin.forget(&name("a"), &mut batch).unwrap();
    let message = message.expect("it was desired");
    service.commit(&batch);
    assert_eq!(service.twin.forget(&name("a"), &mut batch).unwrap(), None);
    assert!(device.receive(&message).unwrap().has_changed);
    assert!(device.twin.delta().is_empty());
}

/// Each service that ever wrote leaves its id behind: what cannot be read again must not be taken.
#[test]
fn one_writer_too_many_is_refused_and_the_twin_reads_its_own_bytes() {
    let mut device = Copy::new(Side::Device);
    let (mut refused, mut services) = (None, Vec::new());
    for number in 0..=TWIN_WRITERS_MAX as u64 {
        let mut service = Copy::new(service_id(u128::from(number)));
        service.desire("grind", 3.0, WALL_MS + number);
        if let Err(error) = device.receive(&service.outbox.remove(0)) {
            refused = Some((number, error.to_string()));
            break;
        }
        services.push(service);
        device.twin.rest();
    }
    let (at, error) = refused.expect("the bound holds");
    assert!(at >= 1000, "{at}");
    assert!(error.contains("too large"), "{error}");
    device.twin.rest();
    assert_eq!(device.twin.desired(&name("grind")), Some(&3.0.into()));
    device.report("grind", 3.0);
    device.twin.rest();
    device.restart();
    assert!(device.twin.delta().is_empty());
    // Those that were taken can still talk to it.
    let mut first = services.remove(0);
    connect(&mut device, &mut first);
    assert_eq!(first.twin.reported(&name("grind")), Some(&3.0.into()));
}

/// One who speaks in another's name, in a delta or a vector, is refused, and stops nobody's writing.
#[test]
fn events_of_ones_own_that_one_never_made_are_refused_on_both_sides() {
    for side in [Side::Device, service_id(1)] {
        let mut forger = Copy::new(side);
        let mut copy = Copy::new(side);
        for round in 0..3 {
            forger.desire("config.heartbeat_ms", 1000.0, WALL_MS);
            let claims = [forger.outbox.pop().unwrap(), forger.twin.hello()];
            for claim in claims.iter().skip(usize::from(round > 0)) {
                let error = copy.receive(claim).unwrap_err().to_string();
                assert!(error.contains("which is this"), "{error}");
            }
        }
        copy.desire("a", 1.0, WALL_MS);
        copy.restart();
        copy.desire("a", 2.0, WALL_MS);
    }
}

#[test]
fn what_the_device_reported_is_unsaid_by_nobody() {
    let mut device = Copy::new(Side::Device);
    let mut service = Copy::new(service_id(1));
    device.report("a", 1.0);
    connect(&mut device, &mut service);
    let key = TwinKey::new(Section::Reported, name("a"));
    let twin = &mut service.twin;
    let document = twin.document.get_mut();
    let delta = document.write(&mut twin.writer, |entries, _| Ok(entries.remove(&key)));
    let error = device.receive(&delta.unwrap().to_bytes()).unwrap_err();
    assert!(error.to_string().contains("unsays a"), "{error}");
    assert_eq!(device.twin.reported(&name("a")), Some(&1.0.into()));
}

/// A device that does not know the time takes what claims to be of the next century. Once it knows, both sides agree, the
/// service's next wish wins, and nothing panics on the way.
#[test]
fn a_stamp_from_the_far_future_is_dated_anew_once_the_time_is_learned() {
    let mut device = Copy::new(Side::Device);
    let mut service = Copy::new(service_id(1));
    let mut stranger = Copy::new(service_id(66));
    service.desire("grind", 3.0, WALL_MS);
    let wished = service.outbox.pop().unwrap();
    let mut batch = Batch::new();
    stranger.desire("grind", 9.0, WALL_MS_MAX - 1);
    let bad = stranger.outbox.pop().unwrap();
    for message in [&wished, &bad] {
        let received = device.twin.receive(message, None, &mut batch).unwrap();
        assert!(received.has_changed);
    }
    let report = device
        .twin
        .report(name("state"), 1.0.into(), None, &mut batch);
    device.commit(&batch);
    // The service can judge, and does.
    let refused = service.receive(&report.unwrap());
    assert!(!refused.is_ok_and(|received| received.has_changed));
    let told = device.receive(&service.twin.hello()).unwrap().answers;
    assert!(told.iter().any(|answer| service.receive(answer).is_err()));
    device.restart();
    let mut batch = Batch::new();
    let dated = device.twin.learn_time(WALL_MS, &mut batch).unwrap();
    assert!(dated.is_some());
    device.commit(&batch);
    assert_eq!(device.twin.learn_time(WALL_MS, &mut batch).unwrap(), None);
    connect(&mut device, &mut service);
    assert_eq!(device.twin.hello(), service.twin.hello());
    assert_eq!(service.twin.reported(&name("state")), Some(&1.0.into()));
    assert_eq!(service.twin.desired(&name("grind")), Some(&9.0.into()));
    service.desire("grind", 4.0, WALL_MS + 1);
    connect(&mut device, &mut service);
    assert_eq!(device.twin.desired(&name("grind")), Some(&4.0.into()));
}

/// Nothing that is taken leaves no room for a later stamp.
#[test]
fn a_stamp_at_the_end_of_time_is_refused_by_whoever_does_not_know_the_time_too() {
    let mut device = Copy::new(Side::Device);
    let mut stranger = Copy::new(service_id(66));
    let end = peaberry_crdt::Stamp {
        wall_ms: u64::MAX,
        logical: u32::MAX,
    };
    let writer = &mut stranger.twin.writer;
    let delta = stranger
        .twin
        .document
        .get_mut()
        .write(writer, |entries, mint| {
            let key = TwinKey::new(Section::Desired, name("grind"));
            entries.update(key, |register| register.write(mint, end, 1.0.into()))
        });
    let delta = delta.unwrap().to_bytes();
    let mut batch = Batch::new();
    for wall_ms in [None, Some(u64::MAX)] {
        let error = device
            .twin
            .receive(&delta, wall_ms, &mut batch)
            .unwrap_err();
        assert!(matches!(error, EdgeError::Twin { .. }), "{error}");
    }
    // Nor does a clock of one's own that is out of its mind.
    for _ in 0..3 {
        device.desire("grind", 1.0, u64::MAX);
    }
}

proptest! {
    /// Three writers, messages lost, repeated and reordered, restarts: once they can talk, they are equal.
    #[test]
    fn any_history_converges(steps in proptest::collection::vec((0..3_usize, 0..6_u8, 0..3_u8, any::<prop::sample::Index>()), 1..60)) {
        let mut copies = [Copy::new(Side::Device), Copy::new(service_id(1)), Copy::new(service_id(2))];
        let mut messages: Vec<Bytes> = Vec::new();
        for (at, (who, what, key, index)) in steps.into_iter().enumerate() {
            let key = ["a", "b", "c"][usize::from(key)];
            let copy = &mut copies[who];
            match what {
                0 | 1 => copy.desire(key, at as f64, WALL_MS + at as u64),
                2 if who == 0 => copy.report(key, at as f64),
                3 => copy.restart(),
                _ if !messages.is_empty() => {
                    let message = index.get(&messages).clone();
                    let answers = copy.receive(&message).unwrap().answers;
                    messages.extend(answers);
                }
                _ => {}
            }
            messages.append(&mut copies[who].outbox);
        }
        for _ in 0..2 {
            let [device, one, two] = &mut copies;
            connect(device, one);
            connect(device, two);
        }
        let [device, one, two] = &copies;
        prop_assert_eq!(device.twin.document.get(), one.twin.document.get());
        prop_assert_eq!(device.twin.document.get(), two.twin.document.get());
    }

    #[test]
    fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), at: prop::sample::Index, byte: u8) {
        receive_any_twin_bytes(&bytes);
        let mut device = Copy::new(Side::Device);
        device.report("a", 1.0);
        let mut message = device.outbox.pop().unwrap().to_vec();
        let at = at.index(message.len());
        receive_any_twin_bytes(&message);
        message[at] = byte;
        receive_any_twin_bytes(&message);
    }
}
