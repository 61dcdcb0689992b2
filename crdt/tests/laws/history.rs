//! Random histories of three replicas: writes, deltas late, repeated and out of order, joins, and cuts of the log.
//! After every step each replica whose events are causally closed must show what a naive reading of them says.

use std::fmt::Debug;

use peaberry_crdt::wire::StoreCodec;
use peaberry_crdt::{
    ApplyError, Causal, Delta, Dot, Edit, Lattice, Mint, ReplicaId, VersionVector, WriteError,
    Writer,
};
use proptest::prelude::*;

pub(crate) const REPLICAS: usize = 3;

/// One event as the naive reading has it.
#[derive(Clone, Debug)]
pub(crate) struct Event<O> {
    pub(crate) dot: Dot,
    pub(crate) op: O,
    /// What its writer knew.
    pub(crate) seen: VersionVector,
}

/// A type under test, and what it should show.
pub(crate) trait Subject {
    type Store: StoreCodec;
    type Op: Clone + Debug;
    type View: PartialEq + Debug;

    /// An operation from two random numbers, and the state it is about to be done to.
    fn op(store: &Self::Store, choice: u8, detail: u8) -> Self::Op;
    fn edit(
        store: &Self::Store,
        mint: Mint,
        op: &Self::Op,
    ) -> Result<Edit<Self::Store>, WriteError>;
    fn view(store: &Self::Store) -> Self::View;
    /// What the events say, read without any of the crate's merging.
    fn specification(events: &[Event<Self::Op>]) -> Self::View;
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Write {
        at: usize,
        choice: u8,
        detail: u8,
    },
    /// Any delta ever written arrives somewhere, in whatever order.
    Deliver {
        delta: prop::sample::Index,
        to: usize,
    },
    Sync {
        from: usize,
        to: usize,
    },
    /// A delta made for an older vector than the receiver's.
    SyncStale {
        from: usize,
        to: usize,
        known: prop::sample::Index,
    },
    Join {
        from: usize,
        to: usize,
    },
    /// Cuts the whole log: later peers are told what is alive.
    Collect {
        at: usize,
    },
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let replica = || 0..REPLICAS;
    let step = prop_oneof![
        6 => (replica(), any::<u8>(), any::<u8>()).prop_map(|(at, choice, detail)| Step::Write { at, choice, detail }),
        4 => (any::<prop::sample::Index>(), replica()).prop_map(|(delta, to)| Step::Deliver { delta, to }),
        2 => (replica(), replica()).prop_map(|(from, to)| Step::Sync { from, to }),
        1 => (replica(), replica(), any::<prop::sample::Index>())
            .prop_map(|(from, to, known)| Step::SyncStale { from, to, known }),
        1 => (replica(), replica()).prop_map(|(from, to)| Step::Join { from, to }),
        1 => replica().prop_map(|at| Step::Collect { at }),
    ];
    prop::collection::vec(step, 0..60)
}

pub(crate) struct World<T: Subject> {
    pub(crate) states: Vec<Causal<T::Store>>,
    writers: Vec<Writer>,
    events: Vec<Event<T::Op>>,
    pub(crate) deltas: Vec<Delta<T::Store>>,
    /// The vectors each replica has had.
    past: Vec<Vec<VersionVector>>,
}

impl<T: Subject> World<T> {
    pub(crate) fn run(steps: &[Step]) -> Self {
        let writer = |number| Writer::new(ReplicaId::new(number).unwrap(), 0, 1000);
        let mut world = Self {
            states: vec![Causal::bottom(); REPLICAS],
            writers: (1..=REPLICAS as u128).map(writer).collect(),
            events: Vec::new(),
            deltas: Vec::new(),
            past: vec![vec![VersionVector::new()]; REPLICAS],
        };
        for step in steps {
            let changed = world.step(step);
            world.past[changed].push(world.states[changed].vector().clone());
            world.check_specification(changed);
        }
        world
    }

