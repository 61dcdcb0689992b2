//! Wing and Gong's search with Lowe's memory, over the linked list of invocations and responses.

use super::history::{History, OperationId};
use super::memory::{Memory, Taken};
use super::{Model, Verdict, Violation};

/// How many operations a violation tells of the order that led to it.
const AFTER_MAX: usize = 8;

/// One operation as the search sees it.
struct Operation {
    id: OperationId,
    is_pending: bool,
    /// Its number among the completed, or the pending, operations.
    number: usize,
    invocation: usize,
    /// `None` for a pending operation.
    response: Option<usize>,
}

/// An invocation or a response in the list.
#[derive(Clone, Copy)]
struct Entry {
    operation: usize,
    is_response: bool,
    previous: usize,
    next: usize,
}

/// The list's entry 0 stands before the first and behind the last.
const ENDS: usize = 0;

/// The invocations and responses of operations not taken yet, in order.
struct List {
    entries: Vec<Entry>,
}

impl List {
    fn entry(&mut self, at: usize) -> &mut Entry {
        self.entries
            .get_mut(at)
            .expect("links lead to entries of the list")
    }

    fn next(&self, at: usize) -> usize {
        self.entries.get(at).map_or(ENDS, |entry| entry.next)
    }

    fn unlink(&mut self, at: usize) {
        let Entry { previous, next, .. } = *self.entry(at);
        self.entry(previous).next = next;
        self.entry(next).previous = previous;
    }

    /// Undoes the last `unlink`.
    fn relink(&mut self, at: usize) {
        let Entry { previous, next, .. } = *self.entry(at);
        self.entry(previous).next = at;
        self.entry(next).previous = at;
    }

    fn lift(&mut self, operation: &Operation) {
        self.unlink(operation.invocation);
        if let Some(response) = operation.response {
            self.unlink(response);
        }
    }

    fn unlift(&mut self, operation: &Operation) {
        if let Some(response) = operation.response {
            self.relink(response);
        }
        self.relink(operation.invocation);
    }
}

pub(super) fn search<M: Model>(
    model: &M,
    history: &History<M::Operation, M::Response>,
    ids: &[OperationId],
    steps_max: u64,
) -> Verdict {
    let (operations, list) = prepare(model, history, ids);
    let open = operations.iter().filter(|it| !it.is_pending).count();
    Search {
        model,
        history,
        list,
        taken: Taken::new(open, operations.len() - open),
        memory: Memory::new(),
        order: Vec::new(),
        state: model.initial(),
        open,
        longest: None,
        operations: &operations,
    }
    .run(steps_max)
}

/// An order being built, and what was learned on the way.
struct Search<'a, M: Model> {
    model: &'a M,
    history: &'a History<M::Operation, M::Response>,
    operations: &'a [Operation],
    list: List,
    taken: Taken,
    memory: Memory<M::State>,
    /// The operations taken so far, each with the state before it.
    order: Vec<(&'a Operation, M::State)>,
    state: M::State,
    /// How many completed operations are not taken.
    open: usize,
    longest: Option<Violation>,
}

impl<'a, M: Model> Search<'a, M> {
    fn run(mut self, steps_max: u64) -> Verdict {
        let mut steps = 0;
        let mut at = self.list.next(ENDS);
        while self.open > 0 {
            let entry = *self.list.entry(at);
            let operation = self
                .operations
                .get(entry.operation)
                .expect("the list holds the moments of operations");
            if entry.is_response {
                // Nothing that may come before this response can come next: undo the last choice.
                match self.give_back(operation) {
                    Some(given_back) => at = self.list.next(given_back.invocation),
                    None => return self.longest.map_or(Verdict::Unknown, Verdict::Violation),
                }
            } else if steps == steps_max {
                return Verdict::Unknown;
            } else {
                steps += 1;
                let is_taken = self.take(operation);
                at = self.list.next(if is_taken { ENDS } else { at });
            }
        }
        Verdict::Linearizable
    }

    /// Takes `operation` next, if it can be answered as it was and leads to a configuration not seen before.
    fn take(&mut self, operation: &'a Operation) -> bool {
        let recorded = self.history.get(operation.id);
        let response = recorded.response.as_ref();
        let applied = self.model.apply(&self.state, &recorded.operation, response);
        let Some(applied) = applied else {
            return false;
        };
        self.taken.flip(operation.is_pending, operation.number);
        if !self.memory.insert(&self.taken, &applied) {
            self.taken.flip(operation.is_pending, operation.number);
            return false;
        }
        let before = std::mem::replace(&mut self.state, applied);
        self.order.push((operation, before));
        self.list.lift(operation);
        self.open -= usize::from(!operation.is_pending);
        true
    }

    /// Undoes the last choice, because nothing goes on to `blocked`'s response; `None` when none is left.
    fn give_back(&mut self, blocked: &Operation) -> Option<&'a Operation> {
        let explained = self.order.len();
        let longest = self.longest.as_ref();
        if longest.is_none_or(|longest| longest.explained < explained) {
            self.longest = Some(self.violation(blocked));
        }
        let (operation, before) = self.order.pop()?;
        self.state = before;
        self.list.unlift(operation);
        self.taken.flip(operation.is_pending, operation.number);
        self.open += usize::from(!operation.is_pending);
        Some(operation)
    }

    fn violation(&self, blocked: &Operation) -> Violation {
        let explained = self.order.len();
        let last = self.order.iter().skip(explained.saturating_sub(AFTER_MAX));
        Violation {
            after: last.map(|(operation, _)| operation.id).collect(),
            explained,
            blocked: blocked.id,
        }
    }
}

/// The operations that the search must place or may place, and the list of their moments.
fn prepare<M: Model>(
    model: &M,
    history: &History<M::Operation, M::Response>,
    ids: &[OperationId],
) -> (Vec<Operation>, List) {
    let mut operations = Vec::new();
    let mut moments = Vec::new();
    let (mut completed, mut pending) = (0, 0);
    for &id in ids {
        let recorded = history.get(id);
        let is_pending = recorded.response.is_none();
        if is_pending && model.only_observes(&recorded.operation) {
            continue;
        }
        let count = if is_pending {
            &mut pending
        } else {
            &mut completed
        };
        moments.push((recorded.invoked, operations.len(), false));
        if !is_pending {
            moments.push((recorded.completed, operations.len(), true));
        }
        operations.push(Operation {
            id,
            is_pending,
            number: *count,
            invocation: ENDS,
            response: None,
        });
        *count += 1;
    }
    moments.sort_unstable();
    let list = link(&moments, &mut operations);
    (operations, list)
}

fn link(moments: &[(u64, usize, bool)], operations: &mut [Operation]) -> List {
    let count = moments.len();
    let ends = Entry {
        operation: 0,
        is_response: true,
        previous: count,
        next: if count == 0 { ENDS } else { 1 },
    };
    let mut entries = vec![ends];
    for (at, &(_, operation, is_response)) in (1..).zip(moments) {
        entries.push(Entry {
            operation,
            is_response,
            previous: at - 1,
            next: if at == count { ENDS } else { at + 1 },
        });
        if let Some(operation) = operations.get_mut(operation) {
            if is_response {
                operation.response = Some(at);
            } else {
                operation.invocation = at;
            }
        }
    }
    List { entries }
}
