//! One of three lies, and one is honest and far behind, on an orphan: the two of them are no quorum of what is final.

use std::collections::BTreeSet;

use futures_util::FutureExt;
use parking_lot::Mutex;

use super::super::*;
use crate::evm::scripted::{CHAIN, Scripted, block, chain};
use crate::evm::{EvmClient, EvmNetwork};
use crate::follow::{Known, Step, Walk, step_along};
use crate::{ChainClient, Finality, FinalityPolicy};

const TIP: u64 = 200;
const FINAL: u64 = 150;
/// The newest block of the node that is behind, in place of the one that is final there.
const ORPHAN: u64 = 150;

fn honest() -> Scripted {
    Scripted {
        blocks: chain(TIP, 0, 0),
        final_number: FINAL,
        logs: vec![log()],
        ..Scripted::default()
    }
}

/// The chain's block of this number.
fn at(number: u64) -> Block {
    let mut blocks = honest().blocks.into_iter();
    blocks.find(|block| block.number == number).unwrap()
}

fn orphan() -> Block {
    block(ORPHAN, 7, at(ORPHAN - 1).hash)
}

fn behind() -> Scripted {
    Scripted {
        blocks: chain(ORPHAN, 7, ORPHAN),
        final_number: 100,
        ..Scripted::default()
    }
}

/// It has the orphan at its number, and calls it final.
fn liar() -> Scripted {
    let mut liar = honest();
    for block in &mut liar.blocks {
        if block.number == ORPHAN {
            *block = orphan();
        }
    }
    liar.logs.clear();
    liar
}

fn log() -> Log {
    Log {
        address: Address::repeat_byte(2).into(),
        topics: Vec::new(),
        data: Bytes::new(),
        block_number: 20,
        block_hash: block(20, 0, B256::ZERO).hash,
        transaction: TxId::Evm(B256::repeat_byte(7)),
        transaction_index: 0,
        index: 0,
    }
}

/// In whichever order the nodes are asked, who is named and what `ask` gives.
fn each_order<T>(
    nodes: [Scripted; 3],
    ask: impl AsyncFn(Arc<QuorumRpc>) -> T,
    check: impl Fn(T),
) -> BTreeSet<usize> {
    let named = Arc::new(Mutex::new(BTreeSet::new()));
    for turned in 0..3 {
        let own = named.clone();
        let nodes = nodes.iter().cloned().enumerate().map(|(index, node)| {
            let node: Arc<dyn EvmView> = Arc::new(node);
            (index.to_string(), node)
        });
        let mut nodes: Vec<_> = nodes.collect();
        nodes.rotate_left(turned);
        let rpc = QuorumRpc::new(nodes, 2).with_report(move |dissent| {
            own.lock().insert(dissent.node.parse().unwrap());
        });
        check(ask(Arc::new(rpc)).now_or_never().expect("nothing waits"));
    }
    named.lock().clone()
}

fn client(rpc: Arc<QuorumRpc>, finality: FinalityPolicy) -> EvmClient {
    let network = EvmNetwork {
        finality,
        ..EvmNetwork::generic(CHAIN)
    };
    let client = EvmClient::connect(rpc, network).now_or_never();
    client.unwrap().unwrap()
}

/// Final is what the two honest nodes have both come to, and no liar holds that up.
#[test]
fn an_orphan_that_a_liar_calls_final_is_not() {
    assert_eq!(behind().blocks.last(), Some(&orphan()));
    let nodes = || [honest(), liar(), behind()];
    let named = each_order(
        nodes(),
        async |rpc| rpc.block(BlockAt::Final).await.unwrap(),
        |block| assert_eq!(block, Some(at(100))),
    );
    assert!(!named.contains(&0), "who is honest and not behind is named");
    // The same of a chain whose blocks are final by their depth.
    let finality = FinalityPolicy::Depth(TIP - ORPHAN);
    each_order(
        nodes(),
        async |rpc| client(rpc, finality).head(Finality::Final).await.unwrap(),
        |block| assert_eq!(block.number, ORPHAN - (TIP - ORPHAN)),
    );
    for finality in [finality, FinalityPolicy::Finalized] {
        each_order(
            nodes(),
            async |rpc| client(rpc, finality).final_block(ORPHAN).await.unwrap(),
            |block| assert_eq!(block, None),
        );
    }
}

/// Where they agree, who is behind holds nothing up, and whoever has another block there is on no chain any more.
#[test]
fn the_final_block_is_that_of_the_nodes_that_have_come_to_it() {
    let named = each_order(
        [honest(), honest(), behind()],
        async |rpc| rpc.block(BlockAt::Final).await.unwrap(),
        |block| assert_eq!(block, Some(at(ORPHAN))),
    );
    assert_eq!(named, [2].into());
    let named = each_order(
        [honest(), honest(), behind()],
        async |rpc| {
            rpc.final_block(ORPHAN, FinalityPolicy::Finalized)
                .await
                .unwrap()
        },
        |block| assert_eq!(block, Some(at(ORPHAN))),
    );
    assert!(
        named.is_empty(),
        "to whom nothing is final there says nothing"
    );
}

