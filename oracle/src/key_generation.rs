//! How members make a key that none of them knows.

mod attempt;
#[cfg(test)]
mod late_word;
mod message;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use peaberry_chain::primitives::{B256, keccak256};
use peaberry_core::{
    AddError, Channel, Effects, Envelope, Handle, Input, Instant, Node, Protocol, ProtocolId,
    Storage, Subspace,
};
use rand_core::{CryptoRng, CryptoRngCore, OsRng, RngCore};

use self::attempt::Attempt;
#[doc(hidden)]
pub use self::message::decode_any_key_generation_bytes;
use self::message::{Body, Message, Said, Statement};
use crate::attest::{GroupShare, GroupShareError};
use crate::config::Config;
use crate::protocol::OpenError;
use crate::signature::Keyring;
use crate::wire::DecodeError;

/// The protocol id of key generation.
pub const KEY_GENERATION: ProtocolId = ProtocolId(51);

/// The channel of the key generation of the oracles numbered `group`.
#[must_use]
pub const fn key_generation_channel(group: u64) -> Channel {
    Channel::new(KEY_GENERATION, group)
}

const USED: &[u8] = b"used";
const SHARES: &[u8] = b"share/";
/// How often an attempt that is over here is still told of.
const BEATS_AFTER_END: u32 = 16;

/// What an application tells a [`KeyGeneration`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is one thing to do")]
pub enum KeyGenerationCommand {
    /// Begins an attempt, here; all who take part must begin the same one. After [`KeyGenerationEvent::Failed`], the next
    /// one is without the culprits.
    Begin {
        /// Above the number of every attempt before.
        attempt: u32,
        /// The numbers of the members who take part, 2f+1 or more, us among them. The others get no share.
        participants: Vec<u8>,
    },
}

/// What a [`KeyGeneration`] tells its application, once it is durable.
#[derive(Debug)]
#[non_exhaustive]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one such event for each ceremony"
)]
pub enum KeyGenerationEvent {
    /// 2f+1 participants or more, we among them, have a share of the same key, and nobody complains.
    Established {
        /// Which attempt it was.
        attempt: u32,
        /// Ours.
        share: GroupShare,
    },
    /// The attempt came to nothing here. Nobody has learned anything that matters. A share that was complete is kept all the
    /// same ([`kept_shares`]): if 2f+1 others have established its key, it is theirs and ours.
    Failed {
        /// Which one.
        attempt: u32,
        /// Who has lied, or, if nobody has, been silent when it was their turn; ascending. Never an honest one that could
        /// be heard.
        culprits: Vec<u8>,
    },
    /// The command was not carried out.
    Refused(BeginError),
    /// A member did what no correct one does. Its message was dropped.
    Misbehaviour {
        /// The number of the member.
        member: u8,
        /// What.
        what: KeyGenerationFault,
    },
}

/// Why an attempt is not begun. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BeginError {
    /// The same number twice could make us deal twice.
    #[error("attempt {0} was begun before, here: choose a greater number")]
    Used(u32),
    /// Too few, not all members, or without us.
    #[error("an attempt needs {0} members or more, each named once, this one among them")]
    Participants(usize),
}

/// What no correct member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyGenerationFault {
    /// Bytes that no member writes.
    #[error("malformed bytes: {0}")]
    Malformed(DecodeError),
    /// A statement that its author has not signed.
    #[error("a statement that its author has not signed")]
    Signature,
    /// A polynomial of another degree.
    #[error("a polynomial of another degree than f")]
    Deal,
    /// Two deals for one attempt, both signed by this member.
    #[error("two deals for one attempt")]
    TwoDeals,
    /// A share that is not what the dealer has committed to.
    #[error("a share that does not fit its commitment")]
    Share,
}

