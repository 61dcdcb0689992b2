//! Rounds of oracles that stand in three centres, in virtual time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use peaberry_core::simulation::{Centres, NetworkProfile, World};
use peaberry_core::{Handle, PeerId};
use peaberry_oracle::{EcdsaQuorum, Oracle, OracleCommand, OracleEvent, RoundId, leader_of};

use crate::cluster::{config, keys};

/// One way between Dublin, Virginia and Oregon, in milliseconds, about half of what is measured there and back.
const DISTANCES_MS: [[u64; 3]; 3] = [[0, 35, 62], [35, 0, 30], [62, 30, 0]];
/// One way within a centre; the way to another one takes as much longer.
const WITHIN_MIN: Duration = Duration::from_micros(200);
const WITHIN_MAX: Duration = Duration::from_millis(2);

fn centres() -> Centres {
    let row = |row: [u64; 3]| row.map(Duration::from_millis).to_vec();
    Centres::new(DISTANCES_MS.map(row).to_vec())
}

/// Five one-way trips from and to the leader of the seed, each as long as the member needs who is needed last and none
/// longer than distances and the least time within a centre: asking and answering until 2f+1 have, the leader among them;
/// proposing and signing until f+1 have; and publishing, until the furthest has the report.
pub(crate) fn floor_ms(faulty: usize, seed: u64) -> f64 {
    let config = config(faulty, seed);
    let leader = usize::from(leader_of(&config, 1));
    let centres = centres();
    let mut trips: Vec<Duration> = (0..config.members().len())
        .map(|member| match member == leader {
            true => Duration::ZERO,
            false => centres.distance(leader, member) + WITHIN_MIN,
        })
        .collect();
    trips.sort_unstable();
    let needed = |count: usize| trips.get(count - 1).copied().unwrap_or_default();
    let (quorum, threshold) = (config.quorum(), config.threshold());
    let floor = 2 * needed(quorum) + 2 * needed(threshold) + needed(trips.len());
    floor.as_secs_f64() * 1_000.0
}

/// When a round was begun, and who has its report.
#[derive(Default)]
struct Seen {
    begun: Option<RoundId>,
    have: BTreeSet<PeerId>,
}

/// The median over some rounds, in virtual milliseconds. Each seed has another leader.
pub(crate) fn latency_ms(faulty: usize, seed: u64) -> f64 {
    const ROUNDS: usize = 5;
    let config = config(faulty, seed);
    let mut world = World::new(seed);
    world.set_network(NetworkProfile {
        delay_min: WITHIN_MIN,
        delay_max: WITHIN_MAX,
        long_per_million: 0,
        centres: centres(),
        ..NetworkProfile::default()
    });
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let handles: Arc<Mutex<Vec<Handle<OracleCommand>>>> = Arc::default();
    for (key, member) in keys(faulty).into_iter().zip(config.members()) {
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
