use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

/// The environment variable that replays one seed.
pub const SEED_VARIABLE: &str = "PEABERRY_SEED";

/// Runs `check` with every seed, on all processors, or with the one in `PEABERRY_SEED` if that is set.
///
/// # Panics
///
/// When `check` panics or answers `Err`: with the smallest seed known to fail, its complaint, and how to replay it.
///
/// # Example
///
/// ```
/// peaberry_core::simulation::check_seeds(0..100, |seed| {
///     let doubled = seed * 2;
///     if doubled % 2 == 0 { Ok(()) } else { Err(format!("{doubled} is odd")) }
/// });
/// ```
pub fn check_seeds(seeds: Range<u64>, check: impl Fn(u64) -> Result<(), String> + Sync) {
    let seeds = replayed_seed().map_or(seeds, |seed| seed..seed + 1);
    if let Some((seed, complaint)) = first_failure(seeds, &check) {
        panic!("seed {seed} failed: {complaint}\nreplay it with {SEED_VARIABLE}={seed}");
    }
}

/// The smallest of `seeds` that `check` complains about, with its complaint; runs on all processors and stops handing
/// out seeds above a failed one.
pub fn first_failure(
    seeds: Range<u64>,
    check: &(impl Fn(u64) -> Result<(), String> + Sync),
) -> Option<(u64, String)> {
    let next = AtomicU64::new(seeds.start);
    let bad = AtomicU64::new(seeds.end);
    let work = || {
        let mut found = None;
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= bad.load(Ordering::SeqCst) {
                return found;
            }
            if let Err(complaint) = run_one(seed, check) {
                bad.fetch_min(seed, Ordering::SeqCst);
                found = Some((seed, complaint));
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
        let mine = work();
        let others = threads.into_iter().filter_map(|thread| {
            let found = thread.join();
            found.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        others.chain(mine).min_by_key(|(seed, _)| *seed)
    })
}

/// Runs one seed; a panic is a complaint too.
fn run_one(seed: u64, check: &impl Fn(u64) -> Result<(), String>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| check(seed)))
        .unwrap_or_else(|panic| Err(message_of(panic.as_ref())))
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
    words.unwrap_or("panicked without words").to_owned()
}

/// The seed to replay, if the environment names one.
///
/// # Panics
///
/// When `PEABERRY_SEED` is set and is not a number.
#[must_use]
pub fn replayed_seed() -> Option<u64> {
    let value = std::env::var(SEED_VARIABLE).ok()?;
    let seed = value.trim().parse();
    Some(seed.unwrap_or_else(|_| panic!("{SEED_VARIABLE}={value} is not a number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_failing_seed_is_reported_with_its_complaint() {
        let check = |seed| {
            assert!(seed != 40, "forty");
            if seed == 17 || seed == 60 {
                return Err(format!("bad {seed}"));
            }
            Ok(())
        };
        let (seed, complaint) = first_failure(0..100, &check).unwrap();
        assert_eq!((seed, complaint.as_str()), (17, "bad 17"));
        assert_eq!(first_failure(18..100, &check).unwrap().1, "forty");
        assert_eq!(first_failure(61..100, &check), None);
    }
}