/// Distributed key generation among oracles: a [`Protocol`] (Pedersen's, as FROST has it: Komlo and Goldberg, 2020, with
/// proofs of possession), over echo broadcast, with complaints.
///
/// Each participant deals: it commits to a polynomial of degree f, signed, to all. When a participant has all
/// commitments it echoes them; once all have echoed the same, and only then, it tells each other one its share, over a
/// transport that nobody else can read. A share that is missing or wrong is complained of, and its dealer must show it to
/// all. Whoever has all shares keeps its part of the key before it says so. What is said to all is signed and said on, so
/// that a liar says it to all or to nobody.
///
/// An attempt succeeds if all who take part do their part. If one lies or is silent it fails, names who that was, and the
/// next attempt is without them: while the honest are up, at most f+1 attempts. Who is left out opens his oracle as an
/// observer of the group ([`FrostGroup::observer`](crate::FrostGroup)) and has no share; a later attempt with all may give
/// him one of another key. That every honest one comes to the same end supposes that messages arrive within
/// [`Timing::progress`](crate::Timing); if they do not, some may hold a share of an attempt that failed elsewhere: whoever
/// configures the contract waits until 2f+1 have told the same key. Who has said that it has its share keeps it, whatever
/// comes to light later or wherever the attempt fails: another may count on that word.
///
/// A key is replaced by making another one and handing over to it in the contract
/// ([`rotation_digest`](crate::rotation_digest)).
///
/// What survives a crash: that an attempt was begun, so that nobody deals twice, and a share once it is complete
/// ([`kept_shares`]). A member that restarts in between makes its attempt fail. Shares lie in the store in the clear.
pub struct KeyGeneration {
    config: Arc<Config>,
    keyring: Arc<dyn Keyring>,
    member: u8,
    channel: Channel,
    space: Subspace,
    rng: Box<dyn CryptoRngCore + Send>,
    used: u32,
    attempt: Option<Attempt>,
    /// Whether it has come to an end here.
    is_over: bool,
    /// How often we still say what was said in it, for others.
    beats_left: u32,
    beat_due: Option<Instant>,
    /// When who keeps us waiting is complained of, and then named.
    patience_due: Option<Instant>,
}

type Fx<'a, 'b> = &'a mut Effects<'b, KeyGenerationEvent>;

impl fmt::Debug for KeyGeneration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyGeneration")
            .field("member", &self.member)
            .field("used", &self.used)
            .field("attempt", &self.attempt.as_ref().map(|it| it.number))
            .finish_non_exhaustive()
    }
}

impl KeyGeneration {
    /// The member of `config` that signs with `keyring`, as `storage` remembers it.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: the key is no member's, or the store cannot be read. Nothing changed.
    pub fn open(
        config: Arc<Config>,
        keyring: Arc<dyn Keyring>,
        group: u64,
        storage: &dyn Storage,
    ) -> Result<Self, OpenError> {
        Self::open_with_rng(config, keyring, group, storage, OsRng)
    }

