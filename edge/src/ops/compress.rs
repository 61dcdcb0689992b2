use super::{Operator, Sample, setting};
use crate::error::EdgeError;

/// Passes a sample on when it differs from the last one passed by more than its width. Holding the last value, a reader is
/// never off by more.
#[derive(Clone, Copy, Debug)]
pub struct Deadband {
    width: f64,
    last: Option<f64>,
}

impl Deadband {
    /// Passes what differs by more than `width`.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Setting`] for a negative width, or one that is no number.
    pub fn new(width: f64) -> Result<Self, EdgeError> {
        let width = setting("width", width, width >= 0.0, "it must not be negative")?;
        Ok(Self { width, last: None })
    }
}

impl Operator for Deadband {
    type Output = Sample;

    #[inline]
    fn push(&mut self, sample: Sample) -> Option<Sample> {
        if !sample.is_number() {
            return None;
        }
        if self
            .last
            .is_some_and(|last| (sample.value - last).abs() <= self.width)
        {
            return None;
        }
        self.last = Some(sample.value);
        Some(sample)
    }
}

/// Yields the corners of a line that stays within its deviation of every sample.
///
/// A swinging door (Bristol, US patent 4,669,097, 1987) in the form of the swing filter of Elmeleegy, Elmagarmid, Cecchet,
/// Aref and Zwaenepoel, *Online Piece-wise Linear Approximation of Numerical Streams with Precision Guarantees* (2009): a
/// corner lies on a line within all doors rather than on a sample, because a line through the samples themselves may be off
/// by twice the deviation.
///
/// A corner is yielded when the sample after it is seen; [`flush`](Self::flush) gives the last one.
#[derive(Clone, Copy, Debug)]
pub struct SwingingDoor {
    deviation: f64,
    /// Corners are rounded to multiples of this; zero for not at all.
    quantum: f64,
    state: Option<Door>,
}

#[derive(Clone, Copy, Debug)]
struct Door {
    corner: Sample,
    last: Sample,
    slope_min: f64,
    slope_max: f64,
}

impl SwingingDoor {
    /// Keeps within `deviation` of every sample.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Setting`] unless it is a number above zero.
    pub fn new(deviation: f64) -> Result<Self, EdgeError> {
        let deviation = setting(
            "deviation",
            deviation,
            deviation > 0.0,
            "it must be above 0",
        )?;
        Ok(Self {
            deviation,
            quantum: 0.0,
            state: None,
        })
    }

    /// Rounds corners to multiples of `quantum`, which costs up to half of it in precision.
    pub(crate) const fn rounded_to(mut self, quantum: f64) -> Self {
        self.quantum = quantum;
        self
    }

    /// Yields the corner at the last sample, and starts anew.
    pub fn flush(&mut self) -> Option<Sample> {
        let door = self.state.take()?;
        (door.last.at_ms != door.corner.at_ms).then(|| self.round(door.end()))
    }

    /// Takes a sample, and yields the corner before it even if the line could go on.
    pub(crate) fn close_and_open(&mut self, sample: Sample) -> Option<Sample> {
        let door = self.state?;
        if door.last.at_ms == door.corner.at_ms {
            return self.push(sample);
        }
        let corner = self.round(door.end());
        self.state = Some(self.open(corner, sample));
        Some(corner)
    }

    fn round(&self, sample: Sample) -> Sample {
        if self.quantum == 0.0 {
            return sample;
        }
        let rounded = (sample.value / self.quantum).round() * self.quantum;
        Sample::new(sample.at_ms, rounded)
    }

    /// A door hinged at `corner` that takes in `sample`; `None` if they have the same time.
    fn open(&self, corner: Sample, sample: Sample) -> Door {
        let door = Door {
            corner,
            last: sample,
            slope_min: f64::NEG_INFINITY,
            slope_max: f64::INFINITY,
        };
        door.narrowed(sample, self.deviation)
    }
}

impl Door {
    fn narrowed(mut self, sample: Sample, deviation: f64) -> Self {
        let after = millis(sample.at_ms.saturating_sub(self.corner.at_ms));
        if after > 0.0 {
            let rise = sample.value - self.corner.value;
            self.slope_min = self.slope_min.max((rise - deviation) / after);
            self.slope_max = self.slope_max.min((rise + deviation) / after);
        }
        self.last = sample;
        self
    }

    /// The point at the last sample's time on a line within all doors, nearest to the sample.
    fn end(&self) -> Sample {
        let after = millis(self.last.at_ms.saturating_sub(self.corner.at_ms));
        let slope = (self.last.value - self.corner.value) / after;
        // Not `clamp`, which panics when rounding has crossed the doors.
        let slope = slope.max(self.slope_min).min(self.slope_max);
        Sample::new(self.last.at_ms, self.corner.value + slope * after)
    }
}

impl Operator for SwingingDoor {
    type Output = Sample;

    #[inline]
    fn push(&mut self, sample: Sample) -> Option<Sample> {
        if !sample.is_number() {
            return None;
        }
        let Some(door) = self.state else {
            let corner = self.round(sample);
            self.state = Some(self.open(corner, sample));
            return Some(corner);
        };
        // Two samples at one time: the first stands.
        if sample.at_ms <= door.last.at_ms {
            return None;
        }
        let narrowed = door.narrowed(sample, self.deviation);
        if narrowed.slope_min <= narrowed.slope_max {
            self.state = Some(narrowed);
            return None;
        }
        let corner = self.round(door.end());
        self.state = Some(self.open(corner, sample));
        Some(corner)
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact for 285,000 years")]
const fn millis(ms: u64) -> f64 {
    ms as f64
}
