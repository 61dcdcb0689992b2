//! A replicated document: a store, what it knows, and what was removed.

mod message;
mod order;
mod part;

use alloc::vec::Vec;

use crate::arrivals::Arrivals;
use crate::mutant;
use crate::removal_log::{LogRun, REMOVAL_LOG_BYTES_MAX, RemovalLog};
use crate::{
    ApplyError, Bounds, Changed, Delta, Dot, DotStore, Edit, Interval, IntervalVersionVector,
    Lattice, Limits, Mint, Outgrown, VersionVector, WriteError, Writer,
};

/// A store with the vector of events it knows.
///
/// Every event has a dot, removals too. Let `puts(e)` be what event `e` put and `removes(e)` the dots that it removed.
/// A state that knows the events `K` holds
///
/// > `store(K)` = all `puts(e)`, without the dots of all `removes(e)`, for `e` in `K`
///
/// and `K` obeys two rules:
///
/// 1. The events of a replica are known without gaps: `K` is a vector.
/// 2. An event is known only with all dots that it removed.
///
/// So equal vectors mean equal states, whatever way the events came. The log says which event removed which dots. It is
/// no part of equality, and it may be cut: up to its floor, events may be missing from it.
///
/// # What a delta needs
///
/// A delta stands for a set of events `R`. It has `store(R)` and the log of `R`. Applying it to `K` gives `store(K ∪ R)`
/// if only `K ∪ R` obeys the rules, that is, if `K` knows
///
/// - for each replica in `R`, its events up to the first in `R`,
/// - the dots that `R` removes and that are not in `R`, and
/// - those that what `R` puts speaks of, such as the way to an element of a list. Without them the element could be shown
///   as well; but a state would speak of replicas that its vector does not tell.
///
/// That, and nothing else, is what [`Delta::from`] asks for: not the whole vector of the writer. For a dot that is new
/// in `R`, no event of `K` can have removed it, by rule 2; for one that both know, `R`'s own copy is skipped, and if an
/// event of `R` removed it, the log says so.
///
/// It takes one thing of `R` itself: a dot of `R` that is dead must have been removed by an event of `R`. Otherwise a
/// receiver would hold a dot as dead without knowing the event that removed it, and would differ from others with the
/// same vector. A delta of one event has it trivially. A delta since the vector of a state has it by rule 2, as far as
/// the log reaches back. Where it does not, or the vector is none that a state can have, the delta tells which of the
/// receiver's dots are alive instead, and then asks for the whole of the vector it was made for. Whatever way a delta
/// was made or read, this is checked: each event it claims is alive in its store, a removal in its log, or removed by
/// its log. **It cannot claim what it does not carry.**
///
/// A delta may come before other events that its writer had seen and it does not depend on. Then, until they arrive, a
/// value that they removed can be read beside the one written after. Replicas that apply what
/// [`delta_since`](Self::delta_since) made for their own vector see causally closed states only.
///
/// # Cost
///
/// A write, a delta and a join cost what they carry, times a logarithm of the state. Only for a peer behind the log's
/// floor is the state walked.
///
/// # Example
///
/// ```
/// use peaberry_crdt::{AddWinsSet, Causal, Lattice, ReplicaId, Writer};
///
/// let mut here: Causal<AddWinsSet<&str>> = Causal::bottom();
/// let mut there = Causal::bottom();
/// let mut writer = Writer::new(ReplicaId::new(1).unwrap(), 0, 1000);
/// let add = here.write(&mut writer, |set, mint| Ok(set.add(mint, "tea"))).unwrap();
/// let remove = here.write(&mut writer, |set, _| Ok(set.remove(&"tea"))).unwrap();
/// assert!(there.apply(&remove).is_err()); // a gap
/// there.apply(&add).unwrap();
/// assert!(there.value().contains(&"tea"));
/// there.apply(&remove).unwrap();
/// there.apply(&add).unwrap(); // late and repeated: changes nothing
/// assert!(!there.value().contains(&"tea"));
/// assert_eq!(here, there);
/// ```
#[derive(Clone, Debug)]
pub struct Causal<S> {
    store: S,
    context: VersionVector,
    log: RemovalLog,
    log_bytes_max: usize,
    arrivals: Arrivals,
}

impl<S: PartialEq> PartialEq for Causal<S> {
    fn eq(&self, other: &Self) -> bool {
        self.context == other.context && self.store == other.store
    }
}

impl<S: Eq> Eq for Causal<S> {}

/// [`bottom`](Lattice::bottom): knows nothing.
impl<S: DotStore> Default for Causal<S> {
    fn default() -> Self {
        Self::bottom()
    }
}

