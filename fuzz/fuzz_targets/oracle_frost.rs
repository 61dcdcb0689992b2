//! Any bytes at all as a message of key generation, a kept share, a public group, and a part of a group's signature.

#![no_main]

use std::sync::{LazyLock, Mutex};

use libfuzzer_sys::fuzz_target;
use peaberry_chain::primitives::B256;
use peaberry_oracle::{
    Attestor, FrostGroup, GroupShare, PublicGroup, decode_any_key_generation_bytes,
};
use rand_core::OsRng;

static MEMBER: LazyLock<Mutex<FrostGroup>> = LazyLock::new(|| {
    let mut shares = GroupShare::deal(4, 2, &mut OsRng).unwrap();
    Mutex::new(FrostGroup::new(shares.swap_remove(0)))
});

fuzz_target!(|bytes: &[u8]| {
    decode_any_key_generation_bytes(bytes);
    if let Ok(share) = GroupShare::from_bytes(bytes) {
        assert_eq!(share.to_bytes(), bytes);
    }
    if let Ok(group) = PublicGroup::from_bytes(bytes) {
        assert_eq!(group.to_bytes(), bytes);
    }
    let mut member = MEMBER.lock().unwrap();
    let digest = B256::ZERO;
    member.begin(&digest);
    let _ = member.gather(&digest, 1, bytes);
    let _ = member.contribute(&digest, Some(bytes));
    let _ = member.verify(&digest, bytes);
});
