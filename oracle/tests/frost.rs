//! A group that signs as one, with members that lie, are silent or forget.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use peaberry_chain::primitives::{B256, keccak256};
use peaberry_oracle::{AttestError, Attestor, FrostGroup, Gathered, GroupShare};
use rand_core::{CryptoRng, Error, RngCore};

/// Numbers of a seed: a test's nonces are no secrets.
struct Seeded(fastrand::Rng);

impl CryptoRng for Seeded {}

impl RngCore for Seeded {
    fn next_u32(&mut self) -> u32 {
        self.0.u32(..)
    }

    fn next_u64(&mut self) -> u64 {
        self.0.u64(..)
    }

    fn fill_bytes(&mut self, to: &mut [u8]) {
        self.0.fill(to);
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Error> {
        self.0.fill(to);
        Ok(())
    }
}

fn shares(faulty: u8, seed: u64) -> Vec<GroupShare> {
    let mut rng = Seeded(fastrand::Rng::with_seed(seed));
    GroupShare::deal(3 * faulty + 1, faulty + 1, &mut rng).unwrap()
}

fn group(faulty: u8, seed: u64) -> Vec<FrostGroup> {
    let nonces = |member: usize| Seeded(fastrand::Rng::with_seed(seed << 8 | member as u64));
    shares(faulty, seed)
        .into_iter()
        .enumerate()
        .map(|(member, share)| FrostGroup::with_rng(share, nonces(member)))
        .collect()
}

/// What a liar does when it is asked for its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    Silent,
    /// Commits, and then gives a share that is not its own.
    BadShare,
    /// Commits, and then is silent.
    Hangs,
    /// Says, whenever it is asked, that it has forgotten its nonces.
    Forgets,
    Junk,
}

/// A round of signing: parts arrive in an order that the dice choose. Answers the attestation and who was blamed.
fn sign(
    members: &mut [FrostGroup],
    liars: &BTreeMap<u8, Lie>,
    digest: &B256,
    rng: &mut fastrand::Rng,
) -> (Option<Bytes>, BTreeSet<u8>) {
    let gatherer = (0..).zip(members.iter()).map(|(at, _)| at);
    let gatherer: u8 = gatherer.clone().find(|it| !liars.contains_key(it)).unwrap();
    members[usize::from(gatherer)].begin(digest);
    let mut mail: VecDeque<(u8, Bytes)> = VecDeque::new();
    for (member, it) in (0..).zip(members.iter_mut()) {
        match liars.get(&member) {
            Some(Lie::Silent) => {}
            Some(Lie::Junk) => mail.push_back((member, Bytes::from_static(b"junk"))),
            _ => mail.push_back((member, it.contribute(digest, None).unwrap())),
        }
    }
    let (mut done, mut blamed) = (None, BTreeSet::new());
    while !mail.is_empty() {
        let (from, part) = mail.remove(rng.usize(..mail.len())).unwrap();
        match members[usize::from(gatherer)].gather(digest, from, &part) {
            Ok(Gathered::More) => {}
            Ok(Gathered::Done(attestation)) => {
                done.get_or_insert(attestation);
            }
            Ok(Gathered::Ask(requests)) => {
                for (member, request) in requests {
                    let it = &mut members[usize::from(member)];
                    match liars.get(&member) {
                        None => {
                            mail.push_back((
                                member,
                                it.contribute(digest, Some(&request)).unwrap(),
                            ));
                        }
                        Some(Lie::BadShare) => {
                            let share = it.contribute(digest, Some(&request)).unwrap();
                            let mut share = share.to_vec();
                            share[66 + 31] ^= 1;
                            mail.push_back((member, share.into()));
                        }
                        Some(Lie::Forgets) => {
                            *it = FrostGroup::new(it.share().unwrap().clone());
                            mail.push_back((member, it.contribute(digest, None).unwrap()));
                        }
                        Some(Lie::Hangs | Lie::Silent | Lie::Junk) => {}
                    }
                }
            }
            Err(AttestError::Signature(member)) => {
                assert_eq!(member, from, "the sender is blamed");
                blamed.insert(from);
            }
            Err(error) => {
                assert!(liars.contains_key(&from), "{from} is honest: {error}");
                blamed.insert(from);
            }
        }
    }
    (done, blamed)
}

