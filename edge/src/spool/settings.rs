use super::RECORD_BYTES_MAX;
use std::time::Duration;

use crate::identity::BootSalt;
use crate::topic::Stream;

/// Which acknowledgement lets the spool forget a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there are these two levels")]
pub enum AckLevel {
    /// The broker's. It says that the broker *has* the record: none is forgotten that no broker has acknowledged, and what the
    /// broker does with it is the broker's. One that dies loses it. For installations without a collector.
    Broker,
    /// A sink's, such as the [`Collector`](crate::collector::Collector)'s: the record is durable there.
    Sink,
}

/// What gives way when the spool is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there are these three policies")]
pub enum DropPolicy {
    /// The stream's oldest records.
    DropOldest,
    /// The new record: whoever appends it is told.
    RejectNew,
    /// Every second of the stream's older records, again and again: the further back, the coarser.
    Decimate,
}

/// How one stream is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamSettings {
    /// What gives way when the spool is full.
    pub policy: DropPolicy,
    /// Streams of a lower number are sent first, and take room from those of a higher.
    pub priority: u8,
    /// Whether it may use the [reserved](SpoolSettings::reserved_bytes) space; such streams are sent before all others.
    pub is_reserved: bool,
    /// Whether what is made while the uplink is up goes before what waited. Else the stream keeps its order.
    pub is_live_first: bool,
}

impl StreamSettings {
    /// A stream that keeps its order and has no part in the reserved space.
    #[must_use]
    pub const fn new(policy: DropPolicy, priority: u8) -> Self {
        Self {
            policy,
            priority,
            is_reserved: false,
            is_live_first: false,
        }
    }

    /// Lets it use the reserved space.
    #[must_use]
    pub const fn reserved(mut self) -> Self {
        self.is_reserved = true;
        self
    }

    /// Lets new records go before those that waited.
    #[must_use]
    pub const fn live_first(mut self) -> Self {
        self.is_live_first = true;
        self
    }
}

/// The sizes and policies of a [`Spool`](super::Spool). Devices of one make share them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolSettings {
    /// All records together take at most so many bytes, [`RECORD_OVERHEAD`](super::RECORD_OVERHEAD) counted for each.
    pub bytes_max: u64,
    /// So many of them are kept for streams that are [reserved](StreamSettings::is_reserved).
    pub reserved_bytes: u64,
    /// No record is longer, encoded: at most [`RECORD_BYTES_MAX`](super::RECORD_BYTES_MAX). A broker of MQTT 3.1.1 cannot say
    /// that it takes less; it drops the connection at the first record that is longer, and at each next attempt. Set it to the
    /// broker's limit less [`TOPIC_BYTES_MAX`](crate::topic::TOPIC_BYTES_MAX) and 64.
    pub record_bytes_max: usize,
    /// So many records may be with the broker without its acknowledgement. Bounds what a lost connection repeats.
    pub window_max: usize,
    /// Which acknowledgement lets records go.
    pub keep_until: AckLevel,
    /// A stream is sent again when the sink has acknowledged nothing new of it for so long; each time in vain, for twice as
    /// long, up to 32 times. Where there is no sink: so long after the broker has refused one of its records.
    pub resend_after: Duration,
    /// What tells this start from another that goes on from the same backup: modulo
    /// [`BOOT_SALT_MAX`](crate::BOOT_SALT_MAX) it is added to the start's [epoch](crate::BootEpoch).
    pub boot_salt: BootSalt,
    /// How each stream is treated, in the order of [`Stream::ALL`]. See [`with_stream`](Self::with_stream).
    pub streams: [StreamSettings; Stream::ALL.len()],
}

impl Default for SpoolSettings {
    /// 16 MiB of which 1 MiB is reserved for alerts and orders, a window of 64, kept until a sink acknowledges, sent again
    /// after 30 s.
    ///
    /// Sent in this order: alerts (the oldest give way), orders (new ones are rejected: whoever reports them must know),
    /// the twin (new ones are rejected: it knows what it has told), health (the oldest give way), custom (new ones are
    /// rejected), telemetry (decimated).
    fn default() -> Self {
        use DropPolicy::{Decimate, DropOldest, RejectNew};
        let streams = Stream::ALL.map(|stream| match stream {
            Stream::Alerts => StreamSettings::new(DropOldest, 0).reserved(),
            Stream::Orders => StreamSettings::new(RejectNew, 1).reserved(),
            Stream::Twin => StreamSettings::new(RejectNew, 2),
            Stream::Health => StreamSettings::new(DropOldest, 3).live_first(),
            Stream::Custom => StreamSettings::new(RejectNew, 4),
            Stream::Telemetry => StreamSettings::new(Decimate, 5).live_first(),
        });
        Self {
            bytes_max: 16 << 20,
            reserved_bytes: 1 << 20,
            record_bytes_max: RECORD_BYTES_MAX,
            window_max: 64,
            keep_until: AckLevel::Sink,
            resend_after: Duration::from_secs(30),
            boot_salt: BootSalt::Drawn,
            streams,
        }
    }
}

impl SpoolSettings {
    /// How `stream` is treated.
    #[must_use]
    #[expect(
        clippy::missing_panics_doc,
        reason = "the array is as long as there are streams"
    )]
    pub fn stream(&self, stream: Stream) -> StreamSettings {
        let at = usize::from(stream.number());
        *self.streams.get(at).expect("every stream has settings")
    }

    /// Treats `stream` like this.
    #[must_use]
    #[expect(
        clippy::missing_panics_doc,
        reason = "the array is as long as there are streams"
    )]
    pub fn with_stream(mut self, stream: Stream, settings: StreamSettings) -> Self {
        let at = usize::from(stream.number());
        *self.streams.get_mut(at).expect("every stream has settings") = settings;
        self
    }
}
