use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::signal::Signal;

/// How many commands may wait for one protocol. At 64 bytes each that is 4 MiB.
const COMMANDS_MAX: usize = 1 << 16;

/// Submits commands to one protocol of a node, from any thread. Cheap to clone.
pub struct Handle<C> {
    queue: Arc<CommandQueue<C>>,
}

/// A command that was not taken, given back.
#[derive(thiserror::Error)]
#[expect(
    clippy::exhaustive_enums,
    reason = "full or gone: a caller handles both"
)]
pub enum Busy<C> {
    /// 65,536 commands wait already. Try again when some are done.
    #[error("the command queue is full: try again when earlier commands are done")]
    Full(C),
    /// The node has stopped, or the protocol has failed. It will take nothing any more.
    #[error("the protocol takes no commands any more: its node has stopped or it has failed")]
    Closed(C),
}

impl<C> Busy<C> {
    /// The command.
    #[must_use]
    pub fn into_command(self) -> C {
        match self {
            Self::Full(command) | Self::Closed(command) => command,
        }
    }
}

impl<C> fmt::Debug for Busy<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full",
            Self::Closed(_) => "Closed",
        })
    }
}

impl<C> Clone for Handle<C> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
        }
    }
}

impl<C> fmt::Debug for Handle<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("slot", &self.queue.slot)
            .finish_non_exhaustive()
    }
}

impl<C> Handle<C> {
    pub(super) fn new(slot: usize, ready: Arc<Ready>) -> Self {
        Self {
            queue: Arc::new(CommandQueue {
                slot,
                ready,
                inner: Mutex::default(),
            }),
        }
    }

    pub(super) fn queue(&self) -> Arc<CommandQueue<C>> {
        self.queue.clone()
    }

    /// Ready when there is room for a command, or never will be any more; until then `cx` is woken when that may have
    /// changed. Somebody else may take the room: whoever finds the queue [full](Busy::Full) after all asks again.
    pub fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut inner = self.queue.inner.lock();
        if inner.closed || inner.commands.len() < COMMANDS_MAX {
            return Poll::Ready(());
        }
        // A task polled again for another reason waits once.
        if !inner.waiting.iter().any(|kept| kept.will_wake(cx.waker())) {
            inner.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Queues `command` for the protocol's next turn.
    ///
    /// # Errors
    ///
    /// [`Busy`] gives the command back; nothing changed.
    pub fn submit(&self, command: C) -> Result<(), Busy<C>> {
        let mut inner = self.queue.inner.lock();
        if inner.closed {
            return Err(Busy::Closed(command));
        }
        if inner.commands.len() >= COMMANDS_MAX {
            return Err(Busy::Full(command));
        }
        let was_empty = inner.commands.is_empty();
        inner.commands.push_back(command);
        drop(inner);
        if was_empty {
            self.queue.ready.push(self.queue.slot);
        }
        Ok(())
    }
}

/// The commands that wait for one slot.
pub(super) struct CommandQueue<C> {
    slot: usize,
    ready: Arc<Ready>,
    inner: Mutex<Commands<C>>,
}

struct Commands<C> {
    commands: VecDeque<C>,
    closed: bool,
    /// Those that wait for room.
    waiting: Vec<Waker>,
}

impl<C> Default for Commands<C> {
    fn default() -> Self {
        Self {
            commands: VecDeque::new(),
            closed: false,
            waiting: Vec::new(),
        }
    }
}

impl<C> CommandQueue<C> {
    /// Swaps the waiting commands into `commands`, which must be empty.
    pub(super) fn drain(&self, commands: &mut VecDeque<C>) {
        let waiting = {
            let mut inner = self.inner.lock();
            std::mem::swap(&mut inner.commands, commands);
            std::mem::take(&mut inner.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Refuses commands from now on and drops those that wait.
    pub(super) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        let dropped = std::mem::take(&mut inner.commands);
        let waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        drop(dropped);
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// The slots that have commands waiting: a node looks at these and not at all of its slots.
#[derive(Debug)]
pub(super) struct Ready {
    slots: Mutex<Vec<usize>>,
    signal: Arc<Signal>,
}

impl Ready {
    pub(super) const fn new(signal: Arc<Signal>) -> Self {
        Self {
            slots: Mutex::new(Vec::new()),
            signal,
        }
    }

    fn push(&self, slot: usize) {
        self.slots.lock().push(slot);
        self.signal.wake();
    }

    pub(super) fn take(&self) -> Vec<usize> {
        let mut slots = self.slots.lock();
        if slots.is_empty() {
            Vec::new()
        } else {
            std::mem::take(&mut *slots)
        }
    }
}
