//! The machines, their operators, and the market they look at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use peaberry_chain::EvmAddress;
use peaberry_core::simulation::{Boot, BootError, World};
use peaberry_core::{Handle, MemoryStorage, Node, Outgoing, PeerId, Subspace, Tapped, Transport};
use peaberry_oracle::{
    Body, Config, ConfigForm, EcdsaKey, Feed, Keyring, Member, Message, OpenError, Oracle,
    OracleCommand, OracleEvent, Timing, WEIGHT_MAX, WEIGHT_MIN, agreed_weights, kept_evidence,
    leader_of,
};

use super::cheap_key::CheapKey;
use super::history::History;
use super::liar::{Liar, Tactics};
use super::market::Market;
use super::reached;
use super::scheme::{Scheme, WorldAttestor};
use super::witness::Witness;
use crate::simulation::Run;

/// How many epochs behind the newest of the trouble the first answer of the calm may be: that one may be spent, the liars
/// lead 2f in a row at most, and the next leader is honest.
const fn epochs_max(faulty: usize) -> u32 {
    2 * faulty as u32 + 1
}

/// What 2023-03-11 00:00 UTC is in milliseconds: where the calendar of the worlds begins.
const CALENDAR_MS: u64 = 1_678_492_800_000;

type Handles = BTreeMap<PeerId, Handle<OracleCommand>>;

pub(super) struct Oracles {
    rng: fastrand::Rng,
    market: Market,
    history: Arc<Mutex<History>>,
    handles: Arc<Mutex<Handles>>,
    /// What each machine is configured with at its next start.
    configs: Arc<Mutex<BTreeMap<PeerId, Arc<Config>>>>,
    config: Arc<Config>,
    scheme: Scheme,
    peers: Vec<PeerId>,
    lie: Lie,
    rotates: bool,
    on_files: bool,
    /// Who is still to be started with the newest configuration.
    to_update: Vec<PeerId>,
    /// In the calm: the epoch that was newest when it began.
    calm_epoch: Option<u32>,
}

/// What liars say they see.
#[derive(Clone, Copy)]
enum Lie {
    None,
    /// Twice, or half.
    Wild,
    /// All of them the lowest, or the highest, that an honest one sees.
    Edge,
    /// That they have no value, for any feed.
    NoValues,
    /// The same of this feed alone.
    NoValueOf(usize),
}

