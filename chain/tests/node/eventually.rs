//! Waiting for what comes, and not for ever.

use std::time::Duration;

/// Whoever waits longer than this for a chain on this machine waits for ever.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until there is something.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let came = tokio::time::timeout(PATIENCE, waiting).await;
    came.unwrap_or_else(|_late| panic!("it never came to that: {what}"))
}
