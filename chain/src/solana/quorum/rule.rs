//! When nodes are of one mind, method by method.

use serde_json::{Value, json};

const RESULT: &str = "result";
const ERROR: &str = "error";

/// How answers to one method are counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) doing: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Equal, but for the slot as of which each node says so.
    Equal,
    /// The highest that not only liars can have named, by the number at this place.
    Credible(&'static str),
    /// The highest number.
    Highest,
    /// Equal slots and failures, at a commitment that enough find reached.
    Status,
    /// Equal verdicts on what a transaction would do.
    Verdict,
    /// Taken by so many that not all can be liars.
    Taken,
}

/// An answer that counts.
#[derive(Debug)]
pub(super) struct Counted {
    /// The part of JSON-RPC's answer that it is.
    pub(super) part: &'static str,
    pub(super) value: Value,
    /// Who contradicts it.
    pub(super) dissenting: Vec<usize>,
}

impl Counted {
    /// Whether it is an error, and not that of a node which knows the transaction already.
    pub(super) fn is_refusal(&self) -> bool {
        let reason = self.value.pointer("/data/err").and_then(Value::as_str);
        self.part == ERROR && reason != Some("AlreadyProcessed")
    }

    const fn result(value: Value) -> Self {
        Self {
            part: RESULT,
            value,
            dissenting: Vec::new(),
        }
    }
}

impl Rule {
    pub(super) fn of(method: &str) -> Self {
        let (doing, kind) = match method {
            "getGenesisHash" => ("getGenesisHash", Kind::Equal),
            "getBlock" => ("getBlock", Kind::Equal),
            "getBlocks" => ("getBlocks", Kind::Equal),
            "getBalance" => ("getBalance", Kind::Equal),
            "getMultipleAccounts" => ("getMultipleAccounts", Kind::Equal),
            "getFeeForMessage" => ("getFeeForMessage", Kind::Equal),
            "getLatestBlockhash" => (
                "getLatestBlockhash",
                Kind::Credible("/value/lastValidBlockHeight"),
            ),
            "getEpochInfo" => ("getEpochInfo", Kind::Credible("/blockHeight")),
            "getFirstAvailableBlock" => ("getFirstAvailableBlock", Kind::Highest),
            "getSignatureStatuses" => ("getSignatureStatuses", Kind::Status),
            "simulateTransaction" => ("simulateTransaction", Kind::Verdict),
            "sendTransaction" => ("sendTransaction", Kind::Taken),
            _ => ("a question to several nodes", Kind::Equal),
        };
        Self { doing, kind }
    }

    /// Whether it is about a transaction to be sent.
    pub(super) const fn is_sending(self) -> bool {
        matches!(self.kind, Kind::Taken)
    }

    /// What `answers` come to, `None` for each node that has failed.
    ///
    /// # Errors
    ///
    /// How many agree at most, which is too few.
    pub(super) fn count(self, answers: &[Option<&Value>], wanted: usize) -> Result<Counted, usize> {
        match self.kind {
            Kind::Equal => agreed(answers, wanted, without_slot).map(|(group, counted)| Counted {
                value: with_slot(counted.value, lowest_slot(&group)),
                ..counted
            }),
            Kind::Verdict => agreed(answers, wanted, verdict).map(|(group, counted)| Counted {
                value: dearest(&group).unwrap_or(counted.value),
                ..counted
            }),
            Kind::Status => agreed(answers, wanted, status).map(|(group, counted)| Counted {
                value: with_commitment(counted.value, &group, wanted),
                ..counted
            }),
            Kind::Credible(place) => {
                let liars_max = answers.len() - wanted;
                numbered(answers, wanted, place)
                    .map(|ascending| ascending.len() - liars_max - 1)
                    .and_then(|at| pick(answers, wanted, place, at))
            }
            Kind::Highest => numbered(answers, wanted, "")
                .map(|ascending| ascending.len() - 1)
                .and_then(|at| pick(answers, wanted, "", at)),
            Kind::Taken => taken(answers, answers.len() - wanted + 1, wanted),
        }
    }
}

/// The largest group of answers that are equal by `key`, and the first of them, if the group is large enough.
fn agreed<'a>(
    answers: &[Option<&'a Value>],
    wanted: usize,
    key: fn(&Value) -> Value,
) -> Result<(Vec<&'a Value>, Counted), usize> {
    let keys: Vec<Option<Value>> = answers.iter().map(|one| one.map(key)).collect();
    let size = |wanted: &Value| keys.iter().flatten().filter(|one| *one == wanted).count();
    let largest = keys.iter().flatten().max_by_key(|one| size(one));
    let Some(largest) = largest.filter(|one| size(one) >= wanted) else {
        return Err(keys.iter().flatten().map(size).max().unwrap_or(0));
    };
    let of_it = |key: &Option<Value>| key.as_ref() == Some(largest);
    let both = || answers.iter().zip(&keys);
    let group: Vec<&Value> = both()
        .filter(|(_, key)| of_it(key))
        .filter_map(|(answer, _)| *answer)
        .collect();
    let is_ignorance = |key: &Value| key.is_null() || key.get(ERROR).is_some();
    let dissenting = keys.iter().enumerate().filter(|(_, key)| {
        let contradicts = key.as_ref().is_some_and(|key| !is_ignorance(key));
        contradicts && !of_it(key) && !is_ignorance(largest)
    });
    let part = if largest.get(ERROR).is_some() {
        ERROR
    } else {
        RESULT
    };
    let value = group.first().and_then(|answer| answer.get(part));
    let counted = Counted {
        part,
        value: value.cloned().unwrap_or_default(),
        dissenting: dissenting.map(|(at, _)| at).collect(),
    };
    Ok((group, counted))
}

