//! Anvil by the rules of our development chain, where it is installed.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use peaberry_chain::evm::{EvmRpc, JsonRpc};

/// When its chain begins, in seconds.
pub(crate) const GENESIS_S: u64 = 1_735_689_600;

/// The program; it ends with this.
pub(crate) struct Anvil {
    child: Child,
    url: String,
}

impl Drop for Anvil {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn program() -> String {
    std::env::var("PEABERRY_ANVIL").unwrap_or_else(|_unset| "anvil".into())
}

/// Anvil by the rules of our chain, or `None` where it is not installed.
pub(crate) async fn start() -> Option<(Anvil, JsonRpc)> {
    // A port that was free a moment ago.
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let child = Command::new(program())
        .args([
            "--silent",
            "--no-mining",
            "--accounts",
            "0",
            "--host",
            "127.0.0.1",
        ])
        .args([
            "--hardfork",
            "osaka",
            "--chain-id",
            "31337",
            "--gas-limit",
            "30000000",
        ])
        .args([
            "--base-fee",
            "1000000000",
            "--timestamp",
            &GENESIS_S.to_string(),
        ])
        .args(["--order", "fees", "--port", &port.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    let Ok(child) = child else {
        println!("skipped: no anvil; set PEABERRY_ANVIL to the program, or put it on the path");
        return None;
    };
    let anvil = Anvil {
        child,
        url: format!("http://127.0.0.1:{port}"),
    };
    let rpc = JsonRpc::http(&anvil.url).unwrap();
    for _ in 0..1200 {
        if rpc.chain_id().await.is_ok() {
            return Some((anvil, rpc));
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("anvil did not answer within 30 s");
}
