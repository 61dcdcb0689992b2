//! Nodes that are behind, and nodes that do not answer for long: what is told of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use peaberry_chain::EvmAddress;
use peaberry_chain::outbox::{Ask, ChainRules, Outcome, Stage};

use crate::ground::{Fate, Gate, Ground, end, eventually, rules, sent, until, until_included};
use crate::node::{Lagging, on_both};

on_both! {
    Ground::patient =>
    a_node_that_is_behind_reorganises_nothing
    a_chain_that_has_become_shorter_is_believed_in_the_end
    a_silence_is_told_once_and_its_end
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
