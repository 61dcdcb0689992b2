//! The life of an intent: stages, crashes, fees, gaps and reorganisations.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use peaberry_chain::evm::{EvmRpc as _, Fees, SignedTransaction, Transaction};
use peaberry_chain::outbox::{Ask, Deferral, Outcome, Refusal, Stage, Submission};
use peaberry_chain::primitives::{Bytes, U256, keccak256};
use peaberry_chain::{EvmAddress, TxId};

use crate::ground::{Fate, Gate, Ground, end, eventually, sent, until, until_included};
use crate::node::{GWEI, fees, on_both};

on_both! {
    Ground::patient =>
    a_payment_is_told_stage_by_stage_until_it_is_final
    a_crash_between_journal_and_broadcast_leads_to_one_transaction
    a_lost_answer_is_no_second_payment
    concurrent_senders_share_an_account
    what_waits_too_long_is_offered_for_more
    a_rival_that_is_far_dearer_is_soon_outbid
    a_cap_defers_and_never_drops
    a_gap_between_nonces_is_filled
    what_is_on_its_way_can_be_called_off
    a_reorganisation_loses_no_payment
    a_foreign_transaction_that_takes_the_nonce_displaces_and_does_not_lose
    what_does_not_fit_is_refused
}

fn shop() -> EvmAddress {
    EvmAddress::repeat_byte(9)
}

/// An intent passes through its stages in order, and is over only when its block is final.
async fn a_payment_is_told_stage_by_stage_until_it_is_final(ground: Ground) {
    ground.node.mine_each(true).await;
    let life = ground.live_well().await;
    let mut stages = life
        .outbox
        .submit(ground.payment("order 1", shop()))
        .await
        .unwrap();
    let seen = until_included(&mut stages).await;
    let [
        Stage::Accepted,
        Stage::Signed {
            nonce: Some(0),
            transaction,
        },
        Stage::Sent { transaction: sent },
        Stage::Included(inclusion),
    ] = &seen[..]
    else {
        panic!("another life: {seen:?}");
    };
    assert_eq!(
        (transaction, transaction),
        (sent, &inclusion.transaction),
        "one transaction"
    );
    assert!(inclusion.is_success);
    ground.settle().await;
    let outcome = end(&ground, &mut stages).await;
    assert_eq!(outcome, Outcome::Final(inclusion.clone()));
    assert_eq!(ground.payments_to(shop()).await, 1);
}

/// The bytes of a process that died before it sent them are sent by the next one; a retry is the same intent.
async fn a_crash_between_journal_and_broadcast_leads_to_one_transaction(ground: Ground) {
    ground.node.mine_each(true).await;
    let payment = || ground.payment("order 1", shop());
    let (gate, seen) = Gate::new(ground.client().await, |ask| match ask {
        Ask::Broadcast { .. } => Fate::Kept,
        _ => Fate::Done,
    });
    let life = ground.live(gate);
    let first = life.outbox.submit(payment()).await.unwrap();
    seen.kept().await;
    drop(life);
    assert_eq!(ground.payments_to(shop()).await, 0, "nothing has left yet");

    let life = ground.live_well().await;
    let mut again = life.outbox.submit(payment()).await.unwrap();
    assert_eq!(again.entry(), first.entry());
    let Outcome::Final(inclusion) = end(&ground, &mut again).await else {
        panic!("it is paid");
    };
    let signed = seen.broadcasts();
    assert_eq!(
        inclusion.transaction,
        TxId::Evm(keccak256(&signed[0])),
        "the very bytes that the first process had signed"
    );
    assert_eq!(ground.payments_to(shop()).await, 1);
    assert_eq!(ground.nonce().await, 1);
    // Also when all is over a retry is known, and another intent of the same name is refused.
    let mut over = life.outbox.submit(payment()).await.unwrap();
    assert_eq!(over.ended().await, Some(Outcome::Final(inclusion)));
    let other = ground.payment("order 1", EvmAddress::repeat_byte(8));
    let refusal = life.outbox.submit(other).await.unwrap_err();
    assert!(matches!(refusal, Refusal::KeyTaken { .. }), "{refusal}");
}

/// An answer that is lost says nothing: the same bytes are offered again, and no others.
async fn a_lost_answer_is_no_second_payment(ground: Ground) {
    ground.node.mine_each(true).await;
    let (gate, seen) = Gate::new(ground.client().await, |ask| match ask {
        Ask::Broadcast { .. } => Fate::AnswerLost,
        _ => Fate::Done,
    });
    let life = ground.live(gate);
    let payment = ground.payment("order 1", shop());
    let mut stages = life.outbox.submit(payment).await.unwrap();
    assert!(matches!(end(&ground, &mut stages).await, Outcome::Final(_)));
    assert_eq!(ground.payments_to(shop()).await, 1);
    let mut broadcasts = seen.broadcasts();
    broadcasts.dedup();
    assert_eq!(broadcasts.len(), 1, "one signature");
}

