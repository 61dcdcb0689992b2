//! What a look concludes from what nodes say.

use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};
use futures_util::FutureExt;

use crate::evm::scripted::{CHAIN, Scripted, chain};
use crate::evm::{EvmClient, EvmNetwork, EvmView, QuorumRpc, Receipt};
use crate::outbox::record::EntryId;
use crate::outbox::{AccountView, Ask, Found, Performer, Place, Sight, Wanted};
use crate::{Block, ChainError};

const FIRST: B256 = B256::repeat_byte(1);
const SECOND: B256 = B256::repeat_byte(2);
const FINAL: u64 = 8;
const TIP: u64 = 16;
/// A node that has come farther may have thrown away what is looked for.
const NEWEST_MAX: u64 = 20;

/// A node that has all blocks, of whose final ones the last holds this transaction, if any.
fn node(paid: Option<B256>) -> Scripted {
    let blocks = chain(TIP, 0, 0);
    let last = *blocks.get(usize::try_from(FINAL).unwrap()).unwrap();
    let receipt = |hash| Receipt {
        transaction: hash,
        is_success: true,
        block_number: last.number,
        block_hash: last.hash,
        index: 0,
        from: Address::ZERO,
        to: None,
        contract: None,
        gas_used: 21_000,
        gas_price: U256::from(1),
        logs: Vec::new(),
    };
    Scripted {
        blocks,
        final_number: FINAL,
        nonce: 1,
        receipts: paid.map(|hash| (hash, receipt(hash))).into_iter().collect(),
        ..Scripted::default()
    }
}

/// A node that lacks the final block.
fn behind() -> Scripted {
    Scripted {
        blocks: chain(FINAL - 1, 0, 0),
        final_number: 0,
        nonce: 0,
        ..Scripted::default()
    }
}

fn quorum(nodes: [Scripted; 3]) -> Arc<dyn EvmView> {
    let nodes = nodes.into_iter().enumerate().map(|(index, node)| {
        let node: Arc<dyn EvmView> = Arc::new(node);
        (index.to_string(), node)
    });
    Arc::new(QuorumRpc::new(nodes.collect(), 2))
}

/// A look at these entries, each by its attempts: all have nonce 0.
fn look(rpc: Arc<dyn EvmView>, wanted: &[&[B256]]) -> Result<AccountView, ChainError> {
    look_again(rpc, wanted, &[])
}

/// The same where these attempts are known to lack a receipt.
fn look_again(
    rpc: Arc<dyn EvmView>,
    wanted: &[&[B256]],
    lacking: &[B256],
) -> Result<AccountView, ChainError> {
    let client = EvmClient::connect(rpc, EvmNetwork::generic(CHAIN)).now_or_never();
    let wanted = wanted.iter().enumerate().map(|(index, attempts)| Wanted {
        entry: EntryId(index as u64),
        nonce: 0,
        attempts: attempts.to_vec(),
        newest_max: NEWEST_MAX,
        lacking: lacking.iter().copied().collect(),
    });
    let ask = Ask::Look {
        account: Address::ZERO,
        wanted: wanted.collect(),
        blocks: Vec::new(),
        asks_final_nonce: true,
    };
    let client = client.unwrap().unwrap();
    match client.perform(ask).now_or_never().unwrap()? {
        Found::Account(view) => Ok(view),
        other => panic!("{other:?}"),
    }
}

fn sights(view: &AccountView) -> Vec<&Sight> {
    view.sights.iter().map(|(_, sight)| sight).collect()
}

/// One of three lies that there is no receipt, and one has not come to the final block: of what is included nothing is
/// missing. What nobody has who has come there is.
#[test]
fn a_liar_and_a_node_that_is_behind_make_nothing_missing() {
    for turned in 0..3 {
        let told = |paid| {
            let mut nodes = [node(paid), node(None), behind()];
            nodes.rotate_left(turned);
            let view = look(quorum(nodes), &[&[FIRST]]).unwrap();
            assert_eq!(view.final_nonce, Some(1));
            view
        };
        assert_eq!(sights(&told(Some(FIRST))), [&Sight::Undecided]);
        assert_eq!(sights(&told(None)), [&Sight::Missing]);
    }
}

