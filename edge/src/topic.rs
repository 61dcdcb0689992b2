//! Where a message travels: `peaberry/1/SITE/DEVICE/up/STREAM` and `peaberry/1/SITE/DEVICE/down/LANE`.

use std::fmt;

use crate::error::{EdgeError, excerpt};
use crate::name::{DeviceId, NAME_BYTES_MAX, SiteId};

/// The longest topic there is, in bytes.
pub const TOPIC_BYTES_MAX: usize = PREFIX.len() + 2 * (NAME_BYTES_MAX + 1) + "down/commands".len();

const PREFIX: &str = "peaberry/1/";

/// What a record is about; each stream is spooled, dropped and acknowledged by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "json", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Stream {
    /// Readings of sensors.
    Telemetry,
    /// Rules that fired, anomalies, and gaps.
    Alerts,
    /// Progress and results of orders, and notifications.
    Orders,
    /// Heartbeats.
    Health,
    /// What the device reports of its twin.
    Twin,
    /// The application's own.
    Custom,
}

impl Stream {
    /// All of them, in ascending order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Telemetry,
        Self::Alerts,
        Self::Orders,
        Self::Health,
        Self::Twin,
        Self::Custom,
    ];

    /// Its number on the wire and on disk; it never changes.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Telemetry => 0,
            Self::Alerts => 1,
            Self::Orders => 2,
            Self::Health => 3,
            Self::Twin => 4,
            Self::Custom => 5,
        }
    }

    /// The stream with this number.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|stream| u64::from(stream.number()) == number)
    }

    /// Its word in a topic.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Telemetry => "telemetry",
            Self::Alerts => "alerts",
            Self::Orders => "orders",
            Self::Health => "health",
            Self::Twin => "twin",
            Self::Custom => "custom",
        }
    }
}

/// Which way a message travels, and what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Lane {
    /// From the device: records of a stream.
    Up(Stream),
    /// To the device: a [`Command`](crate::payload::Command).
    Commands,
    /// To the device: a [`SinkAck`](crate::payload::SinkAck).
    Acks,
    /// To the device: what is desired of its twin.
    DesiredTwin,
}

/// A topic of one device.
///
/// ```
/// use peaberry_edge::topic::{Lane, Stream, Topic};
///
/// let topic = Topic::parse("peaberry/1/berlin/m-17/up/telemetry").unwrap();
/// assert_eq!(topic.device.as_str(), "m-17");
/// assert_eq!(topic.lane, Lane::Up(Stream::Telemetry));
/// assert_eq!(topic.to_string(), "peaberry/1/berlin/m-17/up/telemetry");
/// assert!(Topic::parse("peaberry/1/berlin/+/up/telemetry").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic {
    /// The device's site.
    pub site: SiteId,
    /// The device.
    pub device: DeviceId,
    /// Direction and subject.
    pub lane: Lane,
}

impl Topic {
    /// Reads a topic. Total: any text gives a topic or an error.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Topic`] or [`EdgeError::Name`].
    pub fn parse(text: &str) -> Result<Self, EdgeError> {
        let refuse = |reason| EdgeError::Topic {
            topic: excerpt(text),
            reason,
        };
        if text.len() > TOPIC_BYTES_MAX {
            return Err(refuse("it is too long"));
        }
        let rest = text
            .strip_prefix(PREFIX)
            .ok_or_else(|| refuse("it does not begin with peaberry/1/"))?;
        let mut levels = rest.split('/');
        let mut level = || levels.next().ok_or_else(|| refuse("it ends too early"));
        let site = SiteId::new(level()?)?;
        let device = DeviceId::new(level()?)?;
        let (direction, word) = (level()?, level()?);
        if levels.next().is_some() {
            return Err(refuse("it has too many levels"));
        }
        let lane = match (direction, word) {
            ("up", word) => Stream::ALL
                .into_iter()
                .find(|stream| stream.word() == word)
                .map(Lane::Up),
            ("down", "commands") => Some(Lane::Commands),
            ("down", "acks") => Some(Lane::Acks),
            ("down", "twin") => Some(Lane::DesiredTwin),
            _ => None,
        };
        let lane = lane.ok_or_else(|| refuse("its last two levels are unknown"))?;
        Ok(Self { site, device, lane })
    }

    /// What one device subscribes to: everything addressed to it.
    #[must_use]
    pub fn down_filter(site: &SiteId, device: &DeviceId) -> String {
        format!("{PREFIX}{site}/{device}/down/#")
    }

    /// Whose [filter](Self::down_filter) it is; `None` if it is that of no single device.
    ///
    /// ```
    /// use peaberry_edge::topic::Topic;
    ///
    /// let device = Topic::device_of_filter("peaberry/1/berlin/m-17/down/#");
    /// assert_eq!(device.unwrap().as_str(), "m-17");
    /// assert_eq!(Topic::device_of_filter("peaberry/1/berlin/+/down/#"), None);
    /// ```
    #[must_use]
    pub fn device_of_filter(filter: &str) -> Option<DeviceId> {
        let levels = filter.strip_prefix(PREFIX)?.strip_suffix("/down/#")?;
        let (site, device) = levels.split_once('/')?;
        SiteId::new(site).ok()?;
        DeviceId::new(device).ok()
    }

    /// What is addressed to any device of a site: for who looks on. Gateways subscribe to what is for their own devices.
    #[must_use]
    pub fn site_down_filter(site: &SiteId) -> String {
        format!("{PREFIX}{site}/+/down/#")
    }

    /// What the collector of a site subscribes to: everything its devices send.
    #[must_use]
    pub fn site_up_filter(site: &SiteId) -> String {
        format!("{PREFIX}{site}/+/up/#")
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (direction, word) = match self.lane {
            Lane::Up(stream) => ("up", stream.word()),
            Lane::Commands => ("down", "commands"),
            Lane::Acks => ("down", "acks"),
            Lane::DesiredTwin => ("down", "twin"),
        };
        write!(
            f,
            "{PREFIX}{}/{}/{direction}/{word}",
            self.site, self.device
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_parses_is_spelled_in_one_way(text in "(peaberry/1/)?[a-z+#./]{0,20}/?(up|down)?/?(telemetry|acks)?") {
            if let Ok(topic) = Topic::parse(&text) {
                prop_assert_eq!(topic.to_string(), text);
            }
        }
    }

    #[test]
    fn every_lane_comes_back_and_fits_its_limit() {
        let name = DeviceId::new(&"x".repeat(NAME_BYTES_MAX)).unwrap();
        let up = Stream::ALL.map(Lane::Up);
        for lane in [Lane::Commands, Lane::Acks, Lane::DesiredTwin]
            .iter()
            .chain(&up)
        {
            let topic = Topic {
                site: name.clone(),
                device: name.clone(),
                lane: *lane,
            };
            assert_eq!(Topic::parse(&topic.to_string()).unwrap(), topic);
            let filter = Topic::down_filter(&topic.site, &topic.device);
            assert_eq!(Topic::device_of_filter(&filter), Some(topic.device));
        }
    }
}
