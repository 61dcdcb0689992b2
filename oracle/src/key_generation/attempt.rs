use std::collections::{BTreeMap, BTreeSet};

use frost_secp256k1_evm::Identifier;
use frost_secp256k1_evm::keys::dkg::{self, round1, round2};
use frost_secp256k1_evm::keys::{SecretShare, SigningShare};
use peaberry_chain::primitives::B256;
use peaberry_core::mutant::is_planted;
use rand_core::{CryptoRng, RngCore};

use super::KeyGenerationFault;
use super::message::{Said, Statement};
use crate::attest::GroupShare;

/// What one member knows of one attempt.
pub(super) struct Attempt {
    pub(super) number: u32,
    pub(super) name: B256,
    pub(super) member: u8,
    pub(super) participants: BTreeSet<u8>,
    threshold: usize,
    /// Our polynomial, until everybody's commitment is known.
    polynomial: Option<round1::SecretPackage>,
    /// All that was said, to be said on: of each author one deal, echo and end, and a complaint of each other.
    pub(super) statements: BTreeMap<(u8, Kind), Statement>,
    deals: BTreeMap<u8, (B256, round1::Package)>,
    /// Who has seen what we saw.
    echoes: BTreeSet<u8>,
    /// Who has told us its share: it knows that all have seen the same.
    opened: BTreeSet<u8>,
    /// Our polynomial at each other one's place, once it may be told.
    pub(super) dealt: BTreeMap<u8, SigningShare>,
    secret: Option<round2::SecretPackage>,
    /// Others' polynomials at our place, each checked.
    shares: BTreeMap<u8, SigningShare>,
    /// What was shown to all: by dealer and complainer.
    pub(super) justified: BTreeMap<(u8, u8), SigningShare>,
    pub(super) complaints: BTreeSet<(u8, u8)>,
    pub(super) done: BTreeMap<u8, [u8; 33]>,
    pub(super) share: Option<GroupShare>,
    /// Who has lied, as everyone can see.
    pub(super) culprits: BTreeSet<u8>,
}

/// Of what an author says one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Deal,
    /// The proof that its author has dealt twice.
    SecondDeal,
    Echo,
    Complaint(u8),
    Done,
}

/// The name of a member in the polynomials.
fn identifier(member: u8) -> Option<Identifier> {
    Identifier::try_from(u16::from(member) + 1).ok()
}

impl Attempt {
    pub(super) fn new(
        number: u32,
        name: B256,
        member: u8,
        participants: BTreeSet<u8>,
        threshold: usize,
        rng: &mut (impl CryptoRng + RngCore),
    ) -> Option<(Self, round1::Package)> {
        let count = u16::try_from(participants.len()).ok()?;
        let signers = u16::try_from(threshold).ok()?;
        let (polynomial, package) = dkg::part1(identifier(member)?, count, signers, rng).ok()?;
        let attempt = Self {
            number,
            name,
            member,
            participants,
            threshold,
            polynomial: Some(polynomial),
            statements: BTreeMap::new(),
            deals: BTreeMap::new(),
            echoes: BTreeSet::new(),
            opened: BTreeSet::new(),
            dealt: BTreeMap::new(),
            secret: None,
            shares: BTreeMap::new(),
            justified: BTreeMap::new(),
            complaints: BTreeSet::new(),
            done: BTreeMap::new(),
            share: None,
            culprits: BTreeSet::new(),
        };
        Some((attempt, package))
    }

