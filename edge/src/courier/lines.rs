//! The uplinks of a courier, and which of them has something to say or may take something.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use parking_lot::Mutex;

use crate::payload::MESSAGE_BYTES_MAX;
use crate::uplink::{Uplink, UplinkEvent};

/// How often an uplink is asked in one turn.
const POLLS_MAX: u32 = 16;

/// And after so many bytes of messages no more: what is heard in one turn is held until its end.
const HEARD_BYTES_MAX: usize = 16 * MESSAGE_BYTES_MAX;

/// Device `d` of `devices` goes by line `d` modulo their number.
pub(super) struct Lines<U> {
    lines: Vec<Line<U>>,
    devices: usize,
    /// How many are up.
    up: usize,
    /// Those that are up and have spools with something to send.
    busy: BTreeSet<usize>,
    woken: Arc<Woken>,
}

/// One uplink.
pub(super) struct Line<U> {
    pub(super) uplink: U,
    /// Spools that may have something to send.
    pub(super) ready: BTreeSet<usize>,
    /// For so many of its devices, from the first on, this connection has been asked for what is sent to them.
    pub(super) subscribed: usize,
    is_up: bool,
    losses: u64,
    /// Where there are many, says which of them has something to say.
    waker: Option<Arc<LineWaker>>,
}

impl<U: Uplink> Lines<U> {
    /// # Panics
    ///
    /// If there is none.
    pub(super) fn new(uplinks: Vec<U>, devices: usize) -> Self {
        assert!(!uplinks.is_empty(), "a courier goes somewhere");
        let woken = Arc::new(Woken::default());
        let is_one = uplinks.len() == 1;
        let lines = uplinks.into_iter().enumerate().map(|(at, uplink)| Line {
            uplink,
            ready: BTreeSet::new(),
            subscribed: 0,
            is_up: false,
            losses: 0,
            waker: (!is_one).then(|| LineWaker::new(at, &woken)),
        });
        Self {
            lines: lines.collect(),
            devices,
            up: 0,
            busy: BTreeSet::new(),
            woken,
        }
    }

    pub(super) fn all(&self) -> impl ExactSizeIterator<Item = &U> {
        self.lines.iter().map(|line| &line.uplink)
    }

    pub(super) fn count(&self) -> usize {
        self.lines.len()
    }

    /// How many are up.
    pub(super) const fn up(&self) -> usize {
        self.up
    }

    /// How often any was lost.
    pub(super) fn losses(&self) -> u64 {
        self.lines.iter().map(|line| line.losses).sum()
    }

    /// How often that of a device was lost.
    pub(super) fn losses_of(&self, device: usize) -> u64 {
        let line = self.lines.get(self.line_of(device));
        line.map_or(0, |line| line.losses)
    }

    /// By which a device goes.
    pub(super) fn line_of(&self, device: usize) -> usize {
        device % self.lines.len()
    }

    /// Which go by a line.
    pub(super) fn devices_of(&self, line: usize) -> impl ExactSizeIterator<Item = usize> + use<U> {
        (line..self.devices).step_by(self.lines.len())
    }

    pub(super) fn get_mut(&mut self, line: usize) -> Option<&mut Line<U>> {
        self.lines.get_mut(line)
    }

    pub(super) fn uplink_mut(&mut self, line: usize) -> Option<&mut U> {
        self.lines.get_mut(line).map(|line| &mut line.uplink)
    }

    pub(super) fn set_up(&mut self, at: usize, is_up: bool) {
        let Some(line) = self.lines.get_mut(at) else {
            return;
        };
        if line.is_up && !is_up {
            self.up -= 1;
            line.losses += 1;
            line.ready.clear();
            self.busy.remove(&at);
        }
        if is_up && !line.is_up {
            self.up += 1;
        }
        line.subscribed = 0;
        line.is_up = is_up;
    }

    /// A spool may have something to send.
    pub(super) fn ready(&mut self, device: usize) {
        let at = self.line_of(device);
        if let Some(line) = self.lines.get_mut(at)
            && line.is_up
        {
            line.ready.insert(device);
            self.busy.insert(at);
        }
    }

    /// Those with something to send. Whoever takes them says which are [busy](Self::stay_busy) still.
    pub(super) fn take_busy(&mut self) -> BTreeSet<usize> {
        std::mem::take(&mut self.busy)
    }

    pub(super) fn stay_busy(&mut self, line: usize) {
        self.busy.insert(line);
    }

    /// Those that may have something to say; from now on they wake `cx`.
    pub(super) fn woken(&self, cx: &Context<'_>) -> Vec<usize> {
        match self.lines.as_slice() {
            [_] => vec![0],
            _ => self.woken.take(cx.waker()),
        }
    }

    /// Asks a line until it has nothing more to say: only then will it wake us. Whether it said anything.
    pub(super) fn poll(
        &mut self,
        at: usize,
        cx: &mut Context<'_>,
        events: &mut Vec<UplinkEvent>,
    ) -> bool {
        let Some(line) = self.lines.get_mut(at) else {
            return false;
        };
        let Some(waker) = &line.waker else {
            return ask(&mut line.uplink, cx, events);
        };
        waker.is_woken.store(false, Ordering::Release);
        let waker = Waker::from(waker.clone());
        ask(&mut line.uplink, &mut Context::from_waker(&waker), events)
    }
}

fn ask<U: Uplink>(uplink: &mut U, cx: &mut Context<'_>, events: &mut Vec<UplinkEvent>) -> bool {
    let (mut polls, mut bytes) = (0, 0);
    loop {
        let before = events.len();
        if uplink.poll_events(cx, events).is_pending() {
            break;
        }
        polls += 1;
        bytes += events
            .iter()
            .skip(before)
            .map(UplinkEvent::bytes)
            .sum::<usize>();
        if polls == POLLS_MAX || bytes >= HEARD_BYTES_MAX {
            cx.waker().wake_by_ref();
            break;
        }
    }
    polls > 0
}

/// Which of many lines have something to say.
#[derive(Default)]
struct Woken {
    state: Mutex<WokenState>,
}

#[derive(Default)]
struct WokenState {
    lines: Vec<usize>,
    waker: Option<Waker>,
}

impl Woken {
    fn take(&self, waker: &Waker) -> Vec<usize> {
        let mut state = self.state.lock();
        match &mut state.waker {
            Some(known) => known.clone_from(waker),
            unknown => *unknown = Some(waker.clone()),
        }
        let mut lines = std::mem::take(&mut state.lines);
        drop(state);
        // In one order, whatever woke them.
        lines.sort_unstable();
        lines
    }
}

/// Wakes whoever drives all lines, and says which it was.
struct LineWaker {
    line: usize,
    is_woken: AtomicBool,
    all: Arc<Woken>,
}

impl LineWaker {
    /// Every line is asked once, so that it has a waker.
    fn new(line: usize, all: &Arc<Woken>) -> Arc<Self> {
        all.state.lock().lines.push(line);
        Arc::new(Self {
            line,
            is_woken: AtomicBool::new(true),
            all: all.clone(),
        })
    }
}

impl Wake for LineWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_woken.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut state = self.all.state.lock();
        state.lines.push(self.line);
        let driver = state.waker.clone();
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}
