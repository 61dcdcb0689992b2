//! The flight recorder (being built).

use std::marker::PhantomData;

use crate::clock::Instant;
use crate::effects::{Outbox, OutboxMark};
use crate::protocol::{Input, Protocol, Turn};

/// Records one protocol's inputs and a digest of its effects.
#[derive(Debug)]
pub struct Recording<P: Protocol> {
    protocol: PhantomData<fn(P)>,
}

impl<P: Protocol> Recording<P> {
    pub(crate) fn input(&mut self, _now: Instant, _input: &Input<P::Command>) {}

    pub(crate) fn effects(
        &mut self,
        _now: Instant,
        _turn: Turn,
        _outbox: &Outbox,
        _mark: OutboxMark,
    ) {
    }
}
