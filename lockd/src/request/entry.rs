use bytes::Bytes;
use peaberry_core::PeerId;

use super::decode::optional;
use super::encode::put_optional;
use crate::codec::{Malformed, Reader, VERSION, put_bytes, put_number};
use crate::limits::{REQUEST_BYTES_MAX, REQUESTS_PER_ENTRY_MAX};

/// One command of the log: a time and what to do at it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Entry<'a> {
    /// Requests of clients, in order. Without any it only moves time, so that leases run out.
    Requests {
        /// The leader's log time, in milliseconds.
        log_time_ms: u64,
        /// What to do, at most [`REQUESTS_PER_ENTRY_MAX`].
        operations: Vec<Operation<'a>>,
    },
    /// The group goes on from a backup: sessions end, and from here on tokens are above every token ever given out.
    ///
    /// Holders from before the restore may still believe in their leases. Wait out the longest of them before clients
    /// come back, or rely on gates.
    Restored {
        /// The leader's log time, in milliseconds.
        log_time_ms: u64,
        /// The incarnation in the backup: nothing happens when the table is past it, so a retry is harmless.
        from: u64,
    },
}

/// A request, and the authenticated peer that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation<'a> {
    /// Who.
    pub peer: PeerId,
    /// An encoded [`Request`](super::Request).
    pub request: &'a [u8],
}

impl<'a> Entry<'a> {
    /// The entry's bytes, with their version.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Requests {
                log_time_ms,
                operations,
            } => {
                let mut writer = EntryWriter::new(*log_time_ms);
                for operation in operations {
                    writer.push(operation.peer, operation.request);
                }
                writer.bytes
            }
            Self::Restored { log_time_ms, from } => {
                let mut out = vec![VERSION, 1];
                put_number(&mut out, *log_time_ms);
                put_number(&mut out, *from);
                out
            }
        }
    }

    /// The entry that [`encode`](Self::encode) wrote. The requests in it are not looked at.
    ///
    /// # Errors
    ///
    /// [`Malformed`], for all bytes that it does not write.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::versioned(bytes)?;
        let kind = reader.byte()?;
        let log_time_ms = reader.number()?;
        match kind {
            0 => Ok(Self::Requests {
                log_time_ms,
                operations: FrameReader { reader }.collect::<Result<_, _>>()?,
            }),
            1 => {
                let from = reader.number()?;
                reader.finish()?;
                Ok(Self::Restored { log_time_ms, from })
            }
            _ => Err(Malformed::new("unknown entry")),
        }
        .and_then(|entry| match &entry {
            Self::Requests { operations, .. } if operations.len() > REQUESTS_PER_ENTRY_MAX => {
                Err(Malformed::new("too many requests in one entry"))
            }
            _ => Ok(entry),
        })
    }
}

/// Gathers requests into one entry.
#[derive(Debug)]
pub(crate) struct EntryWriter {
    bytes: Vec<u8>,
    count: usize,
}

impl EntryWriter {
    pub(crate) fn new(log_time_ms: u64) -> Self {
        let mut bytes = vec![VERSION, 0];
        put_number(&mut bytes, log_time_ms);
        Self { bytes, count: 0 }
    }

    pub(crate) fn push(&mut self, peer: PeerId, request: &[u8]) {
        put_frame(&mut self.bytes, peer, request);
        self.count += 1;
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.count >= REQUESTS_PER_ENTRY_MAX
    }

    pub(crate) fn finish(self) -> Bytes {
        self.bytes.into()
    }
}

/// Appends who asks, and what.
pub(crate) fn put_frame(out: &mut Vec<u8>, peer: PeerId, body: &[u8]) {
    put_number(out, peer.get());
    put_bytes(out, body);
}

/// Reads who asks, and what, to the end.
#[derive(Debug)]
pub(crate) struct FrameReader<'a> {
    reader: Reader<'a>,
}

/// The head of a read: the leader's log time. Behind it come queries as frames.
pub(crate) fn begin_queries(log_time_ms: u64) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_number(&mut out, log_time_ms);
    out
}

/// The leader's log time of a read, and its queries.
pub(crate) fn read_queries(bytes: &[u8]) -> Result<(u64, FrameReader<'_>), Malformed> {
    let mut reader = Reader::versioned(bytes)?;
    Ok((reader.number()?, FrameReader { reader }))
}

impl<'a> FrameReader<'a> {
    fn frame(&mut self) -> Result<Operation<'a>, Malformed> {
        Ok(Operation {
            peer: self.reader.peer()?,
            request: self.reader.bytes(REQUEST_BYTES_MAX)?,
        })
    }
}

impl<'a> Iterator for FrameReader<'a> {
    type Item = Result<Operation<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let frame = self.frame();
        if frame.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(frame)
    }
}

/// The table's answer to an [`Entry`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryReply {
    /// Log time after the entry, in milliseconds.
    pub log_time_ms: u64,
    /// When the next lease runs out, in log time; `None` without sessions.
    pub next_expiry_ms: Option<u64>,
    /// An encoded [`Reply`](super::Reply) for each request of the entry; `None`: the entry was malformed.
    pub replies: Option<Vec<Bytes>>,
}

impl EntryReply {
    /// The reply from its bytes, without copying them.
    ///
    /// # Errors
    ///
    /// [`Malformed`], for all bytes that no table answers.
    pub fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::versioned(bytes)?;
        let taken = reader.flag()?;
        let log_time_ms = reader.number()?;
        let next_expiry_ms = optional(&mut reader)?;
        let replies = slices(bytes, reader)?;
        if !taken && !replies.is_empty() {
            return Err(Malformed::new("bytes behind the end"));
        }
        Ok(Self {
            log_time_ms,
            next_expiry_ms,
            replies: taken.then_some(replies),
        })
    }
}

/// Appends the head of an [`EntryReply`]; behind it comes each reply, with its length.
pub(crate) fn put_entry_reply(
    out: &mut Vec<u8>,
    taken: bool,
    log_time_ms: u64,
    next_expiry_ms: Option<u64>,
) {
    out.push(VERSION);
    out.push(u8::from(taken));
    put_number(out, log_time_ms);
    put_optional(out, next_expiry_ms);
}

/// Appends one answer's length and bytes.
pub(crate) fn put_answer(
    out: &mut Vec<u8>,
    scratch: &mut Vec<u8>,
    encode: impl FnOnce(&mut Vec<u8>),
) {
    scratch.clear();
    encode(scratch);
    put_bytes(out, scratch);
}

/// The encoded answers of a read, without copying them.
pub(crate) fn answers_of(bytes: &Bytes) -> Result<Vec<Bytes>, Malformed> {
    slices(bytes, Reader::versioned(bytes)?)
}

/// Length-prefixed parts of `whole` from where `reader` stands to the end.
fn slices(whole: &Bytes, mut reader: Reader<'_>) -> Result<Vec<Bytes>, Malformed> {
    let mut parts = Vec::new();
    while !reader.is_empty() {
        if parts.len() >= REQUESTS_PER_ENTRY_MAX {
            return Err(Malformed::new("too many parts"));
        }
        parts.push(whole.slice_ref(reader.bytes(whole.len())?));
    }
    Ok(parts)
}
