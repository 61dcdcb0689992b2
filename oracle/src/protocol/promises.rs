//! What an oracle must not forget: it is durable before anything that rests on it leaves.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use peaberry_chain::EvmAddress;
use peaberry_chain::primitives::{B256, keccak256};
use peaberry_core::mutant::is_planted;
use peaberry_core::wire::{self, Reader};
use peaberry_core::{Batch, Storage, StorageError, Subspace};

use super::breaker::{Breaker, Trip};
use super::evidence::{EVIDENCE_PER_MEMBER_MAX, Evidence};
use crate::attest::{AttestError, Misfit};
use crate::config::{Config, FEEDS_MAX};
use crate::feed::Feed;
use crate::observation::SignedObservation;
use crate::report::AttestedReport;
use crate::reputation::Reputation;
use crate::round_id::RoundId;
use crate::wire::{DecodeError, hash, put_round, put_value, round, value};

const EPOCH: &[u8] = b"epoch";
const ASKED: &[u8] = b"asked";
const OBSERVED: &[u8] = b"observed";
const ATTESTED: &[u8] = b"attested";
const FINAL: &[u8] = b"final";
const LANDED: &[u8] = b"landed";
const ANSWERS: &[u8] = b"answers";
const BREAKER: &[u8] = b"breaker";
const REPUTATION: &[u8] = b"reputation";
const EVIDENCE: &[u8] = b"e/";
/// The layout of the records that outlive a configuration: they name feeds and members by what these are and not by number.
const FORMAT: u8 = 2;

/// The last answer of a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LastAnswer {
    pub(super) value: i128,
    pub(super) observed_at_ms: u64,
    pub(super) round: RoundId,
}

/// Everything durable, as it is in memory.
#[derive(Debug)]
pub(super) struct Promises {
    space: Subspace,
    /// By number, what a feed is in records.
    feeds: Vec<B256>,
    /// The epoch we were in, and the one we wished for.
    pub(super) epoch: (u32, u32),
    /// The newest round we asked for as a leader: none is asked for twice.
    pub(super) asked: Option<RoundId>,
    /// The newest observation we signed.
    pub(super) observed: Option<SignedObservation>,
    /// The newest report we signed: its round and digest.
    pub(super) attested: Option<(RoundId, B256)>,
    /// The newest report that a quorum signed.
    pub(super) last: Option<AttestedReport>,
    /// By feed: the newest round that the contract has stored.
    landed: Vec<Option<RoundId>>,
    /// By feed.
    pub(super) answers: Vec<Option<LastAnswer>>,
    pub(super) breaker: Breaker,
    pub(super) reputation: Reputation,
    /// Offender, round and kind of what is kept.
    evidence: BTreeSet<(EvmAddress, RoundId, u8)>,
}

/// Why an oracle's store cannot be read. Nothing changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The store could not be read.
    #[error("could not read the oracle's promises")]
    Storage(#[from] StorageError),
    /// What is there is not what an oracle writes: start it as a new member with a new key.
    #[error(
        "the record {record} is damaged: {source}; replace this oracle by a new member with a new key"
    )]
    Damaged {
        /// Which one.
        record: String,
        /// What was found.
        #[source]
        source: DecodeError,
    },
    /// The key is none of the configuration's.
    #[error("no member signs as {0}: check the key file and the configuration")]
    NotAMember(EvmAddress),
    /// The attestor cannot sign or check this configuration's reports.
    #[error("the attestor does not fit the configuration")]
    Misfit(#[from] Misfit),
    /// The store holds a report that a quorum has signed under this very configuration, and the attestor does not know
    /// that quorum: the share is of another group.
    #[error(
        "the attestor does not know who signed round {round} under this configuration: restore the share of the group \
         that did, or install the new group by a new generation"
    )]
    OtherQuorum {
        /// The newest round in the store.
        round: RoundId,
        /// What is wrong with its attestation.
        #[source]
        source: AttestError,
    },
}

