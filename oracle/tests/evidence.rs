//! Who signs two words for one round is held to both, whatever became of the round, and over restarts.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod ground;

use std::sync::Arc;

use bytes::Bytes;
use peaberry_chain::EvmAddress;
use peaberry_core::{
    Durability, EffectsBuffer, Envelope, Input, Instant, MemoryStorage, Protocol, Storage, Subspace,
};
use peaberry_oracle::{
    Body, Config, EcdsaQuorum, Evidence, Keyring, Message, Observation, Oracle, OracleCommand,
    OracleEvent, RoundId, SignedObservation, kept_evidence, leader_of, oracle_channel,
};

use self::ground::{MEMBERS, key, peer};

fn config() -> Arc<Config> {
    Arc::new(Config::new(ground::form(EvmAddress::repeat_byte(0xcc))).unwrap())
}

fn signed(member: u8, round: RoundId, value: i128) -> SignedObservation {
    let config = config();
    let observation = Observation {
        config: config.digest(),
        round,
        observed_at_ms: 5,
        values: vec![Some(value), None],
        standing: Vec::new(),
    };
    observation.sign(&config, member, key(member).as_ref())
}

/// One oracle with its store, moved by hand.
struct Alone {
    oracle: Oracle<EcdsaQuorum>,
    member: u8,
    storage: MemoryStorage,
    now: u64,
}

impl Alone {
    fn open(member: u8, storage: MemoryStorage) -> Self {
        let config = config();
        let attestor = EcdsaQuorum::new(&config, key(member));
        let oracle = Oracle::open(config, key(member), attestor, 0, &storage).unwrap();
        let mut alone = Self {
            oracle,
            member,
            storage,
            now: 1,
        };
        alone.turn(None);
        alone
    }

    fn restarted(self) -> Self {
        let Self {
            oracle,
            member,
            storage,
            ..
        } = self;
        drop(oracle);
        Self::open(member, storage)
    }

    /// One turn: what it wants to be durable is, and what it tells is answered.
    fn turn(&mut self, input: Option<Input<OracleCommand>>) -> Vec<OracleEvent> {
        let mut buffer = EffectsBuffer::new(oracle_channel(0));
        let now = Instant::from_nanos(self.now);
        if let Some(input) = input {
            self.oracle.step(now, input, &mut buffer.effects()).unwrap();
        }
        self.oracle.settle(now, &mut buffer.effects()).unwrap();
        self.storage
            .commit(buffer.batch(), Durability::Synced)
            .unwrap();
        [buffer.events(), buffer.events_after_commit()].concat()
    }

    fn hear(&mut self, from: u8, body: Body) -> Vec<OracleEvent> {
        let config = config().digest();
        let payload = Bytes::from(Message { config, body }.to_bytes());
        self.turn(Some(Input::Message(Envelope {
            from: peer(from),
            channel: oracle_channel(0),
            payload,
        })))
    }

    /// All but this one wish for the epoch.
    fn enter(&mut self, new_epoch: u32) {
        let member = self.member;
        for from in (0..MEMBERS).filter(|it| *it != member) {
            self.hear(
                from,
                Body::Beat {
                    new_epoch,
                    last: None,
                    resets: Vec::new(),
                },
            );
        }
        assert_eq!(self.oracle.epoch(), new_epoch);
    }

    fn wait(&mut self, ms: u64) {
        self.now += ms * 1_000_000;
        self.turn(None);
    }

    fn kept(&self) -> Vec<(u8, Evidence)> {
        let kept = kept_evidence(&Subspace::of(oracle_channel(0)), &self.storage).unwrap();
        let number = |signer| (0..MEMBERS).find(|it| key(*it).address() == signer);
        kept.into_iter()
            .map(|(signer, evidence)| (number(signer).unwrap(), evidence))
            .collect()
    }
}

fn offenders(events: &[OracleEvent]) -> Vec<u8> {
    let offenders = events.iter().filter_map(|event| match event {
        OracleEvent::Evidence { offender, .. } => Some(*offender),
        _ => None,
    });
    offenders.collect()
}

fn assert_it_convicts(kept: &[(u8, Evidence)], offender: u8) {
    let config = config();
    let attestor = EcdsaQuorum::new(&config, key(0));
    for (named, evidence) in kept {
        let proven = evidence.verify(&config, key(0).as_ref(), &attestor);
        assert_eq!((*named, proven), (offender, Some(offender)));
    }
}

