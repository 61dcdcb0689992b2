//! A real Mosquitto on loopback, in a folder of its own, that can be killed.

#![allow(dead_code, reason = "not every test kills it")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub(crate) struct Broker {
    pub(crate) port: u16,
    program: &'static str,
    folder: tempfile::TempDir,
    child: Child,
}

impl Broker {
    /// One that keeps nothing across its death, with these lines in its configuration; `None`, and a word, where Mosquitto
    /// is not installed. `config` may put files into the broker's folder.
    pub(crate) fn start(config: impl FnOnce(&Path) -> String) -> Option<Self> {
        let places = [
            "/usr/sbin/mosquitto",
            "/usr/local/sbin/mosquitto",
            "/usr/bin/mosquitto",
        ];
        let Some(program) = places.into_iter().find(|place| Path::new(place).exists()) else {
            println!("skipped: mosquitto is not installed");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let lines = config(folder.path());
        let config = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n{lines}\n"
        );
        std::fs::write(folder.path().join("config"), config).unwrap();
        let child = spawn(program, folder.path());
        Some(Self {
            port,
            program,
            folder,
            child,
        })
    }

    /// `kill -9`, and another in its place, which has forgotten every session.
    pub(crate) fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(self.program, self.folder.path());
    }
}

fn spawn(program: &str, folder: &Path) -> Child {
    Command::new(program)
        .arg("-c")
        .arg(folder.join("config"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
