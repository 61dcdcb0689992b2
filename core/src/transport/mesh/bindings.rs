use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::RwLock;

use super::event::DropReason;
use crate::mailbox::Mailbox;
use crate::peer::{Channel, PeerId, Peers, ProtocolId};
use crate::transport::TransportError;

/// Which mailbox gets which protocol's messages, and from whom.
#[derive(Debug, Default)]
pub(super) struct Bindings(RwLock<BTreeMap<ProtocolId, Binding>>);

#[derive(Debug)]
struct Binding {
    accept: Peers,
    mailbox: Weak<Mailbox>,
}

impl Bindings {
    pub(super) fn bind(
        &self,
        local: PeerId,
        protocol: ProtocolId,
        accept: Peers,
        mailbox: &Arc<Mailbox>,
    ) -> Result<(), TransportError> {
        let mut bindings = self.0.write();
        let live = |binding: &Binding| binding.mailbox.strong_count() > 0;
        if bindings.get(&protocol).is_some_and(live) {
            return Err(TransportError::AlreadyBound { protocol, local });
        }
        let mailbox = Arc::downgrade(mailbox);
        bindings.insert(protocol, Binding { accept, mailbox });
        Ok(())
    }

    /// Where a message of `protocol` from `peer` goes. Do not keep it: a binding ends when its owners drop the mailbox.
    pub(super) fn mailbox(
        &self,
        protocol: ProtocolId,
        peer: PeerId,
    ) -> Result<Arc<Mailbox>, DropReason> {
        let bindings = self.0.read();
        let binding = bindings.get(&protocol).ok_or(DropReason::NotBound)?;
        let mailbox = binding.mailbox.upgrade().ok_or(DropReason::NotBound)?;
        if binding.accept.contains(peer) {
            Ok(mailbox)
        } else {
            Err(DropReason::NotAccepted)
        }
    }

    /// Tells the protocols concerned that what they sent to `peer` on these channels was probably lost.
    pub(super) fn report_unreachable(
        &self,
        peer: PeerId,
        channels: impl IntoIterator<Item = Channel>,
    ) {
        for channel in channels {
            let mailbox = self
                .0
                .read()
                .get(&channel.protocol)
                .and_then(|binding| binding.mailbox.upgrade());
            if let Some(mailbox) = mailbox {
                mailbox.report_unreachable(peer, channel);
            }
        }
    }
}
