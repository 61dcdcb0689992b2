//! When nodes are of one mind, method by method. What is handed on is made anew of what enough of them claim: nothing that
//! only one of them has written gets through.

mod claim;

use alloy_primitives::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use self::claim::{Claim, Group, as_of, largest, or_refusal, result};
use crate::solana::{SignedTransaction, VALID_BLOCKS};

/// Asks for a block's hash to date transactions by.
const LATEST_BLOCKHASH: &str = "getLatestBlockhash";
/// Asks for the slot and the height of the newest block.
const EPOCH_INFO: &str = "getEpochInfo";
/// The validator's code for a transaction that fails when it is tried.
const PREFLIGHT_FAILED: i64 = -32002;
const ALREADY_PROCESSED: &str = "AlreadyProcessed";
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
    /// Equal lists of slots, which end where a node's chain does.
    Blocks,
    /// Equal slots and heights of the newest block.
    Epoch,
    /// Equal hashes of the newest block, and heights up to which these are valid.
    Blockhash,
    /// Equal hashes and heights of a block that was asked for by its slot.
    Dated,
    /// The lowest number that enough nodes do not exceed.
    Since,
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
        self.part == ERROR && reason != Some(ALREADY_PROCESSED)
    }

    /// Whether nodes agree on a result.
    pub(super) fn is_result(&self) -> bool {
        self.part == RESULT
    }

    /// Whether it is the status of a transaction of which nodes know nothing.
    pub(super) fn is_unknown(&self) -> bool {
        self.value.pointer("/value/0").is_some_and(Value::is_null)
    }

    pub(super) const fn result(value: Value) -> Self {
        Self {
            part: RESULT,
            value,
            dissenting: Vec::new(),
        }
    }

    const fn error(value: Value) -> Self {
        Self {
            part: ERROR,
            value,
            dissenting: Vec::new(),
        }
    }
}

impl Rule {
    /// What a block of the chain is counted by to stand for the newest one.
    pub(super) const DATED: Self = Self {
        doing: "getBlock",
        kind: Kind::Dated,
    };

