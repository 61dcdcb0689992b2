//! What travels in a message: CBOR with integer keys, JSON for people.
//!
//! `PAYLOAD.md` beside this crate's README describes every byte. Encoders write one spelling: shortest integers, definite
//! lengths, ascending keys, absent fields left out; equal messages are equal bytes. Decoders take any bytes: they bound
//! everything before memory is taken, want keys in ascending order without repetition, and skip keys they do not know, so
//! that older programs read what newer ones write.

mod cbor;
mod command;
mod delivery;
mod exchange;
mod health;
#[cfg(feature = "json")]
mod json;
mod notice;
mod order;
mod readings;
mod record;
mod text;

pub use self::command::{Action, Command, SinkAck};
pub use self::delivery::Delivery;
pub(crate) use self::delivery::put_delivery;
#[cfg(feature = "http")]
pub(crate) use self::exchange::EXCHANGE_OVERHEAD;
pub use self::exchange::{EXCHANGE_MESSAGES_MAX, Exchange};
pub use self::health::{CAPABILITIES_MAX, Health, Status};
#[cfg(feature = "json")]
pub use self::json::{decode_any_json_bytes, from_json, to_json};
pub use self::notice::{Alert, Gap, GapReason, Level, Notification};
pub use self::order::{OrderPhase, OrderUpdate};
pub use self::readings::{COLUMNS_MAX, Column, READINGS_MAX, Readings};
pub use self::record::{Payload, Record};
pub use self::text::{TEXT_BYTES_MAX, Text};

use crate::error::EdgeError;

/// The longest message, in bytes: what brokers commonly accept, and what a decoder is willing to look at.
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// Something that has a form on the wire.
pub trait Wire: Sized {
    /// Appends its CBOR.
    fn encode_into(&self, out: &mut Vec<u8>);

    /// Reads it back from the whole of `bytes`.
    ///
    /// # Errors
    ///
    /// [`EdgeError::TooLong`], [`EdgeError::Version`], [`EdgeError::Malformed`] or [`EdgeError::Name`].
    fn decode(bytes: &[u8]) -> Result<Self, EdgeError>;

    /// Its CBOR.
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_into(&mut out);
        out
    }
}

/// Feeds any bytes at all to every decoder, and panics if one that accepts them does not write them back so that they
/// are read as the same again.
#[doc(hidden)]
pub fn decode_any_payload_bytes(bytes: &[u8]) {
    fn check<T: Wire + std::fmt::Debug>(bytes: &[u8]) {
        if let Ok(value) = T::decode(bytes) {
            let again = value.encode();
            let twice = T::decode(&again).expect("what was decoded encodes to what decodes");
            // Bytes rather than values: a NaN does not equal itself.
            assert_eq!(twice.encode(), again, "{value:?}");
        }
    }
    check::<Record>(bytes);
    check::<Delivery>(bytes);
    check::<Readings>(bytes);
    check::<Health>(bytes);
    check::<Alert>(bytes);
    check::<Gap>(bytes);
    check::<Notification>(bytes);
    check::<OrderUpdate>(bytes);
    check::<Command>(bytes);
    check::<SinkAck>(bytes);
    check::<Exchange>(bytes);
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(topic) = crate::topic::Topic::parse(text)
    {
        assert_eq!(topic.to_string(), text);
    }
}

#[cfg(test)]
mod tests;