impl Promises {
    pub(super) fn open(
        space: Subspace,
        storage: &dyn Storage,
        config: &Config,
    ) -> Result<Self, OpenError> {
        let read = Records {
            space: &space,
            storage,
        };
        let feeds: Vec<B256> = config.feeds().iter().map(name_of).collect();
        let mut promises = Self {
            epoch: read.get(EPOCH, decode_epoch)?.unwrap_or((0, 0)),
            asked: read.get(ASKED, round)?,
            observed: read.get(OBSERVED, SignedObservation::decode)?,
            attested: read.get(ATTESTED, |reader| Ok((round(reader)?, hash(reader)?)))?,
            last: read.get(FINAL, AttestedReport::decode)?,
            landed: vec![None; feeds.len()],
            answers: vec![None; feeds.len()],
            breaker: Breaker::new(feeds.len()),
            feeds,
            reputation: Reputation::new(config.members().len()),
            evidence: known_evidence(&space, storage)?,
            space: space.clone(),
        };
        if let Some((digest, known)) = read.get(ANSWERS, decode_answers)? {
            promises.answers = promises.by_number(&known);
            if digest != config.digest() {
                // Not all of them need have landed: they are due at once, and the breaker still knows them.
                let answers = promises.answers.iter_mut().flatten();
                answers.for_each(|it| it.observed_at_ms = 0);
            }
        }
        if let Some(landed) = read.get(LANDED, |reader| {
            format(reader)?;
            decode_by_feed(reader, round)
        })? {
            promises.landed = promises.by_number(&landed);
        }
        if let Some((tripped, own)) = read.get(BREAKER, decode_breaker)? {
            let tripped = numbered(&promises.by_number(&tripped));
            let own = numbered(&promises.by_number(&own));
            promises.breaker = Breaker::restored(promises.feeds.len(), &tripped, &own);
        }
        if let Some(reputation) = read.get(REPUTATION, |reader| {
            format(reader)?;
            Reputation::decode(reader, config.members())
        })? {
            promises.reputation = reputation;
        }
        Ok(promises)
    }

    /// What is kept of the feeds of this configuration, by their numbers.
    fn by_number<T: Copy>(&self, kept: &BTreeMap<B256, T>) -> Vec<Option<T>> {
        self.feeds.iter().map(|it| kept.get(it).copied()).collect()
    }

    pub(super) fn put_epoch(&mut self, batch: &mut Batch, epoch: u32, wish: u32) {
        self.epoch = (epoch, wish);
        let mut out = Vec::new();
        wire::put_varint(&mut out, u64::from(epoch));
        wire::put_varint(&mut out, u64::from(wish));
        self.space.put(batch, EPOCH, &out);
    }

    pub(super) fn put_asked(&mut self, batch: &mut Batch, round: RoundId) {
        self.asked = Some(round);
        self.space
            .put(batch, ASKED, &encoded(|out| put_round(out, round)));
    }

    pub(super) fn put_observed(&mut self, batch: &mut Batch, signed: SignedObservation) {
        self.space
            .put(batch, OBSERVED, &encoded(|out| signed.encode(out)));
        self.observed = Some(signed);
    }

    pub(super) fn put_attested(&mut self, batch: &mut Batch, round: RoundId, digest: B256) {
        self.attested = Some((round, digest));
        let bytes = encoded(|out| {
            put_round(out, round);
            out.extend_from_slice(digest.as_slice());
        });
        self.space.put(batch, ATTESTED, &bytes);
    }

    /// Takes a report for the newest, with its answers.
    pub(super) fn put_last(&mut self, batch: &mut Batch, attested: AttestedReport) {
        self.space.put(batch, FINAL, &attested.to_bytes());
        for answer in &attested.report.answers {
            if let Some(last) = self.answers.get_mut(usize::from(answer.feed)) {
                *last = Some(LastAnswer {
                    value: answer.value,
                    observed_at_ms: attested.report.observed_at_ms,
                    round: attested.report.round,
                });
            }
        }
        self.put_answers(batch, attested.report.config);
        self.last = Some(attested);
    }

