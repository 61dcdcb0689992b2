//! The sink's side: a collector, and behind it a service that reads the inbox and keeps its copies of the twins.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::Bytes;
use peaberry_core::simulation::FaultKind;
use peaberry_core::{
    Batch, Channel, Durability, Instant, ProtocolId, Storage, StorageError, Subspace,
};
use peaberry_crdt::ReplicaId;
use peaberry_edge::collector::{COLLECTOR, Collector, CollectorSettings, Intake};
use peaberry_edge::payload::{Payload, Record};
use peaberry_edge::topic::{Lane, Topic};
use peaberry_edge::twin::{Side, Twin};
use peaberry_edge::uplink::{MemoryUplink, Message, Uplink};
use peaberry_edge::{BootEpoch, DeviceId, EdgeError};

use super::disk::Disk;
use super::findings::Findings;
use super::gateway::{a_wish, is_damage};
use super::link::{Accepted, Link};
use super::network::{FOG, Network, SERVICE};
use super::trace::Trace;
use super::{SITE, name, reached, wall_ms};

/// Whose keys the service's twins are.
const TWINS: ProtocolId = ProtocolId(2001);

/// Steps from one hello of a service that waits for something to the next.
const HELLO_STEPS: u64 = 10;

pub(super) struct Fog {
    pub(super) disk: Disk,
    rng: fastrand::Rng,
    inbox_max: u64,
    machines: Vec<DeviceId>,
    life: Option<Life>,
    /// Every record that was ever seen in the inbox, by its index there.
    arrived: BTreeMap<u64, Record>,
    /// The earlier starts that the collector has named.
    named: BTreeSet<(DeviceId, BootEpoch)>,
    /// The machines' disk was lost, and their twins with it.
    lost_twins: bool,
    seq: u64,
    trace: Trace,
}

/// From one start to the next.
struct Life {
    storage: Arc<dyn Storage>,
    intake: Intake<Link>,
    /// The next index to be looked at.
    next: u64,
    /// Nothing of the inbox is left to be looked at.
    has_read_all: bool,
    /// The service has made what it makes of everything before.
    served: u64,
    twins: BTreeMap<DeviceId, Twin>,
    service: MemoryUplink,
}

impl Fog {
    pub(super) fn new(mut rng: fastrand::Rng, machines: Vec<DeviceId>, trace: &Trace) -> Self {
        Self {
            disk: Disk::new("fog", rng.u64(..), None, trace),
            trace: trace.clone(),
            inbox_max: if rng.bool() { 30 } else { 10_000 },
            rng,
            machines,
            life: None,
            arrived: BTreeMap::new(),
            named: BTreeSet::new(),
            lost_twins: false,
            seq: 0,
        }
    }

