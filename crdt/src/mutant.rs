//! Bugs planted on purpose, as in `peaberry_core::mutant`: this crate's types do not depend on that one.

/// Whether the bug `name` is alive. Without `--cfg peaberry_mutant` never, at no cost.
#[cfg(not(peaberry_mutant))]
pub(crate) const fn is_planted(_name: &str) -> bool {
    false
}

/// Whether a planted bug wants deltas that claim too much to pass.
pub(crate) fn lets_overclaims_pass() -> bool {
    is_planted("over_claiming_delta") || is_planted("gc_before_stability")
}

/// Whether a removal from a store `S` leaves no event behind: from any, or from a list alone.
pub(crate) fn loses_removals_from<S>() -> bool {
    is_planted("removal_without_dot")
        || (is_planted("list_removal_without_dot")
            && core::any::type_name::<S>().contains("::list::"))
}

/// Puts `items` into another order in every process and call, if that bug is planted: as a hash map would.
#[cfg(not(peaberry_mutant))]
pub(crate) const fn scramble<T>(_items: &mut [T], _seed: u64) {}

/// A number that differs from call to call.
#[cfg(not(peaberry_mutant))]
pub(crate) const fn entropy() -> u64 {
    0
}

#[cfg(peaberry_mutant)]
pub(crate) fn scramble<T>(items: &mut [T], seed: u64) {
    if is_planted("map_order_in_bytes") && !items.is_empty() {
        let length = items.len();
        items.rotate_left(usize::try_from(seed).unwrap_or(1) % length);
    }
}

#[cfg(peaberry_mutant)]
pub(crate) fn entropy() -> u64 {
    use core::hash::BuildHasher as _;
    std::hash::RandomState::new().hash_one(0)
}

/// Whether the bug `name` is alive.
#[cfg(peaberry_mutant)]
pub(crate) fn is_planted(name: &str) -> bool {
    use std::sync::OnceLock;
    static PLANTED: OnceLock<Option<std::string::String>> = OnceLock::new();
    PLANTED
        .get_or_init(|| std::env::var("PEABERRY_MUTANT").ok())
        .as_deref()
        == Some(name)
}
