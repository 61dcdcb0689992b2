//! A hybrid logical clock: wall time that never runs backwards and respects causality.
//!
//! After Kulkarni, Demirbas, Madappa, Avva and Leone, *Logical Physical Clocks* (2014), with a bound on how far a
//! peer's stamp may lead our wall clock.

use thiserror::Error;

use crate::ReplicaId;

/// A point of hybrid time: wall milliseconds, then a counter within the millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Milliseconds since the Unix epoch.
    pub wall_ms: u64,
    /// Orders stamps within one millisecond.
    pub logical: u32,
}

impl Stamp {
    fn next(self) -> Self {
        match self.logical.checked_add(1) {
            Some(logical) => Self { logical, ..self },
            None => Self {
                wall_ms: self.wall_ms.saturating_add(1),
                logical: 0,
            },
        }
    }
}

/// A peer's stamp leads our clock by more than the bound. Nothing changed; keep its delta out, or its clock would win
/// every register until ours catches up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "stamp {stamp_ms} ms of replica {replica} is more than {drift_ms_max} ms ahead of {wall_ms} ms"
)]
pub struct FarFutureStamp {
    /// Whose stamp it is.
    pub replica: ReplicaId,
    /// The wall part of the stamp.
    pub stamp_ms: u64,
    /// Our wall clock.
    pub wall_ms: u64,
    /// How far a stamp may lead.
    pub drift_ms_max: u64,
}

/// Hands out [`Stamp`]s that rise, and exceed every stamp observed. The caller supplies the wall time.
///
/// # Example
///
/// ```
/// use peaberry_crdt::{Hlc, ReplicaId, Stamp};
///
/// let peer = ReplicaId::new(2).unwrap();
/// let mut clock = Hlc::new(1_000);
/// let seen = Stamp { wall_ms: 5_500, logical: 3 };
/// clock.observe(peer, seen, 5_000).unwrap();
/// assert!(clock.now(5_000) > seen);
/// let far = Stamp { wall_ms: 60_000, logical: 0 };
/// assert_eq!(clock.observe(peer, far, 5_000).unwrap_err().replica, peer);
/// ```
#[derive(Clone, Debug)]
pub struct Hlc {
    last: Stamp,
    drift_ms_max: u64,
}

impl Hlc {
    /// A clock that accepts stamps up to `drift_ms_max` ahead of its own wall clock.
    #[must_use]
    pub const fn new(drift_ms_max: u64) -> Self {
        Self {
            last: Stamp {
                wall_ms: 0,
                logical: 0,
            },
            drift_ms_max,
        }
    }

    /// A stamp above all before; `wall_ms` may stand still or step back.
    pub fn now(&mut self, wall_ms: u64) -> Stamp {
        self.last = self.last.next().max(Stamp {
            wall_ms,
            logical: 0,
        });
        self.last
    }

    /// Takes note of a stamp that is in the state already, however far it leads: it was let in, and what is written next
    /// must exceed it. For what comes from a peer there is [`observe`](Self::observe).
    ///
    /// ```
    /// use peaberry_crdt::{Hlc, Stamp};
    ///
    /// let mut clock = Hlc::new(1_000);
    /// let held = Stamp { wall_ms: 60_000, logical: 0 };
    /// clock.follow(held);
    /// assert!(clock.now(5_000) > held);
    /// ```
    pub fn follow(&mut self, held: Stamp) {
        self.last = self.last.max(held);
    }

    /// Takes note of a peer's stamp, so that later stamps exceed it.
    ///
    /// # Errors
    ///
    /// [`FarFutureStamp`] if it leads `wall_ms` by more than the bound; nothing changed.
    pub fn observe(
        &mut self,
        replica: ReplicaId,
        stamp: Stamp,
        wall_ms: u64,
    ) -> Result<(), FarFutureStamp> {
        if stamp.wall_ms > wall_ms.saturating_add(self.drift_ms_max) {
            let drift_ms_max = self.drift_ms_max;
            return Err(FarFutureStamp {
                replica,
                stamp_ms: stamp.wall_ms,
                wall_ms,
                drift_ms_max,
            });
        }
        self.last = self.last.max(stamp);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Hlc, Stamp};
    use crate::ReplicaId;

    #[test]
    fn stamps_rise_when_the_wall_clock_steps_back_or_the_counter_wraps() {
        let mut clock = Hlc::new(10);
        let first = clock.now(100);
        assert!(clock.now(50) > first);
        let full = Stamp {
            wall_ms: 105,
            logical: u32::MAX,
        };
        clock
            .observe(ReplicaId::new(1).unwrap(), full, 100)
            .unwrap();
        assert_eq!(
            clock.now(100),
            Stamp {
                wall_ms: 106,
                logical: 0
            }
        );
    }

    #[test]
    fn a_refused_stamp_leaves_the_clock_alone() {
        let mut clock = Hlc::new(10);
        let far = Stamp {
            wall_ms: 111,
            logical: 0,
        };
        assert!(clock.observe(ReplicaId::new(1).unwrap(), far, 100).is_err());
        assert_eq!(
            clock.now(100),
            Stamp {
                wall_ms: 100,
                logical: 0
            }
        );
    }
}
