//! A contract's ABI, read from JSON.

use std::fmt;
use std::sync::Arc;

use alloy_dyn_abi::{DynSolType, EventExt, FunctionExt, JsonAbiExt, Specifier};
use alloy_json_abi::{Function, JsonAbi, StateMutability};
use alloy_primitives::{B256, Bytes};
use serde::Deserialize;

use super::depth::{self, TYPE_DEPTH_MAX};
use super::{Value, text, weigh};
use crate::{Amount, ChainError, Log, Revert};

/// The largest ABI or artefact that is read.
pub const ABI_BYTES_MAX: usize = 4 << 20;

/// The most memory that a decoded answer, error or event may take: encoded arrays may point to the same bytes many
/// times over, so that few bytes become many.
pub const DECODED_BYTES_MAX: usize = 64 << 20;

/// Functions, errors and events of a contract. Cheap to clone.
///
/// ```
/// use peaberry_chain::contract::{Abi, Value, to_text};
/// use peaberry_chain::primitives::U256;
///
/// let abi = Abi::from_json(br#"[
///     {"type": "function", "name": "points", "stateMutability": "view",
///      "inputs": [{"name": "of", "type": "address"}], "outputs": [{"name": "", "type": "uint256"}]}
/// ]"#)?;
/// let arguments = abi.read_arguments("points", &["0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"])?;
/// assert_eq!(abi.encode("points", &arguments)?.len(), 36);
/// let answer = abi.decode_answer("points", 1, &U256::from(12).to_be_bytes::<32>())?;
/// assert_eq!(to_text(&answer[0]), "12");
/// # Ok::<(), peaberry_chain::ChainError>(())
/// ```
#[derive(Clone)]
pub struct Abi {
    pub(super) abi: Arc<JsonAbi>,
    code: Bytes,
}

/// What a contract logged, decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// Its fields, in the order of its declaration.
    pub fields: Vec<Field>,
}

/// A field of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name; empty if it has none.
    pub name: String,
    /// Its value; of an indexed string, array or struct only the hash is known.
    pub value: Value,
}

impl Event {
    /// The value of the field `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        let mut fields = self.fields.iter();
        fields.find(|field| field.name == name).map(|f| &f.value)
    }
}

/// Either what compilers call an artefact, or an ABI alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Json {
    Abi(JsonAbi),
    Artefact {
        abi: JsonAbi,
        #[serde(default)]
        bytecode: Option<Bytecode>,
    },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Bytecode {
    Text(String),
    Object { object: String },
}

impl Abi {
    /// Reads the JSON of an ABI, or of an artefact with `abi` and perhaps `bytecode` in it (as Foundry, Hardhat and this
    /// crate's own contracts have them).
    ///
    /// # Errors
    ///
    /// [`ChainError::Abi`]: it is neither, over [`ABI_BYTES_MAX`], has a type deeper than [`TYPE_DEPTH_MAX`], or its bytecode
    /// is unlinked or no hex.
    pub fn from_json(json: &[u8]) -> Result<Self, ChainError> {
        if json.len() > ABI_BYTES_MAX {
            return Err(misfit("the file", "it is over 4 MiB"));
        }
        let parsed = serde_json::from_slice(json);
        let json: Json = parsed.map_err(|error| misfit("the file", error))?;
        let (abi, code) = match json {
            Json::Abi(abi) => (abi, None),
            Json::Artefact { abi, bytecode } => (abi, bytecode),
        };
        if let Some(name) = depth::too_deep(&abi) {
            let reason = format!("a type is nested more than {TYPE_DEPTH_MAX} deep");
            return Err(misfit(name, reason));
        }
        let code = code.map(|code| match code {
            Bytecode::Text(text) | Bytecode::Object { object: text } => text,
        });
        let code = alloy_primitives::hex::decode(code.unwrap_or_default())
            .map_err(|_unlinked| misfit("the bytecode", "it is unlinked or no hex"))?;
        Ok(Self {
            abi: Arc::new(abi),
            code: code.into(),
        })
    }

    /// The names of its functions, in order; overloaded ones once.
    pub fn functions(&self) -> impl Iterator<Item = &str> {
        self.abi.functions.keys().map(String::as_str)
    }

