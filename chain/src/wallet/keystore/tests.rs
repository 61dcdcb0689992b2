use super::*;

// The vectors of the Web3 Secret Storage definition.
const PUBLISHED_PBKDF2: &str = r#"{
    "crypto": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
        "kdf": "pbkdf2",
        "kdfparams": {
            "c": 262144, "dklen": 32, "prf": "hmac-sha256",
            "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"
        },
        "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"
    },
    "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
    "version": 3
}"#;
const PUBLISHED: &str = r#"{
    "crypto": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "83dbcc02d8ccb40e466191a123791e0e"},
        "ciphertext": "d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c",
        "kdf": "scrypt",
        "kdfparams": {
            "dklen": 32, "n": 262144, "p": 8, "r": 1,
            "salt": "ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19"
        },
        "mac": "2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097"
    },
    "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
    "version": 3
}"#;

#[test]
fn the_published_files_open() {
    for file in [PUBLISHED, PUBLISHED_PBKDF2] {
        let key = EvmKey::from_keystore(file.as_bytes(), "testpassword").unwrap();
        assert_eq!(
            hex::encode(key.reveal().as_slice()),
            "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d"
        );
    }
}

#[test]
fn a_file_of_pbkdf2_cannot_ask_for_all_our_time() {
    for (from, to) in [
        ("262144", "10000001"),
        ("262144", "4294967296"),
        ("262144", "0"),
        ("hmac-sha256", "hmac-sha512"),
        ("\"dklen\": 32", "\"dklen\": 16"),
        ("\"pbkdf2\"", "\"scrypt\""),
    ] {
        let json = PUBLISHED_PBKDF2.replace(from, to);
        assert_ne!(json, PUBLISHED_PBKDF2);
        assert!(
            EvmKey::from_keystore(json.as_bytes(), "testpassword").is_err(),
            "{to}"
        );
    }
}

#[test]
fn a_file_that_bears_another_address_is_refused() {
    let key = EvmKey::from_bytes(&[7; 32]).unwrap();
    let json = key.to_keystore("pw", Stretching::Light).unwrap();
    let own = hex::encode(key.evm_address());
    for other in [hex::encode([9; 20]), "no address".to_owned()] {
        let json = json.replace(&own, &other);
        let refused = EvmKey::from_keystore(json.as_bytes(), "pw").unwrap_err();
        assert!(refused.to_string().contains("address"), "{refused}");
    }
    // With the prefix, and in capitals, as some wallets write it; or empty, as others do.
    for same in [format!("0x{own}"), own.to_uppercase(), String::new()] {
        let json = json.replace(&own, &same);
        assert!(
            EvmKey::from_keystore(json.as_bytes(), "pw").is_ok(),
            "{same}"
        );
    }
}

#[test]
fn what_is_sealed_opens_with_its_password_alone() {
    let key = EvmKey::from_bytes(&[7; 32]).unwrap();
    let json = key.to_keystore("correct horse", Stretching::Light).unwrap();
    assert!(!json.contains(&hex::encode([7; 32])));
    let again = EvmKey::from_keystore(json.as_bytes(), "correct horse").unwrap();
    assert_eq!(*again.reveal(), *key.reveal());
    assert!(EvmKey::from_keystore(json.as_bytes(), "correct horsf").is_err());
    assert_ne!(
        json,
        key.to_keystore("correct horse", Stretching::Light).unwrap()
    );
}

#[test]
fn a_file_cannot_ask_for_all_our_memory() {
    for (from, to) in [
        ("262144", "4611686018427387904"),
        ("262144", "262145"),
        ("262144", "0"),
        ("\"r\": 1", "\"r\": 4294967295"),
        ("\"p\": 8", "\"p\": 4294967295"),
        ("\"dklen\": 32", "\"dklen\": 16"),
        ("d172bf", "d1"),
        ("83dbcc", "83"),
        ("\"version\": 3", "\"version\": 1"),
        ("\"scrypt\"", "\"pbkdf2\""),
    ] {
        let json = PUBLISHED.replace(from, to);
        assert_ne!(json, PUBLISHED);
        assert!(
            EvmKey::from_keystore(json.as_bytes(), "testpassword").is_err(),
            "{to}"
        );
    }
    assert!(EvmKey::from_keystore(&vec![b' '; KEYSTORE_BYTES_MAX + 1], "").is_err());
}

