//! Writes gathered to be committed together.

use std::fmt;
use std::ops::Range;

use crate::digest::Digest;
use crate::peer::Channel;

/// A numbered log within a [`Storage`](crate::Storage): entries with contiguous indices.
///
/// A log belongs to the channel whose protocol writes it; `number` tells its logs apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// The channel whose protocol owns the log.
    pub owner: Channel,
    /// Which of the owner's logs.
    pub number: u32,
}

impl LogId {
    /// Log `number` of `owner`.
    #[must_use]
    pub const fn new(owner: Channel, number: u32) -> Self {
        Self { owner, number }
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.owner, self.number)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Writes in order, committed all together or not at all.
///
/// All bytes live in one arena, so that a batch reused for every turn stops allocating.
///
/// ```
/// use peaberry_core::{Batch, Channel, LogId, Operation, ProtocolId};
///
/// let log = LogId::new(Channel::new(ProtocolId(2000), 1), 0);
/// let mut batch = Batch::new();
/// batch.put(b"term", b"3");
/// let mark = batch.mark();
/// batch.append(log, 1, [b"one".as_slice(), b"two"]);
/// assert_eq!(batch.operations().count(), 2);
///
/// batch.rollback(mark);
/// assert_eq!(batch.operations().collect::<Vec<_>>(), [Operation::Put { key: b"term", value: b"3" }]);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Batch {
    arena: Vec<u8>,
    /// Byte lengths of appended entries, of all appends in order.
    entry_lengths: Vec<u32>,
    operations: Vec<Stored>,
}

/// An operation whose bytes lie in the arena, right behind those of the operation before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stored {
    Put {
        key_bytes: usize,
        value_bytes: usize,
    },
    Delete {
        key_bytes: usize,
    },
    DeleteRange {
        from_bytes: usize,
        to_bytes: Option<usize>,
    },
    Append {
        log: LogId,
        first: u64,
        count: usize,
    },
    Truncate {
        log: LogId,
        from: u64,
    },
    Discard {
        log: LogId,
        to: u64,
    },
}

impl Stored {
    fn feed(&self, digest: &mut Digest) {
        let (kind, numbers) = match *self {
            Self::Put {
                key_bytes,
                value_bytes,
            } => (1, [key_bytes as u64, value_bytes as u64, 0]),
            Self::Delete { key_bytes } => (2, [key_bytes as u64, 0, 0]),
            Self::DeleteRange {
                from_bytes,
                to_bytes,
            } => {
                let to_bytes = to_bytes.map_or(0, |bytes| bytes as u64 + 1);
                (3, [from_bytes as u64, to_bytes, 0])
            }
            Self::Append { log, first, count } => (4, [u64::from(log.number), first, count as u64]),
            Self::Truncate { log, from } => (5, [u64::from(log.number), from, 0]),
            Self::Discard { log, to } => (6, [u64::from(log.number), to, 0]),
        };
        digest.number(kind);
        numbers.into_iter().for_each(|number| digest.number(number));
    }
}

/// One write of a [`Batch`], as a [`Storage`](crate::Storage) reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a store that skips an operation would lose data: adding one must break it"
)]
pub enum Operation<'a> {
    /// Sets `key` to `value`.
    Put {
        /// The key.
        key: &'a [u8],
        /// Its new value.
        value: &'a [u8],
    },
    /// Removes `key`; nothing happens where it is absent.
    Delete {
        /// The key.
        key: &'a [u8],
    },
    /// Removes every key in `from..to`.
    DeleteRange {
        /// The first key that goes.
        from: &'a [u8],
        /// The first key that stays; `None`: everything from `from` on goes.
        to: Option<&'a [u8]>,
    },
    /// Adds entries at the end of a log.
    ///
    /// `first` is the log's next index. Only an empty log may jump ahead: its bounds then start at `first`.
    Append {
        /// The log.
        log: LogId,
        /// The index of the first entry.
        first: u64,
        /// The entries, in order.
        entries: Entries<'a>,
    },
    /// Removes the entries at `from` and behind; the next append continues at `from`.
    /// At or past the log's end nothing happens; before its start the log becomes empty at its start.
    Truncate {
        /// The log.
        log: LogId,
        /// The first index that goes.
        from: u64,
    },
    /// Removes the entries before `to`. Past the log's end, the log becomes empty and continues at `to`.
    Discard {
        /// The log.
        log: LogId,
        /// The first index that stays.
        to: u64,
    },
}

/// The entries of one append, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries<'a> {
    lengths: &'a [u32],
    bytes: &'a [u8],
}

impl<'a> Entries<'a> {
    /// All entries' bytes, one behind the other.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The entries' lengths in bytes.
    #[must_use]
    pub const fn lengths(&self) -> &'a [u32] {
        self.lengths
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (&length, lengths) = self.lengths.split_first()?;
        let (entry, bytes) = self.bytes.split_at_checked(length as usize)?;
        *self = Self { lengths, bytes };
        Some(entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.lengths.len(), Some(self.lengths.len()))
    }
}

impl ExactSizeIterator for Entries<'_> {}

