//! The three replicas, from outside: processes, the wires between them, and who leads.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use peaberry_core::ca::DevelopmentCa;
use peaberry_core::mesh::{Credentials, Mesh, MeshConfig};
use peaberry_core::{ClusterId, PeerId};
use tokio::sync::{mpsc, watch};

use crate::Failure;
use crate::proxy::Wire;
use crate::replica::CLUSTER;

/// The replicas' peer numbers.
pub(crate) const REPLICAS: [u64; 3] = [1, 2, 3];

/// The shop's own peer number.
pub(crate) const SHOP: u64 = 100;

/// Three replicas in temporary folders, and a wire for each ordered pair of peers.
pub(crate) struct Cluster {
    folder: PathBuf,
    rng: fastrand::Rng,
    replicas: BTreeMap<u64, Process>,
    /// (from, to): dialled by the one, leading to the other.
    wires: BTreeMap<(u64, u64), Wire>,
    /// The newest (term, leader) that any replica has told of.
    leader: watch::Sender<(u64, u64)>,
}

/// One replica's process.
struct Process {
    child: Child,
    orders: ChildStdin,
}

impl Cluster {
    /// Issues certificates, lays wires and starts the replicas.
    pub(crate) async fn start(folder: &Path, rng: fastrand::Rng) -> Result<Self, Failure> {
        let ca = DevelopmentCa::new(ClusterId::new(CLUSTER).ok_or("a cluster's id is not zero")?)?;
        for id in REPLICAS.into_iter().chain([SHOP]) {
            issue(&ca, id, &folder.join(id.to_string()))?;
        }
        let mut wires = BTreeMap::new();
        for to in REPLICAS {
            for from in REPLICAS
                .into_iter()
                .chain([SHOP])
                .filter(|&from| from != to)
            {
                wires.insert((from, to), Wire::lay().await?);
            }
        }
        let replicas = BTreeMap::new();
        let mut cluster = Self {
            folder: folder.to_owned(),
            rng,
            replicas,
            wires,
            leader: watch::Sender::new((0, 0)),
        };
        for id in REPLICAS {
            cluster.start_replica(id).await?;
        }
        Ok(cluster)
    }

    /// Starts a replica's process on whatever its folder holds.
    pub(crate) async fn start_replica(&mut self, id: u64) -> Result<(), Failure> {
        let seed = self.rng.u64(..);
        let mut child = Command::new(std::env::current_exe()?)
            .args([
                "replica",
                "--id",
                &id.to_string(),
                "--voters",
                "1,2,3",
                "--seed",
                &seed.to_string(),
            ])
            .arg("--folder")
            .arg(self.folder.join(id.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = child.stdout.take().ok_or("its output was piped")?;
        let orders = child.stdin.take().ok_or("its input was piped")?;
        let (heard, mut listening) = mpsc::unbounded_channel();
        let leader = self.leader.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                listen_to(&line, &heard, &leader);
            }
        });
        self.replicas.insert(id, Process { child, orders });
        let address = listening
            .recv()
            .await
            .ok_or_else(|| format!("replica {id} ended before it listened"))?;
        for ((_, to), wire) in &self.wires {
            if *to == id {
                wire.lead_to(address);
            }
        }
        self.introduce(id)
    }

    /// Tells a replica where the wires to the others begin.
    fn introduce(&mut self, id: u64) -> Result<(), Failure> {
        let process = self
            .replicas
            .get_mut(&id)
            .ok_or("it was started just now")?;
        for (&(_, to), wire) in self.wires.iter().filter(|((from, _), _)| *from == id) {
            writeln!(process.orders, "peer {to} {}", wire.address())?;
        }
        Ok(process.orders.flush()?)
    }

    /// The shop's own end of the mesh.
    pub(crate) async fn mesh(&mut self) -> Result<Mesh, Failure> {
        let credentials: Credentials =
            crate::replica::credentials(&self.folder.join(SHOP.to_string()))?;
        let mut config = MeshConfig::new(credentials, self.rng.u64(..));
        for (&(_, to), wire) in self.wires.iter().filter(|((from, _), _)| *from == SHOP) {
            config.peers.insert(
                PeerId::new(to).ok_or("replicas are not numbered 0")?,
                wire.address(),
            );
        }
        Ok(Mesh::start(config).await?)
    }

    /// Who leads, as soon as anyone says so in a term above `term`.
    pub(crate) async fn leader_after(&self, term: u64) -> Result<(u64, u64), Failure> {
        let mut leader = self.leader.subscribe();
        let newest = *leader.wait_for(|(newer, _)| *newer > term).await?;
        Ok(newest)
    }

    /// The newest leader that was told of.
    pub(crate) fn leader(&self) -> (u64, u64) {
        *self.leader.borrow()
    }

    /// Ends a replica's process with SIGKILL.
    pub(crate) fn kill(&mut self, id: u64) -> Result<(), Failure> {
        let process = self
            .replicas
            .get_mut(&id)
            .ok_or("every replica was started")?;
        process.child.kill()?;
        process.child.wait()?;
        Ok(())
    }

    /// Swallows everything to and from a replica.
    pub(crate) fn cut_off(&self, id: u64) {
        self.wires_of(id).for_each(Wire::cut);
    }

    /// Makes a replica's wires whole.
    pub(crate) fn heal(&self, id: u64) {
        self.wires_of(id).for_each(Wire::heal);
    }

    fn wires_of(&self, id: u64) -> impl Iterator<Item = &Wire> {
        self.wires
            .iter()
            .filter(move |((from, to), _)| *from == id || *to == id)
            .map(|(_, wire)| wire)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in self.replicas.values_mut() {
            // One that has ended already needs no end.
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }
}

/// Takes a line of a replica's output.
fn listen_to(
    line: &str,
    listening: &mpsc::UnboundedSender<SocketAddr>,
    leader: &watch::Sender<(u64, u64)>,
) {
    let words: Vec<_> = line.split(' ').collect();
    match words.as_slice() {
        ["listening", address] => {
            if let Ok(address) = address.parse() {
                let _ = listening.send(address);
            }
        }
        ["leader", term, id] => {
            if let (Ok(term), Ok(id)) = (term.parse(), id.parse()) {
                leader.send_if_modified(|newest| {
                    let is_newer = term > newest.0;
                    if is_newer {
                        *newest = (term, id);
                    }
                    is_newer
                });
            }
        }
        _ => eprintln!("a replica says: {line}"),
    }
}

/// Puts a peer's credentials into its folder.
fn issue(ca: &DevelopmentCa, id: u64, folder: &Path) -> Result<(), Failure> {
    let issued = ca.issue(PeerId::new(id).ok_or("no peer is numbered 0")?)?;
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("certificate.pem"), issued.certificate_pem)?;
    std::fs::write(folder.join("key.pem"), issued.key_pem)?;
    std::fs::write(folder.join("authority.pem"), issued.authority_pem)?;
    Ok(())
}
