//! Where something is in a document.

use thiserror::Error;

use super::{DOCUMENT_DEPTH_MAX, Kind};

/// One step of a path: into a map by key, or into a list by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment<'a> {
    /// The entry of a map.
    Key(&'a str),
    /// The element of a list, counted from zero, as the list is now.
    Index(usize),
}

impl<'a> From<&'a str> for Segment<'a> {
    fn from(key: &'a str) -> Self {
        Self::Key(key)
    }
}

impl<'a> From<&'a alloc::string::String> for Segment<'a> {
    fn from(key: &'a alloc::string::String) -> Self {
        Self::Key(key)
    }
}

impl From<usize> for Segment<'_> {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// A path of keys and indices, as `&[Segment]`: `path!["orders", 0, "quantity"]`.
#[macro_export]
macro_rules! path {
    ($($segment:expr),* $(,)?) => {
        &[$($crate::document::Segment::from($segment)),*] as &[$crate::document::Segment<'_>]
    };
}

/// A path does not lead to where the edit could be made. Nothing changed. Segments are counted from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PathError {
    /// The root is a map, and stays one.
    #[error("path is empty: name an entry of the document's map")]
    Empty,
    /// Too many segments.
    #[error("path has {segments} segments, the limit is {max}")]
    TooDeep {
        /// How many it has.
        segments: usize,
        /// How many it may have.
        max: usize,
    },
    /// What the segments before this one lead to is of another kind.
    #[error(
        "segment {segment} of the path needs a {expected}, and a {found} is there: set it to a {expected} first"
    )]
    OtherKind {
        /// The segment; the length of the path for what is at its end.
        segment: usize,
        /// What it needs.
        expected: Kind,
        /// What is there.
        found: Kind,
    },
    /// An index where no list is.
    #[error(
        "segment {segment} of the path is an index, and no list is there: insert into it first"
    )]
    NoList {
        /// The segment.
        segment: usize,
    },
    /// An index that no element has.
    #[error("segment {segment} of the path is index {index} of a list of {length}")]
    NoElement {
        /// The segment; the length of the path for the index of an insert.
        segment: usize,
        /// The index.
        index: usize,
        /// The length of the list.
        length: usize,
    },
}

pub(super) const fn too_deep(segments: usize) -> PathError {
    PathError::TooDeep {
        segments,
        max: DOCUMENT_DEPTH_MAX,
    }
}
