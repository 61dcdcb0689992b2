//! What is at one place of a document: of each kind, what its writers put.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::path::{PathError, too_deep};
use super::{DOCUMENT_DEPTH_MAX, Kind, Leaf, Scalar, Segment};
use crate::wire::{DecodeError, Decoder, Element, Encoder, StoreCodec};
use crate::{
    ApplyError, Dot, DotFun, DotList, DotMap, DotStore, Edit, Interval, Limits, Mint,
    ResettableCounter, VersionVector, WriteError, dot_store,
};

/// Most places hold one scalar: whatever else there may be is apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slot {
    scalars: DotFun<Scalar>,
    /// Never empty.
    parts: Option<Box<Parts>>,
}

/// What is made of parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    counter: ResettableCounter,
    /// Containers that were written themselves, and are there even when nothing is below.
    containers: DotFun<Container>,
    map: DotMap<String, Slot>,
    list: DotList<Slot>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Container {
    List,
    Map,
}

dot_store!(Parts {
    counter: ResettableCounter,
    containers: DotFun<Container>,
    map: DotMap<String, Slot>,
    list: DotList<Slot>,
});

impl Slot {
    /// What an event puts at a place.
    pub(super) fn of(mint: Mint, leaf: Leaf) -> Result<Edit<Self>, WriteError> {
        let container = |container| {
            Edit::put(Self::of_parts(Parts {
                containers: DotFun::one(mint.dot(), container),
                ..Parts::default()
            }))
        };
        Ok(match leaf {
            Leaf::Scalar(scalar) => Edit::put(Self {
                scalars: DotFun::one(mint.dot(), scalar),
                parts: None,
            }),
            Leaf::Counter(start) => ResettableCounter::default()
                .add(mint, start)?
                .within(Self::of_counter),
            Leaf::List => container(Container::List),
            Leaf::Map => container(Container::Map),
        })
    }

    pub(super) fn of_counter(counter: ResettableCounter) -> Self {
        Self::of_parts(Parts {
            counter,
            ..Parts::default()
        })
    }

    pub(super) fn of_list(list: DotList<Self>) -> Self {
        Self::of_parts(Parts {
            list,
            ..Parts::default()
        })
    }

    fn of_map(map: DotMap<String, Self>) -> Self {
        Self::of_parts(Parts {
            map,
            ..Parts::default()
        })
    }

    fn of_parts(parts: Parts) -> Self {
        Self {
            scalars: DotFun::default(),
            parts: (!parts.is_empty()).then(|| Box::new(parts)),
        }
    }

    pub(super) const fn scalars(&self) -> &DotFun<Scalar> {
        &self.scalars
    }

    pub(super) fn counter(&self) -> &ResettableCounter {
        const NONE: &ResettableCounter = &ResettableCounter::NONE;
        self.parts.as_ref().map_or(NONE, |parts| &parts.counter)
    }

    pub(super) fn map(&self) -> Option<&DotMap<String, Self>> {
        self.parts.as_ref().map(|parts| &parts.map)
    }

    pub(super) fn list(&self) -> Option<&DotList<Self>> {
        self.parts.as_ref().map(|parts| &parts.list)
    }

    /// Whether something of the kind is here.
    pub(super) fn has(&self, kind: Kind) -> bool {
        let was_written = |wanted| {
            let parts = self.parts.as_ref();
            parts.is_some_and(|parts| parts.containers.iter().any(|(_, held)| *held == wanted))
        };
        match kind {
            Kind::Map => {
                self.map().is_some_and(|map| !map.is_empty()) || was_written(Container::Map)
            }
            Kind::List => {
                self.list().is_some_and(|list| !list.is_empty()) || was_written(Container::List)
            }
            Kind::Counter => !self.counter().is_empty(),
            Kind::Scalar => !self.scalars.is_empty(),
        }
    }

    /// The kinds of what is here, the one that is read first.
    pub(super) fn kinds(&self) -> impl Iterator<Item = Kind> + '_ {
        Kind::ALL.into_iter().filter(|kind| self.has(*kind))
    }

    /// Whether an edit that needs this kind may be made here: it is here, or nothing is.
    pub(super) fn require(&self, expected: Kind, segment: usize) -> Result<(), PathError> {
        match self.kinds().next() {
            Some(found) if !self.has(expected) => Err(PathError::OtherKind {
                segment,
                expected,
                found,
            }),
            _ => Ok(()),
        }
    }

    /// Makes an edit at the end of the path, whose first segment is number `segment` of a longer one.
    pub(super) fn edit(
        &self,
        path: &[Segment<'_>],
        segment: usize,
        edit: impl FnOnce(&Self) -> Result<Edit<Self>, WriteError>,
    ) -> Result<Edit<Self>, WriteError> {
        let Some((first, rest)) = path.split_first() else {
            return edit(self);
        };
        if segment >= DOCUMENT_DEPTH_MAX {
            return Err(too_deep(segment + path.len()).into());
        }
        match *first {
            Segment::Key(key) => {
                self.require(Kind::Map, segment)?;
                let none = Self::default();
                let child = self.map().and_then(|map| map.get(key)).unwrap_or(&none);
                let edited = child.edit(rest, segment + 1, edit)?;
                Ok(edited.within(|child| Self::of_map(DotMap::one(String::from(key), child))))
            }
            Segment::Index(index) => {
                self.require(Kind::List, segment)?;
                let list = self.list().ok_or(PathError::NoList { segment })?;
                let length = list.len();
                if index >= length {
                    return Err(PathError::NoElement {
                        segment,
                        index,
                        length,
                    }
                    .into());
                }
                let edited = list.update(index, |child| child.edit(rest, segment + 1, edit))?;
                Ok(edited.within(Self::of_list))
            }
        }
    }

    pub(super) fn child(&self, segment: &Segment<'_>) -> Option<&Self> {
        match *segment {
            Segment::Key(key) => self.map()?.get(key),
            Segment::Index(index) => self.list()?.get(index),
        }
    }
}

