//! An edge node and its devices, in Sparkplug's words.

use std::collections::BTreeMap;

use crate::error::EdgeError;
use crate::name::{DeviceId, Name};
use crate::payload::{Action, Payload as Body, Record, Text};

use crate::uplink::Message;

use super::topic::{MessageType, SparkplugTopic};
use super::wire::{Metric, Payload, Value, datatype};

/// One edge node: a gateway, or a machine that is its own.
///
/// On each connection: give the broker [`connecting`](Self::connecting) as the will, then send [`birth`](Self::birth), then a
/// [`device_birth`](Self::device_birth) for each device, and data behind those. Over MQTT,
/// [`spawn_with_will`](crate::uplink::MqttUplink::spawn_with_will) asks for a will before each connection. A host that has lost track asks for a rebirth;
/// [`command`](Self::command) says so.
///
/// ```
/// use peaberry_edge::Name;
/// use peaberry_edge::payload::{Column, Payload, Readings, Record};
/// use peaberry_edge::sparkplug::{EdgeNode, wire};
/// use peaberry_edge::{BootEpoch, RecordId};
///
/// let (device, metric) = (Name::new("m-1").unwrap(), Name::new("boiler.temperature").unwrap());
/// let mut node = EdgeNode::new(Name::new("berlin").unwrap(), Name::new("gateway").unwrap());
/// let _will = node.death();
/// let _birth = node.birth(1_000);
/// let birth = node.device_birth(&device, [metric.clone()], 1_000);
/// assert_eq!(birth.topic, "spBv1.0/berlin/DBIRTH/gateway/m-1");
///
/// let mut column = Column::new(metric);
/// column.push(500, 93.5).unwrap();
/// let id = RecordId { device, boot: BootEpoch::FIRST, sequence: 1 };
/// let record = Record { id, at_ms: 500, payload: Payload::Readings(Readings { columns: vec![column] }) };
/// let data = node.data(&record, 10_000, 11_000, false).unwrap();
/// let read = wire::Payload::decode(&data.payload).unwrap();
/// assert_eq!(read.metrics[0].timestamp_ms, Some(10_500));
/// assert_eq!(read.metrics[0].value, Some(wire::Value::Double(93.5)));
/// ```
#[derive(Clone, Debug)]
pub struct EdgeNode {
    group: Name,
    node: Name,
    seq: u8,
    births: u64,
    has_connected: bool,
    devices: BTreeMap<DeviceId, BTreeMap<Name, Aliases>>,
    next_alias: u64,
}

/// The numbers of a metric, and of the alerts about it.
#[derive(Clone, Copy, Debug)]
struct Aliases {
    value: u64,
    alert: u64,
}

/// A message to be published, at most once and not retained.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a topic and its bytes")]
pub struct Outgoing {
    /// Where.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
}

/// What a host wants.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum HostCommand {
    /// All births anew.
    Rebirth,
    /// Of this device.
    Device {
        /// Which.
        device: DeviceId,
        /// What, in our words.
        action: Action,
    },
}

/// The metric by which hosts ask for births.
const REBIRTH: &str = "Node Control/Rebirth";
/// The metric that ties a death to its birth.
const BIRTHS: &str = "bdSeq";

impl EdgeNode {
    /// The edge node `node` of the group `group`, not yet born.
    #[must_use]
    pub const fn new(group: Name, node: Name) -> Self {
        Self {
            group,
            node,
            seq: 0,
            births: 0,
            has_connected: false,
            devices: BTreeMap::new(),
            next_alias: 1,
        }
    }

    /// What the host is to subscribe to hear its commands.
    #[must_use]
    pub fn command_filters(&self) -> [String; 2] {
        let Self { group, node, .. } = self;
        [
            format!("spBv1.0/{group}/NCMD/{node}"),
            format!("spBv1.0/{group}/DCMD/{node}/+"),
        ]
    }

    /// Begins another connection: its will, at least once and not retained, with a number that no earlier one of these 256
    /// had. The [birth](Self::birth) that follows has the same.
    pub fn connecting(&mut self) -> Message {
        if std::mem::replace(&mut self.has_connected, true) {
            self.disconnected();
        }
        let Outgoing { topic, payload } = self.death();
        Message::new(topic, payload)
    }

