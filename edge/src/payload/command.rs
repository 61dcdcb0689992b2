use bytes::Bytes;

use crate::error::EdgeError;
use crate::identity::BootEpoch;
use crate::name::{DeviceId, Name};
use crate::topic::Stream;

use super::cbor::{put_map, read_map, required, version};
use super::{MESSAGE_BYTES_MAX, TEXT_BYTES_MAX, Text, Wire};

const COMMAND: &str = "command";
const ACK: &str = "sink acknowledgement";
const VERSION: u64 = 1;

/// What somebody wants a device to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
pub struct Command {
    /// Which device.
    pub device: DeviceId,
    /// What.
    pub action: Action,
}

/// What a [`Command`] asks for. Every action may arrive more than once: an order is known by its key, the others change
/// nothing the second time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "json", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Action {
    /// Carry out a recipe once, however often this arrives.
    PlaceOrder {
        /// Names the order for ever: the idempotency key.
        key: Name,
        /// What to make.
        recipe: Name,
    },
    /// Give up an order, if its present step lets it.
    CancelOrder {
        /// The order's key.
        key: Name,
    },
    /// Bring the machine into a safe state now and take no more orders.
    SafeStop {
        /// Why.
        reason: Text,
    },
    /// Take orders again.
    Resume,
    /// Report health at once.
    Ping,
    /// The application's own.
    Custom {
        /// What it is.
        name: Name,
        /// Its bytes.
        #[cfg_attr(feature = "json", serde(with = "super::record::base16"))]
        bytes: Bytes,
    },
}

impl Command {
    /// The action, if the command is for `device`.
    ///
    /// # Errors
    ///
    /// [`EdgeError::WrongDevice`]: a broker delivered it to the wrong one, or somebody tries their luck.
    pub fn addressed_to(self, device: &DeviceId) -> Result<Action, EdgeError> {
        if self.device == *device {
            return Ok(self.action);
        }
        Err(EdgeError::WrongDevice {
            addressed: self.device.to_string(),
            device: device.to_string(),
        })
    }
}

impl Wire for Command {
    fn encode_into(&self, out: &mut Vec<u8>) {
        put_map(out, |fields| {
            fields.uint(0, VERSION);
            fields.text(1, self.device.as_str());
            match &self.action {
                Action::PlaceOrder { key, recipe } => {
                    fields.uint(2, 1);
                    fields.text(3, key.as_str());
                    fields.text(4, recipe.as_str());
                }
                Action::CancelOrder { key } => {
                    fields.uint(2, 2);
                    fields.text(3, key.as_str());
                }
                Action::SafeStop { reason } => {
                    fields.uint(2, 3);
                    fields.text(5, reason.as_str());
                }
                Action::Resume => fields.uint(2, 4),
                Action::Ping => fields.uint(2, 5),
                Action::Custom { name, bytes } => {
                    fields.uint(2, 6);
                    fields.text(3, name.as_str());
                    fields.bytes(6, bytes);
                }
            }
        });
    }

    fn decode(bytes: &[u8]) -> Result<Self, EdgeError> {
        let (mut read, mut device, mut kind) = (None, None, None);
        let (mut name, mut recipe, mut text, mut body) = (None, None, None, None);
        read_map(COMMAND, bytes, |key, source| {
            match key {
                0 => read = Some(version(COMMAND, VERSION, source)?),
                1 => device = Some(source.name()?),
                2 => kind = Some(source.uint()?),
                3 => name = Some(source.name()?),
                4 => recipe = Some(source.name()?),
                5 => text = Some(Text::new(source.text(TEXT_BYTES_MAX)?)),
                6 => body = Some(Bytes::copy_from_slice(source.bytes(MESSAGE_BYTES_MAX)?)),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        required(COMMAND, "its version", read)?;
        let action = match required(COMMAND, "what to do", kind)? {
            1 => Action::PlaceOrder {
                key: required(COMMAND, "a key", name)?,
                recipe: required(COMMAND, "a recipe", recipe)?,
            },
            2 => Action::CancelOrder {
                key: required(COMMAND, "a key", name)?,
            },
            3 => Action::SafeStop {
                reason: required(COMMAND, "a reason", text)?,
            },
            4 => Action::Resume,
            5 => Action::Ping,
            6 => Action::Custom {
                name: required(COMMAND, "a name", name)?,
                bytes: required(COMMAND, "its bytes", body)?,
            },
            kind => {
                let reason = format!("action {kind} is unknown to this build");
                return Err(EdgeError::malformed(COMMAND, reason));
            }
        };
        Ok(Self {
            device: required(COMMAND, "a device", device)?,
            action,
        })
    }
}

/// A sink has made durable every record of one stream and start of a device, gaps told aside, up to a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
pub struct SinkAck {
    /// Whose records.
    pub device: DeviceId,
    /// Of which start.
    pub boot: BootEpoch,
    /// Of which stream.
    pub stream: Stream,
    /// The highest sequence below which nothing of the stream is missing.
    pub through: u64,
}

impl Wire for SinkAck {
    fn encode_into(&self, out: &mut Vec<u8>) {
        put_map(out, |fields| {
            fields.uint(0, VERSION);
            fields.text(1, self.device.as_str());
            fields.uint(2, self.boot.get());
            fields.uint(3, u64::from(self.stream.number()));
            fields.uint(4, self.through);
        });
    }

    fn decode(bytes: &[u8]) -> Result<Self, EdgeError> {
        let (mut read, mut device, mut boot) = (None, None, None);
        let (mut stream, mut through) = (None, None);
        read_map(ACK, bytes, |key, source| {
            match key {
                0 => read = Some(version(ACK, VERSION, source)?),
                1 => device = Some(source.name()?),
                2 => boot = BootEpoch::new(source.uint()?),
                3 => stream = Stream::from_number(source.uint()?),
                4 => through = Some(source.uint()?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        required(ACK, "its version", read)?;
        Ok(Self {
            device: required(ACK, "a device", device)?,
            boot: required(ACK, "a boot epoch above zero", boot)?,
            stream: required(ACK, "a known stream", stream)?,
            through: required(ACK, "a sequence", through)?,
        })
    }
}
