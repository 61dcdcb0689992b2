//! Answering async callers off the node's path.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::handle::{Ticket, settle_ticket};
use crate::raft::RaftEvent;

/// The two ends of a queue of answers: the sink is for the node, the dispatcher for a runtime.
///
/// Waking a caller on another thread costs about as much as committing its proposal. A node on a runtime
/// ([`Node::into_task`](peaberry_core::Node::into_task)) therefore hands a turn's answers over in one piece, with one
/// wake-up, and the dispatcher answers the callers, best on the runtime that they live on, while the node takes its next
/// turn. A node on a thread of its own does better without: see [`settle_ticket`].
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use peaberry_consensus::{RaftConfig, RaftEvent, RaftGroup, RaftHandle, ticket_dispatcher};
/// use peaberry_core::{MemoryNetwork, MemoryStorage, Node, PeerId, SystemClock};
/// # use bytes::Bytes;
/// # use peaberry_consensus::{Apply, Outcome, Restore, RestoreError, StateMachine};
/// # #[derive(Default)] struct Sum(u64);
/// # impl StateMachine for Sum {
/// #     type Snapshot = std::iter::Once<Bytes>; type Restore = Sum;
/// #     fn apply(&mut self, apply: &mut Apply<'_>) -> Bytes {
/// #         self.0 += u64::from(apply.command[0]); Bytes::copy_from_slice(&self.0.to_be_bytes())
/// #     }
/// #     fn query(&self, _: &[u8]) -> Bytes { Bytes::new() }
/// #     fn snapshot(&self) -> Self::Snapshot { std::iter::once(Bytes::new()) }
/// #     fn begin_restore(&self) -> Sum { Sum(0) }
/// # }
/// # impl Restore for Sum {
/// #     type Machine = Sum;
/// #     fn chunk(&mut self, _: &[u8]) -> Result<(), RestoreError> { Ok(()) }
/// #     fn finish(self) -> Result<Sum, RestoreError> { Ok(self) }
/// # }
/// # let local = PeerId::new(1).unwrap();
/// # let storage = Arc::new(MemoryStorage::new());
/// # let config = RaftConfig::new(0, local, [local], 0x5eed);
/// # let channel = config.channel();
/// # let group = RaftGroup::open(config, storage.as_ref(), Sum::default()).unwrap();
/// # let mut node = Node::new(Arc::new(MemoryNetwork::new().join(local)), storage, Arc::new(SystemClock::new()));
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let (tickets, dispatcher) = ticket_dispatcher();
/// let (told, led) = futures_channel::oneshot::channel();
/// let mut told = Some(told);
/// let commands = node.add(channel, group, move |events: &mut Vec<_>| {
///     tickets.settle(events);
///     for event in events.drain(..) {
///         if let RaftEvent::Leader { leader: Some(_), .. } = event {
///             told.take().map(|told| told.send(()));
///         }
///     }
/// }).unwrap();
/// tokio::spawn(node.into_task());
/// tokio::spawn(dispatcher);
///
/// led.await.unwrap();
/// let outcome = RaftHandle::new(commands).propose(Bytes::from_static(&[42])).await;
/// assert!(matches!(outcome, Outcome::Committed { .. }));
/// # });
/// ```
#[must_use]
pub fn ticket_dispatcher() -> (TicketSink, TicketDispatcher) {
    let queue = Arc::new(Mutex::new(Queue::default()));
    let sink = TicketSink {
        queue: queue.clone(),
    };
    let answers = Vec::new();
    (sink, TicketDispatcher { queue, answers })
}

/// Queues a node's answers for its dispatcher. Dropping it ends the dispatcher, behind the last answer.
///
/// The queue has no bound of its own: it holds at most one answer for each proposal and query that the group has taken,
/// which bounds those.
pub struct TicketSink {
    queue: Arc<Mutex<Queue>>,
}

