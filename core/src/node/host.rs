use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use crate::clock::{Instant, Sleep};
use crate::node::{Next, Node};
use crate::signal::Signal;

/// How long a parked thread trusts a timer that does not count suspended time.
const PARK_STEP_MAX: Duration = Duration::from_secs(1);

/// How many turns a task takes before it lets the runtime's other tasks go on.
const TURNS_PER_POLL_MAX: usize = 16;

impl Node {
    /// Turns the node on a thread of its own: the right host where commits wait for a disk.
    ///
    /// # Errors
    ///
    /// The thread could not be started.
    pub fn spawn(self, name: &str) -> std::io::Result<NodeThread> {
        let signal = self.signal().clone();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn({
            let stop = stop.clone();
            move || run_on_thread(self, &stop)
        })?;
        Ok(NodeThread {
            signal,
            stop,
            thread: Some(thread),
        })
    }

    /// Turns the node as a future, on any runtime: the fastest host where nothing waits for a disk. Dropping the future
    /// drops the node; it completes only when a commit has failed, and gives the node back.
    #[must_use]
    pub const fn into_task(self) -> NodeTask {
        NodeTask {
            node: Some(self),
            look_until: None,
            sleep: None,
        }
    }
}

/// A node on a thread of its own; dropping it stops the node and waits for the thread.
#[derive(Debug)]
pub struct NodeThread {
    signal: Arc<Signal>,
    stop: Arc<AtomicBool>,
    /// `None` once joined.
    thread: Option<JoinHandle<Node>>,
}

impl NodeThread {
    /// Stops the node behind its present turn and gives it back.
    ///
    /// # Panics
    ///
    /// When a protocol or a sink has panicked on the node's thread: goes on with that panic.
    #[must_use]
    pub fn stop(mut self) -> Node {
        let thread = self.request_stop().expect("joined only here and in drop");
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Whether the thread has ended: the store has failed, or something on it panicked.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn request_stop(&mut self) -> Option<JoinHandle<Node>> {
        self.stop.store(true, Ordering::SeqCst);
        self.signal.wake();
        self.thread.take()
    }
}

impl Drop for NodeThread {
    fn drop(&mut self) {
        if let Some(thread) = self.request_stop() {
            // Its panic has been printed by the thread; dropping must not panic again.
            let _ = thread.join();
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn run_on_thread(mut node: Node, stop: &AtomicBool) -> Node {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    while !stop.load(Ordering::SeqCst) {
        match node.turn() {
            Next::Again => {}
            Next::Sleep(deadline) => park(&node, deadline, &waker),
            Next::Stopped => break,
        }
    }
    node
}

/// Sleeps until the node's signal or `deadline`; may wake early.
fn park(node: &Node, deadline: Option<Instant>, waker: &Waker) {
    let look_until = look_until(node, deadline);
    while look_until.is_some_and(|until| node.clock().now() < until) {
        if node.signal().is_notified() {
            return;
        }
        std::hint::spin_loop();
    }
    if !node.signal().park(waker) {
        return;
    }
    match deadline {
        None => std::thread::park(),
        Some(deadline) => {
            std::thread::park_timeout(deadline.since(node.clock().now()).min(PARK_STEP_MAX))
        }
    }
}

/// Until when a node that has become idle looks for input before it sleeps; `None` if it is not to.
fn look_until(node: &Node, deadline: Option<Instant>) -> Option<Instant> {
    if node.linger.is_zero() {
        return None;
    }
    let until = node.clock().now() + node.linger;
    Some(deadline.map_or(until, |deadline| until.min(deadline)))
}

/// A node as a future; see [`Node::into_task`].
pub struct NodeTask {
    /// `None` once complete.
    node: Option<Node>,
    /// Until when the node looks for input before it sleeps, since it last had some.
    look_until: Option<Instant>,
    sleep: Option<(Instant, Sleep)>,
}

impl fmt::Debug for NodeTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeTask")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl NodeTask {
    /// Whether there is no input and it is too early to sleep.
    fn looks_on(&mut self) -> bool {
        let (Some(node), Some(until)) = (&self.node, self.look_until) else {
            return false;
        };
        if node.signal().is_notified() {
            self.look_until = None;
            return false;
        }
        node.clock().now() < until
    }

    /// Looks for input, for as long as the node is to linger after its last, then waits.
    fn rest(&mut self, deadline: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        if self.look_until.is_none()
            && let Some(node) = &self.node
        {
            self.look_until = look_until(node, deadline);
            if self.look_until.is_some() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        self.wait(deadline, cx)
    }

    /// Whether the node must turn again at once because `deadline` has come or a signal has.
    fn wait(&mut self, deadline: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(node) = &self.node else {
            return Poll::Ready(());
        };
        if !node.signal().park(cx.waker()) {
            return Poll::Ready(());
        }
        let Some(deadline) = deadline else {
            return Poll::Pending;
        };
        if self
            .sleep
            .as_ref()
            .is_none_or(|(set_for, _)| *set_for != deadline)
        {
            self.sleep = Some((deadline, node.clock().sleep_until(deadline)));
        }
        let slept = self
            .sleep
            .as_mut()
            .map_or(Poll::Ready(()), |(_, sleep)| Pin::new(sleep).poll(cx));
        if slept.is_ready() {
            self.sleep = None;
        }
        slept
    }
}

impl Future for NodeTask {
    type Output = Node;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Node> {
        if self.looks_on() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        for _ in 0..TURNS_PER_POLL_MAX {
            let next = self
                .node
                .as_mut()
                .expect("not polled after completion")
                .turn();
            match next {
                Next::Again => {}
                Next::Sleep(deadline) => {
                    if self.rest(deadline, cx).is_pending() {
                        return Poll::Pending;
                    }
                }
                Next::Stopped => return Poll::Ready(self.node.take().expect("turned just now")),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
