//! Which configurations a search has been in.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use crate::digest::Digest;

/// Which operations an order holds so far.
///
/// Completed operations are taken nearly in the order of their invocation, so what is stored of them is where the first
/// open one is and the bits behind it.
#[derive(Debug)]
pub(super) struct Taken {
    completed: Vec<u64>,
    pending: Vec<u64>,
    /// The number of words of `completed` that are full.
    full: usize,
    /// One number for each taken operation, xored together.
    hash: u64,
}

const WORD: usize = u64::BITS as usize;

impl Taken {
    pub(super) fn new(completed: usize, pending: usize) -> Self {
        Self {
            completed: vec![0; completed.div_ceil(WORD)],
            pending: vec![0; pending.div_ceil(WORD)],
            full: 0,
            hash: 0,
        }
    }

    /// Takes the completed (or pending) operation `number`, or gives it back.
    pub(super) fn flip(&mut self, is_pending: bool, number: usize) {
        let words = if is_pending {
            &mut self.pending
        } else {
            &mut self.completed
        };
        if let Some(word) = words.get_mut(number / WORD) {
            *word ^= 1 << (number % WORD);
        }
        if !is_pending {
            self.full = self.full.min(number / WORD);
            while self.completed.get(self.full) == Some(&u64::MAX) {
                self.full += 1;
            }
        }
        let mut digest = Digest::new();
        digest.number(number as u64 * 2 + u64::from(is_pending));
        self.hash ^= digest.value();
    }

    /// The words that tell this set from others, trailing zeros cut off.
    fn window(&self) -> Box<[u64]> {
        let open = self.completed.get(self.full..).unwrap_or_default();
        let used = open
            .iter()
            .rposition(|&word| word != 0)
            .map_or(0, |at| at + 1);
        let open = open.get(..used).unwrap_or_default();
        open.iter().chain(&self.pending).copied().collect()
    }
}

/// Operations taken, and the state they lead to.
#[derive(Debug, PartialEq, Eq)]
struct Configuration<S> {
    full: usize,
    window: Box<[u64]>,
    state: S,
}

/// The configurations seen, by hash; those that share one behind each other.
#[derive(Debug)]
pub(super) struct Memory<S> {
    seen: BTreeMap<u64, (Configuration<S>, Vec<Configuration<S>>)>,
}

impl<S: Clone + Eq + Hash> Memory<S> {
    pub(super) const fn new() -> Self {
        Self {
            seen: BTreeMap::new(),
        }
    }

    /// Remembers the configuration; `false` if it was known.
    pub(super) fn insert(&mut self, taken: &Taken, state: &S) -> bool {
        let mut hasher = StateHasher(Digest::new());
        state.hash(&mut hasher);
        let hash = hasher.finish() ^ taken.hash;
        let configuration = Configuration {
            full: taken.full,
            window: taken.window(),
            state: state.clone(),
        };
        let Some((first, others)) = self.seen.get_mut(&hash) else {
            self.seen.insert(hash, (configuration, Vec::new()));
            return true;
        };
        if *first == configuration || others.contains(&configuration) {
            return false;
        }
        others.push(configuration);
        true
    }
}

struct StateHasher(Digest);

impl Hasher for StateHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.bytes(bytes);
    }

    fn write_u64(&mut self, number: u64) {
        self.0.number(number);
    }

    fn finish(&self) -> u64 {
        self.0.value()
    }
}