/// Forty intents of many callers at once, all of one account: as many nonces, none left out.
async fn concurrent_senders_share_an_account(ground: Ground) {
    ground.node.mine_each(true).await;
    let life = ground.live_well().await;
    let waiting = (0..40).map(|order| {
        let outbox = life.outbox.clone();
        let payment = ground.payment(&format!("order {order}"), shop());
        tokio::spawn(async move { outbox.submit(payment).await.unwrap() })
    });
    let mut all = Vec::new();
    for task in waiting.collect::<Vec<_>>() {
        all.push(task.await.unwrap());
    }
    for stages in &mut all {
        assert!(matches!(end(&ground, stages).await, Outcome::Final(_)));
    }
    assert_eq!(ground.payments_to(shop()).await, 40);
    assert_eq!(ground.nonce().await, 40);
}

/// What waits too long is offered for an eighth more, under the same nonce; one of the two is included.
async fn what_waits_too_long_is_offered_for_more(ground: Ground) {
    let (gate, seen) = Gate::new(ground.client().await, |_| Fate::Done);
    let life = ground.live(gate);
    let mut stages = sent(&life, ground.payment("order 1", shop())).await;
    let first = ground.node.waiting().await;
    for _ in 0..3 {
        ground.mine_empty(&seen).await;
    }
    let second = ground.replaced(&first).await;
    let replacing = ground.node.rpc.transaction(second[0]).await.unwrap();
    assert_eq!(replacing.map(|seen| seen.nonce), Some(0), "the same nonce");
    assert!(matches!(
        end(&ground, &mut stages).await,
        Outcome::Final(inclusion) if inclusion.transaction == TxId::Evm(second[0])
    ));
    assert_eq!(ground.payments_to(shop()).await, 1);
}

