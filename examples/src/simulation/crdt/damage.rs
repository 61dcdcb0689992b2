//! A link that flips bits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use peaberry_core::{Mailbox, Outgoing, PeerId, Peers, ProtocolId, Transport, TransportError};

use super::reached::{DAMAGED, IN_PIECES};
use crate::simulation::Reached;

/// How many of a thousand frames are damaged while it lasts.
const DAMAGED_PER_MILLE: u32 = 30;

/// The kind of a frame that has some bytes of a delta, its first byte.
const PIECE: u8 = 8;

/// A transport that damages some of what it sends.
pub(super) struct Damaging {
    pub(super) inner: Arc<dyn Transport>,
    pub(super) rng: Mutex<fastrand::Rng>,
    pub(super) is_on: Arc<AtomicBool>,
    pub(super) reached: Arc<Mutex<Reached>>,
}

impl Transport for Damaging {
    fn local(&self) -> PeerId {
        self.inner.local()
    }

    fn bind(
        &self,
        protocol: ProtocolId,
        accept: Peers,
        mailbox: Arc<Mailbox>,
    ) -> Result<(), TransportError> {
        self.inner.bind(protocol, accept, mailbox)
    }

    fn send(&self, batch: &mut Vec<Outgoing>) {
        if batch
            .iter()
            .any(|message| message.payload.first() == Some(&PIECE))
        {
            self.reached.lock().mark(IN_PIECES);
        }
        if self.is_on.load(Ordering::Relaxed) {
            let mut rng = self.rng.lock();
            for message in batch.iter_mut() {
                if rng.u32(..1000) < DAMAGED_PER_MILLE {
                    message.payload = damaged(&message.payload, &mut rng);
                    self.reached.lock().mark(DAMAGED);
                }
            }
        }
        self.inner.send(batch);
    }
}

/// A bit flipped, or the end cut off.
fn damaged(payload: &[u8], rng: &mut fastrand::Rng) -> Bytes {
    let mut bytes = payload.to_vec();
    if bytes.is_empty() {
        return bytes.into();
    }
    let at = rng.usize(..bytes.len());
    if rng.u8(..4) == 0 {
        bytes.truncate(at);
    } else if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << rng.u8(..8);
    }
    bytes.into()
}
