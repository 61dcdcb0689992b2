use super::World;
use super::engine::Down;
use crate::simulation::clock::RATE_TRUE;
use crate::simulation::faults::FaultKind;
use crate::simulation::substrate::{CrashPoint, Event};

/// Within how many commits or messages from now a crash point lies.
const CRASH_POINT_MAX: u32 = 4;
/// Within how many operations on files power fails.
const CRASH_OPERATIONS_MAX: u64 = 20;
/// How much room is left on a disk that is about to be full.
const FULL_BYTES_MAX: u64 = 4_096;
/// How many commits in a row find a full disk.
const FULL_COMMITS_MAX: u32 = 3;
/// How far a calendar jumps.
const CALENDAR_JUMP_NANOS_MAX: i64 = 86_400_000_000_000;

/// The faults that a profile brings about.
impl World {
    /// Brings about one fault and plans the next.
    pub(super) fn strike(&mut self) {
        let Some(mut nemesis) = self.nemesis.take() else {
            return;
        };
        if let Some(kind) = nemesis.draw() {
            let lasting = nemesis.lasting();
            let drift = nemesis.profile.drift_per_million;
            self.bring_about(kind, lasting, drift, &mut nemesis.rng);
        }
        let next = self.now_nanos() + nemesis.interval().max(1);
        let healing = self.healing;
        self.push(next, Event::Strike { healing });
        self.nemesis = Some(nemesis);
    }

    fn bring_about(&mut self, kind: FaultKind, lasting: u64, drift: u32, rng: &mut fastrand::Rng) {
        match kind {
            FaultKind::Crash => self.fell_one(Down::PowerLoss, kind, lasting, rng),
            FaultKind::Restart => self.fell_one(Down::ProcessEnd, kind, lasting, rng),
            FaultKind::CrashAll => self.crash_all(lasting, rng),
            FaultKind::CrashBeforeCommit
            | FaultKind::CrashAfterCommit
            | FaultKind::CrashAfterSend => {
                self.set_crash_point(kind, rng);
            }
            FaultKind::FailedSync | FaultKind::DiskFull | FaultKind::CrashWithinWrite => {
                self.break_disk(kind, lasting, rng);
            }
            FaultKind::Pause => self.pause_one(lasting, rng),
            FaultKind::ClockRate | FaultKind::CalendarJump => self.bend_clock(kind, drift, rng),
            FaultKind::Partition => self.split(lasting, rng),
            FaultKind::OneWay => self.cut_one_way(lasting, rng),
            FaultKind::Isolate => {
                if let Some(at) = self.any_machine(rng) {
                    self.isolate_for(at, kind, lasting);
                }
            }
            FaultKind::IsolateImportant => {
                let important = self.important.as_mut().and_then(|important| important());
                if let Some(peer) = important {
                    self.isolate_for(self.find(peer), kind, lasting);
                }
            }
            FaultKind::LossBurst | FaultKind::DuplicateBurst | FaultKind::DelayBurst => {
                self.burst(kind, lasting);
            }
            FaultKind::LostWrites
            | FaultKind::TornWrites
            | FaultKind::GarbledWrites
            | FaultKind::CrashAfterChosenSend => {
                unreachable!("comes by itself and has no weight")
            }
        }
    }

    fn count(&self, kind: FaultKind) {
        self.substrate.lock().counts.add(kind);
    }

    fn any_machine(&self, rng: &mut fastrand::Rng) -> Option<usize> {
        let count = self.machines.len();
        (count > 0).then(|| rng.usize(..count))
    }

    fn any_running(&self, rng: &mut fastrand::Rng) -> Option<usize> {
        let running: Vec<_> = (0..self.machines.len())
            .filter(|&at| self.machines.get(at).is_some_and(|it| it.node.is_some()))
            .collect();
        rng.choice(running)
    }

    fn fell_one(&mut self, how: Down, kind: FaultKind, lasting: u64, rng: &mut fastrand::Rng) {
        if let Some(at) = self.any_running(rng) {
            self.count(kind);
            self.take_down(at, how);
            self.come_back_after(at, lasting);
        }
    }

    fn crash_all(&mut self, lasting: u64, rng: &mut fastrand::Rng) {
        self.count(FaultKind::CrashAll);
        for at in 0..self.machines.len() {
            self.take_down(at, Down::PowerLoss);
            self.come_back_after(at, rng.u64(..=lasting));
        }
    }

