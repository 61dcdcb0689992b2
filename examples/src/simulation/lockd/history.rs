use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use peaberry_core::simulation::World;
use peaberry_core::simulation::linearizability::{
    History, Model, OperationId, Verdict, check_by_key,
};
use peaberry_core::{Instant, PeerId};
use peaberry_lockd::fence::{Gate, Token};
use peaberry_lockd::{Guard, LockError, LockPath};

use crate::simulation::{Reached, Run};

/// How long the search for one order may take, for each lock.
const STEPS_MAX: u64 = 2_000_000;

const GUARD_LOST: &str = "guard_lost";
const GRANTED_TOO_LATE: &str = "granted_too_late";
const RELEASE_UNCONFIRMED: &str = "release_unconfirmed";
const DIED_ASKING: &str = "client_died_asking";
const DIED_HOLDING: &str = "client_died_holding";
pub(super) const SNAPSHOT_TAKEN: &str = "snapshot_taken";
pub(super) const SNAPSHOT_RECEIVED: &str = "snapshot_received";

/// What clients do with one lock.
#[derive(Debug)]
enum Step {
    Acquire(LockPath),
    Release(LockPath, Token),
    /// The end of a hold that its holder did not confirm: it comes at some time, or never.
    End(LockPath, Token),
}

impl Step {
    const fn path(&self) -> &LockPath {
        match self {
            Self::Acquire(path) | Self::Release(path, _) | Self::End(path, _) => path,
        }
    }
}

/// One exclusive lock whose tokens grow.
struct Exclusive;

impl Model for Exclusive {
    /// Who holds it, and the last token.
    type State = (Option<Token>, Option<Token>);
    type Operation = Step;
    /// The token, for an acquire.
    type Response = Option<Token>;

    fn initial(&self) -> Self::State {
        (None, None)
    }

    fn apply(
        &self,
        &(held, last): &Self::State,
        step: &Step,
        response: Option<&Option<Token>>,
    ) -> Option<Self::State> {
        match step {
            Step::Acquire(_) => {
                let token = response.copied().flatten();
                (held.is_none() && last < token).then_some((token, token))
            }
            Step::Release(_, token) | Step::End(_, token) => {
                (held == Some(*token)).then_some((None, last))
            }
        }
    }
}

/// What all clients saw.
pub(super) struct Seen {
    history: History<Step, Option<Token>>,
    /// Who may take itself for a holder, by lock.
    holders: BTreeMap<LockPath, Vec<(PeerId, Arc<Guard>)>>,
    last: BTreeMap<LockPath, Token>,
    /// Every token that was seen, on any lock.
    tokens: BTreeSet<Token>,
    gates: BTreeMap<LockPath, Gate>,
    asking: BTreeMap<PeerId, OperationId>,
    /// Names for operations that nobody's next one waits for: above every peer's.
    anonymous: u64,
    violations: Vec<String>,
    operations: u64,
    reached: Reached,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            history: History::new(),
            holders: BTreeMap::new(),
            last: BTreeMap::new(),
            tokens: BTreeSet::new(),
            gates: BTreeMap::new(),
            asking: BTreeMap::new(),
            anonymous: 1 << 32,
            violations: Vec::new(),
            operations: 0,
            reached: Reached::of(&[
                GUARD_LOST,
                GRANTED_TOO_LATE,
                RELEASE_UNCONFIRMED,
                DIED_ASKING,
                DIED_HOLDING,
                SNAPSHOT_TAKEN,
                SNAPSHOT_RECEIVED,
            ]),
        }
    }
}

impl Seen {
    pub(super) const fn rounds(&self) -> u64 {
        self.operations
    }

    /// Something rare has happened.
    pub(super) fn reach(&mut self, name: &str) {
        self.reached.mark(name);
    }

    pub(super) fn complain(&mut self, complaint: String) {
        self.violations.push(complaint);
    }

    pub(super) fn asks(&mut self, who: PeerId, path: &LockPath) -> OperationId {
        let asked = self.history.invoke(who.get(), Step::Acquire(path.clone()));
        self.asking.insert(who, asked);
        asked
    }

    /// It may have been granted and ended again; nobody has seen it.
    pub(super) fn was_refused(&mut self, asked: OperationId) {
        self.asking.retain(|_, open| *open != asked);
        self.history.retract(asked);
    }

