use super::Sample;

/// Takes one sample at a time.
///
/// An implementer promises: constant time (amortised), no allocation, the same outputs for the same samples, and that a
/// sample that is no number changes nothing and yields nothing.
pub trait Operator {
    /// What it yields.
    type Output;

    /// Takes a sample; yields something or nothing.
    fn push(&mut self, sample: Sample) -> Option<Self::Output>;

    /// Feeds what this yields to `next`.
    fn then<B: Operator>(self, next: B) -> Then<Self, B>
    where
        Self: Operator<Output = Sample> + Sized,
    {
        Then { first: self, next }
    }

    /// Feeds the same samples to `other`, and yields what both say.
    fn beside<B: Operator>(self, other: B) -> Beside<Self, B>
    where
        Self: Sized,
    {
        Beside { one: self, other }
    }
}

/// One operator behind another: see [`Operator::then`].
#[derive(Clone, Copy, Debug)]
pub struct Then<A, B> {
    first: A,
    next: B,
}

impl<A: Operator<Output = Sample>, B: Operator> Operator for Then<A, B> {
    type Output = B::Output;

    #[inline]
    fn push(&mut self, sample: Sample) -> Option<B::Output> {
        self.next.push(self.first.push(sample)?)
    }
}

/// Two operators on the same samples: see [`Operator::beside`].
#[derive(Clone, Copy, Debug)]
pub struct Beside<A, B> {
    one: A,
    other: B,
}

impl<A: Operator, B: Operator> Operator for Beside<A, B> {
    type Output = (Option<A::Output>, Option<B::Output>);

    #[inline]
    fn push(&mut self, sample: Sample) -> Option<Self::Output> {
        match (self.one.push(sample), self.other.push(sample)) {
            (None, None) => None,
            both => Some(both),
        }
    }
}
