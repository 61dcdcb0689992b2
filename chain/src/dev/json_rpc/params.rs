//! A method's arguments.

use alloy_primitives::{Address, B256, Bytes, U64, U256};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::super::execution::Call;
use super::super::ledger::At;
use super::{INVALID_PARAMS, error};
use crate::evm::NodeError;
use crate::{LogFilter, LogRange};

// As many as geth takes.
const ADDRESSES_MAX: usize = 1000;
const TOPICS_MAX: usize = 1000;

/// The arguments of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Params<'a>(&'a [Value]);

impl<'a> Params<'a> {
    pub(super) fn new(params: &'a Value) -> Result<Self, NodeError> {
        match params {
            Value::Null => Ok(Self(&[])),
            Value::Array(params) => Ok(Self(params)),
            _ => Err(error(INVALID_PARAMS, "non-array args")),
        }
    }

    pub(super) fn get<T: DeserializeOwned>(&self, place: usize) -> Result<T, NodeError> {
        self.optional(place)?.ok_or_else(|| {
            let words = format!("missing value for required argument {place}");
            error(INVALID_PARAMS, words)
        })
    }

    pub(super) fn optional<T: DeserializeOwned>(
        &self,
        place: usize,
    ) -> Result<Option<T>, NodeError> {
        match self.0.get(place) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value).map(Some).map_err(|misfit| {
                error(
                    INVALID_PARAMS,
                    format!("invalid argument {place}: {misfit}"),
                )
            }),
        }
    }

    /// A block; the newest where none is named.
    pub(super) fn block(&self, place: usize) -> Result<At, NodeError> {
        let named = self.optional::<BlockParam>(place)?;
        named.map_or(Ok(At::Latest), |named| named.read(place))
    }

    pub(super) fn call(&self, place: usize) -> Result<Call, NodeError> {
        self.get::<CallParam>(place)?.read()
    }

    /// There is nothing at this place and the next that would have a call see another state or block than there is.
    pub(super) fn no_overrides(&self, place: usize) -> Result<(), NodeError> {
        (place..=place + 1).try_for_each(|place| no_overrides(self.0.get(place)))
    }

    pub(super) fn logs(&self, place: usize) -> Result<LogsParam, NodeError> {
        self.get(place)
    }
}

/// What would change a call's answer, and is not here, is refused: leaving it out would answer another question.
pub(super) fn no_overrides(given: Option<&Value>) -> Result<(), NodeError> {
    match given.is_some_and(says_something) {
        true => Err(error(
            INVALID_PARAMS,
            "state and block overrides are not here",
        )),
        false => Ok(()),
    }
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(values) => !values.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    }
}

/// A block by its tag, number or hash (EIP-1898); a bare hash is one, too.
#[derive(Deserialize)]
#[serde(untagged)]
enum BlockParam {
    #[serde(rename_all = "camelCase")]
    Hash {
        block_hash: B256,
    },
    #[serde(rename_all = "camelCase")]
    Number {
        block_number: U64,
    },
    Text(String),
}

impl BlockParam {
    fn read(self, place: usize) -> Result<At, NodeError> {
        let text = match self {
            Self::Hash { block_hash } => return Ok(At::Hash(block_hash)),
            Self::Number { block_number } => return Ok(At::Number(block_number.to())),
            Self::Text(text) => text,
        };
        Ok(match text.as_str() {
            "earliest" => At::Earliest,
            "latest" => At::Latest,
            "pending" => At::Pending,
            "safe" => At::Safe,
            "finalized" => At::Final,
            text => {
                // As geth reads it, 64 digits are a hash.
                if let (66, Ok(hash)) = (text.len(), text.parse()) {
                    return Ok(At::Hash(hash));
                }
                At::Number(quantity(text).map_err(|misfit| {
                    let words = format!("invalid argument {place}: {misfit}");
                    error(INVALID_PARAMS, words)
                })?)
            }
        })
    }
}

/// A number in hex, or geth's words for what it is instead.
fn quantity(text: &str) -> Result<u64, &'static str> {
    let digits = text
        .strip_prefix("0x")
        .ok_or("hex string without 0x prefix")?;
    if digits.is_empty() {
        return Err("hex string \"0x\"");
    }
    // Which the reader of numbers would take a sign for a part of.
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err("invalid hex string");
    }
    u64::from_str_radix(digits, 16).map_err(|_too_large| "hex number > 64 bits")
}

/// A transaction's fields as a call names them; those that decide nothing (its nonce, its type, its chain) are passed
/// over.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CallParam {
    from: Option<Address>,
    to: Option<Address>,
    gas: Option<U64>,
    gas_price: Option<U256>,
    max_fee_per_gas: Option<U256>,
    max_priority_fee_per_gas: Option<U256>,
    value: Option<U256>,
    access_list: Option<Value>,
    authorization_list: Option<Value>,
    blob_versioned_hashes: Option<Value>,
    input: Option<Bytes>,
    data: Option<Bytes>,
}