impl<S: DotStore> Causal<S> {
    /// The state.
    #[must_use]
    pub const fn value(&self) -> &S {
        &self.store
    }

    /// The events known.
    #[must_use]
    pub const fn vector(&self) -> &VersionVector {
        &self.context
    }

    /// Carries out one edit as the writer's next event and returns it as a delta. An edit that changes nothing mints
    /// no dot and gives an empty delta.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; neither the state nor the writer changed.
    pub fn write(
        &mut self,
        writer: &mut Writer,
        edit: impl FnOnce(&S, Mint) -> Result<Edit<S>, WriteError>,
    ) -> Result<Delta<S>, WriteError> {
        let mint = writer.next(&self.context)?;
        let edit = edit(&self.store, mint)?;
        if edit.store.is_empty() && mutant::loses_removals_from::<S>() {
            for removed in edit.removed.iter() {
                self.store.remove(removed);
            }
            return self.delta_of(mint.dot(), Edit::nothing());
        }
        let delta = self.delta_of(mint.dot(), edit)?;
        if !delta.is_empty() {
            self.check_growth(&delta, writer.bounds())?;
            self.check_stamps(&delta.store, writer)?;
            writer.advance();
            self.merge(&delta.to, &delta.store, &delta.log, None);
        }
        Ok(delta)
    }

    /// What this state has over one that knows `known`.
    #[must_use]
    pub fn delta_since(&self, known: &VersionVector) -> Delta<S> {
        let from = known.meet(&self.context);
        let mut store = S::default();
        self.store.copy_after(&from, &mut store);
        let mut log = RemovalLog::default();
        for (replica, run) in self.log.between(&from, None) {
            if !mutant::is_planted("over_claiming_delta") {
                log.push(replica, run);
            }
        }
        if self.log.floor().partial_le(&from) {
            let mut delta = Delta::of_events(&from, &self.context, store, log);
            if delta.events().nth(1).is_some() {
                delta.arrivals = self.arrivals.after(&from);
            }
            if delta.first_overclaim().is_none() || mutant::lets_overclaims_pass() {
                return delta;
            }
            (store, log) = (delta.store, delta.log);
        }
        let alive = self.alive_up_to(&from);
        log.cut(self.log.floor());
        Delta {
            from,
            to: self.context.clone(),
            store,
            log,
            alive: Some(alive),
            arrivals: Arrivals::default(),
        }
    }

    /// Joins a delta.
    ///
    /// # Errors
    ///
    /// [`ApplyError::Gap`] if the state does not know what the delta starts from, [`ApplyError::Conflict`] if the
    /// delta has another value for an event whose value is held; the state did not change. A conflict is seen only
    /// while both values are there to compare.
    pub fn apply(&mut self, delta: &Delta<S>) -> Result<Changed, ApplyError> {
        self.apply_within(delta, &Limits::NONE)
    }

    /// Joins a delta whose new values, and what the state is with them, keep within `limits`. For what comes from others.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply), and [`ApplyError::FarFuture`], [`ApplyError::Jump`] and [`ApplyError::Outgrown`]; the
    /// state did not change.
    pub fn apply_within(
        &mut self,
        delta: &Delta<S>,
        limits: &Limits,
    ) -> Result<Changed, ApplyError> {
        if let Some(replica) = self.context.first_behind(&delta.from)
            && !mutant::is_planted("gap_accepted")
        {
            let (known, from) = (self.context.get(replica), delta.from.get(replica));
            return Err(ApplyError::Gap {
                replica,
                known,
                from,
            });
        }
        self.admit(&delta.store, limits)?;
        self.check_growth(delta, limits.bounds)?;
        let Some(alive) = &delta.alive else {
            return Ok(self.merge(&delta.to, &delta.store, &delta.log, None));
        };
        let is_alive = |dot| alive.contains(dot) || delta.store.contains_dot(dot);
        Ok(self.merge(&delta.to, &delta.store, &delta.log, Some(&is_alive)))
    }

    /// Joins a whole state, as [`join`](Lattice::join), unless it holds another value for an event whose value is held
    /// here, or new values beyond `limits`, or the two together outgrow them. For what comes from others. Costs a walk over
    /// the other state.
    ///
    /// # Errors
    ///
    /// [`ApplyError`] but for a gap; the state did not change.
    pub fn try_join(&mut self, other: &Self, limits: &Limits) -> Result<Changed, ApplyError> {
        self.admit(&other.store, limits)?;
        if limits.bounds == Bounds::NONE {
            return Ok(self.join(other));
        }
        let held = self.store.dot_count();
        self.check_ids(&other.context, limits.bounds)?;
        if held.saturating_add(other.store.dot_count()) <= limits.bounds.dots_max {
            return Ok(self.join(other));
        }
        let mut joined = self.clone();
        let changed = joined.join(other);
        limits.bounds.check_dots(held, joined.store.dot_count())?;
        *self = joined;
        Ok(changed)
    }

