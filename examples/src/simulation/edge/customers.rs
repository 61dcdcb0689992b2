//! Who sends commands: a till, and a stranger who sends anything at all.

use std::task::{Context, Waker};

use bytes::Bytes;
use peaberry_core::{Batch, Channel, MemoryStorage, ProtocolId, Subspace};
use peaberry_edge::payload::{Action, Command, Payload, Record, SinkAck, Wire};
use peaberry_edge::topic::{Lane, Stream, Topic};
use peaberry_edge::twin::{Side, Twin, TwinValue};
use peaberry_edge::uplink::{MemoryUplink, Message, Uplink};
use peaberry_edge::{BootEpoch, DeviceId, Name, RecordId};

use super::findings::Findings;
use super::network::{Network, STRANGER, TILL};
use super::trace::Trace;
use super::{SITE, name, reached};

/// How many orders a till places at most.
const ORDERS_MAX: usize = 14;

pub(super) struct Customers {
    rng: fastrand::Rng,
    till: MemoryUplink,
    stranger: MemoryUplink,
    seq: u64,
    machines: Vec<DeviceId>,
    orders: Vec<(DeviceId, Name, Name)>,
    trace: Trace,
}

impl Customers {
    pub(super) fn new(rng: fastrand::Rng, network: &Network, machines: Vec<DeviceId>) -> Self {
        Self {
            rng,
            till: network.broker.connect(TILL),
            stranger: network.broker.connect(STRANGER),
            seq: 0,
            machines,
            orders: Vec::new(),
            trace: network.trace.clone(),
        }
    }

    pub(super) fn come(&mut self, findings: &mut Findings) {
        match self.rng.u32(..100) {
            0..6 if self.orders.len() < ORDERS_MAX => self.order(findings),
            6..18 => self.order_again(findings),
            18..20 => self.cancel(),
            20 => self.use_key_again(),
            21 => self.stop_or_resume(),
            22..24 => self.mislead(),
            24..27 => self.babble(),
            29..31 => self.forge(),
            27 => {
                let device = self.some_machine();
                self.send(&device, Action::Ping, false);
            }
            28 => {
                let action = Action::PlaceOrder {
                    key: name("soup"),
                    recipe: name("soup"),
                };
                let device = self.some_machine();
                self.send(&device, action, false);
            }
            _ => {}
        }
        let mut cx = Context::from_waker(Waker::noop());
        let _ = self.till.poll_events(&mut cx, &mut Vec::new());
        let _ = self.stranger.poll_events(&mut cx, &mut Vec::new());
    }

    fn some_machine(&mut self) -> DeviceId {
        let at = self.rng.usize(..self.machines.len());
        self.machines.get(at).cloned().expect("there is one")
    }

    fn order(&mut self, findings: &mut Findings) {
        let device = self.some_machine();
        let key = name(&format!("o-{}", self.orders.len()));
        let recipe = *self.rng.choice(&["espresso", "latte"]).expect("two");
        self.orders.push((device, key, name(recipe)));
        let is_retained = self.rng.u32(..6) == 0;
        if is_retained {
            findings.reach(reached::RETAINED);
        }
        self.place(self.orders.len() - 1, is_retained);
    }

    /// A till that has not heard of its order places it again.
    fn order_again(&mut self, findings: &mut Findings) {
        if !self.orders.is_empty() {
            findings.reach(reached::ORDER_REPEATED);
            let at = self.rng.usize(..self.orders.len());
            self.place(at, false);
        }
    }

    fn place(&mut self, at: usize, is_retained: bool) {
        if let Some((device, key, recipe)) = self.orders.get(at).cloned() {
            self.send(&device, Action::PlaceOrder { key, recipe }, is_retained);
        }
    }

    fn cancel(&mut self) {
        if let Some((device, key, _)) = self.rng.choice(&self.orders).cloned() {
            self.send(&device, Action::CancelOrder { key }, false);
        }
    }

    fn use_key_again(&mut self) {
        if let Some((device, key, _)) = self.rng.choice(&self.orders).cloned() {
            let recipe = name("americano");
            self.send(&device, Action::PlaceOrder { key, recipe }, false);
        }
    }

