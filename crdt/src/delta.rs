//! What one state has over another.

mod claim;
mod message;
mod split;

pub(crate) use split::{Cuts, events_between};

use crate::arrivals::Arrivals;
use crate::removal_log::RemovalLog;
use crate::{DotStore, Interval, IntervalVersionVector, Lattice, VersionVector};

/// A set of events, in `(from, to]` of each replica: what is alive of them, and what they removed.
///
/// Only a write, [`Causal::delta_since`](crate::Causal::delta_since), [`split`](Self::split) and a validating decode
/// make one, so it carries all it claims. It may be lost, repeated and reordered: applied twice it changes nothing,
/// applied too early it is refused.
#[derive(Clone, Debug)]
pub struct Delta<S> {
    pub(crate) from: VersionVector,
    pub(crate) to: VersionVector,
    pub(crate) store: S,
    pub(crate) log: RemovalLog,
    /// For a peer that lacks events the log has dropped: which dots up to `from` are alive.
    pub(crate) alive: Option<IntervalVersionVector>,
    /// In which order the sender came to know the events, if they are of several replicas; for it to split by, and not
    /// told.
    pub(crate) arrivals: Arrivals,
}

impl<S: PartialEq> PartialEq for Delta<S> {
    fn eq(&self, other: &Self) -> bool {
        (&self.from, &self.to) == (&other.from, &other.to)
            && (&self.store, &self.log, &self.alive) == (&other.store, &other.log, &other.alive)
    }
}

impl<S: Eq> Eq for Delta<S> {}

impl<S> Delta<S> {
    /// What the receiver must know: the events before those carried, the dots they removed, and those that what they put
    /// speaks of, as the place of a list's element does of what it was put beside.
    #[must_use]
    pub const fn from(&self) -> &VersionVector {
        &self.from
    }

    /// What the receiver knows afterwards, beside what it knew.
    #[must_use]
    pub const fn to(&self) -> &VersionVector {
        &self.to
    }

    /// The events carried, one interval for each replica.
    pub fn events(&self) -> impl Iterator<Item = Interval> + '_ {
        self.to.since(&self.from)
    }

    /// What is alive of the events carried; for a look before applying, such as at stamps.
    #[must_use]
    pub const fn store(&self) -> &S {
        &self.store
    }

    /// Whether removals are told as the set of dots still alive, since the log no longer reaches back far enough.
    #[must_use]
    pub const fn is_beyond_log(&self) -> bool {
        self.alive.is_some()
    }

    /// Whether no event is carried.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events().next().is_none()
    }
}

impl<S: DotStore> Delta<S> {
    /// The events in `(known, upto]`, of which `store` and `log` are what is alive and what was removed. Asks only for
    /// what they need.
    pub(crate) fn of_events(
        known: &VersionVector,
        upto: &VersionVector,
        store: S,
        log: RemovalLog,
    ) -> Self {
        let (from, to) = claim_of(known, upto, &store, &log);
        Self {
            from,
            to,
            store,
            log,
            alive: None,
            arrivals: Arrivals::default(),
        }
    }
}

/// What the events in `(known, upto]` with this store and log need, and what they give.
fn claim_of<S: DotStore>(
    known: &VersionVector,
    upto: &VersionVector,
    store: &S,
    log: &RemovalLog,
) -> (VersionVector, VersionVector) {
    let (mut from, mut to) = (VersionVector::new(), VersionVector::new());
    for events in upto.since(known) {
        from.raise(events.replica(), events.first() - 1);
        to.raise(events.replica(), events.last());
    }
    let mut needed = VersionVector::new();
    // Those of a replica that is carried are carried themselves or come before.
    let mut need = |replica, counter| {
        if to.get(replica) == 0 {
            needed.raise(replica, counter);
        }
    };
    for (_, runs) in log.runs() {
        for removed in runs.iter().flat_map(|run| run.removed()) {
            need(removed.replica(), removed.last());
        }
    }
    store.for_each_named(&mut |dot| need(dot.replica(), dot.counter()));
    from.join(&needed);
    to.join(&needed);
    (from, to)
}
