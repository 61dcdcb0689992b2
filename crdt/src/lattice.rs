//! What merging means.

/// Whether an operation changed the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// The state is as it was.
    No,
    /// The state grew.
    Yes,
}

impl Changed {
    pub(crate) const fn when(changed: bool) -> Self {
        if changed { Self::Yes } else { Self::No }
    }
}

/// A join-semilattice with a least element.
///
/// `join` is commutative, associative and idempotent, `bottom` is its identity, and `a.partial_le(b)` exactly when
/// joining `a` into `b` changes nothing.
pub trait Lattice: Sized {
    /// The least element: the state before any event.
    #[must_use]
    fn bottom() -> Self;

    /// Raises `self` to the least upper bound of both.
    fn join(&mut self, other: &Self) -> Changed;

    /// Whether `self` holds nothing that `other` does not.
    fn partial_le(&self, other: &Self) -> bool;
}
