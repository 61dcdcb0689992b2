//! Addresses that belong to programs.

use curve25519_dalek::edwards::CompressedEdwardsY;
use sha2::{Digest, Sha256};

use crate::SolanaAddress;

/// The address that `program` derives from `seeds`, and the bump that takes it off the curve, so that no key can sign
/// for it. The highest bump that does is meant by everyone.
///
/// `None` if no bump does (one in 2^256), or there are more than 15 seeds, or one is longer than 32 bytes.
#[must_use]
pub fn find_program_address(
    seeds: &[&[u8]],
    program: SolanaAddress,
) -> Option<(SolanaAddress, u8)> {
    const SEEDS_MAX: usize = 15;
    const SEED_BYTES_MAX: usize = 32;
    if seeds.len() > SEEDS_MAX || seeds.iter().any(|seed| seed.len() > SEED_BYTES_MAX) {
        return None;
    }
    let mut begun = Sha256::new();
    for seed in seeds {
        begun.update(seed);
    }
    (0..=u8::MAX).rev().find_map(|bump| {
        let mut hasher = begun.clone();
        hasher.update([bump]);
        hasher.update(program.0);
        hasher.update(b"ProgramDerivedAddress");
        let hash: [u8; 32] = hasher.finalize().into();
        let is_off_curve = CompressedEdwardsY(hash).decompress().is_none();
        is_off_curve.then_some((SolanaAddress(hash), bump))
    })
}