    /// Reads arguments as people write them: numbers, `true`, hex behind `0x`, text as it is, `[1,2]`, `(1,[2,3])`.
    /// Addresses by their checksum.
    ///
    /// # Errors
    ///
    /// [`ChainError::Abi`]: no such function, or arguments that it does not take. [`ChainError::InvalidAddress`]: a
    /// mistyped address.
    pub fn read_arguments(
        &self,
        function: &str,
        arguments: &[&str],
    ) -> Result<Vec<Value>, ChainError> {
        let inputs = self.function(function, arguments.len())?.inputs.iter();
        inputs
            .zip(arguments)
            .map(|(input, argument)| {
                let kind = input.resolve().map_err(|error| misfit(function, error))?;
                text::read(&kind, argument, function)
            })
            .collect()
    }

    /// Selector and arguments of a call of `function`.
    ///
    /// # Errors
    ///
    /// [`ChainError::Abi`]: no such function, or arguments of other types.
    pub fn encode(&self, function: &str, arguments: &[Value]) -> Result<Bytes, ChainError> {
        let found = self.function(function, arguments.len())?;
        let encoded = found.abi_encode_input(arguments);
        encoded
            .map(Into::into)
            .map_err(|error| misfit(function, error))
    }

    /// Creation code with the constructor's arguments behind, for [`Intent::Deploy`](crate::Intent::Deploy).
    ///
    /// # Errors
    ///
    /// [`ChainError::Abi`]: the artefact had no bytecode, or the constructor takes other arguments.
    pub fn creation_code(&self, arguments: &[Value]) -> Result<Bytes, ChainError> {
        const WHAT: &str = "the constructor";
        if self.code.is_empty() {
            return Err(misfit(WHAT, "the artefact has no bytecode"));
        }
        let encoded = match &self.abi.constructor {
            Some(constructor) => constructor.abi_encode_input(arguments),
            None if arguments.is_empty() => Ok(Vec::new()),
            None => return Err(misfit(WHAT, "it takes no arguments")),
        };
        let encoded = encoded.map_err(|error| misfit(WHAT, error))?;
        Ok([&self.code[..], &encoded].concat().into())
    }

    /// What `function`, called with so many arguments, answered.
    ///
    /// # Errors
    ///
    /// [`ChainError::Abi`]: no such function, or an answer of other types or over [`DECODED_BYTES_MAX`].
    pub fn decode_answer(
        &self,
        function: &str,
        arguments: usize,
        answer: &[u8],
    ) -> Result<Vec<Value>, ChainError> {
        let found = self.function(function, arguments)?;
        let outputs = found.outputs.iter().map(Specifier::resolve);
        let outputs: Vec<DynSolType> = outputs
            .collect::<Result<_, _>>()
            .map_err(|error| misfit(function, error))?;
        weigh::expect_affordable(&outputs, answer, DECODED_BYTES_MAX)
            .map_err(|reason| misfit(function, reason))?;
        let decoded = found.abi_decode_output(answer);
        decoded.map_err(|error| misfit(function, error))
    }

    /// What a log of this contract says.
    ///
    /// # Errors
    ///
    /// [`ChainError::Abi`]: it is of no event that the ABI knows, or not encoded as that.
    pub fn decode_log(&self, log: &Log) -> Result<Event, ChainError> {
        let topic = log.topics.first().copied().unwrap_or_default();
        let indexed = log.topics.len().saturating_sub(1);
        let mut events = self.abi.events();
        let event = events.find(|event| {
            let count = event.inputs.iter().filter(|input| input.indexed).count();
            !event.anonymous && event.selector() == topic && count == indexed
        });
        let event = event.ok_or_else(|| misfit("the log", "the ABI has no such event"))?;
        let inputs = event.inputs.iter();
        let plain = inputs.clone().filter(|input| !input.indexed);
        let kinds: Vec<DynSolType> = plain
            .map(Specifier::resolve)
            .collect::<Result<_, _>>()
            .map_err(|error| misfit(&event.name, error))?;
        weigh::expect_affordable(&kinds, &log.data, DECODED_BYTES_MAX)
            .map_err(|reason| misfit(&event.name, reason))?;
        let decoded = event
            .decode_log_parts(log.topics.iter().copied(), &log.data)
            .map_err(|error| misfit(&event.name, error))?;
        let [mut indexed, mut body] = [decoded.indexed, decoded.body].map(Vec::into_iter);
        let fields = inputs.filter_map(|input| {
            let value = if input.indexed {
                indexed.next()
            } else {
                body.next()
            };
            Some(Field {
                name: input.name.clone(),
                value: value?,
            })
        });
        Ok(Event {
            name: event.name.clone(),
            fields: fields.collect(),
        })
    }

