//! What counts, of three nodes of which two must agree.

use serde_json::{Value, json};

use super::*;

const SIGNATURE: [u8; 64] = [7; 64];

fn name() -> String {
    crate::TxId::Solana(SIGNATURE).to_string()
}

fn count(method: &str, answers: &[Value]) -> Result<Counted, usize> {
    let raw = [[1].as_slice(), &SIGNATURE, &[1]].concat();
    let asked = json!({"params": [STANDARD.encode(raw)]});
    let answers: Vec<Option<&Value>> = answers
        .iter()
        .map(|answer| Some(answer).filter(|answer| !answer.is_null()))
        .collect();
    Rule::of(method).count(&asked, &answers, 2)
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

/// Equal values count, as of the newest slot that two of those that agree have reached. Who says otherwise as of a slot of
/// theirs is known; as of another it may be so.
#[test]
fn equal_values_of_different_slots_agree() {
    for (slot, dissenting) in [(12, [1].as_slice()), (10, &[1]), (900, &[]), (11, &[])] {
        let other = at_slot(slot, &json!(7));
        let answers = [at_slot(12, &json!(5)), other, at_slot(10, &json!(5))];
        let counted = count("getBalance", &answers).unwrap();
        assert_eq!(counted.value, json!({"context": {"slot": 10}, "value": 5}));
        assert_eq!(counted.dissenting, dissenting, "slot {slot}");
    }
    let shapeless = [
        at_slot(12, &json!(5)),
        result(&json!({})),
        at_slot(10, &json!(5)),
    ];
    assert_eq!(count("getBalance", &shapeless).unwrap().dissenting, [1]);
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

/// A newest block is believed where two name the same, slot and height; else where two have the block of a slot that two have
/// reached, a liar among them or none.
#[test]
fn heads_are_blocks_that_enough_nodes_have() {
    let head = |height: u64| result(&json!({"absoluteSlot": height + 9, "blockHeight": height}));
    let rule = Rule::of("getEpochInfo");
    let joined = result(&json!({"absoluteSlot": 49, "blockHeight": 41}));
    let told = count("getEpochInfo", &[head(40), joined.clone(), head(40)]);
    assert_eq!(told.unwrap().value["blockHeight"], 40);
    let apart = [Some(&head(40)), Some(&joined), Some(&head(42))];
    assert!(rule.is_head() && rule.count(&Value::Null, &apart, 2).is_err());
    assert_eq!(rule.slot_reached(&apart, 2), Some(49));
    for (lie, reached) in [(0, 49), (1_000_000, 51)] {
        let answers = [head(40), head(lie), head(42)];
        assert_eq!(
            rule.slot_reached(&answers.each_ref().map(Some), 2),
            Some(reached)
        );
    }
    assert_eq!(rule.slot_reached(&[Some(&head(7)), None, None], 2), None);

    let block = json!({"blockhash": "x", "blockHeight": 40});
    let of_block = |method| Rule::of(method).answer_of(49, &block).unwrap();
    assert_eq!(
        of_block("getEpochInfo"),
        json!({"absoluteSlot": 49, "blockHeight": 40})
    );
    let dated = of_block("getLatestBlockhash");
    assert_eq!(
        dated["value"],
        json!({"blockhash": "x", "lastValidBlockHeight": 190})
    );
    assert_eq!(rule.answer_of(49, &Value::Null), None);

    let slots = [0, u64::MAX, 3].map(|slot| result(&json!(slot)));
    assert_eq!(count("getFirstAvailableBlock", &slots).unwrap().value, 3);
}

/// A liar cannot give a true block hash out as valid for a shorter time than it is: what is dated by it would seem to have
/// expired, and be signed anew, and both could be included.
#[test]
fn a_block_hash_counts_with_its_own_height_only() {
    let dated = |hash: &str, until: u64| {
        at_slot(
            7,
            &json!({"blockhash": hash, "lastValidBlockHeight": until}),
        )
    };
    let lie = dated("true", 20);
    assert!(
        count(
            "getLatestBlockhash",
            &[dated("true", 150), lie.clone(), FAILED]
        )
        .is_err()
    );
    let answers = [dated("true", 150), lie, dated("true", 150)];
    let counted = count("getLatestBlockhash", &answers).unwrap();
    assert_eq!(counted.value["value"]["lastValidBlockHeight"], 150);
}

/// Two that know nothing prove it for what happened since both have everything, up to where both are; who has the transaction,
/// or claims to know least, changes nothing.
#[test]
fn ignorance_counts_where_the_same_nodes_are_there_and_have_everything() {
    let unknown = |slot: u64| at_slot(slot, &json!([null]));
    let known = at_slot(900, &json!([{"slot": 7, "err": null}]));
    let proves = |statuses: [Value; 3], ledgers: [u64; 3]| {
        let ledgers = ledgers.map(|slot| result(&json!(slot)));
        let statuses = statuses.each_ref().map(Some);
        let found = ignorance(&statuses, &ledgers.each_ref().map(Some), 2);
        let found = found.into_iter().map(|one| (one.as_of, one.since));
        found.collect::<Vec<_>>()
    };
    let all = [unknown(900), unknown(900), unknown(u64::MAX)];
    assert_eq!(
        proves(all.clone(), [0, 3, u64::MAX]).last(),
        Some(&(900, 3))
    );
    assert_eq!(proves(all, [0, 500, 0]).last(), Some(&(900, 0)));
    // The one whose ledger goes back far enough is the one that has it.
    let some = [known.clone(), unknown(900), unknown(900)];
    assert_eq!(proves(some, [0, 500, 0]), [(900, 500)]);
    assert_eq!(proves([known.clone(), unknown(900), known], [0, 0, 0]), []);
    // The one that goes back far enough is behind.
    let apart = [unknown(90), unknown(900), unknown(u64::MAX)];
    assert_eq!(proves(apart, [0, 500, 0]), [(900, 500), (90, 0)]);
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
    let taken = result(&json!(name()));
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
    let another = result(&json!("of another transaction"));
    let told = send(&[another, taken.clone(), taken.clone()]).unwrap();
    assert_eq!(told.value, name());
    assert!(told.dissenting.is_empty());
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

/// What enough nodes foresee counts, with the most that not only a liar can have named.
#[test]
fn a_simulation_costs_what_not_only_liars_say() {
    let fate = |err: Value, units: u64| {
        at_slot(
            1,
            &json!({"err": err, "unitsConsumed": units, "logs": [units]}),
        )
    };
    let answers = [
        fate(Value::Null, 300),
        fate(Value::Null, 450),
        fate(json!("AccountNotFound"), 1),
    ];
    let counted = count("simulateTransaction", &answers).unwrap();
    assert_eq!(counted.value["value"]["unitsConsumed"], 450);
    assert_eq!(counted.dissenting, [2]);
    assert_eq!(counted.value["value"].get("logs"), None);
    // One of two may be a liar: what lies far apart is no answer; of three the liar stands alone.
    let lie = fate(Value::Null, u64::MAX);
    let answers = [fate(Value::Null, 300), lie.clone(), FAILED];
    assert!(count("simulateTransaction", &answers).is_err());
    let answers = [fate(Value::Null, 300), lie, fate(Value::Null, 301)];
    let counted = count("simulateTransaction", &answers).unwrap();
    assert_eq!(counted.value["value"]["unitsConsumed"], 301);
}
