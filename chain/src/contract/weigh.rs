//! How much memory decoding would take, before it takes it.
//!
//! The ABI encodes dynamic parts by offsets, and nothing forbids that two point to the same bytes: a few kilobytes of
//! nested arrays may decode to gigabytes. This walks the encoding as the decoder would, and stops at a budget.

use alloy_dyn_abi::DynSolType;

// What a decoded value takes at least.
const VALUE_BYTES: usize = 64;

/// Why it is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooHeavy;

impl std::fmt::Display for TooHeavy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it would take too much memory to decode")
    }
}

/// Whether values of `kinds` in `data` decode to at most `bytes_max` of memory. Data that does not decode at all passes:
/// the decoder says why.
pub(super) fn expect_affordable(
    kinds: &[DynSolType],
    data: &[u8],
    bytes_max: usize,
) -> Result<(), TooHeavy> {
    let least = kinds.iter().map(least).fold(0, usize::saturating_add);
    if least > bytes_max {
        return Err(TooHeavy);
    }
    let mut scale = Scale { left: bytes_max };
    scale.sequence(kinds.iter(), data)?;
    Ok(())
}

/// What the decoder takes for a value of this kind before it looks at the data: places for all that arrays of fixed length
/// hold, also within arrays that are empty.
fn least(kind: &DynSolType) -> usize {
    let within = match kind {
        DynSolType::Array(kind) => least(kind),
        DynSolType::FixedArray(kind, count) => least(kind).saturating_mul(*count),
        DynSolType::Tuple(kinds) => kinds.iter().map(least).fold(0, usize::saturating_add),
        _ => 0,
    };
    within.saturating_add(VALUE_BYTES)
}

struct Scale {
    left: usize,
}

impl Scale {
    fn take(&mut self, bytes: usize) -> Result<(), TooHeavy> {
        self.left = self.left.checked_sub(bytes).ok_or(TooHeavy)?;
        Ok(())
    }

