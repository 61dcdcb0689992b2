//! What an answer claims, and which answers claim the same.

use serde_json::{Value, json};

use super::{Counted, ERROR, RESULT};

/// Said where nodes refuse something alike, and each in words of its own.
const NO_COMMON_WORDS: &str = "nodes refuse this alike, in different words";

/// What must be equal in the answers of nodes that agree. An answer of any other shape claims nothing.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Claim {
    /// A result.
    Of(Value),
    /// A result as of a slot, which need not be the same.
    AsOf(Value),
    /// A refusal: its code, and why a transaction would fail.
    Refusal { code: i64, why: Value },
}

impl Claim {
    /// That it knows nothing, or does nothing: whoever says so contradicts nobody.
    const fn is_ignorance(&self) -> bool {
        matches!(
            self,
            Self::Of(Value::Null) | Self::AsOf(Value::Null) | Self::Refusal { .. }
        )
    }

    /// What an answer refuses.
    pub(super) fn refusal(answer: &Value) -> Option<Self> {
        let error = error(answer)?;
        Some(Self::Refusal {
            code: error.get("code")?.as_i64()?,
            why: error.pointer("/data/err").cloned().unwrap_or_default(),
        })
    }

    /// A whole result, but for the slot as of which a node says so.
    pub(super) fn whole(result: &Value) -> Option<Self> {
        Some(match as_of(result) {
            Some((_, value)) => Self::AsOf(value.clone()),
            None => Self::Of(result.clone()),
        })
    }
}

/// What an answer refuses, or else what `of` makes of its result.
pub(super) fn or_refusal(
    answer: &Value,
    of: impl FnOnce(&Value) -> Option<Claim>,
) -> Option<Claim> {
    match error(answer) {
        Some(_) => Claim::refusal(answer),
        None => of(result(answer)?),
    }
}

fn error(answer: &Value) -> Option<&Value> {
    answer.get(ERROR).filter(|error| !error.is_null())
}

/// The result of an answer that has one and no error.
pub(super) fn result(answer: &Value) -> Option<&Value> {
    answer.get(RESULT).filter(|_| error(answer).is_none())
}

/// A result's slot and its value, if it is one as of a slot.
pub(super) fn as_of(result: &Value) -> Option<(u64, &Value)> {
    let slot = result.get("context")?.get("slot")?.as_u64()?;
    Some((slot, result.get("value")?))
}

/// The slot as of which an answer is given.
fn slot_of(answer: &Value) -> Option<u64> {
    result(answer).and_then(as_of).map(|(slot, _)| slot)
}

/// Answers that claim the same.
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub(super) claim: Claim,
    pub(super) members: Vec<&'a Value>,
    dissenting: Vec<usize>,
    wanted: usize,
}

/// The largest group of answers that claim the same, if it is large enough.
///
/// # Errors
///
/// How many claim the same at most.
pub(super) fn largest<'a>(
    answers: &[Option<&'a Value>],
    wanted: usize,
    claim: impl Fn(&Value) -> Option<Claim>,
) -> Result<Group<'a>, usize> {
    let claims: Vec<Option<Claim>> = answers.iter().map(|one| one.and_then(&claim)).collect();
    let size = |of: &Claim| claims.iter().flatten().filter(|one| *one == of).count();
    let most = claims.iter().flatten().max_by_key(|one| size(one));
    let Some(most) = most.filter(|one| size(one) >= wanted) else {
        return Err(most.map_or(0, size));
    };
    let both = || answers.iter().zip(&claims).enumerate();
    let is_of_it = |claim: &Option<Claim>| claim.as_ref() == Some(most);
    let members = both().filter(|(_, (_, claim))| is_of_it(claim));
    let members: Vec<&Value> = members.filter_map(|(_, (answer, _))| *answer).collect();
    // What is so as of one slot need not be so as of another.
    let slots: Vec<Option<u64>> = members.iter().map(|member| slot_of(member)).collect();
    let is_elsewhere = |answer: Option<&Value>, claim: &Option<Claim>| {
        matches!(claim, Some(Claim::AsOf(_))) && !slots.contains(&answer.and_then(slot_of))
    };
    let dissenting = both().filter(|(_, (answer, claim))| {
        let contradicts = answer.is_some() && !claim.as_ref().is_some_and(Claim::is_ignorance);
        contradicts && !is_of_it(claim) && !most.is_ignorance() && !is_elsewhere(**answer, claim)
    });
    Ok(Group {
        claim: most.clone(),
        dissenting: dissenting.map(|(at, _)| at).collect(),
        members,
        wanted,
    })
}

impl Group<'_> {
    /// What is handed on: made anew, of what they all claim.
    pub(super) fn counted(self) -> Counted {
        let value = match &self.claim {
            Claim::Of(value) => value.clone(),
            Claim::AsOf(value) => self.as_of(value),
            Claim::Refusal { code, why } => {
                let value = json!({"code": code, "message": self.words(), "data": {"err": why}});
                return Counted::error(value);
            }
        };
        Counted {
            dissenting: self.dissenting,
            ..Counted::result(value)
        }
    }

    /// `value` as a result, as of the newest slot that enough of them have reached.
    pub(super) fn as_of(&self, value: &Value) -> Value {
        let results = self.members.iter().filter_map(|answer| result(answer));
        let mut slots: Vec<u64> = results.filter_map(as_of).map(|(slot, _)| slot).collect();
        slots.sort_unstable_by(|one, other| other.cmp(one));
        let slot = slots.get(self.wanted - 1).copied().unwrap_or(0);
        json!({"context": {"slot": slot}, "value": value})
    }

    /// The words of a refusal, if enough of them say the same.
    fn words(&self) -> &str {
        let words = |answer: &&Value| Some(error(answer)?.get("message")?.as_str()?.to_owned());
        let said: Vec<Option<String>> = self.members.iter().map(words).collect();
        let is_common = |at: &usize| {
            let same = said.iter().filter(|other| said.get(*at) == Some(*other));
            same.count() >= self.wanted
        };
        let common = (0..self.members.len()).find(is_common);
        let common = common.and_then(|at| self.members.get(at));
        let words = common.and_then(|answer| error(answer)?.get("message")?.as_str());
        words.unwrap_or(NO_COMMON_WORDS)
    }
}