impl Oracles {
    pub(super) fn new(world: &mut World, mut rng: fastrand::Rng, on_files: bool) -> Self {
        let faulty = if world.seed().is_multiple_of(5) { 2 } else { 1 };
        let count = 3 * faulty + 1;
        let is_ecdsa = world.seed() % 16 == 7;
        let keys = keys(u8::try_from(count).expect("few"), is_ecdsa, rng.u64(..));
        let config = Arc::new(config(faulty, &keys, &mut rng));
        let peers: Vec<PeerId> = config.members().iter().map(|it| it.peer).collect();

        // With other weights for some, the whole must wait for its operators: then nobody lies.
        let is_split = !config.weights_are_equal() && rng.u8(..4) == 0;
        let mut shuffled = peers.clone();
        rng.shuffle(&mut shuffled);
        let liars: BTreeSet<PeerId> = if is_split {
            BTreeSet::new()
        } else {
            shuffled
                .iter()
                .copied()
                .take(rng.usize(1..=faulty))
                .collect()
        };
        let keyring: Arc<dyn Keyring> = keys.first().expect("there are members").clone();
        // A group's signatures cost the machine a thousand times what a cheap key's do.
        let scheme = if world.seed() % 8 == 5 {
            Scheme::group(faulty, rng.fork())
        } else {
            Scheme::Quorum
        };
        let group = scheme.verifier();
        let is_group = group.is_some();
        let mut history = History::new(config.clone(), keyring, group, liars.clone());
        if is_group {
            history.reached.mark(reached::FROST);
        }
        let mut configs: BTreeMap<_, _> =
            peers.iter().map(|peer| (*peer, config.clone())).collect();
        if is_split {
            let other = Arc::new(with_other_weights(&config, &mut rng));
            history.know(other.clone());
            history.reached.mark(reached::SPLIT);
            configs.extend(
                shuffled
                    .iter()
                    .take(faulty + 1)
                    .map(|peer| (*peer, other.clone())),
            );
        }
        if is_ecdsa {
            history.reached.mark(reached::ECDSA);
        }
        if faulty == 2 {
            history.reached.mark(reached::SEVEN);
        }
        let lie = *rng
            .choice(&[
                Lie::None,
                Lie::Wild,
                Lie::Edge,
                Lie::NoValues,
                Lie::NoValueOf(0),
                Lie::NoValueOf(1),
            ])
            .expect("six");
        let has_no_values = matches!(lie, Lie::NoValues | Lie::NoValueOf(_)) && !is_split;
        if has_no_values {
            history.reached.mark(reached::NO_VALUES);
        }
        if config.timing().rounds_per_epoch > 8 {
            history.reached.mark(reached::LONG_EPOCHS);
        }
        let tactics = Tactics {
            withhold: *rng.choice(&[0, 50, 100]).expect("three"),
            equivocate: rng.bool(),
            forge: rng.bool(),
            replay: rng.bool(),
            grind: rng.bool(),
            shut_out: has_no_values && rng.bool(),
        };
        let it = Self {
            market: Market::new(rng.fork()),
            history: Arc::new(Mutex::new(history)),
            handles: Arc::default(),
            configs: Arc::new(Mutex::new(configs)),
            config,
            scheme,
            lie,
            rotates: !is_split && rng.u8(..3) == 0,
            on_files,
            to_update: Vec::new(),
            calm_epoch: None,
            peers: peers.clone(),
            rng,
        };
        for (peer, key) in peers.into_iter().zip(keys) {
            it.add(world, peer, key, tactics, liars.contains(&peer), on_files);
        }
        let (history, configs) = (it.history.clone(), it.configs.clone());
        world.set_important(move || {
            let epoch = *history.lock().epochs.values().max()?;
            let config = configs.lock().values().next()?.clone();
            config.member(leader_of(&config, epoch)).map(|it| it.peer)
        });
        it
    }

    fn add(
        &self,
        world: &mut World,
        peer: PeerId,
        key: Arc<dyn Keyring>,
        tactics: Tactics,
        lies: bool,
        on_files: bool,
    ) {
        let (history, handles, configs, scheme) = (
            self.history.clone(),
            self.handles.clone(),
            self.configs.clone(),
            self.scheme.clone(),
        );
        world.add(peer, move |boot| {
            let config = configs
                .lock()
                .get(&peer)
                .cloned()
                .ok_or("it is configured")?;
            let attestor = scheme.attestor(&config, key.clone(), peer, boot.seed(), &history);
            let who = Who {
                config,
                key: key.clone(),
                attestor,
            };
            let node = if lies {
                boot_liar(boot, who, tactics, &history, &handles)
            } else {
                boot_oracle(boot, who, on_files, &history, &handles)
            };
            node.inspect_err(|error| {
                let is_damage = matches!(
                    error.downcast_ref(),
                    Some(
                        OpenError::Damaged { .. }
                            | OpenError::NotAMember(_)
                            | OpenError::Misfit(_)
                            | OpenError::OtherQuorum { .. }
                    )
                );
                let damage = is_damage.then(|| format!("{peer} does not open its store: {error}"));
                if let Some(damage) = damage.or_else(|| crate::simulation::damage(error)) {
                    history.lock().complain(damage);
                }
            })
        });
    }