/// One of three lies that there is no receipt, one has thrown it away, and one that has it is behind: their newest block by
/// quorum is its own, and young. Who may have forgotten has no vote all the same, and one who cannot have has.
#[test]
fn who_may_have_forgotten_is_no_witness_whatever_the_others_have_come_to() {
    for (tip, sight) in [
        (NEWEST_MAX + 1, Sight::Undecided),
        (NEWEST_MAX, Sight::Missing),
    ] {
        let ahead = Scripted {
            blocks: chain(tip, 0, 0),
            ..node(None)
        };
        for turned in 0..3 {
            let mut nodes = [node(Some(FIRST)), node(None), ahead.clone()];
            nodes.rotate_left(turned);
            let view = look(quorum(nodes), &[&[FIRST]]).unwrap();
            assert_eq!((view.latest_number, view.final_nonce), (TIP, Some(1)));
            assert_eq!(sights(&view), [&sight]);
        }
    }
}

/// A node that refuses what it has thrown away, in words that nobody knows, holds no other entry of the account up; also where
/// a liar says the same.
#[test]
fn a_refusal_in_unknown_words_holds_up_no_other_entry() {
    let pruned = |node: Scripted| Scripted {
        refuses_about: [SECOND].into(),
        ..node
    };
    let alone: Arc<dyn EvmView> = Arc::new(pruned(node(Some(FIRST))));
    let nodes = [
        node(Some(FIRST)),
        pruned(node(Some(FIRST))),
        pruned(node(Some(FIRST))),
    ];
    for rpc in [alone, quorum(nodes)] {
        let view = look(rpc, &[&[SECOND], &[FIRST]]).unwrap();
        assert!(
            matches!(sights(&view)[..], [Sight::Included { .. }]),
            "{:?}",
            view.sights
        );
        assert!(
            matches!(view.failures[..], [(EntryId(0), _)]),
            "{:?}",
            view.failures
        );
    }
}

/// Where most have come so far that all may have forgotten, that is for the outbox to say.
#[test]
fn what_all_may_have_forgotten_is_missing() {
    let late = Scripted {
        blocks: chain(NEWEST_MAX + 1, 0, 0),
        ..node(None)
    };
    let view = look(Arc::new(late), &[&[FIRST]]).unwrap();
    assert_eq!(view.latest_number, NEWEST_MAX + 1);
    assert_eq!(sights(&view), [&Sight::Missing]);
}

/// A nonce that is used at the newest block only is not used for good: nothing is missing yet.
#[test]
fn nothing_is_missing_above_the_final_block() {
    let mut young = node(None);
    young.final_nonce = Some(0);
    let view = look(Arc::new(young), &[&[FIRST]]).unwrap();
    assert_eq!(view.final_nonce, Some(0));
    assert_eq!(sights(&view), [&Sight::Ahead]);
}

/// Where no node has the state of the final block nobody knows whether it is; nor where one of three has thrown it away, and
/// one lies that it has. It is not taken for a nonce that is free.
#[test]
fn what_no_node_has_the_state_for_is_undecided() {
    let mut pruned = node(None);
    pruned.has_no_state = true;
    let nodes = quorum([node(None), pruned.clone(), pruned.clone()]);
    for rpc in [Arc::new(pruned), nodes] {
        let view = look(rpc, &[&[FIRST]]).unwrap();
        assert_eq!(view.final_nonce, None);
        assert_eq!(sights(&view), [&Sight::Undecided]);
    }
}

/// Where one node keeps no state of the final block and one lies about it, its nonce is not known, and all else is.
#[test]
fn a_liar_and_a_pruned_node_hold_no_look_up() {
    let mut pruned = node(Some(FIRST));
    pruned.has_no_state = true;
    let mut liar = node(Some(FIRST));
    liar.final_nonce = Some(7);
    let view = look(quorum([node(Some(FIRST)), pruned, liar]), &[&[FIRST]]).unwrap();
    assert_eq!(view.final_nonce, None);
    assert!(matches!(sights(&view)[..], [Sight::Included { .. }]));
}

/// A receipt that cannot be asked for now leaves its own entry open, and no other; an older attempt may be there all the same.
#[test]
fn one_lost_answer_is_no_other_entrys() {
    let mut silent = node(Some(FIRST));
    silent.silent_about.insert(SECOND);
    let view = look(Arc::new(silent), &[&[SECOND], &[FIRST], &[FIRST, SECOND]]).unwrap();
    let entries: Vec<u64> = view.sights.iter().map(|(id, _)| id.0).collect();
    assert_eq!(entries, [1, 2]);
    assert!(
        sights(&view)
            .iter()
            .all(|sight| matches!(sight, Sight::Included { .. }))
    );
    let failed: Vec<u64> = view.failures.iter().map(|(id, _)| id.0).collect();
    assert_eq!(failed, [0]);
}