/// Before the proposal, behind it, and where the first word came too late to count.
#[test]
fn a_second_word_is_kept_at_every_stage_of_a_round_and_over_a_restart() {
    let leader = leader_of(&config(), 1);
    let others: Vec<u8> = (0..MEMBERS).filter(|it| *it != leader).collect();
    let offender = others[0];
    for stage in 0..3 {
        let mut alone = Alone::open(leader, MemoryStorage::new());
        alone.turn(Some(Input::Command(OracleCommand::Observe {
            values: vec![Some(500), None],
            observed_at_ms: 5,
        })));
        alone.enter(1);
        let round = alone.oracle.asked().unwrap();
        alone.hear(offender, Body::Observation(signed(offender, round, 500)));
        if stage > 0 {
            alone.hear(others[1], Body::Observation(signed(others[1], round, 500)));
            alone.wait(50);
        }
        if stage > 1 {
            let late = others[2];
            let events = alone.hear(late, Body::Observation(signed(late, round, 500)));
            assert!(offenders(&events).is_empty());
            let events = alone.hear(late, Body::Observation(signed(late, round, 501)));
            assert_eq!(offenders(&events), [late], "stage {stage}");
            assert_it_convicts(&alone.kept(), late);
            continue;
        }
        let forged = SignedObservation {
            signature: signed(others[1], round, 501).signature,
            ..signed(offender, round, 501)
        };
        let events = alone.hear(offender, Body::Observation(forged));
        assert!(matches!(
            events.as_slice(),
            [OracleEvent::Misbehaviour { .. }]
        ));
        let second = Body::Observation(signed(offender, round, 501));
        let events = alone.hear(offender, second.clone());
        assert_eq!(offenders(&events), [offender], "stage {stage}");
        let events = alone.hear(offender, second);
        assert!(offenders(&events).is_empty(), "once");

        let alone = alone.restarted();
        assert_eq!(alone.kept().len(), 1);
        assert_it_convicts(&alone.kept(), offender);
    }
}

/// A leader that changes its own word from one proposal to the next hands over the proof itself.
#[test]
fn two_proposals_with_two_words_of_one_member_are_evidence_against_him() {
    let leader = leader_of(&config(), 1);
    let own = (leader + 1) % MEMBERS;
    let round = RoundId::new(1, 1).unwrap();
    let set = |value| {
        let members = (0..MEMBERS).filter(|it| *it != own);
        let word = |it| signed(it, round, if it == leader { value } else { 500 });
        members.map(word).collect::<Vec<_>>()
    };
    let proposal = |observations| Body::Proposal {
        round,
        observations,
    };
    let mut alone = Alone::open(own, MemoryStorage::new());
    alone.enter(1);
    assert!(offenders(&alone.hear(leader, proposal(set(500)))).is_empty());
    // A word that nobody has signed proves nothing.
    let mut forged = set(502);
    for it in &mut forged {
        it.signature = signed(own, round, 1).signature;
    }
    assert!(offenders(&alone.hear(leader, proposal(forged))).is_empty());
    let events = alone.hear(leader, proposal(set(501)));
    assert_eq!(offenders(&events), [leader]);
    assert_it_convicts(&alone.restarted().kept(), leader);
}

#[test]
fn sixteen_pieces_are_kept_of_each_member_over_restarts() {
    let config = config();
    let mut alone = Alone::open(leader_of(&config, 1), MemoryStorage::new());
    let offender = (alone.member + 1) % MEMBERS;
    let mut told = 0;
    alone.enter(1);
    for nth in 0..20 {
        let round = alone.oracle.asked().unwrap();
        alone.hear(offender, Body::Observation(signed(offender, round, 500)));
        let events = alone.hear(offender, Body::Observation(signed(offender, round, 501)));
        told += offenders(&events).len();
        if nth == 9 {
            alone = alone.restarted();
        }
        // The round is given up, and the next one begun.
        while alone.oracle.asked() == Some(round) {
            alone.wait(200);
        }
    }
    assert_eq!(told, 16);
    let other = (offender + 1) % MEMBERS;
    let round = alone.oracle.asked().unwrap();
    alone.hear(other, Body::Observation(signed(other, round, 500)));
    alone.hear(other, Body::Observation(signed(other, round, 501)));
    let kept = alone.restarted().kept();
    let against = |member| kept.iter().filter(|(named, _)| *named == member).count();
    assert_eq!((against(offender), against(other)), (16, 1));
}
