//! Oracles make a key that none of them knows, among liars and over a network that loses messages.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use peaberry_chain::EvmAddress;
use peaberry_chain::primitives::B256;
use peaberry_core::simulation::{FaultKind, FaultProfile, World};
use peaberry_core::{Handle, Outgoing, PeerId, Storage, Tapped, Transport};
use peaberry_oracle::{
    AttestError, Attestor, BeginError, Config, ConfigForm, EcdsaKey, Feed, FrostGroup, Gathered,
    GroupShare, KeyGeneration, KeyGenerationCommand, KeyGenerationEvent, KeyGenerationFault,
    Keyring, Member, Oracle, OracleCommand, OracleEvent, PublicGroup, Timing, kept_shares,
    leader_of,
};

fn peer(id: u8) -> PeerId {
    PeerId::new(id.into()).unwrap()
}

fn key(member: u8) -> Arc<EcdsaKey> {
    Arc::new(EcdsaKey::from_bytes(&[member + 1; 32]).unwrap())
}

fn config(faulty: u8) -> Arc<Config> {
    let member = |number: u8| Member {
        peer: peer(number + 1),
        signer: key(number).address(),
        weight: 1000,
    };
    let feed = Feed {
        name: "BTC/USD".into(),
        decimals: 2,
        min: 100,
        max: 10_i128.pow(12),
        deviation_bps: 100,
        heartbeat_ms: 60_000,
        breaker_bps: None,
    };
    let form = ConfigForm {
        chain_id: 1,
        contract: EvmAddress::repeat_byte(0xcc),
        generation: 1,
        faulty: faulty.into(),
        threshold: usize::from(faulty) + 1,
        members: (0..3 * faulty + 1).map(member).collect(),
        feeds: vec![feed],
        timing: Timing {
            round: Duration::from_millis(500),
            grace: Duration::from_millis(50),
            progress: Duration::from_secs(3),
            beat: Duration::from_millis(300),
            rounds_per_epoch: 3,
            ..Timing::default()
        },
    };
    Arc::new(Config::new(form).unwrap())
}

/// How a member's messages are spoilt on their way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    /// Its share for the member after it is wrong, and so is what it shows for it.
    BadShare,
    /// It tells its shares to nobody but one.
    FewShares,
    /// It speaks to nobody but one.
    FewWords,
}

/// Where the kind of a message stands.
const KIND: usize = 33;

/// A transport by which its owner lies.
fn spoilt(inner: Arc<dyn Transport>, lie: Lie) -> impl Transport {
    let first = if inner.local() == peer(1) {
        peer(2)
    } else {
        peer(1)
    };
    Tapped::new(inner, move |batch: &mut Vec<Outgoing>| {
        batch.retain_mut(|outgoing| {
            let is_first = outgoing.to == first;
            let kind = outgoing.payload.get(KIND).copied();
            match (lie, kind) {
                (Lie::BadShare, Some(2 | 3)) if is_first || kind == Some(3) => {
                    let mut bytes = outgoing.payload.to_vec();
                    *bytes.last_mut().unwrap() ^= 1;
                    outgoing.payload = Bytes::from(bytes);
                    true
                }
                (Lie::FewShares, Some(2)) => is_first,
                (Lie::FewShares, Some(3)) => false,
                (Lie::FewWords, _) => is_first,
                _ => true,
            }
        });
    })
}

type Told = Arc<Mutex<Vec<(u8, KeyGenerationEvent)>>>;

struct Ceremony {
    world: World,
    config: Arc<Config>,
    handles: Arc<Mutex<BTreeMap<u8, Handle<KeyGenerationCommand>>>>,
    storages: Arc<Mutex<BTreeMap<u8, Arc<dyn Storage>>>>,
    told: Told,
}

