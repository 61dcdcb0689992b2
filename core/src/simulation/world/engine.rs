use std::sync::atomic::Ordering;

use super::World;
use crate::node::{Next, Node};
use crate::simulation::committer::SimulatedCommitter;
use crate::simulation::faults::FaultKind;
use crate::simulation::machine::Boot;
use crate::simulation::substrate::Event;
use crate::simulation::trace::TraceKind;

/// How long a machine takes to notice news, and how long a turn takes beside its disk, in nanoseconds.
const NOTICE_NANOS_MAX: u64 = 50_000;
const TURN_NANOS_MIN: u64 = 2_000;
const TURN_NANOS_MAX: u64 = 20_000;
/// How long a machine stays down that nobody in particular has put down.
const RESTART_NANOS_MIN: u64 = 10_000_000;
const RESTART_NANOS_MAX: u64 = 1_000_000_000;
/// How far a machine's clock may stand from zero at boot.
const CLOCK_ORIGIN_NANOS_MAX: u64 = 3_600_000_000_000;

/// How a machine goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Down {
    /// Without what it had not synced.
    PowerLoss,
    /// With its files as they are.
    ProcessEnd,
    /// Its store failed: what it had not synced may be gone.
    StorageFailed,
}

impl World {
    pub(super) fn advance(&self, to: u64) {
        let substrate = self.substrate.lock();
        let now = substrate.now_nanos().max(to);
        substrate.world.store(now, Ordering::Relaxed);
        drop(substrate);
        for machine in &self.machines {
            machine.clock.wake_sleepers();
        }
    }

    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver {
                from,
                to,
                message,
                envelope,
            } => {
                let mut substrate = self.substrate.lock();
                substrate.deliver(from, to, message, envelope, &mut self.scratch);
            }
            Event::Turn { machine } => self.wake(machine),
            Event::Resume { machine, pause } => {
                if self.machine(machine).pauses == pause {
                    self.resume(machine);
                }
            }
            Event::CommitBegins {
                machine,
                incarnation,
            } => self.begin_commit(machine, incarnation),
            Event::CommitEnds {
                machine,
                incarnation,
            } => self.end_commit(machine, incarnation),
            Event::Start {
                machine,
                incarnation,
            } => {
                let is_due = self.substrate.lock().port(machine).incarnation == incarnation;
                if is_due {
                    self.start(machine);
                }
            }
            Event::Mend { links, healing } => {
                if healing == self.healing {
                    for (from, to) in links {
                        self.mend_link(from, to);
                    }
                }
            }
            Event::Strike { healing } => {
                if healing == self.healing {
                    self.strike();
                }
            }
            Event::Action(id) => {
                if let Some(action) = self.actions.remove(&id) {
                    action(self);
                }
            }
        }
    }

    /// Queues a turn for every machine that has news.
    pub(super) fn notice(&mut self) {
        for at in 0..self.machines.len() {
            let machine = self.machine(at);
            if machine.node.is_some() && machine.signal.is_notified() {
                let latency = machine.rng.u64(..NOTICE_NANOS_MAX);
                let now = self.now_nanos();
                let soon = now + NOTICE_NANOS_MAX;
                let machine = self.machine(at);
                if machine
                    .wake
                    .is_none_or(|wake| wake > soon.max(machine.busy_until))
                {
                    self.queue_turn(at, now + latency);
                }
            }
        }
    }

    /// Queues the machine's next turn in place of the one that may be queued.
    pub(super) fn queue_turn(&mut self, at: usize, when: u64) {
        let machine = self.machine(at);
        let when = when.max(machine.busy_until).max(machine.paused_until);
        machine.wake = Some(when);
        self.push(when, Event::Turn { machine: at });
    }

    fn wake(&mut self, at: usize) {
        let now = self.now_nanos();
        let machine = self.machine(at);
        if machine.wake != Some(now) {
            return;
        }
        machine.wake = None;
        if machine.paused_until > now {
            self.queue_turn(at, now);
        } else {
            self.turn(at);
        }
    }

    pub(super) fn turn(&mut self, at: usize) {
        let Some(node) = &mut self.machine(at).node else {
            return;
        };
        let next = node.turn();
        let mut substrate = self.substrate.lock();
        let port = substrate.port(at);
        let elapsed = std::mem::take(&mut port.elapsed);
        let is_doomed = port.is_doomed;
        let free_at = substrate.now_nanos() + elapsed;
        drop(substrate);
        if is_doomed {
            self.take_down(at, Down::PowerLoss);
            return self.come_back(at);
        }
        let machine = self.machine(at);
        machine.busy_until = free_at + machine.rng.u64(TURN_NANOS_MIN..=TURN_NANOS_MAX);
        match next {
            Next::Again => self.queue_turn(at, 0),
            Next::Sleep(None) => {}
            Next::Sleep(Some(deadline)) => {
                let when = machine.clock.world_time(deadline);
                self.queue_turn(at, when);
            }
            Next::Stopped => {
                self.take_down(at, Down::StorageFailed);
                self.come_back(at);
            }
        }
    }

    /// A paused machine's disk works no further than it had when the pause began.
    fn begin_commit(&mut self, at: usize, incarnation: u64) {
        let now = self.now_nanos();
        let Some(committer) = self.committer(at, incarnation) else {
            return;
        };
        let paused_until = self.machine(at).paused_until;
        if paused_until > now {
            let event = Event::CommitBegins {
                machine: at,
                incarnation,
            };
            return self.push(paused_until, event);
        }
        committer.begin();
        let mut substrate = self.substrate.lock();
        let port = substrate.port(at);
        let elapsed = std::mem::take(&mut port.elapsed);
        let is_doomed = port.is_doomed;
        drop(substrate);
        if is_doomed || self.machine(at).files.is_off() {
            self.take_down(at, Down::PowerLoss);
            return self.come_back(at);
        }
        let event = Event::CommitEnds {
            machine: at,
            incarnation,
        };
        self.push(now + elapsed, event);
    }

    fn end_commit(&mut self, at: usize, incarnation: u64) {
        let Some(committer) = self.committer(at, incarnation) else {
            return;
        };
        if committer.end() {
            let now = self.now_nanos();
            let event = Event::CommitBegins {
                machine: at,
                incarnation,
            };
            self.push(now, event);
        }
    }

    /// What commits beside the machine's turns, if it is still in this life.
    fn committer(&mut self, at: usize, incarnation: u64) -> Option<SimulatedCommitter> {
        let machine = self.machine(at);
        let is_running = machine.node.is_some();
        let committer = machine.committer.clone();
        committer.filter(|committer| is_running && committer.incarnation() == incarnation)
    }

    /// The clock has changed: what the node waits for comes at another time. A turn too many does no harm.
    pub(super) fn requeue_deadline(&mut self, at: usize) {
        if self.machine(at).node.is_some() {
            let now = self.now_nanos();
            self.queue_turn(at, now);
        }
    }

    pub(super) fn start(&mut self, at: usize) {
        let machine = self.machine(at);
        if machine.node.is_some() {
            return;
        }
        let origin = machine.rng.u64(..CLOCK_ORIGIN_NANOS_MAX);
        machine.clock.reboot(origin);
        let seed = machine.rng.u64(..);
        let (peer, clock) = (machine.peer, machine.clock.clone());
        let (storage, files) = (machine.storage.clone(), machine.files.clone());
        let mut function = machine
            .boot
            .take()
            .expect("a boot function does not boot its own machine");
        let mut substrate = self.substrate.lock();
        let port = substrate.port(at);
        port.incarnation += 1;
        port.reset(true);
        let incarnation = port.incarnation;
        substrate.record(TraceKind::Started { peer, incarnation });
        drop(substrate);
        let mut boot = Boot {
            peer,
            machine: at,
            incarnation,
            seed,
            clock,
            storage,
            files,
            substrate: self.substrate.clone(),
            committer: None,
        };
        let outcome = function(&mut boot);
        self.machine(at).committer = boot.committer;
        self.machine(at).boot = Some(function);
        match outcome {
            Ok(node) => self.run(at, node),
            Err(_) => self.boot_failed(at),
        }
    }

    pub(super) fn run(&mut self, at: usize, node: Node) {
        let now = self.now_nanos();
        let mut substrate = self.substrate.lock();
        let elapsed = std::mem::take(&mut substrate.port(at).elapsed);
        drop(substrate);
        let machine = self.machine(at);
        machine.signal = node.signal().clone();
        machine.node = Some(node);
        machine.busy_until = now + elapsed;
        let latency = machine.rng.u64(..NOTICE_NANOS_MAX);
        self.queue_turn(at, now + latency);
    }

    pub(super) fn boot_failed(&mut self, at: usize) {
        let peer = self.machine(at).peer;
        self.record(TraceKind::BootFailed { peer });
        let is_off = self.machine(at).files.is_off();
        self.fell(
            at,
            if is_off {
                Down::PowerLoss
            } else {
                Down::StorageFailed
            },
        );
        self.come_back(at);
    }

    pub(super) fn take_down(&mut self, at: usize, how: Down) {
        let machine = self.machine(at);
        let peer = machine.peer;
        let Some(node) = machine.node.take() else {
            return;
        };
        let how = if machine.files.is_off() {
            self.substrate
                .lock()
                .counts
                .add(FaultKind::CrashWithinWrite);
            Down::PowerLoss
        } else {
            how
        };
        self.record(match how {
            Down::PowerLoss => TraceKind::Crashed { peer },
            Down::ProcessEnd => TraceKind::Killed { peer },
            Down::StorageFailed => TraceKind::Stopped { peer },
        });
        // Dead before its store, sinks and handles are dropped: nothing they do has any effect.
        self.fell(at, how);
        drop(node);
    }

    /// What a fall does to the machine's disk and timers.
    pub(super) fn fell(&mut self, at: usize, how: Down) {
        self.substrate.lock().port(at).reset(false);
        let machine = self.machine(at);
        machine.wake = None;
        match how {
            Down::ProcessEnd => {
                machine.storage.reopen();
                machine.files.kill();
            }
            Down::StorageFailed => {
                machine.storage.crash(&mut machine.rng);
                machine.files.kill();
            }
            Down::PowerLoss => {
                machine.storage.crash(&mut machine.rng);
                machine.files.crash();
            }
        }
    }

    /// Plans a restart: soon as often as late.
    pub(super) fn come_back(&mut self, at: usize) {
        let machine = self.machine(at);
        let max = if machine.rng.bool() {
            RESTART_NANOS_MAX / 20
        } else {
            RESTART_NANOS_MAX
        };
        let downtime = machine.rng.u64(RESTART_NANOS_MIN..=max);
        self.come_back_after(at, downtime);
    }

    pub(super) fn come_back_after(&mut self, at: usize, downtime: u64) {
        let mut substrate = self.substrate.lock();
        let incarnation = substrate.port(at).incarnation;
        let when = substrate.now_nanos() + downtime;
        let event = Event::Start {
            machine: at,
            incarnation,
        };
        substrate.queue.push(when, event);
    }

    pub(super) fn resume(&mut self, at: usize) {
        let now = self.now_nanos();
        let machine = self.machine(at);
        if machine.paused_until == 0 {
            return;
        }
        machine.paused_until = 0;
        machine.pauses += 1;
        let peer = machine.peer;
        let latency = machine.rng.u64(..NOTICE_NANOS_MAX);
        self.record(TraceKind::Resumed { peer });
        if self.machine(at).node.is_some() {
            self.queue_turn(at, now + latency);
        }
    }
}