#[test]
fn files_are_the_owners_and_are_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.json");
    let key = EvmKey::from_bytes(&[9; 32]).unwrap();
    key.write_keystore(&path, "pw", Stretching::Light).unwrap();
    assert!(key.write_keystore(&path, "pw", Stretching::Light).is_err());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let again = EvmKey::read_keystore(&path, "pw").unwrap();
    assert_eq!(again.evm_address(), key.evm_address());
}

/// A seed and a Solana key are kept like a key of EVM accounts, and none is taken for another: not as it is, and not by
/// whoever can write the file.
#[cfg(feature = "solana")]
#[test]
fn seeds_and_solana_keys_are_kept_and_told_apart() {
    let phrase = "test test test test test test test test test test test junk";
    let wallet = Wallet::from_phrase(phrase, "").unwrap();
    let (evm, solana) = (wallet.evm_key(0).unwrap(), wallet.solana_key(0).unwrap());
    let light = Stretching::Light;
    let of_wallet = wallet.to_keystore("pw", light).unwrap();
    let of_evm = evm.to_keystore("pw", light).unwrap();
    let of_solana = solana.to_keystore("pw", light).unwrap();

    let again = Wallet::from_keystore(of_wallet.as_bytes(), "pw").unwrap();
    assert_eq!(*again.seed, *wallet.seed);
    let again = SolanaKey::from_keystore(of_solana.as_bytes(), "pw").unwrap();
    assert_eq!(*again.reveal(), *solana.reveal());
    assert!(Wallet::from_keystore(of_wallet.as_bytes(), "PW").is_err());
    assert!(SolanaKey::from_keystore(of_solana.as_bytes(), "PW").is_err());

    let as_wallet = |json: &str| Wallet::from_keystore(json.as_bytes(), "pw").is_ok();
    let as_evm = |json: &str| EvmKey::from_keystore(json.as_bytes(), "pw").is_ok();
    let as_solana = |json: &str| SolanaKey::from_keystore(json.as_bytes(), "pw").is_ok();
    assert!(!as_wallet(&of_evm) && !as_wallet(&of_solana));
    assert!(!as_evm(&of_wallet) && !as_evm(&of_solana));
    assert!(!as_solana(&of_wallet) && !as_solana(&of_evm));

    // An address beside it would be found to be wrong; without one only the code tells.
    let with = |json: &str, field: &str, value: Option<&str>| {
        let mut file: serde_json::Value = serde_json::from_str(json).unwrap();
        let fields = file.as_object_mut().unwrap();
        fields.remove("address");
        match value {
            Some(value) => fields.insert(field.into(), value.into()),
            None => fields.remove(field),
        };
        file.to_string()
    };
    assert!(as_solana(&with(&of_solana, "holds", Some("ed25519"))));
    assert!(!as_evm(&with(&of_solana, "holds", None)));
    assert!(!as_solana(&with(&of_evm, "holds", Some("ed25519"))));
    assert!(!as_solana(&with(&of_wallet, "holds", Some("ed25519"))));
    assert!(!as_wallet(&with(&of_wallet, "holds", Some("entropy"))));
    let other = SolanaKey::from_bytes(&[7; 32]).solana_address().to_string();
    assert!(!as_solana(&with(&of_solana, "address", Some(&other))));

    // Other bytes would come out of it.
    let damaged = |json: &str| {
        let mut file: serde_json::Value = serde_json::from_str(json).unwrap();
        file.as_object_mut().unwrap().remove("address");
        let iv = &mut file["crypto"]["cipherparams"]["iv"];
        let digit = if iv.as_str().unwrap().starts_with('0') {
            "1"
        } else {
            "0"
        };
        *iv = format!("{digit}{}", &iv.as_str().unwrap()[1..]).into();
        file.to_string()
    };
    assert!(!as_wallet(&damaged(&of_wallet)) && !as_solana(&damaged(&of_solana)));

    let folder = tempfile::tempdir().unwrap();
    for (name, written) in [
        (
            "wallet",
            wallet.write_keystore(&folder.path().join("wallet"), "pw", light),
        ),
        (
            "solana",
            solana.write_keystore(&folder.path().join("solana"), "pw", light),
        ),
    ] {
        assert!(written.is_ok(), "{name}");
    }
    let again = Wallet::read_keystore(&folder.path().join("wallet"), "pw").unwrap();
    assert_eq!(*again.seed, *wallet.seed);
    let again = SolanaKey::read_keystore(&folder.path().join("solana"), "pw").unwrap();
    assert_eq!(again.solana_address(), solana.solana_address());
}
