//! A node's turn, through its public door: the one safe order of effects, and what happens when something fails.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in its helpers"
)]

use std::ops::{Bound, Range};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use peaberry_core::simulation::SimulatedClock;
use peaberry_core::{
    AddError, Batch, Busy, Channel, Clock, Durability, Effects, Envelope, Input, Instant, LogId,
    Mailbox, MemoryNetwork, MemoryStorage, Next, Node, Operation, Order, Outgoing, PeerId, Peers,
    Protocol, ProtocolId, ReadId, Report, ScanLimit, Storage, StorageError, SystemClock, Transport,
    TransportError,
};

/// A protocol that does what each test tells it.
struct Puppet<F, D> {
    step: F,
    deadline: D,
    settled: Option<Sender<usize>>,
    inputs: usize,
}

#[derive(Debug, thiserror::Error)]
#[error("told to fail")]
struct ToldToFail;

type Outcome = Result<(), ToldToFail>;

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

fn puppet(
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
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn write(&self, words: impl Into<String>) {
        self.0.lock().push(words.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }

    fn sink(&self) -> impl FnMut(&mut Vec<String>) + Send + 'static {
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
struct Store {
    inner: MemoryStorage,
    diary: Diary,
    is_failing: Mutex<bool>,
    /// How many commits may still pass; `None`: all.
    gate: Mutex<Option<usize>>,
    opened: Condvar,
    /// A commit stands before the gate.
    arrived: Condvar,
}

impl Store {
    /// Waits until a commit stands before the closed gate.
    fn wait_for_a_commit(&self, node: &mut Node, turn: impl FnOnce(&mut Node)) {
        let mut gate = self.gate.lock();
        turn(node);
        self.arrived.wait(&mut gate);
    }

    fn open_gate_for(&self, commits: usize) {
        *self.gate.lock().as_mut().unwrap() += commits;
        self.opened.notify_all();
    }
}

impl Storage for Store {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.inner.get(key)
    }

    fn scan(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        order: Order,
        limit: ScanLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        self.inner.scan(from, to, order, limit)
    }

    fn log_bounds(&self, log: LogId) -> Result<Range<u64>, StorageError> {
        self.inner.log_bounds(log)
    }

    fn log_read(
        &self,
        log: LogId,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, StorageError> {
        self.inner.log_read(log, range, bytes_max)
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
struct Wire {
    local: PeerId,
    diary: Diary,
    refuses: Option<PeerId>,
    mailbox: Mutex<Option<Arc<Mailbox>>>,
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

fn peer(id: u64) -> PeerId {
    PeerId::new(id).unwrap()
}

const fn channel(group: u64) -> Channel {
    Channel::new(ProtocolId(2000), group)
}

fn words(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

struct Stage {
    diary: Diary,
    store: Arc<Store>,
    wire: Arc<Wire>,
    clock: SimulatedClock,
    reports: Receiver<Report>,
}

fn stage() -> (Node, Stage) {
    stage_with(None)
}

fn stage_with(refuses: Option<PeerId>) -> (Node, Stage) {
    let diary = Diary::default();
    let store = Arc::new(Store {
        diary: diary.clone(),
        ..Store::default()
    });
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
fn run(node: &mut Node) -> Next {
    loop {
        match node.turn() {
            Next::Again => {}
            next => return next,
        }
    }
}

#[test]
fn effects_happen_in_the_one_safe_order() {
    let (mut node, stage) = stage();
    let protocol = puppet(|_, input, fx| {
        if let Input::Command(_) = input {
            fx.emit_after_commit("durable".into());
            fx.send_after_commit(peer(2), words("durable"));
            fx.batch().put(b"key", b"value");
            fx.emit("early".into());
            fx.send(peer(2), words("early"));
        }
        Ok(())
    });
    let handle = node.add(channel(0), protocol, stage.diary.sink()).unwrap();
    handle.submit(1).unwrap();
    assert_eq!(run(&mut node), Next::Sleep(None));
    let order = [
        "send early",
        "emit early",
        "commit Synced key",
        "send durable",
        "emit durable",
    ];
    assert_eq!(stage.diary.take(), order);
}

#[test]
fn inputs_of_two_protocols_share_one_commit() {
    let (mut node, stage) = stage();
    let writer = |key: &'static str| {
        puppet(move |_, input, fx| {
            if let Input::Command(_) = input {
                fx.batch().put(key.as_bytes(), b"");
            }
            Ok(())
        })
    };
    let one = node.add(channel(1), writer("one"), |_| {}).unwrap();
    let two = node.add(channel(2), writer("two"), |_| {}).unwrap();
    one.submit(1).unwrap();
    one.submit(2).unwrap();
    two.submit(3).unwrap();
    run(&mut node);
    assert_eq!(stage.diary.take(), ["commit Buffered one,one,two"]);
}

#[test]
fn whatever_waits_forces_the_sync_of_all() {
    let (mut node, stage) = stage();
    let lazy = puppet(|_, _, fx| {
        fx.batch().put(b"lazy", b"");
        Ok(())
    });
    let strict = puppet(|_, _, fx| {
        fx.sync();
        Ok(())
    });
    let lazy = node.add(channel(1), lazy, |_| {}).unwrap();
    let strict = node.add(channel(2), strict, |_| {}).unwrap();
    lazy.submit(1).unwrap();
    run(&mut node);
    strict.submit(1).unwrap();
    run(&mut node);
    lazy.submit(1).unwrap();
    strict.submit(1).unwrap();
    run(&mut node);
    let commits = [
        "commit Buffered lazy",
        "commit Synced ",
        "commit Synced lazy",
    ];
    assert_eq!(stage.diary.take(), commits);
}

#[test]
fn a_turn_that_writes_nothing_commits_nothing() {
    let (mut node, stage) = stage();
    let handle = node
        .add(channel(1), puppet(|_, _, _| Ok(())), |_| {})
        .unwrap();
    handle.submit(1).unwrap();
    run(&mut node);
    assert!(stage.diary.take().is_empty());
}

#[test]
fn a_failed_commit_lets_out_nothing_that_waited_and_stops_the_node() {
    let (mut node, stage) = stage();
    let protocol = puppet(|_, _, fx| {
        fx.batch().put(b"key", b"");
        fx.send(peer(2), words("early"));
        fx.send_after_commit(peer(2), words("durable"));
        fx.emit_after_commit("durable".into());
        fx.notify_committed();
        fx.read(ReadId(1), LogId::new(channel(0), 0), 0..1, 100);
        Ok(())
    });
    let handle = node.add(channel(0), protocol, stage.diary.sink()).unwrap();
    handle.submit(1).unwrap();
    *stage.store.is_failing.lock() = true;
    assert_eq!(run(&mut node), Next::Stopped);
    assert_eq!(stage.diary.take(), ["send early", "commit fails"]);
    assert!(matches!(node.failure(), Some(StorageError::Poisoned)));
    assert!(matches!(
        stage.reports.try_recv(),
        Ok(Report::StorageFailed { .. })
    ));
    *stage.store.is_failing.lock() = false;
    assert!(matches!(handle.submit(2), Err(Busy::Closed(2))));
    assert_eq!(node.turn(), Next::Stopped);
    assert!(stage.diary.take().is_empty());
}

#[test]
fn a_failing_protocol_is_rolled_back_and_quarantined_while_its_neighbours_go_on() {
    let (mut node, stage) = stage();
    let writer = |name: &'static str, fails_on: u32| {
        puppet(move |_, input, fx| {
            fx.batch().put(name.as_bytes(), b"");
            fx.send(peer(2), words(name));
            fx.send_after_commit(peer(2), words(name));
            fx.emit(name.into());
            fx.emit_after_commit(name.into());
            match input {
                Input::Command(number) if number == fails_on => Err(ToldToFail),
                _ => Ok(()),
            }
        })
    };
    let mut handles = Vec::new();
    for (group, name, fails_on) in [(1, "a", 0), (2, "bad", 2), (3, "c", 0)] {
        let protocol = writer(name, fails_on);
        handles.push(
            node.add(channel(group), protocol, stage.diary.sink())
                .unwrap(),
        );
    }
    for handle in &handles {
        handle.submit(2).unwrap();
    }
    run(&mut node);
    let diary = stage.diary.take();
    assert!(diary.iter().all(|line| !line.contains("bad")), "{diary:?}");
    assert!(diary.contains(&"commit Synced a,c".to_owned()), "{diary:?}");
    let report = stage.reports.try_recv().unwrap();
    assert!(
        matches!(&report, Report::ProtocolFailed { channel: failed, error }
            if *failed == channel(2) && error.to_string() == "told to fail"),
        "{report:?}"
    );
    assert!(matches!(handles[1].submit(3), Err(Busy::Closed(3))));
    handles[0].submit(3).unwrap();
    run(&mut node);
    assert!(stage.diary.take().contains(&"commit Synced a".to_owned()));
    assert!(stage.reports.try_recv().is_err(), "reported once");
}

#[test]
fn what_comes_for_a_failed_protocol_does_not_pile_up() {
    let (mut node, stage) = stage();
    let handle = node
        .add(channel(0), puppet(|_, _, _| Err(ToldToFail)), |_| {})
        .unwrap();
    handle.submit(1).unwrap();
    run(&mut node);
    let owner = Arc::new([7_u8; 100]);
    struct Shared(Arc<[u8; 100]>);
    impl AsRef<[u8]> for Shared {
        fn as_ref(&self) -> &[u8] {
            self.0.as_ref()
        }
    }
    let mut batch = vec![Envelope {
        from: peer(2),
        channel: channel(0),
        payload: Bytes::from_owner(Shared(owner.clone())),
    }];
    let mailbox = stage.wire.mailbox.lock().clone().unwrap();
    mailbox.deliver(&mut batch);
    run(&mut node);
    assert_eq!(Arc::strong_count(&owner), 1, "the message is kept");
}

/// Writes, asks for the commit on command, and tells of it.
fn asker(diary: &Diary) -> impl Protocol<Command = u32, Event = String> {
    let diary = diary.clone();
    puppet(move |_, input, fx| {
        match input {
            Input::Command(number) => {
                fx.batch().put(number.to_string().as_bytes(), b"");
                let turn = fx.notify_committed();
                assert_eq!(fx.notify_committed(), turn, "asking twice is asking once");
                diary.write(format!("asked {}", turn.get()));
            }
            Input::Committed(turn) => diary.write(format!("committed {}", turn.get())),
            _ => {}
        }
        Ok(())
    })
}

#[test]
fn committed_comes_once_for_each_turn_that_asked_in_order() {
    let (mut node, stage) = stage();
    let handle = node.add(channel(0), asker(&stage.diary), |_| {}).unwrap();
    for number in 0..3 {
        handle.submit(number).unwrap();
        run(&mut node);
    }
    let lines = stage.diary.take();
    let asked: Vec<_> = of(&lines, "asked ");
    assert_eq!(asked.len(), 3);
    assert_eq!(asked, of(&lines, "committed "));
}

fn of<'a>(lines: &'a [String], prefix: &str) -> Vec<&'a str> {
    lines
        .iter()
        .filter_map(|line| line.strip_prefix(prefix))
        .collect()
}

/// Waits, without sleeping, until `done` or the thread's work makes no difference any more.
fn turn_until(node: &mut Node, mut done: impl FnMut() -> bool) {
    for _ in 0..10_000_000_u64 {
        node.turn();
        if done() {
            return;
        }
        std::thread::yield_now();
    }
    panic!("the commit thread does not finish");
}

#[test]
fn with_a_commit_thread_several_turns_are_outstanding_and_each_is_told_of_in_order() {
    let (node, stage) = stage();
    *stage.store.gate.lock() = Some(0);
    let mut node = node.with_commit_thread().unwrap();
    let handle = node.add(channel(0), asker(&stage.diary), |_| {}).unwrap();
    handle.submit(0).unwrap();
    // The first stands before the gate by itself; the other two will share a sync behind it.
    stage.store.wait_for_a_commit(&mut node, |node| {
        run(node);
    });
    for number in 1..3 {
        handle.submit(number).unwrap();
        run(&mut node);
    }
    let lines = stage.diary.take();
    assert_eq!(of(&lines, "asked ").len(), 3, "three turns went on");
    assert!(of(&lines, "committed ").is_empty(), "none is durable");
    stage.store.open_gate_for(1);
    let diary = stage.diary.clone();
    let committed = move || {
        let lines = diary.0.lock();
        of(&lines, "committed ").len()
    };
    turn_until(&mut node, || committed() == 1);
    stage.store.open_gate_for(2);
    turn_until(&mut node, || committed() == 3);
    let after = stage.diary.take();
    assert_eq!(of(&lines, "asked "), of(&after, "committed "));
}

#[test]
fn with_a_commit_thread_nothing_that_waits_leaves_before_its_own_commit() {
    let (node, stage) = stage();
    *stage.store.gate.lock() = Some(0);
    let mut node = node.with_commit_thread().unwrap();
    let protocol = puppet(|_, input, fx| {
        if let Input::Command(number) = input {
            fx.batch().put(number.to_string().as_bytes(), b"");
            fx.send_after_commit(peer(2), Bytes::from(number.to_string()));
            fx.emit_after_commit(number.to_string());
        }
        Ok(())
    });
    let handle = node.add(channel(0), protocol, stage.diary.sink()).unwrap();
    for number in 1..=2 {
        handle.submit(number).unwrap();
        run(&mut node);
    }
    assert!(stage.diary.take().is_empty());
    stage.store.open_gate_for(2);
    let diary = stage.diary.clone();
    turn_until(&mut node, || diary.0.lock().contains(&"emit 2".to_owned()));
    let lines = stage.diary.take();
    for number in ["1", "2"] {
        let place = |what: &str| {
            let found = lines.iter().position(|line| line.starts_with(what));
            found.unwrap_or_else(|| panic!("{what} in {lines:?}"))
        };
        let commit = lines
            .iter()
            .position(|line| line.starts_with("commit") && line.ends_with(number))
            .unwrap();
        assert!(commit < place(&format!("send {number}")), "{lines:?}");
        assert!(place(&format!("send {number}")) < place(&format!("emit {number}")));
    }
}

#[test]
fn a_commit_thread_that_fails_stops_the_node() {
    let (node, stage) = stage();
    *stage.store.is_failing.lock() = true;
    let mut node = node.with_commit_thread().unwrap();
    let protocol = puppet(|_, _, fx| {
        fx.send_after_commit(peer(2), words("durable"));
        Ok(())
    });
    let handle = node.add(channel(0), protocol, stage.diary.sink()).unwrap();
    handle.submit(1).unwrap();
    let mut outcome = Next::Again;
    for _ in 0..10_000_000_u64 {
        outcome = node.turn();
        if outcome == Next::Stopped {
            break;
        }
        std::thread::yield_now();
    }
    assert_eq!(outcome, Next::Stopped);
    assert_eq!(stage.diary.take(), ["commit fails"]);
}

#[test]
fn a_refused_message_comes_back_as_unreachable_once() {
    for after_commit in [false, true] {
        let (mut node, stage) = stage_with(Some(peer(3)));
        let diary = stage.diary.clone();
        let protocol = puppet(move |_, input, fx| {
            match input {
                Input::Command(_) => {
                    for to in [2, 3, 3] {
                        if after_commit {
                            fx.send_after_commit(peer(to), words("hello"));
                        } else {
                            fx.send(peer(to), words("hello"));
                        }
                    }
                }
                Input::Unreachable(peer) => diary.write(format!("unreachable {peer}")),
                _ => {}
            }
            Ok(())
        });
        let handle = node.add(channel(0), protocol, |_| {}).unwrap();
        handle.submit(1).unwrap();
        run(&mut node);
        let lines = stage.diary.take();
        assert_eq!(of(&lines, "send "), ["hello"]);
        assert_eq!(of(&lines, "unreachable "), ["peer-3"]);
    }
}

#[test]
fn a_deadline_fires_once_and_again_when_it_is_set_again() {
    let (mut node, stage) = stage();
    let deadline = Arc::new(Mutex::new(None));
    let fired = Arc::new(Mutex::new(Vec::new()));
    let protocol = Puppet {
        step: {
            let (deadline, fired) = (deadline.clone(), fired.clone());
            move |now, input, _: &mut Effects<'_, String>| {
                match input {
                    Input::Timeout => {
                        fired.lock().push(now);
                        *deadline.lock() = None;
                    }
                    Input::Command(millis) => {
                        let set = Instant::from_nanos(u64::from(millis) * 1_000_000);
                        *deadline.lock() = Some(set);
                    }
                    _ => {}
                }
                Ok(())
            }
        },
        deadline: move || *deadline.lock(),
        settled: None,
        inputs: 0,
    };
    let handle = node.add(channel(0), protocol, |_| {}).unwrap();
    let at = |millis: u64| Instant::from_nanos(millis * 1_000_000);
    handle.submit(10).unwrap();
    assert_eq!(run(&mut node), Next::Sleep(Some(at(10))));
    handle.submit(20).unwrap();
    assert_eq!(run(&mut node), Next::Sleep(Some(at(20))), "moved");
    stage.clock.advance(Duration::from_millis(19));
    assert_eq!(run(&mut node), Next::Sleep(Some(at(20))), "not yet");
    stage.clock.advance(Duration::from_millis(1));
    assert_eq!(run(&mut node), Next::Sleep(None));
    run(&mut node);
    assert_eq!(*fired.lock(), [at(20)], "once");
    handle.submit(20).unwrap();
    run(&mut node);
    run(&mut node);
    assert_eq!(*fired.lock(), [at(20), at(20)], "the past is due at once");
}

#[test]
fn a_deadline_that_stays_in_the_past_fires_in_every_turn_and_no_more() {
    let (mut node, _) = stage();
    let (fired, count) = mpsc::channel();
    let protocol = Puppet {
        step: move |_, input, _: &mut Effects<'_, String>| {
            if matches!(input, Input::Timeout) {
                fired.send(()).unwrap();
            }
            Ok(())
        },
        deadline: || Some(Instant::default()),
        settled: None,
        inputs: 0,
    };
    node.add(channel(0), protocol, |_| {}).unwrap();
    for _ in 0..3 {
        assert_eq!(node.turn(), Next::Sleep(Some(Instant::default())));
    }
    assert_eq!(count.try_iter().count(), 2, "the first turn only settles");
}

#[test]
fn settle_is_called_once_a_turn_behind_all_inputs_and_once_at_first_without_any() {
    let (mut node, _) = stage();
    let (settled, counts) = mpsc::channel();
    let protocol = Puppet {
        step: |_, _, _: &mut Effects<'_, String>| Ok(()),
        deadline: || None,
        settled: Some(settled),
        inputs: 0,
    };
    let handle = node.add(channel(0), protocol, |_| {}).unwrap();
    run(&mut node);
    assert_eq!(counts.try_iter().collect::<Vec<_>>(), [0]);
    for number in 0..3 {
        handle.submit(number).unwrap();
    }
    run(&mut node);
    run(&mut node);
    assert_eq!(counts.try_iter().collect::<Vec<_>>(), [3]);
}

#[test]
fn inputs_come_in_their_fixed_order() {
    let (mut node, stage) = stage_with(Some(peer(9)));
    stage.clock.advance(Duration::from_secs(1));
    let diary = stage.diary.clone();
    let step = move |_, input: Input<u32>, fx: &mut Effects<'_, String>| {
        diary.write(match input {
            Input::Committed(_) => "committed",
            Input::Read(..) => "read",
            Input::Unreachable(_) => "unreachable",
            Input::Message(_) => "message",
            Input::Timeout => "timeout",
            Input::Command(1) => {
                fx.notify_committed();
                fx.read(ReadId(4), LogId::new(channel(0), 0), 0..9, 100);
                fx.send(peer(9), words("refused"));
                "first command"
            }
            Input::Command(_) => "command",
        });
        Ok(())
    };
    let protocol = Puppet {
        step,
        deadline: || Some(Instant::default()),
        settled: None,
        inputs: 0,
    };
    let handle = node.add(channel(0), protocol, |_| {}).unwrap();
    handle.submit(1).unwrap();
    node.turn();
    stage.diary.take();
    handle.submit(2).unwrap();
    let mut batch = vec![Envelope {
        from: peer(2),
        channel: channel(0),
        payload: words("hello"),
    }];
    stage
        .wire
        .mailbox
        .lock()
        .as_ref()
        .unwrap()
        .deliver(&mut batch);
    node.turn();
    let order = [
        "committed",
        "read",
        "unreachable",
        "message",
        "command",
        "timeout",
    ];
    assert_eq!(stage.diary.take(), order);
}

