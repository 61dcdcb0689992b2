//! What counts, of three nodes of which two must agree.

use serde_json::{Value, json};

use super::*;

fn count(method: &str, answers: &[Value]) -> Result<Counted, usize> {
    let answers: Vec<Option<&Value>> = answers
        .iter()
        .map(|answer| Some(answer).filter(|answer| !answer.is_null()))
        .collect();
    Rule::of(method).count(&answers, 2)
}

fn result(value: &Value) -> Value {
    json!({"id": 1, "result": value})
}

fn at_slot(slot: u64, value: &Value) -> Value {
    result(&json!({"context": {"slot": slot}, "value": value}))
}

fn refusal(code: i64) -> Value {
    json!({"id": 1, "error": {"code": code, "message": "no"}})
}

const FAILED: Value = Value::Null;

/// Equal values count, as of the lowest slot of those that agree, and who says otherwise is known.
#[test]
fn equal_values_of_different_slots_agree() {
    let liar = at_slot(900, &json!(7));
    let answers = [at_slot(12, &json!(5)), liar, at_slot(10, &json!(5))];
    let counted = count("getBalance", &answers).unwrap();
    assert_eq!(counted.value, json!({"context": {"slot": 10}, "value": 5}));
    assert_eq!(counted.dissenting, [1]);
    let apart = [at_slot(12, &json!(5)), at_slot(12, &json!(6)), FAILED];
    assert_eq!(count("getBalance", &apart).unwrap_err(), 1);
    assert_eq!(
        count("getBalance", &[FAILED, FAILED, FAILED]).unwrap_err(),
        0
    );
}

/// What nodes refuse alike is refused; who has the block is no liar for that.
#[test]
fn equal_errors_agree_by_their_code() {
    let block = result(&json!({"blockhash": "x"}));
    let counted = count("getBlock", &[refusal(-32007), block, refusal(-32007)]).unwrap();
    assert_eq!((counted.part, counted.dissenting.len()), (ERROR, 0));
    assert_eq!(counted.value["code"], -32007);
}

/// A liar can name neither a final height that nobody has reached, nor hold back one that others have.
#[test]
fn heights_are_those_that_not_only_liars_name() {
    let height = |height: u64| result(&json!({"absoluteSlot": height + 9, "blockHeight": height}));
    for lie in [0, 41, 1_000_000] {
        let counted = count("getEpochInfo", &[height(40), height(lie), height(42)]).unwrap();
        let told = counted.value["blockHeight"].as_u64().unwrap();
        assert!((40..=42).contains(&told), "{told}");
    }
    let counted = count("getEpochInfo", &[height(1_000_000), FAILED, height(42)]).unwrap();
    assert_eq!(counted.value["blockHeight"], 42);
    assert!(count("getEpochInfo", &[height(1), FAILED, FAILED]).is_err());
    let slots = [result(&json!(0)), result(&json!(500)), result(&json!(3))];
    assert_eq!(count("getFirstAvailableBlock", &slots).unwrap().value, 500);
}

/// A status stands at the commitment that enough nodes find reached; one liar makes nothing final, and nothing unknown.
#[test]
fn a_status_is_as_committed_as_enough_nodes_say() {
    let status = |slot: u64, name: &str| {
        let status = json!({"slot": slot, "err": null, "confirmationStatus": name});
        at_slot(20, &json!([status]))
    };
    let unknown = at_slot(25, &json!([null]));
    let told = |answers: &[Value]| count("getSignatureStatuses", answers).map(|one| one.value);
    let answers = [
        status(7, "confirmed"),
        status(7, "finalized"),
        status(7, "confirmed"),
    ];
    let agreed = told(&answers).unwrap();
    assert_eq!(agreed["value"][0]["confirmationStatus"], "confirmed");
    let answers = [
        status(7, "finalized"),
        unknown.clone(),
        status(7, "finalized"),
    ];
    let agreed = told(&answers).unwrap();
    assert_eq!(agreed["value"][0]["confirmationStatus"], "finalized");
    let answers = [
        status(7, "confirmed"),
        unknown.clone(),
        status(8, "confirmed"),
    ];
    assert!(told(&answers).is_err(), "on two forks");
    let agreed = told(&[unknown.clone(), status(7, "finalized"), unknown]).unwrap();
    assert_eq!(agreed["value"], json!([null]));
}

/// Two must take it: one may say so and throw it away. Where it is included already, that speaks for it, too.
#[test]
fn a_transaction_is_taken_by_more_than_liars() {
    let taken = result(&json!("signature"));
    let mut processed = refusal(-32002);
    processed["error"]["data"] = json!({"err": "AlreadyProcessed"});
    let send = |answers: &[Value]| count("sendTransaction", answers);
    assert_eq!(
        send(&[taken.clone(), taken.clone(), FAILED]).unwrap().part,
        RESULT
    );
    assert_eq!(
        send(&[taken.clone(), processed.clone(), FAILED])
            .unwrap()
            .part,
        RESULT
    );
    assert_eq!(
        send(&[processed.clone(), processed, FAILED]).unwrap().part,
        ERROR
    );
    assert_eq!(
        send(&[taken, refusal(-32002), refusal(-32002)]).unwrap_err(),
        1
    );
    assert_eq!(
        send(&[refusal(-32002), refusal(-32002), FAILED])
            .unwrap()
            .part,
        ERROR
    );
}

/// The code says only that a transaction would fail: why is what nodes must agree on.
#[test]
fn refusals_for_other_reasons_are_others() {
    let because =
        |reason: Value| json!({"error": {"code": -32002, "message": "", "data": {"err": reason}}});
    let lie = because(json!({"InstructionError": [0, "Custom"]}));
    let answers = [lie.clone(), because(json!("BlockhashNotFound")), FAILED];
    assert_eq!(count("sendTransaction", &answers).unwrap_err(), 1);
    let answers = [lie.clone(), lie, FAILED];
    assert!(count("sendTransaction", &answers).unwrap().is_refusal());
}

/// What enough nodes foresee counts, with the most that one of them finds it takes.
#[test]
fn a_simulation_costs_what_the_dearest_of_those_that_agree_says() {
    let fate = |err: Value, units: u64| {
        at_slot(
            1,
            &json!({"err": err, "unitsConsumed": units, "logs": [units]}),
        )
    };
    let answers = [
        fate(Value::Null, 150),
        fate(Value::Null, 450),
        fate(json!("AccountNotFound"), 1),
    ];
    let counted = count("simulateTransaction", &answers).unwrap();
    assert_eq!(counted.value["value"]["unitsConsumed"], 450);
    assert_eq!(counted.dissenting, [2]);
}
