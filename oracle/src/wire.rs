//! What the crate's decoders share: their error, and integers of 128 bits.

use peaberry_chain::primitives::B256;
use peaberry_core::wire::{Reader, WireError};

use crate::round_id::RoundId;

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Cut short, too long, or not in the one spelling there is.
    #[error("malformed: {0}")]
    Wire(#[from] WireError),
    /// Another version of the layout.
    #[error("version {0} of the layout is not known here")]
    Version(u8),
    /// No such kind of message.
    #[error("there is no message of kind {0}")]
    Kind(u8),
    /// A field that no correct oracle writes.
    #[error("{0}")]
    Invalid(&'static str),
}

pub(crate) fn put_value(out: &mut Vec<u8>, value: i128) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(crate) fn value(reader: &mut Reader<'_>) -> Result<i128, DecodeError> {
    Ok(i128::from_be_bytes(reader.array()?))
}

pub(crate) fn hash(reader: &mut Reader<'_>) -> Result<B256, DecodeError> {
    Ok(B256::new(reader.array()?))
}

pub(crate) fn put_round(out: &mut Vec<u8>, round: RoundId) {
    out.extend_from_slice(&round.sequence().to_be_bytes());
}

pub(crate) fn round(reader: &mut Reader<'_>) -> Result<RoundId, DecodeError> {
    let sequence = u64::from_be_bytes(reader.array()?);
    RoundId::from_sequence(sequence).ok_or(DecodeError::Invalid("an epoch or a round is zero"))
}

/// A round or none: the sequence zero belongs to no round.
pub(crate) fn put_round_or_none(out: &mut Vec<u8>, round: Option<RoundId>) {
    out.extend_from_slice(&round.map_or(0, RoundId::sequence).to_be_bytes());
}

pub(crate) fn round_or_none(reader: &mut Reader<'_>) -> Result<Option<RoundId>, DecodeError> {
    let sequence = u64::from_be_bytes(reader.array()?);
    if sequence == 0 {
        return Ok(None);
    }
    let round = RoundId::from_sequence(sequence);
    round
        .map(Some)
        .ok_or(DecodeError::Invalid("an epoch or a round is zero"))
}
