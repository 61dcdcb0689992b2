//! An attestor that is another member's, another group's or another number's opens no oracle.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod ground;

use std::sync::Arc;

use bytes::Bytes;
use peaberry_chain::EvmAddress;
use peaberry_chain::primitives::B256;
use peaberry_core::{
    Durability, EffectsBuffer, Envelope, Input, Instant, MemoryStorage, Protocol, Storage,
};
use peaberry_oracle::{
    AttestedReport, Attestor, Body, Config, ConfigForm, EcdsaQuorum, FrostGroup, Gathered,
    GroupShare, Message, Misfit, OpenError, Oracle, Report, RoundId, oracle_channel,
};
use rand_core::OsRng;

use self::ground::{key, peer};

fn config() -> Arc<Config> {
    Arc::new(Config::new(ground::form(EvmAddress::repeat_byte(0xcc))).unwrap())
}

/// Member 0 with this attestor.
fn open<A: Attestor>(attestor: A, storage: &MemoryStorage) -> Result<Oracle<A>, OpenError> {
    Oracle::open(config(), key(0), attestor, 0, storage)
}

fn misfit<A: Attestor>(attestor: A) -> Misfit {
    match open(attestor, &MemoryStorage::new()) {
        Err(OpenError::Misfit(misfit)) => misfit,
        other => panic!("{:?}", other.map(|_| ())),
    }
}

#[test]
fn a_share_of_another_member_is_refused() {
    let shares = GroupShare::deal(4, 2, &mut OsRng).unwrap();
    let [own, other, ..] = shares.as_slice() else {
        unreachable!()
    };
    assert_eq!(
        misfit(FrostGroup::new(other.clone())),
        Misfit::Member { own: 1, member: 0 }
    );
    assert!(open(FrostGroup::new(own.clone()), &MemoryStorage::new()).is_ok());
}

#[test]
fn a_share_of_another_threshold_is_refused() {
    let shares = GroupShare::deal(4, 3, &mut OsRng).unwrap();
    assert_eq!(
        misfit(FrostGroup::new(shares[0].clone())),
        Misfit::Threshold {
            own: 3,
            threshold: 2
        }
    );
}

#[test]
fn a_share_of_a_group_of_others_is_refused() {
    let shares = GroupShare::deal(7, 2, &mut OsRng).unwrap();
    assert_eq!(
        misfit(FrostGroup::new(shares[0].clone())),
        Misfit::Members { members: 4 }
    );
}

/// Two of four have a share: when one of the two lies, the other cannot sign alone.
#[test]
fn a_group_of_fewer_than_2f_and_1_is_refused_to_members_and_observers() {
    let shares = GroupShare::deal(2, 2, &mut OsRng).unwrap();
    let few = Misfit::Members { members: 4 };
    assert_eq!(misfit(FrostGroup::new(shares[0].clone())), few);
    assert_eq!(misfit(FrostGroup::observer(shares[0].group().clone())), few);
    let shares = GroupShare::deal(3, 2, &mut OsRng).unwrap();
    let storage = MemoryStorage::new();
    assert!(open(FrostGroup::new(shares[0].clone()), &storage).is_ok());
    let observer = FrostGroup::observer(shares[1].group().clone());
    assert!(open(observer, &storage).is_ok());
}

#[test]
fn a_quorum_with_another_key_or_of_another_configuration_is_refused() {
    let config = config();
    assert!(matches!(
        misfit(EcdsaQuorum::new(&config, key(1))),
        Misfit::Key { member: 0, .. }
    ));
    let mut form: ConfigForm = config.form().clone();
    form.members.swap(1, 2);
    let other = Config::new(form).unwrap();
    assert_eq!(
        misfit(EcdsaQuorum::new(&other, key(0))),
        Misfit::Members { members: 4 }
    );
}

/// The configuration does not name the group, but the reports that it has signed do.
#[test]
fn a_share_of_a_group_that_did_not_sign_the_last_report_is_refused() {
    let shares = GroupShare::deal(4, 2, &mut OsRng).unwrap();
    let group = |number: usize| FrostGroup::new(shares[number].clone());
    let storage = MemoryStorage::new();
    let mut oracle = open(group(0), &storage).unwrap();
    let report = Report {
        config: config().digest(),
        round: RoundId::new(1, 1).unwrap(),
        observed_at_ms: 5,
        observations: B256::ZERO,
        answers: Vec::new(),
    };
    let attestation = sign([group(0), group(1)], &report);
    let mut buffer = EffectsBuffer::new(oracle_channel(0));
    let message = Message {
        config: report.config,
        body: Body::Final(AttestedReport {
            report,
            attestation,
        }),
    };
    let envelope = Envelope {
        from: peer(1),
        channel: oracle_channel(0),
        payload: message.to_bytes().into(),
    };
    oracle
        .step(
            Instant::from_nanos(1),
            Input::Message(envelope),
            &mut buffer.effects(),
        )
        .unwrap();
    storage.commit(buffer.batch(), Durability::Synced).unwrap();
    drop(oracle);

    assert!(open(group(0), &storage).is_ok());
    let strangers = GroupShare::deal(4, 2, &mut OsRng).unwrap();
    let opened = open(FrostGroup::new(strangers[0].clone()), &storage);
    assert!(matches!(opened, Err(OpenError::OtherQuorum { .. })));
}

fn sign(mut members: [FrostGroup; 2], report: &Report) -> Bytes {
    let digest = report.digest(&config());
    members[0].begin(&digest);
    let mut asked = Vec::new();
    for member in [0_u8, 1] {
        let part = members[usize::from(member)].contribute(&digest, None);
        if let Gathered::Ask(requests) = members[0].gather(&digest, member, &part.unwrap()).unwrap()
        {
            asked = requests;
        }
    }
    for (member, request) in asked {
        let part = members[usize::from(member)].contribute(&digest, Some(&request));
        if let Gathered::Done(done) = members[0].gather(&digest, member, &part.unwrap()).unwrap() {
            return done;
        }
    }
    panic!("two of four sign");
}
