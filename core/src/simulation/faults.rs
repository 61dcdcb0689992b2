use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What can go wrong in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// A machine loses its power.
    Crash,
    /// All machines lose their power at once.
    CrashAll,
    /// A machine loses its power instead of a commit, behind the messages that needed none.
    CrashBeforeCommit,
    /// A machine loses its power between a commit and what waited for it.
    CrashAfterCommit,
    /// A machine loses its power right after it has sent something.
    CrashAfterSend,
    /// A machine loses its power right after it has sent something that the harness
    /// [chose](super::World::choose_sends), such as a vote.
    CrashAfterChosenSend,
    /// A machine's process is ended and started again; its files stay as they are.
    Restart,
    /// A crash took writes that were not synced.
    LostWrites,
    /// A crash left a part of a write that was not synced. Only on simulated files.
    TornWrites,
    /// A crash left garbage where a write was not synced. Only on simulated files.
    GarbledWrites,
    /// A machine lost its power in the middle of a write, a sync or a renaming. Only on simulated files.
    CrashWithinWrite,
    /// A sync failed.
    FailedSync,
    /// The disk was full.
    DiskFull,
    /// A machine took no turns for a while.
    Pause,
    /// A machine's clock began to drift, or drifts otherwise.
    ClockRate,
    /// A machine's calendar jumped.
    CalendarJump,
    /// The machines fell into two parts that do not reach each other.
    Partition,
    /// One machine no longer reached another, though the other reached it.
    OneWay,
    /// One machine was alone.
    Isolate,
    /// The machine that the harness [calls important](super::World::set_important), such as a leader, was alone.
    IsolateImportant,
    /// Many messages were lost.
    LossBurst,
    /// Many messages arrived twice.
    DuplicateBurst,
    /// Many messages were late.
    DelayBurst,
}

impl FaultKind {
    /// All kinds.
    pub const ALL: [Self; 23] = [
        Self::Crash,
        Self::CrashAll,
        Self::CrashBeforeCommit,
        Self::CrashAfterCommit,
        Self::CrashAfterSend,
        Self::CrashAfterChosenSend,
        Self::Restart,
        Self::LostWrites,
        Self::TornWrites,
        Self::GarbledWrites,
        Self::CrashWithinWrite,
        Self::FailedSync,
        Self::DiskFull,
        Self::Pause,
        Self::ClockRate,
        Self::CalendarJump,
        Self::Partition,
        Self::OneWay,
        Self::Isolate,
        Self::IsolateImportant,
        Self::LossBurst,
        Self::DuplicateBurst,
        Self::DelayBurst,
    ];

    /// The name under which reports count it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::CrashAll => "crash_all",
            Self::CrashBeforeCommit => "crash_before_commit",
            Self::CrashAfterCommit => "crash_after_commit",
            Self::CrashAfterSend => "crash_after_send",
            Self::CrashAfterChosenSend => "crash_after_chosen_send",
            Self::Restart => "restart",
            Self::LostWrites => "lost_writes",
            Self::TornWrites => "torn_writes",
            Self::GarbledWrites => "garbled_writes",
            Self::CrashWithinWrite => "crash_within_write",
            Self::FailedSync => "failed_sync",
            Self::DiskFull => "disk_full",
            Self::Pause => "pause",
            Self::ClockRate => "clock_rate",
            Self::CalendarJump => "calendar_jump",
            Self::Partition => "partition",
            Self::OneWay => "one_way",
            Self::Isolate => "isolate",
            Self::IsolateImportant => "isolate_important",
            Self::LossBurst => "loss_burst",
            Self::DuplicateBurst => "duplicate_burst",
            Self::DelayBurst => "delay_burst",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How often each kind of fault has happened. A kind that was armed and never came to pass is not counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    counts: BTreeMap<FaultKind, u64>,
}

impl FaultCounts {
    pub(super) fn add(&mut self, kind: FaultKind) {
        self.add_many(kind, 1);
    }

