//! The round protocol: what one oracle does.

mod breaker;
mod event;
mod evidence;
mod follow;
mod lead;
mod leading;
mod pacemaker;
mod promises;
mod publish;

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use peaberry_chain::primitives::B256;
use peaberry_core::{
    AddError, Channel, Effects, Envelope, Handle, Input, Instant, Node, PeerId, Peers, Protocol,
    ProtocolId, Storage, Subspace,
};

pub use self::event::{Misbehaviour, OracleCommand, OracleEvent, ResetBy};
pub use self::evidence::Evidence;
use self::lead::Lead;
use self::pacemaker::Pacemaker;
use self::promises::Promises;
pub use self::promises::{OpenError, kept_evidence};
use self::publish::{Publishing, Recent};
use crate::attest::Attestor;
use crate::config::Config;
use crate::message::{Body, Message};
use crate::observation::SignedObservation;
use crate::round_id::RoundId;
use crate::schedule::leader_of;
use crate::signature::Keyring;

/// The oracles' protocol id.
pub const ORACLE: ProtocolId = ProtocolId(50);

/// The channel of the oracles numbered `group`.
#[must_use]
pub const fn oracle_channel(group: u64) -> Channel {
    Channel::new(ORACLE, group)
}

/// One oracle: a [`Protocol`] that agrees with others on a report, round by round.
///
/// After OCR (Breidenbach et al., "Chainlink Off-chain Reporting Protocol", 2021): the epoch's leader asks all, collects
/// signed observations of 2f+1 or more and proposes them; each follower computes the report itself and, if it is worth
/// one, gives its part of the attestation; f+1 parts make it final, and everyone passes it on and puts it on chain in turn.
///
/// What survives what: an observation, a part and a report leave only when the promise behind them is durable, so an oracle
/// never signs two observations or two reports for a round, and never goes back in rounds, whatever crashes. f members that
/// do anything at all, and a network that loses, repeats and reorders everything, cannot bring about an answer outside
/// the range that honest members observed in its round. When messages arrive again,
/// the first report that is due is of one of the next 2f+1 epochs: the newest one may be spent, liars lead at most 2f in
/// a row, and the leader behind them is honest. That holds for each feed by itself: an epoch whose reports lack a feed that
/// 2f+1 may have values for shows no progress to those who have one, and is given up. Where too few have values for a feed
/// and not f+1 of them say so, the others' answers come on, under leaders that change every [`progress`](crate::Timing).
///
/// # Example
///
/// ```
/// # use std::sync::{Arc, mpsc};
/// # use std::time::Duration;
/// # use peaberry_chain::EvmAddress;
/// # use peaberry_core::{MemoryNetwork, MemoryStorage, Node, PeerId, SystemClock};
/// # use peaberry_oracle::{
/// #     Config, ConfigForm, EcdsaKey, EcdsaQuorum, Feed, Keyring, Member, Oracle, OracleCommand, OracleEvent, Timing,
/// # };
/// let keys: Vec<_> = (1..=4).map(|id| Arc::new(EcdsaKey::from_bytes(&[id; 32]).unwrap())).collect();
/// # let peer = |at: usize| PeerId::new(at as u64 + 1).unwrap();
/// # let members = keys.iter().enumerate().map(|(at, key)| Member { peer: peer(at), signer: key.address(), weight: 1000 });
/// # let feed = Feed { name: "BTC/USD".into(), decimals: 2, min: 1, max: 10_i128.pow(12), deviation_bps: 50,
/// #     heartbeat_ms: 60_000, breaker_bps: None };
/// # let form = ConfigForm { chain_id: 1, contract: EvmAddress::repeat_byte(1), generation: 1, faulty: 1, threshold: 2,
/// #     members: members.collect(), feeds: vec![feed], timing: Timing { grace: Duration::from_millis(20), ..Timing::default() } };
/// let config = Arc::new(Config::new(form).unwrap());
/// let network = MemoryNetwork::new();
/// let (sender, events) = mpsc::channel();
/// let mut threads = Vec::new();
/// for (at, key) in keys.iter().enumerate() {
///     let storage = Arc::new(MemoryStorage::new());
///     let attestor = EcdsaQuorum::new(&config, key.clone());
///     let oracle = Oracle::open(config.clone(), key.clone(), attestor, 0, storage.as_ref()).unwrap();
///     let mut node = Node::new(Arc::new(network.join(peer(at))), storage, Arc::new(SystemClock::new()));
///     let sender = sender.clone();
///     let handle = oracle.add_to(&mut node, move |event| drop(sender.send(event))).unwrap();
///     let values = vec![Some(2_100_000 + at as i128)];
///     handle.submit(OracleCommand::Observe { values, observed_at_ms: 1 }).unwrap();
///     threads.push(node.spawn("oracle").unwrap());
/// }
/// let answer = loop {
///     if let OracleEvent::Agreed { report, .. } = events.recv().unwrap() {
///         break report.report.answers[0].value;
///     }
/// };
/// assert!((2_100_000..=2_100_003).contains(&answer));
/// ```
pub struct Oracle<A> {
    config: Arc<Config>,
    keyring: Arc<dyn Keyring>,
    attestor: A,
    member: u8,
    channel: Channel,
    promises: Promises,
    pacemaker: Pacemaker,
    /// What the sources last said, and when that came.
    values: Option<Values>,
    lead: Option<Lead>,
    followed: Option<Followed>,
    recent: Recent,
    publishing: Publishing,
    /// For which feeds the contract awaits an answer after a reset, and from when on it must be observed, in milliseconds:
    /// the contract remembers it, so we need not. And those whose answer may never land, since nothing waits that has it: from
    /// whenever.
    awaited: BTreeMap<u8, u64>,
    /// Messages to ourselves.
    own_mail: VecDeque<Body>,
    is_started: bool,
}