    /// A while of trouble: the market moves, operators do their work, transmitters transmit.
    pub(super) fn act(&mut self, world: &mut World) {
        if self.rng.u8(..30) == 0 {
            self.market.jump();
        }
        if self.rng.u8(..10) == 0 {
            self.reset_some();
        }
        if self.rng.u8(..15) == 0 {
            self.reset_on_chain(world);
        }
        if self.rotates && self.rng.u8(..25) == 0 {
            self.rotate();
        }
        if !self.to_update.is_empty() && self.rng.u8(..3) == 0 {
            let peer = self
                .to_update
                .swap_remove(self.rng.usize(..self.to_update.len()));
            self.update(world, peer);
        }
        self.look_at_the_market(world);
    }

    /// What everybody sees now; and what there is to transmit goes out.
    pub(super) fn look_at_the_market(&mut self, world: &World) {
        self.market.step();
        let handles = self.handles.lock().clone();
        let now_ms = now_ms(world);
        let mut liars = Vec::new();
        for (peer, handle) in &handles {
            if self.history.lock().is_liar(*peer) {
                liars.push(handle);
                continue;
            }
            let observed_at_ms = now_ms + self.rng.u64(..50);
            let values = self.market.see();
            // A machine that is down sees nothing.
            let _ = handle.submit(OracleCommand::Observe {
                values,
                observed_at_ms,
            });
        }
        let is_high = self.rng.bool();
        for handle in liars {
            let values = (0..).zip(self.market.range);
            let values = values.map(|(feed, range)| self.lie.about(feed, range, is_high));
            let values = values.collect();
            let observed_at_ms = self.rng.u64(..u64::MAX >> 1);
            let _ = handle.submit(OracleCommand::Observe {
                values,
                observed_at_ms,
            });
        }
        self.notice_resets(&handles);
        self.transmit();
        self.notice_landings(&handles);
    }

    fn transmit(&mut self) {
        let outbox = std::mem::take(&mut self.history.lock().outbox);
        for (peer, slot, report) in outbox {
            let mut history = self.history.lock();
            let is_liar = history.is_liar(peer);
            // A liar keeps what it likes, and brings it later.
            if is_liar && self.rng.u8(..8) > 0 {
                history.outbox.push((peer, slot, report));
                continue;
            }
            // A transaction may get lost.
            if self.rng.u8(..4) > 0 {
                history.transmit(slot, &report);
            }
        }
    }

    /// The transmitters look at the contract, each in its own time.
    fn notice_landings(&mut self, handles: &Handles) {
        let landed = self.history.lock().contract.landed();
        for (feed, round) in landed {
            for handle in handles.values() {
                if self.rng.bool() {
                    let _ = handle.submit(OracleCommand::Landed { feed, round });
                }
            }
        }
    }

    /// Some operators look at a jump.
    fn reset_some(&mut self) {
        let tripped = self.history.lock().tripped.clone();
        let handles = self.handles.lock();
        for (peer, feed) in tripped {
            if self.rng.u8(..3) > 0
                && let Some(handle) = handles.get(&peer)
            {
                let _ = handle.submit(OracleCommand::Reset { feed });
            }
        }
    }

    /// The operators of the contract believe what halted it.
    fn reset_on_chain(&self, world: &World) {
        self.history.lock().reset_on_chain(now_ms(world));
    }

    /// The transmitters notice which feeds await an answer, those as well that have seen no halt.
    fn notice_resets(&self, handles: &Handles) {
        for (feed, from_ms) in self.history.lock().contract.opening() {
            for handle in handles.values() {
                let _ = handle.submit(OracleCommand::Resumed { feed, from_ms });
            }
        }
    }

    /// The next generation gets the weights that the oracles would give, or, so that they differ more, others.
    fn rotate(&mut self) {
        let mut history = self.history.lock();
        let agreed = history
            .opinion
            .as_ref()
            .and_then(|set| agreed_weights(&self.config, set));
        let weights = match agreed {
            Some(agreed) if self.rng.bool() => agreed,
            _ => random_weights(self.config.members().len(), &mut self.rng),
        };
        let next = Arc::new(
            self.config
                .succeed(&weights)
                .expect("weights within their bounds"),
        );
        history.know(next.clone());
        history.contract.configure(next.clone());
        history.opinion = None;
        history.reached.mark(reached::ROTATED);
        self.config = next;
        self.to_update.clone_from(&self.peers);
    }

