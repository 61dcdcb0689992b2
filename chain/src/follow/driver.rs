//! Acting for a follower.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_channel::mpsc;
use futures_util::stream::{Stream, StreamExt};
use peaberry_core::{Busy, Channel, Handle, Node, Storage};

use super::change::{Alarm, FollowCommand, FollowEvent, Notice};
use super::config::FollowConfig;
use super::protocol::{FOLLOW, Follow, FollowError};
use super::walk::{Step, Walk, step_along};
use crate::{ChainClient, ChainError};

/// Asks the chain for a follower: a future that ends with its node. Dropping it stops the following, and loses nothing.
pub struct FollowDriver {
    client: Arc<dyn ChainClient>,
    commands: Handle<FollowCommand>,
    walks: mpsc::UnboundedReceiver<Walk>,
    walking: Option<Walking>,
    /// An answer for which the node's queue has had no place.
    undelivered: Option<FollowCommand>,
}

type Walking = Pin<Box<dyn Future<Output = (u64, Result<Step, ChainError>)> + Send>>;

/// The changes of a chain, in order, and whether it can be followed at all; ends behind an alarm, and with the node.
pub struct Changes {
    events: mpsc::UnboundedReceiver<Result<Notice, Alarm>>,
    commands: Handle<FollowCommand>,
}

impl FollowDriver {
    /// Hosts a follower on `node` as group `group` of [`FOLLOW`], with its ring in `storage`, which must be the node's
    /// own. The driver must run, on the runtime that `client` needs.
    ///
    /// # Errors
    ///
    /// See [`FollowError`]. Nothing changed.
    pub fn install(
        node: &mut Node,
        group: u64,
        config: FollowConfig,
        storage: &dyn Storage,
        client: Arc<dyn ChainClient>,
    ) -> Result<(Changes, Self), FollowError> {
        if client.chain_id() != config.chain {
            return Err(FollowError::WrongChain {
                expected: config.chain,
                found: client.chain_id(),
            });
        }
        let channel = Channel::new(FOLLOW, group);
        let follow = Follow::open(channel, config, storage)?;
        // Walks are bounded by one at a time, changes by those that wait for an acknowledgement. Of stalls and recoveries there
        // are two for each time that all looks failed for `stalled_after`: whoever reads nothing for days keeps those of days.
        let (walk, walks) = mpsc::unbounded();
        let (tell, events) = mpsc::unbounded();
        let sink = move |batch: &mut Vec<FollowEvent>| {
            for event in batch.drain(..) {
                // Whoever dropped the other end wants nothing any more.
                let notice = match event {
                    FollowEvent::Walk(request) => {
                        drop(walk.unbounded_send(request));
                        continue;
                    }
                    FollowEvent::Change(change) => Ok(Notice::Change(change)),
                    FollowEvent::Stalled(stall) => Ok(Notice::Stalled(stall)),
                    FollowEvent::Resumed => Ok(Notice::Resumed),
                    FollowEvent::Alarm(alarm) => Err(alarm),
                };
                drop(tell.unbounded_send(notice));
            }
        };
        let commands = node.add(channel, follow, sink)?;
        let changes = Changes {
            events,
            commands: commands.clone(),
        };
        let driver = Self {
            client,
            commands,
            walks,
            walking: None,
            undelivered: None,
        };
        Ok((changes, driver))
    }
}

impl Changes {
    /// Everything up to the change `number` has been dealt with, durably. What is not acknowledged comes again after a
    /// restart; and with 1,024 of those nothing more comes.
    pub fn acknowledge(&self, number: u64) {
        // A node that has stopped tells it all again in its next life.
        drop(self.commands.submit(FollowCommand::Acknowledge(number)));
    }

    /// Says that the chain may have a new block, so that it is looked at now.
    pub fn wake(&self) {
        drop(self.commands.submit(FollowCommand::Wake));
    }
}

impl Stream for Changes {
    type Item = Result<Notice, Alarm>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_next_unpin(cx)
    }
}

impl Future for FollowDriver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(walking) = &mut self.walking {
                let Poll::Ready((number, result)) = walking.as_mut().poll(cx) else {
                    return Poll::Pending;
                };
                self.walking = None;
                let result = Box::new(result);
                self.undelivered = Some(FollowCommand::Answer { number, result });
            }
            if self.undelivered.is_some() && self.commands.poll_room(cx).is_pending() {
                return Poll::Pending;
            }
            if let Some(command) = self.undelivered.take() {
                match self.commands.submit(command) {
                    Ok(()) => {}
                    Err(Busy::Closed(_)) => return Poll::Ready(()),
                    Err(Busy::Full(command)) => {
                        self.undelivered = Some(command);
                        continue;
                    }
                }
            }
            match self.walks.poll_next_unpin(cx) {
                Poll::Ready(Some(walk)) => {
                    let client = self.client.clone();
                    self.walking = Some(Box::pin(async move {
                        let result = step_along(&*client, &walk).await;
                        (walk.number, result)
                    }));
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl fmt::Debug for FollowDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowDriver")
            .field("chain", &self.client.chain_id())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").finish_non_exhaustive()
    }
}
