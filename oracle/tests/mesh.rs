//! Four oracles over mutual TLS on loopback, with ECDSA and nothing simulated.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ground;

use std::net::SocketAddr;
use std::sync::Arc;

use peaberry_chain::EvmAddress;
use peaberry_core::ca::DevelopmentCa;
use peaberry_core::mesh::{Credentials, Mesh, MeshConfig};
use peaberry_core::{ClusterId, MemoryStorage, Node, SystemClock, Transport};
use peaberry_oracle::{
    Attestor, Config, ConfigForm, EcdsaQuorum, ORACLE, Oracle, OracleCommand, OracleEvent,
};
use tokio::sync::mpsc;

use self::ground::{MEMBERS, feed, key, peer};

async fn mesh(ca: &DevelopmentCa, member: u8) -> Mesh {
    let issued = ca.issue(peer(member)).unwrap();
    let credentials = Credentials::from_pem(
        &issued.certificate_pem,
        &issued.key_pem,
        &issued.authority_pem,
    )
    .unwrap();
    let mut config = MeshConfig::new(credentials, u64::from(member));
    config.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    Mesh::start(config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_oracles_agree_over_the_mesh() {
    let form = ConfigForm {
        feeds: vec![feed("BTC/USD", None)],
        ..ground::form(EvmAddress::repeat_byte(0xcc))
    };
    let config = Arc::new(Config::new(form).unwrap());
    let ca = DevelopmentCa::new(ClusterId::new(1).unwrap()).unwrap();
    let mut meshes = Vec::new();
    for member in 0..MEMBERS {
        meshes.push(mesh(&ca, member).await);
    }
    for one in &meshes {
        for other in meshes.iter().filter(|it| it.local() != one.local()) {
            one.set_peer(other.local(), other.local_addr().unwrap())
                .unwrap();
        }
    }
    let (sender, mut events) = mpsc::unbounded_channel();
    for (id, mesh) in (0..MEMBERS).zip(meshes) {
        let storage = Arc::new(MemoryStorage::new());
        let attestor = EcdsaQuorum::new(&config, key(id));
        let oracle = Oracle::open(config.clone(), key(id), attestor, 0, storage.as_ref()).unwrap();
        let peers = oracle.peers();
        let mut node = Node::new(Arc::new(mesh), storage, Arc::new(SystemClock::new()))
            .with_peers(ORACLE, peers);
        let sender = sender.clone();
        let handle = oracle
            .add_to(&mut node, move |event| drop(sender.send((id, event))))
            .unwrap();
        let values = vec![Some(2_100_000 + i128::from(id))];
        handle
            .submit(OracleCommand::Observe {
                values,
                observed_at_ms: 1_000,
            })
            .unwrap();
        tokio::spawn(async move {
            node.into_task().await;
            drop(handle);
        });
    }
    let mut agreed = [false; 4];
    while agreed.iter().any(|it| !it) {
        let (id, event) = events.recv().await.unwrap();
        match event {
            OracleEvent::Agreed { report, .. } => {
                agreed[usize::from(id)] = true;
                let answer = report.report.answers[0].value;
                assert!((2_100_000..=2_100_003).contains(&answer));
                let digest = report.report.digest(&config);
                let quorum = EcdsaQuorum::new(&config, key(0));
                assert_eq!(quorum.verify(&digest, &report.attestation), Ok(()));
            }
            OracleEvent::Misbehaviour { peer, what } => panic!("{peer}: {what}"),
            _ => {}
        }
    }
}
