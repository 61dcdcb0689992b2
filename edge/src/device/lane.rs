//! One metric of a device, from the sensor to the batch.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::anomaly::{AnomalyDetector, AnomalySettings};
use crate::error::EdgeError;
use crate::filter::SignificanceFilter;
use crate::name::Name;
use crate::ops::{Operator, Sample};
use crate::payload::{Alert, Column, Level, Payload, READINGS_MAX};
use crate::ring::Ring;
use crate::sensor::{Polled, Probe, ProbeSettings, Sensor};

/// How many samples a history holds.
pub const HISTORY: usize = 100;

/// What is done with one metric. Everything but where its samples come from is optional.
///
/// ```
/// use std::time::Duration;
/// use peaberry_edge::coffee::{CoffeeMachine, CoffeeMetric};
/// use peaberry_edge::device::Metric;
/// use peaberry_edge::ops::{Cusum, Ewma, Operator};
/// use peaberry_edge::payload::Level;
///
/// let machine = CoffeeMachine::new(1);
/// let mut cusum = Cusum::new(93.0, 0.5, 8.0).unwrap();
/// let metric = Metric::of(machine.sensor(CoffeeMetric::Temperature))
///     .every(Duration::from_millis(500))
///     .range(0.0..=150.0)
///     .smooth(Ewma::new(0.3).unwrap())
///     .watch("boiler.shift".parse().unwrap(), Level::Warning, move |sample| {
///         cusum.push(sample)?.shift.map(|_| sample.value)
///     })
///     .significant(0.2, Duration::from_secs(60))
///     .keep_history();
/// # let _ = metric;
/// ```
pub struct Metric {
    source: Source,
    smoothing: Option<Box<dyn Operator<Output = Sample> + Send>>,
    watches: Vec<Watch>,
    filter: Option<(f64, Duration)>,
    keeps_history: bool,
}

enum Source {
    Read(Box<dyn Sensor>, ProbeSettings),
    Fed(Name),
}

/// Finds something in samples.
struct Watch {
    name: Name,
    level: Level,
    find: Box<dyn FnMut(Sample) -> Option<f64> + Send>,
}

impl Metric {
    /// What this sensor measures, read every second unless [said otherwise](Self::every).
    #[must_use]
    pub fn of(sensor: impl Sensor + 'static) -> Self {
        Self::from_source(Source::Read(Box::new(sensor), ProbeSettings::default()))
    }

    /// A metric that is handed in; see [`Device::feed`](super::Device::feed).
    #[must_use]
    pub fn fed(name: Name) -> Self {
        Self::from_source(Source::Fed(name))
    }

    fn from_source(source: Source) -> Self {
        Self {
            source,
            smoothing: None,
            watches: Vec::new(),
            filter: None,
            keeps_history: false,
        }
    }

    /// Reads the sensor once in `period`.
    #[must_use]
    pub const fn every(mut self, period: Duration) -> Self {
        if let Source::Read(_, settings) = &mut self.source {
            settings.period = period;
        }
        self
    }

    /// What the sensor can mean: a reading outside is a fault.
    #[must_use]
    pub const fn range(mut self, range: RangeInclusive<f64>) -> Self {
        if let Source::Read(_, settings) = &mut self.source {
            settings.range = range;
        }
        self
    }

    /// How many faults in a row raise an alert.
    #[must_use]
    pub const fn faults_max(mut self, faults_max: u32) -> Self {
        if let Source::Read(_, settings) = &mut self.source {
            settings.faults_max = faults_max;
        }
        self
    }

    /// Everything behind this sees what `operator` yields instead of the samples; where it yields nothing, there is none.
    #[must_use]
    pub fn smooth(mut self, operator: impl Operator<Output = Sample> + Send + 'static) -> Self {
        self.smoothing = Some(Box::new(operator));
        self
    }

