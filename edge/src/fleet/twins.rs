//! The twins of a fleet's devices: what is desired of them, and what they report.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use peaberry_core::Instant;

use crate::device::Configured;
use crate::error::EdgeError;
use crate::name::Name;
use crate::payload::{Level, Notification, Payload, Text};
use crate::topic::Stream;
use crate::twin::{Twin, TwinValue};
use crate::uplink::Uplink;

use super::{Fleet, FleetEvent};

impl<U: Uplink, A: Clone> Fleet<U, A> {
    /// A twin says what it knows; but not again while it waits to be heard.
    pub(super) fn say_hello(&mut self, at: usize, now: Instant) {
        let waits = self.has_twin_records(at);
        let Some(hosted) = self.hosted.get_mut(at) else {
            return;
        };
        let Some(twin) = hosted.device.twin() else {
            return;
        };
        let (hello, knows) = (twin.hello(), Some(twin.digest()));
        let said = std::mem::replace(&mut hosted.said, knows);
        self.awake.insert(at);
        self.rest_twins();
        if said != knows || !waits {
            self.tell(at, now, Payload::Twin(hello));
        }
    }

    /// Twins that left a question without an answer give it once nothing else waits that they have said. Who asked besides,
    /// or too long a question to be kept, hears then what they know: whoever still lacks something asks again.
    pub(super) fn answer_what_is_owed(
        &mut self,
        now: Instant,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        for (at, owed) in std::mem::take(&mut self.owing) {
            if self.has_twin_records(at) {
                self.owing.insert(at, owed);
                continue;
            }
            let Some(question) = owed.question else {
                self.say_hello(at, now);
                continue;
            };
            if owed.others_asked {
                self.owing.insert(at, Owed::default());
            }
            let answered = self.learn(at, &question, now, events);
            answered.or_else(|error| self.refuse(at, error, events))?;
        }
        Ok(())
    }

    /// Whether anything that its twin said waits to be heard.
    fn has_twin_records(&self, at: usize) -> bool {
        let spool = self.courier.spool(at);
        self.twins_say.contains_key(&at) || spool.is_some_and(|spool| spool.holds(Stream::Twin))
    }

    pub(super) fn learn(
        &mut self,
        at: usize,
        bytes: &[u8],
        now: Instant,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        let Some(hosted) = self.hosted.get_mut(at) else {
            return Ok(());
        };
        let wall_ms = hosted.device.wall_ms(hosted.device.at_ms(now));
        let id = hosted.device.id().clone();
        let Some(twin) = hosted.device.twin_mut() else {
            let reason = format!("{id} has none");
            return Err(EdgeError::malformed("twin message", reason));
        };
        self.awake.insert(at);
        let received = twin.receive(bytes, wall_ms, self.state.effects().batch())?;
        self.answer(at, bytes, received.answers, now);
        if received.has_changed {
            self.learned(at, now, events)?;
        }
        Ok(())
    }

    /// Anybody can ask with a few bytes what takes hundreds of kilobytes to answer. The same is not answered again while it
    /// waits to be heard, and beside the first answer none makes other records give way.
    fn answer(&mut self, at: usize, question: &[u8], answers: Vec<Bytes>, now: Instant) {
        let waits = self.has_twin_records(at);
        let (Some(hosted), Some(spool)) = (self.hosted.get_mut(at), self.courier.spool(at)) else {
            return;
        };
        if answers.is_empty() {
            return;
        }
        let answered = std::mem::replace(&mut hosted.answered, digest(&answers));
        if waits && answered == hosted.answered {
            return;
        }
        let said = self.twins_say.get(&at).copied().unwrap_or(0);
        let bytes = said + answers.iter().map(Bytes::len).sum::<usize>();
        if waits && !spool.has_room_for_more(Stream::Twin, bytes) {
            hosted.answered = answered;
            self.owing.entry(at).or_default().keep(question);
            return;
        }
        for answer in answers {
            self.tell(at, now, Payload::Twin(answer));
        }
    }