    /// The same with secrets from `rng`: for simulations.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with_rng(
        config: Arc<Config>,
        keyring: Arc<dyn Keyring>,
        group: u64,
        storage: &dyn Storage,
        rng: impl CryptoRng + RngCore + Send + 'static,
    ) -> Result<Self, OpenError> {
        let address = keyring.address();
        let member = config.members().iter().position(|it| it.signer == address);
        let member = member.and_then(|at| u8::try_from(at).ok());
        let member = member.ok_or(OpenError::NotAMember(address))?;
        let channel = key_generation_channel(group);
        let space = Subspace::of(channel);
        let used = match space.get(storage, USED)? {
            None => 0,
            Some(bytes) => {
                let bytes = bytes.as_ref().try_into();
                let bytes = bytes.map_err(|_other| damaged(USED, "not four bytes"))?;
                u32::from_be_bytes(bytes)
            }
        };
        Ok(Self {
            config,
            keyring,
            member,
            channel,
            space,
            rng: Box::new(rng),
            used,
            attempt: None,
            is_over: false,
            beats_left: 0,
            beat_due: None,
            patience_due: None,
        })
    }

    /// Adds it to `node`. The node's transport must keep what it carries secret: the mesh does.
    ///
    /// # Errors
    ///
    /// As [`Node::add`]. Nothing changed.
    pub fn add_to(
        self,
        node: &mut Node,
        mut sink: impl FnMut(KeyGenerationEvent) + Send + 'static,
    ) -> Result<Handle<KeyGenerationCommand>, AddError> {
        let channel = self.channel;
        node.add(channel, self, move |events: &mut Vec<_>| {
            events.drain(..).for_each(&mut sink);
        })
    }

    fn name_of(&self, number: u32, participants: &BTreeSet<u8>) -> B256 {
        let mut name = b"key generation".to_vec();
        name.extend_from_slice(self.config.digest().as_slice());
        name.extend_from_slice(&number.to_be_bytes());
        name.extend(participants);
        keccak256(name)
    }

    fn begin(&mut self, now: Instant, number: u32, participants: &[u8], fx: Fx<'_, '_>) {
        let quorum = self.config.quorum();
        let set: BTreeSet<u8> = participants.iter().copied().collect();
        let are_members = set.iter().all(|it| self.config.member(*it).is_some());
        let is_whole = set.len() == participants.len() && set.len() >= quorum;
        if !are_members || !is_whole || !set.contains(&self.member) {
            return fx.emit(KeyGenerationEvent::Refused(BeginError::Participants(
                quorum,
            )));
        }
        if number <= self.used {
            return fx.emit(KeyGenerationEvent::Refused(BeginError::Used(number)));
        }
        let name = self.name_of(number, &set);
        let threshold = self.config.threshold();
        let begun = Attempt::new(number, name, self.member, set, threshold, &mut self.rng);
        let Some((attempt, package)) = begun else {
            return fx.emit(KeyGenerationEvent::Refused(BeginError::Participants(
                quorum,
            )));
        };
        // Whoever deals twice for one attempt is a liar: after a crash we do not know what we dealt.
        self.used = number;
        self.space.put(fx.batch(), USED, &number.to_be_bytes());
        self.attempt = Some(attempt);
        (self.is_over, self.beats_left) = (false, BEATS_AFTER_END);
        self.patience_due = Some(now + self.config.timing().progress);
        self.beat_due = Some(now + self.config.timing().beat);
        self.say(Said::Deal(package), fx);
    }

    /// Signs what we say, and says it to all.
    fn say(&mut self, said: Said, fx: Fx<'_, '_>) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        let signed = Statement::sign(attempt.name, self.member, said, self.keyring.as_ref());
        let Ok(statement) = signed else {
            return;
        };
        let is_said = attempt.hear(statement.clone()).is_ok();
        if is_said {
            self.broadcast(&Body::Statement(statement), fx);
        }
    }

    fn receive(&mut self, now: Instant, envelope: &Envelope, fx: Fx<'_, '_>) {
        let from = self.config.member_of(envelope.from);
        let Some(from) = from.filter(|it| *it != self.member) else {
            return;
        };
        let message = match Message::from_bytes(&envelope.payload) {
            Ok(message) => message,
            Err(error) => return blame(from, KeyGenerationFault::Malformed(error), fx),
        };
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        if attempt.name != message.attempt || !attempt.participants.contains(&from) {
            return;
        }
        match message.body {
            Body::Statement(statement) => self.hear(from, statement, fx),
            Body::Share(share) => {
                if let Err(fault) = attempt.hear_share(from, share) {
                    blame(from, fault, fx);
                    self.say(Said::Complaint(from), fx);
                }
            }
            Body::Justification {
                dealer,
                complainer,
                share,
            } => {
                let is_new = !attempt.justified.contains_key(&(dealer, complainer));
                if !attempt.hear_justification(dealer, complainer, share) {
                    blame(from, KeyGenerationFault::Share, fx);
                } else if is_new && attempt.justified.contains_key(&(dealer, complainer)) {
                    self.broadcast(
                        &Body::Justification {
                            dealer,
                            complainer,
                            share,
                        },
                        fx,
                    );
                }
            }
        }
        self.go_on(now, fx);
    }

    fn hear(&mut self, from: u8, statement: Statement, fx: Fx<'_, '_>) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        let author = statement.author;
        if !attempt.participants.contains(&author) || author == self.member {
            return;
        }
        let signer = self.config.member(author).map(|it| it.signer);
        let digest = statement.said.digest(attempt.name, author).ok();
        let signed = digest.and_then(|it| self.keyring.recover(&it, &statement.signature));
        if signed.is_none() || signed != signer {
            return blame(from, KeyGenerationFault::Signature, fx);
        }
        let was_known = attempt.culprits.contains(&author);
        if let Err(fault) = attempt.hear(statement)
            && !was_known
        {
            blame(author, fault, fx);
        }
    }

    /// Takes the steps that have become possible.
    fn go_on(&mut self, now: Instant, fx: Fx<'_, '_>) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        let has_echoed = attempt
            .statements
            .contains_key(&(self.member, attempt::Kind::Echo));
        if let Some(digests) = attempt.echo().filter(|_| !has_echoed) {
            self.say(Said::Echo(digests), fx);
        }
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        if attempt.is_echoed() && !attempt.has_opened() && attempt.culprits.is_empty() {
            attempt.open();
            self.patience_due = Some(now + self.config.timing().progress);
            self.tell_shares(fx);
        }
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        if attempt.culprits.is_empty()
            && let Some(share) = attempt.finish()
        {
            self.keep(now, share, fx);
        }
        self.conclude(false, fx);
    }

    fn tell_shares(&self, fx: Fx<'_, '_>) {
        let Some(attempt) = &self.attempt else {
            return;
        };
        for (to, share) in &attempt.dealt {
            self.send(*to, &Body::Share(*share), fx);
        }
        for (complainer, dealer) in &attempt.complaints {
            if *dealer == self.member
                && let Some(share) = attempt.dealt.get(complainer)
            {
                let shown = Body::Justification {
                    dealer: *dealer,
                    complainer: *complainer,
                    share: *share,
                };
                self.broadcast(&shown, fx);
            }
        }
    }

    /// The share is complete: it is durable before anybody hears of it.
    fn keep(&mut self, now: Instant, share: GroupShare, fx: Fx<'_, '_>) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        let key = share.group_key();
        let name = record_of(attempt.number);
        self.space.put(fx.batch(), &name, &share.to_bytes());
        attempt.share = Some(share);
        // Who lacks a share will have complained by then.
        self.patience_due = Some(now + self.config.timing().progress * 3);
        self.say(Said::Done(key), fx);
    }

    /// Ends the attempt: when all say that they have their share, or when there is no more to wait for.
    fn conclude(&mut self, is_late: bool, fx: Fx<'_, '_>) {
        let Some(attempt) = self.attempt.as_ref().filter(|_| !self.is_over) else {
            return;
        };
        let agreeing = attempt.agreeing();
        let is_clean = attempt.culprits.is_empty() && attempt.unjustified().is_empty();
        let number = attempt.number;
        // Where all have their share, what a liar confesses afterwards takes nobody's away.
        let is_done = agreeing == attempt.participants.len();
        let are_enough = is_late && is_clean && agreeing >= self.config.quorum();
        if let Some(share) = attempt.share.clone()
            && (is_done || are_enough)
        {
            (self.is_over, self.patience_due) = (true, None);
            fx.emit_after_commit(KeyGenerationEvent::Established {
                attempt: number,
                share,
            });
        } else if is_late {
            let culprits = attempt.blamed().into_iter().collect();
            (self.is_over, self.patience_due) = (true, None);
            fx.emit_after_commit(KeyGenerationEvent::Failed {
                attempt: number,
                culprits,
            });
        }
    }

    /// Says again all that was said, for those who have not heard it from its author.
    fn beat(&mut self, now: Instant, fx: Fx<'_, '_>) {
        let Some(attempt) = &self.attempt else {
            self.beat_due = None;
            return;
        };
        if self.is_over {
            self.beats_left = self.beats_left.saturating_sub(1);
        }
        self.beat_due = (self.beats_left > 0).then(|| now + self.config.timing().beat);
        for statement in attempt.statements.values() {
            self.broadcast(&Body::Statement(statement.clone()), fx);
        }
        self.tell_shares(fx);
    }

    /// Somebody keeps us waiting: it is complained of, then named.
    fn lose_patience(&mut self, now: Instant, fx: Fx<'_, '_>) {
        self.patience_due = None;
        let Some(attempt) = &self.attempt else {
            return;
        };
        let known = &attempt.complaints;
        let mut missing = if attempt.has_opened() && attempt.share.is_none() {
            attempt.missing()
        } else {
            Vec::new()
        };
        missing.retain(|dealer| !known.contains(&(self.member, *dealer)));
        if !missing.is_empty() && attempt.culprits.is_empty() {
            self.patience_due = Some(now + self.config.timing().progress);
            for dealer in missing {
                self.say(Said::Complaint(dealer), fx);
            }
            return;
        }
        self.conclude(true, fx);
    }

    fn broadcast(&self, body: &Body, fx: Fx<'_, '_>) {
        let others = self.attempt.iter().flat_map(Attempt::others);
        for member in others {
            self.send(member, body, fx);
        }
    }

    fn send(&self, to: u8, body: &Body, fx: Fx<'_, '_>) {
        let Some(attempt) = &self.attempt else {
            return;
        };
        let message = Message {
            attempt: attempt.name,
            body: body.clone(),
        };
        if let Some(peer) = self.config.member(to).map(|it| it.peer)
            && let Ok(bytes) = message.to_bytes()
        {
            fx.send_after_commit(peer, Bytes::from(bytes));
        }
    }
}

