//! Asking a group from async code, on any runtime.

use bytes::Bytes;
use futures_channel::oneshot;
use peaberry_core::{Busy, Handle};

use crate::raft::{Outcome, RaftCommand, RaftEvent, ReadError, Rejection};

/// Where an async caller waits for its outcome.
#[derive(Debug)]
#[non_exhaustive]
pub enum Ticket {
    /// For a proposal.
    Proposal(oneshot::Sender<Outcome>),
    /// For a query.
    Read(oneshot::Sender<Result<Bytes, ReadError>>),
}

/// Proposes to a group on a node of this process, and reads from it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RaftHandle {
    commands: Handle<RaftCommand<Ticket>>,
}

impl RaftHandle {
    /// A handle over what [`Node::add`](peaberry_core::Node::add) answered for the group.
    #[must_use]
    pub const fn new(commands: Handle<RaftCommand<Ticket>>) -> Self {
        Self { commands }
    }

    /// Replicates `command`. The future may be dropped: the command may then be executed all the same.
    ///
    /// Ends with [`Outcome::Unknown`] when the node stops meanwhile.
    pub async fn propose(&self, command: Bytes) -> Outcome {
        let (sender, outcome) = oneshot::channel();
        let command = RaftCommand::Propose {
            command,
            token: Ticket::Proposal(sender),
        };
        match self.commands.submit(command) {
            Ok(()) => {}
            Err(Busy::Full(_)) => return Outcome::Rejected(Rejection::Overloaded),
            Err(Busy::Closed(_)) => return Outcome::Rejected(Rejection::Stopped),
        }
        outcome.await.unwrap_or(Outcome::Unknown)
    }

    /// Answers `query` from a state at least as new as every proposal that completed before.
    ///
    /// # Errors
    ///
    /// [`ReadError`]; nothing changed.
    pub async fn read(&self, query: Bytes) -> Result<Bytes, ReadError> {
        self.ask(|token| RaftCommand::Read { query, token }).await
    }

    /// Answers `query` from this replica's state, however old.
    ///
    /// # Errors
    ///
    /// [`ReadError`], when the node has stopped or is overloaded; nothing changed.
    pub async fn read_stale(&self, query: Bytes) -> Result<Bytes, ReadError> {
        self.ask(|token| RaftCommand::ReadStale { query, token })
            .await
    }

    async fn ask(
        &self,
        command: impl FnOnce(Ticket) -> RaftCommand<Ticket>,
    ) -> Result<Bytes, ReadError> {
        let (sender, answer) = oneshot::channel();
        self.commands
            .submit(command(Ticket::Read(sender)))
            .map_err(|busy| match busy {
                Busy::Full(_) => ReadError::Overloaded,
                Busy::Closed(_) => ReadError::Stopped,
            })?;
        answer.await.unwrap_or(Err(ReadError::Stopped))
    }
}

/// Hands an outcome to the caller that waits for it; answers every other event.
///
/// For the sink given to [`Node::add`](peaberry_core::Node::add):
/// `|events| events.drain(..).filter_map(settle_ticket).for_each(|event| …)`.
#[must_use]
pub fn settle_ticket(event: RaftEvent<Ticket>) -> Option<RaftEvent<Ticket>> {
    match event {
        // A caller that has gone needs no answer: a failed send is nothing to report.
        RaftEvent::Completed {
            token: Ticket::Proposal(caller),
            outcome,
        } => {
            let _ = caller.send(outcome);
            None
        }
        RaftEvent::Answered {
            token: Ticket::Read(caller),
            answer,
        } => {
            let _ = caller.send(answer);
            None
        }
        other => Some(other),
    }
}
