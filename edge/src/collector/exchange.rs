use std::collections::BTreeSet;

use peaberry_core::Storage;

use super::Collector;
use super::intake::{IntakeReport, note};
use crate::error::EdgeError;
use crate::payload::{EXCHANGE_MESSAGES_MAX, Exchange, Wire};
use crate::topic::Topic;
use crate::uplink::Message;

/// What a collector makes of one body.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Exchanged {
    /// What to answer: acknowledgements for the devices of the body. Whoever hosts the collector may add what else it has for
    /// them, such as [commands](crate::payload::Command), while an [`Exchange`] has room.
    pub answer: Exchange,
    /// What was taken.
    pub report: IntakeReport,
}

impl Collector {
    /// Takes the body of a request of an HTTP uplink (feature `http`), and makes what it brings durable.
    /// Answer 200 with the [answer](Exchanged::answer) in CBOR.
    ///
    /// What is no delivery is refused by name in the report, and the rest is taken: sent again it would be no better.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Malformed`], [`EdgeError::TooLong`] or [`EdgeError::Version`] for what is no [`Exchange`]: answer 400;
    /// nothing changed. [`EdgeError::Storage`] or [`EdgeError::Stored`]: answer 503, nothing is acknowledged and all of it comes
    /// again; unless the store is [full](peaberry_core::StorageError::Full), it is done for: restart.
    pub fn exchange(&mut self, storage: &dyn Storage, body: &[u8]) -> Result<Exchanged, EdgeError> {
        let mut exchanged = Exchanged::default();
        let mut devices = BTreeSet::new();
        for (topic, payload) in Exchange::decode(body)?.messages {
            let message = Message::new(topic, payload);
            let received = self.receive(storage, &message);
            // Who says nothing that is taken is told nothing: the acknowledgements are its own device's.
            if received.is_ok()
                && let Ok(topic) = Topic::parse(&message.topic)
            {
                devices.insert(topic.device);
            }
            note(received, &message, &mut exchanged.report)?;
        }
        self.commit(storage)?;
        let acks = self
            .due
            .extract_if(.., |(device, _), _| devices.contains(device));
        // What has no room in this answer stays due.
        let acks: Vec<_> = acks
            .take(EXCHANGE_MESSAGES_MAX)
            .map(|(_, ack)| ack)
            .collect();
        exchanged.answer.messages = acks
            .into_iter()
            .map(|ack| {
                let Message { topic, payload, .. } = self.message(&ack);
                (topic, payload)
            })
            .collect();
        Ok(exchanged)
    }
}