/// What the sources say.
#[derive(Debug)]
struct Values {
    values: Vec<Option<i128>>,
    observed_at_ms: u64,
    came_at: Instant,
}

/// The newest proposal that was looked at.
#[derive(Debug)]
struct Followed {
    round: RoundId,
    /// The hash of its observations.
    set: B256,
    /// Of the report that it makes.
    digest: B256,
    observations: Vec<SignedObservation>,
}

type Fx<'a, 'b> = &'a mut Effects<'b, OracleEvent>;

impl<A> fmt::Debug for Oracle<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oracle")
            .field("member", &self.member)
            .field("epoch", &self.pacemaker.epoch())
            .field("is_leader", &self.lead.is_some())
            .field(
                "last",
                &self.promises.last.as_ref().map(|it| it.report.round),
            )
            .finish_non_exhaustive()
    }
}

impl<A: Attestor> Oracle<A> {
    /// The oracle among the members of `config` that signs with `keyring`, as `storage` remembers it; a new one if it does
    /// not. Oracles of one `group` hear each other.
    ///
    /// A new configuration is installed by opening with it: promises are kept, since epochs and rounds go on. The last answers
    /// and what is tripped stay with feeds of the same name and decimals, a reputation and evidence with their signer;
    /// each feed's next answer is due at once.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: the key is no member's, the attestor is of another member, threshold or group, or the store cannot be
    /// read. Nothing changed.
    pub fn open(
        config: Arc<Config>,
        keyring: Arc<dyn Keyring>,
        attestor: A,
        group: u64,
        storage: &dyn Storage,
    ) -> Result<Self, OpenError> {
        let address = keyring.address();
        let member = config.members().iter().position(|it| it.signer == address);
        let member = member.and_then(|at| u8::try_from(at).ok());
        let member = member.ok_or(OpenError::NotAMember(address))?;
        attestor.fits(&config, member)?;
        let channel = oracle_channel(group);
        let promises = Promises::open(Subspace::of(channel), storage, &config)?;
        if let Some(last) = &promises.last
            && last.report.config == config.digest()
        {
            let known = attestor.verify(&last.report.digest(&config), &last.attestation);
            let round = last.report.round;
            known.map_err(|source| OpenError::OtherQuorum { round, source })?;
        }
        let (epoch, wish) = promises.epoch;
        Ok(Self {
            pacemaker: Pacemaker::new(member, config.members().len(), config.faulty(), epoch, wish),
            config,
            keyring,
            attestor,
            member,
            channel,
            promises,
            values: None,
            lead: None,
            followed: None,
            recent: Recent::default(),
            publishing: Publishing::default(),
            awaited: BTreeMap::new(),
            own_mail: VecDeque::new(),
            is_started: false,
        })
    }

