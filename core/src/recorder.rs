//! The flight recorder: a protocol's last inputs in a bounded file, to be stepped again where a debugger is.
//!
//! A node records a protocol that was added with [`Node::add_recorded`](crate::Node::add_recorded). Because a protocol
//! decides by its inputs alone, [`replay`] brings a fresh one into every state that the recorded one was in, up to the
//! one in which it failed, and shows the first turn whose effects differ: none, unless the protocol breaks the rules of
//! [`Protocol`] or its code has changed.
//!
//! # What a replay starts from
//!
//! - The protocol's part of the store as it was when the recording began: [`Recording::with_image`].
//! - Or the protocol's own [checkpoint](Recorded::checkpoint): taken when the recording begins and each time the ring
//!   turns over, when older inputs are about to be overwritten. A protocol without checkpoints can be replayed only as
//!   long as the ring has not turned over twice: give it more bytes.
//!
//! # The file
//!
//! Two halves of equal length, written alternately from their beginnings. All numbers are little-endian.
//!
//! | half | bytes |
//! |---|---|
//! | `PBFLIGHT` | 8 |
//! | version, 1 | 2 |
//! | channel: protocol and group, big-endian | 10 |
//! | segment: how many halves were begun before | 8 |
//! | length of a half | 8 |
//! | CRC-32 of the above | 4 |
//! | records | |
//!
//! A record is the length of its body (4), the CRC-32 of segment, offset within the half, and body (4), and the body: a
//! kind and its fields. So a record of an earlier round that shows behind the last one written is not taken for new.
//! The first record that is short or whose checksum is wrong ends its half: a torn tail is as good as none.

mod format;
mod image;
mod replay;
mod tape;

use std::fmt;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::Path;

use self::format::Record;
pub use self::replay::{Difference, Replay, ReplayError, Start, replay};
use self::tape::Tape;
use crate::batch::LogId;
use crate::clock::Instant;
use crate::effects::{Outbox, OutboxMark};
use crate::peer::Channel;
use crate::protocol::{Input, Protocol, Turn};
use crate::storage::{Storage, StorageError};

/// The least length of a recording, in bytes.
pub const RECORDING_BYTES_MIN: u64 = 1 << 12;

/// A protocol that can be recorded: its commands have bytes.
pub trait Recorded: Protocol {
    /// Adds the bytes of `command` to the end of `to`.
    fn encode_command(command: &Self::Command, to: &mut Vec<u8>);

    /// The command that `bytes` were made from; `None` for other bytes. Never panics.
    fn decode_command(bytes: &[u8]) -> Option<Self::Command>;

    /// All that the protocol knows, for [`Start::Checkpoint`] to make an equal one from; `None` if it cannot tell.
    ///
    /// Called behind a turn, seldom: when the recording begins and each time half of its bytes are used up.
    fn checkpoint(&self) -> Option<Vec<u8>> {
        None
    }
}

