//! One oracle alone, to which others send what they like: the genuine counts, and all else is named and changes nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ground;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use peaberry_chain::primitives::B256;
use peaberry_core::{EffectsBuffer, Envelope, Input, Instant, MemoryStorage, PeerId, Protocol};
use peaberry_oracle::{
    Aggregation, Answer, AttestedReport, Body, Config, EcdsaKey, EcdsaQuorum, Message,
    Misbehaviour, Observation, OpenError, Oracle, OracleCommand, OracleEvent, Report, RoundId,
    leader_of, oracle_channel,
};

use self::ground::{config, key};

/// The peer of this id.
fn peer(id: u8) -> PeerId {
    ground::peer(id - 1)
}

/// What each transmitter waits for the one before it.
const A_SECOND: Duration = Duration::from_secs(1);

fn oracle(member: u8) -> Oracle<EcdsaQuorum> {
    let config = config(A_SECOND);
    let attestor = EcdsaQuorum::new(&config, key(member));
    Oracle::open(config, key(member), attestor, 0, &MemoryStorage::new()).unwrap()
}

/// What an oracle says to one message.
fn told(
    oracle: &mut Oracle<EcdsaQuorum>,
    from: PeerId,
    payload: Vec<u8>,
) -> (Vec<OracleEvent>, usize) {
    let mut buffer = EffectsBuffer::new(oracle_channel(0));
    let envelope = Envelope {
        from,
        channel: oracle_channel(0),
        payload: Bytes::from(payload),
    };
    oracle
        .step(
            Instant::from_nanos(1),
            Input::Message(envelope),
            &mut buffer.effects(),
        )
        .unwrap();
    let events = [buffer.events(), buffer.events_after_commit()].concat();
    (
        events,
        buffer.sends().len() + buffer.sends_after_commit().len(),
    )
}

/// Enters an epoch by the wishes of three.
fn enter(oracle: &mut Oracle<EcdsaQuorum>, epoch: u32) {
    let mut buffer = EffectsBuffer::new(oracle_channel(0));
    oracle
        .settle(Instant::from_nanos(1), &mut buffer.effects())
        .unwrap();
    let beat = Body::Beat {
        new_epoch: epoch,
        last: None,
        resets: Vec::new(),
    };
    let message = Message {
        config: config(A_SECOND).digest(),
        body: beat,
    }
    .to_bytes();
    for id in (1..=4).map(peer) {
        told(oracle, id, message.clone());
    }
}

