//! Why a contract undid a call.

use alloy_primitives::Bytes;
use alloy_sol_types::{Panic, SolError};

use crate::Revert;

// What an error keeps of a contract's words.
const MESSAGE_CHARACTERS_MAX: usize = 1024;
const DATA_BYTES_MAX: usize = 4096;

/// Reads what a contract returned when it reverted; `message` is the node's own words for want of better.
#[must_use]
pub fn decode_revert(data: &[u8], message: &str) -> Revert {
    let Some((selector, _)) = data.split_first_chunk::<4>() else {
        return Revert::Unexplained(cut(message));
    };
    if let Ok(revert) = alloy_sol_types::Revert::abi_decode(data) {
        return Revert::Message(cut(&revert.reason));
    }
    if let Ok(panic) = Panic::abi_decode(data) {
        return Revert::Panic(panic.code);
    }
    Revert::Custom {
        selector: *selector,
        data: Bytes::copy_from_slice(data.get(..DATA_BYTES_MAX).unwrap_or(data)),
    }
}

/// The beginning of `text`, fit for an error's message.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(MESSAGE_CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{U256, hex};

    use super::*;

    #[test]
    fn reasons_panics_and_custom_errors_are_told_apart() {
        let mut reason = hex!("08c379a0").to_vec();
        reason.extend(U256::from(32).to_be_bytes::<32>());
        reason.extend(U256::from(8).to_be_bytes::<32>());
        reason.extend(b"no beans");
        reason.extend([0; 24]);
        assert_eq!(
            decode_revert(&reason, ""),
            Revert::Message("no beans".into())
        );

        let mut panic = hex!("4e487b71").to_vec();
        panic.extend(U256::from(0x11).to_be_bytes::<32>());
        assert_eq!(decode_revert(&panic, ""), Revert::Panic(U256::from(0x11)));

        let custom = decode_revert(&[1, 2, 3, 4, 5], "");
        assert!(matches!(
            custom,
            Revert::Custom {
                selector: [1, 2, 3, 4],
                ..
            }
        ));
        assert_eq!(
            decode_revert(&[], "out of gas"),
            Revert::Unexplained("out of gas".into())
        );
    }

    #[test]
    fn a_reason_that_lies_about_its_length_is_no_reason() {
        let mut reason = hex!("08c379a0").to_vec();
        reason.extend(U256::from(32).to_be_bytes::<32>());
        reason.extend(U256::MAX.to_be_bytes::<32>());
        assert!(matches!(decode_revert(&reason, ""), Revert::Custom { .. }));
    }
}
