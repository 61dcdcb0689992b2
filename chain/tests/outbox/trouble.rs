//! Nodes that are behind, and nodes that do not answer for long: what is told of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use peaberry_chain::outbox::{Ask, ChainRules, IdempotencyKey, Outcome, Stage, Submission};
use peaberry_chain::{
    Address, Amount, Asset, ChainError, EvmAddress, Intent, Payload, Signature, Signer,
};

use crate::ground::{Fate, Gate, Ground, end, eventually, rules, sent, until, until_included};
use crate::node::{Lagging, on_both};

on_both! {
    Ground::patient =>
    a_node_that_is_behind_reorganises_nothing
    a_chain_that_has_become_shorter_is_believed_in_the_end
    a_silence_is_told_once_and_its_end
    a_lost_answer_about_what_is_included_is_no_stall
    a_signer_that_hangs_holds_up_no_other_account
}

const SHOP: EvmAddress = EvmAddress::repeat_byte(9);

/// Half of the answers come from a node that lacks the newest blocks: what is included there is not undone.
async fn a_node_that_is_behind_reorganises_nothing(ground: Ground) {
    let balancer = Lagging::new(Arc::new(ground.node.rpc.clone()));
    let life = ground.live(ground.client_over(balancer.clone()).await);
    let mut all = Vec::new();
    for order in 0..3 {
        let payment = ground.payment(&format!("order {order}"), SHOP);
        let mut stages = sent(&life, payment).await;
        ground.node.mine().await;
        until_included(&mut stages).await;
        all.push(stages);
    }
    ground.node.mine_many(3).await;
    for blocks in [1, 4, 6] {
        balancer.is_behind(blocks);
        let before = balancer.late_answers();
        eventually("it answers late", async || {
            (balancer.late_answers() > before + 40).then_some(())
        })
        .await;
    }
    for stages in &mut all {
        let mut told = Vec::new();
        let ending = async {
            while let Some(stage) = stages.next().await {
                told.push(stage);
            }
        };
        // All is final in the end, whoever answers.
        ground.settle().await;
        tokio::time::timeout(crate::ground::PATIENCE, ending)
            .await
            .unwrap_or_else(|_late| panic!("it does not end"));
        assert!(
            matches!(told[..], [Stage::Ended(Outcome::Final(_))]),
            "{told:?}"
        );
    }
    assert_eq!(ground.payments_to(SHOP).await, 3);
}

/// Where blocks are undone and none come in their place, that is seen by their staying away.
async fn a_chain_that_has_become_shorter_is_believed_in_the_end(ground: Ground) {
    let life = ground.live_well().await;
    let mut stages = sent(&life, ground.payment("order 1", SHOP)).await;
    ground.node.mine().await;
    until_included(&mut stages).await;
    ground.node.rollback(1).await;
    until(&mut stages, |stage| *stage == Stage::Reorganised).await;
    assert!(matches!(end(&ground, &mut stages).await, Outcome::Final(_)));
    assert_eq!(ground.payments_to(SHOP).await, 1);
}

/// A node that fails for long is told of once, with its reason, and once it answers where things stand.
async fn a_silence_is_told_once_and_its_end(ground: Ground) {
    let is_silent = Arc::new(AtomicBool::new(false));
    let silence = is_silent.clone();
    let (gate, _) = Gate::new(ground.client().await, move |_: &Ask| {
        match silence.load(Ordering::SeqCst) {
            true => Fate::AnswerLost,
            false => Fate::Done,
        }
    });
    let life = ground.live_by(
        gate,
        ChainRules {
            stalled_after: Duration::from_millis(150),
            ..rules()
        },
    );
    let mut stages = sent(&life, ground.payment("order 1", SHOP)).await;
    is_silent.store(true, Ordering::SeqCst);
    let is_stalled = |stage: &Stage| matches!(stage, Stage::Stalled { .. });
    let told = until(&mut stages, is_stalled).await;
    let Some(Stage::Stalled { lasts, why }) = told.last() else {
        panic!("{told:?}");
    };
    assert!(*lasts >= Duration::from_millis(150));
    assert!(why.contains("no answer"), "{why}");
    // Whoever comes now is told, too.
    let mut second = life
        .outbox
        .submit(ground.payment("order 2", SHOP))
        .await
        .unwrap();
    until(&mut second, is_stalled).await;

    is_silent.store(false, Ordering::SeqCst);
    let told = until(&mut stages, |stage| !is_stalled(stage)).await;
    assert!(matches!(told[..], [Stage::Sent { .. }]), "{told:?}");
    for stages in [&mut stages, &mut second] {
        assert!(matches!(end(&ground, stages).await, Outcome::Final(_)));
    }
    assert_eq!(ground.payments_to(SHOP).await, 2);
}

