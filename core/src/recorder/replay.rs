use std::fmt;

use super::Recorded;
use super::format::{Header, NoHeader, Record, decode_header, decode_input, records};
use super::image::restore;
use crate::clock::Instant;
use crate::effects::{Effects, Outbox};
use crate::peer::Channel;
use crate::protocol::{Input, Turn};
use crate::storage::memory::MemoryStorage;

/// What a replay starts from.
#[derive(Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "whoever replays makes a protocol from either"
)]
pub enum Start<'a> {
    /// The protocol's part of the store when the recording began: open the protocol on it.
    Image(&'a MemoryStorage),
    /// The protocol's own [checkpoint](Recorded::checkpoint).
    Checkpoint(&'a [u8]),
}

/// What a replay showed.
#[derive(Clone, Debug)]
#[must_use]
pub struct Replay {
    /// How many turns were stepped again.
    pub turns: u64,
    /// How many inputs they had.
    pub inputs: u64,
    /// The first turn that did something else than was recorded; the replay ends with it.
    pub difference: Option<Difference>,
    /// One line for each turn: number, time, inputs, effects.
    pub lines: Vec<String>,
}

/// A turn that did something else than was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The turn's number in the recording.
    pub turn: u64,
    /// What was recorded.
    pub recorded: String,
    /// What the replay did.
    pub replayed: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "turn {} did {} when it was recorded, and {} now",
            self.turn, self.recorded, self.replayed
        )
    }
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        match &self.difference {
            None => write!(f, "{} turns did the same again", self.turns),
            Some(difference) => difference.fmt(f),
        }
    }
}

/// Why a recording cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// Neither half of the file has a header.
    #[error("this is not a recording, or nothing of it is whole")]
    NotARecording,
    /// Another version wrote it.
    #[error("the recording has format {0}, which this build does not read")]
    Version(u16),
    /// The state from which to step was overwritten.
    #[error(
        "the beginning of the recording was overwritten and the protocol gives no checkpoints: implement \
         Recorded::checkpoint, or record with more than {bytes} bytes"
    )]
    NoStart {
        /// The length of the recording.
        bytes: u64,
    },
    /// Records are whole and make no sense to this protocol.
    #[error(
        "turn {turn} has an input that this protocol cannot decode: replay with the protocol that was recorded"
    )]
    BadInput {
        /// The turn's number.
        turn: u64,
    },
    /// The image of the store makes no sense.
    #[error("the image of the protocol's store is damaged")]
    BadImage,
    /// The protocol could not be made.
    #[error("the protocol could not start from what was recorded")]
    Open(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Steps a recording's inputs again on the protocol that `open` makes, and compares each turn's effects with what was
/// recorded.
///
/// # Errors
///
/// See [`ReplayError`]. A difference is not an error: it is what one is looking for.
///
/// # Panics
///
/// When the protocol does, as it may have when it was recorded.
pub fn replay<P: Recorded>(
    recording: &[u8],
    open: impl FnOnce(Channel, Start<'_>) -> Result<P, Box<dyn std::error::Error + Send + Sync>>,
) -> Result<Replay, ReplayError> {
    let halves = halves(recording)?;
    let channel = halves
        .first()
        .map(|(header, _)| header.channel)
        .ok_or(ReplayError::NotARecording)?;
    let records = from_a_start(&halves).ok_or(ReplayError::NoStart {
        bytes: recording.len() as u64,
    })?;
    let protocol = match records.first() {
        Some(Record::Image(image)) => {
            let storage = restore(channel, image).ok_or(ReplayError::BadImage)?;
            open(channel, Start::Image(&storage))
        }
        Some(Record::Checkpoint(checkpoint)) => open(channel, Start::Checkpoint(checkpoint)),
        _ => return Err(ReplayError::NotARecording),
    };
    let mut player = Player::new(channel, protocol.map_err(ReplayError::Open)?);
    for record in &records {
        player.play(record)?;
        if player.replay.difference.is_some() {
            break;
        }
    }
    Ok(player.replay)
}

/// The halves that are there, older first.
fn halves(recording: &[u8]) -> Result<Vec<(Header, &[u8])>, ReplayError> {
    let mut found = Vec::new();
    let first = decode_header(recording);
    if let Err(NoHeader::Version(version)) = first {
        return Err(ReplayError::Version(version));
    }
    // The second half begins where the first says; if that one is damaged, in the middle.
    let middle = first.map_or(recording.len() as u64 / 2, |header| header.half_bytes);
    let middle = usize::try_from(middle).unwrap_or(usize::MAX);
    let (one, two) = recording
        .split_at_checked(middle)
        .unwrap_or((recording, &[]));
    for half in [one, two] {
        if let Ok(header) = decode_header(half) {
            found.push((header, half));
        }
    }
    found.sort_unstable_by_key(|(header, _)| header.segment);
    Ok(found)
}

/// All records from the oldest state on that leads to the end without a gap.
fn from_a_start<'a>(halves: &[(Header, &'a [u8])]) -> Option<Vec<Record<'a>>> {
    let mut all: Vec<Vec<Record<'a>>> = Vec::new();
    let mut before: Option<u64> = None;
    for &(header, half) in halves {
        if before.is_some_and(|before| before + 1 != header.segment) {
            all.clear();
        }
        before = Some(header.segment);
        all.push(records(header.segment, half));
    }
    let has_state = |records: &Vec<Record<'_>>| {
        matches!(
            records.first(),
            Some(Record::Image(_) | Record::Checkpoint(_))
        )
    };
    let first = all.iter().position(has_state)?;
    Some(all.into_iter().skip(first).flatten().collect())
}

