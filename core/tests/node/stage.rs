//! What every test needs: a node on a stage where everything it does is written down.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use peaberry_core::simulation::SimulatedClock;
use peaberry_core::{
    Batch, Channel, Durability, Effects, Input, Instant, Layer, Layered, Mailbox, MemoryStorage,
    Next, Node, Operation, Outgoing, PeerId, Peers, Protocol, ProtocolId, Report, Storage,
    StorageError, Transport, TransportError,
};

/// A protocol that does what each test tells it.
pub(crate) struct Puppet<F, D> {
    pub(crate) step: F,
    pub(crate) deadline: D,
    pub(crate) settled: Option<Sender<usize>>,
    pub(crate) inputs: usize,
}

#[derive(Debug, thiserror::Error)]
#[error("told to fail")]
pub(crate) struct ToldToFail;

pub(crate) type Outcome = Result<(), ToldToFail>;

impl<F, D> Protocol for Puppet<F, D>
where
    F: FnMut(Instant, Input<u32>, &mut Effects<'_, String>) -> Outcome + Send + 'static,
    D: Fn() -> Option<Instant> + Send + 'static,
{
    type Command = u32;
    type Event = String;
    type Error = ToldToFail;

    fn step(
        &mut self,
        now: Instant,
        input: Input<u32>,
        fx: &mut Effects<'_, String>,
    ) -> Result<(), ToldToFail> {
        self.inputs += 1;
        (self.step)(now, input, fx)
    }

    fn settle(&mut self, _: Instant, _: &mut Effects<'_, String>) -> Result<(), ToldToFail> {
        if let Some(settled) = &self.settled {
            settled.send(std::mem::take(&mut self.inputs)).unwrap();
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        (self.deadline)()
    }
}

pub(crate) fn puppet(
    step: impl FnMut(Instant, Input<u32>, &mut Effects<'_, String>) -> Outcome + Send + 'static,
) -> impl Protocol<Command = u32, Event = String> {
    Puppet {
        step,
        deadline: || None,
        settled: None,
        inputs: 0,
    }
}

/// Everything that a turn does to the outside, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Diary(pub(crate) Arc<Mutex<Vec<String>>>);

impl Diary {
    pub(crate) fn write(&self, words: impl Into<String>) {
        self.0.lock().push(words.into());
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }

    pub(crate) fn sink(&self) -> impl FnMut(&mut Vec<String>) + Send + 'static {
        let diary = self.clone();
        move |events| {
            for event in events.drain(..) {
                diary.write(format!("emit {event}"));
            }
        }
    }
}

/// A store that keeps a diary, waits at a gate, and fails when told.
#[derive(Default)]
pub(crate) struct Store {
    inner: MemoryStorage,
    pub(crate) diary: Diary,
    pub(crate) is_failing: Mutex<bool>,
    /// How many commits may still pass; `None`: all.
    pub(crate) gate: Mutex<Option<usize>>,
    opened: Condvar,
    /// A commit stands before the gate.
    arrived: Condvar,
}

impl Store {
    /// Waits until a commit stands before the closed gate.
    pub(crate) fn wait_for_a_commit(&self, node: &mut Node, turn: impl FnOnce(&mut Node)) {
        let mut gate = self.gate.lock();
        turn(node);
        self.arrived.wait(&mut gate);
    }

    pub(crate) fn open_gate_for(&self, commits: usize) {
        *self.gate.lock().as_mut().unwrap() += commits;
        self.opened.notify_all();
    }
}

impl Layer for Store {
    fn inner(&self) -> &dyn Storage {
        &self.inner
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StorageError> {
        let mut gate = self.gate.lock();
        while *gate == Some(0) {
            self.arrived.notify_all();
            self.opened.wait(&mut gate);
        }
        if let Some(left) = gate.as_mut() {
            *left -= 1;
        }
        drop(gate);
        let keys: Vec<_> = batch
            .operations()
            .filter_map(|operation| match operation {
                Operation::Put { key, .. } => Some(String::from_utf8_lossy(key).into_owned()),
                _ => None,
            })
            .collect();
        if *self.is_failing.lock() {
            self.diary.write("commit fails");
            return Err(StorageError::Poisoned);
        }
        self.diary
            .write(format!("commit {durability:?} {}", keys.join(",")));
        self.inner.commit(batch, durability)
    }
}

/// A transport that keeps a diary and refuses one peer.
pub(crate) struct Wire {
    local: PeerId,
    pub(crate) diary: Diary,
    refuses: Option<PeerId>,
    pub(crate) mailbox: Mutex<Option<Arc<Mailbox>>>,
}

impl Transport for Wire {
    fn local(&self) -> PeerId {
        self.local
    }

    fn bind(&self, _: ProtocolId, _: Peers, mailbox: Arc<Mailbox>) -> Result<(), TransportError> {
        *self.mailbox.lock() = Some(mailbox);
        Ok(())
    }

    fn send(&self, batch: &mut Vec<Outgoing>) {
        batch.retain(|message| {
            let is_refused = Some(message.to) == self.refuses;
            if !is_refused {
                let words = String::from_utf8_lossy(&message.payload).into_owned();
                self.diary.write(format!("send {words}"));
            }
            is_refused
        });
    }
}

pub(crate) fn peer(id: u64) -> PeerId {
    PeerId::new(id).unwrap()
}

pub(crate) const fn channel(group: u64) -> Channel {
    Channel::new(ProtocolId(2000), group)
}

pub(crate) fn words(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

pub(crate) struct Stage {
    pub(crate) diary: Diary,
    pub(crate) store: Arc<Layered<Store>>,
    pub(crate) wire: Arc<Wire>,
    pub(crate) clock: SimulatedClock,
    pub(crate) reports: Receiver<Report>,
}

pub(crate) fn stage() -> (Node, Stage) {
    stage_with(None)
}

pub(crate) fn stage_with(refuses: Option<PeerId>) -> (Node, Stage) {
    let diary = Diary::default();
    let store = Arc::new(Layered::new(Store {
        diary: diary.clone(),
        ..Store::default()
    }));
    let wire = Arc::new(Wire {
        local: peer(1),
        diary: diary.clone(),
        refuses,
        mailbox: Mutex::default(),
    });
    let clock = SimulatedClock::new();
    let (report, reports) = mpsc::channel();
    let node = Node::new(wire.clone(), store.clone(), Arc::new(clock.clone()))
        .with_report(move |it| report.send(it).unwrap());
    let stage = Stage {
        diary,
        store,
        wire,
        clock,
        reports,
    };
    (node, stage)
}

/// Turns until there is nothing more to do; answers what to wait for.
pub(crate) fn run(node: &mut Node) -> Next {
    loop {
        match node.turn() {
            Next::Again => {}
            next => return next,
        }
    }
}

/// What stands behind `prefix`, of the lines that begin with it.
pub(crate) fn of<'a>(lines: &'a [String], prefix: &str) -> Vec<&'a str> {
    lines
        .iter()
        .filter_map(|line| line.strip_prefix(prefix))
        .collect()
}