    /// Counts what a harness brought about by itself.
    pub fn add_many(&mut self, kind: FaultKind, times: u64) {
        *self.counts.entry(kind).or_default() += times;
    }

    /// How often `kind` has happened.
    #[must_use]
    pub fn get(&self, kind: FaultKind) -> u64 {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    /// Adds what happened in another world.
    pub fn merge(&mut self, other: &Self) {
        for (&kind, &times) in &other.counts {
            self.add_many(kind, times);
        }
    }

    /// Every kind that `profile` can bring about, with how often it has happened, by name.
    #[must_use]
    pub fn by_name(&self, profile: &FaultProfile) -> BTreeMap<&'static str, u64> {
        profile
            .kinds()
            .map(|kind| (kind.name(), self.get(kind)))
            .collect()
    }

    /// The kinds that `profile` can bring about and that never happened. After a hundred seeds there should be none.
    #[must_use]
    pub fn missing(&self, profile: &FaultProfile) -> Vec<FaultKind> {
        profile
            .kinds()
            .filter(|&kind| self.get(kind) == 0)
            .collect()
    }
}

/// Which faults a world brings about, how often, and how bad.
///
/// ```
/// use peaberry_core::simulation::{FaultKind, FaultProfile};
///
/// let without_pauses = FaultProfile::hard().weight(FaultKind::Pause, 0);
/// assert!(without_pauses.kinds().all(|kind| kind != FaultKind::Pause));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultProfile {
    weights: BTreeMap<FaultKind, u32>,
    pub(super) interval_min: Duration,
    pub(super) interval_max: Duration,
    pub(super) lasting_max: Duration,
    pub(super) drift_per_million: u32,
    pub(super) chosen_per_mille: u32,
    has_files: bool,
}

impl FaultProfile {
    /// No faults.
    #[must_use]
    pub const fn calm() -> Self {
        Self {
            weights: BTreeMap::new(),
            interval_min: Duration::from_millis(100),
            interval_max: Duration::from_millis(1_500),
            lasting_max: Duration::from_secs(3),
            drift_per_million: 0,
            chosen_per_mille: 0,
            has_files: false,
        }
    }

    /// Everything but [chosen sends](FaultKind::CrashAfterChosenSend) and
    /// [important machines](FaultKind::IsolateImportant), which the harness must name first; see
    /// [`World::choose_sends`](super::World::choose_sends) and [`World::set_important`](super::World::set_important).
    ///
    /// Such a schedule alone is known to miss bugs: forgotten votes need a crash right after a vote, stale leaders need
    /// to be isolated while a reader stays with them.
    #[must_use]
    pub fn generic() -> Self {
        let weights = [
            (FaultKind::Crash, 6),
            (FaultKind::CrashAll, 1),
            (FaultKind::CrashBeforeCommit, 3),
            (FaultKind::CrashAfterCommit, 4),
            (FaultKind::CrashAfterSend, 4),
            (FaultKind::Restart, 2),
            (FaultKind::FailedSync, 1),
            (FaultKind::DiskFull, 1),
            (FaultKind::Pause, 3),
            (FaultKind::ClockRate, 2),
            (FaultKind::CalendarJump, 1),
            (FaultKind::Partition, 4),
            (FaultKind::OneWay, 3),
            (FaultKind::Isolate, 3),
            (FaultKind::LossBurst, 2),
            (FaultKind::DuplicateBurst, 2),
            (FaultKind::DelayBurst, 2),
        ];
        Self {
            weights: weights.into_iter().collect(),
            drift_per_million: 200_000,
            ..Self::calm()
        }
    }

    /// Everything: [`generic`](Self::generic), and the important machine isolated, and every third of the chosen
    /// messages followed by a crash.
    #[must_use]
    pub fn hard() -> Self {
        Self {
            chosen_per_mille: 300,
            ..Self::generic().weight(FaultKind::IsolateImportant, 4)
        }
    }