/// The complete shares in an oracle's part of `storage`, with the attempts they came of, oldest first. A share says nothing
/// of the others: the one to use is that of the key which 2f+1 have told.
///
/// # Errors
///
/// [`OpenError`]: the store could not be read, or holds what no key generation wrote.
pub fn kept_shares(group: u64, storage: &dyn Storage) -> Result<Vec<(u32, GroupShare)>, OpenError> {
    let space = Subspace::of(key_generation_channel(group)).within(SHARES);
    let shares = space.entries(storage).map(|entry| {
        let (name, record) = entry?;
        let number = name.as_ref().try_into();
        let number = number.map_err(|_other| damaged(SHARES, "not the number of an attempt"))?;
        let share = GroupShare::from_bytes(&record).map_err(|error| match error {
            GroupShareError::Malformed(source) => OpenError::Damaged {
                record: String::from_utf8_lossy(SHARES).into_owned(),
                source,
            },
            _ => damaged(SHARES, "not a share of its group"),
        })?;
        Ok((u32::from_be_bytes(number), share))
    });
    shares.collect()
}

fn record_of(attempt: u32) -> Vec<u8> {
    [SHARES, &attempt.to_be_bytes()].concat()
}

impl Protocol for KeyGeneration {
    type Command = KeyGenerationCommand;
    type Event = KeyGenerationEvent;
    type Error = Infallible;

