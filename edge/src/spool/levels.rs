//! The logs of one stream.

use super::log::Log;

/// How many logs a stream may have. All entries of a higher level are older than all of a lower one; what is decimated moves
/// up.
pub(super) const LEVELS: usize = 3;

/// The bounds of all levels. Those above the first take room once something has moved there: most devices never decimate.
#[derive(Debug)]
pub(super) struct Levels {
    newest: Log,
    older: Option<Box<[Log; LEVELS - 1]>>,
}

impl Levels {
    pub(super) const EMPTY: Self = Self {
        newest: Log::EMPTY,
        older: None,
    };

    pub(super) fn set(&mut self, [newest, older @ ..]: [Log; LEVELS]) {
        self.newest = newest;
        let is_needed = older.iter().any(|log| *log != Log::EMPTY);
        self.older = is_needed.then(|| Box::new(older));
    }

    pub(super) fn all(&self) -> [Log; LEVELS] {
        let [one, two] = self.older.as_deref().copied().unwrap_or([Log::EMPTY; 2]);
        [self.newest, one, two]
    }

    /// The log of a level; `None` if nothing was ever there, or there is no such level.
    pub(super) fn get(&self, level: usize) -> Option<&Log> {
        match level.checked_sub(1) {
            None => Some(&self.newest),
            Some(at) => self.older.as_deref()?.get(at),
        }
    }

    /// From the newest on.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Log> {
        let older = self.older.iter().flat_map(|older| older.iter());
        std::iter::once(&self.newest).chain(older)
    }
}
