//! When nodes are of one mind, method by method.

use serde_json::{Value, json};

/// Asks for a block's hash to date transactions by.
const LATEST_BLOCKHASH: &str = "getLatestBlockhash";
/// Asks for the slot and the height of the newest block.
const EPOCH_INFO: &str = "getEpochInfo";
/// So many blocks beyond its own a block's hash dates transactions (`MAX_PROCESSING_AGE` of the runtime).
const VALID_BLOCKS: u64 = 150;
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
    /// Equal by what stands at these places.
    Head(&'static [&'static str]),
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

    pub(super) const fn result(value: Value) -> Self {
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
            LATEST_BLOCKHASH => (
                LATEST_BLOCKHASH,
                Kind::Head(&["/value/blockhash", "/value/lastValidBlockHeight"]),
            ),
            EPOCH_INFO => (EPOCH_INFO, Kind::Head(&["/absoluteSlot", "/blockHeight"])),
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

    /// Whether it is about the newest block, on which nodes that all tell the truth need not agree.
    pub(super) const fn is_head(self) -> bool {
        matches!(self.kind, Kind::Head(_))
    }

    /// Whether it is about what became of a transaction.
    pub(super) const fn is_status(self) -> bool {
        matches!(self.kind, Kind::Status)
    }

    /// The newest slot that `wanted` nodes say they have reached: at least one of them has, and says the truth.
    pub(super) fn slot_reached(self, answers: &[Option<&Value>], wanted: usize) -> Option<u64> {
        let place = match self.doing {
            EPOCH_INFO => "/absoluteSlot",
            _ => "/context/slot",
        };
        let ascending = numbered(answers, wanted, place).ok()?;
        let at = ascending.len().checked_sub(wanted)?;
        ascending.get(at).map(|(slot, _)| *slot)
    }

    /// The answer that the block of `slot` makes, on which nodes agree; `None` if that is no block.
    pub(super) fn answer_of(self, slot: u64, block: &Value) -> Option<Value> {
        let height = block.get("blockHeight")?.as_u64()?;
        Some(match self.doing {
            EPOCH_INFO => json!({"absoluteSlot": slot, "blockHeight": height}),
            _ => json!({"context": {"slot": slot}, "value": {
                "blockhash": block.get("blockhash")?,
                "lastValidBlockHeight": height.checked_add(VALID_BLOCKS)?,
            }}),
        })
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
            Kind::Head(places) => agreed(answers, wanted, |answer| {
                or_error(answer, |result| {
                    places
                        .iter()
                        .map(|place| result.pointer(place).cloned())
                        .collect()
                })
            })
            .map(|(_, counted)| Counted {
                // Whoever is a block behind or ahead contradicts nobody.
                dissenting: Vec::new(),
                ..counted
            }),
            Kind::Highest => {
                let ascending = numbered(answers, wanted, "")?;
                let highest = ascending.last().map(|(number, _)| *number);
                Ok(Counted::result(highest.into()))
            }
            Kind::Taken => taken(answers, answers.len() - wanted + 1, wanted),
        }
    }
}

/// The largest group of answers that are equal by `key`, and the first of them, if the group is large enough.
fn agreed<'a>(
    answers: &[Option<&'a Value>],
    wanted: usize,
    key: impl Fn(&Value) -> Value,
) -> Result<(Vec<&'a Value>, Counted), usize> {
    let keys: Vec<Option<Value>> = answers.iter().map(|one| one.map(&key)).collect();
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

/// The first slots of those among `ledgers` whose nodes know nothing of a transaction, as `statuses` say: all that happened
/// since the slot returned `wanted` of them have. `None` where too few say so.
pub(super) fn known_since(
    statuses: &[Option<&Value>],
    ledgers: &[Option<&Value>],
    wanted: usize,
) -> Option<u64> {
    let both = statuses.iter().zip(ledgers);
    let ignorant: Vec<Option<&Value>> = both
        .map(|(status, ledger)| ledger.filter(|_| status.is_some_and(is_unknown)))
        .collect();
    let ascending = numbered(&ignorant, wanted, "").ok()?;
    ascending.get(wanted - 1).map(|(slot, _)| *slot)
}

/// Whether a node says that it knows nothing of a transaction.
pub(super) fn is_unknown(answer: &Value) -> bool {
    answer
        .pointer("/result/value/0")
        .is_some_and(Value::is_null)
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

/// Taken by `enough`; else what `wanted` say against it.
fn taken(answers: &[Option<&Value>], enough: usize, wanted: usize) -> Result<Counted, usize> {
    // Where it is included already, nodes say that it was processed: that speaks for those that have taken it.
    let is_processed = |answer: &Value| {
        let failure = answer.pointer("/error/data/err");
        failure.and_then(Value::as_str) == Some("AlreadyProcessed")
    };
    let heard = || answers.iter().flatten().copied();
    // Who names another transaction than the others has not taken this one.
    let named = |answer: &Value| answer[RESULT].is_string().then(|| answer[RESULT].clone());
    let so_many = |name: &Value| heard().filter(|other| other[RESULT] == *name).count();
    let name = heard().filter_map(named).max_by_key(so_many);
    let took: Vec<&Value> = heard()
        .filter(|answer| name.as_ref() == Some(&answer[RESULT]))
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
