//! What others have published of phrases, seeds and keys.

use alloy_primitives::hex;

use super::Wallet;
use crate::Signer as _;

pub(super) const ABANDON: &str =
    "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

#[test]
fn bip_39_vectors_give_their_seeds() {
    let vectors = [
        (
            ABANDON,
            "c55257c360c07c72029aebc1b53c05ed0362ada38ead3e3e9efa3708e53495531f09a6987599d18264c1e1c92f2cf141630c7a3c4ab7c81b2f001698e7463b04",
        ),
        (
            "legal winner thank year wave sausage worth useful legal winner thank yellow",
            "2e8905819b8723fe2c1d161860e5ee1830318dbf49a83bd451cfb8440c28bd6fa457fe1296106559a3c80937a1c1069be3a3a5bd381ee6260e8d9739fce1f607",
        ),
        (
            "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo wrong",
            "ac27495480225222079d7be181583751e86f571027b0497b5b5d11218e0a8a13332572917f0f8e5a589620c6f15b11c61dee327651a14c34e18231052e48c069",
        ),
    ];
    for (phrase, seed) in vectors {
        let wallet = Wallet::from_phrase(phrase, "TREZOR").unwrap();
        assert_eq!(hex::encode(wallet.seed.as_slice()), seed);
    }
}

/// The second vector of BIP-32, whose seed is as long as ours.
#[test]
fn bip_32_vectors_give_their_keys() {
    let seed = hex!(
        "fffcf9f6f3f0edeae7e4e1dedbd8d5d2cfccc9c6c3c0bdbab7b4b1aeaba8a5a2"
        "9f9c999693908d8a8784817e7b7875726f6c696663605d5a5754514e4b484542"
    );
    let wallet = Wallet::from_seed(seed);
    for (path, key) in [
        (
            "m",
            "4b03d6fc340455b363f51020ad3ecca4f0850280cf436c70c727923f6db46c3e",
        ),
        (
            "m/0",
            "abe74a98f6c7eabee0428f53798f0ab8aa1bd37873999041703c742f15ac7e1e",
        ),
        (
            "m/0/2147483647'",
            "877c779ad9687164e9c2f4f0f4ff0340814392330693ce95a58fe18fd52e6e93",
        ),
        (
            "m/0/2147483647'/1/2147483646'/2",
            "bb7d39bdb83ecf58f2fd82b6d918341cbef428661ef01ab97c28a4842125ac23",
        ),
    ] {
        let derived = wallet.evm_key_at(path).unwrap();
        assert_eq!(hex::encode(derived.reveal().as_slice()), key, "{path}");
    }
}

#[test]
fn bip_44_gives_the_accounts_that_every_development_chain_funds() {
    let phrase = "test test test test test test test test test test test junk";
    let wallet = Wallet::from_phrase(phrase, "").unwrap();
    let addresses = [0, 1, 2].map(|index| wallet.evm_key(index).unwrap().address().to_string());
    assert_eq!(
        addresses,
        [
            "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
            "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
            "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
        ]
    );
    let key = wallet.evm_key(0).unwrap();
    assert_eq!(
        hex::encode(key.reveal().as_slice()),
        "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
    );
}