    fn update(&self, world: &mut World, peer: PeerId) {
        self.configs.lock().insert(peer, self.config.clone());
        world.kill(peer);
        world.restart(peer);
    }

    /// All is well but for the liars: operators have done their work. In half of the worlds nobody is restarted but for a
    /// new configuration: what the trouble has left in memory must not stand in the way.
    pub(super) fn end_trouble(&mut self, world: &mut World) {
        let all_restart = self.rng.bool();
        self.history.lock().reached.mark(if all_restart {
            reached::ALL_RESTARTED
        } else {
            reached::CALM_WITHOUT_RESTART
        });
        for peer in self.peers.clone() {
            let is_new = |known: &Arc<Config>| *known == self.config;
            if all_restart || !self.configs.lock().get(&peer).is_some_and(is_new) {
                self.update(world, peer);
            }
        }
        world.run_for(Duration::from_millis(20));
        self.market.fails = false;
        self.reset_all(world);
        let mut history = self.history.lock();
        let epoch = history.epochs.values().copied().max().unwrap_or(0);
        history.begin_calm(epoch);
        self.calm_epoch = Some(epoch);
    }

    /// Operators let everything go on that a jump has stopped: those of f+1 oracles for each feed, which is to close the
    /// others as well.
    pub(super) fn reset_all(&self, world: &World) {
        self.reset_on_chain(world);
        let tripped = self.history.lock().tripped.clone();
        let handles = self.handles.lock();
        let mut left = BTreeMap::new();
        for (peer, feed) in tripped {
            let left = left.entry(feed).or_insert(self.config.threshold());
            if let Some(handle) = handles.get(&peer).filter(|_| *left > 0) {
                *left -= 1;
                let _ = handle.submit(OracleCommand::Reset { feed });
            }
        }
    }

    fn honest(&self) -> Vec<PeerId> {
        let history = self.history.lock();
        self.peers
            .iter()
            .copied()
            .filter(|peer| !history.is_liar(*peer))
            .collect()
    }

    /// Whether every honest oracle, and the contract, has an answer of the calm for every feed.
    pub(super) fn are_served(&self) -> bool {
        let honest = self.honest();
        let history = self.history.lock();
        let (Some(first), Some(stored)) = (history.first_in_calm(), history.stored_in_calm())
        else {
            return false;
        };
        let mut feeds = (0..=u8::MAX).take(self.config.feeds().len());
        feeds.all(|feed| {
            let is_known = |peer: &PeerId| first.contains_key(&(*peer, feed));
            stored.contains(&feed) && honest.iter().all(is_known)
        })
    }

    /// Power fails everywhere, and what the honest have kept of the liars' work is read from their stores.
    pub(super) fn look_into_the_stores(&self, world: &mut World) {
        // What was noticed last has been committed.
        world.run_for(Duration::from_millis(300));
        let space = Subspace::of(peaberry_oracle::oracle_channel(0));
        for peer in self.honest() {
            world.crash(peer);
            let kept = if self.on_files {
                crate::simulation::disk_on(world.files(peer), peer)
                    .map_err(OpenError::from)
                    .and_then(|storage| kept_evidence(&space, &storage))
            } else {
                kept_evidence(&space, world.storage(peer).as_ref())
            };
            let mut history = self.history.lock();
            let number = |signer| {
                let mut members = (0..).zip(self.config.members());
                members.find(|(_, it)| it.signer == signer).map(|it| it.0)
            };
            let kept = kept.map(|kept| {
                let kept = kept.into_iter();
                kept.filter_map(|(signer, it)| Some((number(signer)?, it)))
                    .collect::<Vec<_>>()
            });
            match kept {
                Ok(kept) => history.look_into_the_store(peer, &kept),
                Err(error) => history.complain(format!("{peer} cannot read its evidence: {error}")),
            }
        }
    }