    /// Raises the alert `name` with the value that `find` gives for a sample. Nothing clears such an alert: it says that
    /// something was found.
    #[must_use]
    pub fn watch(
        mut self,
        name: Name,
        level: Level,
        find: impl FnMut(Sample) -> Option<f64> + Send + 'static,
    ) -> Self {
        self.watches.push(Watch {
            name,
            level,
            find: Box::new(find),
        });
        self
    }

    /// Raises the alert `name` for what the metric has not done before; its value is the score. Takes about 4 KiB.
    ///
    /// # Errors
    ///
    /// As [`AnomalyDetector::new`].
    pub fn anomalies(self, name: Name, settings: AnomalySettings) -> Result<Self, EdgeError> {
        let mut detector = Box::new(AnomalyDetector::new(settings)?);
        Ok(self.watch(name, Level::Warning, move |sample| {
            detector.push(sample).map(|anomaly| anomaly.score)
        }))
    }

    /// Sends only what is needed to tell every sample within `deadband`; see [`SignificanceFilter`].
    #[must_use]
    pub const fn significant(mut self, deadband: f64, silence_max: Duration) -> Self {
        self.filter = Some((deadband, silence_max));
        self
    }

    /// Keeps the last [`HISTORY`] samples, 16 bytes each.
    #[must_use]
    pub const fn keep_history(mut self) -> Self {
        self.keeps_history = true;
        self
    }

    pub(super) fn name(&self) -> &Name {
        match &self.source {
            Source::Read(sensor, _) => sensor.metric(),
            Source::Fed(name) => name,
        }
    }

    pub(super) fn into_lane(self, first_due_ms: u64) -> Result<Lane, EdgeError> {
        let metric = self.name().clone();
        let filter = match self.filter {
            Some((deadband, silence_max)) => {
                let silence_ms = u64::try_from(silence_max.as_millis()).unwrap_or(u64::MAX);
                Some(Box::new(SignificanceFilter::new(deadband, silence_ms)?))
            }
            None => None,
        };
        let reading = match self.source {
            Source::Read(sensor, settings) => Some(Reading {
                probe: Probe::of_boxed(sensor, settings)?,
                due_ms: first_due_ms,
            }),
            Source::Fed(_) => None,
        };
        Ok(Lane {
            waiting: Column::new(metric),
            reading: reading.map(Box::new),
            smoothing: self.smoothing,
            watches: self.watches.into(),
            filter,
            history: self.keeps_history.then(|| Box::new(Ring::new())),
            last_ms: None,
        })
    }
}

impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metric")
            .field("name", self.name())
            .finish_non_exhaustive()
    }
}

/// A [`Metric`] at work.
pub(super) struct Lane {
    reading: Option<Box<Reading>>,
    smoothing: Option<Box<dyn Operator<Output = Sample> + Send>>,
    watches: Box<[Watch]>,
    filter: Option<Box<SignificanceFilter>>,
    history: Option<Box<Ring<Sample, HISTORY>>>,
    waiting: Column,
    last_ms: Option<u64>,
}

struct Reading {
    probe: Probe,
    due_ms: u64,
}

/// What became of a sample.
#[derive(Clone, Copy)]
pub(super) enum Outcome {
    /// It is no number, or not later than the last one.
    PassedOver,
    /// The smoothing keeps it, and has nothing to say yet: nothing is judged.
    Swallowed,
    /// It went in.
    Taken {
        /// What the rules are to judge.
        smoothed: Sample,
        /// How many readings of this metric wait to be told.
        waiting: usize,
    },
}

impl Lane {
    pub(super) const fn metric(&self) -> &Name {
        self.waiting.metric()
    }

    pub(super) fn due_ms(&self) -> Option<u64> {
        self.reading.as_ref().map(|reading| reading.due_ms)
    }

