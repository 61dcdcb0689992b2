use std::time::Duration;

use super::World;
use super::engine::Down;
use crate::peer::PeerId;
use crate::simulation::clock::RATE_TRUE;
use crate::simulation::faults::{FaultProfile, Nemesis};
use crate::simulation::network::{NetworkProfile, nanos};
use crate::simulation::substrate::{CrashPoint, Event};
use crate::simulation::trace::TraceKind;
use crate::transport::Outgoing;

/// Breaking things, and making them whole again.
impl World {
    /// The machine loses its power, and with it what it had not synced. It stays down until [`restart`](Self::restart).
    pub fn crash(&mut self, peer: PeerId) {
        let at = self.find(peer);
        self.take_down(at, Down::PowerLoss);
    }

    /// The machine's process ends; its files stay as they are. It stays down until [`restart`](Self::restart).
    pub fn kill(&mut self, peer: PeerId) {
        let at = self.find(peer);
        self.take_down(at, Down::ProcessEnd);
    }

    /// Boots the machine, now, if it is down.
    pub fn restart(&mut self, peer: PeerId) {
        let at = self.find(peer);
        self.start(at);
    }

    /// The machine will crash at `point`, and come back by itself within a second.
    pub fn crash_at(&mut self, peer: PeerId, point: CrashPoint) {
        let at = self.find(peer);
        self.substrate.lock().port(at).crash_point = Some(point);
    }

    /// The machine takes no turns for so long, while its clock runs on and its messages queue.
    pub fn pause(&mut self, peer: PeerId, duration: Duration) {
        let at = self.find(peer);
        let until = self.now_nanos().saturating_add(nanos(duration));
        let machine = self.machine(at);
        machine.paused_until = machine.paused_until.max(until);
        machine.pauses += 1;
        let pause = machine.pauses;
        let until = machine.paused_until;
        self.record(TraceKind::Paused { peer });
        self.push(until, Event::Resume { machine: at, pause });
    }

    /// The machine's clock runs at `rate` millionths of the true speed.
    pub fn set_clock_rate(&mut self, peer: PeerId, rate: u32) {
        let at = self.find(peer);
        self.machine(at).clock.set_rate(rate);
        self.record(TraceKind::ClockRate { peer, rate });
        self.requeue_deadline(at);
    }

    /// The machine's calendar jumps by `nanos`.
    pub fn jump_calendar(&mut self, peer: PeerId, nanos: i64) {
        let at = self.find(peer);
        self.machine(at).clock.jump_calendar(nanos);
        self.record(TraceKind::CalendarJump { peer, nanos });
    }

    /// How the network treats messages from now on.
    pub fn set_network(&mut self, profile: NetworkProfile) {
        self.substrate.lock().network.profile = profile;
    }

    /// Messages from `from` no longer reach `to`; those on their way neither. Cuts add up: as many
    /// [mends](Self::mend) undo them.
    pub fn cut(&mut self, from: PeerId, to: PeerId) {
        let (from, to) = (self.find(from), self.find(to));
        self.cut_link(from, to);
    }

    /// Takes one cut away.
    pub fn mend(&mut self, from: PeerId, to: PeerId) {
        let (from, to) = (self.find(from), self.find(to));
        self.mend_link(from, to);
    }

    /// Cuts every link, both ways, between the machines of `part` and the others.
    pub fn partition(&mut self, part: &[PeerId]) {
        let part: Vec<_> = part.iter().map(|&peer| self.find(peer)).collect();
        for (from, to) in self.links_between(&part) {
            self.cut_link(from, to);
        }
    }

    /// Cuts every link of one machine, both ways.
    pub fn isolate(&mut self, peer: PeerId) {
        self.partition(&[peer]);
    }

    /// Lets the world bring about the faults of `profile`, from now until [`heal`](Self::heal).
    pub fn unleash(&mut self, profile: FaultProfile) {
        self.substrate.lock().chosen_per_mille = profile.chosen_per_mille;
        let rng = self.rng.fork();
        let nemesis = self.nemesis.insert(Nemesis { profile, rng });
        let at = nemesis.interval();
        self.healing += 1;
        let healing = self.healing;
        self.push(self.now_nanos() + at, Event::Strike { healing });
    }

    /// Tells whom [`IsolateImportant`](crate::simulation::FaultKind::IsolateImportant) is to hit at this moment, such as the leader.
    pub fn set_important(&mut self, important: impl FnMut() -> Option<PeerId> + 'static) {
        self.important = Some(Box::new(important));
    }

    /// Tells which messages are moments worth a crash right behind them, such as votes; how often a profile says.
    pub fn choose_sends(&mut self, choose: impl FnMut(PeerId, &Outgoing) -> bool + Send + 'static) {
        self.substrate.lock().choose = Some(Box::new(choose));
    }

    /// Ends all trouble: no more faults, links whole, clocks true, stores willing, every machine up. What follows must
    /// come to a good end: the phase that checks liveness.
    pub fn heal(&mut self) {
        self.nemesis = None;
        self.healing += 1;
        let mut substrate = self.substrate.lock();
        substrate.chosen_per_mille = 0;
        substrate.network.end_bursts();
        drop(substrate);
        let all: Vec<_> = (0..self.machines.len()).collect();
        for &from in &all {
            for &to in &all {
                self.mend_link_fully(from, to);
            }
        }
        for &at in &all {
            self.heal_machine(at);
        }
    }

    fn heal_machine(&mut self, at: usize) {
        self.substrate.lock().port(at).crash_point = None;
        let machine = self.machine(at);
        let peer = machine.peer;
        machine.storage.heal();
        machine.files.limit_bytes(None);
        self.set_clock_rate(peer, RATE_TRUE);
        self.resume(at);
        self.start(at);
    }

    pub(super) fn links_between(&self, part: &[usize]) -> Vec<(usize, usize)> {
        let others = (0..self.machines.len()).filter(|at| !part.contains(at));
        others
            .flat_map(|other| {
                part.iter()
                    .flat_map(move |&one| [(one, other), (other, one)])
            })
            .collect()
    }

    fn ends(&self, from: usize, to: usize) -> Option<(PeerId, PeerId)> {
        Some((self.machines.get(from)?.peer, self.machines.get(to)?.peer))
    }

    pub(super) fn cut_link(&mut self, from: usize, to: usize) {
        let is_news = self.substrate.lock().network.cut(from, to);
        if let Some((from, to)) = self.ends(from, to).filter(|_| is_news) {
            self.record(TraceKind::Cut { from, to });
        }
    }

    pub(super) fn mend_link(&mut self, from: usize, to: usize) {
        let is_news = self.substrate.lock().network.mend(from, to);
        if let Some((from, to)) = self.ends(from, to).filter(|_| is_news) {
            self.record(TraceKind::Mended { from, to });
        }
    }

    fn mend_link_fully(&mut self, from: usize, to: usize) {
        let is_news = self.substrate.lock().network.mend_fully(from, to);
        if let Some((from, to)) = self.ends(from, to).filter(|_| is_news) {
            self.record(TraceKind::Mended { from, to });
        }
    }
}
