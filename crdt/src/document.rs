//! A document like JSON: maps, lists, counters and scalars, nested, edited by path.

mod assign;
mod path;
mod scalar;
#[cfg(feature = "serde")]
mod serde;
mod slot;
mod value;
mod view;

use alloc::string::String;

pub use path::{PathError, Segment};
pub use scalar::{Float, Leaf, Scalar};
pub use value::Value;
pub use view::{Kind, Node};

use self::slot::Slot;
use crate::{DotList, DotMap, Edit, Mint, WriteError, dot_store};

/// How many segments a path may have. Below what a decoder lets pass by default, so that a document may itself lie
/// some levels deep in other maps.
pub const DOCUMENT_DEPTH_MAX: usize = 48;

/// A document like JSON. At its root is a map; under each key, and at each place of a list, is a scalar, a counter, a
/// list or a map.
///
/// An edit is one event and changes one place: [`set`](Self::set), [`add`](Self::add), [`insert`](Self::insert),
/// [`remove`](Self::remove). A whole [`Value`] is written by
/// [`Causal::assign`](crate::Causal::assign), as several events.
///
/// # What concurrent edits do
///
/// | here | there | result |
/// |---|---|---|
/// | `set` of one key | `set` of the same key | both values are held until one of the two places is written again: [`Node::scalars`] has all, [`Node::scalar`] the same one everywhere |
/// | `set` of one key, or `add` to it | `set` of another key | both |
/// | `add` to a counter | `add` to the same counter | both count |
/// | `remove` or `set` of a key | an edit below the key, or of it | what the other wrote is there, and nothing else of what was below |
/// | a scalar, counter, list or map under a key | one of another kind | all kinds are held: [`Node::kinds`] has all; [`Node::kind`], and whoever reads without asking, sees the first of map, list, counter, scalar |
/// | `insert` into a list | `insert` at the same place | both, in the same order everywhere; runs of inserts stay together |
/// | `remove` of an element | an edit of the element | as under a key: the element stays, with what the other wrote alone |
///
/// So nothing that a writer had not seen is lost, and whatever is held twice can be read: [`Document::conflicts`] tells
/// where. The next `set` of such a place settles it.
///
/// What goes when a counter is removed while another adds to it is told at
/// [`ResettableCounter`](crate::ResettableCounter): that other's whole total stays.
///
/// # Empty containers
///
/// A map or list that came to be because something was put below it is there as long as something is below it. One
/// that was written itself ([`Leaf::Map`], [`Leaf::List`]) is there until it is removed.
///
/// # Cost
///
/// By path: one search for each segment, and for an index a walk over the list. An element of a list has a place of its
/// own, see [`DotList`].
///
/// # Example
///
/// ```
/// use peaberry_crdt::document::{Document, Leaf, Value};
/// use peaberry_crdt::{Causal, Lattice, ReplicaId, Writer, path};
///
/// let mut here: Causal<Document> = Causal::bottom();
/// let mut there = here.clone();
/// let mut mine = Writer::new(ReplicaId::new(1).unwrap(), 0, 100);
/// let mut theirs = Writer::new(ReplicaId::new(2).unwrap(), 0, 100);
///
/// here.write(&mut mine, |doc, mint| doc.set(mint, path!["name"], "espresso")).unwrap();
/// here.write(&mut mine, |doc, mint| doc.set(mint, path!["sold"], Leaf::Counter(0))).unwrap();
/// there.join(&here);
///
/// // Apart, both sell, and each has an opinion of the name.
/// here.write(&mut mine, |doc, mint| doc.add(mint, path!["sold"], 2)).unwrap();
/// here.write(&mut mine, |doc, mint| doc.set(mint, path!["name"], "ristretto")).unwrap();
/// there.write(&mut theirs, |doc, mint| doc.add(mint, path!["sold"], 3)).unwrap();
/// there.write(&mut theirs, |doc, mint| doc.set(mint, path!["name"], "lungo")).unwrap();
/// there.write(&mut theirs, |doc, mint| doc.insert(mint, path!["sizes"], 0, "small")).unwrap();
///
/// here.join(&there);
/// there.join(&here);
/// assert_eq!(here, there);
/// let doc = here.value();
/// assert_eq!(doc.get(path!["sold"]).unwrap().counter(), Some(5));
/// assert_eq!(doc.get(path!["name"]).unwrap().scalars().count(), 2);
/// assert_eq!(doc.get(path!["sizes", 0]).unwrap().to_value(), Value::from("small"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    entries: DotMap<String, Slot>,
}