    /// Values side by side: their heads begin at the beginning of `data`, to which offsets in it refer.
    fn sequence<'a>(
        &mut self,
        kinds: impl Iterator<Item = &'a DynSolType>,
        data: &[u8],
    ) -> Result<(), TooHeavy> {
        let mut head = 0_usize;
        for kind in kinds {
            if kind.is_dynamic() {
                let tail = number(data, head).and_then(|offset| data.get(offset..));
                let Some(tail) = tail else { return Ok(()) };
                self.dynamic(kind, tail)?;
                head = head.saturating_add(32);
            } else {
                head = head.saturating_add(self.fixed(kind)?);
            }
            if head > data.len() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A value of known size, and how many bytes its encoding has.
    fn fixed(&mut self, kind: &DynSolType) -> Result<usize, TooHeavy> {
        self.take(VALUE_BYTES)?;
        match kind {
            DynSolType::FixedArray(kind, count) => {
                let mut bytes = 0_usize;
                for _ in 0..*count {
                    bytes = bytes.saturating_add(self.fixed(kind)?);
                }
                Ok(bytes)
            }
            DynSolType::Tuple(kinds) => {
                let mut bytes = 0_usize;
                for kind in kinds {
                    bytes = bytes.saturating_add(self.fixed(kind)?);
                }
                Ok(bytes)
            }
            _ => Ok(32),
        }
    }

    fn dynamic(&mut self, kind: &DynSolType, tail: &[u8]) -> Result<(), TooHeavy> {
        self.take(VALUE_BYTES)?;
        match kind {
            DynSolType::Array(kind) => {
                let Some((count, rest)) = number(tail, 0).zip(tail.get(32..)) else {
                    return Ok(());
                };
                self.sequence(std::iter::repeat_n(&**kind, count), rest)
            }
            DynSolType::FixedArray(kind, count) => {
                self.sequence(std::iter::repeat_n(&**kind, *count), tail)
            }
            DynSolType::Tuple(kinds) => self.sequence(kinds.iter(), tail),
            // Bytes and text: a length beyond the end does not decode.
            _ => match number(tail, 0) {
                Some(length) if length <= tail.len() => self.take(length),
                _ => Ok(()),
            },
        }
    }
}

/// The word at `place`, if it is there and fits.
fn number(data: &[u8], place: usize) -> Option<usize> {
    let word = data.get(place..)?.first_chunk::<32>()?;
    let (high, low) = word.split_at(24);
    let low = u64::from_be_bytes(low.try_into().ok()?);
    (high == [0; 24]).then_some(usize::try_from(low).ok()?)
}

#[cfg(test)]
mod tests {
    use alloy_dyn_abi::DynSolValue;
    use alloy_primitives::U256;
    use proptest::prelude::*;

    use super::*;

    fn word(number: usize) -> [u8; 32] {
        U256::from(number).to_be_bytes()
    }

    #[test]
    fn offsets_to_the_same_bytes_are_weighed_each_time() {
        let kind = DynSolType::parse("bytes[]").unwrap();
        let (count, length) = (1_000, 32_000);
        let mut data = word(32).to_vec();
        data.extend(word(count));
        for _ in 0..count {
            data.extend(word(count * 32));
        }
        data.extend(word(length));
        data.extend(vec![1; length]);
        assert!(kind.abi_decode_params(&data).is_ok());
        let kinds = [kind];
        assert_eq!(expect_affordable(&kinds, &data, 1 << 20), Err(TooHeavy));
        assert_eq!(expect_affordable(&kinds, &data, 64 << 20), Ok(()));
    }

    #[test]
    fn a_count_without_elements_ends_at_the_end_of_the_data() {
        let kinds = [DynSolType::parse("uint256[]").unwrap()];
        let mut data = word(32).to_vec();
        data.extend(word(1 << 60));
        assert_eq!(expect_affordable(&kinds, &data, 1 << 20), Ok(()));
        // Elements without size never reach the end: the budget does.
        let kinds = [DynSolType::Array(Box::new(DynSolType::Tuple(Vec::new())))];
        assert_eq!(expect_affordable(&kinds, &data, 1 << 20), Err(TooHeavy));
    }

    /// Of an array that is empty the decoder makes an element all the same.
    #[test]
    fn what_arrays_of_fixed_length_take_is_weighed_without_them() {
        let empty = [word(32), word(0)].concat();
        for kind in [
            "uint8[4000000000][]",
            "bytes[70000][70000][]",
            "(uint8,bool[9000000])[]",
        ] {
            let kinds = [DynSolType::parse(kind).unwrap()];
            assert_eq!(expect_affordable(&kinds, &empty, 64 << 20), Err(TooHeavy));
        }
        let kinds = [DynSolType::parse("uint8[1000][]").unwrap()];
        assert_eq!(expect_affordable(&kinds, &empty, 64 << 20), Ok(()));
    }

    proptest! {
        #[test]
        fn strangers_bytes_are_weighed_in_bounded_time(data in proptest::collection::vec(any::<u8>(), 0..512)) {
            let kinds = ["bytes[][]", "(string,uint8[])[2]", "uint256[3][]"].map(|kind| DynSolType::parse(kind).unwrap());
            let _ = expect_affordable(&kinds, &data, 1 << 16);
        }

        #[test]
        fn honest_values_weigh_no_less_than_their_bytes(words in proptest::collection::vec(any::<u64>(), 0..64)) {
            let value = DynSolValue::Array(words.iter().map(|word| DynSolValue::Uint(U256::from(*word), 256)).collect());
            let kinds = [DynSolType::parse("uint256[]").unwrap()];
            let data = value.abi_encode();
            prop_assert_eq!(expect_affordable(&kinds, &data, 128 + 64 * words.len()), Ok(()));
            prop_assert_eq!(expect_affordable(&kinds, &data, 64 * words.len()), Err(TooHeavy));
        }
    }
}
