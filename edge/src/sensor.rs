//! What measures, and what becomes of a measurement that fails.
//!
//! # Errors and values that are no number
//!
//! A [`Probe`] stands between a sensor and everything that reads it. A reading counts as a fault when the sensor gives an
//! error, when its value is NaN, infinite or beyond [`VALUE_MAX`](crate::ops::VALUE_MAX), or when it lies outside the range
//! that the sensor can mean. A fault yields no sample: no operator, rule, filter or batch ever sees it, and nothing is put in
//! its place, since a made-up value is worse than a silent one. It is [counted](Probe::faults), and told in
//! [`Health::sensor_errors`](crate::payload::Health::sensor_errors). So many faults in a row raise an alert, once; the first
//! good reading clears it. Nothing else of the device stops.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::error::EdgeError;
use crate::name::Name;
use crate::ops::Sample;
use crate::payload::{Alert, Level, Text};

/// Measures one metric.
///
/// An implementer promises that [`read`](Self::read) does not wait: a device that takes long is read by a thread of its own,
/// and this hands over what that thread saw last, or [`SensorError::NotReady`]. It may fail, and fail again; it must not
/// panic.
pub trait Sensor: Send {
    /// What it measures; the same for its whole life, and no other sensor of the device has it.
    fn metric(&self) -> &Name;

    /// The value now, `at_ms` after the device's start, which never goes back.
    ///
    /// # Errors
    ///
    /// [`SensorError`], by what a person would do about it. The next call may succeed.
    fn read(&mut self, at_ms: u64) -> Result<f64, SensorError>;
}

/// Why there is no reading.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SensorError {
    /// It has nothing new to say; asked again, it will. Not a fault.
    #[error("no reading is ready yet")]
    NotReady,
    /// It does not answer: look at the cable.
    #[error("the sensor does not answer")]
    Disconnected,
    /// It answers that it is broken, or in a way that makes no sense.
    #[error("the sensor is at fault: {0}")]
    Faulty(Text),
}

/// How a sensor is read.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ProbeSettings {
    /// From one reading to the next; above 0. 1 s by default.
    pub period: Duration,
    /// What the sensor can mean: a reading outside is a fault. Everything by default.
    pub range: RangeInclusive<f64>,
    /// How many faults in a row raise the alert, at least 1. 3 by default: one lost reading is no news.
    pub faults_max: u32,
}

impl Default for ProbeSettings {
    fn default() -> Self {
        Self {
            period: Duration::from_secs(1),
            range: f64::NEG_INFINITY..=f64::INFINITY,
            faults_max: 3,
        }
    }
}

/// The name under which the alert about a failing sensor is told.
pub const SENSOR_FAILED: &str = "sensor.failed";

/// A sensor with the policy about its faults: see the [module](self).
///
/// ```
/// use peaberry_edge::Name;
/// use peaberry_edge::sensor::{Probe, ProbeSettings, Sensor, SensorError};
///
/// struct Thermometer(Name, Vec<Result<f64, SensorError>>);
/// impl Sensor for Thermometer {
///     fn metric(&self) -> &Name { &self.0 }
///     fn read(&mut self, _: u64) -> Result<f64, SensorError> { self.1.remove(0) }
/// }
///
/// let mut settings = ProbeSettings::default();
/// settings.range = 0.0..=150.0;
/// settings.faults_max = 2;
/// let values = vec![Ok(93.0), Ok(f64::NAN), Err(SensorError::Disconnected), Ok(4000.0), Ok(92.9)];
/// let mut probe = Probe::new(Thermometer(Name::new("boiler").unwrap(), values), settings).unwrap();
///
/// let mut story = Vec::new();
/// for second in 0..5 {
///     let polled = probe.poll(second * 1000);
///     story.push((polled.sample.map(|s| s.value), polled.alert.map(|alert| alert.is_raised)));
/// }
/// assert_eq!(story, [(Some(93.0), None), (None, None), (None, Some(true)), (None, None), (Some(92.9), Some(false))]);
/// assert_eq!(probe.faults(), 3);
/// ```
pub struct Probe {
    sensor: Box<dyn Sensor>,
    settings: ProbeSettings,
    faults: u64,
    in_a_row: u32,
    last_error: Option<SensorError>,
}

/// What came of a reading.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Polled {
    /// The reading, if it was good.
    pub sample: Option<Sample>,
    /// Set when the sensor has failed so often in a row, and when it works again. Its value is how many faults there were.
    pub alert: Option<Alert>,
}

impl Probe {
    /// Reads `sensor`.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Setting`] for a period of zero, an empty range, or no faults.
    pub fn new(sensor: impl Sensor + 'static, settings: ProbeSettings) -> Result<Self, EdgeError> {
        Self::of_boxed(Box::new(sensor), settings)
    }

    pub(crate) fn of_boxed(
        sensor: Box<dyn Sensor>,
        settings: ProbeSettings,
    ) -> Result<Self, EdgeError> {
        let refuse = |setting, value, reason| {
            Err(EdgeError::Setting {
                setting,
                value,
                reason,
            })
        };
        if settings.period.is_zero() {
            return refuse("period", 0.0, "it must be above 0");
        }
        if settings.range.is_empty() {
            return refuse("range", *settings.range.start(), "it holds no value");
        }
        if settings.faults_max == 0 {
            return refuse("faults", 0.0, "it must be 1 at least");
        }
        Ok(Self {
            sensor,
            settings,
            faults: 0,
            in_a_row: 0,
            last_error: None,
        })
    }

