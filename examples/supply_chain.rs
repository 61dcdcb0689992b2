//! A sack of coffee from the farm to the bar: who holds it, and proof of where it comes from.
//!
//! The farm registers a lot with the Merkle root of what is known of its origin. Custody changes only when the holder
//! has offered and the receiver has accepted; the trail's hash commits to every step. In the end the bar proves one fact
//! about the origin without the others, and a fact that was made up is found out.
//!
//! ```text
//! cargo run --example supply_chain
//! ```
//!
//! Tested as: `cargo run --example supply_chain`
#![expect(clippy::print_stdout, reason = "an example tells its story on stdout")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use peaberry_chain::bindings::{SolCall, SupplyChain, creation};
use peaberry_chain::dev::{DevChain, DevOptions};
use peaberry_chain::evm::EvmClient;
use peaberry_chain::primitives::{B256, keccak256};
use peaberry_chain::wallet::EvmKey;
use peaberry_chain::{
    Amount, BlockAt, CallRequest, ChainClient, ChainError, EvmAddress, Finality, Intent,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The contract, and everybody who has to do with it.
struct Story {
    client: EvmClient,
    contract: EvmAddress,
    farm: EvmAddress,
    roaster: EvmAddress,
    bar: EvmAddress,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let story = begin().await?;
    let lot = keccak256("lot 2026-11, Sidama");
    let facts = [
        ("farm", "Bensa"),
        ("variety", "74158"),
        ("picked", "2026-10-02"),
        ("altitude", "2150 m"),
    ];
    let leaves = facts.map(|(key, value)| leaf(key, value));
    let [left, right] = [pair(leaves[0], leaves[1]), pair(leaves[2], leaves[3])];
    let role = keccak256("PRODUCER_ROLE");
    story
        .send(
            story.farm,
            SupplyChain::grantRoleCall {
                role,
                account: story.farm,
            },
        )
        .await?;
    let register = SupplyChain::registerLotCall {
        lotId: lot,
        originRoot: pair(left, right),
        uri: "ipfs://lot".into(),
    };
    story.send(story.farm, register).await?;

    // Offered to the roaster; the bar cannot take it, and who has offered still holds it.
    story
        .send(
            story.farm,
            SupplyChain::offerCall {
                lotId: lot,
                to: story.roaster,
            },
        )
        .await?;
    let document = keccak256("delivery note 1");
    let accept = || SupplyChain::acceptCall {
        lotId: lot,
        document,
    };
    let refused = story.send(story.bar, accept()).await;
    assert!(
        matches!(refused, Err(ChainError::Reverted(_))),
        "it was not offered to the bar"
    );
    assert_eq!(story.lot(lot).await?.custodian, story.farm);
    story.send(story.roaster, accept()).await?;
    story
        .send(
            story.roaster,
            SupplyChain::offerCall {
                lotId: lot,
                to: story.bar,
            },
        )
        .await?;
    story.send(story.bar, accept()).await?;
    let held = story.lot(lot).await?;
    println!(
        "after {} hand-overs the bar holds the lot; its trail is {}",
        held.handOvers, held.trail
    );
    assert_eq!((held.custodian, held.handOvers), (story.bar, 2));

    // One fact is proved by two hashes.
    let proof = vec![leaves[0], right];
    let proves = |value: &str| SupplyChain::verifyFactCall {
        lotId: lot,
        key: "variety".into(),
        value: value.into(),
        proof: proof.clone(),
    };
    let is_true = story.ask(proves("74158")).await?;
    let is_made_up = story.ask(proves("Geisha")).await?;
    println!("variety 74158: {is_true}; variety Geisha: {is_made_up}");
    assert!(is_true && !is_made_up);
    Ok(())
}

async fn begin() -> Result<Story> {
    let keys = [1, 2, 3].map(|seed| EvmKey::from_bytes(&[seed; 32]));
    let mut options = DevOptions::default();
    let mut signers = Vec::new();
    for key in keys {
        let key = key?;
        options = options.fund(key.evm_address());
        signers.push(key);
    }
    let addresses: Vec<EvmAddress> = signers.iter().map(EvmKey::evm_address).collect();
    let &[farm, roaster, bar] = addresses.as_slice() else {
        return Err("there are three".into());
    };
    let mut client = DevChain::new(options).client().await?;
    for key in signers {
        client = client.with_signer(Arc::new(key))?;
    }
    let constructor = SupplyChain::constructorCall { admin: farm };
    let deploy = Intent::Deploy {
        from: farm.into(),
        value: Amount::wei(0),
        code: creation(&SupplyChain::BYTECODE, &constructor),
    };
    client.submit(&deploy).await?;
    let contract = farm.create(0);
    Ok(Story {
        client,
        contract,
        farm,
        roaster,
        bar,
    })
}

impl Story {
    async fn send(
        &self,
        from: EvmAddress,
        call: impl SolCall,
    ) -> std::result::Result<(), ChainError> {
        let intent = Intent::Call {
            from: from.into(),
            to: self.contract.into(),
            value: Amount::wei(0),
            data: call.abi_encode().into(),
        };
        let id = self.client.submit(&intent).await?;
        let patience = Duration::from_secs(10);
        self.client
            .wait(id, Finality::Latest, patience)
            .await
            .map(drop)
    }

    async fn ask<C: SolCall>(&self, call: C) -> Result<C::Return> {
        let request = CallRequest::new(self.contract, call.abi_encode());
        let answer = self.client.call(&request, BlockAt::Latest).await?;
        Ok(C::abi_decode_returns(&answer)?)
    }

    async fn lot(&self, id: B256) -> Result<SupplyChain::Lot> {
        self.ask(SupplyChain::lotCall { lotId: id }).await
    }
}

/// A fact as the contract's `originLeaf` hashes it: twice, over the two strings ABI-encoded.
fn leaf(key: &str, value: &str) -> B256 {
    let call = SupplyChain::originLeafCall {
        key: key.into(),
        value: value.into(),
    };
    let encoded = call.abi_encode();
    // What follows the selector is `abi.encode(key, value)`.
    keccak256(keccak256(encoded.get(4..).unwrap_or_default()))
}

/// Two nodes of the tree, the smaller first.
fn pair(a: B256, b: B256) -> B256 {
    let (first, second) = if a < b { (a, b) } else { (b, a) };
    keccak256([first, second].concat())
}
