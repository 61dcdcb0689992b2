use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use peaberry_consensus::{Outcome, RaftCommand, RaftEvent};
use peaberry_core::simulation::linearizability::{
    History, Model, OperationId, Verdict, check_by_key,
};
use peaberry_core::{Instant, PeerId};

use super::{Seen, machine, word};

const CLIENTS: u64 = 4;
const KEYS: u8 = 4;

/// Operations without an answer that one key may have: each widens the checker's search.
const ABANDONED_MAX: usize = 6;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Operations that every client must complete once all trouble has ended, so that every key is read behind it.
const FINAL_OPERATIONS: u32 = 8;

/// Steps of the checker's search for one key.
const STEPS_MAX: u64 = 2_000_000;

/// An operation on one register.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    Swap(u64),
    Get,
}

/// One register: a swap answers the value before.
struct Register;

impl Model for Register {
    type State = u64;
    type Operation = (u8, Operation);
    type Response = u64;

    fn initial(&self) -> u64 {
        0
    }

    fn apply(
        &self,
        state: &u64,
        operation: &(u8, Operation),
        response: Option<&u64>,
    ) -> Option<u64> {
        if response.is_some_and(|seen| seen != state) {
            return None;
        }
        Some(match operation.1 {
            Operation::Swap(value) => value,
            Operation::Get => *state,
        })
    }

    fn only_observes(&self, operation: &(u8, Operation)) -> bool {
        matches!(operation.1, Operation::Get)
    }
}

/// Clients that ask one thing at a time and remember what they were told.
pub(super) struct Clients {
    rng: fastrand::Rng,
    peers: Vec<PeerId>,
    clients: Vec<Client>,
    history: History<(u8, Operation), u64>,
    waiting: BTreeMap<u64, Waiting>,
    abandoned: BTreeMap<u8, usize>,
    tokens: u64,
    completed: u64,
    reads_locally: bool,
    storm_has_ended: bool,
}

struct Client {
    /// A new one after an operation was abandoned: what it did may still take effect.
    name: u64,
    /// Stays with this replica.
    sticks_to: Option<PeerId>,
    token: Option<u64>,
    next_at: Instant,
    final_operations: u32,
}

struct Waiting {
    client: usize,
    operation: OperationId,
    key: u8,
    until: Instant,
}

impl Clients {
    pub(super) fn new(mut rng: fastrand::Rng, peers: Vec<PeerId>, reads_locally: bool) -> Self {
        let clients = (0..CLIENTS)
            .map(|name| Client {
                name,
                sticks_to: (name % 2 == 0)
                    .then(|| rng.choice(peers.iter().copied()))
                    .flatten(),
                token: None,
                next_at: Instant::default(),
                final_operations: 0,
            })
            .collect();
        Self {
            rng,
            peers,
            clients,
            history: History::new(),
            waiting: BTreeMap::new(),
            abandoned: BTreeMap::new(),
            tokens: 0,
            completed: 0,
            reads_locally,
            storm_has_ended: false,
        }
    }

    /// Takes answers, gives up what is late, asks what is next.
    pub(super) fn act(&mut self, now: Instant, seen: &Arc<Mutex<Seen>>) {
        let events = std::mem::take(&mut seen.lock().events);
        for (_, event) in events {
            self.take(now, event);
        }
        for client in 0..self.clients.len() {
            self.advance(client, now, seen);
        }
    }

    fn take(&mut self, now: Instant, event: RaftEvent<u64>) {
        match event {
            RaftEvent::Completed {
                token,
                outcome: Outcome::Committed { response, .. },
            } => {
                self.finish(token, now, Some(word(&response)));
            }
            RaftEvent::Completed {
                token,
                outcome: Outcome::Unknown,
            } => self.abandon(token, now),
            RaftEvent::Answered {
                token,
                answer: Ok(answer),
            } => {
                self.finish(token, now, Some(word(&answer)));
            }
            RaftEvent::Completed { token, .. } | RaftEvent::Answered { token, .. } => {
                self.finish(token, now, None);
            }
            _ => {}
        }
    }

    /// Ends an operation with its response, or as never having happened.
    fn finish(&mut self, token: u64, now: Instant, response: Option<u64>) {
        let Some(waiting) = self.waiting.remove(&token) else {
            return;
        };
        match response {
            Some(response) => {
                self.history.complete(waiting.operation, response);
                self.completed += 1;
            }
            None => self.history.retract(waiting.operation),
        }
        let succeeded = response.is_some();
        let storm_has_ended = self.storm_has_ended;
        let pause = Duration::from_millis(self.rng.u64(1..60));
        let client = &mut self.clients[waiting.client];
        client.token = None;
        client.next_at = now + pause;
        client.final_operations += u32::from(succeeded && storm_has_ended);
    }