    /// Every record that has arrived, in the order of the inbox.
    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.arrived.values()
    }

    /// Whether the collector has named this start of a device for an earlier one, since the machines'
    /// disk was [lost](Self::note_loss).
    pub(super) fn has_named(&self, device: &DeviceId, boot: BootEpoch) -> bool {
        self.named.contains(&(device.clone(), boot))
    }

    /// The machines' disk is lost.
    pub(super) fn note_loss(&mut self) {
        self.named.clear();
        self.lost_twins = true;
    }

    /// Whether the collector runs, and every record of its inbox was seen.
    pub(super) fn has_read_all(&self) -> bool {
        self.life.as_ref().is_some_and(|life| life.has_read_all)
    }

    pub(super) fn twin(&self, device: &DeviceId) -> Option<&Twin> {
        self.life.as_ref()?.twins.get(device)
    }

    fn boot(&mut self, network: &Network, findings: &mut Findings) {
        match self.open(network) {
            Ok(life) => {
                if life.next < self.arrived.len() as u64 {
                    findings.reach(reached::INBOX_READ_AGAIN);
                }
                self.life = Some(life);
            }
            Err(error) => {
                if is_damage(&error) {
                    findings.complain(format!("the collector does not start: {error:?}"));
                }
                self.disk.lose_power();
            }
        }
    }

    fn open(&mut self, network: &Network) -> Result<Life, EdgeError> {
        let storage = self.disk.open().map_err(|source| EdgeError::Storage {
            doing: "open the collector's store",
            source,
        })?;
        let owner = Channel::new(COLLECTOR, 1);
        let settings = CollectorSettings {
            inbox_max: self.inbox_max,
            ..CollectorSettings::default()
        };
        let collector = Collector::open(storage.as_ref(), owner, name(SITE), settings)?;
        let start = collector.inbox().start;
        let mut twins = BTreeMap::new();
        for (device, number) in self.machines.iter().zip(1..) {
            let space = Subspace::of(Channel::new(TWINS, number));
            let side = Side::Service(ReplicaId::new(77).expect("not zero"));
            twins.insert(device.clone(), Twin::open(storage.as_ref(), &space, side)?);
        }
        Ok(Life {
            intake: Intake::new(
                collector,
                network.connect(FOG, self.rng.fork(), &Accepted::default()),
            ),
            storage,
            next: start,
            has_read_all: false,
            served: start,
            twins,
            service: network.broker.connect(SERVICE),
        })
    }

    pub(super) fn crash(&mut self, kind: FaultKind, findings: &mut Findings) {
        findings.count(kind);
        self.fall(kind != FaultKind::Restart, findings);
    }

    fn fall(&mut self, is_power_lost: bool, findings: &mut Findings) {
        findings.reach(reached::FOG_CRASHED);
        self.life = None;
        if is_power_lost {
            self.disk.lose_power();
        } else {
            self.disk.end_process();
        }
    }

    /// Takes its turn; starts again where it has fallen.
    pub(super) fn turn(
        &mut self,
        now: Instant,
        step: u64,
        network: &Network,
        findings: &mut Findings,
    ) {
        if self.life.is_none() {
            return self.boot(network, findings);
        }
        let outcome = self
            .collect(now, findings)
            .and_then(|()| self.serve(now, findings));
        match outcome {
            Ok(()) => self.say_hello(step),
            Err(error) => {
                if is_damage(&error) {
                    findings.complain(format!("the collector cannot go on: {error:?}"));
                }
                let is_power_lost = self.rng.bool();
                self.fall(is_power_lost, findings);
            }
        }
    }

    fn collect(&mut self, now: Instant, findings: &mut Findings) -> Result<(), EdgeError> {
        let Some(life) = &mut self.life else {
            return Ok(());
        };
        let storage = life.storage.as_ref();
        let mut cx = Context::from_waker(Waker::noop());
        if let std::task::Poll::Ready(report) = life.intake.turn(&mut cx, now, storage)? {
            let branches = [
                (report.repeated > 0, reached::REPEATED),
                (report.of_earlier_starts > 0, reached::OF_EARLIER_START),
                (report.deferred > 0 && !report.is_full, reached::DEFERRED),
                (report.is_full, reached::COLLECTOR_FULL),
                (report.refused > 0, reached::STRANGER_REFUSED_BY_COLLECTOR),
            ];
            self.named.extend(report.earlier_starts);
            for (_, branch) in branches.iter().filter(|(was_reached, _)| *was_reached) {
                findings.reach(branch);
            }
        }
        let collector = life.intake.collector();
        while life.next < collector.inbox().end {
            for record in collector.records(storage, life.next, 1 << 16)? {
                // What was durable once stays what it was.
                let known = self
                    .arrived
                    .entry(life.next)
                    .or_insert_with(|| record.clone());
                if *known != record {
                    findings.complain(format!("{} took the place of {}", record.id, known.id));
                }
                life.next += 1;
            }
        }
        life.has_read_all = true;
        Ok(())
    }

    /// The service makes what it makes of some records, and takes them out, all in one commit.
    fn serve(&mut self, now: Instant, findings: &mut Findings) -> Result<(), EdgeError> {
        let Some(life) = &mut self.life else {
            return Ok(());
        };
        if self.rng.u32(..4) == 0 || life.served == life.next {
            return Ok(());
        }
        let to = self.rng.u64(life.served + 1..=life.next);
        let mut batch = Batch::new();
        let mut answers = Vec::new();
        for (_, record) in self.arrived.range(life.served..to) {
            let Payload::Twin(bytes) = &record.payload else {
                continue;
            };
            let device = &record.id.device;
            let Some(twin) = life.twins.get_mut(device) else {
                continue;
            };
            match twin.receive(bytes, Some(wall_ms(now)), &mut batch) {
                Ok(received) => {
                    let answer = |bytes| (device.clone(), bytes);
                    answers.extend(received.answers.into_iter().map(answer));
                }
                // One that has lost what it wrote once may claim it anew.
                Err(EdgeError::Twin { .. } | EdgeError::Malformed { .. }) if self.lost_twins => {
                    findings.reach(reached::TWIN_REFUSED);
                }
                Err(error) => {
                    findings.complain(format!("a twin of {device} is refused: {error:?}"))
                }
            }
        }
        life.intake.collector().discard(&mut batch, to);
        life.commit(&batch)?;
        life.served = to;
        for (device, bytes) in answers {
            findings.reach(reached::TWIN_ANSWERED);
            self.publish(&device, bytes, false);
        }
        Ok(())
    }

    /// Somebody far away desires something.
    pub(super) fn desire(&mut self, now: Instant, findings: &mut Findings) {
        let (key, value) = a_wish(&mut self.rng);
        let at = self.rng.usize(..self.machines.len());
        let device = self.machines.get(at).cloned();
        let is_retained = self.rng.bool();
        let Some((life, device)) = self.life.as_mut().zip(device) else {
            return;
        };
        let Some(twin) = life.twins.get_mut(&device) else {
            return;
        };
        let mut batch = Batch::new();
        let Ok(wished) = twin.desire(key, value, Some(wall_ms(now)), &mut batch) else {
            return;
        };
        if life.commit(&batch).is_err() {
            // Its memory is ahead of its disk.
            return self.fall(false, findings);
        }
        findings.reach(reached::TWIN_DESIRED_AWAY);
        self.publish(&device, wished, is_retained);
    }

    /// A service that waits for something says what it knows, again and again.
    fn say_hello(&mut self, step: u64) {
        let Some(life) = &self.life else {
            return;
        };
        if !step.is_multiple_of(HELLO_STEPS) {
            return;
        }
        let hello = |(device, twin): (&DeviceId, &Twin)| (device.clone(), twin.hello());
        let hellos: Vec<_> = life.twins.iter().map(hello).collect();
        for (device, hello) in hellos {
            self.publish(&device, hello, false);
        }
    }

    fn publish(&mut self, device: &DeviceId, bytes: Bytes, is_retained: bool) {
        let Some(life) = &mut self.life else {
            return;
        };
        let topic = Topic {
            site: name(SITE),
            device: device.clone(),
            lane: Lane::DesiredTwin,
        };
        let mut message = Message::new(topic.to_string(), bytes);
        message.is_retained = is_retained;
        self.trace.sent(SERVICE, &message);
        self.seq += 1;
        // What does not leave now is made up for by the next hello.
        let _ = life.service.submit(self.seq, message);
        let mut cx = Context::from_waker(Waker::noop());
        let _ = life.service.poll_events(&mut cx, &mut Vec::new());
    }
}

impl Life {
    fn commit(&self, batch: &Batch) -> Result<(), EdgeError> {
        let doing = "make what the service knows durable";
        self.storage
            .commit(batch, Durability::Synced)
            .map_err(|source: StorageError| EdgeError::Storage { doing, source })
    }
}
