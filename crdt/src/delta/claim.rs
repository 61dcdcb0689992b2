//! That a delta carries what it claims.

use alloc::vec::Vec;

use crate::{Delta, Dot, DotStore, Interval, IntervalVersionVector, VersionVector};

impl<S: DotStore> Delta<S> {
    /// The first event that is claimed and not carried: neither alive in the store, nor a removal in the log, nor
    /// removed by the log.
    pub(crate) fn first_overclaim(&self) -> Option<Dot> {
        self.overclaims().next()
    }

    /// Of each replica the first such event.
    pub(crate) fn overclaims(&self) -> impl Iterator<Item = Dot> + '_ {
        let mut carried: Vec<Interval> = Vec::new();
        self.store
            .for_each_after(&VersionVector::new(), &mut |dot| carried.push(dot.into()));
        for (replica, runs) in self.log.runs() {
            for run in runs {
                carried.extend(run.removed());
                // Had it put something that died of an event not carried, its being in the log would hide that.
                if !run.puts {
                    carried.extend(Interval::new(replica, run.first, run.last()));
                }
            }
        }
        let carried = IntervalVersionVector::of(carried);
        self.events()
            .filter_map(move |claimed| carried.first_missing(claimed))
    }

    /// Something that is held, spoken of or removed without being claimed as known. Removed dots are not held either.
    pub(crate) fn first_unclaimed(&self) -> Option<Dot> {
        let mut unclaimed = None;
        self.store
            .for_each_after(&VersionVector::new(), &mut |dot| {
                if self.from.covers(dot) || !self.to.covers(dot) {
                    unclaimed = Some(dot);
                }
            });
        self.store.for_each_named(&mut |dot| {
            if !self.to.covers(dot) {
                unclaimed = Some(dot);
            }
        });
        for (replica, runs) in self.log.runs() {
            for run in runs {
                if run.first <= self.from.get(replica) || run.last() > self.to.get(replica) {
                    unclaimed = Dot::new(replica, run.last());
                }
            }
        }
        if let Some(alive) = &self.alive {
            let beyond = |dots: &Interval| dots.last() > self.from.get(dots.replica());
            if let Some(dots) = alive.iter().find(beyond) {
                unclaimed = Dot::new(dots.replica(), dots.last());
            }
        }
        unclaimed.or_else(|| self.log.first_removed_beyond(&self.to))
    }

    /// A dot that is held, though the log removed it.
    pub(crate) fn first_held_though_removed(&self) -> Option<Dot> {
        let removed = self.log.all_removed();
        let mut held = None;
        self.store
            .for_each_after(&VersionVector::new(), &mut |dot| {
                if removed.contains(dot) {
                    held = Some(dot);
                }
            });
        held
    }
}
