//! A replica of the lock service on a node.

use std::sync::{Arc, OnceLock};

use peaberry_consensus::{Outcome, RaftCommand, RaftEvent, ReadError, Rejection};
use peaberry_core::{AddError, Channel, Handle, Node, PeerId, Protocol};

use crate::service::{LockService, ServiceCommand, ServiceEvent, lockd_channel};

/// Where a replica of the lock service lives.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaConfig {
    /// The peer whose node it is.
    pub local: PeerId,
    /// The channel of the replicated group; the service listens on [`lockd_channel`] of the same group number.
    pub group: Channel,
}

/// A replica of a [`LockTable`](crate::LockTable)'s group and the [`LockService`] beside it, on one node.
#[derive(Clone, Debug)]
pub struct Replica {
    service: Handle<ServiceCommand>,
}

/// What a replica tells its operator.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplicaEvent {
    /// The group said something that concerns no client: a leader, a snapshot, a peer's misbehaviour.
    Group(RaftEvent<u64>),
    /// The service said something: [`ServiceEvent::Restored`] or [`ServiceEvent::Misbehaved`].
    Service(ServiceEvent),
}

impl Replica {
    /// Adds `group`, which replicates a [`LockTable`](crate::LockTable), and a service to `node`, and makes each
    /// the other's listener. Nobody else may propose to the group: its tokens are the service's.
    ///
    /// `observe` is told of what an operator may want to know, on the thread that turns the node.
    ///
    /// # Errors
    ///
    /// [`AddError`]. A group that was added before the service failed stays on the node, unused.
    pub fn add_to<G>(
        node: &mut Node,
        config: ReplicaConfig,
        group: G,
        observe: impl FnMut(ReplicaEvent) + Send + 'static,
    ) -> Result<Self, AddError>
    where
        G: Protocol<Command = RaftCommand<u64>, Event = RaftEvent<u64>>,
    {
        let observe = Arc::new(parking_lot::Mutex::new(observe));
        let listener: Arc<OnceLock<Handle<ServiceCommand>>> = Arc::default();
        let raft = node.add(config.group, group, {
            let (listener, observe) = (listener.clone(), observe.clone());
            move |events: &mut Vec<RaftEvent<u64>>| {
                for event in events.iter().filter(|event| concerns_operator(event)) {
                    observe.lock()(ReplicaEvent::Group(event.clone()));
                }
                if let Some(service) = listener.get() {
                    // The queue is emptied every turn and gets one command a turn from here; once the node has
                    // stopped nobody waits for it.
                    let _ = service.submit(ServiceCommand::Group(std::mem::take(events)));
                }
            }
        })?;
        let service = LockService::new(config.local);
        let service = node.add(lockd_channel(config.group.group), service, {
            let listener = listener.clone();
            move |events: &mut Vec<ServiceEvent>| {
                let mut refused = Vec::new();
                for event in events.drain(..) {
                    match forward(&raft, event) {
                        Ok(()) => {}
                        Err(Unforwarded::Refused(event)) => refused.push(event),
                        Err(Unforwarded::ForOperator(event)) => {
                            observe.lock()(ReplicaEvent::Service(event));
                        }
                    }
                }
                if !refused.is_empty()
                    && let Some(service) = listener.get()
                {
                    let _ = service.submit(ServiceCommand::Group(refused));
                }
            }
        })?;
        // Before the node turns, so nothing the group says is missed.
        listener.get_or_init(|| service.clone());
        Ok(Self { service })
    }

    /// Declares that the group goes on from a backup: sessions end and later tokens are above all earlier ones, those
    /// given out after the backup included. [`ServiceEvent::Restored`] tells how it ended; repeat it on another replica
    /// until it is committed. `from` is the incarnation in the backup; repeating is harmless.
    ///
    /// Returns whether the node took the command.
    #[must_use]
    pub fn declare_restored(&self, from: u64) -> bool {
        self.service
            .submit(ServiceCommand::DeclareRestored { from })
            .is_ok()
    }
}

const fn concerns_operator(event: &RaftEvent<u64>) -> bool {
    !matches!(
        event,
        RaftEvent::Completed { .. } | RaftEvent::Answered { .. } | RaftEvent::Notice { .. }
    )
}

enum Unforwarded {
    /// The group's queue is full: how the proposal or read ends.
    Refused(RaftEvent<u64>),
    ForOperator(ServiceEvent),
}

fn forward(raft: &Handle<RaftCommand<u64>>, event: ServiceEvent) -> Result<(), Unforwarded> {
    let (command, refused) = match event {
        ServiceEvent::Propose { token, command } => {
            let outcome = Outcome::Rejected(Rejection::Overloaded);
            let refused = RaftEvent::Completed { token, outcome };
            (RaftCommand::Propose { command, token }, refused)
        }
        ServiceEvent::Read { token, query } => {
            let answer = Err(ReadError::Overloaded);
            let refused = RaftEvent::Answered { token, answer };
            (RaftCommand::Read { query, token }, refused)
        }
        other => return Err(Unforwarded::ForOperator(other)),
    };
    raft.submit(command)
        .map_err(|_busy| Unforwarded::Refused(refused))
}