impl CallParam {
    fn read(self) -> Result<Call, NodeError> {
        if let (Some(input), Some(data)) = (&self.input, &self.data)
            && input != data
        {
            return Err(error(
                INVALID_PARAMS,
                r#"both "data" and "input" are set and not equal. Please use "input" to pass transaction call data"#,
            ));
        }
        for (name, list) in [
            ("accessList", &self.access_list),
            ("authorizationList", &self.authorization_list),
            ("blobVersionedHashes", &self.blob_versioned_hashes),
        ] {
            if list.as_ref().is_some_and(says_something) {
                let words = format!("calls with {name} are not here");
                return Err(error(INVALID_PARAMS, words));
            }
        }
        let is_dynamic = self.max_fee_per_gas.or(self.max_priority_fee_per_gas);
        if self.gas_price.is_some() && is_dynamic.is_some() {
            return Err(error(
                INVALID_PARAMS,
                "both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified",
            ));
        }
        let fee_max = self.gas_price.or(self.max_fee_per_gas);
        let fee_max = fee_max.map(u128::try_from).transpose();
        Ok(Call {
            from: self.from.unwrap_or_default(),
            to: self.to,
            value: self.value.unwrap_or_default(),
            data: self.input.or(self.data).unwrap_or_default(),
            gas: self.gas.map(|gas| gas.to()),
            fee_max: fee_max
                .map_err(|_too_large| error(INVALID_PARAMS, "a fee of more than 128 bits"))?,
        })
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// At each place one topic, several of which one is enough, or none that is wanted.
type Topics = Vec<Option<OneOrMany<Option<B256>>>>;

/// Which logs are wanted. What is null is as absent.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
pub(super) struct LogsParam {
    address: Option<OneOrMany<Address>>,
    topics: Option<Topics>,
    block_hash: Option<B256>,
    from_block: Option<BlockParam>,
    to_block: Option<BlockParam>,
}

impl LogsParam {
    /// The filter, and the range where `number` says which block is meant.
    pub(super) fn read(
        self,
        number: impl Fn(At) -> Option<u64>,
    ) -> Result<(LogFilter, LogRange), NodeError> {
        let range = match (self.block_hash, self.from_block, self.to_block) {
            (Some(hash), None, None) => LogRange::Block(hash),
            (Some(_), _, _) => {
                let words =
                    "cannot specify both BlockHash and FromBlock/ToBlock, choose one or the other";
                return Err(error(INVALID_PARAMS, words));
            }
            (None, from, to) => {
                let read = |block: Option<BlockParam>| match block {
                    None => Ok(number(At::Latest).unwrap_or_default()),
                    Some(block) => match block.read(0)? {
                        At::Number(number) => Ok(number),
                        tag => number(tag).ok_or_else(|| error(-32000, "unknown block")),
                    },
                };
                LogRange::Numbers(read(from)?..=read(to)?)
            }
        };
        Ok((Self::filter(self.address, self.topics)?, range))
    }

    /// The filter, and the ends of the range that are named and are no tag of what is to come.
    pub(super) fn read_open(
        self,
        number: impl Fn(At) -> Option<u64>,
    ) -> Result<(LogFilter, Option<u64>, Option<u64>), NodeError> {
        if self.block_hash.is_some() {
            return Err(error(
                INVALID_PARAMS,
                "a filter of one block has no changes",
            ));
        }
        let read = |block: Option<BlockParam>| match block.map(|block| block.read(0)).transpose()? {
            None | Some(At::Latest | At::Pending) => Ok(None),
            Some(At::Number(number)) => Ok(Some(number)),
            Some(tag) => number(tag)
                .map(Some)
                .ok_or_else(|| error(-32000, "unknown block")),
        };
        let (from, to) = (read(self.from_block)?, read(self.to_block)?);
        Ok((Self::filter(self.address, self.topics)?, from, to))
    }

    fn filter(
        address: Option<OneOrMany<Address>>,
        wanted: Option<Topics>,
    ) -> Result<LogFilter, NodeError> {
        let addresses = address.map_or_else(Vec::new, OneOrMany::into_vec);
        let wanted = wanted.unwrap_or_default();
        if wanted.len() > 4 || addresses.len() > ADDRESSES_MAX {
            return Err(error(INVALID_PARAMS, "exceed max topics or addresses"));
        }
        let mut filter = LogFilter {
            addresses: addresses.into_iter().map(Into::into).collect(),
            ..LogFilter::default()
        };
        for (place, topics) in filter.topics.iter_mut().zip(wanted) {
            let topics = topics.map_or_else(Vec::new, OneOrMany::into_vec);
            if topics.len() > TOPICS_MAX {
                return Err(error(INVALID_PARAMS, "exceed max topics"));
            }
            // One wildcard among several is a wildcard.
            *place = topics
                .into_iter()
                .collect::<Option<_>>()
                .unwrap_or_default();
        }
        Ok(filter)
    }
}
