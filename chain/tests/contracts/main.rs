//! The contracts against models of them: random sequences of calls on a development chain. Of each call the model
//! predicts the events, or the error with its arguments; what it touches is compared after it, and everything at the end.
//!
//! `PEABERRY_CONTRACT_SEQUENCES` says how many sequences each contract is put through; 40 by default. A failure prints
//! its seed. Variants of the contracts with a bug planted (`contracts/mutants`) must be told apart from them.
//!
//! Where Anvil is installed (`PEABERRY_ANVIL`, or on the path), a few sequences of each are played on it, too, and each
//! planted bug is shown there once more: the contracts keep their promises on another node's EVM.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    non_snake_case,
    reason = "a test's helpers fail as loudly as the test; fields are named as the contracts name them"
)]

#[path = "../dice/mod.rs"]
mod dice;
mod ground;
mod hostile;
#[path = "../node/mod.rs"]
mod node;
mod processor;
mod supply;
mod token;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use ground::Ground;
use node::{NodeKind, on_both};
use parking_lot::Mutex;
use peaberry_chain::primitives::Bytes;

on_both! {
    coffee_token_is_its_model
    supply_chain_is_its_model
    payment_processor_is_its_model
    a_token_that_pays_an_order_twice_is_caught
    a_token_that_lets_anyone_spend_is_caught
    a_token_that_takes_both_forms_of_a_signature_is_caught
    a_lot_that_anyone_can_take_is_caught
    a_refund_that_is_paid_twice_is_caught
    a_token_that_mints_for_anyone_is_caught
    a_token_that_mints_over_its_cap_is_caught
    redeeming_what_was_never_earned_is_caught
    a_trail_without_a_step_is_caught
    an_invoice_that_anyone_pays_is_caught
    paying_oneself_is_caught
    a_token_that_takes_another_contracts_signatures_is_caught
    points_that_run_over_their_half_are_caught
    facts_that_are_hashed_once_are_caught
    an_origin_of_an_inner_node_is_caught
    an_origin_without_a_proof_is_caught
    a_processor_that_a_token_enters_again_is_caught
    a_processor_that_believes_what_a_token_says_is_caught
    a_processor_that_lets_a_token_take_more_is_caught
    a_processor_that_takes_no_for_yes_is_caught
}

/// Sequences of each contract there.
const ON_ANVIL: u64 = 2;

/// A contract with its model, played by one sequence of random calls.
type Play = fn(&mut Ground, &Bytes) -> Result<(), String>;

/// How many sequences are played on that node.
fn sequences(kind: NodeKind) -> u64 {
    if kind == NodeKind::Anvil {
        return ON_ANVIL;
    }
    let count = std::env::var("PEABERRY_CONTRACT_SEQUENCES");
    count.map_or(40, |count| {
        count
            .parse()
            .expect("PEABERRY_CONTRACT_SEQUENCES is a number")
    })
}

/// The first seed whose sequence the contract plays otherwise than its model.
fn first_bad_seed(
    kind: NodeKind,
    code: &Bytes,
    play: Play,
    seeds: impl IntoIterator<Item = u64>,
) -> Option<(u64, String)> {
    seeds.into_iter().find_map(|seed| {
        let mut ground = Ground::on(kind, seed);
        play(&mut ground, code).err().map(|why| (seed, why))
    })
}

fn expect_faithful(kind: NodeKind, code: &Bytes, play: Play) {
    if let Some((seed, why)) = first_bad_seed(kind, code, play, 0..sequences(kind)) {
        panic!("seed {seed}: {why}");
    }
}

/// What shows the bug on the development chain, looked for once for all who ask.
fn caught(mutant: &'static str, code: &Bytes, play: Play) -> Option<(u64, String)> {
    type Found = Arc<OnceLock<Option<(u64, String)>>>;
    static FOUND: Mutex<BTreeMap<&str, Found>> = Mutex::new(BTreeMap::new());
    let found = FOUND.lock().entry(mutant).or_default().clone();
    let look = || first_bad_seed(NodeKind::DevChain, code, play, 0..1000);
    found.get_or_init(look).clone()
}

/// The sequence that shows the bug on the development chain shows it on Anvil, too.
fn expect_caught(kind: NodeKind, mutant: &'static str, play: Play) {
    let code = ground::bytecode(mutant);
    let (seed, why) = caught(mutant, &code, play).expect("the planted bug is found");
    assert!(!why.is_empty(), "seed {seed} says what it found");
    if kind == NodeKind::Anvil {
        let caught = first_bad_seed(kind, &code, play, [seed]);
        assert!(caught.is_some(), "{why}");
    }
}

fn coffee_token_is_its_model(kind: NodeKind) {
    expect_faithful(
        kind,
        &peaberry_chain::bindings::CoffeeToken::BYTECODE,
        token::play,
    );
}

fn supply_chain_is_its_model(kind: NodeKind) {
    expect_faithful(
        kind,
        &peaberry_chain::bindings::SupplyChain::BYTECODE,
        supply::play,
    );
}