    /// Drops from the removal log what every replica knows: `stable` is the [`meet`](VersionVector::meet) of all
    /// members' acknowledged vectors. A vector that is too high costs bytes, not correctness: peers behind it are
    /// told what is alive instead.
    pub fn collect(&mut self, stable: &VersionVector) -> Changed {
        if mutant::is_planted("gc_before_stability") {
            self.log.forget();
            return Changed::No;
        }
        self.arrivals.forget(stable);
        self.log.cut(&stable.meet(&self.context))
    }

    /// Keeps the removal log within `bytes_max` from now on; [`REMOVAL_LOG_BYTES_MAX`](crate::REMOVAL_LOG_BYTES_MAX)
    /// at first.
    pub fn limit_log(&mut self, bytes_max: usize) {
        self.log_bytes_max = bytes_max;
        self.log.limit(bytes_max);
    }

    /// About how many bytes the removal log takes.
    #[must_use]
    pub const fn log_bytes(&self) -> usize {
        self.log.bytes()
    }

    fn delta_of(&self, event: Dot, edit: Edit<S>) -> Result<Delta<S>, WriteError> {
        if edit.is_nothing() {
            return Ok(Delta {
                from: VersionVector::new(),
                to: VersionVector::new(),
                store: edit.store,
                log: RemovalLog::default(),
                alive: None,
                arrivals: Arrivals::default(),
            });
        }
        let mut foreign = None;
        edit.store
            .for_each_after(&VersionVector::new(), &mut |dot| {
                if dot != event {
                    foreign = Some(dot);
                }
            });
        if let Some(dot) = foreign {
            return Err(WriteError::ForeignDot { event, dot });
        }
        if edit.store.pieces_at(event) > 1 {
            return Err(WriteError::DotTwice { event });
        }
        let mut from = VersionVector::new();
        from.raise(event.replica(), event.counter() - 1);
        // The receiver must know each removed dot, or a late add would bring it back.
        for removed in edit.removed.iter() {
            if self.context.get(removed.replica()) < removed.last() {
                let dot = Dot::new(removed.replica(), removed.last())
                    .expect("an interval ends at one or above");
                return Err(WriteError::ForeignDot { event, dot });
            }
            from.raise(removed.replica(), removed.last());
        }
        // And each that the new is placed beside, or nobody could tell how many replicas a state speaks of.
        let mut unknown = None;
        edit.store.for_each_named(&mut |dot| {
            if dot != event && !self.context.covers(dot) {
                unknown = Some(dot);
            } else if dot.replica() != event.replica() {
                from.raise(dot.replica(), dot.counter());
            }
        });
        if let Some(dot) = unknown {
            return Err(WriteError::ForeignDot { event, dot });
        }
        let mut to = from.clone();
        let mut log = RemovalLog::default();
        to.raise(event.replica(), event.counter());
        let puts = !edit.store.is_empty();
        if let Some(run) = LogRun::one(event.counter(), puts, edit.removed) {
            log.push(event.replica(), run);
        }
        Ok(Delta {
            from,
            to,
            store: edit.store,
            log,
            alive: None,
            arrivals: Arrivals::default(),
        })
    }

    /// Whether what another has may be joined: no second value for an event, and within `limits` what is new.
    fn admit(&self, store: &S, limits: &Limits) -> Result<(), ApplyError> {
        let mut conflict = None;
        store.for_each_after(&VersionVector::new(), &mut |dot| {
            if self.store.contains_dot(dot) && !self.store.same_at(store, dot) {
                conflict = Some(dot);
            }
        });
        if let Some(dot) = conflict {
            return Err(ApplyError::Conflict {
                replica: dot.replica(),
                counter: dot.counter(),
            });
        }
        if limits.are_of_values() {
            self.store.admit(store, &self.context, limits)?;
        }
        Ok(())
    }

    /// Whether others will let pass the stamps of an own write. The state is walked only if what the writer knows already
    /// does not tell.
    fn check_stamps(&self, store: &S, writer: &mut Writer) -> Result<(), WriteError> {
        let refused = |limits: Limits| match self.store.admit(store, &self.context, &limits) {
            Err(ApplyError::FarFuture(far)) => Err(WriteError::FarFuture(far)),
            _ => Ok(()),
        };
        if !writer.limits().are_of_values() || refused(writer.limits()).is_ok() {
            return Ok(());
        }
        self.store
            .for_each_stamp(&mut |dot, stamp| writer.finds(dot, stamp.wall_ms));
        refused(writer.limits())
    }