/// Whoever the f liars are and whatever they do, the honest make a signature; and nobody honest is blamed.
#[test]
fn f_liars_never_stop_the_group() {
    const LIES: [Lie; 5] = [
        Lie::Silent,
        Lie::BadShare,
        Lie::Hangs,
        Lie::Forgets,
        Lie::Junk,
    ];
    for faulty in [1, 2] {
        let mut rng = fastrand::Rng::with_seed(faulty.into());
        let mut members = group(faulty, 7);
        for case in 0..40_u8 {
            let digest = keccak256([faulty, case]);
            let mut everyone: Vec<u8> = (0..3 * faulty + 1).collect();
            rng.shuffle(&mut everyone);
            let liars: BTreeMap<u8, Lie> = everyone
                .iter()
                .take(faulty.into())
                .map(|it| (*it, LIES[rng.usize(..LIES.len())]))
                .collect();
            let (done, blamed) = sign(&mut members, &liars, &digest, &mut rng);
            let done = done.unwrap_or_else(|| panic!("case {case} of f={faulty}: {liars:?}"));
            assert_eq!(members[0].verify(&digest, &done), Ok(()));
            assert!(
                blamed.iter().all(|it| liars.contains_key(it)),
                "{blamed:?} of {liars:?}"
            );
        }
    }
}

/// Found by seed 11485 of `soak --target oracle`: a first commitment and a share that arrive again, late, had their sender
/// asked by a nonce that was gone, and blamed for the share of another attempt.
#[test]
fn what_the_network_repeats_is_held_against_nobody() {
    let mut members = group(1, 5);
    let digest = B256::repeat_byte(2);
    members[3].begin(&digest);
    let part = |members: &mut [FrostGroup], member: u8, request: Option<&Bytes>| {
        let member = &mut members[usize::from(member)];
        let request = request.map(AsRef::as_ref);
        member.contribute(&digest, request).unwrap()
    };
    let first = part(&mut members, 0, None);
    let second = part(&mut members, 1, None);
    assert_eq!(members[3].gather(&digest, 0, &first), Ok(Gathered::More));
    let Ok(Gathered::Ask(asked)) = members[3].gather(&digest, 1, &second) else {
        panic!("two have committed");
    };
    let share = part(&mut members, 0, Some(&asked[0].1));
    assert_eq!(members[3].gather(&digest, 0, &share), Ok(Gathered::More));
    // All of it comes again, and then a third member commits.
    assert_eq!(members[3].gather(&digest, 0, &first), Ok(Gathered::More));
    let third = part(&mut members, 2, None);
    let Ok(Gathered::Ask(asked)) = members[3].gather(&digest, 2, &third) else {
        panic!("two are free");
    };
    for repeated in [&share, &first, &share] {
        assert_eq!(members[3].gather(&digest, 0, repeated), Ok(Gathered::More));
    }
    let mut done = None;
    for (member, request) in asked {
        let share = part(&mut members, member, Some(&request));
        if let Ok(Gathered::Done(it)) = members[3].gather(&digest, member, &share) {
            done = Some(it);
        }
    }
    assert_eq!(members[1].verify(&digest, &done.unwrap()), Ok(()));
}

/// The first attempt has the liar in it; its share is refused with its name, and the others sign without it.
#[test]
fn a_bad_share_names_its_signer_and_the_round_goes_on_without_it() {
    let mut members = group(1, 3);
    let digest = B256::repeat_byte(1);
    members[3].begin(&digest);
    let commitment = |members: &mut [FrostGroup], member: u8| {
        members[usize::from(member)]
            .contribute(&digest, None)
            .unwrap()
    };
    let first = commitment(&mut members, 0);
    assert_eq!(members[3].gather(&digest, 0, &first), Ok(Gathered::More));
    let second = commitment(&mut members, 1);
    let Ok(Gathered::Ask(asked)) = members[3].gather(&digest, 1, &second) else {
        panic!("two have committed");
    };
    assert_eq!(asked.iter().map(|it| it.0).collect::<Vec<_>>(), [0, 1]);
    let mut bad = members[0]
        .contribute(&digest, Some(&asked[0].1))
        .unwrap()
        .to_vec();
    bad[70] ^= 1;
    assert_eq!(
        members[3].gather(&digest, 0, &bad),
        Err(AttestError::Signature(0))
    );
    // It is asked for nothing more, whatever it says.
    let again = commitment(&mut members, 0);
    assert_eq!(members[3].gather(&digest, 0, &again), Ok(Gathered::More));
    let good = members[1].contribute(&digest, Some(&asked[1].1)).unwrap();
    assert_eq!(members[3].gather(&digest, 1, &good), Ok(Gathered::More));
    let third = commitment(&mut members, 2);
    let Ok(Gathered::Ask(asked)) = members[3].gather(&digest, 2, &third) else {
        panic!("two are free");
    };
    assert_eq!(asked.iter().map(|it| it.0).collect::<Vec<_>>(), [1, 2]);
}