impl TicketSink {
    /// Moves the answers among `events` to the dispatcher and leaves every other event, in order.
    ///
    /// Without a dispatcher any more, as when its runtime has been shut down, it answers the callers itself.
    pub fn settle(&self, events: &mut Vec<RaftEvent<Ticket>>) {
        let mut queue = self.queue.lock();
        if queue.is_abandoned {
            drop(queue);
            events.extract_if(.., is_answer).for_each(answer);
            return;
        }
        queue.answers.extend(events.extract_if(.., is_answer));
        let waker = if queue.answers.is_empty() {
            None
        } else {
            queue.waker.take()
        };
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for TicketSink {
    fn drop(&mut self) {
        let mut queue = self.queue.lock();
        queue.is_closed = true;
        let waker = queue.waker.take();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl fmt::Debug for TicketSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketSink").finish_non_exhaustive()
    }
}

/// Answers callers: a future to spawn on any runtime. Completes when its sink is gone and every caller is answered.
pub struct TicketDispatcher {
    queue: Arc<Mutex<Queue>>,
    /// Empty between polls: kept for its memory.
    answers: Vec<RaftEvent<Ticket>>,
}

impl Future for TicketDispatcher {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut queue = this.queue.lock();
        if queue.answers.is_empty() {
            if queue.is_closed {
                return Poll::Ready(());
            }
            queue.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        std::mem::swap(&mut queue.answers, &mut this.answers);
        drop(queue);
        this.answers.drain(..).for_each(answer);
        // The callers come first; what has come meanwhile is the next poll's.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for TicketDispatcher {
    fn drop(&mut self) {
        let mut queue = self.queue.lock();
        queue.is_abandoned = true;
        let left = std::mem::take(&mut queue.answers);
        drop(queue);
        left.into_iter().for_each(answer);
    }
}

impl fmt::Debug for TicketDispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketDispatcher").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Queue {
    answers: Vec<RaftEvent<Ticket>>,
    /// Set while the dispatcher sleeps.
    waker: Option<Waker>,
    is_closed: bool,
    is_abandoned: bool,
}

fn is_answer(event: &mut RaftEvent<Ticket>) -> bool {
    matches!(
        event,
        RaftEvent::Completed { .. } | RaftEvent::Answered { .. }
    )
}

fn answer(event: RaftEvent<Ticket>) {
    let left = settle_ticket(event);
    debug_assert!(left.is_none(), "only answers are queued");
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_channel::oneshot;

    use super::*;
    use crate::raft::Outcome;

    fn completion() -> (oneshot::Receiver<Outcome>, RaftEvent<Ticket>) {
        let (sender, receiver) = oneshot::channel();
        let token = Ticket::Proposal(sender);
        let outcome = Outcome::Unknown;
        (receiver, RaftEvent::Completed { token, outcome })
    }

    fn notice(index: u64) -> RaftEvent<Ticket> {
        let notice = Bytes::new();
        RaftEvent::Notice { index, notice }
    }

    fn poll(dispatcher: &mut TicketDispatcher) -> Poll<()> {
        Pin::new(dispatcher).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn answers_go_to_the_dispatcher_and_other_events_stay_in_order() {
        let (sink, mut dispatcher) = ticket_dispatcher();
        let (mut caller, completed) = completion();
        let mut events = vec![notice(1), completed, notice(2)];
        sink.settle(&mut events);
        assert!(matches!(
            events.as_slice(),
            [
                RaftEvent::Notice { index: 1, .. },
                RaftEvent::Notice { index: 2, .. }
            ]
        ));
        assert_eq!(caller.try_recv(), Ok(None), "the node does not answer");
        assert!(poll(&mut dispatcher).is_pending());
        assert_eq!(caller.try_recv(), Ok(Some(Outcome::Unknown)));
    }

    #[test]
    fn the_dispatcher_ends_behind_the_last_answer() {
        let (sink, mut dispatcher) = ticket_dispatcher();
        let (mut caller, completed) = completion();
        sink.settle(&mut vec![completed]);
        drop(sink);
        while poll(&mut dispatcher).is_pending() {}
        assert_eq!(caller.try_recv(), Ok(Some(Outcome::Unknown)));
    }

    #[test]
    fn callers_are_answered_when_the_dispatcher_is_gone() {
        let (sink, dispatcher) = ticket_dispatcher();
        let (mut queued, first) = completion();
        sink.settle(&mut vec![first]);
        drop(dispatcher);
        assert_eq!(queued.try_recv(), Ok(Some(Outcome::Unknown)));
        let (mut late, second) = completion();
        sink.settle(&mut vec![second]);
        assert_eq!(late.try_recv(), Ok(Some(Outcome::Unknown)));
    }

    #[test]
    fn a_sleeping_dispatcher_is_woken_once_a_batch() {
        use std::sync::atomic::{AtomicU32, Ordering};
        use std::task::Wake;

        struct Count(AtomicU32);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }

        let (sink, mut dispatcher) = ticket_dispatcher();
        let count = Arc::new(Count(AtomicU32::new(0)));
        let waker = Waker::from(count.clone());
        assert!(
            Pin::new(&mut dispatcher)
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        sink.settle(&mut vec![notice(1)]);
        assert_eq!(count.0.load(Ordering::SeqCst), 0, "no answer, no wake-up");
        for _ in 0..2 {
            let (_caller, completed) = completion();
            sink.settle(&mut vec![completed]);
        }
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }
}
