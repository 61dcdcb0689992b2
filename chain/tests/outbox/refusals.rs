//! Intents that cannot be carried out now, or never.

use std::sync::Arc;

use async_trait::async_trait;
use peaberry_chain::evm::EvmClient;
use peaberry_chain::outbox::{
    Ask, Deferral, Found, IdempotencyKey, Outcome, Performer, Stage, Submission,
};
use peaberry_chain::primitives::Bytes;
use peaberry_chain::wallet::EvmKey;
use peaberry_chain::{Amount, Asset, ChainError, ChainId, EvmAddress, Intent, Revert};

use crate::ground::{Ground, end, until};
use crate::node::on_both;

on_both! {
    Ground::eager =>
    an_account_without_money_is_deferred_until_it_has_some
    a_revert_is_told_with_its_reason_and_nothing_is_sent
    a_transaction_that_every_node_refuses_blocks_no_other
    an_intent_without_signer_waits_and_can_be_called_off
}

fn shop() -> EvmAddress {
    EvmAddress::repeat_byte(9)
}

/// A constructor that reverts with Solidity's `Error(string)`.
fn code_that_says(reason: &str) -> Vec<u8> {
    let mut error = vec![0x08, 0xc3, 0x79, 0xa0];
    let mut word = |number: usize| {
        let mut word = [0; 32];
        word[31] = u8::try_from(number).unwrap();
        error.extend(word);
    };
    word(32);
    word(reason.len());
    let mut text = reason.as_bytes().to_vec();
    text.resize(32, 0);
    error.extend(text);
    let length = u8::try_from(error.len()).unwrap();
    // Copies what stands behind these twelve bytes to memory, and reverts with it.
    let mut code = vec![
        0x60, length, 0x60, 12, 0x60, 0, 0x39, 0x60, length, 0x60, 0, 0xfd,
    ];
    code.extend(error);
    code
}

/// An account that cannot pay waits for its money; the caller is told; other accounts go on.
async fn an_account_without_money_is_deferred_until_it_has_some(ground: Ground) {
    for (seed, gas_limit) in [(2, None), (3, Some(21_000))] {
        let poor = EvmKey::from_bytes(&[seed; 32]).unwrap();
        let client = ground.client().await.with_signer(Arc::new(poor.clone()));
        let life = ground.live(client.unwrap());
        let payment = Submission {
            gas_limit,
            ..transfer(&ground, &poor, shop(), 7)
        };
        let mut stages = life.outbox.submit(payment).await.unwrap();
        until(&mut stages, |stage| {
            matches!(
                stage,
                Stage::Deferred {
                    reason: Deferral::InsufficientFunds(_)
                }
            )
        })
        .await;
        assert!(ground.node.waiting().await.is_empty(), "nothing was sent");
        let before = ground.payments_to(shop()).await;

        let ether = 1_000_000_000_000_000_000;
        let gift = transfer(&ground, &ground.key, poor.evm_address(), ether);
        let mut given = life.outbox.submit(gift).await.unwrap();
        assert!(matches!(end(&ground, &mut given).await, Outcome::Final(_)));
        assert!(matches!(end(&ground, &mut stages).await, Outcome::Final(_)));
        assert_eq!(ground.payments_to(shop()).await, before + 1);
    }
}

/// Its name says from whom to whom.
fn transfer(ground: &Ground, from: &EvmKey, to: EvmAddress, wei: u64) -> Submission {
    let from = from.evm_address();
    let intent = Intent::Transfer {
        from: from.into(),
        to: to.into(),
        asset: Asset::Native,
        amount: Amount::wei(wei.into()),
    };
    let name = [from.as_slice(), to.as_slice()].concat();
    let key = IdempotencyKey::new(name).unwrap();
    Submission::new(key, ground.id(), intent)
}