/// A place in a [`Batch`] to roll back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    arena: usize,
    entry_lengths: usize,
    operations: usize,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            arena: Vec::new(),
            entry_lengths: Vec::new(),
            operations: Vec::new(),
        }
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// The bytes of all keys, values and entries.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.arena.len()
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.entry_lengths.clear();
        self.operations.clear();
    }

    /// See [`Operation::Put`].
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.arena.extend_from_slice(key);
        self.arena.extend_from_slice(value);
        self.operations.push(Stored::Put {
            key_bytes: key.len(),
            value_bytes: value.len(),
        });
    }

    /// See [`Operation::Delete`].
    pub fn delete(&mut self, key: &[u8]) {
        self.arena.extend_from_slice(key);
        self.operations.push(Stored::Delete {
            key_bytes: key.len(),
        });
    }

    /// See [`Operation::DeleteRange`].
    pub fn delete_range(&mut self, from: &[u8], to: Option<&[u8]>) {
        self.arena.extend_from_slice(from);
        self.arena.extend_from_slice(to.unwrap_or_default());
        self.operations.push(Stored::DeleteRange {
            from_bytes: from.len(),
            to_bytes: to.map(<[u8]>::len),
        });
    }

    /// See [`Operation::Append`]. No entries: nothing is added to the batch.
    ///
    /// # Panics
    ///
    /// When an entry is longer than 4 GiB.
    pub fn append<'e>(
        &mut self,
        log: LogId,
        first: u64,
        entries: impl IntoIterator<Item = &'e [u8]>,
    ) {
        let before = self.entry_lengths.len();
        for entry in entries {
            self.arena.extend_from_slice(entry);
            self.entry_lengths
                .push(u32::try_from(entry.len()).expect("a log entry is shorter than 4 GiB"));
        }
        let count = self.entry_lengths.len() - before;
        if count > 0 {
            self.operations.push(Stored::Append { log, first, count });
        }
    }

    /// Appends one entry that `write` adds to the end of the vector it is given.
    ///
    /// # Panics
    ///
    /// When `write` shortens the vector, or the entry is longer than 4 GiB.
    pub fn append_with(&mut self, log: LogId, first: u64, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.arena.len();
        write(&mut self.arena);
        let length = self
            .arena
            .len()
            .checked_sub(before)
            .expect("an entry only adds bytes");
        self.entry_lengths
            .push(u32::try_from(length).expect("a log entry is shorter than 4 GiB"));
        if let Some(Stored::Append {
            log: last,
            first: start,
            count,
        }) = self.operations.last_mut()
            && *last == log
            && *start + *count as u64 == first
        {
            *count += 1;
        } else {
            self.operations.push(Stored::Append {
                log,
                first,
                count: 1,
            });
        }
    }

    /// See [`Operation::Truncate`].
    pub fn truncate(&mut self, log: LogId, from: u64) {
        self.operations.push(Stored::Truncate { log, from });
    }

    /// See [`Operation::Discard`].
    pub fn discard(&mut self, log: LogId, to: u64) {
        self.operations.push(Stored::Discard { log, to });
    }

    /// The writes in order.
    #[must_use]
    pub fn operations(&self) -> Operations<'_> {
        Operations {
            arena: &self.arena,
            entry_lengths: &self.entry_lengths,
            rest: self.operations.iter(),
        }
    }

    /// Feeds what was written after `mark` into `digest`: kinds, logs, indices, lengths and bytes.
    pub(crate) fn feed_since(&self, mark: Mark, digest: &mut Digest) {
        for operation in self.operations.get(mark.operations..).unwrap_or_default() {
            operation.feed(digest);
        }
        for &length in self
            .entry_lengths
            .get(mark.entry_lengths..)
            .unwrap_or_default()
        {
            digest.number(u64::from(length));
        }
        digest.bytes(self.arena.get(mark.arena..).unwrap_or_default());
    }

    /// The present end, to [`rollback`](Self::rollback) to.
    #[must_use]
    pub const fn mark(&self) -> Mark {
        Mark {
            arena: self.arena.len(),
            entry_lengths: self.entry_lengths.len(),
            operations: self.operations.len(),
        }
    }

    /// Drops everything written after `mark` was taken.
    ///
    /// Only an append that [`append_with`](Self::append_with) merged across the mark keeps its entries' count: take
    /// marks between protocols, which own different logs.
    pub fn rollback(&mut self, mark: Mark) {
        self.arena.truncate(mark.arena);
        self.entry_lengths.truncate(mark.entry_lengths);
        self.operations.truncate(mark.operations);
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.operations()).finish()
    }
}

/// Iterates over a batch's writes; see [`Batch::operations`].
#[derive(Clone)]
pub struct Operations<'a> {
    arena: &'a [u8],
    entry_lengths: &'a [u32],
    rest: std::slice::Iter<'a, Stored>,
}

impl fmt::Debug for Operations<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

impl<'a> Operations<'a> {
    fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.arena.split_at(bytes);
        self.arena = rest;
        taken
    }

    fn take_entries(&mut self, count: usize) -> Entries<'a> {
        let (lengths, rest) = self.entry_lengths.split_at(count);
        self.entry_lengths = rest;
        let bytes = lengths.iter().map(|&length| length as usize).sum();
        Entries {
            lengths,
            bytes: self.take(bytes),
        }
    }
}

impl<'a> Iterator for Operations<'a> {
    type Item = Operation<'a>;

    fn next(&mut self) -> Option<Operation<'a>> {
        Some(match *self.rest.next()? {
            Stored::Put {
                key_bytes,
                value_bytes,
            } => Operation::Put {
                key: self.take(key_bytes),
                value: self.take(value_bytes),
            },
            Stored::Delete { key_bytes } => Operation::Delete {
                key: self.take(key_bytes),
            },
            Stored::DeleteRange {
                from_bytes,
                to_bytes,
            } => Operation::DeleteRange {
                from: self.take(from_bytes),
                to: to_bytes.map(|bytes| self.take(bytes)),
            },
            Stored::Append { log, first, count } => Operation::Append {
                log,
                first,
                entries: self.take_entries(count),
            },
            Stored::Truncate { log, from } => Operation::Truncate { log, from },
            Stored::Discard { log, to } => Operation::Discard { log, to },
        })
    }
}

/// The indices `first` and following, `count` of them.
pub(crate) const fn indices(first: u64, count: usize) -> Range<u64> {
    first..first + count as u64
}