fn payment_processor_is_its_model(kind: NodeKind) {
    expect_faithful(
        kind,
        &peaberry_chain::bindings::PaymentProcessor::BYTECODE,
        processor::play,
    );
}

fn a_token_that_pays_an_order_twice_is_caught(kind: NodeKind) {
    expect_caught(
        kind,
        include_str!("../../contracts/mutants/CoffeeTokenPaysTwice.json"),
        token::play,
    );
}

fn a_token_that_lets_anyone_spend_is_caught(kind: NodeKind) {
    expect_caught(
        kind,
        include_str!("../../contracts/mutants/CoffeeTokenSpendsForAnyone.json"),
        token::play,
    );
}

fn a_token_that_takes_both_forms_of_a_signature_is_caught(kind: NodeKind) {
    expect_caught(
        kind,
        include_str!("../../contracts/mutants/CoffeeTokenTakesBothSignatures.json"),
        token::play,
    );
}

fn a_lot_that_anyone_can_take_is_caught(kind: NodeKind) {
    expect_caught(
        kind,
        include_str!("../../contracts/mutants/SupplyChainTakesFromAnyone.json"),
        supply::play,
    );
}

fn a_refund_that_is_paid_twice_is_caught(kind: NodeKind) {
    expect_caught(
        kind,
        include_str!("../../contracts/mutants/PaymentProcessorRefundsTwice.json"),
        processor::play,
    );
}

fn a_token_that_mints_for_anyone_is_caught(kind: NodeKind) {
    expect_caught(
        kind,
        include_str!("../../contracts/mutants/CoffeeTokenMintsForAnyone.json"),
        token::play,
    );
}

fn a_token_that_mints_over_its_cap_is_caught(kind: NodeKind) {
    expect_caught(
        kind,
        include_str!("../../contracts/mutants/CoffeeTokenMintsOverItsCap.json"),
        token::play,
    );
}

fn redeeming_what_was_never_earned_is_caught(kind: NodeKind) {
    expect_caught(
        kind,
        include_str!("../../contracts/mutants/CoffeeTokenRedeemsWhatIsNotThere.json"),
        token::play,
    );
}

fn a_trail_without_a_step_is_caught(kind: NodeKind) {
    expect_caught(
        kind,
        include_str!("../../contracts/mutants/SupplyChainForgetsAStep.json"),
        supply::play,
    );
}

fn an_invoice_that_anyone_pays_is_caught(kind: NodeKind) {
    expect_caught(
        kind,
        include_str!("../../contracts/mutants/PaymentProcessorTakesFromAnyone.json"),
        processor::play,
    );
}

fn paying_oneself_is_caught(kind: NodeKind) {
    expect_caught(
        kind,
        include_str!("../../contracts/mutants/CoffeeTokenPaysItself.json"),
        token::play,
    );
}

fn a_token_that_takes_another_contracts_signatures_is_caught(kind: NodeKind) {
    expect_caught(
        kind,
        include_str!("../../contracts/mutants/CoffeeTokenForgetsTheContract.json"),
        token::play,
    );
}

fn points_that_run_over_their_half_are_caught(kind: NodeKind) {
    expect_caught(
        kind,
        include_str!("../../contracts/mutants/CoffeeTokenCarriesPointsOver.json"),
        token::play,
    );
}

fn facts_that_are_hashed_once_are_caught(kind: NodeKind) {
    expect_caught(
        kind,
        include_str!("../../contracts/mutants/SupplyChainHashesFactsOnce.json"),
        supply::play,
    );
}

fn an_origin_of_an_inner_node_is_caught(kind: NodeKind) {
    expect_caught(
        kind,
        include_str!("../../contracts/mutants/SupplyChainTakesInnerNodes.json"),
        supply::play,
    );
}

fn an_origin_without_a_proof_is_caught(kind: NodeKind) {
    expect_caught(
        kind,
        include_str!("../../contracts/mutants/SupplyChainWantsNoProof.json"),
        supply::play,
    );
}

fn a_processor_that_a_token_enters_again_is_caught(kind: NodeKind) {
    expect_caught(
        kind,
        include_str!("../../contracts/mutants/PaymentProcessorMayBeReentered.json"),
        processor::play,
    );
}

fn a_processor_that_believes_what_a_token_says_is_caught(kind: NodeKind) {
    expect_caught(
        kind,
        include_str!("../../contracts/mutants/PaymentProcessorBelievesTheToken.json"),
        processor::play,
    );
}

fn a_processor_that_lets_a_token_take_more_is_caught(kind: NodeKind) {
    expect_caught(
        kind,
        include_str!("../../contracts/mutants/PaymentProcessorLetsATokenTakeMore.json"),
        processor::play,
    );
}

fn a_processor_that_takes_no_for_yes_is_caught(kind: NodeKind) {
    expect_caught(
        kind,
        include_str!("../../contracts/mutants/PaymentProcessorTakesNoForYes.json"),
        processor::play,
    );
}