    /// The death of the present connection.
    #[must_use]
    pub fn death(&self) -> Outgoing {
        let payload = Payload {
            metrics: vec![self.births_metric(None)],
            ..Payload::default()
        };
        self.outgoing(MessageType::NodeDeath, None, &payload)
    }

    /// The first message of a connection, and the answer to a rebirth. All devices are to be born after it.
    pub fn birth(&mut self, wall_ms: u64) -> Outgoing {
        self.seq = 0;
        self.devices.clear();
        self.next_alias = 1;
        let rebirth = Metric {
            name: Some(REBIRTH.to_owned()),
            timestamp_ms: Some(wall_ms),
            datatype: Some(datatype::BOOLEAN),
            value: Some(Value::Boolean(false)),
            ..Metric::default()
        };
        let metrics = vec![self.births_metric(Some(wall_ms)), rebirth];
        self.sequenced(MessageType::NodeBirth, None, wall_ms, metrics)
    }

    /// The connection is over: the next death and birth have the next number, 0 to 255.
    /// [`connecting`](Self::connecting) does it by itself.
    pub const fn disconnected(&mut self) {
        self.births = (self.births + 1) % 256;
    }

    /// A device is there, with these metrics, and with `Alert/METRIC` for each, a text; null until their first data. Call it once
    /// for each behind a birth.
    pub fn device_birth(
        &mut self,
        device: &DeviceId,
        metrics: impl IntoIterator<Item = Name>,
        wall_ms: u64,
    ) -> Outgoing {
        let mut aliases = BTreeMap::new();
        for metric in metrics {
            let (value, alert) = (self.next_alias, self.next_alias + 1);
            aliases.insert(metric, Aliases { value, alert });
            self.next_alias += 2;
        }
        let metric = |name: String, alias, kind| Metric {
            name: Some(name),
            alias: Some(alias),
            timestamp_ms: Some(wall_ms),
            datatype: Some(kind),
            ..Metric::default()
        };
        let born = aliases.iter().flat_map(|(name, aliases)| {
            [
                metric(name.to_string(), aliases.value, datatype::DOUBLE),
                metric(format!("Alert/{name}"), aliases.alert, datatype::STRING),
            ]
        });
        let born = born.collect();
        self.devices.insert(device.clone(), aliases);
        self.sequenced(MessageType::DeviceBirth, Some(device), wall_ms, born)
    }

    /// A device is gone.
    pub fn device_death(&mut self, device: &DeviceId, wall_ms: u64) -> Outgoing {
        self.devices.remove(device);
        self.sequenced(MessageType::DeviceDeath, Some(device), wall_ms, Vec::new())
    }

    /// What a record says of a device that was born: its readings, or its alert as the text `raised: RULE VALUE` or `cleared: …`.
    /// `None` for other records, and for a device or metrics that were not born.
    ///
    /// `boot_wall_ms` is the wall time at which the device started, `is_historical` whether the record is told late.
    pub fn data(
        &mut self,
        record: &Record,
        boot_wall_ms: u64,
        wall_ms: u64,
        is_historical: bool,
    ) -> Option<Outgoing> {
        let aliases = self.devices.get(&record.id.device)?;
        let metrics: Vec<_> = match &record.payload {
            Body::Readings(readings) => readings
                .columns
                .iter()
                .filter_map(|column| Some((*aliases.get(column.metric())?, column)))
                .flat_map(|(aliases, column)| {
                    column.iter().map(move |reading| (aliases.value, reading))
                })
                .map(|(alias, (at_ms, value))| Metric {
                    alias: Some(alias),
                    timestamp_ms: Some(boot_wall_ms.saturating_add(at_ms)),
                    datatype: Some(datatype::DOUBLE),
                    is_historical,
                    value: Some(Value::Double(value)),
                    ..Metric::default()
                })
                .collect(),
            Body::Alert(alert) => {
                let word = if alert.is_raised { "raised" } else { "cleared" };
                vec![Metric {
                    alias: Some(aliases.get(&alert.metric)?.alert),
                    timestamp_ms: Some(boot_wall_ms.saturating_add(record.at_ms)),
                    datatype: Some(datatype::STRING),
                    is_historical,
                    value: Some(Value::String(format!(
                        "{word}: {} {}",
                        alert.rule, alert.value
                    ))),
                    ..Metric::default()
                }]
            }
            _ => return None,
        };
        if metrics.is_empty() {
            return None;
        }
        let device = Some(&record.id.device);
        Some(self.sequenced(MessageType::DeviceData, device, wall_ms, metrics))
    }

