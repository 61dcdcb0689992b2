/// What clients asked and were answered, in the order in which it happened.
///
/// Record an invocation before it can have any effect, and a response after it was received; from several threads behind
/// one lock.
#[derive(Clone, Debug)]
pub struct History<O, R> {
    operations: Vec<Recorded<O, R>>,
    /// Invocations and responses so far.
    moments: u64,
}

/// Names an operation of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(usize);

impl OperationId {
    /// How many were invoked before it.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0
    }
}

/// An operation as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded<O, R> {
    /// Who asked: for people; clients may have several operations open.
    pub client: u64,
    /// What was asked.
    pub operation: O,
    /// What was answered; `None` while, and if for ever, nobody knows.
    pub response: Option<R>,
    pub(super) invoked: u64,
    pub(super) completed: u64,
}

impl<O, R> Recorded<O, R> {
    /// When it was invoked and answered, counted in invocations and answers; `u64::MAX` for never.
    #[must_use]
    pub const fn moments(&self) -> (u64, u64) {
        (self.invoked, self.completed)
    }
}

impl<O, R> Default for History<O, R> {
    fn default() -> Self {
        Self {
            operations: Vec::new(),
            moments: 0,
        }
    }
}

impl<O, R> History<O, R> {
    /// Nothing has happened.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `client` asks.
    pub fn invoke(&mut self, client: u64, operation: O) -> OperationId {
        self.moments += 1;
        self.operations.push(Recorded {
            client,
            operation,
            response: None,
            invoked: self.moments,
            completed: u64::MAX,
        });
        OperationId(self.operations.len() - 1)
    }

    /// The answer has come. An operation that has failed for certain, without any effect, is better [taken
    /// out](Self::retract); one whose fate is unknown is left open.
    ///
    /// # Panics
    ///
    /// When it has been answered before, or belongs to another history.
    pub fn complete(&mut self, operation: OperationId, response: R) {
        self.moments += 1;
        let recorded = self
            .operations
            .get_mut(operation.0)
            .expect("an operation of this history");
        assert!(recorded.response.is_none(), "answered twice");
        recorded.response = Some(response);
        recorded.completed = self.moments;
    }

    /// Forgets an open operation that is known to have had no effect.
    ///
    /// # Panics
    ///
    /// When it has been answered before, or belongs to another history.
    pub fn retract(&mut self, operation: OperationId) {
        let recorded = self
            .operations
            .get_mut(operation.0)
            .expect("an operation of this history");
        assert!(recorded.response.is_none(), "answered before");
        recorded.invoked = u64::MAX;
    }

    /// How many operations were invoked.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether nothing was invoked.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// The operations that count, in the order of their invocation.
    pub fn ids(&self) -> impl Iterator<Item = OperationId> {
        let counts = |&(_, recorded): &(usize, &Recorded<O, R>)| recorded.invoked != u64::MAX;
        let operations = self.operations.iter().enumerate();
        operations
            .filter(counts)
            .map(|(index, _)| OperationId(index))
    }

    /// One operation.
    ///
    /// # Panics
    ///
    /// When it belongs to another history.
    #[must_use]
    pub fn get(&self, operation: OperationId) -> &Recorded<O, R> {
        self.operations
            .get(operation.0)
            .expect("an operation of this history")
    }
}
