//! A message in a compressed container.
//!
//! The container lies around the message: what is canonical, digested and kept in golden files is the message itself,
//! and a container's bytes may differ from one version of the compressor to another.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{self as inflate, DecompressorOxide};

use super::decoder::over;
use super::encoder::put_varint;
use super::{Bound, Budget, DecodeError, Decoder, IdTable, open, seal};

/// How a container starts.
pub const CONTAINER_MAGIC: [u8; 3] = *b"pbz";

const CONTAINER_VERSION: u8 = 1;
const LEVEL: u8 = 8;
/// DEFLATE makes no more of a byte.
const RATIO_MAX: usize = 1032;

/// Puts a message into a container: magic, version, length, DEFLATE stream (RFC 1951), checksum.
#[must_use]
pub fn compress(message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::from(CONTAINER_MAGIC);
    bytes.push(CONTAINER_VERSION);
    put_varint(&mut bytes, message.len() as u64);
    bytes.extend_from_slice(&compress_to_vec(message, LEVEL));
    seal(&mut bytes, 0);
    bytes
}

/// Takes the message out of a container.
///
/// # Errors
///
/// [`DecodeError`] for anything that [`compress`] does not write. A message longer than the budget's `bytes_max`, or
/// than the container could hold, is refused before it is allocated.
pub fn decompress(container: &[u8], budget: Budget) -> Result<Vec<u8>, DecodeError> {
    let rest = match container.strip_prefix(&CONTAINER_MAGIC) {
        Some(rest) => rest,
        None if CONTAINER_MAGIC.starts_with(container) => return Err(DecodeError::Truncated),
        None => return Err(DecodeError::Magic),
    };
    let (&found, _) = rest.split_first().ok_or(DecodeError::Truncated)?;
    if found != CONTAINER_VERSION {
        let known = CONTAINER_VERSION;
        return Err(DecodeError::Version { found, known });
    }
    let content = open(container)?;
    let content = content.get(CONTAINER_MAGIC.len() + 1..);
    let table = IdTable::new();
    let mut input = Decoder::of_body(content.ok_or(DecodeError::Truncated)?, &table, budget);
    let length = input.varint()?;
    over(Bound::Bytes, length, budget.bytes_max as u64)?;
    let malformed = DecodeError::Malformed("container");
    let length = usize::try_from(length).ok();
    let length = length.filter(|length| length / RATIO_MAX <= input.rest().len());
    let length = length.ok_or(malformed)?;
    let mut message = vec![0; length];
    let mut inflater = Box::<DecompressorOxide>::default();
    let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (status, read, written) =
        inflate::decompress(&mut inflater, input.rest(), &mut message, 0, flags);
    // Nothing may lie behind the stream, where nobody would look for it.
    if status == TINFLStatus::Done && (read, written) == (input.rest().len(), length) {
        Ok(message)
    } else {
        Err(malformed)
    }
}

/// Any bytes at all as a container, and as what one holds between its version and its checksum, for fuzzing: a message
/// that comes out keeps within its budget, and comes back from a container of its own.
#[doc(hidden)]
pub fn decompress_any(bytes: &[u8]) {
    let budget = Budget {
        bytes_max: 1 << 16,
        ..Budget::default()
    };
    let mut sealed = Vec::from(CONTAINER_MAGIC);
    sealed.push(CONTAINER_VERSION);
    sealed.extend_from_slice(bytes);
    seal(&mut sealed, 0);
    for container in [bytes, &sealed] {
        if let Ok(message) = decompress(container, budget) {
            assert!(message.len() <= budget.bytes_max, "over its budget");
            let again = decompress(&compress(&message), budget);
            assert_eq!(again.as_ref(), Ok(&message), "packed and unpacked");
        }
    }
}
