//! What does a round of oracles cost beyond its signatures, and how long does it take across continents?
//!
//! Units: rounds per second of one core, signatures per second of one core, and milliseconds of a round in a simulated
//! network. A round here is everything that n oracles do for one report: question, n signed observations, proposal, n
//! times recomputing and checking, attestation of f+1, the report passed on by everybody; messages encoded and decoded,
//! promises committed to memory. The peer is bare k256: as many signatures made and recovered as the round made and
//! recovered, counted, and nothing else. Over the network the peer is five one-way trips, which no leader-based round can
//! do without: ask, observe, propose, attest, publish.

#![expect(
    clippy::disallowed_methods,
    reason = "a bench measures the machine's own time"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant as Stopwatch};

use parking_lot::Mutex;
use peaberry_benches::versus::{Better, Effort, Measure, interleave, report, write};
use peaberry_chain::EvmAddress;
use peaberry_chain::primitives::B256;
use peaberry_core::simulation::{NetworkProfile, World};
use peaberry_core::{
    Clock, Handle, Instant, MemoryNetwork, MemoryStorage, Node, PeerId, Sleep, Timestamp,
};
use peaberry_oracle::{
    Config, ConfigForm, EcdsaKey, EcdsaQuorum, Feed, Keyring, Member, Oracle, OracleCommand,
    OracleEvent, RoundId, Signature, Timing, WEIGHT_MAX,
};

const ROUND: &str = "ECDSA signatures and recoveries; ours also messages, checks, aggregation and commits to memory of all n oracles on one core, of one feed";
const LATENCY: &str = "virtual time from the question until every oracle has the signed report; one-way trips of 10 to 45 ms, as between three centres; no computing";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let effort = Effort::from_environment();
    let mut measures = Vec::new();
    for (faulty, words) in [
        (1, "rounds/s of one core, 4 oracles"),
        (10, "rounds/s of one core, 31 oracles"),
    ] {
        let mut ours = Cluster::new(faulty);
        let work = ours.work_of_a_round();
        let time = effort.run_time();
        let comparison = interleave(
            effort.pairs(),
            Better::More,
            || rate(time, || ours.round()),
            || rate(time, || work.bare()),
        );
        let measure = Measure::new(words, "rounds/s", "k256", ROUND, &comparison);
        report(&measure, &comparison);
        measures.push(measure);
    }
    measures.push(signatures(effort));
    measures.push(latency(effort));
    write("oracle_round", effort, &measures)?;
    Ok(())
}

/// Times a second that `act` is done.
fn rate(time: Duration, mut act: impl FnMut()) -> f64 {
    let start = Stopwatch::now();
    let mut done = 0_u32;
    while done == 0 || start.elapsed() < time {
        act();
        done += 1;
    }
    f64::from(done) / start.elapsed().as_secs_f64()
}

/// Our signature with its checks against the bare one: one made and one recovered.
fn signatures(effort: Effort) -> Measure {
    let ours = EcdsaKey::from_bytes(&[7; 32]).expect("a key");
    let work = Work {
        signed: 1,
        recovered: 1,
    };
    let digest = B256::repeat_byte(3);
    let comparison = interleave(
        effort.pairs(),
        Better::More,
        || {
            rate(effort.run_time(), || {
                let signature = ours.sign(&digest);
                assert_eq!(ours.recover(&digest, &signature), Some(ours.address()));
            })
        },
        || rate(effort.run_time(), || work.bare()),
    );
    let includes = "one signature made and one signer recovered; ours also the address and the check for a low s";
    let words = "signatures made and recovered/s of one core";
    let measure = Measure::new(words, "signatures/s", "k256", includes, &comparison);
    report(&measure, &comparison);
    measure
}

/// How many signatures a round takes.
#[derive(Clone, Copy, Debug)]
struct Work {
    signed: u64,
    recovered: u64,
}

impl Work {
    fn bare(self) {
        use k256::ecdsa::{SigningKey, VerifyingKey};
        let key = SigningKey::from_slice(&[7; 32]).expect("a key");
        let digest = [3; 32];
        let mut last = key
            .sign_prehash_recoverable(&digest)
            .expect("a digest can be signed");
        for _ in 1..self.signed {
            last = key
                .sign_prehash_recoverable(&digest)
                .expect("a digest can be signed");
        }
        for _ in 0..self.recovered {
            let (signature, recovery) = &last;
            VerifyingKey::recover_from_prehash(&digest, signature, *recovery)
                .expect("our own signature");
        }
    }
}

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
struct Cluster {
    nodes: Vec<Node>,
    handles: Vec<Handle<OracleCommand>>,
    clock: HandClock,
    agreed: Arc<AtomicU64>,
    signed: Arc<AtomicU64>,
    recovered: Arc<AtomicU64>,
    price: i128,
}

fn keys(faulty: usize) -> Vec<EcdsaKey> {
    let count = 3 * faulty + 1;
    (1..=u8::MAX)
        .filter_map(|id| EcdsaKey::from_bytes(&[id; 32]))
        .take(count)
        .collect()
}

