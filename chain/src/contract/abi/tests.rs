use alloy_primitives::{Address, B256, U256};

use super::*;
use crate::TxId;

const TOKEN: &[u8] = br#"{"contractName": "Token", "bytecode": {"object": "0x6001"}, "abi": [
    {"type": "constructor", "inputs": [{"name": "cap", "type": "uint256"}], "stateMutability": "nonpayable"},
    {"type": "function", "name": "balanceOf", "inputs": [{"name": "owner", "type": "address"}],
     "outputs": [{"name": "", "type": "uint256"}], "stateMutability": "view"},
    {"type": "function", "name": "pay", "inputs": [{"name": "to", "type": "address"}, {"name": "ids", "type": "uint8[]"}],
     "outputs": [], "stateMutability": "nonpayable"},
    {"type": "function", "name": "pay", "inputs": [{"name": "to", "type": "address"}, {"name": "memo", "type": "string"}],
     "outputs": [], "stateMutability": "payable"},
    {"type": "error", "name": "TooPoor", "inputs": [{"name": "who", "type": "address"}, {"name": "has", "type": "uint256"}]},
    {"type": "event", "name": "Paid", "anonymous": false, "inputs": [
        {"name": "amount", "type": "uint256", "indexed": false}, {"name": "to", "type": "address", "indexed": true}]}
]}"#;

const SOMEBODY: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";

fn abi() -> Abi {
    Abi::from_json(TOKEN).unwrap()
}

fn reason(error: &ChainError) -> String {
    assert!(matches!(error, ChainError::Abi { .. }), "{error}");
    assert!(!error.may_have_been_sent());
    error.to_string()
}

#[test]
fn overloads_are_told_apart_by_signature() {
    let abi = abi();
    let arguments =
        |function: &str, second: &str| abi.read_arguments(function, &[SOMEBODY, second]);
    let error = arguments("pay", "[1,2]").unwrap_err();
    assert!(reason(&error).contains("several"));
    let ids = arguments("pay(address,uint8[])", "[1,2]").unwrap();
    let memo = arguments("pay(address,string)", "[1,2]").unwrap();
    assert_eq!(ids[1].as_array().unwrap().len(), 2);
    assert_eq!(memo[1].as_str(), Some("[1,2]"));
    let [first, second] = [
        ("pay(address,uint8[])", &ids),
        ("pay(address,string)", &memo),
    ]
    .map(|(function, arguments)| abi.encode(function, arguments).unwrap());
    assert_ne!(first[..4], second[..4]);
    assert!(abi.encode("pay(address,uint8[])", &memo).is_err());
}

#[test]
fn what_the_abi_does_not_have_is_refused() {
    let abi = abi();
    for (function, arguments) in [
        ("balanceof", vec![SOMEBODY]),
        ("balanceOf", vec![]),
        ("pay(address)", vec![SOMEBODY]),
        ("pay(address,uint8[])", vec![SOMEBODY, "[256]"]),
        ("balanceOf", vec!["11111111111111111111111111111111"]),
    ] {
        reason(&abi.read_arguments(function, &arguments).unwrap_err());
    }
    let typo = SOMEBODY.replace("eAed", "eaed");
    let error = abi.read_arguments("balanceOf", &[&typo]).unwrap_err();
    assert!(matches!(error, ChainError::InvalidAddress { .. }));
    for json in [
        &b""[..],
        b"{}",
        b"7",
        b"[{\"type\": \"function\"}]",
        &vec![b' '; ABI_BYTES_MAX + 1],
    ] {
        assert!(Abi::from_json(json).is_err());
    }
    let unlinked = String::from_utf8_lossy(TOKEN).replace("0x6001", "0x60__$lib$__01");
    assert!(Abi::from_json(unlinked.as_bytes()).is_err());
}

