//! The contracts against models of them: random sequences of calls on a development chain. Of each call the model
//! predicts the events, or the error with its arguments; what it touches is compared after it, and everything at the end.
//!
//! `PEABERRY_CONTRACT_SEQUENCES` says how many sequences each contract is put through; 40 by default. A failure prints
//! its seed. Variants of the contracts with a bug planted (`contracts/mutants`) must be told apart from them.
//!
//! Where Anvil is installed (`PEABERRY_ANVIL`, or on the path), a few sequences of each are played on it, too: the
//! contracts keep their promises on another node's EVM.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    non_snake_case,
    reason = "a test's helpers fail as loudly as the test; fields are named as the contracts name them"
)]

#[path = "../dice/mod.rs"]
mod dice;
mod ground;
mod hostile;
#[path = "../node/mod.rs"]
#[allow(dead_code, reason = "other tests ask other things of a node")]
mod node;
mod processor;
mod supply;
mod token;

use ground::Ground;
use peaberry_chain::primitives::Bytes;

const ON_ANVIL: u64 = 2;

/// A contract with its model, played by one sequence of random calls.
type Play = fn(&mut Ground, &Bytes) -> Result<(), String>;

fn sequences() -> u64 {
    let count = std::env::var("PEABERRY_CONTRACT_SEQUENCES");
    count.map_or(40, |count| {
        count
            .parse()
            .expect("PEABERRY_CONTRACT_SEQUENCES is a number")
    })
}

/// The first seed whose sequence the contract plays otherwise than its model.
fn first_bad_seed(code: &Bytes, play: Play, seeds: u64) -> Option<(u64, String)> {
    (0..seeds).find_map(|seed| {
        let mut ground = Ground::new(seed);
        play(&mut ground, code).err().map(|why| (seed, why))
    })
}

fn expect_faithful(code: &Bytes, play: Play) {
    if let Some((seed, why)) = first_bad_seed(code, play, sequences()) {
        panic!("seed {seed}: {why}");
    }
}

fn expect_faithful_on_anvil(code: &Bytes, play: Play) {
    for seed in 0..ON_ANVIL {
        let Some(mut ground) = Ground::anvil(seed) else {
            return;
        };
        if let Err(why) = play(&mut ground, code) {
            panic!("seed {seed} on Anvil: {why}");
        }
    }
}

fn expect_caught(mutant: &str, play: Play) {
    let caught = first_bad_seed(&ground::bytecode(mutant), play, 1000);
    let (seed, why) = caught.expect("the planted bug is found");
    assert!(!why.is_empty(), "seed {seed} says what it found");
}

#[test]
fn coffee_token_is_its_model() {
    expect_faithful(
        &peaberry_chain::bindings::CoffeeToken::BYTECODE,
        token::play,
    );
}

#[test]
fn supply_chain_is_its_model() {
    expect_faithful(
        &peaberry_chain::bindings::SupplyChain::BYTECODE,
        supply::play,
    );
}

#[test]
fn payment_processor_is_its_model() {
    expect_faithful(
        &peaberry_chain::bindings::PaymentProcessor::BYTECODE,
        processor::play,
    );
}

#[test]
fn coffee_token_is_its_model_on_anvil() {
    expect_faithful_on_anvil(
        &peaberry_chain::bindings::CoffeeToken::BYTECODE,
        token::play,
    );
}

#[test]
fn supply_chain_is_its_model_on_anvil() {
    expect_faithful_on_anvil(
        &peaberry_chain::bindings::SupplyChain::BYTECODE,
        supply::play,
    );
}

#[test]
fn payment_processor_is_its_model_on_anvil() {
    expect_faithful_on_anvil(
        &peaberry_chain::bindings::PaymentProcessor::BYTECODE,
        processor::play,
    );
}

#[test]
fn a_token_that_pays_an_order_twice_is_caught() {
    expect_caught(
        include_str!("../../contracts/mutants/CoffeeTokenPaysTwice.json"),
        token::play,
    );
}

