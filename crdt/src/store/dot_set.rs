//! A set of dots.

use alloc::string::String;
use alloc::vec::Vec;

use crate::wire::{DecodeError, Decoder, Encoder, StoreCodec};
use crate::{Dot, DotStore, Interval, VersionVector};

/// A set of dots with nothing under them. One dot is held inline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DotSet {
    held: Held,
}

/// `Many` holds at least two, sorted: equal sets are equal representations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Held {
    #[default]
    None,
    One(Dot),
    Many(Vec<Dot>),
}

impl DotSet {
    /// The dots in ascending order.
    #[must_use]
    pub fn as_slice(&self) -> &[Dot] {
        match &self.held {
            Held::None => &[],
            Held::One(dot) => core::slice::from_ref(dot),
            Held::Many(dots) => dots,
        }
    }

    /// The set of one dot: what an edit puts.
    #[must_use]
    pub const fn one(dot: Dot) -> Self {
        Self {
            held: Held::One(dot),
        }
    }

    fn insert(&mut self, dot: Dot) {
        let Err(at) = self.as_slice().binary_search(&dot) else {
            return;
        };
        match &mut self.held {
            Held::None => self.held = Held::One(dot),
            Held::One(held) => {
                let mut dots = Vec::from([*held]);
                dots.insert(at, dot);
                self.held = Held::Many(dots);
            }
            Held::Many(dots) => dots.insert(at, dot),
        }
    }
}

impl DotStore for DotSet {
    fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    fn contains_dot(&self, dot: Dot) -> bool {
        self.as_slice().binary_search(&dot).is_ok()
    }

    fn dot_count(&self) -> usize {
        self.as_slice().len()
    }

    fn for_each_named(&self, _visit: &mut dyn FnMut(Dot)) {}

    fn for_each_after(&self, known: &VersionVector, visit: &mut dyn FnMut(Dot)) {
        self.as_slice()
            .iter()
            .copied()
            .filter(|dot| !known.covers(*dot))
            .for_each(visit);
    }

    fn same_at(&self, other: &Self, dot: Dot) -> bool {
        self.contains_dot(dot) && other.contains_dot(dot)
    }

    fn copy_dot(&self, dot: Dot, into: &mut Self) {
        if self.contains_dot(dot) {
            into.insert(dot);
        }
    }

    fn remove(&mut self, interval: Interval) -> bool {
        let before = self.as_slice().len();
        match &mut self.held {
            Held::None => {}
            Held::One(dot) if interval.contains(*dot) => self.held = Held::None,
            Held::One(_) => {}
            Held::Many(dots) => {
                dots.retain(|dot| !interval.contains(*dot));
                if let [] | [_] = dots.as_slice() {
                    self.held = dots.first().copied().map_or(Held::None, Held::One);
                }
            }
        }
        self.as_slice().len() < before
    }
}

impl StoreCodec for DotSet {
    fn describe(out: &mut String) {
        out.push_str("DotSet");
    }

    fn encode_column(stores: &[&Self], out: &mut Encoder<'_>) {
        out.sizes(stores.iter().map(|store| store.as_slice().len()));
        out.dots(stores.iter().flat_map(|store| store.as_slice()).copied());
    }

    fn decode_column(count: usize, input: &mut Decoder<'_>) -> Result<Vec<Self>, DecodeError> {
        let (sizes, total) = input.sizes(count)?;
        let mut dots = input.dots(total)?.into_iter();
        let mut stores = Vec::with_capacity(sizes.len());
        for size in sizes {
            let held = match size {
                0 => Held::None,
                1 => dots.next().map_or(Held::None, Held::One),
                _ => Held::Many(dots.by_ref().take(size).collect()),
            };
            let store = Self { held };
            if !store.as_slice().is_sorted_by(|a, b| a < b) {
                return Err(DecodeError::Malformed("dots do not ascend"));
            }
            stores.push(store);
        }
        Ok(stores)
    }
}
