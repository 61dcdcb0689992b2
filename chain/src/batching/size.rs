//! How large batches may be.

use parking_lot::Mutex;

/// So much must have gone well in a row before larger batches are tried again.
const CALM_MIN: u32 = 128;
/// The most that it grows to, where each larger batch goes wrong.
const CALM_MAX: u32 = 1 << 16;

/// As large as is wanted, and half as large as one that has gone wrong, until much has gone well; the more, the oftener
/// batches go wrong. What a node refuses in passing it takes later, and what it never takes is tried ever more rarely.
pub(super) struct Size {
    requests_max: usize,
    state: Mutex<State>,
}

struct State {
    now: usize,
    /// What has gone well since the last change.
    calm: u32,
    calm_wanted: u32,
}

/// A batch under way. Dropped before it [went well](Trial::went_well), it has gone wrong.
pub(super) struct Trial<'a> {
    size: &'a Size,
    count: usize,
    is_well: bool,
}

impl Size {
    pub(super) fn new(requests_max: usize) -> Self {
        let state = State {
            now: requests_max,
            calm: 0,
            calm_wanted: CALM_MIN,
        };
        Self {
            requests_max,
            state: Mutex::new(state),
        }
    }

    /// The most requests that go as one now; with one, none do.
    pub(super) fn now(&self) -> usize {
        self.state.lock().now
    }

    /// A batch of `count` requests leaves.
    pub(super) fn trial(&self, count: usize) -> Trial<'_> {
        Trial {
            size: self,
            count,
            is_well: false,
        }
    }

    /// Something was answered: a batch whole, or what went by itself because all does for now.
    pub(super) fn went_well(&self) {
        let mut state = self.state.lock();
        state.calm += 1;
        if state.calm < state.calm_wanted {
            return;
        }
        state.calm = 0;
        if state.now == self.requests_max {
            state.calm_wanted = CALM_MIN;
        }
        state.now = state.now.saturating_mul(2).min(self.requests_max);
    }

    fn went_wrong(&self, count: usize) {
        let mut state = self.state.lock();
        state.now = state.now.min(count / 2).max(1);
        state.calm = 0;
        state.calm_wanted = state.calm_wanted.saturating_mul(2).min(CALM_MAX);
    }
}

#[cfg(test)]
impl Size {
    /// As if much had gone well.
    pub(super) fn recover(&self) {
        self.state.lock().now = self.requests_max;
    }
}

impl Trial<'_> {
    pub(super) fn went_well(mut self) {
        self.is_well = true;
        self.size.went_well();
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if !self.is_well {
            self.size.went_wrong(self.count);
        }
    }
}