/// One of three says of everything that there may be a receipt, and one does not answer: that is trouble, and not a nonce that
/// is free. What has been found of one attempt is not lost with an answer about another.
#[test]
fn an_answer_that_is_lost_beside_a_liar_is_trouble() {
    // It is on another fork, or says so.
    let mut liar = node(None);
    liar.blocks = chain(TIP, 1, FINAL);
    let told = |silent_about: &[B256], lacking: &[B256]| {
        let mut silent = node(None);
        silent.silent_about.extend(silent_about);
        let nodes = quorum([node(None), liar.clone(), silent]);
        look_again(nodes, &[&[FIRST, SECOND]], lacking).unwrap()
    };
    let missing = told(&[], &[]);
    assert_eq!(sights(&missing), [&Sight::Missing]);

    let view = told(&[SECOND], &[]);
    assert!(view.sights.is_empty(), "{:?}", view.sights);
    assert!(matches!(
        view.failures[..],
        [(EntryId(0), ChainError::NoQuorum { .. })]
    ));
    assert_eq!(view.lacking, [(EntryId(0), vec![FIRST])]);
    // The other answer is lost the next time.
    assert_eq!(sights(&told(&[FIRST], &[FIRST])), [&Sight::Missing]);
}

/// Nor is it a word on a receipt that it is missing when the whole chain is beyond the receipts' time: who may have forgotten
/// says so, too, and what is said then must not be believed in a look in which nobody may.
#[test]
fn what_is_lacking_out_of_time_is_asked_for_again() {
    let told = |tip, lacking: &[B256]| {
        let blocks = chain(tip, 0, 0);
        let forgetful = Scripted {
            blocks,
            ..node(None)
        };
        let mut silent = forgetful.clone();
        silent.silent_about.insert(SECOND);
        let nodes = quorum([forgetful, silent.clone(), silent]);
        look_again(nodes, &[&[FIRST, SECOND]], lacking).unwrap()
    };
    let view = told(NEWEST_MAX, &[]);
    assert_eq!(view.lacking, [(EntryId(0), vec![FIRST])]);
    let view = told(NEWEST_MAX + 1, &[]);
    assert_eq!(view.failures.len(), 1);
    assert!(
        view.lacking.iter().all(|(_, lacking)| lacking.is_empty()),
        "{:?}",
        view.lacking
    );
    // Nor is what was said in time a reason to ask for less.
    let view = told(NEWEST_MAX + 1, &[SECOND]);
    assert!(view.sights.is_empty(), "{:?}", view.sights);
}

/// Nor is it a nonce that is free when nobody knows whether it is used at the final block: one node has no state of it, and one
/// lies.
#[test]
fn a_final_nonce_that_nobody_knows_is_trouble_of_what_is_missing() {
    let mut pruned = node(None);
    pruned.has_no_state = true;
    let mut liar = node(None);
    liar.final_nonce = Some(7);
    let view = look(quorum([node(None), pruned, liar]), &[&[FIRST]]).unwrap();
    assert_eq!((view.final_nonce, view.sights.len()), (None, 0));
    assert!(matches!(
        view.failures[..],
        [(EntryId(0), ChainError::NoQuorum { .. })]
    ));
}

/// The final block's branch is asked for by number; where a node is on another fork there, the parents lead on.
#[test]
fn another_forks_blocks_do_not_hide_the_final_blocks_branch() {
    let fork = chain(FINAL, 1, 3);
    let on = |number: usize, blocks: &[Block]| blocks.get(number).copied().unwrap();
    for forked in 3..FINAL {
        let node = Scripted {
            by_number: [(forked, on(usize::try_from(forked).unwrap(), &fork))].into(),
            ..node(None)
        };
        let own = node.blocks.clone();
        let named = |blocks: &[Block], number| (number as u64, on(number, blocks).hash);
        let client = EvmClient::connect(Arc::new(node), EvmNetwork::generic(CHAIN)).now_or_never();
        let ask = Ask::Look {
            account: Address::ZERO,
            wanted: Vec::new(),
            blocks: vec![named(&own, 2), named(&own, 5), named(&fork, 5)],
            asks_final_nonce: false,
        };
        let found = client.unwrap().unwrap().perform(ask).now_or_never();
        let Found::Account(view) = found.unwrap().unwrap() else {
            panic!("it was a look");
        };
        assert_eq!(view.places, [Place::Final, Place::Final, Place::Gone]);
    }
}
