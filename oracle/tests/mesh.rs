//! Four oracles over mutual TLS on loopback, with ECDSA and nothing simulated.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use peaberry_chain::EvmAddress;
use peaberry_core::ca::DevelopmentCa;
use peaberry_core::mesh::{Credentials, Mesh, MeshConfig};
use peaberry_core::{ClusterId, MemoryStorage, Node, PeerId, SystemClock, Transport};
use peaberry_oracle::{
    Attestor, Config, ConfigForm, EcdsaKey, EcdsaQuorum, Feed, Keyring, Member, ORACLE, Oracle,
    OracleCommand, OracleEvent, Timing, WEIGHT_MAX,
};
use tokio::sync::mpsc;

fn peer(id: u8) -> PeerId {
    PeerId::new(id.into()).unwrap()
}

fn key(id: u8) -> Arc<EcdsaKey> {
    Arc::new(EcdsaKey::from_bytes(&[id; 32]).unwrap())
}

async fn mesh(ca: &DevelopmentCa, id: u8) -> Mesh {
    let issued = ca.issue(peer(id)).unwrap();
    let credentials = Credentials::from_pem(
        &issued.certificate_pem,
        &issued.key_pem,
        &issued.authority_pem,
    )
    .unwrap();
    let mut config = MeshConfig::new(credentials, u64::from(id));
    config.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    Mesh::start(config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_oracles_agree_over_the_mesh() {
    let member = |id| Member {
        peer: peer(id),
        signer: key(id).address(),
        weight: WEIGHT_MAX,
    };
    let config = Arc::new(
        Config::new(ConfigForm {
            chain_id: 1,
            contract: EvmAddress::repeat_byte(0xcc),
            generation: 1,
            faulty: 1,
            threshold: 2,
            members: (1..=4).map(member).collect(),
            feeds: vec![Feed {
                name: "BTC/USD".into(),
                decimals: 2,
                min: 1,
                max: 10_i128.pow(12),
                deviation_bps: 1,
                heartbeat_ms: 60_000,
                breaker_bps: None,
            }],
            timing: Timing {
                round: Duration::from_millis(200),
                grace: Duration::from_millis(20),
                progress: Duration::from_millis(1_000),
                beat: Duration::from_millis(100),
                ..Timing::default()
            },
        })
        .unwrap(),
    );
    let ca = DevelopmentCa::new(ClusterId::new(1).unwrap()).unwrap();
    let mut meshes = Vec::new();
    for id in 1..=4 {
        meshes.push(mesh(&ca, id).await);
    }
    for one in &meshes {
        for other in meshes.iter().filter(|it| it.local() != one.local()) {
            one.set_peer(other.local(), other.local_addr().unwrap())
                .unwrap();
        }
    }
    let (sender, mut events) = mpsc::unbounded_channel();
    for (id, mesh) in (1..=4_u8).zip(meshes) {
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
                agreed[usize::from(id) - 1] = true;
                let answer = report.report.answers[0].value;
                assert!((2_100_001..=2_100_004).contains(&answer));
                let digest = report.report.digest(&config);
                let quorum = EcdsaQuorum::new(&config, key(1));
                assert_eq!(quorum.verify(&digest, &report.attestation), Ok(()));
            }
            OracleEvent::Misbehaviour { peer, what } => panic!("{peer}: {what}"),
            _ => {}
        }
    }
}
