//! Peers that ask for more than they take.

use std::time::Duration;

use peaberry_crdt::sync::SyncError;
use peaberry_crdt::{AddWinsSet, Causal, Lattice, ReplicaId, Replicated, VersionVector, Writer};

use crate::counted::Counted;
use crate::forger::{
    ACK, Forger, REFUSAL, VECTOR, VECTOR_ASKING, VECTOR_RESET, VECTOR_RESET_BEGUN,
};
use crate::large::{Shelves, cut, fill, writer};
use crate::link::{Link, Side, config};

type Tags = Causal<AddWinsSet<u64>>;

const MINUTE: Duration = Duration::from_secs(60);

fn id(number: u64) -> ReplicaId {
    ReplicaId::new(u128::from(number) + 1).unwrap()
}

fn of_ids(ids: std::ops::Range<u64>) -> VersionVector {
    ids.map(|number| (id(number), 1)).collect()
}

/// Of as many ids as our state may know, and of 4,096 more: of others it may not tell, in whatever kind of frame and however
/// few at a time.
#[test]
fn a_peer_that_tells_of_ever_more_ids_is_refused_by_name() {
    let mut config = config(1, 2, 1);
    config.budget.ids_max = 100;
    let mut victim = Side::new(config, Duration::ZERO, Tags::bottom());
    let mut mine = Writer::new(id(0), 0, 10);
    let add = |set: &AddWinsSet<u64>, mint| Ok(set.add(mint, 1));
    victim.state.write(&mut mine, add).unwrap();
    let (max, now) = (100 + 4_096, Duration::from_secs(1));
    let mut forger = Forger::of(&mut victim, Tags::bottom(), 2, now);
    let before = victim.state.clone();
    for kind in [ACK, VECTOR] {
        for first in (0..3_000).step_by(1_000) {
            let told = forger.tell(&mut victim, now, kind, &of_ids(first..first + 1_000));
            assert!(told.is_ok());
        }
    }
    for kind in [ACK, VECTOR] {
        let told = forger.tell(&mut victim, now, kind, &of_ids(3_000..4_196));
        assert!(told.is_ok(), "as many as there may be");
        for first in 4_196..4_300 {
            let refused = forger.tell(&mut victim, now, kind, &of_ids(first..first + 1));
            let (from, given) = (forger.member, 4_197);
            assert_eq!(refused, Err(SyncError::TooManyIds { from, given, max }));
        }
    }
    for kind in [VECTOR_RESET, VECTOR_RESET_BEGUN] {
        let refused = forger.tell(&mut victim, now, kind, &of_ids(0..4_197));
        let (from, given) = (forger.member, 4_197);
        assert_eq!(refused, Err(SyncError::TooManyIds { from, given, max }));
        // Not even that it knows nothing was believed: it has nothing to be sent.
        assert!(forger.is_sent(&mut victim, now).is_empty());
    }
    assert_eq!(victim.state, before);
    // In place of what was believed it may tell of as many others.
    let told = forger.tell(&mut victim, now, VECTOR_RESET, &of_ids(10_000..14_196));
    assert!(told.is_ok());
}

/// It asked, and what we know is true: so it may come to agree with us.
#[test]
fn a_peer_that_tells_of_too_many_is_told_our_vector_all_the_same() {
    let mut config = config(1, 2, 1);
    config.budget.ids_max = 100;
    let mut victim = Side::new(config, Duration::ZERO, Tags::bottom());
    let now = Duration::from_secs(1);
    let mut forger = Forger::of(&mut victim, Tags::bottom(), 2, now);
    let known = VersionVector::new();
    assert!(forger.tell(&mut victim, now, VECTOR, &known).is_ok());
    let tells = |victim: &mut Side<Tags>| {
        let sent = std::iter::from_fn(|| victim.sync.poll_transmit(now, &victim.state));
        sent.filter(|sent| sent.frame[0] == VECTOR).count()
    };
    tells(&mut victim);
    let refused = forger.tell(&mut victim, now, VECTOR_ASKING, &of_ids(0..4_197));
    assert!(matches!(refused, Err(SyncError::TooManyIds { .. })));
    assert_eq!(tells(&mut victim), 1);
}

type Victim = Side<Counted<Shelves>>;

/// What a greedy peer does, over and over.
type Greed = fn(&mut Forger<Counted<Shelves>>, &mut Victim, Duration);

