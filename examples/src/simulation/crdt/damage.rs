//! A link that flips bits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use peaberry_core::{Outgoing, Tapped, Transport};

use super::reached::{DAMAGED, IN_PIECES};
use crate::simulation::Reached;

/// How many of a thousand frames are damaged while it lasts.
const DAMAGED_PER_MILLE: u32 = 30;

/// The kind of a frame that has some bytes of a delta, its first byte.
const PIECE: u8 = 8;

/// A transport that damages some of what it sends while `is_on`.
pub(super) fn damaging(
    inner: Arc<dyn Transport>,
    rng: fastrand::Rng,
    is_on: Arc<AtomicBool>,
    reached: Arc<Mutex<Reached>>,
) -> impl Transport {
    let rng = Mutex::new(rng);
    Tapped::new(inner, move |batch: &mut Vec<Outgoing>| {
        if batch
            .iter()
            .any(|message| message.payload.first() == Some(&PIECE))
        {
            reached.lock().mark(IN_PIECES);
        }
        if !is_on.load(Ordering::Relaxed) {
            return;
        }
        let mut rng = rng.lock();
        for message in batch {
            if rng.u32(..1000) < DAMAGED_PER_MILLE {
                message.payload = damaged(&message.payload, &mut rng);
                reached.lock().mark(DAMAGED);
            }
        }
    })
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