    /// What it measures.
    #[must_use]
    pub fn metric(&self) -> &Name {
        self.sensor.metric()
    }

    /// From one reading to the next.
    #[must_use]
    pub const fn period(&self) -> Duration {
        self.settings.period
    }

    /// Reads in another period from now on; zero changes nothing.
    pub const fn set_period(&mut self, period: Duration) {
        if !period.is_zero() {
            self.settings.period = period;
        }
    }

    /// Reads the sensor, `at_ms` after the device's start.
    pub fn poll(&mut self, at_ms: u64) -> Polled {
        match self.sensor.read(at_ms) {
            Ok(value) if self.is_good(value) => Polled {
                sample: Some(Sample::new(at_ms, value)),
                alert: self.recover(),
            },
            Ok(value) => self.fault(SensorError::Faulty(Text::new(&format!(
                "{value} is no reading"
            )))),
            Err(SensorError::NotReady) => Polled::default(),
            Err(error) => self.fault(error),
        }
    }

    /// How many faults there were since it was made.
    #[must_use]
    pub const fn faults(&self) -> u64 {
        self.faults
    }

    /// Whether the alert is raised.
    #[must_use]
    pub const fn is_failed(&self) -> bool {
        self.in_a_row >= self.settings.faults_max
    }

    /// What the last fault was.
    #[must_use]
    pub const fn last_error(&self) -> Option<&SensorError> {
        self.last_error.as_ref()
    }

    fn is_good(&self, value: f64) -> bool {
        Sample::new(0, value).is_number() && self.settings.range.contains(&value)
    }

    fn fault(&mut self, error: SensorError) -> Polled {
        self.faults += 1;
        self.last_error = Some(error);
        let was_failed = self.is_failed();
        self.in_a_row = self.in_a_row.saturating_add(1);
        Polled {
            sample: None,
            alert: (!was_failed && self.is_failed()).then(|| self.alert(true)),
        }
    }

    fn recover(&mut self) -> Option<Alert> {
        let cleared = self.is_failed().then(|| self.alert(false));
        self.in_a_row = 0;
        cleared
    }

    fn alert(&self, is_raised: bool) -> Alert {
        Alert {
            rule: Name::new(SENSOR_FAILED).expect("the constant is a name"),
            metric: self.metric().clone(),
            level: Level::Warning,
            is_raised,
            value: f64::from(self.in_a_row),
        }
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe")
            .field("metric", self.metric())
            .field("settings", &self.settings)
            .field("faults", &self.faults)
            .field("in_a_row", &self.in_a_row)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Scripted(Name, Vec<Result<f64, SensorError>>);

    impl Sensor for Scripted {
        fn metric(&self) -> &Name {
            &self.0
        }

        fn read(&mut self, _: u64) -> Result<f64, SensorError> {
            self.1.pop().unwrap_or(Err(SensorError::NotReady))
        }
    }

    fn reading() -> impl Strategy<Value = Result<f64, SensorError>> {
        prop_oneof![
            4 => (-2.0..2.0_f64).prop_map(Ok),
            2 => any::<u64>().prop_map(|bits| Ok(f64::from_bits(bits))),
            1 => Just(Err(SensorError::Disconnected)),
            1 => Just(Err(SensorError::Faulty(Text::new("short circuit")))),
            1 => Just(Err(SensorError::NotReady)),
        ]
    }

    proptest! {
        #[test]
        fn only_readings_in_range_pass_and_alerts_come_in_pairs(
            readings in proptest::collection::vec(reading(), 0..80),
            faults_max in 1..4_u32,
        ) {
            let settings = ProbeSettings { range: -1.0..=1.0, faults_max, ..ProbeSettings::default() };
            let count = readings.len();
            let bad = |r: &&Result<f64, SensorError>| match r {
                Ok(value) => !(-1.0..=1.0).contains(value),
                Err(error) => *error != SensorError::NotReady,
            };
            let faults = readings.iter().filter(bad).count() as u64;
            let sensor = Scripted(Name::new("m").unwrap(), readings);
            let mut probe = Probe::new(sensor, settings).unwrap();
            let mut raised = false;
            for at in 0..count as u64 {
                let Polled { sample, alert } = probe.poll(at);
                prop_assert!(sample.is_none_or(|sample| sample.value.abs() <= 1.0));
                if let Some(alert) = alert {
                    prop_assert_ne!(alert.is_raised, raised);
                    prop_assert!(alert.value >= f64::from(faults_max));
                    raised = alert.is_raised;
                }
                prop_assert_eq!(raised, probe.is_failed());
            }
            prop_assert_eq!(probe.faults(), faults);
        }
    }

    #[test]
    fn a_sensor_that_can_never_be_read_is_refused() {
        let sensor = || Scripted(Name::new("m").unwrap(), vec![]);
        let range = 1.0..=0.0;
        let settings = ProbeSettings {
            range,
            ..ProbeSettings::default()
        };
        assert!(Probe::new(sensor(), settings).is_err());
        let settings = ProbeSettings {
            period: Duration::ZERO,
            ..ProbeSettings::default()
        };
        assert!(Probe::new(sensor(), settings).is_err());
    }
}
