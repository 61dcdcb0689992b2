//! Bugs planted on purpose, to see that the checks find them.
//!
//! Compiled in only with `--cfg peaberry_mutant`, which no release and no feature sets; one such build holds every bug,
//! and the environment variable `PEABERRY_MUTANT` names the one that is alive.

/// Whether the bug `name` is alive. Without `--cfg peaberry_mutant` never, at no cost.
#[cfg(not(peaberry_mutant))]
#[must_use]
pub const fn is_planted(_name: &str) -> bool {
    false
}

/// Whether the bug `name` is alive.
#[cfg(peaberry_mutant)]
#[must_use]
pub fn is_planted(name: &str) -> bool {
    use std::sync::OnceLock;
    static PLANTED: OnceLock<Option<String>> = OnceLock::new();
    PLANTED
        .get_or_init(|| std::env::var("PEABERRY_MUTANT").ok())
        .as_deref()
        == Some(name)
}