#[test]
fn forged_truncated_and_foreign_messages_are_named_and_change_nothing() {
    let config = config(A_SECOND);
    let leader = leader_of(&config, 1);
    let follower = (leader + 1) % 4;
    let other = (leader + 2) % 4;
    let (leader_peer, other_peer) = (peer(leader + 1), peer(other + 1));
    let round = RoundId::new(1, 1).unwrap();
    let encode = |body| {
        Message {
            config: config.digest(),
            body,
        }
        .to_bytes()
    };
    let signed = |member: u8, value| {
        let observation = Observation {
            config: config.digest(),
            round,
            observed_at_ms: 5,
            values: vec![Some(value), None],
            standing: Vec::new(),
        };
        observation.sign(&config, member, key(member).as_ref())
    };
    let mut forged = signed(other, 500);
    forged.signature = signed(leader, 500).signature;
    let proposal = |observations| {
        encode(Body::Proposal {
            round,
            observations,
        })
    };
    let cut = encode(Body::Ask(round));

    let mut oracle = oracle(follower);
    enter(&mut oracle, 1);
    let mut expect = |from, payload: Vec<u8>, what: &dyn Fn(&Misbehaviour) -> bool| {
        let (events, sent) = told(&mut oracle, from, payload);
        let [OracleEvent::Misbehaviour { peer, what: said }] = events.as_slice() else {
            panic!("{events:?}");
        };
        assert_eq!((*peer, sent), (from, 0));
        assert!(what(said), "{said}");
    };
    expect(peer(9), cut.clone(), &|it| {
        matches!(it, Misbehaviour::Stranger)
    });
    expect(other_peer, cut[..cut.len() - 1].to_vec(), &|it| {
        matches!(it, Misbehaviour::Malformed(_))
    });
    expect(other_peer, Vec::new(), &|it| {
        matches!(it, Misbehaviour::Malformed(_))
    });
    expect(other_peer, cut, &|it| {
        matches!(it, Misbehaviour::NotLeader(_))
    });
    let beyond = RoundId::new(1, 101).unwrap();
    expect(leader_peer, encode(Body::Ask(beyond)), &|it| {
        matches!(it, Misbehaviour::NoSuchRound(_))
    });
    let in_order = |mut set: Vec<peaberry_oracle::SignedObservation>| {
        set.sort_by_key(|it| it.member);
        set
    };
    let last = (leader + 3) % 4;
    let set = in_order(vec![signed(leader, 500), forged, signed(last, 500)]);
    expect(leader_peer, proposal(set), &|it| {
        matches!(it, Misbehaviour::Proposal(_))
    });
    let twice = vec![
        signed(leader, 500),
        signed(leader, 500),
        signed(leader, 500),
    ];
    expect(leader_peer, proposal(twice), &|it| {
        matches!(it, Misbehaviour::Proposal(_))
    });
    expect(leader_peer, proposal(Vec::new()), &|it| {
        matches!(it, Misbehaviour::Proposal(_))
    });

    // Another configuration is a mistake of operators and not malice.
    let foreign = Message {
        config: B256::repeat_byte(1),
        body: Body::Ask(round),
    }
    .to_bytes();
    let (events, sent) = told(&mut oracle, leader_peer, foreign);
    assert!(matches!(
        events.as_slice(),
        [OracleEvent::OtherConfiguration { .. }]
    ));
    assert_eq!(sent, 0);

    // What is of an epoch to come is passed over.
    let (events, sent) = told(
        &mut oracle,
        leader_peer,
        encode(Body::Ask(RoundId::new(7, 1).unwrap())),
    );
    assert_eq!((events.len(), sent), (0, 0));

    // And what is genuine still counts; a second proposal for the round does not, and holds its leader to both words.
    let set = in_order(vec![
        signed(leader, 500),
        signed(other, 501),
        signed(last, 502),
    ]);
    let (events, sent) = told(&mut oracle, leader_peer, proposal(set));
    assert_eq!(
        (events.len(), sent),
        (0, 1),
        "our part of the attestation: {events:?}"
    );
    let set = in_order(vec![
        signed(leader, 499),
        signed(other, 501),
        signed(last, 502),
    ]);
    let (events, sent) = told(&mut oracle, leader_peer, proposal(set));
    let [
        OracleEvent::Misbehaviour {
            what: Misbehaviour::TwoProposals(_),
            ..
        },
        OracleEvent::Evidence { offender, .. },
    ] = events.as_slice()
    else {
        panic!("{events:?}");
    };
    assert_eq!((*offender, sent), (leader, 0));
}

/// What was genuine in an earlier epoch is passed over when it comes again, and so is a report that is known.
#[test]
fn a_replay_of_an_earlier_epoch_changes_nothing() {
    let config = config(A_SECOND);
    let leader = leader_of(&config, 1);
    let follower = (leader + 1) % 4;
    let mut oracle = oracle(follower);
    let see = OracleCommand::Observe {
        values: vec![Some(500), None],
        observed_at_ms: 5,
    };
    let mut buffer = EffectsBuffer::new(oracle_channel(0));
    oracle
        .step(
            Instant::from_nanos(1),
            Input::Command(see),
            &mut buffer.effects(),
        )
        .unwrap();
    let round = RoundId::new(1, 1).unwrap();
    let mut set: Vec<_> = (0..4).filter(|it| *it != follower).collect();
    set.sort_unstable();
    let set = set.into_iter().map(|member| {
        let observation = Observation {
            config: config.digest(),
            round,
            observed_at_ms: 5,
            values: vec![Some(500), None],
            standing: Vec::new(),
        };
        observation.sign(&config, member, key(member).as_ref())
    });
    let encode = |body| {
        Message {
            config: config.digest(),
            body,
        }
        .to_bytes()
    };
    let proposal = Body::Proposal {
        round,
        observations: set.collect(),
    };
    let (ask, proposal) = (encode(Body::Ask(round)), encode(proposal));
    enter(&mut oracle, 1);
    for genuine in [&ask, &proposal] {
        let (events, sent) = told(&mut oracle, peer(leader + 1), genuine.clone());
        assert!(sent > 0, "{events:?}");
    }
    enter(&mut oracle, 5);
    assert_eq!(oracle.epoch(), 5);
    for replayed in [&ask, &proposal] {
        let (events, sent) = told(&mut oracle, peer(leader + 1), replayed.clone());
        assert_eq!((events.len(), sent), (0, 0), "{events:?}");
    }

    let last = Body::Final(attested(&config, RoundId::new(5, 1).unwrap()));
    let told_first = told(&mut oracle, peer(leader + 1), encode(last.clone()));
    assert!(matches!(*told_first.0, [OracleEvent::Agreed { .. }]));
    assert_eq!(told_first.1, 2, "passed on to the two others");
    let earlier = Body::Final(attested(&config, round));
    for known in [last, earlier] {
        let (events, sent) = told(&mut oracle, peer(leader + 1), encode(known));
        assert_eq!((events.len(), sent), (0, 0), "{events:?}");
    }
}

