//! What a flight recording must bring back, and what it must not pretend to.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in its helpers"
)]

use std::io::{self, Cursor, Seek, SeekFrom, Write};
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use parking_lot::Mutex;
use peaberry_core::recorder::{
    RECORDING_BYTES_MIN, Recorded, Recording, RecordingError, ReplayError, Start, replay,
};
use peaberry_core::simulation::SimulatedClock;
use peaberry_core::{
    Batch, Channel, Durability, Effects, Handle, Input, Instant, LogId, MemoryNetwork,
    MemoryStorage, Node, PeerId, Protocol, ProtocolId, ReadId, Report, Storage, Subspace,
};
use proptest::prelude::*;

const CHANNEL: Channel = Channel::new(ProtocolId(2000), 5);
const LOG: LogId = LogId::new(CHANNEL, 1);

/// Adds up what it is told, writes every sum, and fails at 13.
struct Sum {
    sum: u64,
    /// Adds this to every number: another program than was recorded.
    mutation: u64,
    has_checkpoints: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("thirteen")]
struct Thirteen;

impl Protocol for Sum {
    type Command = u64;
    type Event = u64;
    type Error = Thirteen;

    fn step(
        &mut self,
        _: Instant,
        input: Input<u64>,
        fx: &mut Effects<'_, u64>,
    ) -> Result<(), Thirteen> {
        match input {
            Input::Command(13) => return Err(Thirteen),
            Input::Command(number) => {
                self.sum += number + self.mutation;
                Subspace::of(CHANNEL).put(fx.batch(), b"sum", &self.sum.to_be_bytes());
                fx.send(peer(2), Bytes::from(self.sum.to_string()));
                fx.notify_committed();
                fx.read(ReadId(1), LOG, 0..10, 100);
            }
            Input::Committed(turn) => fx.emit_after_commit(turn.get()),
            Input::Read(_, entries) => self.sum += entries.unwrap().len() as u64,
            Input::Message(_) | Input::Unreachable(_) | Input::Timeout => {}
        }
        Ok(())
    }
}

impl Recorded for Sum {
    fn encode_command(command: &u64, to: &mut Vec<u8>) {
        to.extend_from_slice(&command.to_be_bytes());
    }

    fn decode_command(bytes: &[u8]) -> Option<u64> {
        Some(u64::from_be_bytes(bytes.try_into().ok()?))
    }

    fn checkpoint(&self) -> Option<Vec<u8>> {
        self.has_checkpoints
            .then(|| self.sum.to_be_bytes().to_vec())
    }
}

fn peer(id: u64) -> PeerId {
    PeerId::new(id).unwrap()
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().unwrap())
}

fn open(storage: &dyn Storage) -> Sum {
    let stored = Subspace::of(CHANNEL).get(storage, b"sum").unwrap();
    Sum {
        sum: stored.map_or(0, |bytes| number(&bytes)),
        mutation: 0,
        has_checkpoints: false,
    }
}

/// A file that many can hold, and that is full at some length.
#[derive(Clone)]
struct Tape {
    bytes: Arc<Mutex<Cursor<Vec<u8>>>>,
    room: u64,
}

