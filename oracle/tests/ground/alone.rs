//! One oracle with its store, moved by hand.

use std::sync::Arc;

use bytes::Bytes;
use peaberry_chain::EvmAddress;
use peaberry_core::{
    Durability, EffectsBuffer, Envelope, Input, Instant, MemoryStorage, PeerId, Protocol, Storage,
    Subspace,
};
use peaberry_oracle::{
    AttestedReport, Attestor, Body, Config, EcdsaQuorum, Evidence, Gathered, Message, Observation,
    Oracle, OracleCommand, OracleEvent, RoundId, SignedObservation, aggregate, kept_evidence,
    oracle_channel,
};

use super::{key, peer};

pub(crate) struct Alone {
    pub(crate) oracle: Oracle<EcdsaQuorum>,
    config: Arc<Config>,
    storage: MemoryStorage,
    now: u64,
    /// What it has told since it was last asked.
    events: Vec<OracleEvent>,
    /// What it has said, to whom.
    said: Vec<(PeerId, Body)>,
}

impl Alone {
    pub(crate) fn open(config: &Arc<Config>, member: u8) -> Self {
        Self::open_on(config, member, MemoryStorage::new())
    }

    fn open_on(config: &Arc<Config>, member: u8, storage: MemoryStorage) -> Self {
        let attestor = EcdsaQuorum::new(config, key(member));
        let oracle = Oracle::open(config.clone(), key(member), attestor, 0, &storage).unwrap();
        let mut alone = Self {
            oracle,
            config: config.clone(),
            storage,
            now: 1,
            events: Vec::new(),
            said: Vec::new(),
        };
        alone.turn(None);
        alone
    }

    /// The next life, of the oracle that signs with the key of `member`, under another configuration.
    pub(crate) fn reopened(self, config: &Arc<Config>, member: u8) -> Self {
        let Self {
            oracle, storage, ..
        } = self;
        drop(oracle);
        Self::open_on(config, member, storage)
    }

    fn turn(&mut self, input: Option<Input<OracleCommand>>) {
        let mut buffer = EffectsBuffer::new(oracle_channel(0));
        let now = Instant::from_nanos(self.now);
        if let Some(input) = input {
            self.oracle.step(now, input, &mut buffer.effects()).unwrap();
        }
        self.oracle.settle(now, &mut buffer.effects()).unwrap();
        self.storage
            .commit(buffer.batch(), Durability::Synced)
            .unwrap();
        let events = [buffer.events(), buffer.events_after_commit()];
        self.events.extend(events.concat());
        let sends = [buffer.sends(), buffer.sends_after_commit()].concat();
        let said = sends.into_iter().map(|it| {
            let message = Message::from_bytes(&it.payload).unwrap();
            (it.to, message.body)
        });
        self.said.extend(said);
    }

    pub(crate) fn see(&mut self, values: &[Option<i128>]) {
        self.command(OracleCommand::Observe {
            values: values.to_vec(),
            observed_at_ms: 5,
        });
    }

    pub(crate) fn command(&mut self, command: OracleCommand) {
        self.turn(Some(Input::Command(command)));
    }

    /// The evidence in its store.
    pub(crate) fn kept(&self) -> Vec<(EvmAddress, Evidence)> {
        kept_evidence(&Subspace::of(oracle_channel(0)), &self.storage).unwrap()
    }

    pub(crate) fn hear(&mut self, from: u8, body: Body) {
        let config = self.config.digest();
        let payload = Bytes::from(Message { config, body }.to_bytes());
        self.turn(Some(Input::Message(Envelope {
            from: peer(from),
            channel: oracle_channel(0),
            payload,
        })));
    }

    /// All but this one wish for the epoch.
    pub(crate) fn enter(&mut self, new_epoch: u32) {
        let (own, members) = (self.oracle.member(), self.config.members().len());
        for from in (0..=u8::MAX).take(members).filter(|it| *it != own) {
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

    /// Time passes, a millisecond at a time.
    pub(crate) fn wait(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now += 1_000_000;
            self.turn(None);
        }
    }

    pub(crate) fn told(&mut self) -> Vec<OracleEvent> {
        std::mem::take(&mut self.events)
    }

    pub(crate) fn said(&mut self) -> Vec<(PeerId, Body)> {
        std::mem::take(&mut self.said)
    }
}

/// What this member signs for the round.
pub(crate) fn signed(
    config: &Config,
    member: u8,
    round: RoundId,
    values: &[Option<i128>],
) -> SignedObservation {
    let observation = Observation {
        config: config.digest(),
        round,
        observed_at_ms: 5,
        values: values.to_vec(),
        standing: Vec::new(),
    };
    observation.sign(config, member, key(member).as_ref())
}

/// The report that these observations make, signed by these members.
pub(crate) fn attested(
    config: &Config,
    round: RoundId,
    set: &[SignedObservation],
    signers: &[u8],
) -> AttestedReport {
    let report = aggregate(config, round, set);
    let digest = report.digest(config);
    let mut quorum = EcdsaQuorum::new(config, key(signers[0]));
    quorum.begin(&digest);
    for signer in signers {
        let part = EcdsaQuorum::new(config, key(*signer)).contribute(&digest, None);
        let gathered = quorum.gather(&digest, *signer, &part.unwrap());
        if let Gathered::Done(attestation) = gathered.unwrap() {
            return AttestedReport {
                report,
                attestation,
            };
        }
    }
    panic!("{signers:?} are too few");
}
