//! A process that pays an order dies between its journal and the chain, and the order is paid once all the same.
//!
//! A chain runs in this process and is served over HTTP. A second process, this very program started again, takes the
//! order, signs the payment, has it in its journal on disk, and ends itself the moment it should send it. Then the
//! journal is opened again: the same signed bytes leave, and a retry of the order finds them instead of paying twice.
//!
//! ```text
//! cargo run --example chain_outbox_crash
//! ```
//!
//! Tested as: `cargo run --example chain_outbox_crash`
#![expect(clippy::print_stdout, reason = "an example tells its story on stdout")]

use std::error::Error;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use peaberry_chain::dev::{DevChain, DevOptions, DevServer};
use peaberry_chain::evm::{EvmClient, EvmRpc as _, SignedTransaction};
use peaberry_chain::outbox::{
    Ask, ChainRules, Found, IdempotencyKey, OutboxConfig, OutboxHandle, Outcome, Performer, Stage,
    Submission,
};
use peaberry_chain::wallet::EvmKey;
use peaberry_chain::{Amount, Asset, BlockAt, ChainError, ChainId, EvmAddress, Intent, TxId};
use peaberry_core::{DiskOptions, DiskStorage, MemoryNetwork, Node, PeerId, SystemClock};

type Failure = Box<dyn Error + Send + Sync>;

const SHOP: EvmAddress = EvmAddress::repeat_byte(9);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [folder, url] => pay_and_die(Path::new(folder), url).await,
        _ => tell().await,
    }
}

/// The whole story.
async fn tell() -> Result<(), Failure> {
    let guest = guest()?.evm_address();
    let options = DevOptions {
        finalized_depth: 8,
        safe_depth: 4,
        ..DevOptions::default()
    };
    let chain = DevChain::new(options.fund(guest));
    let server = DevServer::start(chain.clone(), 0).await?;
    let folder = tempfile::tempdir()?;

    let mut process = Command::new(std::env::current_exe()?);
    process.arg(folder.path()).arg(server.url());
    let process = process.stdout(Stdio::piped()).stderr(Stdio::null());
    let ending = process.spawn()?;
    let ending = tokio::task::spawn_blocking(|| ending.wait_with_output()).await??;
    let signed = String::from_utf8(ending.stdout)?;
    let signed = signed.trim();
    println!(
        "the paying process has signed {signed} and died: {}",
        ending.status
    );
    assert!(!ending.status.success(), "it was killed");
    assert!(chain.waiting().is_empty(), "nothing has left it");
    assert_eq!(chain.balance(SHOP).to::<u64>(), 0);

    // The next life: the same journal, and the caller asks for the same order again.
    let life = Life::on(folder.path(), client(&server.url(), &chain).await?)?;
    let mut stages = life.outbox.submit(order(&chain)).await?;
    let outcome = loop {
        match stages.next().await.ok_or("the outbox has stopped")? {
            Stage::Ended(outcome) => break outcome,
            Stage::Included(inclusion) => {
                println!("block {} holds it", inclusion.block_number);
                chain.mine_many(8);
            }
            _ => {}
        }
    };
    let Outcome::Final(inclusion) = outcome else {
        return Err(format!("the order was not paid: {outcome:?}").into());
    };
    println!("{} is final", inclusion.transaction);
    assert_eq!(
        inclusion.transaction.to_string(),
        signed,
        "the bytes that were signed before the crash"
    );
    let transactions = chain.nonce(guest, BlockAt::Latest).await?;
    println!("the guest has sent {transactions} transaction, the shop has got 4 wei");
    assert_eq!(transactions, 1);
    assert_eq!(chain.balance(SHOP).to::<u64>(), 4);
    Ok(())
}

/// What the other process does: everything up to the broadcast.
async fn pay_and_die(folder: &Path, url: &str) -> Result<(), Failure> {
    let chain = DevChain::new(DevOptions::default());
    let client = client(url, &chain).await?;
    let life = Life::on(folder, Mortal(client))?;
    let mut stages = life.outbox.submit(order(&chain)).await?;
    stages.ended().await;
    Err("it should not have come to an end".into())
}

/// Does what an outbox wants, and dies when it should send something.
struct Mortal(EvmClient);

#[async_trait]
impl Performer for Mortal {
    fn chain_id(&self) -> ChainId {
        Performer::chain_id(&self.0)
    }

    async fn perform(&self, ask: Ask) -> Result<Found, ChainError> {
        if let Ask::Broadcast { raw, .. } = ask {
            println!("{}", TxId::Evm(SignedTransaction::from_raw(raw).hash()));
            std::process::abort();
        }
        self.0.perform(ask).await
    }
}

/// An outbox with its journal in a folder.
struct Life {
    outbox: OutboxHandle,
    _node: peaberry_core::NodeThread,
}

impl Life {
    fn on(folder: &Path, performer: impl Performer + 'static) -> Result<Self, Failure> {
        let peer = PeerId::new(1).ok_or("one is a number")?;
        let storage = DiskStorage::open(folder, DiskOptions::new("coffee", peer))?;
        let storage = Arc::new(storage);
        let transport = Arc::new(MemoryNetwork::new().join(peer));
        let mut node = Node::new(transport, storage.clone(), Arc::new(SystemClock::new()));
        let rules = ChainRules::every(Duration::from_millis(200));
        let config = OutboxConfig::new().chain(Performer::chain_id(&performer), rules);
        let performers = [Arc::new(performer) as _];
        let (outbox, driver) = OutboxHandle::install(&mut node, 0, config, &*storage, performers)?;
        tokio::spawn(driver);
        let _node = node.spawn("outbox")?;
        Ok(Self { outbox, _node })
    }
}

fn guest() -> Result<EvmKey, ChainError> {
    EvmKey::from_bytes(&[2; 32])
}

async fn client(url: &str, chain: &DevChain) -> Result<EvmClient, ChainError> {
    let client = EvmClient::http(url, chain.network()).await?;
    client.with_signer(Arc::new(guest()?))
}

/// Four wei for a flat white. Whoever hands it over under this name means this very payment.
fn order(chain: &DevChain) -> Submission {
    let key = IdempotencyKey::new("order 17").expect("at most 64 bytes");
    let intent = Intent::Transfer {
        from: guest().expect("a valid key").evm_address().into(),
        to: SHOP.into(),
        asset: Asset::Native,
        amount: Amount::wei(4),
    };
    Submission::new(key, chain.network().chain, intent)
}
