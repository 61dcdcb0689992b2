//! An honest oracle with somebody beside it who reads its mail and knows what it must have noticed.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use parking_lot::Mutex;
use peaberry_core::{Effects, Envelope, Input, Instant, PeerId, Protocol};
use peaberry_oracle::{
    Attestor, Body, Config, Keyring, Message, Oracle, OracleCommand, OracleEvent, RoundId,
    SignedObservation,
};

use super::history::History;

/// Reads every answer to the newest question of the oracle inside. A second one of the same member that says something
/// else must become evidence.
pub(super) struct Witness<A> {
    inner: Oracle<A>,
    config: Arc<Config>,
    keyring: Arc<dyn Keyring>,
    peer: PeerId,
    history: Arc<Mutex<History>>,
    /// What an earlier life asked for: its answers mean nothing any more.
    asked_before: Option<RoundId>,
    asked: Option<RoundId>,
    /// By member, the first answer to what is asked for.
    answers: BTreeMap<u8, SignedObservation>,
}

impl<A: Attestor> Witness<A> {
    pub(super) fn new(
        inner: Oracle<A>,
        config: Arc<Config>,
        keyring: Arc<dyn Keyring>,
        peer: PeerId,
        history: Arc<Mutex<History>>,
    ) -> Self {
        Self {
            asked_before: inner.asked(),
            inner,
            config,
            keyring,
            peer,
            history,
            asked: None,
            answers: BTreeMap::new(),
        }
    }

    fn read(&mut self, envelope: &Envelope) {
        let Ok(message) = Message::from_bytes(&envelope.payload) else {
            return;
        };
        let Body::Observation(signed) = message.body else {
            return;
        };
        let round = signed.observation.round;
        let is_asked_for = message.config == self.config.digest()
            && self.inner.asked() == Some(round)
            && self.asked_before != Some(round)
            && self.inner.epoch() == round.epoch()
            // Behind the last round of an epoch nothing is led any more.
            && round.round() < self.config.timing().rounds_per_epoch;
        let is_genuine = || {
            self.config.member_of(envelope.from) == Some(signed.member)
                && signed.verify(&self.config, self.keyring.as_ref()).is_ok()
        };
        if !is_asked_for || !is_genuine() {
            return;
        }
        if self.asked.replace(round) != Some(round) {
            self.answers.clear();
        }
        let member = signed.member;
        let first = self.answers.entry(member).or_insert_with(|| signed.clone());
        if first.observation != signed.observation {
            self.history
                .lock()
                .expect_evidence(self.peer, member, round);
        }
    }
}

impl<A: Attestor> Protocol for Witness<A> {
    type Command = OracleCommand;
    type Event = OracleEvent;
    type Error = Infallible;

    fn step(
        &mut self,
        now: Instant,
        input: Input<OracleCommand>,
        fx: &mut Effects<'_, OracleEvent>,
    ) -> Result<(), Infallible> {
        if let Input::Message(envelope) = &input {
            self.read(envelope);
        }
        self.inner.step(now, input, fx)
    }

    fn settle(
        &mut self,
        now: Instant,
        fx: &mut Effects<'_, OracleEvent>,
    ) -> Result<(), Infallible> {
        self.inner.settle(now, fx)
    }

    fn deadline(&self) -> Option<Instant> {
        self.inner.deadline()
    }
}
