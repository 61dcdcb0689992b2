//! Waiting for an answer, but not for ever.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use peaberry_core::Clock;

/// What `future` answers, or `None` if it has not `within` that time on `clock`. It is then dropped.
pub(crate) async fn within<F: Future>(
    clock: &dyn Clock,
    within: Duration,
    future: F,
) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut expired = None;
    poll_fn(|cx| {
        if let Poll::Ready(answer) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(answer));
        }
        // Most answers come at once; only the others cost a timer.
        let expired = expired.get_or_insert_with(|| clock.sleep_until(clock.now() + within));
        match std::pin::Pin::new(expired).poll(cx) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
