//! Whole messages: standing alone, or within a session.

use alloc::string::String;
use alloc::vec::Vec;

use super::decoder::over;
use super::{Bound, Budget, DecodeError, Decoder, Encoder, IdTable};

/// How a message that stands alone starts.
pub const MAGIC: [u8; 3] = *b"pbc";

/// The version of the format that this build writes.
pub const VERSION: u8 = 1;

const CHECKSUM_BYTES: usize = 4;

/// A state, a delta or a vector as one message.
pub trait Message: Sized {
    /// Tells kinds of messages apart: 1 to 31 are this crate's, the others are yours.
    const KIND: u8;

    /// Appends the name of the type, down to its elements; [`schema`] is made of it.
    fn describe(out: &mut String);

    /// Writes the body.
    fn encode(&self, out: &mut Encoder<'_>);

    /// Reads and validates a body.
    ///
    /// # Errors
    ///
    /// [`DecodeError`].
    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError>;

    /// The message, standing alone.
    #[must_use]
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::from(MAGIC);
        bytes.push(VERSION);
        bytes.push(Self::KIND);
        bytes.extend_from_slice(&schema::<Self>().to_be_bytes());
        self.to_session_bytes(&IdTable::new(), &mut bytes);
        seal(&mut bytes, 0);
        bytes
    }

    /// Reads a message that stands alone.
    ///
    /// # Errors
    ///
    /// [`DecodeError`].
    fn from_bytes(bytes: &[u8], budget: Budget) -> Result<Self, DecodeError> {
        over(Bound::Bytes, bytes.len() as u64, budget.bytes_max as u64)?;
        let rest = match bytes.strip_prefix(&MAGIC) {
            Some(rest) => rest,
            None if MAGIC.starts_with(bytes) => return Err(DecodeError::Truncated),
            None => return Err(DecodeError::Magic),
        };
        let Some((&[version, kind], rest)) = rest.split_first_chunk() else {
            return Err(DecodeError::Truncated);
        };
        if version != VERSION {
            let (found, known) = (version, VERSION);
            return Err(DecodeError::Version { found, known });
        }
        open(bytes)?;
        if kind != Self::KIND {
            let (found, expected) = (kind, Self::KIND);
            return Err(DecodeError::Kind { found, expected });
        }
        let Some((found, rest)) = rest.split_first_chunk() else {
            return Err(DecodeError::Truncated);
        };
        let (found, expected) = (u32::from_be_bytes(*found), schema::<Self>());
        if found != expected {
            return Err(DecodeError::Schema { found, expected });
        }
        let Some((body, _)) = rest.split_last_chunk::<CHECKSUM_BYTES>() else {
            return Err(DecodeError::Truncated);
        };
        Self::from_session_bytes(body, &IdTable::new(), budget)
    }

    /// Appends the message for a peer that has `ids`, and knows kind, version and schema. No checksum: see [`seal`].
    fn to_session_bytes(&self, ids: &IdTable, out: &mut Vec<u8>) {
        let mut encoder = Encoder::new(ids);
        self.encode(&mut encoder);
        encoder.finish(out);
    }

    /// Reads a message of a session whose sender announced `ids`.
    ///
    /// # Errors
    ///
    /// [`DecodeError`].
    fn from_session_bytes(
        bytes: &[u8],
        ids: &IdTable,
        budget: Budget,
    ) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes, ids, budget)?;
        let message = Self::decode(&mut decoder)?;
        decoder.finish()?;
        Ok(message)
    }
}

/// A short name of a message's type, for a session to agree on: the CRC-32 of what [`Message::describe`] says.
#[must_use]
pub fn schema<M: Message>() -> u32 {
    let mut name = String::new();
    M::describe(&mut name);
    crc32fast::hash(name.as_bytes())
}

/// Appends the checksum of all that `bytes` holds from `start` on.
pub fn seal(bytes: &mut Vec<u8>, start: usize) {
    let checksum = crc32fast::hash(bytes.get(start..).unwrap_or_default());
    bytes.extend_from_slice(&checksum.to_be_bytes());
}

/// What [`seal`] has sealed, without its checksum.
///
/// # Errors
///
/// [`DecodeError::Truncated`] or [`DecodeError::Checksum`].
pub fn open(bytes: &[u8]) -> Result<&[u8], DecodeError> {
    let Some((content, found)) = bytes.split_last_chunk::<CHECKSUM_BYTES>() else {
        return Err(DecodeError::Truncated);
    };
    let (found, expected) = (u32::from_be_bytes(*found), crc32fast::hash(content));
    if found == expected {
        Ok(content)
    } else {
        Err(DecodeError::Checksum { found, expected })
    }
}