impl Ceremony {
    fn new(seed: u64, faulty: u8, liar: Option<(u8, Lie)>) -> Self {
        let mut it = Self {
            world: World::new(seed),
            config: config(faulty),
            handles: Arc::default(),
            storages: Arc::default(),
            told: Arc::default(),
        };
        for number in 0..3 * faulty + 1 {
            let (config, handles, storages, told) = (
                it.config.clone(),
                it.handles.clone(),
                it.storages.clone(),
                it.told.clone(),
            );
            let lie = liar
                .filter(|(it, _)| *it == number)
                .map_or(Lie::None, |it| it.1);
            it.world.add(peer(number + 1), move |boot| {
                let storage = boot.storage();
                storages.lock().insert(number, storage.clone());
                let protocol =
                    KeyGeneration::open(config.clone(), key(number), 0, storage.as_ref())?;
                let inner = boot.transport();
                let transport = Arc::new(spoilt(inner, lie));
                let mut node = peaberry_core::Node::new(transport, storage, boot.clock());
                let told = told.clone();
                let handle =
                    protocol.add_to(&mut node, move |event| told.lock().push((number, event)))?;
                handles.lock().insert(number, handle);
                Ok(node)
            });
        }
        it.world.run_for(Duration::from_millis(10));
        it
    }

    fn begin(&self, attempt: u32, participants: &[u8]) {
        for number in participants {
            let handle = self.handles.lock().get(number).cloned().unwrap();
            let command = KeyGenerationCommand::Begin {
                attempt,
                participants: participants.to_vec(),
            };
            handle.submit(command).unwrap();
        }
    }

    fn run(&mut self, seconds: u64) {
        self.world.run_for(Duration::from_secs(seconds));
    }

    /// The shares that were told of, in this attempt.
    fn established(&self, attempt: u32) -> BTreeMap<u8, GroupShare> {
        let told = self.told.lock();
        let shares = told.iter().filter_map(|(by, event)| match event {
            KeyGenerationEvent::Established { attempt: of, share } if *of == attempt => {
                Some((*by, share.clone()))
            }
            _ => None,
        });
        shares.collect()
    }

    /// Whom each blames for the failure of this attempt.
    fn failed(&self, attempt: u32) -> BTreeMap<u8, Vec<u8>> {
        let told = self.told.lock();
        let failures = told.iter().filter_map(|(by, event)| match event {
            KeyGenerationEvent::Failed {
                attempt: of,
                culprits,
            } if *of == attempt => Some((*by, culprits.clone())),
            _ => None,
        });
        failures.collect()
    }

    fn faults(&self) -> Vec<(u8, u8, KeyGenerationFault)> {
        let told = self.told.lock();
        let faults = told.iter().filter_map(|(by, event)| match event {
            KeyGenerationEvent::Misbehaviour { member, what } => Some((*by, *member, *what)),
            _ => None,
        });
        faults.collect()
    }
}

/// f+1 of the shares sign for the group.
fn assert_they_sign(shares: &BTreeMap<u8, GroupShare>) {
    let digest = B256::repeat_byte(9);
    let threshold = shares.values().next().unwrap().threshold();
    let keys: Vec<_> = shares.values().map(GroupShare::group_key).collect();
    assert!(keys.windows(2).all(|pair| pair[0] == pair[1]), "one key");
    let chosen = shares.iter().rev().take(threshold);
    let mut signers: BTreeMap<u8, FrostGroup> = chosen
        .map(|(member, share)| (*member, FrostGroup::new(share.clone())))
        .collect();
    let mut gatherer = FrostGroup::new(shares.values().next().unwrap().clone());
    gatherer.begin(&digest);
    let mut asked = Vec::new();
    for (member, signer) in &mut signers {
        let part = signer.contribute(&digest, None).unwrap();
        if let Gathered::Ask(requests) = gatherer.gather(&digest, *member, &part).unwrap() {
            asked = requests;
        }
    }
    let mut done = None;
    for (member, request) in asked {
        let signer = signers.get_mut(&member).unwrap();
        let part = signer.contribute(&digest, Some(&request)).unwrap();
        if let Gathered::Done(attestation) = gatherer.gather(&digest, member, &part).unwrap() {
            done = Some(attestation);
        }
    }
    assert_eq!(gatherer.verify(&digest, &done.unwrap()), Ok(()));
}

#[test]
fn four_and_seven_make_a_key_and_sign_with_it() {
    for faulty in [1, 2] {
        let mut ceremony = Ceremony::new(1, faulty, None);
        let everyone: Vec<u8> = (0..3 * faulty + 1).collect();
        ceremony.begin(1, &everyone);
        ceremony.run(2);
        let shares = ceremony.established(1);
        assert_eq!(shares.len(), everyone.len(), "{:?}", ceremony.failed(1));
        assert_they_sign(&shares);
        assert_eq!(ceremony.faults(), []);
        let kept = ceremony.storages.lock()[&0].clone();
        let kept = kept_shares(0, kept.as_ref()).unwrap();
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].1.to_bytes(), shares[&0].to_bytes());
    }
}

