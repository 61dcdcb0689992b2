//! How much gas a transaction is given, and what is offered for it.

use std::sync::atomic::Ordering;

use futures_util::FutureExt;

use super::*;
use crate::evm::scripted::{CHAIN, Scripted};
use crate::evm::{FeeHistory, TRANSACTION_GAS_MAX};

/// A chain without a limit of its own.
fn unlimited() -> EvmNetwork {
    EvmNetwork {
        transaction_gas_max: None,
        ..EvmNetwork::generic(CHAIN)
    }
}

fn node(gas: u64, gas_limit: Option<u64>) -> Scripted {
    Scripted {
        gas,
        gas_limit,
        ..Scripted::default()
    }
}

fn client(node: Scripted, network: EvmNetwork) -> EvmClient {
    let client = EvmClient::connect(Arc::new(node), network).now_or_never();
    client.unwrap().unwrap()
}

/// What a call of a contract is given.
fn given(client: &EvmClient) -> Result<u64, ChainError> {
    let call = CallRequest::new(EvmAddress::repeat_byte(1), [1]);
    client.gas_limit(&call).now_or_never().unwrap()
}

/// The same client, asking a node that answers otherwise now.
fn over(client: &EvmClient, node: Scripted) -> EvmClient {
    EvmClient {
        rpc: Arc::new(node),
        ..client.clone()
    }
}

/// A fifth more than the estimate, as far as a block has room, and no transaction of what does not fit.
#[test]
fn gas_has_a_margin_that_stops_at_what_a_block_holds() {
    const LIMIT: u64 = 2_000_000;
    for (gas, wanted) in [
        (21_000, Some(25_200)),
        (100_000, Some(120_000)),
        (1_000_000, Some(1_200_000)),
        (1_666_600, Some(1_999_920)),
        (1_700_000, Some(LIMIT)),
        (LIMIT, Some(LIMIT)),
        (LIMIT + 1, None),
        (u64::MAX, None),
    ] {
        let told = given(&client(node(gas, Some(LIMIT)), unlimited()));
        match wanted {
            Some(wanted) => assert_eq!(told.unwrap(), wanted),
            None => assert!(
                matches!(told, Err(ChainError::GasOverLimit { gas: of, gas_max: LIMIT }) if of == gas),
                "{told:?}"
            ),
        }
    }
    // A plain transfer takes what it takes, and asks no more.
    let plain = node(21_000, Some(LIMIT));
    let asked = plain.limit_asked.clone();
    let call = CallRequest::new(EvmAddress::repeat_byte(1), []);
    let told = client(plain, unlimited()).gas_limit(&call).now_or_never();
    assert_eq!(told.unwrap().unwrap(), 21_000);
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

/// EIP-7825: where a block holds more than one transaction may use, that is the end; where it holds less, this.
#[test]
fn a_chains_own_limit_holds_beside_the_blocks() {
    let network = || EvmNetwork {
        transaction_gas_max: Some(TRANSACTION_GAS_MAX),
        ..unlimited()
    };
    let told = |gas, limit| given(&client(node(gas, limit), network()));
    assert_eq!(
        told(15_000_000, Some(30_000_000)).unwrap(),
        TRANSACTION_GAS_MAX
    );
    assert_eq!(told(15_000_000, None).unwrap(), TRANSACTION_GAS_MAX);
    assert_eq!(told(1_900_000, Some(2_000_000)).unwrap(), 2_000_000);
    let over = told(TRANSACTION_GAS_MAX + 1, Some(30_000_000));
    assert!(
        matches!(
            over,
            Err(ChainError::GasOverLimit {
                gas_max: TRANSACTION_GAS_MAX,
                ..
            })
        ),
        "{over:?}"
    );
}

/// A node that does not say what a block holds, once, does not undo what is known, nor keep it from being known.
#[test]
fn one_answer_without_a_limit_is_not_kept() {
    const GAS: u64 = 1_900_000;
    let silent = client(node(GAS, None), unlimited());
    assert_eq!(given(&silent).unwrap(), 2_280_000);
    let told = over(&silent, node(GAS, Some(2_000_000)));
    assert_eq!(given(&told).unwrap(), 2_000_000);
    let silent = over(&told, node(GAS, None));
    assert_eq!(given(&silent).unwrap(), 2_000_000);
}

/// What is far below is not asked about again; what is near is, as a block's room moves.
#[test]
fn what_a_block_holds_is_asked_again_for_what_comes_near_it() {
    let first = node(500_000, Some(2_000_000));
    let asked = first.limit_asked.clone();
    let client = client(first.clone(), unlimited());
    for _ in 0..3 {
        assert_eq!(given(&client).unwrap(), 600_000);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let shrunk = Scripted {
        gas: 900_000,
        gas_limit: Some(1_000_000),
        ..first
    };
    assert_eq!(given(&over(&client, shrunk)).unwrap(), 1_000_000);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

/// What a client of `network` offers where the block to come costs `base_fee`, and those before it were tipped so.
fn offered(network: EvmNetwork, base_fee: u128, tips: &[u128]) -> Fees {
    let history = FeeHistory {
        oldest_block: 1,
        base_fees: vec![U256::ZERO, U256::from(base_fee)],
        tips: tips.iter().map(|tip| vec![U256::from(*tip)]).collect(),
    };
    let node = Scripted {
        fee_history: Some(history),
        ..Scripted::default()
    };
    let client = EvmClient {
        network,
        ..client(node, unlimited())
    };
    client.fees().now_or_never().unwrap().unwrap()
}

/// Twice the base fee of the block to come and the median of the tips, which is at least as much as the chain's nodes take.
#[test]
fn tips_are_at_least_what_a_chains_nodes_take() {
    const GWEI: u128 = 1_000_000_000;
    for (network, least) in [
        (EvmNetwork::ethereum(), 1),
        (EvmNetwork::polygon(), 25 * GWEI),
        (EvmNetwork::bsc(), 50_000_000),
        (EvmNetwork::generic(CHAIN), 1),
    ] {
        for (tips, tip_max) in [
            (&[][..], least),
            (&[0, 0, 0], least),
            (&[0, least, 90 * GWEI], least),
            (&[90 * GWEI, 70 * GWEI, 80 * GWEI], 80 * GWEI),
        ] {
            for base_fee in [0, 7 * GWEI] {
                let fee_max = 2 * base_fee + tip_max;
                assert_eq!(
                    offered(network, base_fee, tips),
                    Fees::Eip1559 { fee_max, tip_max },
                    "{}: {tips:?}",
                    network.chain
                );
            }
        }
    }
}
