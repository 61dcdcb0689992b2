//! Settings that somebody far away may change.

use std::time::Duration;

use crate::name::Name;
use crate::payload::Status;
use crate::twin::TwinValue;

use super::Device;
use super::lane::Lane;

/// How the keys of settings begin, in a twin. Others are the application's.
pub const CONFIG_PREFIX: &str = "config.";

/// What became of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Configured {
    /// It holds from now on.
    Applied,
    /// It is no setting but the application's own.
    NotASetting,
    /// It is not understood or outside its range. Nothing changed.
    Refused(&'static str),
}

/// The shortest time from one health report to the next that can be set: each is a record of its own, with a sync of its own.
const HEARTBEAT_MS_MIN: i64 = 100;

/// Nor may readings that are taken more often be told one by one.
const RECORD_MS_MIN: u64 = 100;

const TOO_MANY_RECORDS: &str = "readings that come more often than each 100 ms must wait for one another as long: set the other first";

/// The longest period that can be set: a day.
const PERIOD_MS_MAX: i64 = 86_400_000;

impl<A: Clone> Device<A> {
    /// Changes a setting:
    ///
    /// | key | value | |
    /// |---|---|---|
    /// | `config.heartbeat_ms` | 100 to 86,400,000 | from one health report to the next |
    /// | `config.batch_ms` | 0 to 86,400,000 | how long a reading may wait; 100 at least where a period is shorter than that |
    /// | `config.period_ms.METRIC` | 1 to 86,400,000 | from one reading of a metric to the next; 100 at least where none waits as long |
    /// | `config.status` | `online`, `maintenance` | in maintenance it takes no orders |
    ///
    /// A [`Fleet`](crate::fleet::Fleet) does it when the twin desires it, and reports what holds; what was reported holds again
    /// after a restart.
    pub fn configure(&mut self, key: &Name, value: &TwinValue) -> Configured {
        let Some(setting) = key.as_str().strip_prefix(CONFIG_PREFIX) else {
            return Configured::NotASetting;
        };
        match (setting, value) {
            ("heartbeat_ms", _) => with_period(value, HEARTBEAT_MS_MIN, |ms| {
                let last_ms = self.heartbeat_due_ms.saturating_sub(self.heartbeat_ms);
                self.heartbeat_ms = ms;
                self.heartbeat_due_ms = last_ms.saturating_add(ms);
                Configured::Applied
            }),
            ("batch_ms", _) => with_period(value, 0, |ms| self.apply_batch(ms)),
            ("status", TwinValue::Text(word)) => match word.as_str() {
                "online" => self.apply_status(Status::Online),
                "maintenance" => self.apply_status(Status::Maintenance),
                _ => Configured::Refused("a status is online or maintenance"),
            },
            (setting, _) => match setting.strip_prefix("period_ms.") {
                Some(metric) => with_period(value, 1, |ms| self.apply_period(metric, ms)),
                None => Configured::Refused("there is no such setting"),
            },
        }
    }

    const fn apply_status(&mut self, status: Status) -> Configured {
        self.set_status(status);
        Configured::Applied
    }

    fn apply_batch(&mut self, ms: u64) -> Configured {
        let mut periods = self.lanes.iter().filter_map(Lane::reading_period_ms);
        if ms < RECORD_MS_MIN && periods.any(|period_ms| period_ms < RECORD_MS_MIN) {
            return Configured::Refused(TOO_MANY_RECORDS);
        }
        self.batch_ms = ms;
        Configured::Applied
    }

    fn apply_period(&mut self, metric: &str, ms: u64) -> Configured {
        if ms < RECORD_MS_MIN && self.batch_ms < RECORD_MS_MIN {
            return Configured::Refused(TOO_MANY_RECORDS);
        }
        let mut lanes = self.lanes.iter_mut();
        let lane = lanes.find(|lane| lane.metric().as_str() == metric);
        match lane.map(|lane| lane.set_period(Duration::from_millis(ms))) {
            Some(true) => Configured::Applied,
            Some(false) => Configured::Refused("this metric is handed in, not read"),
            None => Configured::Refused("there is no such metric"),
        }
    }

    /// After a restart: what held is what was reported.
    pub(super) fn configure_again(&mut self) {
        let Some(twin) = &self.twin else {
            return;
        };
        let reported = twin.all_reported();
        let held: Vec<_> = reported.map(|(k, v)| (k.clone(), v.clone())).collect();
        // Twice: one may be allowed only by another that comes behind it.
        for (key, value) in held.iter().chain(&held) {
            // A metric may be gone since.
            self.configure(key, value);
        }
    }
}

fn with_period(value: &TwinValue, min: i64, apply: impl FnOnce(u64) -> Configured) -> Configured {
    let TwinValue::Integer(ms) = value else {
        return Configured::Refused("it must be a whole number of milliseconds");
    };
    if *ms < min {
        return Configured::Refused("it is too short a time");
    }
    if *ms > PERIOD_MS_MAX {
        return Configured::Refused("it must be at most a day");
    }
    apply(ms.cast_unsigned())
}
