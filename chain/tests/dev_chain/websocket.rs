//! News of blocks over a WebSocket: the server's side, and whoever listens to it or to worse.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use peaberry_chain::ChainError;
use peaberry_chain::dev::{DevServer, Undone};
use peaberry_chain::evm::{NewHeads, NewHeadsOptions};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use crate::node::World;

fn eager() -> NewHeadsOptions {
    NewHeadsOptions {
        connect_within: Duration::from_millis(400),
        silence_max: Duration::from_millis(400),
        retry_delay_min: Duration::from_millis(1),
        retry_delay_max: Duration::from_millis(50),
        message_bytes_max: 8 << 10,
        wake_every_min: Duration::ZERO,
    }
}

struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    async fn open(server: &DevServer) -> Self {
        let url = server.ws_url();
        let stream = TcpStream::connect(url.trim_start_matches("ws://")).await;
        let (socket, _) = client_async(url.as_str(), stream.unwrap()).await.unwrap();
        Self(socket)
    }

    async fn say(&mut self, method: &str, params: Value) {
        let request = json!({"jsonrpc": "2.0", "id": 5, "method": method, "params": params});
        self.0
            .send(Message::text(request.to_string()))
            .await
            .unwrap();
    }

    async fn hear(&mut self) -> Value {
        let message = self.0.next().await.unwrap().unwrap();
        serde_json::from_str(message.to_text().unwrap()).unwrap()
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.say(method, params).await;
        let answer = self.hear().await;
        assert_eq!(answer["id"], 5);
        answer
    }
}

/// Every new block is told once, those that take others' places too; other questions are answered beside it.
#[tokio::test]
async fn whoever_subscribes_is_told_of_each_block() {
    let world = World::dev();
    let server = DevServer::start(world.chain().clone(), 0).await.unwrap();
    let mut socket = Socket::open(&server).await;
    assert_eq!(
        socket.ask("eth_chainId", json!([])).await["result"],
        "0x7a69"
    );
    let other = socket.ask("eth_subscribe", json!(["logs"])).await;
    assert_eq!(other["error"]["code"], -32602);
    let number = socket.ask("eth_subscribe", json!(["newHeads"])).await["result"].clone();

    let expect = async |socket: &mut Socket, numbers: std::ops::RangeInclusive<u64>| {
        for height in numbers {
            let told = socket.hear().await;
            assert_eq!(told["method"], "eth_subscription");
            assert_eq!(told["params"]["subscription"], number);
            let header = &told["params"]["result"];
            assert_eq!(header["number"], format!("{height:#x}"));
            assert!(header["parentHash"].is_string() && header["transactions"].is_null());
        }
    };
    world.chain().mine_many(3);
    expect(&mut socket, 1..=3).await;
    // Two blocks go, three take their place.
    world.chain().reorg(2, Undone::Drop);
    expect(&mut socket, 2..=4).await;

    let gone = socket.ask("eth_unsubscribe", json!([number])).await;
    assert_eq!(gone["result"], true);
    let again = socket.ask("eth_unsubscribe", json!([number])).await;
    assert_eq!(again["result"], false);
    world.chain().mine();
    assert_eq!(
        socket.ask("eth_blockNumber", json!([])).await["result"],
        "0x5"
    );
}

#[tokio::test]
async fn subscriptions_and_messages_are_bounded() {
    let world = World::dev();
    let server = DevServer::start(world.chain().clone(), 0).await.unwrap();
    let mut socket = Socket::open(&server).await;
    for _ in 0..16 {
        let made = socket.ask("eth_subscribe", json!(["newHeads"])).await;
        assert!(made["result"].is_string());
    }
    let refused = socket.ask("eth_subscribe", json!(["newHeads"])).await;
    assert_eq!(refused["error"]["message"], "too many subscriptions");
    socket.0.send(Message::text("no JSON")).await.unwrap();
    assert_eq!(socket.hear().await["error"]["code"], -32700);
    // Over the limit of a request: the connection ends, and the server goes on.
    let large = "x".repeat(peaberry_chain::dev::REQUEST_BYTES_MAX + 1);
    drop(socket.0.send(Message::text(large)).await);
    while let Some(Ok(_)) = socket.0.next().await {}
    let mut another = Socket::open(&server).await;
    assert_eq!(
        another.ask("eth_chainId", json!([])).await["result"],
        "0x7a69"
    );
    drop(server);
    while let Some(Ok(_)) = another.0.next().await {}
}

