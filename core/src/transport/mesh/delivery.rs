use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::Poll;

use tokio::time::{Instant, timeout_at};

use super::event::DropReason;
use super::link::Link;
use super::shared::Shared;
use crate::mailbox::Mailbox;
use crate::peer::ProtocolId;
use crate::transport::Envelope;

/// Hands one peer's messages to the mailboxes bound for them.
pub(super) struct Delivery<'a> {
    shared: &'a Shared,
    link: &'a Link,
    run: Vec<Envelope>,
    /// What full mailboxes refused.
    refused: BTreeMap<ProtocolId, Refused>,
    /// Protocols whose mailbox was waited for in vain, and has been full since.
    stuck: BTreeSet<ProtocolId>,
}

/// Not the mailbox itself: waiting for it must not keep it bound.
struct Refused {
    mailbox: Weak<Mailbox>,
    messages: Vec<Envelope>,
}

impl<'a> Delivery<'a> {
    pub(super) const fn new(shared: &'a Shared, link: &'a Link) -> Self {
        Self {
            shared,
            link,
            run: Vec::new(),
            refused: BTreeMap::new(),
            stuck: BTreeSet::new(),
        }
    }

    /// Delivers `messages`. Where a mailbox is full, the others get theirs first; then it is waited for, which holds up
    /// the sender; and what it has not taken in time is dropped.
    pub(super) async fn deliver(&mut self, messages: &mut Vec<Envelope>) {
        let mut messages = messages.drain(..).peekable();
        while let Some(message) = messages.next() {
            let protocol = message.channel.protocol;
            self.run.push(message);
            // One lock and one wake-up for neighbours of the same protocol.
            if messages
                .peek()
                .is_none_or(|next| next.channel.protocol != protocol)
            {
                self.deliver_run(protocol);
            }
        }
        if !self.refused.is_empty() {
            self.wait().await;
        }
    }

    fn deliver_run(&mut self, protocol: ProtocolId) {
        if let Some(refused) = self.refused.get_mut(&protocol) {
            refused.messages.append(&mut self.run);
            return;
        }
        match self.shared.bindings.mailbox(protocol, self.link.peer) {
            Ok(mailbox) => {
                mailbox.deliver(&mut self.run);
                if self.run.is_empty() {
                    self.stuck.remove(&protocol);
                } else if self.stuck.contains(&protocol) {
                    self.drop_run(protocol, DropReason::MailboxFull);
                } else {
                    let refused = Refused {
                        mailbox: Arc::downgrade(&mailbox),
                        messages: std::mem::take(&mut self.run),
                    };
                    self.refused.insert(protocol, refused);
                }
            }
            Err(reason) => self.drop_run(protocol, reason),
        }
    }

    fn drop_run(&mut self, protocol: ProtocolId, reason: DropReason) {
        self.link.drops.count(protocol, reason, self.run.len());
        self.run.clear();
    }

    /// Waits for full mailboxes, for as long as a delivery may take.
    async fn wait(&mut self) {
        let deadline = Instant::now() + self.shared.times.delivery_wait;
        self.link.pulse.deaf.store(true, Ordering::Relaxed);
        while let Some((protocol, mut refused)) = self.refused.pop_first() {
            let delivered = timeout_at(deadline, self.deliver_refused(&mut refused)).await;
            if delivered.is_err() {
                self.stuck.insert(protocol);
                self.run = refused.messages;
                self.drop_run(protocol, DropReason::MailboxFull);
            }
        }
        self.link.pulse.deaf.store(false, Ordering::Relaxed);
    }

    /// Completes once the mailbox has taken everything, or is gone.
    async fn deliver_refused(&self, refused: &mut Refused) {
        let Refused { mailbox, messages } = refused;
        let peer = self.link.peer;
        poll_fn(|cx| {
            while let Some(mailbox) = mailbox.upgrade() {
                mailbox.deliver(messages);
                if messages.is_empty() {
                    return Poll::Ready(());
                }
                // Room may have come since: only a mailbox that has none wakes us later.
                if mailbox.poll_room(peer, cx).is_pending() {
                    return Poll::Pending;
                }
            }
            Poll::Ready(())
        })
        .await;
        if !messages.is_empty() {
            // The mailbox is gone, and with it the binding.
            if let Some(first) = messages.first() {
                let protocol = first.channel.protocol;
                let drops = &self.link.drops;
                drops.count(protocol, DropReason::NotBound, messages.len());
            }
            messages.clear();
        }
    }
}