#[test]
fn a_read_sees_what_its_own_turn_wrote() {
    let (mut node, stage) = stage();
    let log = LogId::new(channel(0), 3);
    let diary = stage.diary.clone();
    let protocol = puppet(move |_, input, fx| {
        match input {
            Input::Command(_) => {
                fx.read(ReadId(8), log, 1..3, 1_000);
                fx.batch().append(log, 1, [b"one".as_slice(), b"two"]);
            }
            Input::Read(id, entries) => {
                diary.write(format!("read {} {:?}", id.0, entries.unwrap()));
            }
            _ => {}
        }
        Ok(())
    });
    let handle = node.add(channel(0), protocol, |_| {}).unwrap();
    handle.submit(1).unwrap();
    run(&mut node);
    let lines = stage.diary.take();
    assert_eq!(of(&lines, "read "), ["8 [b\"one\", b\"two\"]"]);
}

#[test]
fn a_full_queue_gives_the_command_back_and_a_turn_makes_room() {
    let (mut node, _) = stage();
    let handle = node
        .add(channel(0), puppet(|_, _, _| Ok(())), |_| {})
        .unwrap();
    let mut taken = 0;
    let refused = loop {
        match handle.submit(taken) {
            Ok(()) => taken += 1,
            Err(busy) => break busy,
        }
    };
    assert_eq!(taken, 65_536);
    assert!(matches!(refused, Busy::Full(65_536)));
    assert_eq!(refused.into_command(), 65_536);
    run(&mut node);
    handle.submit(1).unwrap();
    drop(node);
    assert!(matches!(handle.submit(2), Err(Busy::Closed(2))));
}

