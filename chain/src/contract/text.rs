//! Values as people write them.

use std::collections::BTreeSet;

use alloy_dyn_abi::DynSolType;
use alloy_primitives::hex;

use super::Value;
use super::abi::misfit;
use crate::{Address, ChainError, EvmAddress};

/// A value as text: numbers in decimal, addresses with their checksum, bytes as hex, text in quotes.
#[must_use]
pub fn to_text(value: &Value) -> String {
    match value {
        Value::Bool(yes) => yes.to_string(),
        Value::Int(number, _) => number.to_string(),
        Value::Uint(number, _) => number.to_string(),
        Value::FixedBytes(word, size) => {
            hex::encode_prefixed(word.get(..*size).unwrap_or_default())
        }
        Value::Address(address) => address.to_string(),
        Value::Function(function) => hex::encode_prefixed(function),
        Value::Bytes(bytes) => hex::encode_prefixed(bytes),
        Value::String(text) => format!("{text:?}"),
        Value::Array(values) | Value::FixedArray(values) => format!("[{}]", join(values)),
        Value::Tuple(values) => format!("({})", join(values)),
    }
}

fn join(values: &[Value]) -> String {
    let texts: Vec<String> = values.iter().map(to_text).collect();
    texts.join(", ")
}

/// Reads one argument of `function`.
pub(super) fn read(kind: &DynSolType, text: &str, function: &str) -> Result<Value, ChainError> {
    match kind {
        // Whose checksum is looked at.
        DynSolType::Address => match text.parse::<Address>()? {
            Address::Evm(address) => Ok(Value::Address(address)),
            Address::Solana(_) => Err(misfit(function, "an address of another family")),
        },
        DynSolType::String => Ok(Value::String(text.to_owned())),
        kind => {
            let value = kind
                .coerce_str(text)
                .map_err(|error| misfit(function, error))?;
            expect_checksums(&value, text)?;
            Ok(value)
        }
    }
}

/// That the addresses within `value`, which is written as `text`, have no wrong checksum: who reads lists and tuples looks at
/// none.
fn expect_checksums(value: &Value, text: &str) -> Result<(), ChainError> {
    let mut addresses = BTreeSet::new();
    gather(value, &mut addresses);
    for word in text.split(|sign: char| !sign.is_ascii_alphanumeric()) {
        let digits = word.strip_prefix("0x").unwrap_or(word);
        if digits.len() == 40
            && let Ok(address) = digits.parse::<EvmAddress>()
            && addresses.contains(&address)
        {
            format!("0x{digits}").parse::<Address>()?;
        }
    }
    Ok(())
}

fn gather(value: &Value, addresses: &mut BTreeSet<EvmAddress>) {
    match value {
        Value::Address(address) => {
            addresses.insert(*address);
        }
        Value::Array(values) | Value::FixedArray(values) | Value::Tuple(values) => {
            values.iter().for_each(|value| gather(value, addresses));
        }
        _ => {}
    }
}
