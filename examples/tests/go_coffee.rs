//! The flagship from outside: what scripts read of it, on mornings of any length, and what it says of bad files.

#[path = "../../edge/tests/broker/mod.rs"]
mod broker;
#[path = "../../chain/tests/node/mod.rs"]
mod node;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use peaberry_chain::bindings::{CoffeeToken, SolEvent as _};
use peaberry_chain::dev::DevOptions;
use peaberry_chain::evm::EvmRpc as _;
use peaberry_chain::wallet::Wallet;
use peaberry_chain::{LogFilter, LogRange};
use serde_json::Value;

use self::node::{Node, NodeKind, on_both};

on_both! {
    threads: std::future::ready =>
    on_a_node_elsewhere_every_order_is_paid_once
}

/// The phrase that development nodes fund the accounts of.
const PHRASE: &str = "test test test test test test test test test test test junk";

/// Runs the program that cargo has built beside this test.
fn go_coffee(arguments: &[&str]) -> Output {
    let own = std::env::current_exe().unwrap();
    let program = own.ancestors().nth(2).unwrap().join("examples/go_coffee");
    let output = Command::new(program).args(arguments).output();
    output.expect("`cargo test` without `--test` builds the examples first")
}

fn report(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("one JSON object and nothing else")
}

/// With one order, or as many as baristas, all may be served before or while the leader dies.
#[test]
fn the_shortest_morning_goes_through_the_same_trouble() {
    for count in [1, 2, 8] {
        let count = count.to_string();
        let report = report(&go_coffee(&["--count", &count, "--seed", "5", "--json"]));
        assert_eq!(report["seed"], 5);
        for field in ["orders", "completed", "brewed_exactly_once"] {
            assert_eq!(report[field].to_string(), count, "{field} of {report}");
        }
        assert_eq!(report["violations"], Value::Array(Vec::new()));
        assert!(report["failover_ms"].as_u64() > Some(0), "{report}");
        assert!(report["elapsed_s"].as_f64() > Some(0.0), "{report}");
    }
}

/// Skipped where Mosquitto is not installed.
#[test]
fn over_a_real_broker_everything_arrives_too() {
    let Some(broker) = broker::Broker::start(|_| "max_queued_messages 0".to_owned()) else {
        return;
    };
    let url = format!("mqtt://127.0.0.1:{}", broker.port);
    let report = report(&go_coffee(&["--count", "60", "--mqtt", &url, "--json"]));
    assert_eq!(report["violations"], Value::Array(Vec::new()), "{report}");
    assert_eq!(report["bar"]["order_results_collected"], 60, "{report}");
}

/// A node with money on the accounts that the program pays from.
async fn node_of(kind: NodeKind) -> Node {
    let wallet = Wallet::from_phrase(PHRASE, "").unwrap();
    let keys = (0..10).map(|index| wallet.evm_key(index).unwrap());
    let options = DevOptions {
        block_time_s: 1,
        ..DevOptions::default()
    };
    let options = keys.fold(options, |options, key| options.fund(key.evm_address()));
    Node::of(kind, options).await
}

/// The orders that are paid on its chain, once for each payment.
async fn paid_orders(node: &Node) -> Vec<[u8; 32]> {
    let paid = LogFilter::default().topic(0, CoffeeToken::PaymentProcessed::SIGNATURE_HASH);
    let range = LogRange::Numbers(0..=node.head().await.number);
    let logs = node.rpc.logs(&paid, &range).await.unwrap();
    let orders = logs.iter().map(|log| {
        let topics = log.topics.iter().copied();
        CoffeeToken::PaymentProcessed::decode_raw_log(topics, &log.data)
    });
    orders.map(|order| order.unwrap().orderId.0).collect()
}

/// The blocks come from outside, and nobody undoes any. What the program says is held against the chain itself.
async fn on_a_node_elsewhere_every_order_is_paid_once(kind: NodeKind) {
    let node = node_of(kind).await;
    let url = node.url().await;
    let arguments = ["--count", "8", "--seed", "5", "--json", "--rpc", &url].map(str::to_owned);
    let mut morning = tokio::task::spawn_blocking(move || {
        let arguments = arguments.each_ref().map(String::as_str);
        go_coffee(&arguments)
    });
    let mut blocks = tokio::time::interval(Duration::from_millis(100));
    let output = loop {
        tokio::select! {
            output = &mut morning => break output.unwrap(),
            _ = blocks.tick() => drop(node.mine().await),
        }
    };
    let report = report(&output);
    assert_eq!(report["violations"], Value::Array(Vec::new()), "{report}");
    for field in ["orders", "completed", "brewed_exactly_once"] {
        assert_eq!(report[field], 8, "{field} of {report}");
    }
    assert_eq!(report["till"]["paid_exactly_once"], 8, "{report}");
    assert_eq!(report["till"]["supply_conserved"], true, "{report}");
    let paid = paid_orders(&node).await;
    let orders: BTreeSet<_> = paid.iter().collect();
    assert_eq!((paid.len(), orders.len()), (8, 8), "{report}");
}

fn refusal_of(orders: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders.csv");
    std::fs::write(&file, orders).unwrap();
    let output = go_coffee(&["--json", "--orders", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "nothing was brewed: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_malformed_order_is_named_by_line_and_column_and_nothing_is_brewed() {
    let header = "date,datetime,cash_type,card,money,coffee_name\n";
    let good = "2024-03-01,2024-03-01 10:15:50.520,card,ANON-0000-0000-0001,38.70,Latte\n";
    let bad = good.replace("38.70", "38.7O");
    let said = refusal_of(&[header, good, &bad].concat());
    assert!(said.contains("line 3, money"), "{said}");

    let said = refusal_of("when,what\n");
    assert!(said.contains("coffee_name"), "{said}");
    assert!(refusal_of(header).contains("no orders"));
}

#[test]
fn a_missing_file_is_named_with_the_systems_reason() {
    let output = go_coffee(&["--orders", "no/such/file.csv"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    let reason = std::fs::metadata(Path::new("no/such/file.csv")).unwrap_err();
    assert!(
        said.contains("no/such/file.csv") && said.contains(&reason.to_string()),
        "{said}"
    );
}
