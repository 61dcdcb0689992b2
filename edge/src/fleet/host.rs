//! A fleet on a thread of its own.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use parking_lot::Mutex;
use peaberry_core::Clock;

use crate::error::EdgeError;
use crate::name::{DeviceId, Name};
use crate::order::{OrderCommand, OrderEvent};
use crate::twin::TwinValue;
use crate::uplink::Uplink;

use super::{Fleet, FleetCommand, FleetEvent};

/// How many commands may wait for a fleet.
const COMMANDS_MAX: usize = 1 << 16;

/// How long a parked thread trusts a timer that does not count suspended time.
const PARK_STEP_MAX: Duration = Duration::from_secs(1);

/// A turn comes no sooner behind the last: what uplinks say in quick succession, such as that a hundred records are accepted,
/// is heard in one. Whatever comes after more silence is heard at once.
const TURN_INTERVAL_MIN: Duration = Duration::from_millis(1);

/// Speaks to a fleet on its thread, from any other. Cheap to clone.
#[derive(Clone)]
pub struct FleetHandle {
    /// `None` once the fleet has stopped.
    queue: Arc<Mutex<Option<VecDeque<FleetCommand>>>>,
    waker: Waker,
}

impl FleetHandle {
    /// Submits a command. Whether it waits for the fleet: 65,536 may, and none once the fleet has stopped.
    #[must_use]
    pub fn submit(&self, command: FleetCommand) -> bool {
        let is_taken = match &mut *self.queue.lock() {
            Some(queue) if queue.len() < COMMANDS_MAX => {
                queue.push_back(command);
                true
            }
            _ => false,
        };
        if is_taken {
            self.waker.wake_by_ref();
        }
        is_taken
    }

    /// Tells or asks the orders of a device something. Whether it waits for the fleet, as with [`submit`](Self::submit).
    #[must_use]
    pub fn order(&self, device: &DeviceId, command: OrderCommand) -> bool {
        let device = device.clone();
        self.submit(FleetCommand::Order { device, command })
    }

    /// Places an order on the spot: once, however often this is called with the key. Whether it waits for the fleet.
    #[must_use]
    pub fn place(&self, device: &DeviceId, key: Name, recipe: Name) -> bool {
        self.order(device, OrderCommand::Place { key, recipe })
    }

    /// Reports an entry of a device's twin. Whether it waits for the fleet.
    #[must_use]
    pub fn report(&self, device: &DeviceId, key: Name, value: TwinValue) -> bool {
        let device = device.clone();
        self.submit(FleetCommand::Report { device, key, value })
    }
}

impl fmt::Debug for FleetHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetHandle")
            .field("waiting", &self.queue.lock().as_ref().map(VecDeque::len))
            .finish_non_exhaustive()
    }
}

/// A [`Fleet`] on a thread of its own, which is right where commits wait for a disk. Dropping it stops the fleet as a loss of
/// power would: what is durable is sent after the next start.
#[derive(Debug)]
pub struct FleetThread<U, A = Name> {
    handle: FleetHandle,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Ended<U, A>>>,
}

/// The fleet, and why it had to stop.
type Ended<U, A> = (Fleet<U, A>, Result<(), EdgeError>);

struct Unpark {
    thread: Mutex<Option<Thread>>,
    is_woken: AtomicBool,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        // Who was woken and has not looked yet need not be woken again.
        if !self.is_woken.swap(true, Ordering::SeqCst)
            && let Some(thread) = &*self.thread.lock()
        {
            thread.unpark();
        }
    }
}

impl<U: Uplink + 'static, A: Clone + Send + 'static> FleetThread<U, A> {
    /// Runs `fleet` by `clock`. `sink` is called with each event, on the fleet's thread, and with a handle to answer by. What
    /// needs nothing durable, such as a rule's act, it is told before the fleet waits for its disk, and also when that fails.
    ///
    /// # Errors
    ///
    /// The thread could not be started.
    pub fn start(
        fleet: Fleet<U, A>,
        clock: Arc<dyn Clock>,
        sink: impl FnMut(FleetEvent<A>, &FleetHandle) + Send + 'static,
    ) -> std::io::Result<Self> {
        let unpark = Arc::new(Unpark {
            thread: Mutex::default(),
            is_woken: AtomicBool::new(true),
        });
        let handle = FleetHandle {
            queue: Arc::new(Mutex::new(Some(VecDeque::new()))),
            waker: Waker::from(unpark.clone()),
        };
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new()
            .name("fleet".to_owned())
            .spawn({
                let (handle, stop) = (handle.clone(), stop.clone());
                move || {
                    *unpark.thread.lock() = Some(std::thread::current());
                    let mut fleet = fleet;
                    let _closing = Closing(&handle);
                    let outcome = run(&mut fleet, clock.as_ref(), sink, &handle, &unpark, &stop);
                    (fleet, outcome)
                }
            })?;
        Ok(Self {
            handle,
            stop,
            thread: Some(thread),
        })
    }

