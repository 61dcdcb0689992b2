//! What members' calendars have shown, and which stamps that justifies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use peaberry_core::{Clock, Instant, Sleep, Timestamp};
use peaberry_crdt::{FarFutureStamp, Tolerance};

/// The latest that a machine's calendar has shown to anybody, in milliseconds, in all its lives.
#[derive(Clone, Default)]
pub(super) struct Latest(Arc<AtomicU64>);

impl Latest {
    /// Up to where no stamp was far ahead yet.
    pub(super) fn tolerated_ms(&self) -> u64 {
        let shown = self.0.load(Ordering::Relaxed);
        shown.saturating_add(Tolerance::USUAL.drift_ms_max)
    }
}

/// A machine's clock that keeps what it has shown.
pub(super) struct Watched {
    inner: Arc<dyn Clock>,
    latest: Latest,
}

impl Watched {
    pub(super) const fn new(inner: Arc<dyn Clock>, latest: Latest) -> Self {
        Self { inner, latest }
    }
}

impl Clock for Watched {
    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn timestamp(&self) -> Timestamp {
        let shown = self.inner.timestamp();
        self.latest.0.fetch_max(ms_of(shown), Ordering::Relaxed);
        shown
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        self.inner.sleep_until(deadline)
    }
}

const fn ms_of(shown: Timestamp) -> u64 {
    shown.as_unix_nanos() / 1_000_000
}

/// What is wrong with a refusal of a stamp by one whose `calendar` this is, who tolerates what is usual: it must really be
/// that far ahead of what that shows.
pub(super) fn unjustified(far: &FarFutureStamp, calendar: &dyn Clock) -> Option<String> {
    let (shown_ms, drift_ms_max) = (ms_of(calendar.timestamp()), Tolerance::USUAL.drift_ms_max);
    let is_far = far.stamp_ms > shown_ms.saturating_add(drift_ms_max);
    let is_told_truly = (far.wall_ms, far.drift_ms_max) == (shown_ms, drift_ms_max);
    (!is_far || !is_told_truly)
        .then(|| format!("a stamp is refused that is not far ahead of {shown_ms} ms: {far:?}"))
}