#[test]
fn a_channel_is_taken_once() {
    let (mut node, _) = stage();
    let add = |node: &mut Node| node.add(channel(7), puppet(|_, _, _| Ok(())), |_| {});
    add(&mut node).unwrap();
    let again = add(&mut node).unwrap_err();
    assert_eq!(
        again,
        AddError::ChannelTaken {
            channel: channel(7)
        }
    );
}

/// Two live nodes, each telling the other what it is commanded and emitting what it hears.
fn talkers() -> [(Node, peaberry_core::Handle<u32>, Receiver<String>); 2] {
    let network = MemoryNetwork::new();
    [(1, 2), (2, 1)].map(|(local, other)| {
        let transport = Arc::new(network.join(peer(local)));
        let clock = Arc::new(SystemClock::new());
        let mut node = Node::new(transport, Arc::new(MemoryStorage::new()), clock);
        let (heard, hears) = mpsc::channel();
        let protocol = puppet(move |_, input, fx| {
            match input {
                Input::Command(number) => {
                    fx.send_after_commit(peer(other), Bytes::from(number.to_string()));
                }
                Input::Message(message) => {
                    fx.emit(String::from_utf8_lossy(&message.payload).into_owned());
                }
                _ => {}
            }
            Ok(())
        });
        let sink = move |events: &mut Vec<String>| {
            for event in events.drain(..) {
                // The test may have heard enough.
                let _ = heard.send(event);
            }
        };
        let handle = node.add(channel(0), protocol, sink).unwrap();
        (node, handle, hears)
    })
}

