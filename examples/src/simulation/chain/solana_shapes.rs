//! In what shape liars of Solana answer: fields that do not belong there, arrays for objects, errors that are results. Whoever
//! reads only what he looks for in one of several answers that seem alike believes what only one has written.

use peaberry_chain::SolanaAddress;
use peaberry_chain::primitives::keccak256;
use serde_json::{Map, Value, json};

use super::faults::Lie;
use super::solana::slot_of;

/// Shapes that an answer can be given.
const SHAPES: u8 = 12;

/// Gives an answer, true or false, another shape. `height` is how far the cluster is.
pub(super) fn misshape(lie: &mut Lie, answer: &mut Value, height: u64) {
    let forged = forged(lie, height);
    let result = answer["result"].take();
    let is_error = answer.get("error").is_some();
    let error = |forged: Map<String, Value>| {
        let mut error =
            json!({"code": -32007, "message": "a lie", "data": {"err": null, "logs": []}});
        error.as_object_mut().expect("just made").extend(forged);
        error
    };
    match lie.u8(..SHAPES) {
        // What others say, in a wrapping that says something else.
        0 | 1 => {
            let mut wrapped = json!({"context": context(lie, height), "value": result});
            wrapped.as_object_mut().expect("just made").extend(forged);
            answer["result"] = wrapped;
        }
        // More fields than belong there.
        2 | 3 => {
            answer["result"] = result;
            for place in [
                "/result",
                "/result/context",
                "/result/value",
                "/result/value/0",
                "/error",
                "/error/data",
            ] {
                if let Some(object) = answer.pointer_mut(place).and_then(Value::as_object_mut) {
                    let fields = forged
                        .iter()
                        .map(|(name, value)| (name.clone(), value.clone()));
                    let news = fields.filter(|(name, _)| name != "slot");
                    object.extend(news);
                }
            }
        }
        // What reads like an object with these fields in this order.
        4 => answer["result"] = json!({"context": listed(lie, height), "value": value_of(&result)}),
        5 => answer["result"] = json!([listed(lie, height), value_of(&result)]),
        6 => answer["result"] = json!([forged.get("blockhash"), forged.get("blockHeight"), result]),
        // An error that looks like a result, alone or beside one.
        7 => answer["error"] = error(forged),
        8 => {
            answer["result"] = result;
            answer["error"] = error(forged);
        }
        // The truth as of another slot.
        9 | 10 => {
            answer["result"] = result;
            if let Some(slot) = answer.pointer_mut("/result/context/slot") {
                *slot = context(lie, height)["slot"].take();
            }
        }
        // Nothing that could be an answer.
        _ => {
            let nothings = [
                json!({}),
                json!([]),
                json!("a lie"),
                json!({"result": [[]]}),
                json!(null),
            ];
            *answer = lie.choice(nothings).unwrap_or_default();
            return;
        }
    }
    // Results of errors there are none, unless a lie wants one.
    if is_error && answer["result"].is_null() {
        answer
            .as_object_mut()
            .expect("it is an answer")
            .remove("result");
    }
}

/// Fields that others' answers are read by.
fn forged(lie: &mut Lie, height: u64) -> Map<String, Value> {
    let some_height = match lie.u8(..3) {
        0 => height.saturating_sub(lie.u64(1..200)),
        1 => height + lie.u64(1..400),
        _ => lie.u64(..),
    };
    let hash = SolanaAddress(keccak256([lie.u8(..)]).0).to_string();
    let fields = json!({
        "blockHeight": some_height, "blockhash": hash, "absoluteSlot": some_height, "lastValidBlockHeight": some_height,
        "slot": some_height, "err": "AccountInUse", "confirmationStatus": "finalized",
        "peaberryKnownSince": known(lie),
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// Since when something would be known, in the quorum's own words.
fn known(lie: &mut Lie) -> Value {
    match lie.u8(..4) {
        0 => json!([[u64::MAX, 0]]),
        1 => json!([[u64::MAX, u64::MAX]]),
        2 => json!(u64::MAX),
        _ => json!(0),
    }
}

fn slot(lie: &mut Lie, height: u64) -> u64 {
    match lie.u8(..3) {
        0 => 0,
        1 => u64::MAX,
        _ => slot_of(height),
    }
}

fn context(lie: &mut Lie, height: u64) -> Value {
    json!({"slot": slot(lie, height), "peaberryKnownSince": known(lie)})
}

/// A context as the list of its fields.
fn listed(lie: &mut Lie, height: u64) -> Value {
    json!([slot_of(height), known(lie)])
}

/// The value of a result as of a slot.
fn value_of(result: &Value) -> Value {
    result.get("value").unwrap_or(result).clone()
}