/// A protocol that is stepped again.
struct Player<P> {
    channel: Channel,
    protocol: P,
    now: Instant,
    turn: u64,
    outbox: Outbox,
    inputs: Vec<String>,
    outcome: Result<(), String>,
    events: (u64, u64),
    replay: Replay,
}

impl<P: Recorded> Player<P> {
    fn new(channel: Channel, protocol: P) -> Self {
        Self {
            channel,
            protocol,
            now: Instant::default(),
            turn: 0,
            outbox: Outbox::default(),
            inputs: Vec::new(),
            outcome: Ok(()),
            events: (0, 0),
            replay: Replay {
                turns: 0,
                inputs: 0,
                difference: None,
                lines: Vec::new(),
            },
        }
    }

    fn play(&mut self, record: &Record<'_>) -> Result<(), ReplayError> {
        match *record {
            Record::Image(_) | Record::Checkpoint(_) | Record::Continues => {}
            Record::Turn { now, turn } => {
                self.now = Instant::from_nanos(now);
                self.turn = turn;
                self.outbox = Outbox::default();
                self.events = (0, 0);
                self.outcome = Ok(());
                self.inputs.clear();
            }
            Record::Input(body) => {
                let input = decode_input(self.channel, body, P::decode_command)
                    .ok_or(ReplayError::BadInput { turn: self.turn })?;
                self.step(input);
            }
            Record::Effects {
                digest,
                events,
                events_after_commit,
            } => {
                self.settle();
                let recorded = in_words(digest, (events, events_after_commit));
                self.compare(recorded);
            }
            Record::Failed(error) => {
                self.settle();
                let error = String::from_utf8_lossy(error);
                self.compare(failure_in_words(&error));
            }
        }
        Ok(())
    }

    fn step(&mut self, input: Input<P::Command>) {
        self.inputs.push(input_in_words(&input));
        self.replay.inputs += 1;
        self.act(|protocol, now, fx| protocol.step(now, input, fx));
    }

    fn settle(&mut self) {
        self.act(|protocol, now, fx| protocol.settle(now, fx));
    }

    /// Lets the protocol act, unless it has failed in this turn.
    fn act(
        &mut self,
        act: impl FnOnce(&mut P, Instant, &mut Effects<'_, P::Event>) -> Result<(), P::Error>,
    ) {
        if self.outcome.is_err() {
            return;
        }
        let (mut events, mut events_after_commit) = (Vec::new(), Vec::new());
        let mut fx = Effects::new(
            &mut self.outbox,
            &mut events,
            &mut events_after_commit,
            self.channel,
            Turn(self.turn),
        );
        self.outcome =
            act(&mut self.protocol, self.now, &mut fx).map_err(|error| error.to_string());
        self.events.0 += events.len() as u64;
        self.events.1 += events_after_commit.len() as u64;
    }

    fn compare(&mut self, recorded: String) {
        let mark = Outbox::default().mark();
        let replayed = match &self.outcome {
            Ok(()) => in_words(self.outbox.digest_since(mark), self.events),
            Err(error) => failure_in_words(error),
        };
        self.replay.turns += 1;
        let nanos = self.now.as_nanos();
        self.replay.lines.push(format!(
            "turn {} at {}.{:09}: {} -> {} sent, {} sent after commit, {replayed}",
            self.turn,
            nanos / 1_000_000_000,
            nanos % 1_000_000_000,
            if self.inputs.is_empty() {
                "no input".to_owned()
            } else {
                self.inputs.join(", ")
            },
            self.outbox.sends.len(),
            self.outbox.sends_after_commit.len(),
        ));
        if recorded != replayed {
            self.replay.difference = Some(Difference {
                turn: self.turn,
                recorded,
                replayed,
            });
        }
    }
}

fn in_words(digest: u64, (events, events_after_commit): (u64, u64)) -> String {
    format!("effects {digest:016x} with {events} events and {events_after_commit} after the commit")
}

fn failure_in_words(error: &str) -> String {
    format!("failure \"{error}\"")
}

fn input_in_words<C>(input: &Input<C>) -> String {
    match input {
        Input::Committed(turn) => format!("committed {}", turn.get()),
        Input::Read(id, Ok(entries)) => format!("read {} of {} entries", id.0, entries.len()),
        Input::Read(id, Err(error)) => format!("read {} failed ({error})", id.0),
        Input::Unreachable(peer) => format!("{peer} unreachable"),
        Input::Message(message) => {
            format!("{} bytes from {}", message.payload.len(), message.from)
        }
        Input::Command(_) => "command".to_owned(),
        Input::Timeout => "timeout".to_owned(),
    }
}
