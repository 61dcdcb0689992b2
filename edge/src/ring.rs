//! The last so many of something.

/// A ring of at most `N` values, held in place: it takes no memory of its own and never gives any back.
///
/// ```
/// use peaberry_edge::Ring;
///
/// let mut ring: Ring<u32, 3> = Ring::new();
/// for value in 1..=5 {
///     ring.push(value);
/// }
/// assert!(ring.iter().copied().eq([3, 4, 5]));
/// assert_eq!(ring.last(), Some(&5));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Ring<T, const N: usize> {
    slots: [T; N],
    /// Where the oldest stands.
    first: usize,
    count: usize,
}

impl<T: Copy + Default, const N: usize> Ring<T, N> {
    /// An empty ring.
    ///
    /// # Panics
    ///
    /// A ring of no slots does not compile.
    #[must_use]
    pub fn new() -> Self {
        const { assert!(N > 0, "a ring has room for one at least") };
        Self {
            slots: [T::default(); N],
            first: 0,
            count: 0,
        }
    }

    /// Adds a value; returns the oldest if it had to give way.
    pub fn push(&mut self, value: T) -> Option<T> {
        if self.count == N {
            let slot = self.slots.get_mut(self.first)?;
            self.first = (self.first + 1) % N;
            return Some(core::mem::replace(slot, value));
        }
        let at = (self.first + self.count) % N;
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = value;
            self.count += 1;
        }
        None
    }

    /// Takes the oldest.
    pub fn pop(&mut self) -> Option<T> {
        let oldest = *self.first()?;
        self.first = (self.first + 1) % N;
        self.count -= 1;
        Some(oldest)
    }

    /// Takes the newest.
    pub fn pop_last(&mut self) -> Option<T> {
        let newest = *self.last()?;
        self.count -= 1;
        Some(newest)
    }
}

impl<T, const N: usize> Ring<T, N> {
    /// The oldest.
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        self.get(0)
    }

    /// The newest.
    #[must_use]
    pub fn last(&self) -> Option<&T> {
        self.get(self.count.checked_sub(1)?)
    }

    /// The value at `index`, counted from the oldest.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&T> {
        if index >= self.count {
            return None;
        }
        self.slots.get((self.first + index) % N)
    }

    /// From the oldest to the newest.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + '_ {
        (0..self.count).filter_map(|index| self.get(index))
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the next one makes the oldest give way.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.count == N
    }

    /// Forgets them all.
    pub const fn clear(&mut self) {
        self.count = 0;
    }
}

impl<T: Copy + Default, const N: usize> Default for Ring<T, N> {
    fn default() -> Self {
        Self::new()
    }
}
