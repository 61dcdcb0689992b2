//! Any bytes at all as an ABI, and as what a contract of it says.

use alloy_primitives::{Address, B256};

use super::{Abi, to_text};
use crate::{Log, Revert, TxId};

/// Reads `json` as an ABI and `data` as everything that a contract of it may say, for fuzzing. Answers whether it is an ABI.
#[doc(hidden)]
pub fn read_any_abi(json: &[u8], data: &[u8]) -> bool {
    let Ok(abi) = Abi::from_json(json) else {
        return false;
    };
    let text = String::from_utf8_lossy(data);
    for function in abi.abi.functions() {
        let (name, count) = (function.signature(), function.inputs.len());
        if let Ok(values) = abi.decode_answer(&name, count, data) {
            values.iter().for_each(|value| drop(to_text(value)));
        }
        let arguments = vec![text.as_ref(); count];
        if let Ok(values) = abi.read_arguments(&name, &arguments) {
            assert!(abi.encode(&name, &values).is_ok(), "{name}: {text}");
        }
    }
    for event in abi.abi.events() {
        let indexed = event.inputs.iter().filter(|input| input.indexed).count();
        let mut words = data.chunks_exact(32).map(B256::from_slice);
        let words = std::iter::repeat_with(|| words.next().unwrap_or_default());
        let topics = std::iter::once(event.selector()).chain(words.take(indexed));
        // Refused, or of as many fields as there are.
        if let Ok(read) = abi.decode_log(&log(topics.collect(), data)) {
            assert_eq!(read.fields.len(), event.inputs.len(), "{}", read.name);
        }
    }
    for error in abi.abi.errors() {
        let selector = error.selector().0;
        let data = [&selector[..], data].concat().into();
        drop(abi.decode_revert(Revert::Custom { selector, data }));
    }
    true
}

fn log(topics: Vec<B256>, data: &[u8]) -> Log {
    Log {
        address: Address::ZERO.into(),
        topics,
        data: data.to_vec().into(),
        block_number: 0,
        block_hash: B256::ZERO,
        transaction: TxId::Evm(B256::ZERO),
        transaction_index: 0,
        index: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ChainError;
    use crate::contract::TYPE_DEPTH_MAX;
    use crate::hostile::each_spoiled;

    const ABI: &[u8] = br#"{"bytecode":{"object":"0x6001"},"abi":[{"type":"function","name":"f","inputs":[
        {"name":"a","type":"uint8[2][]"},{"name":"b","type":"tuple","components":[{"name":"c","type":"string"},
        {"name":"d","type":"bytes3"}]}],"outputs":[{"name":"","type":"bytes[]"},{"name":"","type":"int16"}],
        "stateMutability":"view"},{"type":"event","name":"E","anonymous":false,"inputs":[{"name":"x","type":"address","indexed":true},
        {"name":"y","type":"string[]","indexed":false}]},{"type":"error","name":"R","inputs":[{"name":"z","type":"(bool,bytes)[]"}]}]}"#;

    /// `bytes[]` and `int16`: 4 words before the array, whose two members follow.
    fn answer() -> Vec<u8> {
        let word = |number: u8| B256::with_last_byte(number);
        let words = [
            word(64),
            word(7),
            word(2),
            word(64),
            word(128),
            word(1),
            B256::right_padding_from(&[5]),
            word(0),
        ];
        words.concat()
    }

    #[test]
    fn any_abi_is_read_or_refused() {
        let abi = Abi::from_json(ABI).unwrap();
        let values = abi.decode_answer("f", 2, &answer()).unwrap();
        let texts: Vec<_> = values.iter().map(to_text).collect();
        assert_eq!(texts, ["[0x05, 0x]", "7"]);
        each_spoiled(&[ABI], |json| {
            read_any_abi(json, &answer());
        });
    }

    #[test]
    fn any_words_of_a_contract_are_read_or_refused() {
        let texts: [&[u8]; 3] = [b"[[1,2],[3,4]]", b"(tea,0x010203)", b"[0x05,0x]"];
        each_spoiled(&[&answer(), texts[0], texts[1], texts[2]], |data| {
            assert!(read_any_abi(ABI, data));
        });
    }

    /// What walks along a type would have no stack left.
    #[test]
    fn types_that_are_nested_too_deep_are_refused() {
        // Wherever a type may stand.
        for item in [
            r#""type":"function","name":"f","inputs":[PARAM],"outputs":[],"stateMutability":"view""#,
            r#""type":"function","name":"f","inputs":[],"outputs":[PARAM],"stateMutability":"view""#,
            r#""type":"event","name":"E","anonymous":false,"inputs":[PARAM]"#,
            r#""type":"error","name":"R","inputs":[PARAM]"#,
            r#""type":"constructor","inputs":[PARAM],"stateMutability":"payable""#,
        ] {
            let of = |depth: usize| {
                let kind = "[]".repeat(depth);
                let param = format!(r#"{{"name":"a","type":"uint8{kind}"}}"#);
                Abi::from_json(format!("[{{{}}}]", item.replace("PARAM", &param)).as_bytes())
            };
            assert!(of(TYPE_DEPTH_MAX).is_ok(), "{item}");
            for depth in [TYPE_DEPTH_MAX + 1, 500_000] {
                let refused = of(depth);
                assert!(
                    matches!(refused, Err(ChainError::Abi { .. })),
                    "{item}: {depth}"
                );
            }
        }
        // Structs count, too.
        let mut components = r#"{"name":"a","type":"bool"}"#.to_owned();
        for _ in 0..20 {
            components =
                format!(r#"{{"name":"a","type":"tuple[][][][]","components":[{components}]}}"#);
        }
        let error = format!(r#"[{{"type":"error","name":"R","inputs":[{components}]}}]"#);
        let refused = Abi::from_json(error.as_bytes());
        assert!(
            matches!(refused, Err(ChainError::Abi { .. })),
            "{refused:?}"
        );
    }
}