/// An error by its code and by why a transaction would fail, or what else `of` makes of the result.
fn or_error(answer: &Value, of: impl FnOnce(&Value) -> Value) -> Value {
    match answer.get(ERROR).filter(|error| !error.is_null()) {
        Some(error) => json!({ERROR: error.get("code"), "err": error.pointer("/data/err")}),
        None => of(&answer[RESULT]),
    }
}

fn without_slot(answer: &Value) -> Value {
    or_error(answer, |result| match result.get("context") {
        Some(_) => result.get("value").cloned().unwrap_or_default(),
        None => result.clone(),
    })
}

fn verdict(answer: &Value) -> Value {
    or_error(
        answer,
        |result| json!({"err": result.pointer("/value/err")}),
    )
}

fn status(answer: &Value) -> Value {
    or_error(answer, |result| match result.pointer("/value/0") {
        None | Some(Value::Null) => Value::Null,
        Some(status) => json!({"slot": status.get("slot"), "err": status.get("err")}),
    })
}

fn slot_of(answer: &Value) -> Option<u64> {
    answer.pointer("/result/context/slot")?.as_u64()
}

fn lowest_slot(group: &[&Value]) -> Option<u64> {
    group.iter().filter_map(|answer| slot_of(answer)).min()
}

fn with_slot(mut result: Value, slot: Option<u64>) -> Value {
    if let (Some(slot), Some(place)) = (slot, result.pointer_mut("/context/slot")) {
        *place = slot.into();
    }
    result
}

/// The answer of the group that wants the most compute units.
fn dearest(group: &[&Value]) -> Option<Value> {
    let units = |answer: &&&Value| {
        let units = answer.pointer("/result/value/unitsConsumed");
        units.and_then(Value::as_u64).unwrap_or(0)
    };
    group.iter().max_by_key(units)?.get(RESULT).cloned()
}

/// The commitment that `wanted` of the group find reached.
fn with_commitment(result: Value, group: &[&Value], wanted: usize) -> Value {
    let mut result = with_slot(result, lowest_slot(group));
    const RISING: [&str; 3] = ["processed", "confirmed", "finalized"];
    let mut reached: Vec<usize> = group
        .iter()
        .map(|answer| {
            let name = answer.pointer("/result/value/0/confirmationStatus");
            let name = name.and_then(Value::as_str);
            // Old entries of the ledger carry none: they are rooted.
            RISING
                .iter()
                .position(|one| Some(*one) == name)
                .unwrap_or(2)
        })
        .collect();
    reached.sort_unstable_by(|one, other| other.cmp(one));
    let reached = reached.get(wanted - 1).and_then(|at| RISING.get(*at));
    if let (Some(reached), Some(place)) = (reached, result.pointer_mut("/value/0"))
        && place.is_object()
    {
        place["confirmationStatus"] = (*reached).into();
    }
    result
}

/// The answers with a number at `place`, by that number.
fn numbered(
    answers: &[Option<&Value>],
    wanted: usize,
    place: &str,
) -> Result<Vec<(u64, usize)>, usize> {
    let path = format!("/{RESULT}{place}");
    let mut found: Vec<(u64, usize)> = answers
        .iter()
        .enumerate()
        .filter_map(|(at, answer)| Some(((*answer)?.pointer(&path)?.as_u64()?, at)))
        .collect();
    found.sort_unstable();
    if found.len() < wanted {
        return Err(found.len());
    }
    Ok(found)
}

fn pick(
    answers: &[Option<&Value>],
    wanted: usize,
    place: &str,
    at: usize,
) -> Result<Counted, usize> {
    let ascending = numbered(answers, wanted, place)?;
    let node = ascending.get(at).map(|(_, node)| *node);
    let answer = node.and_then(|node| *answers.get(node)?);
    let result = answer.and_then(|answer| answer.get(RESULT));
    Ok(Counted::result(result.cloned().unwrap_or_default()))
}

/// Taken by `enough`; else what `wanted` say against it.
fn taken(answers: &[Option<&Value>], enough: usize, wanted: usize) -> Result<Counted, usize> {
    // Where it is included already, nodes say that it was processed: that speaks for those that have taken it.
    let is_processed = |answer: &Value| {
        let failure = answer.pointer("/error/data/err");
        failure.and_then(Value::as_str) == Some("AlreadyProcessed")
    };
    let heard = || answers.iter().flatten().copied();
    let took: Vec<&Value> = heard()
        .filter(|answer| answer[RESULT].is_string())
        .collect();
    let processed: Vec<&Value> = heard().filter(|answer| is_processed(answer)).collect();
    if took.len() + processed.len() >= enough {
        return Ok(match (took.first(), processed.first()) {
            (Some(answer), _) => Counted::result(answer[RESULT].clone()),
            (None, answer) => Counted {
                part: ERROR,
                value: answer
                    .map(|answer| answer[ERROR].clone())
                    .unwrap_or_default(),
                dissenting: Vec::new(),
            },
        });
    }
    if took.is_empty() && processed.is_empty() {
        return agreed(answers, wanted, without_slot).map(|(_, counted)| counted);
    }
    Err(took.len() + processed.len())
}

#[cfg(test)]
mod tests;
