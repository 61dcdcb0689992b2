//! The line from the machines' gateway to the office: a broker in this process or a real one, and it can be cut.

use std::net::{SocketAddr, ToSocketAddrs};

use peaberry_edge::uplink::{MemoryBroker, MqttSettings, MqttUplink, Uplink};
use tokio::runtime::Handle;

use crate::Failure;
use crate::proxy::Wire;

const GATEWAY: &str = "gateway";

pub(crate) enum Line {
    Memory(MemoryBroker),
    Mqtt { broker: SocketAddr, wire: Wire },
}

impl Line {
    /// A line by the broker at `url`, such as `mqtt://127.0.0.1:1883`; by one in this process where there is none.
    pub(crate) async fn lay(url: Option<&str>, seed: u64) -> Result<Self, Failure> {
        let Some(url) = url else {
            return Ok(Self::Memory(MemoryBroker::new(seed)));
        };
        let place = url.strip_prefix("mqtt://").unwrap_or(url);
        let mut found = place.to_socket_addrs().map_err(|error| {
            format!("{url} is no broker such as mqtt://127.0.0.1:1883: {error}")
        })?;
        let broker = found
            .next()
            .ok_or_else(|| format!("{url} has no address"))?;
        let wire = Wire::lay().await?;
        wire.lead_to(broker);
        Ok(Self::Mqtt { broker, wire })
    }

    /// The end of the machines, which can be cut off.
    pub(crate) fn gateway(&self) -> Box<dyn Uplink> {
        match self {
            Self::Memory(broker) => Box::new(broker.connect(GATEWAY)),
            Self::Mqtt { wire, .. } => mqtt(GATEWAY, wire.address()),
        }
    }

    /// The end of the office.
    pub(crate) fn office(&self) -> Box<dyn Uplink> {
        match self {
            Self::Memory(broker) => Box::new(broker.connect("office")),
            Self::Mqtt { broker, .. } => mqtt("office", *broker),
        }
    }

    /// Whether a cut is heard of at once; a connection over the network may be whole again before anybody notices.
    pub(crate) const fn is_heard(&self) -> bool {
        matches!(self, Self::Memory(_))
    }

    pub(crate) fn cut(&self) {
        match self {
            Self::Memory(broker) => broker.cut(GATEWAY),
            Self::Mqtt { wire, .. } => wire.cut(),
        }
    }

    pub(crate) fn mend(&self) {
        match self {
            Self::Memory(broker) => broker.mend(GATEWAY),
            Self::Mqtt { wire, .. } => wire.heal(),
        }
    }
}

/// A session of this morning only: what matters is in the spools.
fn mqtt(end: &str, at: SocketAddr) -> Box<dyn Uplink> {
    let client = format!("go-coffee-{}-{end}", std::process::id());
    let settings = MqttSettings {
        is_clean: true,
        ..MqttSettings::new(&client, &at.ip().to_string(), at.port())
    };
    let uplink = MqttUplink::spawn(&Handle::current(), settings);
    Box::new(uplink.expect("it has no name or password that could not be told"))
}
