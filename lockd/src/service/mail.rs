use std::collections::BTreeMap;

use bytes::Bytes;
use peaberry_core::{Effects, PeerId};

use crate::message::{Told, put_told};

/// When a message is long enough to go; the next part begins another.
const MESSAGE_BYTES: usize = 64 << 10;

/// What one turn has to tell, put together by peer.
#[derive(Debug, Default)]
pub(super) struct Mail {
    open: BTreeMap<PeerId, Vec<u8>>,
    full: Vec<(PeerId, Bytes)>,
}

impl Mail {
    pub(super) fn tell(&mut self, peer: PeerId, told: Told<'_>) {
        let message = self.open.entry(peer).or_default();
        put_told(message, told);
        if message.len() >= MESSAGE_BYTES {
            self.full.push((peer, std::mem::take(message).into()));
        }
    }

    pub(super) fn send<E>(&mut self, fx: &mut Effects<'_, E>) {
        for (peer, message) in self.full.drain(..) {
            fx.send(peer, message);
        }
        while let Some((peer, message)) = self.open.pop_first() {
            if !message.is_empty() {
                fx.send(peer, message.into());
            }
        }
    }
}
