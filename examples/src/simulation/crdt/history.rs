//! Every event ever written, and what is wrong with what members show of them.

use std::collections::{BTreeMap, BTreeSet};

use peaberry_core::PeerId;
use peaberry_crdt::{Dot, Lattice as _, ReplicaId, VersionVector};

use super::document::{Document, Event, Op, View};

/// Violations that are kept of one run.
const VIOLATIONS_MAX: usize = 8;

/// What only the outside knows.
#[derive(Default)]
pub(super) struct History {
    events: Vec<Event>,
    dots: BTreeSet<Dot>,
    /// What was shown at each vector: equal vectors, equal states.
    shown: BTreeMap<Vec<(ReplicaId, u64)>, View>,
    /// Whether deltas of single writes are passed on, which may show an effect before a cause that it does not need.
    pub(super) is_passed_on: bool,
    pub(super) violations: Vec<String>,
}

impl History {
    pub(super) fn complain(&mut self, violation: String) {
        if self.violations.len() < VIOLATIONS_MAX && !self.violations.contains(&violation) {
            self.violations.push(violation);
        }
    }

    /// Takes note of an event as its writer makes it.
    pub(super) fn record(&mut self, dot: Dot, op: Op, seen: VersionVector) {
        if !self.dots.insert(dot) {
            self.complain(format!("event {dot:?} was minted twice"));
        }
        let event = Event::new(dot, op, seen, &self.events);
        self.events.push(event);
    }

    /// What `at` shows must follow from the events that it knows.
    pub(super) fn check(&mut self, at: PeerId, doc: &Document) {
        let (shown, specified) = (
            View::of(doc.value()),
            View::specified(&self.events, doc.vector()),
        );
        if shown != specified {
            let what = if shown.resurrected(&specified) {
                "resurrection"
            } else {
                "divergence"
            };
            self.complain(format!(
                "{what}: {at} shows {shown:?}, its events say {specified:?}"
            ));
        }
        self.check_causes(at, doc.vector());
        let key: Vec<_> = doc.vector().iter().collect();
        let before = self.shown.entry(key).or_insert_with(|| shown.clone());
        if *before != shown {
            let complaint = format!("divergence: {at} shows another state for an equal vector");
            self.complain(complaint);
        }
    }

    /// Whether `replica` ever wrote such a stamp.
    pub(super) fn has_stamp(&self, replica: ReplicaId, stamp_ms: u64) -> bool {
        let mut events = self.events.iter().filter(|it| it.dot.replica() == replica);
        events.any(|it| matches!(it.op, Op::Price(stamp, _) if stamp.wall_ms == stamp_ms))
    }

    /// Who knows an event knows all that its writer knew.
    fn check_causes(&mut self, at: PeerId, known: &VersionVector) {
        let mut events = self.events.iter().filter(|event| known.covers(event.dot));
        if !self.is_passed_on
            && let Some(event) = events.find(|event| !event.seen.partial_le(known))
        {
            let complaint = format!("divergence: {at} knows {:?} before its cause", event.dot);
            self.complain(complaint);
        }
    }
}
