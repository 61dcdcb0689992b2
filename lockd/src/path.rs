//! Names of locks.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::limits::{PATH_BYTES_MAX, PATH_SEGMENTS_MAX};

/// The name of a lock: segments joined by `/`, such as `orders/7`.
///
/// At most [`PATH_BYTES_MAX`] bytes and [`PATH_SEGMENTS_MAX`] segments; no segment is empty, `.`, `..`, or holds a
/// control character. Cheap to clone.
///
/// ```
/// use peaberry_lockd::LockPath;
///
/// let path: LockPath = "orders/7".parse().unwrap();
/// assert_eq!(path.segments().collect::<Vec<_>>(), ["orders", "7"]);
/// assert!("orders//7".parse::<LockPath>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockPath(Arc<str>);

impl LockPath {
    /// The path as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its segments, outermost first.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

/// Why text is not the path of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// It is too long.
    #[error("path of {bytes} bytes is over the limit of {PATH_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It is too deep.
    #[error("path is over the limit of {PATH_SEGMENTS_MAX} segments")]
    TooDeep,
    /// It has no segments, or one that is empty, `.` or `..`, or one with a control character.
    #[error("path has an empty, `.` or `..` segment, or a control character")]
    BadSegment,
}

impl FromStr for LockPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        if text.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong { bytes: text.len() });
        }
        let is_bad = |segment: &str| {
            matches!(segment, "" | "." | "..") || segment.chars().any(char::is_control)
        };
        if text.split('/').any(is_bad) {
            return Err(PathError::BadSegment);
        }
        if text.split('/').count() > PATH_SEGMENTS_MAX {
            return Err(PathError::TooDeep);
        }
        Ok(Self(text.into()))
    }
}

impl Borrow<str> for LockPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LockPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LockPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_hollow_or_hidden_parts_are_refused() {
        for bad in ["", "/", "/a", "a/", "a//b", "a/../b", ".", "a\nb", "a/\0"] {
            assert_eq!(
                bad.parse::<LockPath>(),
                Err(PathError::BadSegment),
                "{bad:?}"
            );
        }
        assert_eq!(
            "a".repeat(257).parse::<LockPath>(),
            Err(PathError::TooLong { bytes: 257 })
        );
        assert_eq!(
            ["a"; 17].join("/").parse::<LockPath>(),
            Err(PathError::TooDeep)
        );
    }
}