impl DotStore for Slot {
    fn is_empty(&self) -> bool {
        self.scalars.is_empty() && self.parts.is_none()
    }

    fn contains_dot(&self, dot: Dot) -> bool {
        self.scalars.contains_dot(dot)
            || self
                .parts
                .as_ref()
                .is_some_and(|parts| parts.contains_dot(dot))
    }

    fn dot_count(&self) -> usize {
        let parts = self.parts.as_ref().map_or(0, |parts| parts.dot_count());
        self.scalars.dot_count() + parts
    }

    fn pieces_at(&self, dot: Dot) -> usize {
        let parts = self.parts.as_ref().map_or(0, |parts| parts.pieces_at(dot));
        self.scalars.pieces_at(dot) + parts
    }

    fn for_each_named(&self, visit: &mut dyn FnMut(Dot)) {
        if let Some(parts) = &self.parts {
            parts.for_each_named(visit);
        }
    }

    fn for_each_after(&self, known: &VersionVector, visit: &mut dyn FnMut(Dot)) {
        self.scalars.for_each_after(known, visit);
        if let Some(parts) = &self.parts {
            parts.for_each_after(known, visit);
        }
    }

    fn same_at(&self, other: &Self, dot: Dot) -> bool {
        self.scalars.same_at(&other.scalars, dot)
            || matches!((&self.parts, &other.parts), (Some(mine), Some(theirs)) if mine.same_at(theirs, dot))
    }

    fn copy_dot(&self, dot: Dot, into: &mut Self) {
        self.scalars.copy_dot(dot, &mut into.scalars);
        if let Some(parts) = self.parts.as_ref().filter(|parts| parts.contains_dot(dot)) {
            parts.copy_dot(dot, into.parts.get_or_insert_default());
        }
    }

    fn copy_after(&self, known: &VersionVector, into: &mut Self) {
        self.scalars.copy_after(known, &mut into.scalars);
        if let Some(parts) = &self.parts {
            parts.copy_after(known, into.parts.get_or_insert_default());
            into.drop_empty_parts();
        }
    }

    fn remove(&mut self, interval: Interval) -> bool {
        let mut removed = self.scalars.remove(interval);
        if let Some(parts) = &mut self.parts {
            removed |= parts.remove(interval);
            self.drop_empty_parts();
        }
        removed
    }

    fn admit(
        &self,
        delta: &Self,
        known: &VersionVector,
        limits: &Limits,
    ) -> Result<(), ApplyError> {
        match (&self.parts, &delta.parts) {
            (Some(mine), Some(theirs)) => mine.admit(theirs, known, limits),
            (None, Some(theirs)) => Parts::default().admit(theirs, known, limits),
            (_, None) => Ok(()),
        }
    }
}

impl Slot {
    fn drop_empty_parts(&mut self) {
        self.parts.take_if(|parts| parts.is_empty());
    }
}

/// The scalars of all; of each whether it has parts, as 0 or 1; the parts of those that have.
impl StoreCodec for Slot {
    /// The type contains itself: what it is made of is told once.
    fn describe(out: &mut String) {
        out.push_str("Slot");
    }

    fn encode_column(stores: &[&Self], out: &mut Encoder<'_>) {
        // Without this the empty columns of what is below would have no end.
        if stores.is_empty() {
            return;
        }
        let scalars: Vec<_> = stores.iter().map(|slot| &slot.scalars).collect();
        DotFun::encode_column(&scalars, out);
        let has_parts: Vec<u64> = stores
            .iter()
            .map(|slot| u64::from(slot.parts.is_some()))
            .collect();
        out.column(&has_parts);
        let parts: Vec<&Parts> = stores
            .iter()
            .filter_map(|slot| slot.parts.as_deref())
            .collect();
        if !parts.is_empty() {
            Parts::encode_column(&parts, out);
        }
    }

    fn decode_column(count: usize, input: &mut Decoder<'_>) -> Result<Vec<Self>, DecodeError> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let scalars = DotFun::decode_column(count, input)?;
        let mut have_parts = 0;
        let flags = input.column(count)?;
        for flag in &flags {
            match flag {
                0 => {}
                1 => have_parts += 1,
                _ => return Err(DecodeError::Malformed("parts of a place")),
            }
        }
        let mut parts = if have_parts == 0 {
            Vec::new().into_iter()
        } else {
            Parts::decode_column(have_parts, input)?.into_iter()
        };
        let mut slots = Vec::with_capacity(scalars.len());
        for (scalars, flag) in scalars.into_iter().zip(flags) {
            let parts = if flag == 1 {
                parts.next().map(Box::new)
            } else {
                None
            };
            if parts.as_ref().is_some_and(|parts| parts.is_empty()) {
                return Err(DecodeError::Malformed("parts of a place are empty"));
            }
            slots.push(Self { scalars, parts });
        }
        Ok(slots)
    }
}

impl Element for Container {
    fn describe(out: &mut String) {
        out.push_str("Container");
    }

    fn encode(&self, out: &mut Encoder<'_>) {
        out.u8(match self {
            Self::List => 0,
            Self::Map => 1,
        });
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match input.u8()? {
            0 => Ok(Self::List),
            1 => Ok(Self::Map),
            _ => Err(DecodeError::Malformed("kind of container")),
        }
    }
}