    /// Whether the state with the delta keeps within its bounds.
    fn check_growth(&self, delta: &Delta<S>, bounds: Bounds) -> Result<(), Outgrown> {
        if bounds == Bounds::NONE {
            return Ok(());
        }
        self.check_ids(&delta.to, bounds)?;
        let (held, mut more) = (self.store.dot_count(), 0);
        delta
            .store
            .for_each_after(&self.context, &mut |_| more += 1);
        if held.saturating_add(more) <= bounds.dots_max {
            return Ok(());
        }
        bounds.check_dots(held, held + more - self.count_removed_by(delta))
    }

    fn check_ids(&self, to: &VersionVector, bounds: Bounds) -> Result<(), Outgrown> {
        bounds.check_ids(self.context.iter().len(), self.context.count_new(to))
    }

    /// How many dots a delta removes. Costs what it tells to be removed, or a walk of the state if that is less.
    fn count_removed_by(&self, delta: &Delta<S>) -> usize {
        let mut intervals = Vec::new();
        for (_, run) in delta.log.between(&self.context, None) {
            intervals.extend(run.removed());
        }
        let removed = IntervalVersionVector::of(intervals);
        let told = removed.iter().map(|dots| dots.len());
        let told = told.fold(0, u64::saturating_add);
        if delta.alive.is_none() && told < self.store.dot_count() as u64 {
            let dots = removed.iter().flat_map(|dots| {
                let counters = dots.first()..=dots.last();
                counters.filter_map(move |counter| Dot::new(dots.replica(), counter))
            });
            return dots.filter(|dot| self.store.contains_dot(*dot)).count();
        }
        let mut count = 0;
        self.store
            .for_each_after(&VersionVector::new(), &mut |dot| {
                let is_dead = delta.alive.as_ref().is_some_and(|alive| {
                    delta.to.covers(dot) && !alive.contains(dot) && !delta.store.contains_dot(dot)
                });
                count += usize::from(is_dead || removed.contains(dot));
            });
        count
    }

    fn alive_up_to(&self, known: &VersionVector) -> IntervalVersionVector {
        let mut alive = Vec::new();
        self.store
            .for_each_after(&VersionVector::new(), &mut |dot| {
                if known.covers(dot) {
                    alive.push(dot);
                }
            });
        alive.sort_unstable();
        alive.into_iter().collect()
    }

    /// The one way in which anything is joined; the caller has checked that there is no gap.
    fn merge(
        &mut self,
        to: &VersionVector,
        store: &S,
        log: &RemovalLog,
        is_alive: Option<&dyn Fn(Dot) -> bool>,
    ) -> Changed {
        if to.partial_le(&self.context) {
            return Changed::No;
        }
        store.copy_after(&self.context, &mut self.store);
        for (replica, run) in log.between(&self.context, None) {
            for interval in run.removed() {
                self.store.remove(interval);
            }
            self.log.push(replica, run);
        }
        if let Some(is_alive) = is_alive {
            self.remove_dead(to, is_alive);
            // These removals came without their events, so they cannot be passed on as events.
            self.log.cut(log.floor());
        }
        self.arrivals.record(&self.context, to);
        self.context.join(to);
        self.log.limit(self.log_bytes_max);
        Changed::Yes
    }

    fn remove_dead(&mut self, to: &VersionVector, is_alive: &dyn Fn(Dot) -> bool) {
        let mut dead = Vec::new();
        self.store
            .for_each_after(&VersionVector::new(), &mut |dot| {
                if to.covers(dot) && !is_alive(dot) {
                    dead.push(dot);
                }
            });
        for dot in dead {
            self.store.remove(Interval::from(dot));
        }
    }
}

impl<S: DotStore> Lattice for Causal<S> {
    fn bottom() -> Self {
        Self {
            store: S::default(),
            context: VersionVector::new(),
            log: RemovalLog::default(),
            log_bytes_max: REMOVAL_LOG_BYTES_MAX,
            arrivals: Arrivals::default(),
        }
    }

    /// Joins a whole state. States with equal vectors are equal, and cost only the comparison of the vectors. It does not
    /// look whether the two hold different values for one event, as when two writers have used one id: the value held
    /// here stays then. For a state that comes from others there is [`try_join`](Self::try_join).
    fn join(&mut self, other: &Self) -> Changed {
        if other.log.floor().partial_le(&self.context) {
            return self.merge(&other.context, &other.store, &other.log, None);
        }
        self.merge(
            &other.context,
            &other.store,
            &other.log,
            Some(&|dot| other.store.contains_dot(dot)),
        )
    }

    fn partial_le(&self, other: &Self) -> bool {
        self.context.partial_le(&other.context)
    }
}