#[test]
fn a_token_that_lets_anyone_spend_is_caught() {
    expect_caught(
        include_str!("../../contracts/mutants/CoffeeTokenSpendsForAnyone.json"),
        token::play,
    );
}

#[test]
fn a_token_that_takes_both_forms_of_a_signature_is_caught() {
    expect_caught(
        include_str!("../../contracts/mutants/CoffeeTokenTakesBothSignatures.json"),
        token::play,
    );
}

#[test]
fn a_lot_that_anyone_can_take_is_caught() {
    expect_caught(
        include_str!("../../contracts/mutants/SupplyChainTakesFromAnyone.json"),
        supply::play,
    );
}

#[test]
fn a_refund_that_is_paid_twice_is_caught() {
    expect_caught(
        include_str!("../../contracts/mutants/PaymentProcessorRefundsTwice.json"),
        processor::play,
    );
}

#[test]
fn a_token_that_mints_for_anyone_is_caught() {
    expect_caught(
        include_str!("../../contracts/mutants/CoffeeTokenMintsForAnyone.json"),
        token::play,
    );
}

#[test]
fn a_token_that_mints_over_its_cap_is_caught() {
    expect_caught(
        include_str!("../../contracts/mutants/CoffeeTokenMintsOverItsCap.json"),
        token::play,
    );
}

#[test]
fn redeeming_what_was_never_earned_is_caught() {
    expect_caught(
        include_str!("../../contracts/mutants/CoffeeTokenRedeemsWhatIsNotThere.json"),
        token::play,
    );
}

#[test]
fn a_trail_without_a_step_is_caught() {
    expect_caught(
        include_str!("../../contracts/mutants/SupplyChainForgetsAStep.json"),
        supply::play,
    );
}

#[test]
fn an_invoice_that_anyone_pays_is_caught() {
    expect_caught(
        include_str!("../../contracts/mutants/PaymentProcessorTakesFromAnyone.json"),
        processor::play,
    );
}

#[test]
fn paying_oneself_is_caught() {
    expect_caught(
        include_str!("../../contracts/mutants/CoffeeTokenPaysItself.json"),
        token::play,
    );
}

#[test]
fn a_token_that_takes_another_contracts_signatures_is_caught() {
    expect_caught(
        include_str!("../../contracts/mutants/CoffeeTokenForgetsTheContract.json"),
        token::play,
    );
}

#[test]
fn points_that_run_over_their_half_are_caught() {
    expect_caught(
        include_str!("../../contracts/mutants/CoffeeTokenCarriesPointsOver.json"),
        token::play,
    );
}

#[test]
fn facts_that_are_hashed_once_are_caught() {
    expect_caught(
        include_str!("../../contracts/mutants/SupplyChainHashesFactsOnce.json"),
        supply::play,
    );
}

#[test]
fn an_origin_without_a_proof_is_caught() {
    expect_caught(
        include_str!("../../contracts/mutants/SupplyChainWantsNoProof.json"),
        supply::play,
    );
}

#[test]
fn an_origin_of_no_lot_is_caught() {
    expect_caught(
        include_str!("../../contracts/mutants/SupplyChainProvesLotsThatAreNotThere.json"),
        supply::play,
    );
}

#[test]
fn a_processor_that_a_token_enters_again_is_caught() {
    expect_caught(
        include_str!("../../contracts/mutants/PaymentProcessorMayBeReentered.json"),
        processor::play,
    );
}

#[test]
fn a_processor_that_believes_what_a_token_says_is_caught() {
    expect_caught(
        include_str!("../../contracts/mutants/PaymentProcessorBelievesTheToken.json"),
        processor::play,
    );
}

#[test]
fn a_processor_that_takes_no_for_yes_is_caught() {
    expect_caught(
        include_str!("../../contracts/mutants/PaymentProcessorTakesNoForYes.json"),
        processor::play,
    );
}