    pub(super) fn conclude(self, world: &World) -> Run {
        let is_served = self.are_served();
        let honest = self.honest();
        let mut history = self.history.lock();
        let calm = self.calm_epoch.unwrap_or(0);
        if !is_served {
            let epochs = honest.iter().filter_map(|peer| history.epochs.get(peer));
            let epochs = epochs.copied().max();
            history.complain(format!(
                "no answer of each feed for all in the calm, from epoch {calm} to {epochs:?}"
            ));
        }
        let first = history.first_in_calm();
        let slowest = first.and_then(|first| first.values().map(|it| it.epoch()).max());
        let passed = slowest.map_or(0, |slowest| slowest.saturating_sub(calm));
        if passed > epochs_max(self.config.faulty()) {
            history.complain(format!("it took {passed} epochs of calm to answer"));
        }
        Run {
            virtual_time: Duration::from_nanos(world.now().as_nanos()),
            faults: world.faults(),
            own_faults: crate::simulation::Reached::default(),
            reached: history.reached.clone(),
            covered: Vec::new(),
            operations: history.operations,
            violations: std::mem::take(&mut history.violations),
            unknown: 0,
            trace: world.trace().digest(),
        }
    }
}

impl Lie {
    fn about(self, feed: usize, (low, high): (i128, i128), is_high: bool) -> Option<i128> {
        match (self, is_high) {
            (Self::NoValues, _) => None,
            (Self::NoValueOf(other), _) if other == feed => None,
            (Self::None | Self::NoValueOf(_), _) => Some(i128::midpoint(low, high)),
            (Self::Wild, true) => Some(high * 2),
            (Self::Wild, false) => Some(low / 2),
            (Self::Edge, true) => Some(high),
            (Self::Edge, false) => Some(low),
        }
    }
}

/// What calendars say.
fn now_ms(world: &World) -> u64 {
    CALENDAR_MS + world.now().as_nanos() / 1_000_000
}

fn keys(count: u8, is_ecdsa: bool, secret: u64) -> Vec<Arc<dyn Keyring>> {
    (0..count)
        .map(|number| -> Arc<dyn Keyring> {
            if is_ecdsa {
                Arc::new(EcdsaKey::from_bytes(&[number + 1; 32]).expect("a small number is a key"))
            } else {
                Arc::new(CheapKey::new(secret, number))
            }
        })
        .collect()
}

fn random_weights(count: usize, rng: &mut fastrand::Rng) -> Vec<u16> {
    let mut weight = || match rng.u8(..3) {
        0 => WEIGHT_MIN,
        1 => WEIGHT_MAX,
        _ => rng.u16(WEIGHT_MIN..=WEIGHT_MAX),
    };
    (0..count).map(|_| weight()).collect()
}

/// The same generation as somebody else would write it: a mistake of operators.
fn with_other_weights(config: &Config, rng: &mut fastrand::Rng) -> Config {
    let mut form = config.form().clone();
    let weights = random_weights(form.members.len(), rng);
    for (member, weight) in form.members.iter_mut().zip(weights) {
        member.weight = weight;
    }
    Config::new(form).expect("weights within their bounds")
}

fn config(faulty: usize, keys: &[Arc<dyn Keyring>], rng: &mut fastrand::Rng) -> Config {
    let count = keys.len();
    let weights = if rng.bool() {
        vec![WEIGHT_MAX; count]
    } else {
        random_weights(count, rng)
    };
    let members = keys
        .iter()
        .zip(weights)
        .zip(1..)
        .map(|((key, weight), id)| Member {
            peer: PeerId::new(id).expect("not zero"),
            signer: key.address(),
            weight,
        });
    let feed = |name: &str, decimals, breaker_bps| Feed {
        name: name.to_owned(),
        decimals,
        min: 1,
        max: peaberry_oracle::VALUE_MAX,
        deviation_bps: 5,
        heartbeat_ms: 2_000,
        breaker_bps,
    };
    let form = ConfigForm {
        chain_id: 31_337,
        contract: EvmAddress::repeat_byte(0xcc),
        generation: 1,
        faulty,
        threshold: faulty + 1,
        members: members.collect(),
        feeds: vec![feed("BTC/USD", 18, None), feed("ETH/USD", 2, Some(4_000))],
        timing: Timing {
            round: Duration::from_millis(400),
            grace: Duration::from_millis(60),
            progress: Duration::from_millis(1_200),
            beat: Duration::from_millis(300),
            stage: Duration::from_millis(300),
            observation_age_max: Duration::from_secs(5),
            latency_max_ms: 5_000,
            rounds_per_epoch: *rng.choice(&[8, 8, 100]).expect("three"),
        },
    };
    Config::new(form).expect("a configuration that holds together")
}