#[test]
fn lost_and_repeated_messages_do_no_harm() {
    for seed in 0..10 {
        let mut ceremony = Ceremony::new(seed, 1, None);
        let profile = FaultProfile::calm()
            .weight(FaultKind::LossBurst, 4)
            .weight(FaultKind::DuplicateBurst, 4)
            .weight(FaultKind::DelayBurst, 4);
        ceremony.world.unleash(profile);
        ceremony.begin(1, &[0, 1, 2, 3]);
        ceremony.run(1);
        ceremony.world.heal();
        ceremony.run(12);
        let shares = ceremony.established(1);
        assert_eq!(shares.len(), 4, "seed {seed}: {:?}", ceremony.failed(1));
        assert_they_sign(&shares);
    }
}

/// Every honest one names the liar, no other, and the three that are left make a key without it.
#[test]
fn a_liar_is_named_by_all_and_left_out() {
    for lie in [Lie::BadShare, Lie::FewShares] {
        for liar in [0, 2] {
            let mut ceremony = Ceremony::new(3, 1, Some((liar, lie)));
            ceremony.begin(1, &[0, 1, 2, 3]);
            ceremony.run(20);
            let honest: Vec<u8> = (0..4).filter(|it| *it != liar).collect();
            let failed = ceremony.failed(1);
            for member in &honest {
                assert_eq!(
                    failed.get(member),
                    Some(&vec![liar]),
                    "{lie:?} by {liar}: {failed:?}"
                );
            }
            ceremony.begin(2, &honest);
            ceremony.run(3);
            let shares = ceremony.established(2);
            assert_eq!(shares.keys().copied().collect::<Vec<_>>(), honest);
            assert_they_sign(&shares);
        }
    }
}

/// The group of three that a liar's failure has left signs for all four: the one without a share observes, leads and
/// verifies, also when one with a share is down; and it cannot give a part that it does not have.
#[test]
fn the_group_without_the_culprit_reports_and_he_takes_part_without_a_share() {
    const LEFT_OUT: u8 = 2;
    let mut ceremony = Ceremony::new(3, 1, Some((LEFT_OUT, Lie::BadShare)));
    ceremony.begin(1, &[0, 1, 2, 3]);
    ceremony.run(20);
    let honest: Vec<u8> = (0..4).filter(|it| *it != LEFT_OUT).collect();
    assert!(honest.iter().all(|it| ceremony.failed(1)[it] == [LEFT_OUT]));
    ceremony.begin(2, &honest);
    ceremony.run(3);
    let shares = ceremony.established(2);
    assert_eq!(shares.len(), 3);

    let public = shares[&0].group();
    let public = PublicGroup::from_bytes(&public.to_bytes()).unwrap();
    assert_eq!(public.members().collect::<Vec<_>>(), honest);
    assert_eq!(public.key(), shares[&3].group_key());
    let mut observer = FrostGroup::observer(public.clone());
    let part = observer.contribute(&B256::ZERO, None);
    assert_eq!(part, Err(AttestError::NoShare));

    let mut world = World::new(5);
    let handles: Arc<Mutex<BTreeMap<u8, Handle<OracleCommand>>>> = Arc::default();
    let told: Arc<Mutex<Vec<(u8, OracleEvent)>>> = Arc::default();
    for number in 0..4 {
        let (config, shares, public) = (config(1), shares.clone(), public.clone());
        let (handles, told) = (handles.clone(), told.clone());
        world.add(peer(number + 1), move |boot| {
            let attestor = match shares.get(&number) {
                Some(share) => FrostGroup::new(share.clone()),
                None => FrostGroup::observer(public.clone()),
            };
            let storage = boot.storage();
            let oracle = Oracle::open(config.clone(), key(number), attestor, 0, storage.as_ref())?;
            let mut node = boot.node();
            let told = told.clone();
            let handle =
                oracle.add_to(&mut node, move |event| told.lock().push((number, event)))?;
            handles.lock().insert(number, handle);
            Ok(node)
        });
    }
    let mut price = 10_000;
    let mut led_by = |world: &mut World, seconds: u32| {
        told.lock().clear();
        for step in 0..seconds * 2 {
            price += 200;
            for handle in handles.lock().values() {
                // One that is down sees nothing.
                let _ = handle.submit(OracleCommand::Observe {
                    values: vec![Some(price)],
                    observed_at_ms: step.into(),
                });
            }
            world.run_for(Duration::from_millis(500));
        }
        let mut leaders = BTreeMap::<u8, BTreeSet<u8>>::new();
        for (by, event) in told.lock().iter() {
            if let OracleEvent::Agreed { report, .. } = event {
                let digest = report.report.digest(&config(1));
                assert_eq!(observer.verify(&digest, &report.attestation), Ok(()));
                let leader = leader_of(&config(1), report.report.round.epoch());
                leaders.entry(*by).or_default().insert(leader);
            }
            let is_blame = matches!(event, OracleEvent::Misbehaviour { .. });
            assert!(!is_blame, "{event:?}");
        }
        leaders
    };
    let leaders = led_by(&mut world, 10);
    for by in 0..4 {
        assert_eq!(leaders.get(&by), Some(&(0..4).collect()), "{by}");
    }
    world.kill(peer(4));
    let leaders = led_by(&mut world, 20);
    for by in 0..3 {
        assert_eq!(leaders.get(&by), Some(&(0..3).collect()), "{by}");
    }
}