/// A payment in the orphan is not final, whoever says that the orphan is.
#[test]
fn what_is_in_an_orphan_is_not_final() {
    let paid = B256::repeat_byte(7);
    let receipt = Receipt {
        transaction: paid,
        is_success: true,
        block_number: ORPHAN,
        block_hash: orphan().hash,
        index: 0,
        from: Address::ZERO,
        to: None,
        contract: None,
        gas_used: 21_000,
        gas_price: U256::ZERO,
        logs: Vec::new(),
    };
    let holding = |node: Scripted| Scripted {
        receipts: [(paid, receipt.clone())].into(),
        ..node
    };
    for finality in [FinalityPolicy::Depth(40), FinalityPolicy::Finalized] {
        each_order(
            [honest(), holding(liar()), holding(behind())],
            async |rpc| client(rpc, finality).status(TxId::Evm(paid)).await.unwrap(),
            |status| {
                let is_final = matches!(status, crate::TransactionStatus::Final { .. });
                assert!(!is_final, "{status:?}");
            },
        );
    }
}

/// Of a range of final blocks only nodes have a vote that have come to its end.
#[test]
fn a_range_is_not_without_logs_because_a_node_has_not_come_to_it() {
    let silent = || Scripted {
        logs: Vec::new(),
        ..honest()
    };
    let young = || Scripted {
        blocks: chain(9, 0, 0),
        final_number: 3,
        ..Scripted::default()
    };
    let walk = Walk {
        number: 1,
        filter: LogFilter::default(),
        known: Known::Ring(vec![(1, at(1).hash)]),
        range_max: 40,
    };
    let read = async |rpc| step_along(&client(rpc, FinalityPolicy::Finalized), &walk).await;
    each_order([honest(), silent(), young()], read, |step| {
        assert!(matches!(step, Err(ChainError::NoQuorum { .. })), "{step:?}");
    });
    let named = each_order([honest(), honest(), silent()], read, |step| {
        let Ok(Step::Range { numbers, logs, .. }) = step else {
            panic!("{step:?}");
        };
        assert_eq!((numbers, logs), (2..=41, vec![log()]));
    });
    assert_eq!(named, [2].into());
    each_order([honest(), honest(), young()], read, |step| {
        assert!(matches!(step, Ok(Step::Range { logs, .. }) if logs == [log()]));
    });
}

/// It names the true newest and final blocks, has all of them by hash, and says something else where it is asked by number.
fn two_faced(by_number: impl IntoIterator<Item = Block>) -> Scripted {
    let by_number = by_number.into_iter().map(|block| (block.number, block));
    Scripted {
        by_number: by_number.collect(),
        ..honest()
    }
}

fn walk(known: Known) -> Walk {
    Walk {
        number: 1,
        filter: LogFilter::default(),
        known,
        range_max: 40,
    }
}

/// Far below the final block a liar repeats the orphan on which a node has stopped: no final block has changed.
#[test]
fn an_orphan_far_below_raises_no_alarm() {
    let known = at(80);
    let orphan = block(80, 7, at(79).hash);
    let stopped = Scripted {
        blocks: chain(80, 7, 80),
        final_number: 30,
        ..Scripted::default()
    };
    // What follows it the liar does not have, so that there is no range.
    let liar = two_faced([orphan, block(81, 7, orphan.hash)]);
    let known = Known::Ring(vec![(known.number, known.hash)]);
    let walk = walk(known);
    for finality in [
        FinalityPolicy::Finalized,
        FinalityPolicy::Depth(TIP - FINAL),
    ] {
        let named = each_order(
            [honest(), liar.clone(), stopped.clone()],
            async |rpc| step_along(&client(rpc, finality), &walk).await,
            |step| assert!(step.is_err(), "{step:?}"),
        );
        assert!(!named.contains(&0) && !named.contains(&2), "{named:?}");
    }
}

/// A follower that begins at the final block begins at the one that is final, not at an orphan which it would leave again for a
/// newer one, with all that lies between.
#[test]
fn the_beginning_is_no_orphan() {
    let liar = two_faced([orphan()]);
    for start in [None, Some(ORPHAN)] {
        let walk = walk(Known::Nothing(start));
        let begin = async |rpc| step_along(&client(rpc, FinalityPolicy::Finalized), &walk).await;
        each_order([honest(), liar.clone(), behind()], begin, |step| {
            let Ok(Step::Path(path)) = step else {
                panic!("{step:?}");
            };
            let first = path.blocks.first().map(|(block, _)| *block);
            assert_eq!(first, Some(at(FINAL)));
        });
    }
}

