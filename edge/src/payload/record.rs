use bytes::Bytes;

use crate::error::EdgeError;
use crate::identity::{BootEpoch, RecordId};
use crate::name::Name;
use crate::topic::Stream;

use super::cbor::{put_map, read_map, required};
use super::{
    Alert, Gap, Health, MESSAGE_BYTES_MAX, Notification, OrderUpdate, Readings, Wire, cbor,
};

const WHAT: &str = "record";

/// Which format is written and read.
const VERSION: u64 = 1;

/// One thing a device has to say, named for ever by its [`RecordId`].
///
/// ```
/// use peaberry_edge::payload::{Payload, Record, Wire};
/// use peaberry_edge::{BootEpoch, DeviceId, RecordId};
///
/// let id = RecordId { device: DeviceId::new("m-17").unwrap(), boot: BootEpoch::FIRST, sequence: 1 };
/// let record = Record { id, at_ms: 1500, payload: Payload::Twin(b"delta".as_slice().into()) };
/// assert_eq!(Record::decode(&record.encode()).unwrap(), record);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
pub struct Record {
    /// Which record it is.
    #[cfg_attr(feature = "json", serde(flatten))]
    pub id: RecordId,
    /// When it was made: milliseconds since the device's start.
    pub at_ms: u64,
    /// What it says.
    pub payload: Payload,
}

/// What a [`Record`] says.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "json", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Payload {
    /// Readings of sensors.
    Readings(Readings),
    /// A heartbeat.
    Health(Health),
    /// A rule fired or fell silent.
    Alert(Alert),
    /// An order went on or ended.
    Order(OrderUpdate),
    /// Something to tell a person.
    Notification(Notification),
    /// Records that will never come.
    Gap(Gap),
    /// A delta of the device's twin, in the byte format of `peaberry-crdt`.
    Twin(#[cfg_attr(feature = "json", serde(with = "base16"))] Bytes),
    /// The application's own, at most [`MESSAGE_BYTES_MAX`] with what is around it.
    Custom {
        /// What it is, in the application's words.
        name: Name,
        /// Its bytes.
        #[cfg_attr(feature = "json", serde(with = "base16"))]
        bytes: Bytes,
    },
    /// Of a kind that this build does not know; kept and passed on as it came.
    Unknown {
        /// The kind's number.
        kind: u64,
        /// One CBOR data item.
        #[cfg_attr(feature = "json", serde(with = "base16"))]
        body: Bytes,
    },
}

impl Payload {
    /// The stream that records of this kind belong to. One of an unknown kind is [`Stream::Custom`].
    #[must_use]
    pub const fn stream(&self) -> Stream {
        match self {
            Self::Readings(_) => Stream::Telemetry,
            Self::Health(_) => Stream::Health,
            Self::Alert(_) | Self::Gap(_) => Stream::Alerts,
            Self::Order(_) | Self::Notification(_) => Stream::Orders,
            Self::Twin(_) => Stream::Twin,
            Self::Custom { .. } | Self::Unknown { .. } => Stream::Custom,
        }
    }

    const fn kind(&self) -> u64 {
        match self {
            Self::Readings(_) => 1,
            Self::Health(_) => 2,
            Self::Alert(_) => 3,
            Self::Order(_) => 4,
            Self::Notification(_) => 5,
            Self::Gap(_) => 6,
            Self::Twin(_) => 7,
            Self::Custom { .. } => 8,
            Self::Unknown { kind, .. } => *kind,
        }
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Readings(body) => body.encode_into(out),
            Self::Health(body) => body.encode_into(out),
            Self::Alert(body) => body.encode_into(out),
            Self::Order(body) => body.encode_into(out),
            Self::Notification(body) => body.encode_into(out),
            Self::Gap(body) => body.encode_into(out),
            Self::Twin(bytes) => put_map(out, |fields| fields.bytes(0, bytes)),
            Self::Custom { name, bytes } => put_map(out, |fields| {
                fields.text(0, name.as_str());
                fields.bytes(1, bytes);
            }),
            Self::Unknown { body, .. } => out.extend_from_slice(body),
        }
    }

    fn decode_body(kind: u64, body: &[u8]) -> Result<Self, EdgeError> {
        Ok(match kind {
            1 => Self::Readings(Readings::decode(body)?),
            2 => Self::Health(Health::decode(body)?),
            3 => Self::Alert(Alert::decode(body)?),
            4 => Self::Order(OrderUpdate::decode(body)?),
            5 => Self::Notification(Notification::decode(body)?),
            6 => Self::Gap(Gap::decode(body)?),
            7 => Self::Twin(decode_twin(body)?),
            8 => decode_custom(body)?,
            _ => Self::Unknown {
                kind,
                body: Bytes::copy_from_slice(body),
            },
        })
    }
}

