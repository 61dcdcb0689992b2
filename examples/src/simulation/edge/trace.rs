//! The digest of everything that happens in a world, in order: messages, commits, faults.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem::discriminant;
use std::sync::Arc;

use parking_lot::Mutex;
use peaberry_core::{Batch, Durability, Operation};
use peaberry_edge::uplink::{Message, UplinkEvent};

/// What has happened so far. Clones are the same one.
#[derive(Clone, Default)]
pub(super) struct Trace(Arc<Mutex<DefaultHasher>>);

impl Trace {
    pub(super) fn add(&self, what: impl Hash) {
        what.hash(&mut *self.0.lock());
    }

    pub(super) fn digest(&self) -> u64 {
        self.0.lock().finish()
    }

    /// `from` hands a message over, or tries to.
    pub(super) fn sent(&self, from: &str, message: &Message) {
        self.add((from, "sends"));
        self.message(message);
    }

    /// An uplink tells `to` something.
    pub(super) fn heard(&self, to: &str, event: &UplinkEvent) {
        match event {
            UplinkEvent::Inbound { message, .. } => {
                self.add((to, "receives"));
                self.message(message);
            }
            other => self.add((to, format!("{other:?}"))),
        }
    }

    fn message(&self, message: &Message) {
        let Message {
            topic,
            payload,
            is_retained,
            ..
        } = message;
        self.add((topic, payload, is_retained));
    }

    /// `owner` commits a batch, and whether that succeeds.
    pub(super) fn committed(
        &self,
        owner: &str,
        batch: &Batch,
        durability: Durability,
        is_done: bool,
    ) {
        let is_synced = durability == Durability::Synced;
        self.add((owner, "commits", is_synced, is_done));
        for operation in batch.operations() {
            self.add(discriminant(&operation));
            match operation {
                Operation::Put { key, value } => self.add((key, value)),
                Operation::Delete { key } => self.add(key),
                Operation::DeleteRange { from, to } => self.add((from, to)),
                Operation::Append {
                    log,
                    first,
                    entries,
                } => self.add((log, first, entries.lengths(), entries.bytes())),
                Operation::Truncate { log, from: at } | Operation::Discard { log, to: at } => {
                    self.add((log, at));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use peaberry_core::{Channel, LogId, ProtocolId};

    use super::*;

    fn digest(of: impl FnOnce(&Trace)) -> u64 {
        let trace = Trace::default();
        of(&trace);
        trace.digest()
    }

    /// Each message, commit and fault counts, and so does their order.
    #[test]
    fn whatever_differs_changes_the_digest() {
        let log = LogId {
            owner: Channel::new(ProtocolId(1), 1),
            number: 0,
        };
        let (mut one, mut other) = (Batch::new(), Batch::new());
        one.append(log, 1, [b"ab".as_slice(), b"c"]);
        other.append(log, 1, [b"a".as_slice(), b"bc"]);
        let message = |bytes: &'static [u8]| Message::new("up", Bytes::from_static(bytes));
        let commit = |batch: &Batch, durability, is_done| {
            digest(|trace| trace.committed("disk", batch, durability, is_done))
        };
        let inbound = UplinkEvent::Inbound {
            message: message(b"1"),
            token: None,
        };
        let digests = [
            digest(|_| {}),
            digest(|trace| trace.sent("till", &message(b"1"))),
            digest(|trace| trace.sent("till", &message(b"2"))),
            digest(|trace| trace.sent("fog", &message(b"1"))),
            digest(|trace| trace.heard("till", &inbound)),
            digest(|trace| trace.heard("till", &UplinkEvent::Accepted(1))),
            digest(|trace| trace.heard("till", &UplinkEvent::Accepted(2))),
            commit(&one, Durability::Synced, true),
            commit(&one, Durability::Synced, false),
            commit(&one, Durability::Buffered, true),
            commit(&other, Durability::Synced, true),
            digest(|trace| {
                trace.add("crash");
                trace.add("pause");
            }),
            digest(|trace| {
                trace.add("pause");
                trace.add("crash");
            }),
        ];
        for (at, digest) in digests.iter().enumerate() {
            assert!(!digests[..at].contains(digest), "{at}");
        }
    }
}
