//! How the journal keeps why something was undone.

use alloy_primitives::{Bytes, U256};
use peaberry_core::wire::{Reader, put_bytes};

use super::record::{REASON_BYTES_MAX, RecordError, cut, read_reason};
use crate::Revert;

const SELECTOR_BYTES: usize = 4;

/// As much of a reason as is kept: its text or bytes cut, and a decoded error as it came.
pub(super) fn kept(reason: Revert) -> Revert {
    let cut_data = |data: Bytes| data.slice(..data.len().min(REASON_BYTES_MAX));
    match reason {
        Revert::Message(text) => Revert::Message(cut(&text).to_owned()),
        Revert::Unexplained(text) => Revert::Unexplained(cut(&text).to_owned()),
        Revert::Instruction { index, error } => Revert::Instruction {
            index,
            error: cut(&error).to_owned(),
        },
        Revert::Panic(code) => Revert::Panic(code),
        Revert::Custom { data, .. } | Revert::Decoded { data, .. } => custom(cut_data(data))
            .unwrap_or_else(|| Revert::Unexplained("an error without a selector".to_owned())),
    }
}

fn custom(data: Bytes) -> Option<Revert> {
    let selector = *data.first_chunk::<SELECTOR_BYTES>()?;
    Some(Revert::Custom { selector, data })
}

/// `reason` as [`kept`] has left it.
pub(super) fn put_revert(out: &mut Vec<u8>, reason: &Revert) {
    match reason {
        Revert::Message(text) => put_tagged(out, 0, text.as_bytes()),
        Revert::Panic(code) => put_tagged(out, 1, &code.to_be_bytes::<32>()),
        Revert::Custom { data, .. } | Revert::Decoded { data, .. } => put_tagged(out, 2, data),
        Revert::Instruction { index, error } => {
            put_tagged(out, 3, error.as_bytes());
            out.push(*index);
        }
        Revert::Unexplained(text) => put_tagged(out, 4, text.as_bytes()),
    }
}

fn put_tagged(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    put_bytes(out, bytes);
}

pub(super) fn read_revert(reader: &mut Reader<'_>) -> Result<Revert, RecordError> {
    const FIELD: RecordError = RecordError::Field("revert");
    Ok(match reader.u8()? {
        0 => Revert::Message(read_reason(reader)?),
        1 => {
            let code: [u8; 32] = reader.bytes(32)?.try_into().map_err(|_short| FIELD)?;
            Revert::Panic(U256::from_be_bytes(code))
        }
        2 => custom(Bytes::copy_from_slice(reader.bytes(REASON_BYTES_MAX)?)).ok_or(FIELD)?,
        3 => Revert::Instruction {
            error: read_reason(reader)?,
            index: reader.u8()?,
        },
        4 => Revert::Unexplained(read_reason(reader)?),
        _ => return Err(FIELD),
    })
}