/// What was signed with a nonce is given again for the same request and never for another; after a restart never.
#[test]
fn a_nonce_is_used_once_and_gone_after_a_restart() {
    let mut members = group(1, 5);
    let digest = B256::repeat_byte(2);
    members[0].begin(&digest);
    let mut ask = None;
    for member in [1, 2] {
        let part = members[usize::from(member)]
            .contribute(&digest, None)
            .unwrap();
        if let Gathered::Ask(requests) = members[0].gather(&digest, member, &part).unwrap() {
            ask = Some(requests[0].1.clone());
        }
    }
    let request = ask.unwrap();
    let share = members[1].contribute(&digest, Some(&request)).unwrap();
    assert_eq!(members[1].contribute(&digest, Some(&request)), Ok(share));
    // The same nonce with another partner's commitment.
    let other = members[3].contribute(&digest, None).unwrap();
    let mut mixed = request.to_vec();
    mixed[67] = 3;
    mixed[68..].copy_from_slice(&other);
    assert_eq!(
        members[1].contribute(&digest, Some(&mixed)),
        Err(AttestError::NonceGone)
    );
    let mut restarted = FrostGroup::new(members[2].share().unwrap().clone());
    assert_eq!(
        restarted.contribute(&digest, Some(&request)),
        Err(AttestError::NonceGone)
    );
    let fresh = restarted.contribute(&digest, None).unwrap();
    assert_ne!(fresh[..], request[68..], "another nonce in another life");
    assert_eq!(
        restarted.contribute(&digest, Some(&request)),
        Err(AttestError::NonceGone)
    );
    // A request for another report.
    assert_eq!(
        members[2].contribute(&B256::ZERO, Some(&request)),
        Err(AttestError::NonceGone)
    );
}

#[test]
fn forged_and_truncated_bytes_are_refused() {
    let mut members = group(1, 5);
    let digest = B256::repeat_byte(3);
    let (done, _) = sign(
        &mut members,
        &BTreeMap::new(),
        &digest,
        &mut fastrand::Rng::with_seed(1),
    );
    let done = done.unwrap();
    for bit in 0..done.len() * 8 {
        let mut flipped = done.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(members[0].verify(&digest, &flipped).is_err(), "bit {bit}");
    }
    assert!(members[0].verify(&B256::ZERO, &done).is_err());
    for length in [0, 1, 66, 95, 97, 164, 200] {
        let junk = vec![2; length];
        assert!(members[0].verify(&digest, &junk).is_err());
        members[0].begin(&digest);
        assert!(length == 66 || members[0].gather(&digest, 1, &junk).is_err());
        assert!(members[0].contribute(&digest, Some(&junk)).is_err());
    }
    let stranger = members[1].contribute(&digest, None).unwrap();
    assert_eq!(
        members[0].gather(&digest, 9, &stranger),
        Err(AttestError::NoSuchMember(9))
    );
    assert_eq!(
        members[0].gather(&B256::ZERO, 1, &stranger),
        Err(AttestError::Unexpected)
    );
}

#[test]
fn a_share_is_read_back_and_a_spoilt_one_is_refused() {
    let share = shares(2, 9).swap_remove(4);
    let bytes = share.to_bytes();
    let read = GroupShare::from_bytes(&bytes).unwrap();
    assert_eq!(read.to_bytes(), bytes);
    assert_eq!(
        (read.member(), read.threshold(), read.members().count()),
        (4, 3, 7)
    );
    assert_eq!(read.group_key(), share.group_key());
    for cut in 0..bytes.len() {
        assert!(GroupShare::from_bytes(&bytes[..cut]).is_err(), "{cut}");
    }
    // Any bit of the secret, which lies behind the member and the threshold.
    for bit in 0..256 {
        let mut spoilt = bytes.clone();
        spoilt[2 + bit / 8] ^= 1 << (bit % 8);
        assert!(GroupShare::from_bytes(&spoilt).is_err(), "bit {bit}");
    }
    let mut rng = Seeded(fastrand::Rng::with_seed(1));
    for (count, threshold) in [(0, 0), (4, 0), (4, 1), (4, 5), (65, 22)] {
        assert!(GroupShare::deal(count, threshold, &mut rng).is_err());
    }
    assert!(!format!("{share:?}").contains("signing_share"));
}