    /// What a host wants by a message it sent. A device's command is a metric with a text: `Order/RECIPE` with the order's
    /// key, `Cancel` with the key, `Stop` with the reason, `Resume` with anything.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Topic`], [`EdgeError::Name`], [`EdgeError::TooLong`] or [`EdgeError::Malformed`], also for a command to
    /// another edge node.
    pub fn command(&self, topic: &str, payload: &[u8]) -> Result<Vec<HostCommand>, EdgeError> {
        let topic = SparkplugTopic::parse(topic)?;
        if (&topic.group, &topic.node) != (&self.group, &self.node) {
            return Err(EdgeError::WrongDevice {
                addressed: format!("{}/{}", topic.group, topic.node),
                device: format!("{}/{}", self.group, self.node),
            });
        }
        let metrics = Payload::decode(payload)?.metrics;
        match (topic.kind, topic.device) {
            (MessageType::NodeCommand, _) => Ok(metrics
                .iter()
                .filter(|metric| metric.name.as_deref() == Some(REBIRTH))
                .filter(|metric| metric.value == Some(Value::Boolean(true)))
                .map(|_| HostCommand::Rebirth)
                .collect()),
            (MessageType::DeviceCommand, Some(device)) => metrics
                .iter()
                .map(|metric| {
                    let action = action_of(metric)?;
                    let device = device.clone();
                    Ok(HostCommand::Device { device, action })
                })
                .collect(),
            _ => Err(EdgeError::malformed(
                "Sparkplug command",
                "it is no command",
            )),
        }
    }

    /// A birth says when; a death is written before anybody knows.
    fn births_metric(&self, timestamp_ms: Option<u64>) -> Metric {
        Metric {
            name: Some(BIRTHS.to_owned()),
            timestamp_ms,
            datatype: Some(datatype::INT64),
            value: Some(Value::Long(self.births)),
            ..Metric::default()
        }
    }

    /// A message that counts: one behind the other, 0 to 255 and again.
    fn sequenced(
        &mut self,
        kind: MessageType,
        device: Option<&DeviceId>,
        wall_ms: u64,
        metrics: Vec<Metric>,
    ) -> Outgoing {
        let payload = Payload {
            timestamp_ms: Some(wall_ms),
            metrics,
            seq: Some(u64::from(self.seq)),
        };
        self.seq = self.seq.wrapping_add(1);
        self.outgoing(kind, device, &payload)
    }

    fn outgoing(
        &self,
        kind: MessageType,
        device: Option<&DeviceId>,
        payload: &Payload,
    ) -> Outgoing {
        let topic = SparkplugTopic {
            group: self.group.clone(),
            kind,
            node: self.node.clone(),
            device: device.cloned(),
        };
        Outgoing {
            topic: topic.to_string(),
            payload: payload.encode(),
        }
    }
}

fn action_of(metric: &Metric) -> Result<Action, EdgeError> {
    const WHAT: &str = "Sparkplug command";
    let (Some(name), Some(Value::String(text))) = (&metric.name, &metric.value) else {
        return Err(EdgeError::malformed(WHAT, "it has no name or no text"));
    };
    if let Some(recipe) = name.strip_prefix("Order/") {
        return Ok(Action::PlaceOrder {
            key: Name::new(text)?,
            recipe: Name::new(recipe)?,
        });
    }
    match name.as_str() {
        "Cancel" => Ok(Action::CancelOrder {
            key: Name::new(text)?,
        }),
        "Stop" => Ok(Action::SafeStop {
            reason: Text::new(text),
        }),
        "Resume" => Ok(Action::Resume),
        _ => Err(EdgeError::malformed(
            WHAT,
            format!("there is no {}", Text::new(name)),
        )),
    }
}