/// What would be reverted is rejected with the contract's own words, and costs nothing.
async fn a_revert_is_told_with_its_reason_and_nothing_is_sent(ground: Ground) {
    let life = ground.live_well().await;
    let deploy = Intent::Deploy {
        from: ground.account().into(),
        value: Amount::wei(0),
        code: Bytes::from(code_that_says("no beans")),
    };
    let key = IdempotencyKey::new("deploy").unwrap();
    let deploy = Submission::new(key, ground.id(), deploy);
    let mut stages = life.outbox.submit(deploy.clone()).await.unwrap();
    let Some(Outcome::Rejected { reason }) = stages.ended().await else {
        panic!("it cannot be carried out");
    };
    assert!(reason.contains("no beans"), "{reason}");
    assert_eq!(ground.node.head().await.number, 0, "no block was made");

    // With gas of its own nobody asks before: it is carried out, and undone on the chain. That is told, too.
    let key = IdempotencyKey::new("deploy all the same").unwrap();
    let deploy = Submission { key, ..deploy }.with_gas_limit(200_000);
    let mut stages = life.outbox.submit(deploy.clone()).await.unwrap();
    let Outcome::Final(inclusion) = end(&ground, &mut stages).await else {
        panic!("it is on the chain");
    };
    assert!(!inclusion.is_success);
    assert_eq!(inclusion.reason, Some(Revert::Message("no beans".into())));
    // Whoever asks later, or in another life, is told the same.
    drop(life);
    let life = ground.live_well().await;
    let mut again = life.outbox.submit(deploy).await.unwrap();
    assert_eq!(again.ended().await, Some(Outcome::Final(inclusion)));
}

/// Whatever a node refuses for good does not stand in the way of what comes behind it.
async fn a_transaction_that_every_node_refuses_blocks_no_other(ground: Ground) {
    /// No node takes payments of 13 wei.
    struct Picky(EvmClient);

    #[async_trait]
    impl Performer for Picky {
        fn chain_id(&self) -> ChainId {
            Performer::chain_id(&self.0)
        }

        async fn perform(&self, ask: Ask) -> Result<Found, ChainError> {
            if let Ask::Broadcast { raw, .. } = &ask
                && raw.windows(22).any(|bytes| {
                    // The recipient, and then the amount.
                    bytes[..20] == EvmAddress::repeat_byte(9)[..] && bytes[20] == 13
                })
            {
                return Err(ChainError::InvalidTransaction {
                    message: "thirteen brings bad luck".into(),
                });
            }
            self.0.perform(ask).await
        }
    }

    let life = ground.live(Picky(ground.client().await));
    let unlucky = transfer(&ground, &ground.key, shop(), 13);
    let mut unlucky = life.outbox.submit(unlucky).await.unwrap();
    let payment = ground.payment("order 1", shop());
    let mut payment = life.outbox.submit(payment).await.unwrap();
    assert!(matches!(
        end(&ground, &mut payment).await,
        Outcome::Final(_)
    ));
    let Outcome::Rejected { reason } = end(&ground, &mut unlucky).await else {
        panic!("it was never carried out");
    };
    assert!(reason.contains("bad luck"), "{reason}");
    assert_eq!(ground.payments_to(shop()).await, 1);
}

/// A client that signs for nobody.
async fn unarmed(ground: &Ground) -> EvmClient {
    let rpc = Arc::new(ground.node.rpc.clone());
    EvmClient::connect(rpc, ground.node.network())
        .await
        .unwrap()
}

/// Without a signer for its account an intent waits, and says for what.
async fn an_intent_without_signer_waits_and_can_be_called_off(ground: Ground) {
    let life = ground.live(unarmed(&ground).await);
    let payment = ground.payment("order 1", shop());
    let mut stages = life.outbox.submit(payment).await.unwrap();
    until(&mut stages, |stage| {
        matches!(
            stage,
            Stage::Deferred {
                reason: Deferral::Refused(_)
            }
        )
    })
    .await;
    life.outbox.cancel(stages.entry()).unwrap();
    assert_eq!(stages.ended().await, Some(Outcome::Cancelled));
}
