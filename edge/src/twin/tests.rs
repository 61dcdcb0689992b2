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
    service.commit(&batch);
    assert!(service.twin.forget(&name("a"), &mut batch).is_none());
    assert!(device.receive(&message).unwrap().has_changed);
    assert!(device.twin.delta().is_empty());
}

/// Each service that ever wrote leaves its id behind: what cannot be read again must not be taken.
#[test]
fn one_writer_too_many_is_refused_and_the_twin_reads_its_own_bytes() {
    let mut device = Copy::new(Side::Device);
    let mut refused = None;
    for number in 0..=TWIN_WRITERS_MAX as u128 {
        let mut service = Copy::new(service_id(number));
        service.desire("grind", 3.0, WALL_MS + number as u64);
        if let Err(error) = device.receive(&service.outbox.remove(0)) {
            refused = Some((number, error.to_string()));
            break;
        }
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
    let mut first = Copy::new(service_id(0));
    connect(&mut device, &mut first);
    assert_eq!(first.twin.reported(&name("grind")), Some(&3.0.into()));
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
