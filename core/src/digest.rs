//! A running 64-bit digest, the same in every process and on every machine. It finds differences; it proves nothing to
//! a stranger.

/// Feeds bytes and numbers into 64 bits of state: multiply, fold the high half back, rotate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest(u64);

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const FACTOR: u64 = 0xd6e8_feb8_6659_fd93;

impl Digest {
    pub(crate) const fn new() -> Self {
        Self(SEED)
    }

    pub(crate) const fn number(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(FACTOR);
        self.0 = (mixed ^ (mixed >> 32)).rotate_left(23);
    }

    /// Feeds `bytes` and their length, so that neighbours cannot run into each other.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.number(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            for (to, from) in last.iter_mut().zip(rest) {
                *to = *from;
            }
            self.number(u64::from_le_bytes(last));
        }
    }

    pub(crate) const fn value(self) -> u64 {
        let folded = (self.0 ^ (self.0 >> 29)).wrapping_mul(FACTOR);
        folded ^ (folded >> 32)
    }
}

/// The digest of `bytes` alone.
#[cfg_attr(
    not(feature = "simulation"),
    expect(dead_code, reason = "the simulation's traces name payloads by it")
)]
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    let mut digest = Digest::new();
    digest.bytes(bytes);
    digest.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_and_every_boundary_counts() {
        let bytes = [7_u8; 19];
        let whole = digest(&bytes);
        for at in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[at / 8] ^= 1 << (at % 8);
            assert_ne!(digest(&flipped), whole, "bit {at}");
        }
        let mut split = Digest::new();
        split.bytes(&bytes[..8]);
        split.bytes(&bytes[8..]);
        assert_ne!(split.value(), whole);
        assert_ne!(digest(&[0]), digest(&[0, 0]));
    }
}