/// A node that holds another wallet's transaction with the nonce does not say what would be enough: the offers double.
async fn a_rival_that_is_far_dearer_is_soon_outbid(ground: Ground) {
    let (gate, seen) = Gate::new(ground.client().await, |ask| match ask {
        Ask::Broadcast { .. } => Fate::Kept,
        _ => Fate::Done,
    });
    let life = ground.live(gate);
    let payment = ground.payment("order 1", shop());
    life.outbox.submit(payment.clone()).await.unwrap();
    seen.kept().await;
    drop(life);
    let rival = Transaction {
        chain: ground.id(),
        nonce: 0,
        gas_limit: 21_000,
        fees: fees(100 * GWEI, 100 * GWEI),
        to: Some(EvmAddress::repeat_byte(8)),
        value: U256::ONE,
        data: Bytes::new(),
    };
    let rival = rival.sign(&ground.key).await.unwrap();
    ground.node.rpc.broadcast(rival.raw()).await.unwrap();

    let looks = Arc::new(AtomicUsize::new(0));
    let counted = looks.clone();
    let (gate, seen) = Gate::new(ground.client().await, move |ask| {
        if matches!(ask, Ask::Look { .. }) {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        Fate::Done
    });
    let life = ground.live(gate);
    let mut stages = life.outbox.submit(payment).await.unwrap();
    eventually("the bytes are offered", async || {
        (!seen.broadcasts().is_empty()).then_some(())
    })
    .await;
    // From now on blocks count.
    let before = looks.load(Ordering::SeqCst);
    eventually("the chain is looked at", async || {
        (looks.load(Ordering::SeqCst) > before + 2).then_some(())
    })
    .await;
    for _ in 0..3 {
        ground.mine_empty(&seen).await;
    }
    ground.replaced(&[rival.hash()]).await;
    let offers: BTreeSet<Bytes> = seen.broadcasts().into_iter().collect();
    assert!(offers.len() <= 14, "{} offers", offers.len());
    assert!(matches!(end(&ground, &mut stages).await, Outcome::Final(_)));
    assert_eq!(ground.payments_to(shop()).await, 1);
}

/// At the cap an intent is deferred and not dropped; when the market comes down it is carried out.
async fn a_cap_defers_and_never_drops(ground: Ground) {
    let life = ground.live_well().await;
    let fees = ground.client().await.fees().await.unwrap();
    let Fees::Eip1559 { tip_max, .. } = fees else {
        panic!("a development chain has base fees");
    };
    // Less than a block of the present base fee takes.
    let payment = ground
        .payment("order 1", shop())
        .with_fee_cap(500_000_000 + tip_max);
    let mut stages = life.outbox.submit(payment).await.unwrap();
    // A node takes it and includes nothing of the kind, or does not even take it.
    let mut seen = until(&mut stages, |stage| {
        matches!(stage, Stage::Sent { .. } | Stage::Deferred { .. })
    })
    .await;
    // Empty blocks make gas cheaper, by an eighth each.
    while !matches!(seen.last(), Some(Stage::Ended(_))) {
        ground.node.mine().await;
        let next = tokio::time::timeout(Duration::from_millis(50), stages.next());
        if let Ok(Some(stage)) = next.await {
            seen.push(stage);
        }
    }
    let reason = Deferral::FeeCap;
    assert!(seen.contains(&Stage::Deferred { reason }), "{seen:?}");
    assert!(matches!(seen.last(), Some(Stage::Ended(Outcome::Final(_)))));
    assert_eq!(ground.payments_to(shop()).await, 1);
}

/// A nonce that its intent has given up is taken by a transfer of nothing, so that those above it are included.
async fn a_gap_between_nonces_is_filled(ground: Ground) {
    let keeps = AtomicBool::new(true);
    // The signer is slow with the first payment: it is called off while the second is on its way.
    let (gate, seen) = Gate::new(ground.client().await, move |ask| match ask {
        Ask::Sign { transaction, .. }
            if transaction.nonce == 0 && keeps.swap(false, Ordering::SeqCst) =>
        {
            Fate::Kept
        }
        _ => Fate::Done,
    });
    let life = ground.live(gate);
    let payment = ground.payment("order 1", shop());
    let mut first = life.outbox.submit(payment).await.unwrap();
    seen.kept().await;
    let mut second = sent(&life, ground.payment("order 2", shop())).await;
    life.outbox.cancel(first.entry()).unwrap();
    assert_eq!(first.ended().await, Some(Outcome::Cancelled));
    assert!(matches!(end(&ground, &mut second).await, Outcome::Final(_)));
    assert_eq!(ground.payments_to(shop()).await, 1);
    let nonce = ground.nonce().await;
    assert_eq!(nonce, 2, "nothing was paid with the first nonce");
}

/// What is on its way can be called off by a transfer of nothing with its nonce: either happens, never both.
async fn what_is_on_its_way_can_be_called_off(ground: Ground) {
    let life = ground.live_well().await;
    let mut stages = sent(&life, ground.payment("order 1", shop())).await;
    let first = ground.node.waiting().await;
    life.outbox.cancel(stages.entry()).unwrap();
    ground.replaced(&first).await;
    assert_eq!(end(&ground, &mut stages).await, Outcome::Cancelled);
    assert_eq!(ground.payments_to(shop()).await, 0);
}

/// A reorganisation that loses the transaction does not lose the payment: the same bytes are sent again.
async fn a_reorganisation_loses_no_payment(ground: Ground) {
    ground.node.mine_each(true).await;
    let life = ground.live_well().await;
    let mut all = Vec::new();
    for order in 1..=3 {
        let payment = ground.payment(&format!("order {order}"), shop());
        let mut stages = life.outbox.submit(payment).await.unwrap();
        let seen = until_included(&mut stages).await;
        let Some(Stage::Included(inclusion)) = seen.last() else {
            panic!("it is included");
        };
        all.push((stages, inclusion.clone()));
    }
    ground.node.reorg(3).await;
    assert_eq!(ground.payments_to(shop()).await, 0);
    for (stages, before) in &mut all {
        let seen = until_included(stages).await;
        assert!(seen.contains(&Stage::Reorganised), "{seen:?}");
        let Outcome::Final(after) = end(&ground, stages).await else {
            panic!("it is paid");
        };
        assert_eq!(before.transaction, after.transaction, "the same bytes");
        assert_ne!(before.block_hash, after.block_hash, "another block");
    }
    assert_eq!(ground.payments_to(shop()).await, 3);
}

/// The same while the process is down, and with a foreign transaction that takes the nonce for good.
async fn a_foreign_transaction_that_takes_the_nonce_displaces_and_does_not_lose(ground: Ground) {
    ground.node.mine_each(true).await;
    let life = ground.live_well().await;
    let payment = || ground.payment("order 1", shop());
    let mut stages = life.outbox.submit(payment()).await.unwrap();
    until_included(&mut stages).await;
    drop(life);
    ground.node.mine_each(false).await;
    ground.node.rollback(1).await;
    assert_eq!(ground.payments_to(shop()).await, 0);
    let client = ground.client().await;
    let mut foreign = client
        .prepare(&ground.payment("x", EvmAddress::repeat_byte(8)).intent)
        .await
        .unwrap();
    foreign.nonce = 0;
    let signed: SignedTransaction = client.sign(ground.account(), &foreign).await.unwrap();
    ground.node.rpc.broadcast(signed.raw()).await.unwrap();
    ground.node.mine().await;
    ground.settle().await;
    ground.node.mine_each(true).await;

    let life = ground.live_well().await;
    let mut stages = life.outbox.submit(payment()).await.unwrap();
    until(&mut stages, |stage| *stage == Stage::Displaced).await;
    assert!(matches!(end(&ground, &mut stages).await, Outcome::Final(_)));
    assert_eq!(ground.payments_to(shop()).await, 1);
}

/// What does not fit the chain is refused before anything is journalled.
async fn what_does_not_fit_is_refused(ground: Ground) {
    ground.node.mine_each(true).await;
    let life = ground.live_well().await;
    let elsewhere = Submission {
        chain: peaberry_chain::ChainId::POLYGON,
        ..ground.payment("order 1", shop())
    };
    let refusal = life.outbox.submit(elsewhere).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Invalid(_)), "{refusal}");
    let fits = ground.payment("order 1", shop());
    assert!(life.outbox.submit(fits).await.is_ok(), "the key is free");
}