/// The answer to the broadcast is lost, and the chain has the transaction: nobody asks again, and nothing stands still.
async fn a_lost_answer_about_what_is_included_is_no_stall(ground: Ground) {
    let looks = Arc::new(AtomicUsize::new(0));
    let counted = looks.clone();
    let (gate, _) = Gate::new(ground.client().await, move |ask: &Ask| match ask {
        Ask::Broadcast { .. } => Fate::AnswerLost,
        Ask::Look { .. } => {
            counted.fetch_add(1, Ordering::SeqCst);
            Fate::Done
        }
        _ => Fate::Done,
    });
    let life = ground.live_by(
        gate,
        ChainRules {
            stalled_after: Duration::from_millis(100),
            // So long that what is lost is not sent again before it is included.
            retry_after: Duration::from_secs(60),
            ..rules()
        },
    );
    let payment = ground.payment("order 1", SHOP);
    let mut stages = life.outbox.submit(payment.clone()).await.unwrap();
    eventually("the node has it", async || {
        (ground.node.waiting().await.len() == 1).then_some(())
    })
    .await;
    ground.node.mine().await;
    until_included(&mut stages).await;
    // More than long enough.
    let before = looks.load(Ordering::SeqCst);
    eventually("it is looked at", async || {
        (looks.load(Ordering::SeqCst) > before + 20).then_some(())
    })
    .await;
    let mut again = life.outbox.submit(payment).await.unwrap();
    ground.settle().await;
    let mut told = Vec::new();
    for stages in [&mut again, &mut stages] {
        while let Some(stage) = stages.next().await {
            told.push(stage);
        }
    }
    let is_stalled = |stage: &Stage| matches!(stage, Stage::Stalled { .. });
    assert!(!told.iter().any(is_stalled), "{told:?}");
    assert_eq!(ground.payments_to(SHOP).await, 1);
}

/// A signer behind a service that has gone silent.
struct Silent;

const SILENT: EvmAddress = EvmAddress::repeat_byte(5);

#[async_trait]
impl Signer for Silent {
    fn address(&self) -> Address {
        SILENT.into()
    }

    async fn sign(&self, _payload: Payload<'_>) -> Result<Signature, ChainError> {
        std::future::pending().await
    }
}

/// It is asked again and again, and told of; another account's intents are carried out.
async fn a_signer_that_hangs_holds_up_no_other_account(ground: Ground) {
    let client = ground.client().await.with_signer(Arc::new(Silent));
    let client = client
        .unwrap()
        .with_signed_within(Duration::from_millis(50));
    let life = ground.live_by(
        client,
        ChainRules {
            stalled_after: Duration::from_millis(150),
            ..rules()
        },
    );
    let intent = Intent::Transfer {
        from: SILENT.into(),
        to: SHOP.into(),
        asset: Asset::Native,
        amount: Amount::wei(7),
    };
    let key = IdempotencyKey::new("unsigned").unwrap();
    let unsigned = Submission::new(key, ground.id(), intent).with_gas_limit(21_000);
    let mut unsigned = life.outbox.submit(unsigned).await.unwrap();
    let mut paid = sent(&life, ground.payment("order 1", SHOP)).await;
    let is_stalled = |stage: &Stage| matches!(stage, Stage::Stalled { .. });
    let told = until(&mut unsigned, is_stalled).await;
    let Some(Stage::Stalled { why, .. }) = told.last() else {
        panic!("{told:?}");
    };
    assert!(why.contains("a request to sign"), "{why}");
    assert!(matches!(end(&ground, &mut paid).await, Outcome::Final(_)));
    // Nothing was signed, so that it can be called off at once.
    life.outbox.cancel(unsigned.entry()).unwrap();
    assert_eq!(unsigned.ended().await, Some(Outcome::Cancelled));
    assert_eq!(ground.payments_to(SHOP).await, 1);
}
