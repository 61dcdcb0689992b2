//! Over TCP and TLS on loopback, on nodes with threads of their own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use peaberry_core::ca::DevelopmentCa;
use peaberry_core::mesh::{Credentials, Mesh, MeshConfig};
use peaberry_core::{ClusterId, MemoryStorage, Node, NodeThread, PeerId, SystemClock, Transport};
use peaberry_crdt::Lattice;
use peaberry_crdt::protocol::{Replica, ReplicaHandle};

use crate::machines::{Tags, members, options};

/// Bounds a wait that only a failing test exhausts.
const PATIENCE: Duration = Duration::from_secs(60);

struct Shop {
    handle: ReplicaHandle<Tags>,
    mesh: Arc<Mesh>,
    address: SocketAddr,
    storage: Arc<MemoryStorage>,
    /// Ends with it.
    _node: NodeThread,
}

async fn open(ca: &DevelopmentCa, number: u64, life: u64, storage: Arc<MemoryStorage>) -> Shop {
    let issued = ca.issue(PeerId::new(number).unwrap()).unwrap();
    let credentials = Credentials::from_pem(
        &issued.certificate_pem,
        &issued.key_pem,
        &issued.authority_pem,
    );
    let mut config = MeshConfig::new(credentials.unwrap(), life);
    config.listen = Some("127.0.0.1:0".parse().unwrap());
    config.times.retry_delay_min = Duration::from_millis(5);
    config.times.retry_delay_max = Duration::from_millis(50);
    let mesh = Arc::new(Mesh::start(config).await.unwrap());
    let mut options = options(number, members(3), life);
    options.sync.idle = Duration::from_millis(100);
    options.sync.part_bytes = 1 << 10;
    let replica = Replica::open(storage.as_ref(), options, Tags::bottom()).unwrap();
    let mut node = Node::new(mesh.clone(), storage.clone(), Arc::new(SystemClock::new()));
    let handle = replica.add_to(&mut node, |_event| {}).unwrap();
    Shop {
        handle,
        address: mesh.local_addr().unwrap(),
        mesh,
        storage,
        _node: node.spawn(&format!("shop-{number}")).unwrap(),
    }
}

fn introduce(shops: &[Shop]) {
    for one in shops {
        for other in shops {
            if one.address != other.address {
                one.mesh
                    .set_peer(other.mesh.local(), other.address)
                    .unwrap();
            }
        }
    }
}

async fn add(shop: &Shop, tags: std::ops::Range<u32>) {
    for tag in tags {
        let done = shop.handle.mutate(move |doc: &mut Tags, writer| {
            doc.write(writer, |set, mint| Ok(set.add(mint, tag)))
                .is_ok()
        });
        assert_eq!(done.await, Ok(true));
    }
}

async fn until_all_have(shops: &[Shop], count: usize) {
    for shop in shops {
        let mut changes = shop.handle.changes();
        let has_all = async {
            while shop.handle.read(|tags| tags.value().len()) < count {
                changes.next().await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, has_all).await.is_ok());
    }
}

#[test]
fn three_shops_converge_over_a_mesh_and_one_of_them_comes_back() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let ca = DevelopmentCa::new(ClusterId::new(1).unwrap()).unwrap();
        let mut shops = Vec::new();
        for number in 1..=3 {
            shops.push(open(&ca, number, number, Arc::new(MemoryStorage::new())).await);
        }
        introduce(&shops);
        for (shop, tags) in shops.iter().zip([0..40, 40..80, 80..120]) {
            add(shop, tags).await;
        }
        until_all_have(&shops, 120).await;

        let dead = shops.remove(1);
        let (storage, before) = (dead.storage.clone(), dead.handle.replica());
        drop(dead);
        add(&shops[0], 200..240).await;
        shops.push(open(&ca, 2, 22, storage).await);
        assert_ne!(shops[2].handle.replica(), before);
        assert_eq!(shops[2].handle.read(|tags| tags.value().len()), 120);
        introduce(&shops);
        add(&shops[2], 300..310).await;
        until_all_have(&shops, 170).await;
        let states: Vec<Tags> = shops
            .iter()
            .map(|shop| shop.handle.read(Tags::clone))
            .collect();
        assert!(states.windows(2).all(|pair| pair[0] == pair[1]));
    });
}
