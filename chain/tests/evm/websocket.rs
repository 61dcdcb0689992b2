//! News of blocks over a WebSocket, and a follower that is woken by them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{SinkExt as _, StreamExt as _};
use peaberry_chain::evm::{EvmClient, JsonRpc, NewHeads, NewHeadsOptions};
use peaberry_chain::follow::{ChangeKind, Changes, FollowConfig, FollowDriver, Notice, Start};
use peaberry_chain::primitives::Bytes;
use peaberry_chain::{EvmAddress, LogFilter, RpcTransport, TransportFailure};
use peaberry_core::{MemoryNetwork, MemoryStorage, Node, PeerId, SystemClock};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use crate::node::{World, on_both};

on_both! {
    World::on =>
    whoever_subscribes_hears_of_each_block
    a_follower_is_woken_by_news
    news_during_a_look_are_not_lost
}

fn eager() -> NewHeadsOptions {
    NewHeadsOptions {
        wake_every_min: Duration::ZERO,
        ..NewHeadsOptions::default()
    }
}

/// Each block once, with its header, until it is enough; other questions are answered on the same socket.
async fn whoever_subscribes_hears_of_each_block(world: World) {
    let url = world.node.url().await.replace("http://", "ws://");
    let stream = TcpStream::connect(url.trim_start_matches("ws://")).await;
    let (mut socket, _) = client_async(url.as_str(), stream.unwrap()).await.unwrap();
    let mut say = async |method: &str, params: Value| {
        let request = json!({"jsonrpc": "2.0", "id": 5, "method": method, "params": params});
        let message = Message::text(request.to_string());
        socket.send(message).await.unwrap();
        let heard = socket.next().await.unwrap().unwrap();
        serde_json::from_str::<Value>(heard.to_text().unwrap()).unwrap()
    };
    let number = say("eth_subscribe", json!(["newHeads"])).await["result"].clone();
    assert!(number.is_string());
    assert_eq!(say("eth_chainId", json!([])).await["result"], "0x7a69");
    world.node.mine_many(3).await;
    for height in 1..=3 {
        let heard = socket.next().await.unwrap().unwrap();
        let told: Value = serde_json::from_str(heard.to_text().unwrap()).unwrap();
        assert_eq!(told["method"], "eth_subscription");
        assert_eq!(told["params"]["subscription"], number);
        let header = &told["params"]["result"];
        assert_eq!(header["number"], format!("{height:#x}"));
        assert!(header["parentHash"].is_string());
    }
}

/// Someone who follows the chain from its first block on, looking once in an hour unless woken.
async fn follower(client: EvmClient) -> Changes {
    let storage = Arc::new(MemoryStorage::new());
    let transport = MemoryNetwork::new().join(PeerId::new(1).unwrap());
    let clock = Arc::new(SystemClock::new());
    let mut host = Node::new(Arc::new(transport), storage.clone(), clock);
    let nothing = LogFilter::default().address(EvmAddress::ZERO);
    let config = FollowConfig {
        start: Start::At(0),
        poll_every: Duration::from_secs(3600),
        ..FollowConfig::evm(client.network(), nothing)
    };
    let (mut changes, driver) =
        FollowDriver::install(&mut host, 1, config, &*storage, Arc::new(client)).unwrap();
    tokio::spawn(driver);
    tokio::spawn(host.into_task());
    assert_eq!(added(&mut changes).await, 0);
    changes
}

/// The number of the next block that is there.
async fn added(changes: &mut Changes) -> u64 {
    loop {
        let Notice::Change(change) = changes.next().await.unwrap().unwrap() else {
            panic!("the node answers");
        };
        changes.acknowledge(change.number);
        if let ChangeKind::Added { block, .. } = change.kind {
            return block.number;
        }
    }
}

/// A follower that looks once in an hour sees a block at once, because it was woken; and only because of that.
async fn a_follower_is_woken_by_news(world: World) {
    let url = world.node.url().await.replace("http://", "ws://");
    let mut changes = follower(world.client(world.node.network()).await).await;
    let mut heads = NewHeads::new(&url, eager()).unwrap();
    heads.next().await.unwrap().unwrap();
    for number in 1..4 {
        world.node.mine().await;
        heads.next().await.unwrap().unwrap();
        changes.wake();
        assert_eq!(added(&mut changes).await, number);
    }
}

/// A node whose answers can be held back, each as it was when it was asked for.
struct Slow {
    node: Arc<dyn RpcTransport>,
    is_held: AtomicBool,
    holds: Semaphore,
    lets_go: Semaphore,
}

#[async_trait]
impl RpcTransport for Slow {
    async fn exchange(&self, request: Bytes) -> Result<Bytes, TransportFailure> {
        let answer = self.node.exchange(request).await?;
        if self.is_held.swap(false, Ordering::SeqCst) {
            self.holds.add_permits(1);
            self.lets_go.acquire().await.unwrap().forget();
        }
        Ok(answer)
    }
}

/// News that come while a look is under way, which saw nothing of them yet, are looked at behind it.
async fn news_during_a_look_are_not_lost(world: World) {
    let node = Arc::new(Slow {
        node: world.node.transport.clone(),
        is_held: AtomicBool::new(false),
        holds: Semaphore::new(0),
        lets_go: Semaphore::new(0),
    });
    let rpc = Arc::new(JsonRpc::over(node.clone()));
    let client = EvmClient::connect(rpc, world.node.network()).await.unwrap();
    let mut changes = follower(client).await;
    node.is_held.store(true, Ordering::SeqCst);
    changes.wake();
    node.holds.acquire().await.unwrap().forget();
    world.node.mine().await;
    changes.wake();
    node.lets_go.add_permits(1);
    assert_eq!(added(&mut changes).await, 1);
}