    pub(super) fn others(&self) -> impl Iterator<Item = u8> + '_ {
        self.participants
            .iter()
            .copied()
            .filter(|it| *it != self.member)
    }

    /// Takes what a participant has signed. Blames it where that is none of what a correct one says.
    pub(super) fn hear(&mut self, statement: Statement) -> Result<(), KeyGenerationFault> {
        let author = statement.author;
        let kind = match &statement.said {
            Said::Deal(package) => {
                let degree = package.commitment().serialize().map(|it| it.len());
                let digest = statement.said.digest(self.name, author);
                let (Ok(degree), Ok(digest)) = (degree, digest) else {
                    return Err(KeyGenerationFault::Deal);
                };
                if degree != self.threshold {
                    return Err(KeyGenerationFault::Deal);
                }
                let known = self.deals.entry(author);
                let known = known.or_insert_with(|| (digest, package.clone()));
                if known.0 == digest {
                    Kind::Deal
                } else {
                    self.statements
                        .entry((author, Kind::SecondDeal))
                        .or_insert(statement);
                    self.culprits.insert(author);
                    return Err(KeyGenerationFault::TwoDeals);
                }
            }
            Said::Echo(_) => Kind::Echo,
            Said::Complaint(dealer) => {
                if !self.participants.contains(dealer) || *dealer == author {
                    return Ok(());
                }
                self.complaints.insert((author, *dealer));
                Kind::Complaint(*dealer)
            }
            Said::Done(key) => {
                self.done.entry(author).or_insert(*key);
                Kind::Done
            }
        };
        self.statements.entry((author, kind)).or_insert(statement);
        self.compare_echoes();
        Ok(())
    }

    /// All deals' digests, once they are here.
    pub(super) fn echo(&self) -> Option<Vec<B256>> {
        let is_complete = self.deals.len() == self.participants.len();
        is_complete.then(|| self.deals.values().map(|(digest, _)| *digest).collect())
    }

    fn compare_echoes(&mut self) {
        let Some(ours) = self.echo() else {
            return;
        };
        for ((author, _), statement) in &self.statements {
            if matches!(&statement.said, Said::Echo(theirs) if *theirs == ours) {
                self.echoes.insert(*author);
            }
        }
    }

    /// Whether all have seen the same, as all say, or as one honest one knows.
    pub(super) fn is_echoed(&self) -> bool {
        self.echo().is_some()
            && (self.others().all(|it| self.echoes.contains(&it))
                || self.opened.len() >= self.threshold)
    }

    pub(super) const fn has_opened(&self) -> bool {
        self.secret.is_some()
    }

    /// From now on shares may be told. Names who does not know what it committed to.
    pub(super) fn open(&mut self) {
        let Some(polynomial) = self.polynomial.take() else {
            return;
        };
        match dkg::part2(polynomial, &self.packages()) {
            Ok((secret, dealt)) => {
                let names: Vec<u8> = self.others().collect();
                for member in names {
                    let share = identifier(member).and_then(|name| dealt.get(&name));
                    if let Some(share) = share {
                        self.dealt.insert(member, *share.signing_share());
                    }
                }
                self.secret = Some(secret);
            }
            Err(error) => {
                for culprit in error.culprits() {
                    let mut members = self.participants.iter();
                    let named = members.find(|it| identifier(**it) == Some(culprit));
                    self.culprits.extend(named.copied());
                }
            }
        }
    }

    fn packages(&self) -> BTreeMap<Identifier, round1::Package> {
        let others = self.deals.iter().filter(|(it, _)| **it != self.member);
        others
            .filter_map(|(dealer, (_, package))| Some((identifier(*dealer)?, package.clone())))
            .collect()
    }

    /// Whether `share` is what `dealer` has committed to for `member` (Feldman).
    fn is_share(&self, dealer: u8, member: u8, share: SigningShare) -> bool {
        if is_planted("frost_bad_share_accepted") {
            return true;
        }
        let (Some((_, package)), Some(name)) = (self.deals.get(&dealer), identifier(member)) else {
            return false;
        };
        SecretShare::new(name, share, package.commitment().clone())
            .verify()
            .is_ok()
    }

    /// A share for us. It comes again until we can check it.
    pub(super) fn hear_share(
        &mut self,
        dealer: u8,
        share: SigningShare,
    ) -> Result<(), KeyGenerationFault> {
        self.opened.insert(dealer);
        if !self.has_opened() || self.shares.contains_key(&dealer) {
            return Ok(());
        }
        if !self.is_share(dealer, self.member, share) {
            return Err(KeyGenerationFault::Share);
        }
        self.shares.insert(dealer, share);
        Ok(())
    }

    /// A share that was shown to all, by its dealer or by who has seen it. `false` where it is none.
    pub(super) fn hear_justification(
        &mut self,
        dealer: u8,
        complainer: u8,
        share: SigningShare,
    ) -> bool {
        if !self.has_opened() || !self.participants.contains(&complainer) {
            return true;
        }
        if !self.is_share(dealer, complainer, share) {
            return false;
        }
        self.justified.insert((dealer, complainer), share);
        if complainer == self.member {
            self.shares.entry(dealer).or_insert(share);
        }
        true
    }

    /// Whose shares we lack.
    pub(super) fn missing(&self) -> Vec<u8> {
        self.others()
            .filter(|it| !self.shares.contains_key(it))
            .collect()
    }

    /// Whom somebody has complained of in vain. Who has said that it has its share complains of nobody any more.
    pub(super) fn unjustified(&self) -> BTreeSet<u8> {
        let complaints = self.complaints.iter();
        complaints
            .filter(|(complainer, _)| !self.done.contains_key(complainer))
            .filter(|(complainer, dealer)| !self.justified.contains_key(&(*dealer, *complainer)))
            .map(|(_, dealer)| *dealer)
            .collect()
    }

    /// Our share of the key, once everybody's part of it is here.
    pub(super) fn finish(&self) -> Option<GroupShare> {
        let secret = self.secret.as_ref()?;
        if self.share.is_some() || !self.missing().is_empty() {
            return None;
        }
        let shares = self.shares.iter().filter_map(|(dealer, share)| {
            Some((identifier(*dealer)?, round2::Package::new(*share)))
        });
        let (key, public) = dkg::part3(secret, &self.packages(), &shares.collect()).ok()?;
        Some(GroupShare::new(self.member, key, public))
    }

    /// Who has said that it has a share of our key.
    pub(super) fn agreeing(&self) -> usize {
        let Some(share) = &self.share else {
            return 0;
        };
        let key = share.group_key();
        self.done.values().filter(|theirs| **theirs == key).count()
    }

    /// Who is to blame for the attempt: liars, if any are known; else who has not done what would be next.
    pub(super) fn blamed(&self) -> BTreeSet<u8> {
        let lacking = |has: &dyn Fn(&u8) -> bool| -> BTreeSet<u8> {
            self.others().filter(|it| !has(it)).collect()
        };
        [
            self.culprits.clone(),
            lacking(&|it| self.deals.contains_key(it)),
            if self.has_opened() {
                self.unjustified()
            } else {
                lacking(&|it| self.echoes.contains(it))
            },
            lacking(&|it| self.done.contains_key(it)),
        ]
        .into_iter()
        .find(|blamed| !blamed.is_empty())
        .unwrap_or_default()
    }
}