    pub(super) fn of(method: &str) -> Self {
        let (doing, kind) = match method {
            "getGenesisHash" => ("getGenesisHash", Kind::Equal),
            "getBlock" => ("getBlock", Kind::Equal),
            "getBlocks" => ("getBlocks", Kind::Blocks),
            "getBalance" => ("getBalance", Kind::Equal),
            "getMultipleAccounts" => ("getMultipleAccounts", Kind::Equal),
            "getFeeForMessage" => ("getFeeForMessage", Kind::Equal),
            LATEST_BLOCKHASH => (LATEST_BLOCKHASH, Kind::Blockhash),
            EPOCH_INFO => (EPOCH_INFO, Kind::Epoch),
            "getFirstAvailableBlock" => ("getFirstAvailableBlock", Kind::Since),
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
        matches!(self.kind, Kind::Epoch | Kind::Blockhash)
    }

    /// Whether it is about what became of a transaction.
    pub(super) const fn is_status(self) -> bool {
        matches!(self.kind, Kind::Status)
    }

    /// The newest slot that `wanted` nodes say they have reached: at least one of them has, and says the truth.
    pub(super) fn slot_reached(self, answers: &[Option<&Value>], wanted: usize) -> Option<u64> {
        let slot_of = |result: &Value| match self.kind {
            Kind::Epoch => result.get("absoluteSlot")?.as_u64(),
            _ => as_of(result).map(|(slot, _)| slot),
        };
        let ascending = numbers(answers, slot_of);
        let at = ascending.len().checked_sub(wanted)?;
        ascending.get(at).copied()
    }

    /// The answer that the block of `slot` makes, on which nodes agree; `None` if that is no block.
    pub(super) fn answer_of(self, slot: u64, block: &Value) -> Option<Value> {
        let height = block.get("blockHeight")?.as_u64()?;
        Some(match self.kind {
            Kind::Epoch => json!({"absoluteSlot": slot, "blockHeight": height}),
            _ => json!({"context": {"slot": slot}, "value": {
                "blockhash": block.get("blockhash")?,
                "lastValidBlockHeight": height.checked_add(VALID_BLOCKS)?,
            }}),
        })
    }

    /// What `answers` to `asked` come to, `None` for each node that has failed.
    ///
    /// # Errors
    ///
    /// How many agree at most, which is too few.
    pub(super) fn count(
        self,
        asked: &Value,
        answers: &[Option<&Value>],
        wanted: usize,
    ) -> Result<Counted, usize> {
        let group = |claim: fn(&Value) -> Option<Claim>| {
            largest(answers, wanted, |answer| or_refusal(answer, claim))
        };
        match self.kind {
            Kind::Equal => group(Claim::whole).map(Group::counted),
            Kind::Blocks => group(Claim::whole).map(Group::counted).map(accusing_nobody),
            Kind::Dated => group(dated).map(Group::counted),
            Kind::Status => group(status).map(|group| with_commitment(group, wanted)),
            Kind::Verdict => group(verdict).and_then(|group| with_units(group, answers, wanted)),
            Kind::Epoch => group(epoch).map(Group::counted).map(accusing_nobody),
            Kind::Blockhash => group(blockhash).map(Group::counted).map(accusing_nobody),
            Kind::Since => {
                let ascending = numbers(answers, Value::as_u64);
                match ascending.get(wanted - 1) {
                    Some(since) => Ok(Counted::result((*since).into())),
                    None => largest(answers, wanted, Claim::refusal).map(Group::counted),
                }
            }
            Kind::Taken => taken(asked, answers, wanted),
        }
    }
}

/// Whoever is a block behind or ahead contradicts nobody.
fn accusing_nobody(counted: Counted) -> Counted {
    Counted {
        dissenting: Vec::new(),
        ..counted
    }
}

fn epoch(result: &Value) -> Option<Claim> {
    let slot = result.get("absoluteSlot")?.as_u64()?;
    let height = result.get("blockHeight")?.as_u64()?;
    Some(Claim::Of(
        json!({"absoluteSlot": slot, "blockHeight": height}),
    ))
}

fn blockhash(result: &Value) -> Option<Claim> {
    let (_, value) = as_of(result)?;
    let hash = value.get("blockhash")?.as_str()?;
    let height = value.get("lastValidBlockHeight")?.as_u64()?;
    Some(Claim::AsOf(
        json!({"blockhash": hash, "lastValidBlockHeight": height}),
    ))
}

fn dated(result: &Value) -> Option<Claim> {
    if result.is_null() {
        return Some(Claim::Of(Value::Null));
    }
    let hash = result.get("blockhash")?.as_str()?;
    let height = result.get("blockHeight")?.as_u64()?;
    Some(Claim::Of(json!({"blockhash": hash, "blockHeight": height})))
}

fn status(result: &Value) -> Option<Claim> {
    let (_, value) = as_of(result)?;
    let [status] = value.as_array()?.as_slice() else {
        return None;
    };
    if status.is_null() {
        return Some(Claim::AsOf(Value::Null));
    }
    let slot = status.get("slot")?.as_u64()?;
    Some(Claim::AsOf(json!({"slot": slot, "err": status.get("err")})))
}

/// A status at the commitment that `wanted` of the group find reached.
fn with_commitment(group: Group<'_>, wanted: usize) -> Counted {
    const RISING: [&str; 3] = ["processed", "confirmed", "finalized"];
    let Claim::AsOf(mut status) = group.claim.clone() else {
        return group.counted();
    };
    let mut reached: Vec<usize> = group
        .members
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
    if let (Some(reached), Some(status)) = (reached, status.as_object_mut()) {
        status.insert("confirmationStatus".into(), (*reached).into());
    }
    let value = group.as_of(&json!([status]));
    Counted {
        value,
        ..group.counted()
    }
}

fn verdict(result: &Value) -> Option<Claim> {
    let (_, value) = as_of(result)?;
    Some(Claim::AsOf(json!({"err": value.as_object()?.get("err")})))
}

/// A verdict with the compute units that it takes: the most that not only liars can have named, and no less than not only
/// liars have named.
fn with_units(
    group: Group<'_>,
    answers: &[Option<&Value>],
    wanted: usize,
) -> Result<Counted, usize> {
    let Claim::AsOf(mut verdict) = group.claim.clone() else {
        return Ok(group.counted());
    };
    let members: Vec<Option<&Value>> = group.members.iter().copied().map(Some).collect();
    let ascending = numbers(&members, |result| {
        let (_, value) = as_of(result)?;
        value.get("unitsConsumed")?.as_u64()
    });
    let liars_max = answers.len() - wanted;
    let credible = ascending.iter().rev().nth(liars_max);
    let units = match (credible, ascending.get(liars_max)) {
        (Some(credible), Some(enough)) if enough <= credible => Some(credible),
        (Some(credible), Some(enough)) if enough / 2 <= *credible => Some(enough),
        // Of what fails nobody needs to know what it takes.
        _ if verdict.get("err").is_some_and(|err| !err.is_null()) => None,
        _ => return Err(1),
    };
    if let (Some(units), Some(verdict)) = (units, verdict.as_object_mut()) {
        verdict.insert("unitsConsumed".into(), (*units).into());
    }
    let value = group.as_of(&verdict);
    Ok(Counted {
        value,
        ..group.counted()
    })
}

/// What several nodes that know nothing of a transaction prove: so many of them that one tells the truth have come to the
/// slot `as_of`, and have everything that happened `since`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ignorance {
    pub(super) as_of: u64,
    pub(super) since: u64,
}

