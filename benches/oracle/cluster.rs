//! All oracles of a configuration on one core, and their rounds one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use peaberry_chain::EvmAddress;
use peaberry_chain::primitives::B256;
use peaberry_core::{
    Clock, Handle, Instant, MemoryNetwork, MemoryStorage, Node, PeerId, Sleep, Timestamp,
};
use peaberry_oracle::{
    Config, ConfigForm, EcdsaKey, EcdsaQuorum, Feed, FrostGroup, GroupShare, Keyring, Member,
    Oracle, OracleCommand, OracleEvent, Signature, Timing, WEIGHT_MAX,
};

use crate::bare::Work;

/// A key that counts.
struct Counting {
    key: EcdsaKey,
    signed: Arc<AtomicU64>,
    recovered: Arc<AtomicU64>,
}

impl Keyring for Counting {
    fn address(&self) -> EvmAddress {
        self.key.address()
    }

    fn sign(&self, digest: &B256) -> Signature {
        self.signed.fetch_add(1, Ordering::Relaxed);
        self.key.sign(digest)
    }

    fn recover(&self, digest: &B256, signature: &Signature) -> Option<EvmAddress> {
        self.recovered.fetch_add(1, Ordering::Relaxed);
        self.key.recover(digest, signature)
    }
}

/// A clock that is moved by hand: rounds follow each other without waiting.
#[derive(Clone, Default)]
struct HandClock(Arc<AtomicU64>);

impl Clock for HandClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.load(Ordering::Relaxed))
    }

    fn timestamp(&self) -> Timestamp {
        Timestamp::from_unix_nanos(self.0.load(Ordering::Relaxed))
    }

    fn sleep_until(&self, _deadline: Instant) -> Sleep {
        Sleep::new(std::future::pending())
    }
}

/// All oracles on one core.
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    handles: Vec<Handle<OracleCommand>>,
    clock: HandClock,
    agreed: Arc<AtomicU64>,
    signed: Arc<AtomicU64>,
    recovered: Arc<AtomicU64>,
    price: i128,
}

pub(crate) fn keys(faulty: usize) -> Vec<EcdsaKey> {
    let count = 3 * faulty + 1;
    (1..=u8::MAX)
        .filter_map(|id| EcdsaKey::from_bytes(&[id; 32]))
        .take(count)
        .collect()
}

/// The leaders' order is drawn from it: another generation has another one.
pub(crate) fn config(faulty: usize, generation: u64) -> Arc<Config> {
    let members = keys(faulty).into_iter().zip(1..).map(|(key, id)| Member {
        peer: PeerId::new(id).expect("not zero"),
        signer: key.address(),
        weight: WEIGHT_MAX,
    });
    let feed = Feed {
        name: "BTC/USD".into(),
        decimals: 2,
        min: 1,
        max: 10_i128.pow(20),
        deviation_bps: 1,
        heartbeat_ms: 1,
        breaker_bps: None,
    };
    let form = ConfigForm {
        chain_id: 31_337,
        contract: EvmAddress::repeat_byte(0xcc),
        generation,
        faulty,
        threshold: faulty + 1,
        members: members.collect(),
        feeds: vec![feed],
        timing: Timing {
            rounds_per_epoch: 1_000_000,
            ..Timing::default()
        },
    };
    Arc::new(Config::new(form).expect("a configuration that holds together"))
}

impl Cluster {
    /// 3f+1 oracles; as a group, or each with its own key.
    pub(crate) fn new(faulty: usize, shares: Option<&[GroupShare]>) -> Self {
        let config = config(faulty, 1);
        let (network, clock) = (MemoryNetwork::new(), HandClock::default());
        let (agreed, signed, recovered) =
            <(Arc<AtomicU64>, Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let (mut nodes, mut handles) = (Vec::new(), Vec::new());
        for (at, (key, member)) in keys(faulty).into_iter().zip(config.members()).enumerate() {
            let keyring = Arc::new(Counting {
                key,
                signed: signed.clone(),
                recovered: recovered.clone(),
            });
            let storage = Arc::new(MemoryStorage::new());
            let mut node = Node::new(
                Arc::new(network.join(member.peer)),
                storage.clone(),
                Arc::new(clock.clone()),
            );
            let agreed = agreed.clone();
            let sink = move |event| {
                if matches!(event, OracleEvent::Agreed { .. }) {
                    agreed.fetch_add(1, Ordering::Relaxed);
                }
            };
            let share = shares.and_then(|shares| shares.get(at));
            let handle = match share {
                None => {
                    let attestor = EcdsaQuorum::new(&config, keyring.clone());
                    let oracle =
                        Oracle::open(config.clone(), keyring, attestor, 0, storage.as_ref());
                    oracle.expect("an empty store").add_to(&mut node, sink)
                }
                Some(share) => {
                    let attestor = FrostGroup::new(share.clone());
                    let oracle =
                        Oracle::open(config.clone(), keyring, attestor, 0, storage.as_ref());
                    oracle.expect("an empty store").add_to(&mut node, sink)
                }
            };
            handles.push(handle.expect("a free channel"));
            nodes.push(node);
        }
        let mut cluster = Self {
            nodes,
            handles,
            clock,
            agreed,
            signed,
            recovered,
            price: 2_100_000,
        };
        // The first one finds an epoch together.
        cluster.round();
        cluster
    }

    /// One round, until all have the report.
    pub(crate) fn round(&mut self) {
        self.price += self.price / 1_000;
        if self.price > 10_i128.pow(12) {
            self.price = 2_100_000;
        }
        let observed_at_ms = self.clock.0.load(Ordering::Relaxed) / 1_000_000;
        for handle in &self.handles {
            let values = vec![Some(self.price)];
            handle
                .submit(OracleCommand::Observe {
                    values,
                    observed_at_ms,
                })
                .expect("the node lives");
        }
        let until = self.agreed.load(Ordering::Relaxed) / self.nodes.len() as u64 + 1;
        while self.agreed.load(Ordering::Relaxed) < until * self.nodes.len() as u64 {
            // Turns deliver what there is; then time goes on.
            for _ in 0..10 {
                for node in &mut self.nodes {
                    node.turn();
                }
            }
            self.clock.0.fetch_add(100_000_000, Ordering::Relaxed);
        }
    }

    /// What the oracles' own keys do in a round.
    pub(crate) fn work_of_a_round(&mut self) -> Work {
        let (signed, recovered) = (
            self.signed.load(Ordering::Relaxed),
            self.recovered.load(Ordering::Relaxed),
        );
        self.round();
        Work {
            signed: self.signed.load(Ordering::Relaxed) - signed,
            recovered: self.recovered.load(Ordering::Relaxed) - recovered,
        }
    }
}