    /// Adds it to `node`, which from then on drops what others than the members say to oracles.
    ///
    /// # Errors
    ///
    /// As [`Node::add`]. Nothing changed.
    pub fn add_to(
        self,
        node: &mut Node,
        mut sink: impl FnMut(OracleEvent) + Send + 'static,
    ) -> Result<Handle<OracleCommand>, AddError> {
        let channel = self.channel;
        node.add(channel, self, move |events: &mut Vec<OracleEvent>| {
            events.drain(..).for_each(&mut sink);
        })
    }

    /// The members as peers: whom a node should accept on [`ORACLE`] ([`Node::with_peers`]).
    #[must_use]
    pub fn peers(&self) -> Peers {
        self.config
            .members()
            .iter()
            .map(|member| member.peer)
            .collect()
    }

    /// Our number in the configuration.
    #[must_use]
    pub const fn member(&self) -> u8 {
        self.member
    }

    /// The epoch that we are in; zero before the first.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.pacemaker.epoch()
    }

    /// The newest round that we have asked for as a leader, over all our lives.
    #[must_use]
    pub const fn asked(&self) -> Option<RoundId> {
        self.promises.asked
    }
}

impl<A: Attestor> Protocol for Oracle<A> {
    type Command = OracleCommand;
    type Event = OracleEvent;
    type Error = Infallible;

    fn step(
        &mut self,
        now: Instant,
        input: Input<OracleCommand>,
        fx: &mut Effects<'_, OracleEvent>,
    ) -> Result<(), Infallible> {
        match input {
            Input::Message(envelope) => self.receive(now, &envelope, fx),
            Input::Command(command) => self.command(now, command, fx),
            // A lost message is asked for again by the next round or beat; due times are looked at in `settle`.
            Input::Timeout | Input::Unreachable(_) | Input::Committed(_) | Input::Read(..) => {}
        }
        Ok(())
    }

