//! Places counted in the unit of whoever counts.

/// A place in a text: how much of it lies before. A plain number counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offset {
    /// Unicode scalar values, as `char` is.
    Chars(usize),
    /// Bytes of UTF-8, as Rust's strings count.
    Bytes(usize),
    /// Code units of UTF-16, as JavaScript's strings count.
    Utf16(usize),
}

impl From<usize> for Offset {
    fn from(chars: usize) -> Self {
        Self::Chars(chars)
    }
}
