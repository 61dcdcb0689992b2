//! A cellar keeps its books by following a chain, and a reorganisation strikes while it looks.
//!
//! Every delivery is an event of a contract. The follower tells blocks and events as they come; when the chain thinks
//! better of three blocks, it tells them as removed, in reverse, with their events, and then what stands in their place.
//! The books are what was added less what was removed, and at the end they say what the chain says. Then the chain
//! breaks its word and changes a block that was final: the follower stops for good.
//!
//! ```text
//! cargo run --example chain_follow
//! ```
//!
//! Tested as: `cargo run --example chain_follow`
#![expect(clippy::print_stdout, reason = "an example tells its story on stdout")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use peaberry_chain::dev::{DevChain, DevOptions, Undone};
use peaberry_chain::evm::EvmClient;
use peaberry_chain::follow::{
    Alarm, Change, ChangeKind, Changes, FollowConfig, FollowDriver, Notice, Start,
};
use peaberry_chain::primitives::{Bytes, U256};
use peaberry_chain::wallet::EvmKey;
use peaberry_chain::{
    Amount, Block, ChainClient, EvmAddress, Finality, Intent, Log, LogFilter, LogRange,
};
use peaberry_core::{MemoryNetwork, MemoryStorage, Node, PeerId, SystemClock};

const PATIENCE: Duration = Duration::from_secs(20);
/// What lies under so many blocks stays, as the chain promises.
const FINAL_DEPTH: u64 = 6;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let farmer = EvmKey::from_bytes(&[1; 32])?;
    let options = DevOptions {
        finalized_depth: FINAL_DEPTH,
        safe_depth: 3,
        ..DevOptions::default()
    };
    let chain = DevChain::new(options.fund(farmer.evm_address()));
    let client = chain
        .client()
        .await?
        .with_signer(Arc::new(farmer.clone()))?;
    let client = Arc::new(client);

    // A ring of blocks in a store, looked after by a node. On disk it would survive this process.
    let storage = Arc::new(MemoryStorage::new());
    let peer = PeerId::new(1).ok_or("one is a number")?;
    let transport = Arc::new(MemoryNetwork::new().join(peer));
    let mut node = Node::new(transport, storage.clone(), Arc::new(SystemClock::new()));
    let config = FollowConfig {
        start: Start::At(0),
        poll_every: Duration::from_millis(10),
        ..FollowConfig::evm(&chain.network(), LogFilter::default())
    };
    let (changes, driver) = FollowDriver::install(&mut node, 0, config, &*storage, client.clone())?;
    tokio::spawn(driver);
    let _node = node.spawn("follower")?;
    let mut books = Books {
        changes,
        blocks: Vec::new(),
        removed: 0,
        final_number: None,
    };

    println!("five deliveries:");
    for sacks in 1..=5 {
        deliver(&client, farmer.evm_address(), sacks).await?;
    }
    books.until(chain.head()).await?;
    assert_eq!(books.sacks(), [1, 2, 3, 4, 5]);

    println!("the chain thinks better of three blocks, and one delivery comes otherwise:");
    chain.rewind(3, Undone::Drop);
    deliver(&client, farmer.evm_address(), 33).await?;
    chain.mine_many(3);
    books.until(chain.head()).await?;
    assert_eq!(books.removed, 3);
    assert_eq!(books.sacks(), [1, 2, 33]);

    // What was added and not removed is the chain, block for block and event for event.
    let all = LogRange::Numbers(0..=chain.head().number);
    let there = client.logs(&LogFilter::default(), &all).await?;
    let seen: Vec<Log> = books
        .blocks
        .iter()
        .flat_map(|(_, logs)| logs.clone())
        .collect();
    assert_eq!(seen, there);

    println!("nine more blocks, and then the chain breaks its word:");
    chain.mine_many(9);
    let last_final = chain.head().number - FINAL_DEPTH;
    books.until_final(last_final).await?;
    chain.reorg(chain.head().number - last_final + 1, Undone::Drop);
    let alarm = books.alarm().await?;
    println!(
        "alarm: block {} was {} and is {:?}",
        alarm.number, alarm.was, alarm.is
    );
    assert_eq!(alarm.number, last_final);
    Ok(())
}