fn config(faulty: usize) -> Arc<Config> {
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
        generation: 1,
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
    fn new(faulty: usize) -> Self {
        let config = config(faulty);
        let (network, clock) = (MemoryNetwork::new(), HandClock::default());
        let (agreed, signed, recovered) =
            <(Arc<AtomicU64>, Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let (mut nodes, mut handles) = (Vec::new(), Vec::new());
        for (key, member) in keys(faulty).into_iter().zip(config.members()) {
            let keyring = Arc::new(Counting {
                key,
                signed: signed.clone(),
                recovered: recovered.clone(),
            });
            let storage = Arc::new(MemoryStorage::new());
            let attestor = EcdsaQuorum::new(&config, keyring.clone());
            let oracle = Oracle::open(config.clone(), keyring, attestor, 0, storage.as_ref());
            let oracle = oracle.expect("an empty store");
            let mut node = Node::new(
                Arc::new(network.join(member.peer)),
                storage,
                Arc::new(clock.clone()),
            );
            let agreed = agreed.clone();
            let sink = move |event| {
                if matches!(event, OracleEvent::Agreed { .. }) {
                    agreed.fetch_add(1, Ordering::Relaxed);
                }
            };
            handles.push(oracle.add_to(&mut node, sink).expect("a free channel"));
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
    fn round(&mut self) {
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
            // Two turns each deliver what there is; then time goes on.
            for _ in 0..6 {
                for node in &mut self.nodes {
                    node.turn();
                }
            }
            self.clock.0.fetch_add(100_000_000, Ordering::Relaxed);
        }
    }

    fn work_of_a_round(&mut self) -> Work {
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

/// The network between three centres.
const TRIP_MIN: Duration = Duration::from_millis(10);
const TRIP_MAX: Duration = Duration::from_millis(45);

fn latency(effort: Effort) -> Measure {
    let mut seed = 0;
    let comparison = interleave(
        effort.pairs(),
        Better::Less,
        || {
            seed += 1;
            latency_ms(seed)
        },
        || 5.0 * (TRIP_MIN + TRIP_MAX).as_secs_f64() * 1_000.0 / 2.0,
    );
    let words = "latency of a round, 4 oracles in 3 centres";
    let measure = Measure::new(words, "ms", "five one-way trips", LATENCY, &comparison);
    report(&measure, &comparison);
    measure
}

/// When a round was begun, and who has its report.
#[derive(Default)]
struct Seen {
    begun: Option<RoundId>,
    have: BTreeSet<PeerId>,
}

/// The median over some rounds, in virtual milliseconds.
fn latency_ms(seed: u64) -> f64 {
    const ROUNDS: usize = 9;
    let config = config(1);
    let mut world = World::new(seed);
    world.set_network(NetworkProfile {
        delay_min: TRIP_MIN,
        delay_max: TRIP_MAX,
        long_per_million: 0,
        ..NetworkProfile::default()
    });
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let handles: Arc<Mutex<Vec<Handle<OracleCommand>>>> = Arc::default();
    for (key, member) in keys(1).into_iter().zip(config.members()) {
        let (config, seen, handles, peer) =
            (config.clone(), seen.clone(), handles.clone(), member.peer);
        let key = Arc::new(key);
        world.add(peer, move |boot| {
            let mut node = boot.node();
            let attestor = EcdsaQuorum::new(&config, key.clone());
            let oracle = Oracle::open(
                config.clone(),
                key.clone(),
                attestor,
                0,
                boot.storage().as_ref(),
            )?;
            let seen = seen.clone();
            let handle = oracle.add_to(&mut node, move |event| {
                let mut seen = seen.lock();
                match event {
                    OracleEvent::Observed(signed) if seen.begun.is_none() => {
                        seen.begun = Some(signed.observation.round);
                    }
                    OracleEvent::Agreed { report, .. }
                        if Some(report.report.round) == seen.begun =>
                    {
                        seen.have.insert(peer);
                    }
                    _ => {}
                }
            })?;
            handles.lock().push(handle);
            Ok(node)
        });
    }
    let mut latencies = Vec::new();
    for number in 0..ROUNDS as i128 {
        for handle in handles.lock().iter() {
            let values = vec![Some(2_100_000 + number * 10_000)];
            handle
                .submit(OracleCommand::Observe {
                    values,
                    observed_at_ms: 1,
                })
                .expect("the node lives");
        }
        *seen.lock() = Seen::default();
        let deadline = world.now() + Duration::from_secs(60);
        world.run_with(deadline, |_| seen.lock().begun.is_none());
        let begun = world.now();
        world.run_with(deadline, |_| {
            seen.lock().have.len() < config.members().len()
        });
        latencies.push(world.now().since(begun).as_secs_f64() * 1_000.0);
    }
    peaberry_benches::versus::median(latencies)
}
