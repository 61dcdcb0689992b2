//! How long something takes when nothing disturbs it.

use std::hint::black_box;
use std::time::Instant;

/// Microseconds of one `run` of what `prepare` makes: of the fastest third of as many as fit in a short while, three at
/// least. Neither `prepare` nor dropping is timed.
#[expect(
    clippy::disallowed_methods,
    reason = "a bench measures the machine's own time"
)]
pub fn fastest<T>(mut prepare: impl FnMut() -> T, mut run: impl FnMut(&mut T)) -> f64 {
    let mut times = Vec::new();
    let started = Instant::now();
    while times.len() < 3 || (times.len() < 200 && started.elapsed().as_millis() < 60) {
        let mut subject = prepare();
        let watch = Instant::now();
        run(black_box(&mut subject));
        times.push(watch.elapsed().as_nanos());
        drop(subject);
    }
    times.sort_unstable();
    let fastest = times.get(..times.len().div_ceil(3)).unwrap_or_default();
    fastest.iter().sum::<u128>() as f64 / fastest.len() as f64 / 1000.0
}