#[test]
fn threads_host_nodes_until_they_are_stopped() {
    let [(one, first, _), (two, _, hears)] = talkers();
    let one = one.spawn("one").unwrap();
    let two = two.spawn("two").unwrap();
    for number in 0..100 {
        first.submit(number).unwrap();
        assert_eq!(hears.recv().unwrap(), number.to_string());
    }
    assert!(!one.is_finished());
    let node = one.stop();
    first.submit(100).unwrap();
    drop(two);
    drop(node);
    assert!(matches!(first.submit(101), Err(Busy::Closed(101))));
}

#[test]
fn a_thread_wakes_for_a_deadline() {
    let (heard, hears) = mpsc::channel();
    let clock = SystemClock::new();
    let due = clock.now() + Duration::from_millis(5);
    let deadline = Arc::new(Mutex::new(Some(due)));
    let protocol = Puppet {
        step: {
            let deadline = deadline.clone();
            move |now, input, _: &mut Effects<'_, String>| {
                if matches!(input, Input::Timeout) {
                    *deadline.lock() = None;
                    heard.send(now).unwrap();
                }
                Ok(())
            }
        },
        deadline: move || *deadline.lock(),
        settled: None,
        inputs: 0,
    };
    let transport = Arc::new(MemoryNetwork::new().join(peer(1)));
    let mut node = Node::new(transport, Arc::new(MemoryStorage::new()), Arc::new(clock));
    node.add(channel(0), protocol, |_| {}).unwrap();
    let _thread = node.spawn("alarm").unwrap();
    assert!(hears.recv().unwrap() >= due);
}

#[test]
fn tasks_host_nodes_until_they_are_dropped() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let [(one, first, _), (two, _, hears)] = talkers();
    let one = runtime.spawn(one.into_task());
    let two = runtime.spawn(two.into_task());
    for number in 0..100 {
        first.submit(number).unwrap();
        assert_eq!(hears.recv().unwrap(), number.to_string());
    }
    one.abort();
    two.abort();
    assert!(runtime.block_on(one).unwrap_err().is_cancelled());
    assert!(matches!(first.submit(100), Err(Busy::Closed(100))));
}

#[test]
fn a_task_completes_with_its_node_when_the_store_fails() {
    let (mut node, stage) = stage();
    *stage.store.is_failing.lock() = true;
    let protocol = puppet(|_, _, fx| {
        fx.sync();
        Ok(())
    });
    let handle = node.add(channel(0), protocol, |_| {}).unwrap();
    handle.submit(1).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let node = runtime.block_on(node.into_task());
    assert!(node.failure().is_some());
}