/// Why a recording could not begin, or has stopped. The node goes on without it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The file could not be written.
    #[error("could not write the recording")]
    Io(#[from] io::Error),
    /// The recording's bytes are too few for what it must hold.
    #[error("{what} takes {bytes} bytes of a recording that has room for {room}: give it more")]
    TooShort {
        /// What does not fit.
        what: &'static str,
        /// How long it is.
        bytes: u64,
        /// How much fits.
        room: u64,
    },
    /// The protocol's part of the store could not be read.
    #[error("could not read the protocol's part of the store")]
    Storage(#[from] StorageError),
}

/// Records one protocol: its inputs, and a digest of its effects for each turn.
///
/// Costs a write to the file, without a sync, for each turn in which the protocol takes part. When that fails, the node
/// reports it once and goes on without the recording.
pub struct Recording<P: Protocol> {
    tape: Tape,
    encode: fn(&P::Command, &mut Vec<u8>),
    checkpoint: fn(&P) -> Option<Vec<u8>>,
    image: Option<Vec<u8>>,
    failure: Option<RecordingError>,
    has_failed: bool,
}

impl<P: Protocol> fmt::Debug for Recording<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording")
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

impl<P: Recorded> Recording<P> {
    /// Records into a new file at `path`, in place of one that may be there, up to `bytes_max` long.
    ///
    /// # Errors
    ///
    /// The file could not be made, or `bytes_max` is less than [`RECORDING_BYTES_MIN`].
    pub fn create(path: impl AsRef<Path>, bytes_max: u64) -> Result<Self, RecordingError> {
        Self::to(File::create(path)?, bytes_max)
    }

    /// Records into `file`, from its beginning, up to `bytes_max` long.
    ///
    /// # Errors
    ///
    /// `bytes_max` is less than [`RECORDING_BYTES_MIN`].
    pub fn to(
        file: impl Write + Seek + Send + 'static,
        bytes_max: u64,
    ) -> Result<Self, RecordingError> {
        if bytes_max < RECORDING_BYTES_MIN {
            return Err(RecordingError::TooShort {
                what: "a recording",
                bytes: RECORDING_BYTES_MIN,
                room: bytes_max,
            });
        }
        Ok(Self {
            tape: Tape::new(Box::new(file), bytes_max / 2),
            encode: P::encode_command,
            checkpoint: P::checkpoint,
            image: None,
            failure: None,
            has_failed: false,
        })
    }

    /// Begins with `channel`'s [`Subspace`](crate::Subspace) of `storage` and the logs named, as they are now: call it
    /// before the node takes its first turn.
    ///
    /// # Errors
    ///
    /// The store could not be read, or what is in it takes more than half a half of the recording's bytes.
    pub fn with_image(
        mut self,
        storage: &dyn Storage,
        channel: Channel,
        logs: &[LogId],
    ) -> Result<Self, RecordingError> {
        let room = usize::try_from(self.tape.half_bytes() / 2).unwrap_or(usize::MAX);
        self.image = Some(image::capture(storage, channel, logs, room)?);
        Ok(self)
    }
}

impl<P: Protocol> Recording<P> {
    /// Begins the first half.
    pub(crate) fn begin(&mut self, channel: Channel, protocol: &P) {
        let checkpoint = (self.checkpoint)(protocol);
        let start = match (&self.image, &checkpoint) {
            (Some(image), _) => Record::Image(image),
            (None, Some(checkpoint)) => Record::Checkpoint(checkpoint),
            (None, None) => Record::Continues,
        };
        let outcome = self.tape.begin(channel, &start);
        self.image = None;
        self.note(outcome);
    }

    pub(crate) fn turn(&mut self, now: Instant, turn: Turn) {
        if !self.has_failed {
            self.tape.add(&Record::Turn {
                now: now.as_nanos(),
                turn: turn.get(),
            });
        }
    }

    pub(crate) fn input(&mut self, input: &Input<P::Command>) {
        if !self.has_failed {
            let encode = self.encode;
            self.tape
                .add_with(|to| format::encode_input(input, encode, to));
        }
    }

    /// Ends a turn with the digest of its effects.
    pub(crate) fn effects(
        &mut self,
        protocol: &P,
        outbox: &Outbox,
        mark: OutboxMark,
        events: (usize, usize),
    ) {
        if self.has_failed {
            return;
        }
        let digest = outbox.digest_since(mark);
        let (events, events_after_commit) = (events.0 as u64, events.1 as u64);
        self.tape.add(&Record::Effects {
            digest,
            events,
            events_after_commit,
        });
        let outcome = self.tape.end_turn(|| (self.checkpoint)(protocol));
        self.note(outcome);
    }

    /// Ends the last turn: the protocol has failed.
    pub(crate) fn failed(&mut self, error: &P::Error) {
        if self.has_failed {
            return;
        }
        let error = error.to_string();
        self.tape.add(&Record::Failed(error.as_bytes()));
        let outcome = self.tape.flush();
        self.note(outcome);
    }

    fn note(&mut self, outcome: Result<(), RecordingError>) {
        if let Err(error) = outcome {
            self.failure = Some(error);
            self.has_failed = true;
        }
    }

    /// Why the recording has stopped; told once.
    pub(crate) const fn take_failure(&mut self) -> Option<RecordingError> {
        self.failure.take()
    }
}

impl<P: Protocol> Drop for Recording<P> {
    /// The inputs of a turn that never ended, as when the protocol has panicked, are the most telling ones.
    fn drop(&mut self) {
        if !self.has_failed {
            let _ = self.tape.flush();
        }
    }
}