    /// Reads the sensor if it is due; and whether that was a whole period or more too late.
    pub(super) fn poll(&mut self, at_ms: u64) -> Option<(Polled, bool)> {
        let reading = self.reading.as_deref_mut()?;
        if at_ms < reading.due_ms {
            return None;
        }
        let period_ms = reading.period_ms();
        let is_late = at_ms - reading.due_ms >= period_ms;
        // What was missed is not made up for, but the rhythm is kept.
        let missed = (at_ms - reading.due_ms) / period_ms;
        reading.due_ms = reading
            .due_ms
            .saturating_add((missed + 1).saturating_mul(period_ms));
        Some((reading.probe.poll(at_ms), is_late))
    }

    /// Takes a sample.
    pub(super) fn take(&mut self, sample: Sample, out: &mut Vec<Payload>) -> Outcome {
        let is_late = self.last_ms.is_some_and(|last| sample.at_ms <= last);
        if is_late || !sample.is_number() {
            return Outcome::PassedOver;
        }
        self.last_ms = Some(sample.at_ms);
        let smoothed = match &mut self.smoothing {
            Some(operator) => match operator.push(sample) {
                Some(smoothed) => smoothed,
                None => return Outcome::Swallowed,
            },
            None => sample,
        };
        if let Some(history) = &mut self.history {
            history.push(smoothed);
        }
        for watch in &mut self.watches {
            if let Some(value) = (watch.find)(smoothed) {
                out.push(Payload::Alert(Alert {
                    rule: watch.name.clone(),
                    metric: self.waiting.metric().clone(),
                    level: watch.level,
                    is_raised: true,
                    value,
                }));
            }
        }
        let told = match &mut self.filter {
            Some(filter) => filter.push(smoothed),
            None => Some(smoothed),
        };
        if let Some(told) = told {
            let pushed = self.waiting.push(told.at_ms, told.value);
            debug_assert!(pushed.is_ok(), "a batch is told before a column is full");
        }
        Outcome::Taken {
            smoothed,
            waiting: self.waiting.len(),
        }
    }

    /// Whether anything but the samples themselves is judged and told.
    pub(super) const fn is_smoothed(&self) -> bool {
        self.smoothing.is_some()
    }

    pub(super) const fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn flush(&mut self) -> Option<Column> {
        if self.waiting.is_empty() {
            return None;
        }
        let empty = Column::new(self.metric().clone());
        Some(std::mem::replace(&mut self.waiting, empty))
    }

    pub(super) fn history(&self) -> impl DoubleEndedIterator<Item = &Sample> + '_ {
        self.history.iter().flat_map(|history| history.iter())
    }

    pub(super) fn faults(&self) -> u64 {
        self.reading
            .as_ref()
            .map_or(0, |reading| reading.probe.faults())
    }

    pub(super) fn is_failed(&self) -> bool {
        self.reading
            .as_ref()
            .is_some_and(|reading| reading.probe.is_failed())
    }

    /// From one reading to the next, if it is read.
    pub(super) fn reading_period_ms(&self) -> Option<u64> {
        self.reading.as_deref().map(Reading::period_ms)
    }

    /// Reads in another period from now on. Whether it is read at all.
    pub(super) fn set_period(&mut self, period: Duration) -> bool {
        let Some(reading) = self.reading.as_deref_mut() else {
            return false;
        };
        let last_ms = reading.due_ms.saturating_sub(reading.period_ms());
        reading.probe.set_period(period);
        reading.due_ms = last_ms.saturating_add(reading.period_ms());
        true
    }
}

impl Reading {
    fn period_ms(&self) -> u64 {
        let period = self.probe.period().as_millis();
        u64::try_from(period).unwrap_or(u64::MAX).max(1)
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("metric", self.metric())
            .field("waiting", &self.waiting.len())
            .field("last_ms", &self.last_ms)
            .finish_non_exhaustive()
    }
}

/// A batch holds no more, so no column is ever full.
pub(super) const BATCH_READINGS_MAX: usize = READINGS_MAX;