#[test]
fn readers_are_not_sent_to_and_only_payable_functions_are_paid() {
    let abi = abi();
    let somebody = abi.read_arguments("balanceOf", &[SOMEBODY]).unwrap();
    let error = abi
        .encode_sent("balanceOf", &somebody, Amount::wei(0))
        .unwrap_err();
    assert!(reason(&error).contains("only reads"));
    let ids = "pay(address,uint8[])";
    let arguments = abi.read_arguments(ids, &[SOMEBODY, "[]"]).unwrap();
    assert!(abi.encode_sent(ids, &arguments, Amount::wei(0)).is_ok());
    let error = abi
        .encode_sent(ids, &arguments, Amount::wei(1))
        .unwrap_err();
    assert!(reason(&error).contains("no payment"));
    let memo = "pay(address,string)";
    let arguments = abi.read_arguments(memo, &[SOMEBODY, "tip"]).unwrap();
    assert!(abi.encode_sent(memo, &arguments, Amount::wei(1)).is_ok());
}

#[test]
fn creation_code_ends_with_the_constructors_arguments() {
    let code = abi()
        .creation_code(&[Value::Uint(U256::from(9), 256)])
        .unwrap();
    assert_eq!(code.len(), 2 + 32);
    assert!(abi().creation_code(&[]).is_err());
    assert!(Abi::from_json(b"[]").unwrap().creation_code(&[]).is_err());
}

#[test]
fn errors_and_events_say_their_names() {
    let abi = abi();
    let error = abi.abi.errors().next().unwrap();
    let somebody: Address = SOMEBODY.parse().unwrap();
    let data = error
        .abi_encode_input(&[Value::Address(somebody), Value::Uint(U256::from(3), 256)])
        .unwrap();
    let revert = crate::evm::decode_revert(&data, "");
    assert_eq!(
        abi.decode_revert(revert).to_string(),
        format!("TooPoor({SOMEBODY}, 3)")
    );
    let unknown = crate::evm::decode_revert(&[1, 2, 3, 4], "");
    assert_eq!(abi.decode_revert(unknown.clone()), unknown);
    let cut = crate::evm::decode_revert(&data[..40], "");
    assert_eq!(abi.decode_revert(cut.clone()), cut);

    let mut log = Log {
        address: somebody.into(),
        topics: vec![abi.topic("Paid").unwrap(), somebody.into_word()],
        data: U256::from(5).to_be_bytes_vec().into(),
        block_number: 1,
        block_hash: B256::ZERO,
        transaction: TxId::Evm(B256::ZERO),
        transaction_index: 0,
        index: 0,
    };
    let event = abi.decode_log(&log).unwrap();
    assert_eq!(event.name, "Paid");
    assert_eq!(event.get("to"), Some(&Value::Address(somebody)));
    assert_eq!(event.fields[0].value, Value::Uint(U256::from(5), 256));
    log.topics.pop();
    reason(&abi.decode_log(&log).unwrap_err());
    log.topics.push(B256::ZERO);
    log.data = Bytes::new();
    reason(&abi.decode_log(&log).unwrap_err());
}

/// A mistyped digit is found wherever an address stands; what only looks like one is left alone.
#[test]
fn a_bad_checksum_is_found_within_lists_and_tuples() {
    let abi = Abi::from_json(
        br#"[
        {"type": "function", "name": "list", "inputs": [{"name": "to", "type": "address[]"}],
         "outputs": [], "stateMutability": "nonpayable"},
        {"type": "function", "name": "pair", "inputs": [{"name": "both", "type": "tuple", "components": [
            {"name": "to", "type": "address"}, {"name": "ids", "type": "bytes20[]"}]}],
         "outputs": [], "stateMutability": "nonpayable"}
    ]"#,
    )
    .unwrap();
    let mistyped = SOMEBODY.replace("BeAed", "beAed");
    let other = "0xF39fD6e51aad88F6F4ce6aB8827279cffFb92266";
    for (function, argument, is_right) in [
        ("list", format!("[{SOMEBODY}]"), true),
        ("list", format!("[{}]", SOMEBODY.to_lowercase()), true),
        ("list", format!("[{SOMEBODY}, {mistyped}]"), false),
        ("list", format!("[{mistyped},{SOMEBODY}]"), false),
        ("pair", format!("({SOMEBODY}, [{other}])"), true),
        ("pair", format!("({mistyped}, [{other}])"), false),
    ] {
        let read = abi.read_arguments(function, &[&argument]);
        match read {
            Err(ChainError::InvalidAddress { .. }) => assert!(!is_right, "{argument}"),
            read => assert_eq!(read.is_ok(), is_right, "{argument}: {read:?}"),
        }
    }
}