    pub(super) fn put_answers(&self, batch: &mut Batch, config: B256) {
        let bytes = encoded(|out| {
            out.push(FORMAT);
            out.extend_from_slice(config.as_slice());
            self.put_by_feed(out, numbered(&self.answers), |out, answer| {
                put_round(out, answer.round);
                put_value(out, answer.value);
                wire::put_varint(out, answer.observed_at_ms);
            });
        });
        self.space.put(batch, ANSWERS, &bytes);
    }

    /// What is kept of the feeds, by what they are and not by number.
    fn put_by_feed<T>(
        &self,
        out: &mut Vec<u8>,
        kept: impl IntoIterator<Item = (u8, T)>,
        one: impl Fn(&mut Vec<u8>, T),
    ) {
        let kept = kept.into_iter();
        let kept: Vec<_> = kept
            .filter_map(|(feed, it)| Some((self.feeds.get(usize::from(feed))?, it)))
            .collect();
        wire::put_varint(out, kept.len() as u64);
        for (feed, it) in kept {
            out.extend_from_slice(feed.as_slice());
            one(out, it);
        }
    }

    /// The newest round of which the contract has an answer for the feed.
    pub(super) fn landed(&self, feed: u8) -> Option<RoundId> {
        self.landed.get(usize::from(feed)).copied().flatten()
    }

    /// Takes note of what the contract has; `false` where that is no news.
    pub(super) fn put_landed(&mut self, batch: &mut Batch, feed: u8, round: RoundId) -> bool {
        let Some(landed) = self.landed.get_mut(usize::from(feed)) else {
            return false;
        };
        if *landed >= Some(round) {
            return false;
        }
        *landed = Some(round);
        let bytes = encoded(|out| {
            out.push(FORMAT);
            self.put_by_feed(out, numbered(&self.landed), put_round);
        });
        self.space.put(batch, LANDED, &bytes);
        true
    }

    pub(super) fn put_breaker(&self, batch: &mut Batch) {
        let bytes = encoded(|out| {
            out.push(FORMAT);
            self.put_by_feed(out, self.breaker.tripped(), |out, trip| {
                put_round(out, trip.since);
                put_value(out, trip.last);
                put_value(out, trip.refused);
            });
            self.put_by_feed(out, self.breaker.resets(), put_round);
        });
        self.space.put(batch, BREAKER, &bytes);
    }

    pub(super) fn put_reputation(&self, batch: &mut Batch, config: &Config) {
        let bytes = encoded(|out| {
            out.push(FORMAT);
            self.reputation.encode(out, config.members());
        });
        self.space.put(batch, REPUTATION, &bytes);
    }

    /// Keeps evidence; `false` where enough is kept already, or this very piece.
    pub(super) fn put_evidence(
        &mut self,
        batch: &mut Batch,
        offender: EvmAddress,
        evidence: &Evidence,
    ) -> bool {
        let known = self
            .evidence
            .iter()
            .filter(|(of, ..)| *of == offender)
            .count();
        let name = (offender, evidence.round(), evidence.kind());
        if known >= EVIDENCE_PER_MEMBER_MAX || !self.evidence.insert(name) {
            return false;
        }
        let mut name = EVIDENCE.to_vec();
        name.extend_from_slice(offender.as_slice());
        name.extend_from_slice(&evidence.round().sequence().to_be_bytes());
        name.push(evidence.kind());
        if !is_planted("evidence_not_kept") {
            self.space.put(batch, &name, &evidence.to_bytes());
        }
        true
    }
}

/// The evidence that is kept in an oracle's part of `storage`, with its offenders, in the order of their addresses: up to 16
/// pieces for each signer, whatever number it has or had. The part is `Subspace::of(oracle_channel(group))`.
///
/// # Errors
///
/// [`OpenError`]: the store could not be read, or holds what no oracle wrote.
pub fn kept_evidence(
    space: &Subspace,
    storage: &dyn Storage,
) -> Result<Vec<(EvmAddress, Evidence)>, OpenError> {
    let within = space.within(EVIDENCE);
    let mut kept = Vec::new();
    for entry in within.entries(storage) {
        let (name, value) = entry?;
        let offender = name.first_chunk().copied().map(EvmAddress::new);
        let offender = offender.ok_or(DecodeError::Invalid("a name without an offender"));
        let offender = offender.map_err(damaged(EVIDENCE))?;
        let evidence = Evidence::from_bytes(&value).map_err(damaged(EVIDENCE))?;
        kept.push((offender, evidence));
    }
    Ok(kept)
}

