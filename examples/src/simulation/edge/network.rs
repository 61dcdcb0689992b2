//! The broker, and who reaches it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use peaberry_core::simulation::FaultKind;
use peaberry_edge::uplink::MemoryBroker;
use peaberry_edge::uplink::memory::Faults;

use super::findings::Findings;
use super::link::{Accepted, Link, Way, Weather};
use super::reached;
use super::trace::Trace;

/// The gateway's uplinks, of which it may use but the first.
pub(super) const GATEWAY: [&str; 2] = ["gateway", "gateway-2"];
pub(super) const FOG: &str = "fog";
pub(super) const SERVICE: &str = "service";
pub(super) const TILL: &str = "till";
pub(super) const STRANGER: &str = "stranger";

/// What goes wrong at any time.
const DRIZZLE: Faults = Faults {
    lost: 5,
    unanswered: 5,
    repeated: 20,
    forgotten: 20,
};

pub(super) struct Network {
    pub(super) broker: MemoryBroker,
    pub(super) weather: Arc<Weather>,
    pub(super) trace: Trace,
    broker_is_up: bool,
    cut: BTreeSet<&'static str>,
}

impl Network {
    pub(super) fn new(seed: u64, trace: Trace) -> Self {
        let network = Self {
            broker: MemoryBroker::with_faults(seed, DRIZZLE),
            weather: Arc::default(),
            trace,
            broker_is_up: true,
            cut: BTreeSet::new(),
        };
        network.set_weather(20, 20);
        network.weather.refused.store(10, Ordering::Relaxed);
        network
    }

    fn set_weather(&self, late: u32, twice: u32) {
        self.weather.late.store(late, Ordering::Relaxed);
        self.weather.twice.store(twice, Ordering::Relaxed);
    }

    /// The way of `name` to the broker, cut if it was cut.
    pub(super) fn connect(
        &self,
        name: &'static str,
        rng: fastrand::Rng,
        accepted: &Accepted,
    ) -> Link {
        let link = Way::link(self, name, rng, accepted);
        if self.cut.contains(name) {
            self.broker.cut(name);
        }
        link
    }

    pub(super) fn kill_broker(&mut self, findings: &mut Findings) {
        if self.broker_is_up {
            findings.reach(reached::BROKER_KILLED);
            self.broker.kill();
            self.broker_is_up = false;
        }
    }

    pub(super) fn cut(&mut self, name: &'static str, findings: &mut Findings) {
        findings.count(FaultKind::Isolate);
        findings.reach(reached::LINK_CUT);
        self.broker.cut(name);
        self.cut.insert(name);
    }

    pub(super) fn storm(&self, kind: FaultKind, findings: &mut Findings) {
        findings.count(kind);
        match kind {
            FaultKind::LossBurst => self.broker.set_faults(Faults {
                lost: 150,
                unanswered: 150,
                forgotten: 150,
                ..DRIZZLE
            }),
            FaultKind::DuplicateBurst => self.set_weather(20, 500),
            _ => self.set_weather(500, 20),
        }
    }

    /// The broker runs, links are mended, and no more is lost than usual.
    pub(super) fn mend(&mut self) {
        if !self.broker_is_up {
            self.broker.start();
            self.broker_is_up = true;
        }
        for link in std::mem::take(&mut self.cut) {
            self.broker.mend(link);
        }
        self.broker.set_faults(DRIZZLE);
        self.set_weather(20, 20);
    }

    /// Nothing is lost any more.
    pub(super) fn clear_up(&mut self) {
        self.mend();
        self.broker.set_faults(Faults::default());
        self.set_weather(0, 0);
        self.weather.refused.store(0, Ordering::Relaxed);
    }
}
