//! SLIP-0010 for ed25519: keys from a seed, by hardened steps alone.

use hmac::{Hmac, Mac};
use sha2::Sha512;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::ChainError;

const HARDENED: u32 = 1 << 31;

/// A key and what its children are derived with.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Node {
    pub(super) key: [u8; 32],
    chain_code: [u8; 32],
}

/// The node at `path` under the master of `seed`; every step is hardened, as ed25519 knows no others.
pub(super) fn derive(seed: &[u8], path: &[u32]) -> Result<Node, ChainError> {
    let mut node = split(b"ed25519 seed", &[seed]);
    for &index in path {
        if index >= HARDENED {
            return Err(ChainError::Wallet {
                what: "path",
                reason: format!("step {index} is 2^31 or more"),
            });
        }
        let index = (index | HARDENED).to_be_bytes();
        node = split(&node.chain_code, &[&[0], &node.key, &index]);
    }
    Ok(node)
}

fn split(key: &[u8], parts: &[&[u8]]) -> Node {
    let mut mac = Hmac::<Sha512>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    let bytes = Zeroizing::new(<[u8; 64]>::from(mac.finalize().into_bytes()));
    let mut node = Node {
        key: [0; 32],
        chain_code: [0; 32],
    };
    let (key, chain_code) = bytes.split_at(32);
    node.key.copy_from_slice(key);
    node.chain_code.copy_from_slice(chain_code);
    node
}

#[cfg(test)]
mod tests {
    use alloy_primitives::hex;

    use super::*;

    #[test]
    fn the_first_published_vector_is_met() {
        let seed = hex!("000102030405060708090a0b0c0d0e0f");
        let expected: [(&[u32], &str, &str); 6] = [
            (
                &[],
                "90046a93de5380a72b5e45010748567d5ea02bbf6522f979e05c0d8d8ca9fffb",
                "2b4be7f19ee27bbf30c667b642d5f4aa69fd169872f8fc3059c08ebae2eb19e7",
            ),
            (
                &[0],
                "8b59aa11380b624e81507a27fedda59fea6d0b779a778918a2fd3590e16e9c69",
                "68e0fe46dfb67e368c75379acec591dad19df3cde26e63b93a8e704f1dade7a3",
            ),
            (
                &[0, 1],
                "a320425f77d1b5c2505a6b1b27382b37368ee640e3557c315416801243552f14",
                "b1d0bad404bf35da785a64ca1ac54b2617211d2777696fbffaf208f746ae84f2",
            ),
            (
                &[0, 1, 2],
                "2e69929e00b5ab250f49c3fb1c12f252de4fed2c1db88387094a0f8c4c9ccd6c",
                "92a5b23c0b8a99e37d07df3fb9966917f5d06e02ddbd909c7e184371463e9fc9",
            ),
            (
                &[0, 1, 2, 2],
                "8f6d87f93d750e0efccda017d662a1b31a266e4a6f5993b15f5c1f07f74dd5cc",
                "30d1dc7e5fc04c31219ab25a27ae00b50f6fd66622f6e9c913253d6511d1e662",
            ),
            (
                &[0, 1, 2, 2, 1_000_000_000],
                "68789923a0cac2cd5a29172a475fe9e0fb14cd6adb5ad98a3fa70333e7afa230",
                "8f94d394a8e8fd6b1bc2f3f49f5c47e385281d5c17e65324b0f62483e37e8793",
            ),
        ];
        for (path, chain_code, key) in expected {
            let node = derive(&seed, path).unwrap();
            assert_eq!(hex::encode(node.chain_code), chain_code);
            assert_eq!(hex::encode(node.key), key);
        }
        assert!(derive(&seed, &[HARDENED]).is_err());
    }

    #[test]
    fn the_second_published_vector_is_met() {
        let seed = hex!(
            "fffcf9f6f3f0edeae7e4e1dedbd8d5d2cfccc9c6c3c0bdbab7b4b1aeaba8a5a2"
            "9f9c999693908d8a8784817e7b7875726f6c696663605d5a5754514e4b484542"
        );
        let expected: [(&[u32], &str); 6] = [
            (
                &[],
                "171cb88b1b3c1db25add599712e36245d75bc65a1a5c9e18d76f9f2b1eab4012",
            ),
            (
                &[0],
                "1559eb2bbec5790b0c65d8693e4d0875b1747f4970ae8b650486ed7470845635",
            ),
            (
                &[0, 2_147_483_647],
                "ea4f5bfe8694d8bb74b7b59404632fd5968b774ed545e810de9c32a4fb4192f4",
            ),
            (
                &[0, 2_147_483_647, 1],
                "3757c7577170179c7868353ada796c839135b3d30554bbb74a4b1e4a5a58505c",
            ),
            (
                &[0, 2_147_483_647, 1, 2_147_483_646],
                "5837736c89570de861ebc173b1086da4f505d4adb387c6a1b1342d5e4ac9ec72",
            ),
            (
                &[0, 2_147_483_647, 1, 2_147_483_646, 2],
                "551d333177df541ad876a60ea71f00447931c0a9da16f227c11ea080d7391b8d",
            ),
        ];
        for (path, key) in expected {
            assert_eq!(hex::encode(derive(&seed, path).unwrap().key), key);
        }
    }

    #[cfg(feature = "solana")]
    #[test]
    fn the_public_keys_are_those_published() {
        use crate::wallet::SolanaKey;
        let seed = hex!("000102030405060708090a0b0c0d0e0f");
        for (path, public) in [
            (
                &[][..],
                "a4b2856bfec510abab89753fac1ac0e1112364e7d250545963f135f2a33188ed",
            ),
            (
                &[0],
                "8c8a13df77a28f3445213a0f432fde644acaa215fc72dcdf300d5efaa85d350c",
            ),
            (
                &[0, 1],
                "1932a5270f335bed617d5b935c80aedb1a35bd9fc1e31acafd5372c30f5c1187",
            ),
        ] {
            let key = SolanaKey::from_bytes(&derive(&seed, path).unwrap().key);
            assert_eq!(hex::encode(key.solana_address().0), public);
        }
    }
}