    /// Applies what is desired of settings, and hands the rest to the application.
    pub(super) fn learned(
        &mut self,
        at: usize,
        now: Instant,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        self.awake.insert(at);
        let delta = self.hosted.get(at).and_then(|it| it.device.twin());
        let delta = delta.map(Twin::delta).unwrap_or_default();
        let (mut rest, mut refused) = (Vec::new(), Vec::new());
        for (key, value) in delta {
            let Some(hosted) = self.hosted.get_mut(at) else {
                return Ok(());
            };
            match hosted.device.configure(&key, &value) {
                Configured::Applied => self.write_twin(at, now, key, value, true, events)?,
                Configured::NotASetting => rest.push((key, value)),
                Configured::Refused(reason) => {
                    let pair = digest(&(&key, value.to_string()));
                    refused.push(pair);
                    if hosted.refused.contains(&pair) {
                        continue;
                    }
                    let text = Text::new(&format!("{key} = {value} is refused: {reason}"));
                    let level = Level::Warning;
                    let order = None;
                    let told = Notification { level, text, order };
                    self.tell(at, now, Payload::Notification(told));
                }
            }
        }
        self.schedule(at);
        let Some(hosted) = self.hosted.get_mut(at) else {
            return Ok(());
        };
        hosted.refused = refused;
        let had_wishes = std::mem::replace(&mut hosted.has_wishes, !rest.is_empty());
        if had_wishes || !rest.is_empty() {
            let device = hosted.device.id().clone();
            self.hold(FleetEvent::Delta {
                device,
                delta: rest,
            });
        }
        Ok(())
    }

    pub(super) fn write_twin(
        &mut self,
        at: usize,
        now: Instant,
        key: Name,
        value: TwinValue,
        is_report: bool,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        let Some(hosted) = self.hosted.get_mut(at) else {
            return Ok(());
        };
        let wall_ms = hosted.device.wall_ms(hosted.device.at_ms(now));
        let id = hosted.device.id().clone();
        self.awake.insert(at);
        let mut effects = self.state.effects();
        let written = match hosted.device.twin_mut() {
            Some(twin) if is_report => twin.report(key, value, wall_ms, effects.batch()),
            Some(twin) => twin.desire(key, value, wall_ms, effects.batch()),
            None => Err(EdgeError::malformed(
                "twin entry",
                format!("{id} has no twin"),
            )),
        };
        match written {
            Ok(delta) => {
                self.tell(at, now, Payload::Twin(delta));
                Ok(())
            }
            Err(error) => self.refuse(at, error, events),
        }
    }

    /// The time is known: what was taken from the future before is dated anew.
    pub(super) fn date_twin(
        &mut self,
        at: usize,
        now: Instant,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        let Some(hosted) = self.hosted.get_mut(at) else {
            return Ok(());
        };
        let wall_ms = hosted.device.wall_ms(hosted.device.at_ms(now));
        let (Some(wall_ms), Some(twin)) = (wall_ms, hosted.device.twin_mut()) else {
            return Ok(());
        };
        self.awake.insert(at);
        let dated = twin.learn_time(wall_ms, self.state.effects().batch());
        self.rest_twins();
        match dated {
            Ok(Some(delta)) => {
                self.tell(at, now, Payload::Twin(delta));
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => self.refuse(at, error, events),
        }
    }

    /// Twins that were looked at in this turn are bytes again: ten thousand that stay awake take tens of megabytes.
    pub(super) fn rest_twins(&mut self) {
        for at in std::mem::take(&mut self.awake) {
            if let Some(twin) = self.hosted.get_mut(at).and_then(|it| it.device.twin_mut()) {
                twin.rest();
            }
        }
    }
}

/// What a twin has been asked and has not answered.
#[derive(Default)]
pub(super) struct Owed {
    question: Option<Box<[u8]>>,
    others_asked: bool,
}

/// A longer question is not kept: one of thirty writers is shorter.
const QUESTION_BYTES_MAX: usize = 1024;

impl Owed {
    fn keep(&mut self, question: &[u8]) {
        match &self.question {
            Some(kept) => self.others_asked |= kept.as_ref() != question,
            None if question.len() <= QUESTION_BYTES_MAX => self.question = Some(question.into()),
            None => {}
        }
    }
}

/// Tells apart what was said last and what is said now, in this process.
fn digest(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}
