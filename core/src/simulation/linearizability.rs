//! Whether what clients saw could have happened one after the other.
//!
//! A history is linearizable when every operation can be given a moment between its invocation and its response such
//! that a [`Model`], executing them in the order of these moments, answers what was answered. The search is that of
//! Wing and Gong (1993) with Lowe's memory of visited configurations (2017), over a doubly linked list of invocations
//! and responses.
//!
//! An operation without a response may have happened at any moment behind its invocation, or never. Each such operation
//! widens the search, so bound how many a harness abandons on one key; a search that gives up is
//! [`Unknown`](Verdict::Unknown), which is not a pass.
//!
//! # Example
//!
//! ```
//! use peaberry_core::simulation::linearizability::{History, Model, Verdict, check};
//!
//! /// A number that can be written (`Some`) and read (`None`).
//! struct Register;
//! impl Model for Register {
//!     type State = u64;
//!     type Operation = Option<u64>;
//!     type Response = u64;
//!     fn initial(&self) -> u64 { 0 }
//!     fn apply(&self, state: &u64, operation: &Option<u64>, response: Option<&u64>) -> Option<u64> {
//!         let next = operation.unwrap_or(*state);
//!         response.is_none_or(|&seen| seen == next).then_some(next)
//!     }
//! }
//!
//! let mut history = History::new();
//! let write = history.invoke(1, Some(5));
//! history.complete(write, 5);
//! let read = history.invoke(2, None);
//! history.complete(read, 0);
//! assert!(matches!(check(&Register, &history, 1_000), Verdict::Violation(_)), "the read is stale");
//! ```

mod history;
mod memory;
mod search;

use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hash;

pub use self::history::{History, OperationId, Recorded};
use self::search::search;

/// What a correct service does, executing one operation after the other.
pub trait Model {
    /// What it remembers. Keep it small: the search keeps many. Split histories by key where keys do not meet.
    type State: Clone + Eq + Hash;
    /// What clients ask.
    type Operation;
    /// What they are answered.
    type Response;

    /// What the service remembers at first.
    fn initial(&self) -> Self::State;

    /// The state behind `operation` in `state`, if it can be answered with `response` there. Without a response, the
    /// answer is unknown and any will do.
    fn apply(
        &self,
        state: &Self::State,
        operation: &Self::Operation,
        response: Option<&Self::Response>,
    ) -> Option<Self::State>;

    /// Whether `operation` leaves every state as it is. Such operations are passed over when they have no response,
    /// which spares the search.
    fn only_observes(&self, operation: &Self::Operation) -> bool {
        let _ = operation;
        false
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
#[expect(
    clippy::exhaustive_enums,
    reason = "a caller that forgets one would pass what it must not"
)]
pub enum Verdict {
    /// Some order explains all that was seen.
    Linearizable,
    /// No order does.
    Violation(Violation),
    /// The search gave up at its limit of steps. Not a pass.
    Unknown,
}

/// Where no order goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Of the longest order that was found, the last operations.
    pub after: Vec<OperationId>,
    /// How many operations that order has.
    pub explained: usize,
    /// The operation whose response nothing explains behind them.
    pub blocked: OperationId,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "nothing explains the response of operation {} behind {} operations that end with",
            self.blocked.index(),
            self.explained
        )?;
        self.after
            .iter()
            .try_for_each(|operation| write!(f, " {}", operation.index()))
    }
}

impl Verdict {
    /// `Ok` when linearizable, else the reason in words, also for [`Unknown`](Self::Unknown).
    ///
    /// # Errors
    ///
    /// The history is not known to be linearizable.
    pub fn into_result(self) -> Result<(), String> {
        match self {
            Self::Linearizable => Ok(()),
            Self::Violation(violation) => Err(violation.to_string()),
            Self::Unknown => Err(
                "gave up the search: raise its limit of steps or abandon fewer operations".into(),
            ),
        }
    }
}

/// Checks `history` against `model`, trying at most `steps_max` applications of an operation to a state.
pub fn check<M: Model>(
    model: &M,
    history: &History<M::Operation, M::Response>,
    steps_max: u64,
) -> Verdict {
    let all: Vec<_> = history.ids().collect();
    search(model, history, &all, steps_max)
}

/// Checks the operations on each key by themselves, as is right where no operation touches two. `steps_max` is for each
/// key. A violation on any key outweighs an unknown one.
pub fn check_by_key<M: Model, K: Ord>(
    model: &M,
    history: &History<M::Operation, M::Response>,
    key: impl Fn(&M::Operation) -> K,
    steps_max: u64,
) -> Verdict {
    let mut keys: BTreeMap<K, Vec<OperationId>> = BTreeMap::new();
    for id in history.ids() {
        keys.entry(key(&history.get(id).operation))
            .or_default()
            .push(id);
    }
    let mut verdict = Verdict::Linearizable;
    for operations in keys.values() {
        match search(model, history, operations, steps_max) {
            Verdict::Linearizable => {}
            Verdict::Unknown => verdict = Verdict::Unknown,
            violation @ Verdict::Violation(_) => return violation,
        }
    }
    verdict
}