    /// For machines whose stores are on simulated files: their writes are lost, torn and garbled in crashes, and power
    /// fails within them.
    #[must_use]
    pub fn on_files(self) -> Self {
        Self {
            has_files: true,
            ..self.weight(FaultKind::CrashWithinWrite, 4)
        }
    }

    /// How often a kind comes, in proportion to the others' weights; 0: never.
    ///
    /// # Panics
    ///
    /// For the kinds that come by themselves: lost, torn and garbled writes with crashes, and
    /// [`CrashAfterChosenSend`](FaultKind::CrashAfterChosenSend), whose frequency is
    /// [`chosen_per_mille`](Self::chosen_per_mille).
    #[must_use]
    pub fn weight(mut self, kind: FaultKind, weight: u32) -> Self {
        assert!(
            !matches!(
                kind,
                FaultKind::LostWrites
                    | FaultKind::TornWrites
                    | FaultKind::GarbledWrites
                    | FaultKind::CrashAfterChosenSend
            ),
            "{kind} is not drawn by weight"
        );
        self.weights.insert(kind, weight);
        self
    }

    /// The time from one fault to the next.
    #[must_use]
    pub const fn interval(mut self, min: Duration, max: Duration) -> Self {
        self.interval_min = min;
        self.interval_max = max;
        self
    }

    /// How long a fault lasts at most.
    #[must_use]
    pub const fn lasting(mut self, max: Duration) -> Self {
        self.lasting_max = max;
        self
    }

    /// How far a clock's rate strays from the truth at most, up or down.
    #[must_use]
    pub const fn drift(mut self, per_million: u32) -> Self {
        self.drift_per_million = per_million;
        self
    }

    /// How many of a thousand [chosen messages](super::World::choose_sends) are their sender's last.
    #[must_use]
    pub const fn chosen_per_mille(mut self, per_mille: u32) -> Self {
        self.chosen_per_mille = per_mille;
        self
    }

    /// The kinds that this profile can bring about. [`LostWrites`](FaultKind::LostWrites) is among them only
    /// [on files](Self::on_files), because elsewhere a target may sync all it writes.
    pub fn kinds(&self) -> impl Iterator<Item = FaultKind> {
        FaultKind::ALL.into_iter().filter(|kind| {
            self.weights.get(kind).is_some_and(|&weight| weight > 0)
                || (*kind == FaultKind::CrashAfterChosenSend && self.chosen_per_mille > 0)
                || (self.has_files
                    && matches!(
                        kind,
                        FaultKind::LostWrites | FaultKind::TornWrites | FaultKind::GarbledWrites
                    ))
        })
    }

    fn draw(&self, rng: &mut fastrand::Rng) -> Option<FaultKind> {
        let total: u32 = self.weights.values().sum();
        if total == 0 {
            return None;
        }
        let mut left = rng.u32(..total);
        self.weights.iter().find_map(|(&kind, &weight)| {
            if left < weight {
                return Some(kind);
            }
            left -= weight;
            None
        })
    }
}

/// Draws faults, one after the other.
#[derive(Debug)]
pub(super) struct Nemesis {
    pub(super) profile: FaultProfile,
    pub(super) rng: fastrand::Rng,
}

impl Nemesis {
    pub(super) fn draw(&mut self) -> Option<FaultKind> {
        self.profile.draw(&mut self.rng)
    }

    /// The nanoseconds to the next fault.
    pub(super) fn interval(&mut self) -> u64 {
        let min = super::network::nanos(self.profile.interval_min);
        let max = super::network::nanos(self.profile.interval_max);
        self.rng.u64(min..=max.max(min))
    }

    /// How many nanoseconds a fault lasts: half of them a twentieth of the most or less, so that what was quick to go
    /// is also quick to come back.
    pub(super) fn lasting(&mut self) -> u64 {
        let max = super::network::nanos(self.profile.lasting_max).max(20);
        let max = if self.rng.bool() { max / 20 } else { max };
        self.rng.u64(max / 100..=max)
    }
}