/// For every slot that `wanted` of those have reached which know nothing of a transaction, as `statuses` say: since when so
/// many of these have everything, as `ledgers` say; `u64::MAX` where too few say that. It must be the same nodes: of two that
/// tell the truth one may be behind and the other have no past.
pub(super) fn ignorance(
    statuses: &[Option<&Value>],
    ledgers: &[Option<&Value>],
    wanted: usize,
) -> Vec<Ignorance> {
    let both = statuses.iter().zip(ledgers);
    let ignorant = both.filter_map(|(answer, ledger)| {
        let told = result((*answer)?)?;
        let (slot, _) = as_of(told)?;
        let is_unknown = status(told)? == Claim::AsOf(Value::Null);
        let since = ledger.and_then(result).and_then(Value::as_u64);
        is_unknown.then_some((slot, since.unwrap_or(u64::MAX)))
    });
    let mut ignorant: Vec<(u64, u64)> = ignorant.collect();
    ignorant.sort_unstable_by(|one, other| other.cmp(one));
    let mut since = Vec::new();
    let mut found = Vec::new();
    for (slot, of_ledger) in ignorant {
        since.push(of_ledger);
        since.sort_unstable();
        found.extend(since.get(wanted - 1).map(|since| Ignorance {
            as_of: slot,
            since: *since,
        }));
    }
    found
}

/// The numbers that `of` finds in results, in ascending order.
fn numbers(answers: &[Option<&Value>], of: impl Fn(&Value) -> Option<u64>) -> Vec<u64> {
    let results = answers.iter().flatten().filter_map(|answer| result(answer));
    let mut found: Vec<u64> = results.filter_map(of).collect();
    found.sort_unstable();
    found
}

/// Taken by so many that not all can be liars; else what `wanted` say against it. The transaction's name is in its bytes:
/// who names another has not taken this one.
fn taken(asked: &Value, answers: &[Option<&Value>], wanted: usize) -> Result<Counted, usize> {
    let enough = answers.len() - wanted + 1;
    let name = name_of(asked).map(Value::from);
    // Where it is included already, nodes say that it was processed: that speaks for those that have taken it.
    let is_processed = Claim::Refusal {
        code: PREFLIGHT_FAILED,
        why: ALREADY_PROCESSED.into(),
    };
    let heard = || answers.iter().flatten();
    let is_own = |answer: &Value| name.is_some() && result(answer) == name.as_ref();
    let took = heard().filter(|answer| is_own(answer)).count();
    let processed = heard().filter(|answer| Claim::refusal(answer).as_ref() == Some(&is_processed));
    let processed = processed.count();
    if took + processed >= enough {
        return Ok(match name.filter(|_| took > 0) {
            Some(name) => Counted::result(name),
            None => Counted::error(json!({
                "code": PREFLIGHT_FAILED, "message": ALREADY_PROCESSED, "data": {"err": ALREADY_PROCESSED},
            })),
        });
    }
    if took + processed == 0 {
        return largest(answers, wanted, Claim::refusal).map(Group::counted);
    }
    Err(took + processed)
}

/// The name of the transaction that a node was asked to take.
fn name_of(asked: &Value) -> Option<String> {
    let raw = STANDARD
        .decode(asked.pointer("/params/0")?.as_str()?)
        .ok()?;
    let signed = SignedTransaction::from_raw(Bytes::from(raw), 0).ok()?;
    Some(signed.id().to_string())
}

#[cfg(test)]
mod tests;
