//! Anvil as a process of ours.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::Duration;

use peaberry_chain::dev::DevOptions;
use peaberry_chain::evm::{EvmRpc as _, JsonRpc};

/// A running Anvil. Dropping it is its end.
pub(crate) struct Anvil {
    child: Child,
    pub(crate) url: String,
}

impl Drop for Anvil {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The program: at `PEABERRY_ANVIL`, or on the path. Where there is none, that is said once, and not to the test's own
/// output, of which nothing is shown where it passes.
pub(crate) fn program() -> Option<PathBuf> {
    static SAID: Once = Once::new();
    let named = std::env::var_os("PEABERRY_ANVIL").filter(|named| !named.is_empty());
    if let Some(named) = named.map(PathBuf::from) {
        let is_there = named.is_file();
        assert!(is_there, "PEABERRY_ANVIL is no file: {}", named.display());
        return Some(named);
    }
    let found = std::env::var_os("PATH").and_then(|path| {
        let mut places = std::env::split_paths(&path).map(|folder| folder.join("anvil"));
        places.find(|program| program.is_file())
    });
    if found.is_none() {
        let words = b"tests on Anvil are skipped: set PEABERRY_ANVIL to the program, or put it on the path\n";
        SAID.call_once(|| drop(std::io::stderr().write_all(words)));
    }
    found
}

impl Anvil {
    /// One that makes blocks on demand, by the rules of `options` as far as it has them.
    pub(crate) async fn start(program: PathBuf, options: &DevOptions) -> Self {
        // The port was free a moment ago; should another process have taken it, Anvil ends, and there is another.
        for _ in 0..5 {
            let mut anvil = Self::spawn(&program, options);
            if anvil.is_awake().await {
                return anvil;
            }
        }
        panic!("anvil does not start: {}", program.display());
    }

    fn spawn(program: &Path, options: &DevOptions) -> Self {
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        // It finds final what is two epochs old.
        let slots = options.finalized_depth / 2;
        let child = Command::new(program)
            .args(["--silent", "--no-mining", "--order", "fees"])
            .args(["--accounts", "0", "--hardfork", "osaka"])
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--chain-id", &options.chain.to_string()])
            .args(["--gas-limit", &options.block_gas_limit.to_string()])
            .args(["--base-fee", &options.base_fee.to_string()])
            .args(["--timestamp", &options.genesis_timestamp_s.to_string()])
            .args(["--slots-in-an-epoch", &slots.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        Self {
            child: child.unwrap(),
            url: format!("http://127.0.0.1:{port}"),
        }
    }

    /// Waits for its first answer; whether there was one.
    async fn is_awake(&mut self) -> bool {
        let rpc = JsonRpc::http(&self.url).unwrap();
        for _ in 0..1200 {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if rpc.chain_id().await.is_ok() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("anvil did not answer within 30 s");
    }
}