/// What is said to one is said on to all, and a share that is shown to one is shown to all.
#[test]
fn who_speaks_to_one_alone_is_heard_by_all() {
    let mut ceremony = Ceremony::new(3, 1, Some((2, Lie::FewWords)));
    ceremony.begin(1, &[0, 1, 2, 3]);
    ceremony.run(20);
    let mut shares = ceremony.established(1);
    shares.remove(&2);
    assert_eq!(shares.len(), 3, "{:?}", ceremony.failed(1));
    assert_they_sign(&shares);
}

#[test]
fn who_is_silent_is_named_and_who_restarts_deals_no_second_time() {
    let mut ceremony = Ceremony::new(4, 1, None);
    ceremony.world.kill(peer(4));
    ceremony.begin(1, &[0, 1, 2]);
    let set = [0, 1, 2, 3];
    ceremony.begin(2, &set[..3]);
    ceremony.run(3);
    assert_eq!(ceremony.established(2).len(), 3);
    for number in 0..3 {
        let command = KeyGenerationCommand::Begin {
            attempt: 3,
            participants: set.to_vec(),
        };
        let handle = ceremony.handles.lock()[&number].clone();
        handle.submit(command).unwrap();
    }
    ceremony.run(8);
    let failed = ceremony.failed(3);
    assert_eq!(failed.len(), 3);
    assert!(failed.values().all(|it| *it == [3]), "{failed:?}");

    ceremony.world.kill(peer(1));
    ceremony.world.restart(peer(1));
    ceremony.run(1);
    ceremony.begin(3, &[0, 1, 2]);
    ceremony.run(1);
    let refused = |told: &Vec<(u8, KeyGenerationEvent)>| {
        told.iter().any(|(by, event)| {
            *by == 0 && matches!(event, KeyGenerationEvent::Refused(BeginError::Used(3)))
        })
    };
    assert!(refused(&ceremony.told.lock()));
    // What was complete is still there.
    let kept = ceremony.storages.lock()[&0].clone();
    let kept = kept_shares(0, kept.as_ref()).unwrap();
    assert!(kept.iter().any(|(attempt, _)| *attempt == 2));
}

#[test]
fn senseless_attempts_are_refused() {
    let mut ceremony = Ceremony::new(5, 1, None);
    for participants in [&[0, 1][..], &[1, 2, 3], &[0, 1, 9], &[0, 1, 1, 2]] {
        let handle = ceremony.handles.lock()[&0].clone();
        let participants = participants.to_vec();
        handle
            .submit(KeyGenerationCommand::Begin {
                attempt: 1,
                participants,
            })
            .unwrap();
    }
    ceremony.run(1);
    let told = ceremony.told.lock();
    let refused = told.iter().filter(|(_, event)| {
        matches!(
            event,
            KeyGenerationEvent::Refused(BeginError::Participants(3))
        )
    });
    assert_eq!(refused.count(), 4, "{told:?}");
}