    /// Speaks to the fleet.
    #[must_use]
    pub const fn handle(&self) -> &FleetHandle {
        &self.handle
    }

    /// Whether the thread has ended: the store has failed, or something on it panicked. [`stop`](Self::stop) says what.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops the fleet behind its present turn and gives it back.
    ///
    /// # Errors
    ///
    /// Why it had stopped by itself: the store failed.
    ///
    /// # Panics
    ///
    /// When the sink panicked: goes on with that panic.
    pub fn stop(mut self) -> Result<Fleet<U, A>, EdgeError> {
        self.request_stop();
        let thread = self.thread.take().expect("joined only here and in drop");
        let (fleet, outcome) = thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        outcome.map(|()| fleet)
    }
}

impl<U, A> FleetThread<U, A> {
    fn request_stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.handle.waker.wake_by_ref();
    }
}

impl<U, A> Drop for FleetThread<U, A> {
    fn drop(&mut self) {
        self.request_stop();
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed by the thread; dropping must not panic again.
            let _ = thread.join();
        }
    }
}

/// Whatever ends the thread, nobody waits for an answer from then on.
struct Closing<'a>(&'a FleetHandle);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        *self.0.queue.lock() = None;
    }
}

fn run<U: Uplink, A: Clone>(
    fleet: &mut Fleet<U, A>,
    clock: &dyn Clock,
    mut sink: impl FnMut(FleetEvent<A>, &FleetHandle),
    handle: &FleetHandle,
    unpark: &Unpark,
    stop: &AtomicBool,
) -> Result<(), EdgeError> {
    // Also what comes with a failure: an act needs no store.
    let mut tell = |events: &mut Vec<FleetEvent<A>>, outcome: Result<(), EdgeError>| {
        events.drain(..).for_each(|event| sink(event, handle));
        outcome
    };
    let mut events = Vec::new();
    let mut next_turn = clock.now();
    while !stop.load(Ordering::SeqCst) {
        let early = next_turn.since(clock.now());
        if !early.is_zero() {
            std::thread::park_timeout(early);
            continue;
        }
        unpark.is_woken.store(false, Ordering::SeqCst);
        let mut cx = Context::from_waker(&handle.waker);
        let now = clock.now();
        next_turn = now + TURN_INTERVAL_MIN;
        let commands = handle.queue.lock().as_mut().map(std::mem::take);
        for command in commands.unwrap_or_default() {
            let outcome = fleet.command(now, command, &mut events);
            tell(&mut events, outcome)?;
        }
        let decided = fleet.decide(&mut cx, now, &mut events);
        tell(&mut events, decided)?;
        let settled = fleet.settle(&mut cx, now, &mut events);
        tell(&mut events, settled)?;
        if unpark.is_woken.load(Ordering::SeqCst) {
            continue;
        }
        let wait = fleet
            .deadline()
            .map_or(PARK_STEP_MAX, |at| at.since(clock.now()));
        if !wait.is_zero() {
            std::thread::park_timeout(wait.min(PARK_STEP_MAX));
        }
    }
    Ok(())
}

/// For those who carry orders out by a [`Brewer`](crate::coffee::Brewer) of their own: what of an event is for it.
impl<A> FleetEvent<A> {
    /// The device and the event, if it asks the works of a device to begin or abort a step.
    #[must_use]
    pub const fn as_step(&self) -> Option<(&DeviceId, &OrderEvent)> {
        match self {
            Self::Order {
                device,
                event: event @ (OrderEvent::Begin { .. } | OrderEvent::Abort { .. }),
            } => Some((device, event)),
            _ => None,
        }
    }
}