fn decode_twin(body: &[u8]) -> Result<Bytes, EdgeError> {
    let mut bytes = None;
    read_map("twin delta", body, |key, source| {
        if key == 0 {
            bytes = Some(Bytes::copy_from_slice(source.bytes(MESSAGE_BYTES_MAX)?));
        }
        Ok(key == 0)
    })?;
    required("twin delta", "its bytes", bytes)
}

fn decode_custom(body: &[u8]) -> Result<Payload, EdgeError> {
    let (mut name, mut bytes) = (None, None);
    read_map("custom payload", body, |key, source| {
        match key {
            0 => name = Some(source.name()?),
            1 => bytes = Some(Bytes::copy_from_slice(source.bytes(MESSAGE_BYTES_MAX)?)),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(Payload::Custom {
        name: required("custom payload", "its name", name)?,
        bytes: required("custom payload", "its bytes", bytes)?,
    })
}

impl Wire for Record {
    fn encode_into(&self, out: &mut Vec<u8>) {
        put_map(out, |fields| {
            fields.uint(0, VERSION);
            fields.text(1, self.id.device.as_str());
            fields.uint(2, self.id.boot.get());
            fields.uint(3, self.id.sequence);
            fields.uint(4, self.at_ms);
            fields.uint(5, self.payload.kind());
            fields.with(6, |out| self.payload.encode_body(out));
        });
    }

    fn decode(bytes: &[u8]) -> Result<Self, EdgeError> {
        Self::decode_with(bytes, |_, _| Ok(false))
    }
}

impl Record {
    /// Reads a record, and what `extra` knows of the keys behind its own.
    pub(super) fn decode_with<'b>(
        bytes: &'b [u8],
        mut extra: impl FnMut(u64, &mut cbor::Source<'b>) -> Result<bool, EdgeError>,
    ) -> Result<Self, EdgeError> {
        let (mut device, mut boot, mut sequence) = (None, None, None);
        let (mut at_ms, mut kind, mut body) = (None, None, None);
        let mut version = None;
        read_map(WHAT, bytes, |key, source| {
            match key {
                0 => version = Some(cbor::version(WHAT, VERSION, source)?),
                1 => device = Some(source.name()?),
                2 => boot = BootEpoch::new(source.uint()?),
                3 => sequence = Some(source.uint()?).filter(|&sequence| sequence > 0),
                4 => at_ms = Some(source.uint()?),
                5 => kind = Some(source.uint()?),
                6 => body = Some(source.raw()?),
                key => return extra(key, source),
            }
            Ok(true)
        })?;
        required(WHAT, "its version", version)?;
        let id = RecordId {
            device: required(WHAT, "its device", device)?,
            boot: required(WHAT, "a boot epoch above zero", boot)?,
            sequence: required(WHAT, "a sequence above zero", sequence)?,
        };
        let kind = required(WHAT, "its kind", kind)?;
        let body = required(WHAT, "its body", body)?;
        Ok(Self {
            id,
            at_ms: required(WHAT, "its time", at_ms)?,
            payload: Payload::decode_body(kind, body)?,
        })
    }
}

#[cfg(feature = "json")]
pub(super) mod base16 {
    //! Bytes as hexadecimal digits.

    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(in crate::payload) fn serialize<S: Serializer>(
        bytes: &Bytes,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        serializer.serialize_str(&digits)
    }

    pub(in crate::payload) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Bytes, D::Error> {
        let digits = String::deserialize(deserializer)?;
        let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
        if !rest.is_empty() {
            return Err(de::Error::custom("an odd number of hexadecimal digits"));
        }
        let byte = |pair: &[u8; 2]| {
            let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
            let value = high.zip(low).map(|(high, low)| high * 16 + low);
            value.and_then(|value| u8::try_from(value).ok())
        };
        let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
        bytes
            .map(Bytes::from)
            .ok_or_else(|| de::Error::custom("no hexadecimal digit"))
    }
}