/// One member, as it starts.
struct Who {
    config: Arc<Config>,
    key: Arc<dyn Keyring>,
    attestor: WorldAttestor,
}

fn boot_oracle(
    boot: &mut Boot,
    who: Who,
    on_files: bool,
    history: &Arc<Mutex<History>>,
    handles: &Arc<Mutex<Handles>>,
) -> Result<Node, BootError> {
    history.lock().begin_life(boot.peer());
    let storage = if on_files {
        crate::simulation::disk_of(boot)?
    } else {
        boot.storage()
    };
    let (config, key, peer) = (who.config, who.key, boot.peer());
    let oracle = Oracle::open(
        config.clone(),
        key.clone(),
        who.attestor,
        0,
        storage.as_ref(),
    )?;
    let witness = Witness::new(oracle, config, key, peer, history.clone());
    let transport = Arc::new(watched(boot.transport(), history));
    let node = Node::new(transport, storage, boot.clock());
    let mut node = crate::simulation::commit_either_way(boot, node);
    let handle = node.add(
        peaberry_oracle::oracle_channel(0),
        witness,
        told_to(history, peer),
    )?;
    handles.lock().insert(peer, handle);
    Ok(node)
}

/// Where a machine's events go.
fn told_to(
    history: &Arc<Mutex<History>>,
    peer: PeerId,
) -> impl FnMut(&mut Vec<OracleEvent>) + Send + use<> {
    let history = history.clone();
    move |events| {
        let mut history = history.lock();
        events.drain(..).for_each(|event| history.hear(peer, event));
    }
}

/// A liar forgets everything when it restarts: it keeps no promise.
fn boot_liar(
    boot: &mut Boot,
    who: Who,
    tactics: Tactics,
    history: &Arc<Mutex<History>>,
    handles: &Arc<Mutex<Handles>>,
) -> Result<Node, BootError> {
    let (config, key) = (who.config, who.key);
    let inner = Oracle::open(
        config.clone(),
        key.clone(),
        who.attestor,
        0,
        &MemoryStorage::new(),
    )?;
    let rng = fastrand::Rng::with_seed(boot.seed());
    let liar = Liar::new(inner, config, key, tactics, rng);
    let mut node = boot.node();
    let peer = boot.peer();
    let handle = node.add(
        peaberry_oracle::oracle_channel(0),
        liar,
        told_to(history, peer),
    )?;
    handles.lock().insert(peer, handle);
    Ok(node)
}

/// Takes down what an honest oracle signs as it leaves: what was sent counts, even if its sender fell before it could say
/// so.
fn watched(
    inner: Arc<dyn Transport>,
    history: &Arc<Mutex<History>>,
) -> Tapped<impl Fn(&mut Vec<Outgoing>) + Send + Sync + use<>> {
    let (peer, history) = (inner.local(), history.clone());
    Tapped::new(inner, move |batch: &mut Vec<Outgoing>| {
        for outgoing in batch.iter() {
            // The third kind of message is an observation; no other needs to be read.
            if outgoing.payload.get(1) == Some(&3)
                && let Ok(message) = Message::from_bytes(&outgoing.payload)
                && let Body::Observation(signed) = message.body
            {
                history.lock().observe(peer, &signed);
            }
        }
    })
}