    fn set_crash_point(&self, kind: FaultKind, rng: &mut fastrand::Rng) {
        let nth = rng.u32(1..=CRASH_POINT_MAX);
        let point = match kind {
            FaultKind::CrashBeforeCommit => CrashPoint::BeforeCommit(nth),
            FaultKind::CrashAfterCommit => CrashPoint::AfterCommit(nth),
            _ => CrashPoint::AfterSend(nth),
        };
        if let Some(at) = self.any_running(rng) {
            self.substrate.lock().port(at).crash_point = Some(point);
        }
    }

    fn break_disk(&mut self, kind: FaultKind, lasting: u64, rng: &mut fastrand::Rng) {
        let running = self.any_running(rng);
        let Some(machine) = running.and_then(|at| self.machines.get(at)) else {
            return;
        };
        match kind {
            FaultKind::FailedSync => {
                machine.storage.fail_next_sync();
                machine.files.fail_next_sync();
            }
            FaultKind::CrashWithinWrite => {
                machine.files.crash_after(rng.u64(..CRASH_OPERATIONS_MAX));
            }
            _ => {
                machine.storage.fill_for(rng.u32(1..=FULL_COMMITS_MAX));
                let files = machine.files.clone();
                files.limit_bytes(Some(files.bytes() + rng.u64(..FULL_BYTES_MAX)));
                let lasting = std::time::Duration::from_nanos(lasting);
                self.after(lasting, move |_| files.limit_bytes(None));
            }
        }
    }

    fn pause_one(&mut self, lasting: u64, rng: &mut fastrand::Rng) {
        if let Some(at) = self.any_running(rng) {
            self.count(FaultKind::Pause);
            let peer = self.machine(at).peer;
            self.pause(peer, std::time::Duration::from_nanos(lasting));
        }
    }

    fn bend_clock(&mut self, kind: FaultKind, drift: u32, rng: &mut fastrand::Rng) {
        let Some(at) = self.any_machine(rng) else {
            return;
        };
        self.count(kind);
        let peer = self.machine(at).peer;
        if kind == FaultKind::ClockRate {
            let rate = rng.u32(RATE_TRUE.saturating_sub(drift)..=RATE_TRUE + drift);
            self.set_clock_rate(peer, rate);
        } else {
            let nanos = rng.i64(-CALENDAR_JUMP_NANOS_MAX..=CALENDAR_JUMP_NANOS_MAX);
            self.jump_calendar(peer, nanos);
        }
    }

    fn split(&mut self, lasting: u64, rng: &mut fastrand::Rng) {
        let count = self.machines.len();
        if count < 2 {
            return;
        }
        let mut order: Vec<_> = (0..count).collect();
        rng.shuffle(&mut order);
        order.truncate(rng.usize(1..count));
        self.count(FaultKind::Partition);
        let links = self.links_between(&order);
        self.cut_for(links, lasting);
    }

    fn cut_one_way(&mut self, lasting: u64, rng: &mut fastrand::Rng) {
        let count = self.machines.len();
        if count < 2 {
            return;
        }
        let from = rng.usize(..count);
        let to = (from + rng.usize(1..count)) % count;
        self.count(FaultKind::OneWay);
        self.cut_for(vec![(from, to)], lasting);
    }

    fn isolate_for(&mut self, at: usize, kind: FaultKind, lasting: u64) {
        self.count(kind);
        let links = self.links_between(&[at]);
        self.cut_for(links, lasting);
    }

    fn cut_for(&mut self, links: Vec<(usize, usize)>, lasting: u64) {
        for &(from, to) in &links {
            self.cut_link(from, to);
        }
        let healing = self.healing;
        let at = self.now_nanos() + lasting;
        self.push(at, Event::Mend { links, healing });
    }

    fn burst(&self, kind: FaultKind, lasting: u64) {
        self.count(kind);
        let mut substrate = self.substrate.lock();
        let until = substrate.now_nanos() + lasting;
        let network = &mut substrate.network;
        match kind {
            FaultKind::LossBurst => network.loss_until = until,
            FaultKind::DuplicateBurst => network.duplicate_until = until,
            _ => network.delay_until = until,
        }
    }
}