    fn step(
        &mut self,
        now: Instant,
        input: Input<KeyGenerationCommand>,
        fx: &mut Effects<'_, KeyGenerationEvent>,
    ) -> Result<(), Infallible> {
        match input {
            Input::Message(envelope) => self.receive(now, &envelope, fx),
            Input::Command(KeyGenerationCommand::Begin {
                attempt,
                participants,
            }) => self.begin(now, attempt, &participants, fx),
            Input::Timeout | Input::Unreachable(_) | Input::Committed(_) | Input::Read(..) => {}
        }
        Ok(())
    }

    fn settle(
        &mut self,
        now: Instant,
        fx: &mut Effects<'_, KeyGenerationEvent>,
    ) -> Result<(), Infallible> {
        if self.beat_due.is_some_and(|due| due <= now) {
            self.beat(now, fx);
        }
        if self.patience_due.is_some_and(|due| due <= now) {
            self.lose_patience(now, fx);
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        [self.beat_due, self.patience_due]
            .into_iter()
            .flatten()
            .min()
    }
}

fn blame(member: u8, what: KeyGenerationFault, fx: Fx<'_, '_>) {
    fx.emit(KeyGenerationEvent::Misbehaviour { member, what });
}

fn damaged(record: &[u8], what: &'static str) -> OpenError {
    OpenError::Damaged {
        record: String::from_utf8_lossy(record).into_owned(),
        source: DecodeError::Invalid(what),
    }
}

#[cfg(test)]
mod tests {
    use peaberry_core::{Batch, Durability, MemoryStorage};

    use super::*;

    #[test]
    fn the_newest_share_is_found_behind_any_number_of_older_ones() {
        let storage = MemoryStorage::new();
        let shares = GroupShare::deal(4, 2, &mut OsRng).expect("a group of four");
        let bytes = shares.first().expect("four").to_bytes();
        let mut batch = Batch::new();
        let attempts = 1..=40;
        for attempt in attempts.clone() {
            let space = Subspace::of(key_generation_channel(7));
            space.put(&mut batch, &record_of(attempt), &bytes);
        }
        storage
            .commit(&batch, Durability::Synced)
            .expect("memory takes all");
        let kept = kept_shares(7, &storage).expect("they were written just now");
        assert!(kept.into_iter().map(|(attempt, _)| attempt).eq(attempts));
    }
}