fn known_evidence(
    space: &Subspace,
    storage: &dyn Storage,
) -> Result<BTreeSet<(EvmAddress, RoundId, u8)>, OpenError> {
    let kept = kept_evidence(space, storage)?;
    let names = kept
        .iter()
        .map(|(offender, evidence)| (*offender, evidence.round(), evidence.kind()));
    Ok(names.collect())
}

/// Reads single records.
struct Records<'a> {
    space: &'a Subspace,
    storage: &'a dyn Storage,
}

impl Records<'_> {
    fn raw(&self, name: &[u8]) -> Result<Option<Bytes>, OpenError> {
        Ok(self.space.get(self.storage, name)?)
    }

    fn get<T>(
        &self,
        name: &[u8],
        decode: impl FnOnce(&mut Reader<'_>) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, OpenError> {
        let Some(bytes) = self.raw(name)? else {
            return Ok(None);
        };
        let mut reader = Reader::new(&bytes);
        let decoded = decode(&mut reader).map_err(damaged(name))?;
        reader
            .finish()
            .map_err(|error| damaged(name)(error.into()))?;
        Ok(Some(decoded))
    }
}

fn damaged(name: &[u8]) -> impl Fn(DecodeError) -> OpenError {
    let record = String::from_utf8_lossy(name).into_owned();
    move |source| OpenError::Damaged {
        record: record.clone(),
        source,
    }
}

fn encoded(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

fn decode_epoch(reader: &mut Reader<'_>) -> Result<(u32, u32), DecodeError> {
    let mut epoch = || {
        let epoch = u32::try_from(reader.varint()?);
        epoch.map_err(|_too_large| DecodeError::Invalid("an epoch over 32 bits"))
    };
    Ok((epoch()?, epoch()?))
}

/// What a feed is, whatever its number: answers of another number of decimals are none of it.
fn name_of(feed: &Feed) -> B256 {
    keccak256([feed.name.as_bytes(), &[feed.decimals]].concat())
}

fn numbered<T: Copy>(by_number: &[Option<T>]) -> Vec<(u8, T)> {
    let numbered = (0..=u8::MAX).zip(by_number);
    numbered
        .filter_map(|(feed, it)| Some((feed, (*it)?)))
        .collect()
}

fn format(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    match reader.u8()? {
        FORMAT => Ok(()),
        other => Err(DecodeError::Version(other)),
    }
}

/// What is kept of each feed.
type ByFeed<T> = BTreeMap<B256, T>;

fn decode_by_feed<T>(
    reader: &mut Reader<'_>,
    one: impl Fn(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<ByFeed<T>, DecodeError> {
    let count = reader.length(FEEDS_MAX)?;
    let entries = (0..count).map(|_| Ok((hash(reader)?, one(reader)?)));
    entries.collect()
}

/// The configuration under which they were agreed on, and the answers.
fn decode_answers(reader: &mut Reader<'_>) -> Result<(B256, ByFeed<LastAnswer>), DecodeError> {
    format(reader)?;
    let config = hash(reader)?;
    let answers = decode_by_feed(reader, |reader| {
        Ok(LastAnswer {
            round: round(reader)?,
            value: value(reader)?,
            observed_at_ms: reader.varint()?,
        })
    });
    Ok((config, answers?))
}

/// What is tripped, and what our operator has reset.
fn decode_breaker(reader: &mut Reader<'_>) -> Result<(ByFeed<Trip>, ByFeed<RoundId>), DecodeError> {
    format(reader)?;
    let tripped = decode_by_feed(reader, |reader| {
        Ok(Trip {
            since: round(reader)?,
            last: value(reader)?,
            refused: value(reader)?,
        })
    });
    Ok((tripped?, decode_by_feed(reader, round)?))
}
