//! Any bytes at all as an ABI, and as what a contract of it answers, logs and refuses with.

#![no_main]

use libfuzzer_sys::fuzz_target;

/// One with a type of each kind, for data that is read by an ABI that is right.
const ABI: &[u8] = br#"[
    {"type": "function", "name": "f", "stateMutability": "view",
     "inputs": [{"name": "", "type": "uint8[2][]"}, {"name": "", "type": "(string,bytes3,bool)"}],
     "outputs": [{"name": "", "type": "bytes[][3]"}, {"name": "", "type": "(int16,(address,string[])[])"}]},
    {"type": "event", "name": "E", "anonymous": false, "inputs": [
        {"name": "", "type": "address", "indexed": true}, {"name": "", "type": "string", "indexed": true},
        {"name": "", "type": "uint256[2][]", "indexed": false}]},
    {"type": "error", "name": "R", "inputs": [{"name": "", "type": "(bool,bytes)[]"}]}]"#;

fuzz_target!(|input: (&[u8], &[u8])| {
    let (json, data) = input;
    peaberry_chain::contract::read_any_abi(json, data);
    assert!(peaberry_chain::contract::read_any_abi(ABI, data));
});
