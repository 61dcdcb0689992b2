//! What does a round of oracles cost beyond its signatures, and how long does it take across continents?
//!
//! Units: rounds per second of one core, signatures per second of one core, and milliseconds of a round in a simulated
//! network. A round here is everything that n oracles do for one report: question, n signed observations, proposal, n
//! times recomputing and checking, attestation of f+1, the report passed on by everybody; messages encoded and decoded,
//! promises committed to memory. The peer is bare k256: as many signatures made and recovered as the round made and
//! recovered, counted, and nothing else. Where the oracles sign as a group, the peer is that and one signature by bare
//! frost-secp256k1-evm: n nonces drawn, f+1 shares, put together, and checked by the n-1 others. Over the network the peer
//! is five one-way trips, which no leader-based round can do without (ask, observe, propose, attest, publish), as long as
//! the topology lets them be.

#![expect(
    clippy::disallowed_methods,
    reason = "a bench measures the machine's own time"
)]

#[path = "oracle/bare.rs"]
mod bare;
#[path = "oracle/cluster.rs"]
mod cluster;
#[path = "oracle/latency.rs"]
mod latency;

use std::time::{Duration, Instant as Stopwatch};

use peaberry_benches::versus::{Better, Effort, Measure, interleave, report, write};
use peaberry_chain::primitives::B256;
use peaberry_oracle::{Attestor, EcdsaKey, FrostGroup, Gathered, GroupShare, Keyring};
use rand_core::OsRng;

use self::bare::{BareGroup, Work};
use self::cluster::Cluster;
use self::latency::{floor_ms, latency_ms};

const ROUND: &str = "ECDSA signatures and recoveries; ours also messages, checks, aggregation and commits to memory of all n oracles on one core, of one feed";
const GROUP_ROUND: &str = "as with ECDSA, of which the observations stay; the attestation is one FROST signature; ours also checks every share, and asks again who is free meanwhile (ROAST)";
const LATENCY: &str = "virtual time from the first observation until every oracle has the signed report; 35, 62 and 30 ms one way between three centres, 0.2 to 2 ms within one; no computing; ours waits for all who answer, the peer for 2f+1";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let effort = Effort::from_environment();
    let mut measures = Vec::new();
    for (faulty, words) in [
        (1, "rounds/s of one core, 4 oracles"),
        (10, "rounds/s of one core, 31 oracles"),
    ] {
        measures.push(rounds(effort, faulty, words));
    }
    for (faulty, words) in [
        (1, "rounds/s of one core, 4 oracles as a group"),
        (10, "rounds/s of one core, 31 oracles as a group"),
    ] {
        measures.push(group_rounds(effort, faulty, words));
    }
    measures.push(signatures(effort));
    measures.push(group_signatures(effort));
    for (faulty, words) in [
        (1, "latency of a round, 4 oracles in 3 centres"),
        (10, "latency of a round, 31 oracles in 3 centres"),
    ] {
        measures.push(latency(effort, faulty, words));
    }
    write("oracle_round", effort, &measures)?;
    Ok(())
}

fn rounds(effort: Effort, faulty: usize, words: &str) -> Measure {
    let mut ours = Cluster::new(faulty, None);
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
    measure
}

fn group_rounds(effort: Effort, faulty: usize, words: &str) -> Measure {
    let shares = deal(faulty);
    let mut ours = Cluster::new(faulty, Some(&shares));
    let (work, group) = (ours.work_of_a_round(), BareGroup::deal(faulty));
    let time = effort.run_time();
    let comparison = interleave(
        effort.pairs(),
        Better::More,
        || rate(time, || ours.round()),
        || {
            rate(time, || {
                work.bare();
                let signature = group.sign(&[3; 32]);
                group.verify(&[3; 32], &signature, group.others());
            })
        },
    );
    let peer = "k256 and frost-secp256k1-evm";
    let measure = Measure::new(words, "rounds/s", peer, GROUP_ROUND, &comparison);
    report(&measure, &comparison);
    measure
}

fn deal(faulty: usize) -> Vec<GroupShare> {
    let faulty = u8::try_from(faulty).expect("few");
    GroupShare::deal(3 * faulty + 1, faulty + 1, &mut OsRng).expect("a group of that size")
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

/// One signature of two of four, from the first nonce to the check by a third.
fn group_signatures(effort: Effort) -> Measure {
    let mut members: Vec<_> = deal(1).into_iter().map(FrostGroup::new).collect();
    let bare = BareGroup::deal(1);
    let mut number = 0_u64;
    let comparison = interleave(
        effort.pairs(),
        Better::More,
        || {
            rate(effort.run_time(), || {
                number += 1;
                let mut digest = [0; 32];
                digest[..8].copy_from_slice(&number.to_be_bytes());
                sign_together(&mut members, &B256::new(digest));
            })
        },
        || {
            rate(effort.run_time(), || {
                let signature = bare.sign(&[3; 32]);
                bare.verify(&[3; 32], &signature, 1);
            })
        },
    );
    let includes = "four nonces, two shares, one signature put together and checked by a third; ours also the bytes of each step, a second nonce for each signer and the check of each share";
    let words = "group signatures made and verified/s of one core, 2 of 4";
    let peer = "frost-secp256k1-evm";
    let measure = Measure::new(words, "signatures/s", peer, includes, &comparison);
    report(&measure, &comparison);
    measure
}

fn sign_together(members: &mut [FrostGroup], digest: &B256) {
    let parts: Vec<_> = members
        .iter_mut()
        .map(|it| it.contribute(digest, None).expect("a first nonce"))
        .collect();
    let [gatherer, ..] = members else {
        return;
    };
    gatherer.begin(digest);
    let mut asked = Vec::new();
    for (member, part) in (0..).zip(parts).take(2) {
        if let Ok(Gathered::Ask(requests)) = gatherer.gather(digest, member, &part) {
            asked = requests;
        }
    }
    let mut done = None;
    for (member, request) in asked {
        let signer = members.get_mut(usize::from(member)).expect("a member");
        let share = signer.contribute(digest, Some(&request));
        let [gatherer, ..] = members else {
            return;
        };
        if let Ok(Gathered::Done(it)) = gatherer.gather(digest, member, &share.expect("asked once"))
        {
            done = Some(it);
        }
    }
    let third = members.last().expect("a member");
    let is_known = third.verify(digest, &done.expect("two of four sign"));
    assert_eq!(is_known, Ok(()));
}

fn latency(effort: Effort, faulty: usize, words: &str) -> Measure {
    let (mut seed, mut peer_seed) = (0, 0);
    let comparison = interleave(
        effort.pairs(),
        Better::Less,
        || {
            seed += 1;
            latency_ms(faulty, seed)
        },
        || {
            peer_seed += 1;
            floor_ms(faulty, peer_seed)
        },
    );
    let measure = Measure::new(words, "ms", "five one-way trips", LATENCY, &comparison);
    report(&measure, &comparison);
    measure
}