    fn settle(
        &mut self,
        now: Instant,
        fx: &mut Effects<'_, OracleEvent>,
    ) -> Result<(), Infallible> {
        if !self.is_started {
            self.start(now, fx);
        }
        self.look_at_the_clock(now, fx);
        while let Some(body) = self.own_mail.pop_front() {
            self.handle(now, self.member, body, fx);
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        let lead = self.lead.as_ref().map(Lead::deadline);
        [
            self.pacemaker.progress_due,
            self.pacemaker.beat_due,
            lead,
            self.publishing.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

impl<A: Attestor> Oracle<A> {
    fn start(&mut self, now: Instant, fx: Fx<'_, '_>) {
        self.is_started = true;
        self.pacemaker.progress(now, self.config.timing().progress);
        self.pacemaker.beat_due = Some(now);
        self.publish_again(now);
        for (feed, trip) in self.promises.breaker.tripped() {
            fx.emit_after_commit(trip.told(feed));
        }
        if self.pacemaker.epoch() > 0 {
            self.lead_if_it_is_ours(now);
        }
        self.advance(now, fx);
    }

    fn look_at_the_clock(&mut self, now: Instant, fx: Fx<'_, '_>) {
        if self.pacemaker.progress_due.is_some_and(|due| due <= now) {
            self.pacemaker.progress(now, self.config.timing().progress);
            self.give_up(now, fx);
        }
        if self.pacemaker.beat_due.is_some_and(|due| due <= now) {
            self.beat(now, fx);
        }
        self.lead_on(now, fx);
        self.transmit_due(now, fx);
    }

    fn receive(&mut self, now: Instant, envelope: &Envelope, fx: Fx<'_, '_>) {
        let peer = envelope.from;
        let Some(member) = self.config.member_of(peer).filter(|it| *it != self.member) else {
            return misbehaved(peer, Misbehaviour::Stranger, fx);
        };
        match Message::from_bytes(&envelope.payload) {
            Err(error) => misbehaved(peer, Misbehaviour::Malformed(error), fx),
            Ok(message) if message.config != self.config.digest() => {
                let digest = message.config;
                fx.emit(OracleEvent::OtherConfiguration { peer, digest });
            }
            Ok(message) => self.handle(now, member, message.body, fx),
        }
    }

    fn handle(&mut self, now: Instant, from: u8, body: Body, fx: Fx<'_, '_>) {
        match body {
            Body::Beat {
                new_epoch,
                last,
                resets,
            } => {
                self.hear_beat(now, from, new_epoch, last, &resets, fx);
            }
            Body::Ask(round) => self.observe(now, from, round, fx),
            Body::Observation(signed) => self.collect(now, from, signed, fx),
            Body::Proposal {
                round,
                observations,
            } => self.follow(now, from, round, observations, fx),
            Body::Part {
                round,
                digest,
                part,
            } => self.gather(now, from, round, digest, &part, fx),
            Body::Request {
                round,
                digest,
                request,
            } => {
                self.contribute_again(from, round, digest, &request, fx);
            }
            Body::Final(attested) => self.hear_final(now, from, attested, fx),
        }
    }

    fn command(&mut self, now: Instant, command: OracleCommand, fx: Fx<'_, '_>) {
        match command {
            OracleCommand::Observe {
                values,
                observed_at_ms,
            } => {
                self.values = Some(Values {
                    values,
                    observed_at_ms,
                    came_at: now,
                });
            }
            OracleCommand::Landed { feed, round } => self.landed(feed, round, fx),
            OracleCommand::Resumed { feed, from_ms } => self.resumed(feed, from_ms),
            OracleCommand::Reset { feed } => {
                if let Some(since) = self.believe(feed) {
                    self.closed(feed, since, ResetBy::Operator, fx);
                    // Tell the others at once.
                    self.pacemaker.beat_due = Some(now);
                }
            }
        }
    }

    /// The contract takes answers for the feed again, and none of before: one is due that is observed late enough.
    fn resumed(&mut self, feed: u8, from_ms: u64) {
        let Some(last) = self.promises.answers.get(usize::from(feed)) else {
            return;
        };
        // Where that one is agreed on already, it is on its way.
        if last.is_none_or(|last| last.observed_at_ms < from_ms) {
            self.awaited.insert(feed, from_ms);
        }
    }

    /// Our operator believes the jump that tripped the feed. Where it would be a jump still from an answer that was agreed on
    /// since, it is believed from that one: the operator need not say it twice.
    fn believe(&mut self, feed: u8) -> Option<RoundId> {
        let number = usize::from(feed);
        let last = self.promises.answers.get(number).copied().flatten();
        let terms = self.config.feeds().get(number);
        self.promises.breaker.reset(feed, |trip| {
            let last = last.filter(|last| {
                last.round > trip.since
                    && terms.is_some_and(|it| it.trips(last.value, trip.refused))
            });
            last.map_or(trip.since, |last| last.round)
        })
    }

    /// A breaker is closed: the next answer is believed, whatever the last one was, unless others have agreed on a later
    /// one by now, which is what the next one is measured by.
    fn closed(&mut self, feed: u8, since: RoundId, by: ResetBy, fx: Fx<'_, '_>) {
        if let Some(last) = self.promises.answers.get_mut(usize::from(feed)) {
            *last = last.filter(|it| it.round > since);
        }
        self.promises.put_answers(fx.batch(), self.config.digest());
        self.promises.put_breaker(fx.batch());
        fx.emit_after_commit(OracleEvent::Reset { feed, by });
    }

    fn hear_beat(
        &mut self,
        now: Instant,
        from: u8,
        new_epoch: u32,
        last: Option<RoundId>,
        resets: &[(u8, RoundId)],
        fx: Fx<'_, '_>,
    ) {
        self.pacemaker.hear(from, new_epoch);
        self.promises.breaker.hear(from, resets);
        let quorum = self.config.threshold();
        for (feed, since) in self.promises.breaker.close_by_quorum(quorum) {
            self.closed(feed, since, ResetBy::Quorum, fx);
        }
        self.bring_up_to_date(from, last, fx);
        self.advance(now, fx);
    }

    /// Says where we are, to all.
    fn beat(&mut self, now: Instant, fx: Fx<'_, '_>) {
        self.pacemaker.beat_due = Some(now + self.config.timing().beat);
        self.recent.allow_catching_up();
        let beat = Body::Beat {
            new_epoch: self.pacemaker.wish(),
            last: self.last_round(),
            resets: self.promises.breaker.resets(),
        };
        self.broadcast(&beat, fx);
    }

    fn give_up(&mut self, now: Instant, fx: Fx<'_, '_>) {
        if self.pacemaker.give_up() {
            self.keep_epoch(fx);
            self.pacemaker.beat_due = Some(now);
        }
        self.advance(now, fx);
    }

    /// Looks whether the members' wishes have changed something.
    fn advance(&mut self, now: Instant, fx: Fx<'_, '_>) {
        let advance = self.pacemaker.advance();
        if advance.wish_is_new {
            self.pacemaker.beat_due = Some(now);
        }
        if advance.wish_is_new || advance.epoch_is_new {
            self.keep_epoch(fx);
        }
        if advance.epoch_is_new {
            let epoch = self.pacemaker.epoch();
            let leader = leader_of(&self.config, epoch);
            self.pacemaker.progress(now, self.config.timing().progress);
            self.lead_if_it_is_ours(now);
            fx.emit_after_commit(OracleEvent::Epoch { epoch, leader });
        }
    }

    fn keep_epoch(&mut self, fx: Fx<'_, '_>) {
        let (epoch, wish) = (self.pacemaker.epoch(), self.pacemaker.wish());
        self.promises.put_epoch(fx.batch(), epoch, wish);
    }

    fn lead_if_it_is_ours(&mut self, now: Instant) {
        let is_ours = leader_of(&self.config, self.pacemaker.epoch()) == self.member;
        self.lead = is_ours.then(|| Lead::new(now));
    }

    /// Whether `from` leads the epoch of `round` and that is the epoch we are in. What is of an epoch before or after is
    /// passed over; who leads without being the leader is named.
    fn is_led_by(&self, from: u8, round: RoundId, fx: Fx<'_, '_>) -> bool {
        if round.epoch() != self.pacemaker.epoch() {
            return false;
        }
        if leader_of(&self.config, round.epoch()) != from {
            self.blame(from, Misbehaviour::NotLeader(round), fx);
            return false;
        }
        if round.round() > self.config.timing().rounds_per_epoch {
            self.blame(from, Misbehaviour::NoSuchRound(round), fx);
            return false;
        }
        true
    }

    fn last_round(&self) -> Option<RoundId> {
        self.promises.last.as_ref().map(|it| it.report.round)
    }

    fn peer_of(&self, member: u8) -> Option<PeerId> {
        self.config.member(member).map(|it| it.peer)
    }

    fn blame(&self, member: u8, what: Misbehaviour, fx: Fx<'_, '_>) {
        if let Some(peer) = self.peer_of(member) {
            misbehaved(peer, what, fx);
        }
    }

    /// Sends once all that was promised is durable; to ourselves at once, since nothing of it leaves before the rest does.
    fn send(&mut self, to: u8, body: Body, fx: Fx<'_, '_>) {
        if to == self.member {
            self.own_mail.push_back(body);
        } else if let Some(peer) = self.peer_of(to) {
            fx.send_after_commit(peer, self.encode(body));
        }
    }

    /// Sends to all others.
    fn broadcast(&self, body: &Body, fx: Fx<'_, '_>) {
        self.broadcast_but(self.member, body, fx);
    }

    /// Sends to all others but `but`.
    fn broadcast_but(&self, but: u8, body: &Body, fx: Fx<'_, '_>) {
        let payload = self.encode(body.clone());
        for (number, member) in (0..=u8::MAX).zip(self.config.members()) {
            if number != self.member && number != but {
                fx.send_after_commit(member.peer, payload.clone());
            }
        }
    }

    fn encode(&self, body: Body) -> Bytes {
        let config = self.config.digest();
        Message { config, body }.to_bytes().into()
    }

    fn keep_evidence(&mut self, offender: u8, evidence: Evidence, fx: Fx<'_, '_>) {
        let signer = self.config.member(offender).map(|it| it.signer);
        if signer.is_some_and(|it| self.promises.put_evidence(fx.batch(), it, &evidence)) {
            fx.emit_after_commit(OracleEvent::Evidence { offender, evidence });
        }
    }
}

fn misbehaved(peer: PeerId, what: Misbehaviour, fx: Fx<'_, '_>) {
    fx.emit(OracleEvent::Misbehaviour { peer, what });
}