dot_store!(Document { entries: DotMap<String, Slot> });

impl Document {
    /// Puts a leaf at the place, instead of all that is known there. Maps on the way to it come to be.
    ///
    /// # Errors
    ///
    /// [`WriteError::Path`] if the path is empty or too long, enters something that is neither a map nor a list, or
    /// has an index that no element has.
    pub fn set(
        &self,
        mint: Mint,
        path: &[Segment<'_>],
        leaf: impl Into<Leaf>,
    ) -> Result<Edit<Self>, WriteError> {
        let leaf = leaf.into();
        self.edit(path, |slot| Ok(Slot::of(mint, leaf)?.removing(slot)))
    }

    /// Adds to the counter at the place, which may be negative; makes one where nothing is.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set); also [`WriteError::Path`] if something else is there and no counter, and
    /// [`WriteError::CounterOverflow`].
    pub fn add(
        &self,
        mint: Mint,
        path: &[Segment<'_>],
        amount: i64,
    ) -> Result<Edit<Self>, WriteError> {
        self.edit(path, |slot| {
            slot.require(Kind::Counter, path.len())?;
            Ok(slot.counter().add(mint, amount)?.within(Slot::of_counter))
        })
    }

    /// Inserts a leaf into the list at the place, before the element that is at `index` now; at the end if `index` is
    /// the length. Makes a list where nothing is.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set); also [`WriteError::Path`] if something else is there and no list, or the list is shorter,
    /// and [`WriteError::TooDeep`].
    pub fn insert(
        &self,
        mint: Mint,
        path: &[Segment<'_>],
        index: usize,
        leaf: impl Into<Leaf>,
    ) -> Result<Edit<Self>, WriteError> {
        let leaf = leaf.into();
        if path.len() >= DOCUMENT_DEPTH_MAX {
            return Err(path::too_deep(path.len() + 1).into());
        }
        self.edit(path, |slot| {
            slot.require(Kind::List, path.len())?;
            let none = DotList::default();
            let list = slot.list().unwrap_or(&none);
            let (segment, length) = (path.len(), list.len());
            if index > length {
                return Err(PathError::NoElement {
                    segment,
                    index,
                    length,
                }
                .into());
            }
            Ok(list
                .insert(mint, index, Slot::of(mint, leaf)?)?
                .within(Slot::of_list))
        })
    }

    /// Removes all that is known at the place and below; nothing if there is nothing.
    ///
    /// # Errors
    ///
    /// [`WriteError::Path`] if the path is empty.
    pub fn remove(&self, path: &[Segment<'_>]) -> Result<Edit<Self>, WriteError> {
        if path.is_empty() {
            return Err(PathError::Empty.into());
        }
        let held = self.slot(path);
        Ok(held.map_or_else(Edit::nothing, |held| Edit::nothing().removing(held)))
    }

    /// Removes all that is known.
    pub fn clear(&self) -> Edit<Self> {
        Edit::nothing().removing(&self.entries)
    }

    fn edit(
        &self,
        path: &[Segment<'_>],
        edit: impl FnOnce(&Slot) -> Result<Edit<Slot>, WriteError>,
    ) -> Result<Edit<Self>, WriteError> {
        let Some((first, rest)) = path.split_first() else {
            return Err(PathError::Empty.into());
        };
        if path.len() > DOCUMENT_DEPTH_MAX {
            return Err(path::too_deep(path.len()).into());
        }
        let Segment::Key(key) = first else {
            return Err(PathError::NoList { segment: 0 }.into());
        };
        let none = Slot::default();
        let slot = self.entries.get(*key).unwrap_or(&none);
        let edited = slot.edit(rest, 1, edit)?;
        Ok(edited.within(|slot| Self {
            entries: DotMap::one(String::from(*key), slot),
        }))
    }

    fn slot(&self, path: &[Segment<'_>]) -> Option<&Slot> {
        let (first, rest) = path.split_first()?;
        let Segment::Key(key) = first else {
            return None;
        };
        rest.iter()
            .try_fold(self.entries.get(*key)?, |slot, segment| slot.child(segment))
    }
}