    fn stop_or_resume(&mut self) {
        let device = self.some_machine();
        let action = if self.rng.bool() {
            Action::Resume
        } else {
            Action::SafeStop {
                reason: "steam".into(),
            }
        };
        self.send(&device, action, false);
    }

    fn send(&mut self, device: &DeviceId, action: Action, is_retained: bool) {
        let command = Command {
            device: device.clone(),
            action,
        };
        let mut message = Message::new(topic(device, Lane::Commands), command.encode());
        message.is_retained = is_retained;
        self.trace.sent(TILL, &message);
        self.seq += 1;
        // A till without a broker tries again.
        let _ = self.till.submit(self.seq, message);
    }

    /// A command for one device, on the topic of another.
    fn mislead(&mut self) {
        let (device, action) = (self.some_machine(), Action::Ping);
        let addressed = name("somebody-else");
        let payload = Command {
            device: addressed,
            action,
        };
        self.babble_to(topic(&device, Lane::Commands), payload.encode());
    }

    /// What makes no sense, to anybody.
    fn babble(&mut self) {
        let device = self.some_machine();
        let bytes: Vec<u8> = (0..self.rng.usize(..60)).map(|_| self.rng.u8(..)).collect();
        let topic = match self.rng.u32(..6) {
            0 => topic(&device, Lane::Commands),
            1 => topic(&device, Lane::Acks),
            2 => topic(&device, Lane::DesiredTwin),
            3 => format!("peaberry/1/{SITE}/{device}/up/telemetry"),
            4 => format!("peaberry/1/{SITE}/{device}/up/rumours"),
            _ => format!("peaberry/1/{SITE}/no-such-device/down/commands"),
        };
        self.babble_to(topic, bytes);
    }

    /// What reads well and claims what cannot be: in a device's own name, or in its sink's.
    fn forge(&mut self) {
        let device = self.some_machine();
        let last = BootEpoch::new(u64::MAX).expect("not zero");
        let (topic, bytes) = match self.rng.u32(..4) {
            0 => {
                let through = self.rng.u64(..);
                let stream = *self.rng.choice(&Stream::ALL).expect("there are some");
                let ack = SinkAck {
                    device: device.clone(),
                    boot: last,
                    stream,
                    through,
                };
                (topic(&device, Lane::Acks), ack.encode())
            }
            1 => {
                let id = RecordId {
                    device: device.clone(),
                    boot: last,
                    sequence: u64::MAX,
                };
                let record = Record {
                    id,
                    at_ms: 0,
                    payload: Payload::Twin(Bytes::new()),
                };
                (topic(&device, Lane::Up(Stream::Twin)), record.encode())
            }
            kind => (topic(&device, Lane::DesiredTwin), forged_twin(kind == 2)),
        };
        self.babble_to(topic, bytes);
    }

    fn babble_to(&mut self, topic: String, payload: Vec<u8>) {
        let message = Message::new(topic, payload);
        self.trace.sent(STRANGER, &message);
        self.seq += 1;
        let _ = self.stranger.submit(self.seq, message);
    }
}

/// Three hundred events that the device never made, or a vector that knows of them.
fn forged_twin(is_delta: bool) -> Vec<u8> {
    let space = Subspace::of(Channel::new(ProtocolId(2002), 0));
    let storage = MemoryStorage::new();
    let mut twin = Twin::open(&storage, &space, Side::Device).expect("nothing is stored");
    let mut batch = Batch::new();
    for number in 0..300 {
        let value = TwinValue::Integer(number);
        let written = twin.desire(name("firmware"), value, Some(1), &mut batch);
        written.expect("one entry fits");
    }
    let vector = twin.hello();
    if !is_delta {
        return vector.to_vec();
    }
    // Whoever knows nothing is told all of it.
    let nothing = Twin::open(&storage, &space, Side::Device).expect("nothing is stored");
    let answered = twin.receive(&nothing.hello(), None, &mut batch);
    let mut answers = answered.expect("a vector").answers;
    answers
        .pop()
        .map(|delta| delta.to_vec())
        .unwrap_or_default()
}

fn topic(device: &DeviceId, lane: Lane) -> String {
    let topic = Topic {
        site: name(SITE),
        device: device.clone(),
        lane,
    };
    topic.to_string()
}