    /// A guard has come. Answers whether it is valid still.
    pub(super) fn holds(
        &mut self,
        who: PeerId,
        asked: OperationId,
        path: &LockPath,
        guard: &Arc<Guard>,
    ) -> bool {
        if guard.valid_for().is_zero() {
            self.reach(GRANTED_TOO_LATE);
            self.was_refused(asked);
            return false;
        }
        self.asking.remove(&who);
        self.operations += 1;
        let token = guard.token();
        self.history.complete(asked, Some(token));
        let holders = self.holders.entry(path.clone()).or_default();
        for (other, held) in holders.iter() {
            if !held.valid_for().is_zero() {
                let complaint =
                    format!("{who} ({token}) and {other} ({}) hold {path}", held.token());
                self.violations.push(complaint);
            }
        }
        holders.push((who, guard.clone()));
        if self.last.insert(path.clone(), token) >= Some(token) {
            self.complain(format!("token {token} of {path} is not above the last"));
        }
        if !self.tokens.insert(token) {
            self.complain(format!("token {token} was given out twice"));
        }
        let gate = self.gates.entry(path.clone()).or_default();
        if let Err(stale) = gate.admit(token, guard.floor()) {
            self.complain(format!("the gate of {path} turned a holder away: {stale}"));
        }
        true
    }

    /// Ends the holds that are no longer certain: from now on others may be granted their locks, whether their holders
    /// look at their guards, wait for something else, or never come to it.
    pub(super) fn end_lost_holds(&mut self) {
        for _ in 0..self.end_where(|_, _, guard| guard.valid_for().is_zero()) {
            self.reach(GUARD_LOST);
        }
    }

    /// A holder drops its guard, unless the hold was lost before.
    pub(super) fn drops(&mut self, who: PeerId, path: &LockPath) {
        self.end_where(|other, held, _| other == who && held == path);
    }

    /// Ends some holds: each comes to its end some time from now on, and nobody confirms when. Answers how many.
    fn end_where(&mut self, ends: impl Fn(PeerId, &LockPath, &Guard) -> bool) -> usize {
        let mut count = 0;
        for (path, holders) in &mut self.holders {
            for (_, guard) in holders.extract_if(.., |(who, guard)| ends(*who, path, guard)) {
                count += 1;
                self.anonymous += 1;
                let end = Step::End(path.clone(), guard.token());
                self.history.invoke(self.anonymous, end);
            }
        }
        count
    }

    /// A holder stops using its lock and gives it back. Until that is answered it may have happened or not.
    pub(super) fn releases(&mut self, who: PeerId, path: &LockPath, token: Token) -> OperationId {
        if let Some(holders) = self.holders.get_mut(path) {
            holders.retain(|(other, _)| *other != who);
        }
        self.anonymous += 1;
        let release = Step::Release(path.clone(), token);
        self.history.invoke(self.anonymous, release)
    }

    pub(super) fn released(&mut self, releasing: OperationId, outcome: Result<(), LockError>) {
        if outcome.is_ok() {
            self.history.complete(releasing, None);
        } else {
            self.reach(RELEASE_UNCONFIRMED);
        }
    }

    /// A client's process has ended: it uses nothing any more.
    pub(super) fn died(&mut self, who: PeerId) {
        if let Some(asked) = self.asking.remove(&who) {
            self.history.retract(asked);
            self.reach(DIED_ASKING);
        }
        if self.end_where(|other, _, _| other == who) > 0 {
            self.reach(DIED_HOLDING);
        }
    }

    pub(super) fn conclude(mut self, world: &World) -> Run {
        let verdict = check_by_key(
            &Exclusive,
            &self.history,
            |step| step.path().clone(),
            STEPS_MAX,
        );
        if let Verdict::Violation(violation) = &verdict {
            let step = &self.history.get(violation.blocked).operation;
            self.complain(format!("not linearizable at {step:?}: {violation}"));
        }
        Run {
            virtual_time: world.now().since(Instant::default()),
            faults: world.faults(),
            own_faults: Reached::default(),
            reached: self.reached,
            covered: Vec::new(),
            operations: self.operations,
            violations: self.violations,
            unknown: u64::from(verdict == Verdict::Unknown),
            trace: world.trace().digest(),
        }
    }
}