/// What the cellar believes.
struct Books {
    changes: Changes,
    blocks: Vec<(Block, Vec<Log>)>,
    removed: usize,
    final_number: Option<u64>,
}

impl Books {
    /// Reads on until `tip` is the newest block.
    async fn until(&mut self, tip: Block) -> Result<(), Box<dyn Error>> {
        while self.blocks.last().map(|(block, _)| block.hash) != Some(tip.hash) {
            let change = self.next().await?;
            self.enter(change.map_err(|alarm| format!("{alarm:?}"))?);
        }
        Ok(())
    }

    /// Reads on until the block `number` is said to stay.
    async fn until_final(&mut self, number: u64) -> Result<(), Box<dyn Error>> {
        while self.final_number != Some(number) {
            let change = self.next().await?;
            self.enter(change.map_err(|alarm| format!("{alarm:?}"))?);
        }
        Ok(())
    }

    async fn alarm(&mut self) -> Result<Alarm, Box<dyn Error>> {
        loop {
            match self.next().await? {
                Ok(change) => self.enter(change),
                Err(alarm) => return Ok(alarm),
            }
        }
    }

    async fn next(&mut self) -> Result<Result<Change, Alarm>, Box<dyn Error>> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.changes.next()).await?;
            match next.ok_or("the follower has stopped")? {
                Ok(Notice::Change(change)) => return Ok(Ok(change)),
                Ok(Notice::Stalled(stall)) => {
                    println!("no answer for {} s: {}", stall.lasts.as_secs(), stall.why);
                }
                Ok(Notice::Resumed) => println!("there are answers again"),
                Err(alarm) => return Ok(Err(alarm)),
            }
        }
    }

    fn enter(&mut self, change: Change) {
        match change.kind {
            ChangeKind::Added { block, logs, .. } => {
                println!("  + {:>2} {}", block.number, sacks(&logs));
                self.blocks.push((block, logs));
            }
            ChangeKind::Removed { block, logs } => {
                println!("  - {:>2} {}", block.number, sacks(&logs));
                assert_eq!(
                    self.blocks.pop(),
                    Some((block, logs)),
                    "the tip, as it was added"
                );
                self.removed += 1;
            }
            ChangeKind::Finalized { block } => self.final_number = Some(block.number),
        }
        // Durably written in earnest, and only then acknowledged: what is not comes again after a crash.
        self.changes.acknowledge(change.number);
    }

    fn sacks(&self) -> Vec<u64> {
        let logs = self.blocks.iter().flat_map(|(_, logs)| logs);
        logs.map(number).collect()
    }
}

fn sacks(logs: &[Log]) -> String {
    logs.iter()
        .map(|log| format!("{} sacks", number(log)))
        .collect()
}

fn number(log: &Log) -> u64 {
    U256::from_be_slice(&log.data).to()
}

/// The smallest contract there is: one event, whose data is the number of sacks.
async fn deliver(client: &EvmClient, from: EvmAddress, sacks: u8) -> Result<(), Box<dyn Error>> {
    // PUSH1 sacks, PUSH0, MSTORE; PUSH1 32, PUSH0, LOG0; STOP.
    let code = vec![0x60, sacks, 0x5f, 0x52, 0x60, 0x20, 0x5f, 0xa0, 0x00];
    let deploy = Intent::Deploy {
        from: from.into(),
        value: Amount::wei(0),
        code: Bytes::from(code),
    };
    let id = client.submit(&deploy).await?;
    client.wait(id, Finality::Latest, PATIENCE).await?;
    Ok(())
}
