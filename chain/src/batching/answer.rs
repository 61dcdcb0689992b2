//! What a node says to a batch.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use alloy_primitives::Bytes;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Kind;
use crate::evm::NodeError;

/// What no server has looked into: no request (geth says so of a batch that is too large, in a list and to its first request),
/// and no JSON.
const NOT_LOOKED_INTO: [i64; 2] = [-32600, -32700];

/// What was said to a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// To some for themselves: to all, to none.
    Each(Answers),
    /// That it was not looked into.
    Refused,
    /// Nothing that makes sense.
    Nothing,
}

/// Answers, each by its request's id.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answers {
    /// To questions these are results: an error may be the batch's own, and is for each to hear again by itself.
    pub(super) by_id: BTreeMap<u64, Bytes>,
    /// How many of them are results.
    pub(super) results: usize,
    /// The node wants to be left alone.
    pub(super) is_limited: bool,
}

/// As much of an answer as is looked at here.
#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<Fault<'a>>,
}

#[derive(Deserialize)]
struct Fault<'a> {
    #[serde(default)]
    code: i64,
    #[serde(borrow, default)]
    message: Cow<'a, str>,
}

impl<'a> Reply<'a> {
    /// Of an object: serde would take a list for one, too.
    fn read(text: &'a RawValue) -> Option<Self> {
        let is_object = text.get().starts_with('{');
        is_object.then(|| serde_json::from_str(text.get()).ok())?
    }

    fn id(&self) -> Option<u64> {
        self.id?.get().parse().ok()
    }

    fn is_refusal(&self) -> bool {
        let code = self.error.as_ref().map(|error| error.code);
        code.is_some_and(|code| NOT_LOOKED_INTO.contains(&code))
    }

    fn is_limit(&self) -> bool {
        let is_limit = |error: &Fault<'_>| {
            let error = NodeError {
                code: error.code,
                message: error.message.clone().into_owned(),
                data: None,
            };
            error.is_limit()
        };
        self.error.as_ref().is_some_and(is_limit)
    }
}

/// Reads what was said to a batch of these requests. Total; `answer` is bounded by whoever brought it.
pub(super) fn read(answer: &Bytes, kind: Kind, requests: &BTreeMap<u64, Bytes>) -> Said {
    let mut json = serde_json::Deserializer::from_slice(answer);
    let replies = AtMost(requests.len()).deserialize(&mut json);
    if let (Ok(replies), Ok(())) = (replies, json.end()) {
        return read_replies(answer, &replies, kind, requests);
    }
    let whole = serde_json::from_slice::<&RawValue>(answer);
    match whole.ok().and_then(Reply::read) {
        Some(reply) if reply.is_refusal() => Said::Refused,
        Some(reply) if reply.error.is_some() => Said::Each(Answers {
            is_limited: reply.is_limit(),
            ..Answers::default()
        }),
        _ => Said::Nothing,
    }
}

fn read_replies(
    answer: &Bytes,
    replies: &[&RawValue],
    kind: Kind,
    requests: &BTreeMap<u64, Bytes>,
) -> Said {
    let mut answers = Answers::default();
    for text in replies {
        let Some(reply) = Reply::read(text) else {
            continue;
        };
        if replies.len() == 1 && reply.is_refusal() {
            return Said::Refused;
        }
        answers.is_limited |= reply.is_limit();
        let is_result = reply.error.is_none();
        if kind == Kind::Question && !is_result {
            continue;
        }
        if let Some(id) = reply.id().filter(|id| requests.contains_key(id)) {
            let own = answer.0.slice_ref(text.get().as_bytes());
            answers.by_id.insert(id, own.into());
            answers.results += usize::from(is_result);
        }
    }
    Said::Each(answers)
}

/// Reads a list, unless it is longer than this.
struct AtMost(usize);

impl<'de> DeserializeSeed<'de> for AtMost {
    type Value = Vec<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for AtMost {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {} answers", self.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = from.next_element()? {
            if all.len() == self.0 {
                return Err(serde::de::Error::invalid_length(self.0 + 1, &self));
            }
            all.push(one);
        }
        Ok(all)
    }
}

/// Reads any bytes as what is said to a batch of the requests 0 to 7, for fuzzing. Says how many it answers.
#[doc(hidden)]
pub fn read_any_batch(bytes: &[u8]) -> usize {
    let answer = Bytes::copy_from_slice(bytes);
    let requests = (0..8).map(|id| (id, Bytes::new())).collect();
    let read = |kind| match read(&answer, kind, &requests) {
        Said::Each(answers) => answers.by_id,
        Said::Refused | Said::Nothing => BTreeMap::new(),
    };
    let [questions, broadcasts] = [Kind::Question, Kind::Broadcast].map(read);
    for (id, own) in &broadcasts {
        let own = serde_json::from_slice(own).ok().and_then(Reply::read);
        assert_eq!(own.and_then(|own| own.id()), Some(*id), "each gets its own");
    }
    let is_answered = |id| broadcasts.contains_key(id);
    assert!(questions.keys().all(is_answered), "a result is an answer");
    broadcasts.len()
}