    fn step(&mut self, step: &Step) -> usize {
        match step {
            Step::Write { at, choice, detail } => self.write(*at, *choice, *detail),
            Step::Deliver { delta, to } => {
                if !self.deltas.is_empty() {
                    let delta = delta.get(&self.deltas);
                    let before = self.states[*to].clone();
                    let gap = !delta.from().partial_le(before.vector());
                    let result = self.states[*to].apply(delta);
                    assert_eq!(matches!(result, Err(ApplyError::Gap { .. })), gap);
                    assert!(
                        !gap || self.states[*to] == before,
                        "a refused delta changed the state"
                    );
                }
                *to
            }
            Step::Sync { from, to } => {
                let delta = self.states[*from].delta_since(self.states[*to].vector());
                self.states[*to].apply(&delta).unwrap();
                *to
            }
            Step::SyncStale { from, to, known } => {
                let delta = self.states[*from].delta_since(known.get(&self.past[*to]));
                self.states[*to].apply(&delta).unwrap();
                *to
            }
            Step::Join { from, to } => {
                let other = self.states[*from].clone();
                self.states[*to].join(&other);
                *to
            }
            Step::Collect { at } => {
                let everything = self.states[*at].vector().clone();
                self.states[*at].collect(&everything);
                assert_eq!(self.states[*at].log_bytes(), 0);
                *at
            }
        };
        match step {
            Step::Write { at, .. } | Step::Collect { at } => *at,
            Step::Deliver { to, .. }
            | Step::Sync { to, .. }
            | Step::SyncStale { to, .. }
            | Step::Join { to, .. } => *to,
        }
    }

    /// Also the mutator law: the write does what its delta does.
    fn write(&mut self, at: usize, choice: u8, detail: u8) -> usize {
        let state = &mut self.states[at];
        let mut twin = state.clone();
        let op = T::op(state.value(), choice, detail);
        let mut dot = None;
        let write = state.write(&mut self.writers[at], |store, mint| {
            dot = Some(mint.dot());
            T::edit(store, mint, &op)
        });
        let delta = write.unwrap();
        twin.apply(&delta).unwrap();
        assert_eq!(*state, twin);
        if !delta.is_empty() {
            let dot = dot.unwrap();
            let carried: Vec<_> = delta.events().collect();
            assert_eq!(carried, [dot.into()], "a write claims its own event alone");
            let seen = self.past[at].last().unwrap().clone();
            assert!(delta.from().partial_le(&seen));
            self.events.push(Event { dot, op, seen });
            self.deltas.push(delta);
        }
        at
    }

    /// A write's delta may come before events that its writer had seen and it does not depend on. What is seen then is
    /// no moment of any history; the delta laws still hold.
    pub(crate) fn check_specification(&self, at: usize) {
        let state = &self.states[at];
        if self.is_closed(state.vector()) {
            self.check_shows(state);
        }
    }

    /// Whether with each event all is known that its writer knew.
    pub(crate) fn is_closed(&self, known: &VersionVector) -> bool {
        self.known(known).all(|event| event.seen.partial_le(known))
    }

    /// That a state shows what its events say.
    pub(crate) fn check_shows(&self, state: &Causal<T::Store>) {
        let known: Vec<_> = self.known(state.vector()).cloned().collect();
        assert_eq!(
            T::view(state.value()),
            T::specification(&known),
            "known: {known:?}"
        );
    }

    fn known(&self, known: &VersionVector) -> impl Iterator<Item = &Event<T::Op>> {
        let known = known.clone();
        self.events
            .iter()
            .filter(move |event| known.covers(event.dot))
    }
}

/// The events that no known event, having seen them, overrides.
pub(crate) fn survivors<O>(
    events: &[Event<O>],
    overrides: impl Fn(&O, &O) -> bool,
) -> Vec<&Event<O>> {
    let survives = |event: &&Event<O>| {
        !events
            .iter()
            .any(|later| later.seen.covers(event.dot) && overrides(&later.op, &event.op))
    };
    let mut alive: Vec<_> = events.iter().filter(survives).collect();
    alive.sort_by_key(|event| event.dot);
    alive
}