fn whole() -> Shelves {
    let (mut whole, mut writer) = (Shelves::bottom(), writer(0xF));
    (0..400).for_each(|shelf| fill(&mut whole, &mut writer, shelf, 100));
    whole
}

fn asks_anew(forger: &mut Forger<Counted<Shelves>>, victim: &mut Victim, now: Duration) {
    let told = forger.tell(victim, now, VECTOR_RESET, &VersionVector::new());
    assert!(told.is_ok());
}

/// Some of all, and then nothing again.
fn takes_the_first_and_asks_anew(
    forger: &mut Forger<Counted<Shelves>>,
    victim: &mut Victim,
    now: Duration,
) {
    let first: VersionVector = victim
        .state
        .vector()
        .iter()
        .map(|(replica, counter)| (replica, counter.min(10)))
        .collect();
    forger.is_sent(victim, now);
    assert!(forger.tell(victim, now, ACK, &first).is_ok());
    forger.is_sent(victim, now);
    asks_anew(forger, victim, now);
}

/// Before it has been sent all.
fn claims_all_and_asks_anew(
    forger: &mut Forger<Counted<Shelves>>,
    victim: &mut Victim,
    now: Duration,
) {
    takes_the_first_and_asks_anew(forger, victim, now);
    let all = victim.state.vector().clone();
    forger.is_sent(victim, now);
    assert!(forger.tell(victim, now, ACK, &all).is_ok());
    forger.is_sent(victim, now);
    asks_anew(forger, victim, now);
}

fn refuses_and_asks_anew(
    forger: &mut Forger<Counted<Shelves>>,
    victim: &mut Victim,
    now: Duration,
) {
    for frame in forger.is_sent(victim, now) {
        let mut body = frame[frame.len() - 4..].to_vec();
        body.push(1);
        assert!(forger.say(victim, now, REFUSAL, &body).is_ok());
    }
    asks_anew(forger, victim, now);
}

fn begins_a_new_life(forger: &mut Forger<Counted<Shelves>>, victim: &mut Victim, now: Duration) {
    let life = u64::try_from(now.as_nanos()).unwrap() + 1_000;
    let named = forger.named;
    *forger = Forger::of(victim, Counted::new(Shelves::bottom()), life, now);
    forger.named += named;
    forger.is_sent(victim, now);
    takes_the_first_and_asks_anew(forger, victim, now);
}

const GREEDS: [(&str, Greed); 5] = [
    ("asks anew", asks_anew),
    (
        "takes the first and asks anew",
        takes_the_first_and_asks_anew,
    ),
    ("claims all and asks anew", claims_all_and_asks_anew),
    ("refuses and asks anew", refuses_and_asks_anew),
    ("begins a new life", begins_a_new_life),
];

/// Two small frames have all of a state be cut into parts: that is done a few times, then after longer and longer waits, and
/// the peer is named. Both where a state can be cut and where it cannot. Who takes what it is sent is served again soon.
#[test]
fn who_has_much_made_in_vain_is_named_and_served_ever_more_rarely() {
    for (state, can_be_cut) in [(whole(), true), (cut(400, 100).0, false)] {
        for (name, greed) in GREEDS {
            let side = |number: u64, seed, now, state: &Shelves| {
                let mut config = config(number, 2, seed);
                config.part_bytes = 256;
                Side::new(config, now, Counted::new(state.clone()))
            };
            let mut victim = side(1, 1, Duration::ZERO, &state);
            let mut now = Duration::from_secs(1);
            let mut forger = Forger::of(&mut victim, Counted::new(Shelves::bottom()), 2, now);
            while now < 2 * MINUTE {
                greed(&mut forger, &mut victim, now);
                forger.is_sent(&mut victim, now);
                now += Duration::from_millis(50);
            }
            let (made, wholes) = (victim.state.made.get(), victim.state.wholes.get());
            println!(
                "{name}, {can_be_cut}: {wholes} of {made}, named {} times",
                forger.named
            );
            assert!((1..=40).contains(&forger.named), "{name}");
            if can_be_cut {
                // First parts, which cost no more than the frame in which each is sent, are a matter of the link.
                assert!(wholes <= 60, "{name}: {wholes} in two minutes");
            } else {
                assert!(made <= 60, "{name}: {made} in two minutes");
            }
            let honest = side(2, 7, now, &Shelves::bottom());
            let mut link = Link::new(0);
            link.now = now;
            link.until(&mut [victim, honest], MINUTE, |sides| {
                sides[0].state.vector() == sides[1].state.vector()
            });
        }
    }
}
