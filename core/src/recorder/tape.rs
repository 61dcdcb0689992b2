use std::io::{Seek, SeekFrom, Write};

use super::RecordingError;
use super::format::{HEADER_BYTES, Record, encode_header, frame};
use crate::peer::Channel;

/// What a tape writes to.
pub(super) trait WriteSeek: Write + Seek + Send {}

impl<T: Write + Seek + Send> WriteSeek for T {}

/// What part of a half stays free for the next turn when a half is full: an eighth.
const RESERVE_PART: u64 = 8;

/// Two halves of a file, written by turns.
pub(super) struct Tape {
    file: Box<dyn WriteSeek>,
    half_bytes: u64,
    channel: Channel,
    segment: u64,
    /// Where the next byte goes within the present half, behind what is written.
    offset: u64,
    /// Records not written yet.
    buffer: Vec<u8>,
    body: Vec<u8>,
}

impl Tape {
    pub(super) fn new(file: Box<dyn WriteSeek>, half_bytes: u64) -> Self {
        Self {
            file,
            half_bytes,
            channel: Channel::new(crate::peer::ProtocolId(0), 0),
            segment: 0,
            offset: 0,
            buffer: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(super) const fn half_bytes(&self) -> u64 {
        self.half_bytes
    }

    /// Begins the first half with `start`.
    pub(super) fn begin(
        &mut self,
        channel: Channel,
        start: &Record<'_>,
    ) -> Result<(), RecordingError> {
        self.channel = channel;
        self.begin_half(start)
    }

    /// Adds a record to the present turn.
    pub(super) fn add(&mut self, record: &Record<'_>) {
        self.add_with(|to| record.encode(to));
    }

    pub(super) fn add_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        write(&mut body);
        let offset = self.offset + self.buffer.len() as u64;
        frame(self.segment, offset, &body, &mut self.buffer);
        self.body = body;
    }

    /// Writes the present turn; begins the other half when this one is nearly full.
    pub(super) fn end_turn(
        &mut self,
        checkpoint: impl FnOnce() -> Option<Vec<u8>>,
    ) -> Result<(), RecordingError> {
        self.flush()?;
        if self.half_bytes - self.offset >= self.half_bytes / RESERVE_PART {
            return Ok(());
        }
        self.segment += 1;
        match checkpoint() {
            Some(checkpoint) => self.begin_half(&Record::Checkpoint(&checkpoint)),
            None => self.begin_half(&Record::Continues),
        }
    }

    fn begin_half(&mut self, start: &Record<'_>) -> Result<(), RecordingError> {
        let from = (self.segment % 2) * self.half_bytes;
        self.file.seek(SeekFrom::Start(from))?;
        self.buffer.clear();
        self.offset = 0;
        encode_header(
            self.channel,
            self.segment,
            self.half_bytes,
            &mut self.buffer,
        );
        self.flush()?;
        self.add(start);
        self.flush()
    }

    /// Writes what is buffered.
    pub(super) fn flush(&mut self) -> Result<(), RecordingError> {
        let bytes = self.buffer.len() as u64;
        if bytes > self.half_bytes - self.offset {
            return Err(RecordingError::TooShort {
                what: "one turn or checkpoint",
                bytes,
                room: self.half_bytes - self.offset,
            });
        }
        self.file.write_all(&self.buffer)?;
        self.offset += bytes;
        self.buffer.clear();
        Ok(())
    }
}

const _: () = assert!(HEADER_BYTES as u64 * RESERVE_PART < super::RECORDING_BYTES_MIN);