    /// Leaves an operation without a response: it may have happened, or happen yet.
    fn abandon(&mut self, token: u64, now: Instant) {
        let Some(waiting) = self.waiting.remove(&token) else {
            return;
        };
        if matches!(
            self.history.get(waiting.operation).operation.1,
            Operation::Swap(_)
        ) {
            *self.abandoned.entry(waiting.key).or_default() += 1;
        }
        let client = &mut self.clients[waiting.client];
        client.name += CLIENTS;
        client.token = None;
        client.next_at = now;
    }

    fn advance(&mut self, at: usize, now: Instant, seen: &Arc<Mutex<Seen>>) {
        if let Some(token) = self.clients[at].token {
            if self
                .waiting
                .get(&token)
                .is_some_and(|waiting| waiting.until <= now)
            {
                self.abandon(token, now);
            }
        } else if self.clients[at].next_at <= now {
            self.ask(at, now, seen);
        }
    }

    fn ask(&mut self, at: usize, now: Instant, seen: &Arc<Mutex<Seen>>) {
        let key = self.rng.u8(..KEYS);
        let crowded = self
            .abandoned
            .get(&key)
            .is_some_and(|&count| count >= ABANDONED_MAX);
        let swaps = self.rng.bool() && (!crowded || self.storm_has_ended);
        self.tokens += 1;
        let token = self.tokens;
        let (operation, command) = if swaps {
            let command = RaftCommand::Propose {
                command: machine::swap(key, token),
                token,
            };
            (Operation::Swap(token), command)
        } else if self.reads_locally {
            (
                Operation::Get,
                RaftCommand::ReadStale {
                    query: machine::get(key),
                    token,
                },
            )
        } else {
            (
                Operation::Get,
                RaftCommand::Read {
                    query: machine::get(key),
                    token,
                },
            )
        };
        let to = self.destination(at, swaps, &seen.lock());
        let handle = to.and_then(|to| seen.lock().handles.get(&to).cloned());
        // What a stopped node refuses has not happened: there is nothing to remember.
        let submitted = handle.is_some_and(|handle| handle.submit(command).is_ok());
        if !submitted {
            self.clients[at].next_at = now + Duration::from_millis(20);
            return;
        }
        let operation = self.history.invoke(self.clients[at].name, (key, operation));
        self.waiting.insert(
            token,
            Waiting {
                client: at,
                operation,
                key,
                until: now + PATIENCE,
            },
        );
        self.clients[at].token = Some(token);
    }

    /// Sticky clients read where they always do; everyone writes where the leader seems to be.
    fn destination(&mut self, at: usize, swaps: bool, seen: &Seen) -> Option<PeerId> {
        let sticky = self.clients[at]
            .sticks_to
            .filter(|_| !swaps || self.rng.u8(..4) == 0);
        let believed = sticky
            .and_then(|peer| seen.leaders.get(&peer))
            .and_then(|(_, leader)| *leader);
        match sticky {
            Some(peer) if !swaps => Some(peer),
            Some(peer) => believed.or(Some(peer)),
            None if self.rng.u8(..8) == 0 => self.rng.choice(self.peers.iter().copied()),
            None => seen
                .leader()
                .or_else(|| self.rng.choice(self.peers.iter().copied())),
        }
    }

    /// From now on every client must come to an end.
    pub(super) fn end_storm(&mut self) {
        self.storm_has_ended = true;
    }

    pub(super) fn has_finished(&self) -> bool {
        self.clients
            .iter()
            .all(|client| client.final_operations >= FINAL_OPERATIONS)
    }

    pub(super) fn progress(&self) -> String {
        let done: Vec<_> = self
            .clients
            .iter()
            .map(|client| client.final_operations)
            .collect();
        format!("clients completed {done:?} of {FINAL_OPERATIONS} operations each")
    }

    pub(super) const fn completed(&self) -> u64 {
        self.completed
    }

    /// What the checker says of everything that clients saw.
    pub(super) fn check(&self) -> Verdict {
        check_by_key(&Register, &self.history, |operation| operation.0, STEPS_MAX)
    }
}