    /// The first topic of the event `name`, for a [`LogFilter`](crate::LogFilter).
    ///
    /// # Errors
    ///
    /// [`ChainError::Abi`]: no such event, or several.
    pub fn topic(&self, name: &str) -> Result<B256, ChainError> {
        let mut events = self
            .abi
            .events()
            .filter(|event| event.name == name || event.signature() == name);
        match (events.next(), events.next()) {
            (Some(event), None) => Ok(event.selector()),
            (None, _) => Err(misfit(name, "there is no such event")),
            _ => Err(misfit(name, "there are several: name its signature")),
        }
    }

    /// A contract's own error, decoded where the ABI has it; anything else as it is.
    #[must_use]
    pub fn decode_revert(&self, revert: Revert) -> Revert {
        let Revert::Custom { selector, data } = &revert else {
            return revert;
        };
        let mut errors = self.abi.errors();
        let found = errors.find(|error| error.selector() == *selector);
        let Some((error, arguments)) = found.zip(data.get(selector.len()..)) else {
            return revert;
        };
        let kinds: Result<Vec<DynSolType>, _> =
            error.inputs.iter().map(Specifier::resolve).collect();
        let is_affordable = kinds.is_ok_and(|kinds| {
            weigh::expect_affordable(&kinds, arguments, DECODED_BYTES_MAX).is_ok()
        });
        if !is_affordable {
            return revert;
        }
        match error.abi_decode_input(arguments) {
            Ok(values) => Revert::Decoded {
                name: error.name.clone(),
                arguments: values.iter().map(text::to_text).collect(),
                data: data.clone(),
            },
            Err(_cut_or_not_ours) => revert,
        }
    }

    pub(super) fn explain(&self, error: ChainError) -> ChainError {
        match error {
            ChainError::Reverted(revert) => ChainError::Reverted(self.decode_revert(revert)),
            error => error,
        }
    }

    pub(super) fn answers(&self, function: &str, arguments: usize) -> Result<bool, ChainError> {
        Ok(!self.function(function, arguments)?.outputs.is_empty())
    }

    pub(super) fn encode_sent(
        &self,
        function: &str,
        arguments: &[Value],
        value: Amount,
    ) -> Result<Bytes, ChainError> {
        match self.function(function, arguments.len())?.state_mutability {
            StateMutability::Pure | StateMutability::View => {
                Err(misfit(function, "it only reads: call it"))
            }
            StateMutability::NonPayable if !value.is_zero() => {
                Err(misfit(function, "it takes no payment"))
            }
            StateMutability::NonPayable | StateMutability::Payable => {
                self.encode(function, arguments)
            }
        }
    }

    fn function(&self, name: &str, arguments: usize) -> Result<&Function, ChainError> {
        let bare = name.split_once('(').map_or(name, |(bare, _)| bare);
        let all = self.abi.function(bare).map_or(&[][..], Vec::as_slice);
        let is_meant = |function: &&Function| {
            if bare == name {
                function.inputs.len() == arguments
            } else {
                function.signature() == name
            }
        };
        let mut meant = all.iter().filter(is_meant);
        match (meant.next(), meant.next()) {
            (Some(function), None) => Ok(function),
            (Some(_), Some(_)) => Err(misfit(name, "there are several: name its signature")),
            (None, _) if all.is_empty() => Err(misfit(name, "there is no such function")),
            (None, _) => Err(misfit(
                name,
                format!("it does not take {arguments} arguments"),
            )),
        }
    }
}

pub(super) fn misfit(what: impl Into<String>, reason: impl fmt::Display) -> ChainError {
    ChainError::Abi {
        what: what.into(),
        reason: reason.to_string(),
    }
}

impl fmt::Debug for Abi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.functions()).finish()
    }
}

#[cfg(test)]
mod tests;
