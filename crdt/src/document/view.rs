//! Reading a document.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::slot::Slot;
use super::{Document, Scalar, Segment, Value};
use crate::DotMap;

/// What may be at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A map of keys to places.
    Map,
    /// A list of places.
    List,
    /// A counter.
    Counter,
    /// A scalar.
    Scalar,
}

impl Kind {
    /// The kind that is read first comes first: what is made of many edits is not hidden by one.
    pub(super) const ALL: [Self; 4] = [Self::Map, Self::List, Self::Counter, Self::Scalar];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Map => "map",
            Self::List => "list",
            Self::Counter => "counter",
            Self::Scalar => "scalar",
        })
    }
}

/// What is at one place of a document.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    slot: &'a Slot,
}

impl Document {
    /// What is at the place; `None` if nothing is, or the path is empty.
    #[must_use]
    pub fn get(&self, path: &[Segment<'_>]) -> Option<Node<'_>> {
        self.slot(path).map(|slot| Node { slot })
    }

    /// The entries of the document's map, in ascending order of their keys.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, Node<'_>)> + ExactSizeIterator {
        entries(&self.entries)
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The whole as a plain value: a map. Of what is in conflict it has what is read first.
    #[must_use]
    pub fn to_value(&self) -> Value {
        Value::Map(
            self.iter()
                .map(|(key, node)| (key.into(), node.to_value()))
                .collect(),
        )
    }

    /// Where more is held than one can read at once, in the order of the document: each path with its node.
    #[must_use]
    pub fn conflicts(&self) -> Vec<(Vec<Segment<'_>>, Node<'_>)> {
        let mut found = Vec::new();
        for (key, node) in self.iter() {
            node.collect_conflicts(&mut Vec::from([Segment::Key(key)]), &mut found);
        }
        found
    }
}

impl<'a> Node<'a> {
    /// The kind that is read first; see [`Document`].
    ///
    /// # Panics
    ///
    /// Never: a place where nothing is has no node.
    #[must_use]
    pub fn kind(self) -> Kind {
        let first = self.slot.kinds().next();
        first.expect("a place where nothing is has no node")
    }

    /// The kinds of all that is held; more than one if writers did not know of each other.
    pub fn kinds(self) -> impl Iterator<Item = Kind> + 'a {
        self.slot.kinds()
    }

    /// Whether there is more than one kind or more than one scalar.
    #[must_use]
    pub fn is_conflict(self) -> bool {
        self.kinds().count() > 1 || self.slot.scalars().iter().len() > 1
    }

    /// All scalars held, in the order of their dots.
    pub fn scalars(self) -> impl DoubleEndedIterator<Item = &'a Scalar> + ExactSizeIterator {
        self.slot.scalars().iter().map(|(_, scalar)| scalar)
    }

    /// The scalar that is read: of several the one with the highest dot, by replica and then by counter. `None` if
    /// there is none.
    #[must_use]
    pub fn scalar(self) -> Option<&'a Scalar> {
        self.scalars().next_back()
    }

    /// The text, if the scalar that is read is one.
    #[must_use]
    pub fn as_str(self) -> Option<&'a str> {
        match self.scalar()? {
            Scalar::String(text) => Some(text),
            _ => None,
        }
    }

    /// The counter's value; `None` if there is none.
    #[must_use]
    pub fn counter(self) -> Option<i128> {
        self.slot
            .has(Kind::Counter)
            .then(|| self.slot.counter().value())
    }

    /// The entries of the map in ascending order of their keys; `None` if there is no map.
    #[must_use]
    pub fn map(
        self,
    ) -> Option<impl DoubleEndedIterator<Item = (&'a str, Self)> + ExactSizeIterator> {
        self.slot
            .has(Kind::Map)
            .then(|| self.slot.map().map(entries))
            .flatten()
    }

    /// The elements of the list in order; `None` if there is no list.
    #[must_use]
    pub fn list(self) -> Option<impl DoubleEndedIterator<Item = Self> + ExactSizeIterator> {
        let list = self
            .slot
            .has(Kind::List)
            .then(|| self.slot.list())
            .flatten()?;
        Some(list.iter().map(|slot| Self { slot }))
    }

    /// The element or entry one segment further.
    #[must_use]
    pub fn get<'s>(self, segment: impl Into<Segment<'s>>) -> Option<Self> {
        let slot = self.slot.child(&segment.into())?;
        Some(Self { slot })
    }

    /// What is read first, as a plain value, with all below. A counter becomes an integer; one that does not fit 64
    /// bits becomes the nearest that does.
    #[must_use]
    pub fn to_value(self) -> Value {
        match self.kind() {
            Kind::Map => {
                let entries = self.map().into_iter().flatten();
                Value::Map(
                    entries
                        .map(|(key, node)| (key.into(), node.to_value()))
                        .collect(),
                )
            }
            Kind::List => Value::List(
                self.list()
                    .into_iter()
                    .flatten()
                    .map(Self::to_value)
                    .collect(),
            ),
            Kind::Counter => {
                let value = self.slot.counter().value();
                let nearest = if value < 0 { i64::MIN } else { i64::MAX };
                Value::Integer(i64::try_from(value).unwrap_or(nearest))
            }
            Kind::Scalar => self.scalar().map_or(Value::Null, Value::from),
        }
    }

    fn collect_conflicts(
        self,
        path: &mut Vec<Segment<'a>>,
        found: &mut Vec<(Vec<Segment<'a>>, Self)>,
    ) {
        if self.is_conflict() {
            found.push((path.clone(), self));
        }
        let entries = self.map().into_iter().flatten();
        let entries = entries.map(|(key, node)| (Segment::Key(key), node));
        let elements = self.list().into_iter().flatten().enumerate();
        for (segment, node) in
            entries.chain(elements.map(|(index, node)| (Segment::Index(index), node)))
        {
            path.push(segment);
            node.collect_conflicts(path, found);
            path.pop();
        }
    }
}

fn entries(
    map: &DotMap<String, Slot>,
) -> impl DoubleEndedIterator<Item = (&str, Node<'_>)> + ExactSizeIterator {
    map.iter().map(|(key, slot)| (key.as_str(), Node { slot }))
}
