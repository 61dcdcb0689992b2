//! What runs of events do, each to the text as its writer saw it.

/// Runs of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Each event inserts a character behind the one of the event before.
    Insert,
    /// Each event removes the character at one place, and the next moves up to it. Also a single removal.
    Delete,
    /// Each event removes the character in front of the one before.
    Backspace,
}

/// Successive events, one for each character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) kind: Kind,
    /// Where the first event inserts or removes, in characters.
    pub(super) at: usize,
    /// How many events.
    pub(super) len: usize,
}

impl Edit {
    pub(super) const fn new(kind: Kind, at: usize, len: usize) -> Self {
        let kind = match kind {
            Kind::Backspace if len == 1 => Kind::Delete,
            kind => kind,
        };
        Self { kind, at, len }
    }

    /// Without its first `count` events, which leaves some.
    pub(super) const fn skip(self, count: usize) -> Self {
        let at = match self.kind {
            Kind::Insert => self.at + count,
            Kind::Delete => self.at,
            Kind::Backspace => self.at - count,
        };
        Self::new(self.kind, at, self.len - count)
    }

    pub(super) const fn take(self, count: usize) -> Self {
        Self::new(self.kind, self.at, count)
    }

    /// The events from `start` to `end`, of those from `first` on.
    pub(super) fn cut(self, first: usize, start: usize, end: usize) -> Self {
        let end = end.min(first + self.len);
        self.skip(start - first).take(end - start)
    }

    /// How many of the following events continue the run.
    pub(super) fn continued_by(self, next: Self) -> usize {
        match (self.kind, next.kind) {
            (Kind::Insert, Kind::Insert) if next.at == self.at + self.len => next.len,
            (Kind::Insert, _) | (_, Kind::Insert) => 0,
            (Kind::Delete, kind) if next.at == self.at => {
                if kind == Kind::Delete {
                    next.len
                } else {
                    1
                }
            }
            (kind, next_kind)
                if (kind == Kind::Backspace || self.len == 1) && next.at + self.len == self.at =>
            {
                if next_kind == Kind::Backspace {
                    next.len
                } else {
                    1
                }
            }
            _ => 0,
        }
    }

    /// Takes up the first `count` events of what follows, which continue the run.
    pub(super) fn extend(&mut self, next: Self, count: usize) {
        if self.kind != Kind::Insert && next.at != self.at {
            self.kind = Kind::Backspace;
        }
        self.len += count;
    }

    /// The lowest of the places it removes.
    pub(super) const fn lowest(self) -> usize {
        match self.kind {
            Kind::Backspace => self.at + 1 - self.len,
            _ => self.at,
        }
    }

    /// Whether a text of this length has the places.
    pub(super) fn fits(self, length: usize) -> bool {
        match self.kind {
            Kind::Insert => self.at <= length,
            Kind::Delete => self.len <= length && self.at <= length - self.len,
            Kind::Backspace => self.at < length && self.len <= self.at + 1,
        }
    }
}
