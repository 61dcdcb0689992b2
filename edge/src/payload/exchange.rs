use std::sync::Arc;

use bytes::Bytes;

use crate::error::EdgeError;
use crate::topic::TOPIC_BYTES_MAX;

use super::cbor::{Source, put_array, put_map, read_map, required, version};
use super::{MESSAGE_BYTES_MAX, Wire};

const WHAT: &str = "exchange";
const VERSION: u64 = 1;

/// How many messages one [`Exchange`] may carry.
pub const EXCHANGE_MESSAGES_MAX: usize = 256;

#[cfg(feature = "http")]
/// What an exchange adds to the topics and payloads of its messages: at most so many bytes for itself and for each.
pub(crate) const EXCHANGE_OVERHEAD: usize = 16;

/// Messages in one body, as they go to a collector over HTTP and come back from it: pairs of topic and payload, at most
/// [`EXCHANGE_MESSAGES_MAX`] and [`MESSAGE_BYTES_MAX`] in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// Topic and payload of each.
    pub messages: Vec<(Arc<str>, Bytes)>,
}

impl Wire for Exchange {
    fn encode_into(&self, out: &mut Vec<u8>) {
        put_map(out, |fields| {
            fields.uint(0, VERSION);
            fields.with(1, |out| {
                put_array(out, &self.messages, |out, (topic, payload)| {
                    put_map(out, |fields| {
                        fields.text(0, topic);
                        fields.bytes(1, payload);
                    });
                });
            });
        });
    }

    fn decode(bytes: &[u8]) -> Result<Self, EdgeError> {
        let (mut messages, mut is_versioned) = (Vec::new(), false);
        read_map(WHAT, bytes, |key, source| {
            match key {
                0 => {
                    version(WHAT, VERSION, source)?;
                    is_versioned = true;
                }
                1 => source.array(EXCHANGE_MESSAGES_MAX, |item| {
                    messages.push(message(item)?);
                    Ok(())
                })?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        required(WHAT, "its version", is_versioned.then_some(()))?;
        Ok(Self { messages })
    }
}

fn message(source: &mut Source<'_>) -> Result<(Arc<str>, Bytes), EdgeError> {
    let (mut topic, mut payload) = (None, None);
    source.map(|key, source| {
        match key {
            0 => topic = Some(source.text(TOPIC_BYTES_MAX)?),
            1 => payload = Some(source.bytes(MESSAGE_BYTES_MAX)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let topic = required(WHAT, "the topic of a message", topic)?;
    let payload = required(WHAT, "the payload of a message", payload)?;
    Ok((topic.into(), Bytes::copy_from_slice(payload)))
}