impl Tape {
    fn new() -> Self {
        Self {
            bytes: Arc::default(),
            room: u64::MAX,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().get_ref().clone()
    }
}

impl Write for Tape {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut file = self.bytes.lock();
        if file.position() + bytes.len() as u64 > self.room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Tape {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.bytes.lock().seek(to)
    }
}

/// A store with a sum of 100 and two log entries.
fn store() -> Arc<MemoryStorage> {
    let storage = Arc::new(MemoryStorage::new());
    let mut batch = Batch::new();
    Subspace::of(CHANNEL).put(&mut batch, b"sum", &100_u64.to_be_bytes());
    batch.discard(LOG, 4);
    batch.append(LOG, 4, [b"four".as_slice(), b"five"]);
    storage.commit(&batch, Durability::Synced).unwrap();
    storage
}

fn recorded(
    protocol: Sum,
    recording: Recording<Sum>,
    storage: Arc<MemoryStorage>,
) -> (Node, Handle<u64>, mpsc::Receiver<Report>) {
    let (report, reports) = mpsc::channel();
    let network = MemoryNetwork::new();
    let transport = Arc::new(network.join(peer(1)));
    let mut node =
        Node::new(transport, storage, Arc::new(SimulatedClock::new())).with_report(move |it| {
            // Some tests do not listen.
            let _ = report.send(it);
        });
    let handle = node
        .add_recorded(CHANNEL, protocol, recording, |events: &mut Vec<u64>| {
            events.clear();
        })
        .unwrap();
    (node, handle, reports)
}

fn run(node: &mut Node) {
    while matches!(node.turn(), peaberry_core::Next::Again) {}
}

fn record_with_image(numbers: &[u64]) -> Vec<u8> {
    let (tape, storage) = (Tape::new(), store());
    let recording = Recording::to(tape.clone(), 1 << 16)
        .unwrap()
        .with_image(storage.as_ref(), CHANNEL, &[LOG])
        .unwrap();
    let (mut node, handle, _) = recorded(open(storage.as_ref()), recording, storage);
    for &number in numbers {
        // The protocol may have failed by then.
        let _ = handle.submit(number);
        run(&mut node);
    }
    drop(node);
    tape.bytes()
}

/// Opens what was recorded, changed by `mutation`.
fn reopen(
    mutation: u64,
) -> impl Fn(Channel, Start<'_>) -> Result<Sum, Box<dyn std::error::Error + Send + Sync>> {
    move |channel, start| {
        assert_eq!(channel, CHANNEL);
        let opened = match start {
            Start::Image(storage) => {
                assert_eq!(storage.log_bounds(LOG).unwrap(), 4..6);
                open(storage)
            }
            Start::Checkpoint(bytes) => Sum {
                sum: number(bytes),
                mutation: 0,
                has_checkpoints: true,
            },
        };
        Ok(Sum { mutation, ..opened })
    }
}

#[test]
fn a_recording_does_the_same_again() {
    let recording = record_with_image(&[1, 2, 3]);
    let replay = replay(&recording, reopen(0)).unwrap();
    assert_eq!(replay.difference, None, "{replay}");
    // Each command is followed by its commit, its read, and the news that nobody is there to send to.
    assert_eq!(replay.inputs, 12);
    assert!(replay.turns >= 6, "{replay}");
    assert!(
        replay.to_string().contains("read 1 of 2 entries"),
        "{replay}"
    );
}

#[test]
fn another_program_shows_its_first_difference() {
    let recording = record_with_image(&[1, 2, 3]);
    let replay = replay(&recording, reopen(1)).unwrap();
    let difference = replay.difference.clone().unwrap();
    assert_eq!(
        difference.turn, 1,
        "the first command came in the first turn: {replay}"
    );
    assert_ne!(difference.recorded, difference.replayed);
}

#[test]
fn a_failure_in_production_fails_again() {
    let recording = record_with_image(&[1, 13, 2]);
    let replay = replay(&recording, reopen(0)).unwrap();
    assert_eq!(replay.difference, None);
    assert!(
        replay.to_string().contains("failure \"thirteen\""),
        "{replay}"
    );
}

#[test]
fn a_turn_that_panicked_can_be_stepped_again() {
    let (tape, storage) = (Tape::new(), store());
    let recording = Recording::to(tape.clone(), 1 << 16)
        .unwrap()
        .with_image(storage.as_ref(), CHANNEL, &[LOG])
        .unwrap();
    let mut protocol = open(storage.as_ref());
    protocol.sum = u64::MAX;
    let (mut node, handle, _) = recorded(protocol, recording, storage);
    run(&mut node);
    handle.submit(1).unwrap();
    let thread = std::thread::spawn(move || run(&mut node));
    assert!(thread.join().is_err(), "the sum overflows");
    let recording = tape.bytes();
    let again = std::panic::catch_unwind(|| {
        replay(&recording, |_, _| {
            Ok(Sum {
                sum: u64::MAX,
                mutation: 0,
                has_checkpoints: false,
            })
        })
    });
    assert!(again.is_err(), "it overflows again");
}

fn record_many(has_checkpoints: bool, count: u64) -> Vec<u8> {
    let tape = Tape::new();
    let recording = Recording::to(tape.clone(), RECORDING_BYTES_MIN).unwrap();
    let protocol = Sum {
        sum: 0,
        mutation: 0,
        has_checkpoints,
    };
    let (mut node, handle, reports) = recorded(protocol, recording, store());
    for _ in 0..count {
        handle.submit(1).unwrap();
        run(&mut node);
    }
    assert!(reports.try_recv().is_err());
    tape.bytes()
}

#[test]
fn a_ring_that_turned_over_starts_from_a_checkpoint_and_stays_within_its_bytes() {
    for count in [1, 10, 100, 1_000] {
        let recording = record_many(true, count);
        assert!(recording.len() as u64 <= RECORDING_BYTES_MIN);
        let replay = replay(&recording, reopen(0)).unwrap();
        assert_eq!(replay.difference, None, "{replay}");
        assert!(replay.turns > 1, "{count}: {replay}");
    }
}

#[test]
fn without_checkpoints_a_ring_that_turned_over_says_what_to_raise() {
    let error = replay(&record_many(false, 1_000), reopen(0)).unwrap_err();
    assert!(matches!(error, ReplayError::NoStart { .. }));
    assert!(error.to_string().contains("record with more than"));
}

#[test]
fn a_torn_tail_is_as_good_as_none() {
    let recording = record_with_image(&[1, 2, 3]);
    let whole = replay(&recording, reopen(0)).unwrap().turns;
    for length in 0..recording.len() {
        let Some(cut) = recording.get(..length) else {
            unreachable!()
        };
        if let Ok(replay) = replay(cut, reopen(0)) {
            assert_eq!(replay.difference, None, "cut to {length}");
            assert!(replay.turns <= whole);
        }
    }
}

#[test]
fn a_full_file_stops_the_recording_once_and_not_the_protocol() {
    let tape = Tape {
        room: 600,
        ..Tape::new()
    };
    let recording = Recording::to(tape.clone(), 1 << 16).unwrap();
    let protocol = Sum {
        sum: 0,
        mutation: 0,
        has_checkpoints: true,
    };
    let (mut node, handle, reports) = recorded(protocol, recording, store());
    for _ in 0..50 {
        handle.submit(1).unwrap();
        run(&mut node);
    }
    let reports: Vec<_> = reports.try_iter().collect();
    assert!(
        matches!(
            reports.as_slice(),
            [Report::RecordingStopped { channel: CHANNEL, error }]
                if matches!(**error, RecordingError::Io(_))
        ),
        "{reports:?}"
    );
    let replay = replay(&tape.bytes(), reopen(0)).unwrap();
    assert_eq!(replay.difference, None);
    assert!(replay.turns > 0);
}

#[test]
fn what_is_too_long_is_refused_in_words() {
    let storage = store();
    let mut batch = Batch::new();
    Subspace::of(CHANNEL).put(&mut batch, b"large", &[0; 5_000]);
    storage.commit(&batch, Durability::Synced).unwrap();
    let outcome = Recording::<Sum>::to(Tape::new(), RECORDING_BYTES_MIN)
        .unwrap()
        .with_image(storage.as_ref(), CHANNEL, &[]);
    assert!(matches!(outcome, Err(RecordingError::TooShort { .. })));
    assert!(Recording::<Sum>::to(Tape::new(), 10).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = replay(&bytes, reopen(0));
    }

    #[test]
    fn no_change_of_a_recording_leads_the_replay_astray(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 1..=u8::MAX), 1..4),
    ) {
        let mut recording = record_with_image(&[1, 2, 3]);
        for (at, mask) in changes {
            let at = at.index(recording.len());
            if let Some(byte) = recording.get_mut(at) {
                *byte ^= mask;
            }
        }
        if let Ok(replay) = replay(&recording, reopen(0)) {
            prop_assert_eq!(replay.difference, None);
        }
    }
}