/// Of two jumps and what was agreed on in between, whichever came first, one word of the operator is enough.
#[test]
fn an_operator_believes_a_jump_from_what_was_agreed_on_since_as_well() {
    let config = config(A_SECOND);
    let leader = leader_of(&config, 1);
    let follower = (leader + 1) % 4;
    let mut oracle = oracle(follower);
    enter(&mut oracle, 1);
    let encode = |body| {
        Message {
            config: config.digest(),
            body,
        }
        .to_bytes()
    };
    let agreed = |number| {
        encode(Body::Final(attested(
            &config,
            RoundId::new(1, number).unwrap(),
        )))
    };
    let jump = |number| {
        let round = RoundId::new(1, number).unwrap();
        let members = (0..4).filter(|it| *it != follower);
        let observations = members.map(|member| {
            let observation = Observation {
                config: config.digest(),
                round,
                observed_at_ms: 5,
                values: vec![Some(900), None],
                standing: Vec::new(),
            };
            observation.sign(&config, member, key(member).as_ref())
        });
        let observations = observations.collect();
        encode(Body::Proposal {
            round,
            observations,
        })
    };
    let from = peer(leader + 1);
    told(&mut oracle, from, agreed(1));
    let (events, sent) = told(&mut oracle, from, jump(3));
    assert!(
        matches!(*events, [OracleEvent::Tripped { .. }]),
        "{events:?}"
    );
    assert_eq!(sent, 0);
    // What was agreed on before comes now: it is a jump from there as well.
    told(&mut oracle, from, agreed(2));
    let mut buffer = EffectsBuffer::new(oracle_channel(0));
    let reset = Input::Command(OracleCommand::Reset { feed: 0 });
    oracle
        .step(Instant::from_nanos(1), reset, &mut buffer.effects())
        .unwrap();
    let (events, sent) = told(&mut oracle, from, jump(4));
    assert_eq!((events.len(), sent), (0, 1), "our part: {events:?}");
}

/// A report of one feed that two members have signed.
fn attested(config: &Config, round: RoundId) -> AttestedReport {
    let answer = Answer {
        feed: 0,
        aggregation: Aggregation::Median,
        value: 500,
    };
    let report = Report {
        config: config.digest(),
        round,
        observed_at_ms: 5,
        observations: B256::repeat_byte(7),
        answers: vec![answer],
    };
    ground::attest(config, report)
}

#[test]
fn a_key_of_nobody_and_a_damaged_store_open_no_oracle() {
    let config = config(A_SECOND);
    let stranger = Arc::new(EcdsaKey::from_bytes(&[77; 32]).unwrap());
    let attestor = EcdsaQuorum::new(&config, stranger.clone());
    let opened = Oracle::open(config.clone(), stranger, attestor, 0, &MemoryStorage::new());
    assert!(matches!(opened, Err(OpenError::NotAMember(_))));

    let storage = MemoryStorage::new();
    let mut batch = peaberry_core::Batch::new();
    peaberry_core::Subspace::of(oracle_channel(0)).put(&mut batch, b"observed", b"junk");
    peaberry_core::Storage::commit(&storage, &batch, peaberry_core::Durability::Synced).unwrap();
    let attestor = EcdsaQuorum::new(&config, key(0));
    let opened = Oracle::open(config, key(0), attestor, 0, &storage);
    assert!(matches!(opened, Err(OpenError::Damaged { .. })));
}