/// A liar has come to the newest block, and says of its state what is not so; one that is honest is always a block behind. What
/// both honest ones have come to is read.
#[test]
fn a_liar_beside_a_node_a_block_behind_holds_no_newest_state_up() {
    let honest = || Scripted {
        nonce: 7,
        ..honest()
    };
    let slower = Scripted {
        blocks: chain(TIP - 1, 0, 0),
        ..honest()
    };
    for lie in [
        Scripted {
            nonce: 9,
            ..honest()
        },
        Scripted {
            has_lost_states: true,
            ..honest()
        },
    ] {
        let named = each_order(
            [honest(), lie, slower.clone()],
            async |rpc| rpc.nonce(Address::ZERO, BlockAt::Latest).await.unwrap(),
            |nonce| assert_eq!(nonce, 7),
        );
        assert!(!named.contains(&0) && !named.contains(&2), "{named:?}");
    }
}

/// Nor does a liar that knows nothing of the newest state beside a node that is behind, however far.
#[test]
fn a_liar_beside_a_node_far_behind_holds_no_newest_state_up() {
    let ancient = Scripted {
        blocks: chain(3, 0, 0),
        ..honest()
    };
    let silent = Scripted {
        has_lost_states: true,
        ..honest()
    };
    each_order(
        [honest(), silent, ancient],
        async |rpc| rpc.nonce(Address::ZERO, BlockAt::Latest).await,
        |nonce| assert!(nonce.is_ok(), "{nonce:?}"),
    );
}

/// Of the final state neither: the final block of the third is final, too.
#[test]
fn a_liar_beside_a_node_far_behind_holds_no_final_state_up() {
    let ancient = Scripted {
        blocks: chain(9, 0, 0),
        final_number: 3,
        ..honest()
    };
    let silent = Scripted {
        has_lost_states: true,
        ..honest()
    };
    let named = each_order(
        [honest(), silent, ancient.clone()],
        async |rpc| rpc.balance(Address::ZERO, BlockAt::Final).await,
        |balance| assert_eq!(balance.unwrap(), U256::from_be_bytes(at(3).hash.0)),
    );
    assert!(!named.contains(&0) && !named.contains(&2), "{named:?}");
    // Where two know the newest, an older one on which all agree does not count.
    each_order(
        [honest(), honest(), ancient],
        async |rpc| rpc.balance(Address::ZERO, BlockAt::Final).await,
        |balance| assert_eq!(balance.unwrap(), U256::from_be_bytes(at(FINAL).hash.0)),
    );
}

/// A liar that does not know a parent on the way back, and a node that has not come to it, hold no follower up: what follows
/// its tip two of them know.
#[test]
fn a_liar_beside_a_node_that_is_behind_holds_no_walk_up() {
    let mut gap = honest();
    for block in &mut gap.blocks {
        if block.number == TIP - 3 {
            block.hash = B256::ZERO;
        }
    }
    let behind = Scripted {
        blocks: chain(TIP - 5, 0, 0),
        ..honest()
    };
    let known = at(TIP - 9);
    let walk = walk(Known::Ring(vec![(known.number, known.hash)]));
    let named = each_order(
        [honest(), gap, behind],
        async |rpc| step_along(&client(rpc, FinalityPolicy::Finalized), &walk).await,
        |step| {
            let Ok(Step::Path(path)) = step else {
                panic!("{step:?}");
            };
            let blocks: Vec<Block> = path.blocks.iter().map(|(block, _)| *block).collect();
            assert_eq!(path.ancestor, Some((known.number, known.hash)));
            assert_eq!(blocks, [at(TIP - 8)]);
        },
    );
    assert!(!named.contains(&0) && !named.contains(&2), "{named:?}");
}

/// A walk that cannot go on, since nobody has a parent on its way, nor one of what follows its tip, has failed: it is no chain
/// without news.
#[test]
fn a_gap_in_the_chain_is_no_silence() {
    let mut gap = honest();
    for block in &mut gap.blocks {
        match block.number {
            number if number == TIP - 3 => block.hash = B256::ZERO,
            number if number == TIP - 8 => block.parent = B256::repeat_byte(9),
            _ => {}
        }
    }
    let known = at(TIP - 9);
    let walk = walk(Known::Ring(vec![(known.number, known.hash)]));
    each_order(
        [gap.clone(), gap.clone(), gap],
        async |rpc| step_along(&client(rpc, FinalityPolicy::Finalized), &walk).await,
        |step| assert!(matches!(step, Err(ChainError::NotFound { .. })), "{step:?}"),
    );
}