/// Once for the connection, at least once for each burst of blocks; and again when the node is back.
#[tokio::test]
async fn news_of_blocks_wake_and_come_back_with_the_node() {
    let world = World::dev();
    let server = DevServer::start(world.chain().clone(), 0).await.unwrap();
    let port = server.ws_url().rsplit(':').next().unwrap().parse().unwrap();
    let mut heads = NewHeads::new(&server.ws_url(), eager()).unwrap();
    heads.next().await.unwrap().unwrap();
    for _ in 0..3 {
        world.chain().mine();
        heads.next().await.unwrap().unwrap();
    }
    drop(server);
    let lost = heads.next().await.unwrap().unwrap_err();
    assert!(matches!(lost, ChainError::Connection { .. }), "{lost}");
    assert!(!lost.may_have_been_sent());
    let _server = loop {
        if let Ok(server) = DevServer::start(world.chain().clone(), port).await {
            break server;
        }
    };
    while heads.next().await.unwrap().is_err() {}
    world.chain().mine();
    heads.next().await.unwrap().unwrap();
}

/// A node on loopback that goes through the handshake and then does as it likes.
async fn node<F: Future<Output = ()> + Send>(
    act: impl Fn(WebSocketStream<TcpStream>) -> F + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(socket) = accept_async(stream).await {
                act(socket).await;
            }
        }
    });
    url
}

/// The first error of whoever listens to such a node.
async fn error_of(url: &str) -> ChainError {
    let mut heads = NewHeads::new(url, eager()).unwrap();
    loop {
        if let Err(error) = heads.next().await.unwrap() {
            return error;
        }
    }
}

#[tokio::test]
async fn whatever_a_node_says_is_bounded_and_named() {
    let say = |texts: &'static [&'static str], long: usize| {
        node(move |mut socket| async move {
            for text in texts {
                drop(socket.send(Message::text(*text)).await);
            }
            if long > 0 {
                drop(socket.send(Message::text(" ".repeat(long))).await);
            }
            while let Some(Ok(_)) = socket.next().await {}
        })
    };
    let error = error_of(&say(&["no JSON"], 0).await).await;
    assert!(matches!(error, ChainError::Malformed { .. }), "{error}");
    let error = error_of(&say(&[r#"{"id":1}"#], 0).await).await;
    assert!(matches!(error, ChainError::Malformed { .. }), "{error}");
    let no = &[r#"{"id":1,"error":{"code":-32601,"message":"notifications not supported"}}"#];
    let error = error_of(&say(no, 0).await).await;
    assert!(
        matches!(&error, ChainError::Refused { code: -32601, .. }),
        "{error}"
    );
    let error = error_of(&say(&[r#"{"id":1,"result":"0x1"}"#], 9 << 10).await).await;
    assert!(
        matches!(error, ChainError::TooLarge { bytes_max, .. } if bytes_max == 8 << 10),
        "{error}"
    );
    // Never an answer to the subscription.
    let error = error_of(&say(&[], 0).await).await;
    assert!(matches!(error, ChainError::TimedOut { .. }), "{error}");
}

/// News of other subscriptions are none of ours, and silence, without even a pong, ends a connection.
#[tokio::test]
async fn a_silent_node_is_given_up() {
    let url = node(|mut socket| async move {
        let subscribed = r#"{"id":1,"result":"0x1"}"#;
        let other = r#"{"method":"eth_subscription","params":{"subscription":"0x2"}}"#;
        for text in [subscribed, other, r#"{"id":7,"result":"0x1"}"#] {
            drop(socket.send(Message::text(text)).await);
        }
        // Reads nothing, so that pings are not answered.
        std::future::pending().await
    })
    .await;
    let mut heads = NewHeads::new(&url, eager()).unwrap();
    heads.next().await.unwrap().unwrap();
    let error = heads.next().await.unwrap().unwrap_err();
    assert!(matches!(error, ChainError::TimedOut { .. }), "{error}");
}

#[test]
fn keys_in_urls_are_not_printed_and_others_are_refused() {
    let url = "wss://user:secret@node.example/v3/a1b2c3";
    let heads = NewHeads::new(url, NewHeadsOptions::default()).unwrap();
    assert_eq!(format!("{heads:?}"), "NewHeads(wss://node.example)");
    for url in ["http://node.example", "ws://", "node.example", "ws:///path"] {
        let refused = NewHeads::new(url, NewHeadsOptions::default());
        assert!(
            matches!(refused, Err(ChainError::InvalidUrl { .. })),
            "{url}"
        );
    }
}
