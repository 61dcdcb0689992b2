//! A Mosquitto of one's own on the loopback interface.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub(crate) struct Mosquitto {
    pub(crate) port: u16,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Mosquitto {
    /// `None` where it is not installed.
    pub(crate) fn start() -> Result<Option<Self>, crate::Failure> {
        let places = [
            "/usr/sbin/mosquitto",
            "/usr/local/sbin/mosquitto",
            "/usr/bin/mosquitto",
        ];
        let Some(program) = places.into_iter().find(|place| Path::new(place).exists()) else {
            return Ok(None);
        };
        let folder = tempfile::tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = folder.path().join("config");
        let text =
            format!("listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n");
        std::fs::write(&config, text)?;
        // Ten thousand clients are ten thousand files.
        let child = Command::new("sh")
            .args(["-c", "ulimit -n 20000; exec \"$0\" -c \"$1\"", program])
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::yield_now();
        }
        Ok(Some(Self {
            port,
            child,
            _folder: folder,
        }))
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
