//! Clients that each wait for one answer before they ask again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

/// Lets `count` clients repeat `ask`, each as soon as its last answer is there, for `time`; then waits for the last
/// answers. Answers per second of wall time. To be called on the clients' runtime.
///
/// # Panics
///
/// When a client panics.
#[expect(
    clippy::disallowed_methods,
    reason = "a bench measures the machine's own time"
)]
pub async fn closed_loop<A, F>(count: usize, time: Duration, ask: A) -> f64
where
    A: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let stop = Arc::new(AtomicBool::new(false));
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..count {
        let (ask, stop) = (ask.clone(), stop.clone());
        clients.spawn(async move {
            let mut answers = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                ask().await;
                answers += 1;
            }
            answers
        });
    }
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    let answers: u64 = clients.join_all().await.into_iter().sum();
    answers as f64 / start.elapsed().as_secs_f64()
}

/// Lets one client repeat `ask` for `time`; answers how long each took. To be called on the clients' runtime.
///
/// # Panics
///
/// When the client panics.
#[expect(
    clippy::disallowed_methods,
    reason = "a bench measures the machine's own time"
)]
pub async fn latencies<A, F>(time: Duration, ask: A) -> Vec<Duration>
where
    A: Fn() -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    // On a worker, as in a closed loop: the thread that blocks on the runtime is woken at another price.
    let client = tokio::spawn(async move {
        let mut waits = Vec::new();
        let start = Instant::now();
        while start.elapsed() < time {
            let asked = Instant::now();
            ask().await;
            waits.push(asked.elapsed());
        }
        waits
    });
    client.await.expect("the client goes on until it is done")
}
