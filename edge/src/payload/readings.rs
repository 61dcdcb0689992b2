//! Readings in columns: what a sensor says changes little from one reading to the next, and so do the times between.

use peaberry_core::wire::{Reader, WireError, put_varint};

use crate::error::EdgeError;
use crate::name::Name;

use super::cbor::{Source, check_length, put_array, put_map, read_map, required};
use super::{MESSAGE_BYTES_MAX, Wire};

const WHAT: &str = "readings";

/// How many readings one column may hold.
pub const READINGS_MAX: usize = 4096;

/// How many columns one batch may hold.
pub const COLUMNS_MAX: usize = 64;

/// Readings of some metrics, each in a column of its own.
///
/// ```
/// use peaberry_edge::Name;
/// use peaberry_edge::payload::{Column, Readings, Wire};
///
/// let mut boiler = Column::new(Name::new("boiler.temperature").unwrap());
/// for second in 0..100_u64 {
///     boiler.push(second * 1000, 93.0 + (second % 3) as f64 / 10.0).unwrap();
/// }
/// let batch = Readings { columns: vec![boiler] };
/// let bytes = batch.encode();
/// assert!(bytes.len() < 250); // of 1600
/// assert_eq!(Readings::decode(&bytes).unwrap(), batch);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
pub struct Readings {
    /// The columns, at most [`COLUMNS_MAX`]; what is beyond is not encoded.
    pub columns: Vec<Column>,
}

/// Readings of one metric: when and what. Times usually ascend but need not.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "json", serde(try_from = "Pairs", into = "Pairs"))]
pub struct Column {
    metric: Name,
    times_ms: Vec<u64>,
    values: Vec<f64>,
}

impl Column {
    /// An empty column of `metric`.
    #[must_use]
    pub const fn new(metric: Name) -> Self {
        Self {
            metric,
            times_ms: Vec::new(),
            values: Vec::new(),
        }
    }

    /// Adds the reading `value`, made `at_ms` after the device's start.
    ///
    /// # Errors
    ///
    /// [`EdgeError::TooLong`] if there are [`READINGS_MAX`] already; nothing changed.
    pub fn push(&mut self, at_ms: u64, value: f64) -> Result<(), EdgeError> {
        check_length("readings of a column", self.values.len() + 1, READINGS_MAX)?;
        self.times_ms.push(at_ms);
        self.values.push(value);
        Ok(())
    }

    /// What was measured.
    #[must_use]
    pub const fn metric(&self) -> &Name {
        &self.metric
    }

    /// How many readings there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Each reading: milliseconds since the device's start, and value.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u64, f64)> + '_ {
        self.times_ms
            .iter()
            .copied()
            .zip(self.values.iter().copied())
    }

    fn encode_into(&self, out: &mut Vec<u8>) {
        let decimals = decimals_of(&self.values);
        let times = encode_times(&self.times_ms);
        let values = match decimals {
            Some(decimals) => encode_scaled(&self.values, decimals),
            None => self.values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        };
        put_map(out, |fields| {
            fields.text(0, self.metric.as_str());
            fields.bytes(1, &times);
            fields.uint_if(2, decimals.map(u64::from));
            fields.bytes(3, &values);
        });
    }

    fn decode_from(source: &mut Source<'_>) -> Result<Self, EdgeError> {
        let (mut metric, mut times, mut decimals, mut values) = (None, None, None, None);
        source.map(|key, source| {
            match key {
                0 => metric = Some(source.name()?),
                1 => times = Some(decode_times(source.bytes(MESSAGE_BYTES_MAX)?)?),
                2 => decimals = Some(source.small::<u8>()?),
                3 => values = Some(source.bytes(MESSAGE_BYTES_MAX)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let values = required(WHAT, "values", values)?;
        let values = match decimals {
            Some(decimals) => decode_scaled(values, decimals)?,
            None => decode_raw(values)?,
        };
        let times_ms = required(WHAT, "times", times)?;
        if times_ms.len() != values.len() {
            let reason = format!("{} times for {} values", times_ms.len(), values.len());
            return Err(EdgeError::malformed(WHAT, reason));
        }
        Ok(Self {
            metric: required(WHAT, "a metric", metric)?,
            times_ms,
            values,
        })
    }
}

impl Wire for Readings {
    fn encode_into(&self, out: &mut Vec<u8>) {
        let columns = self.columns.get(..COLUMNS_MAX).unwrap_or(&self.columns);
        put_map(out, |fields| {
            fields.with(0, |out| {
                put_array(out, columns, |out, column| column.encode_into(out));
            });
        });
    }

    fn decode(bytes: &[u8]) -> Result<Self, EdgeError> {
        let mut columns = None;
        read_map(WHAT, bytes, |key, source| {
            if key == 0 {
                let mut read = Vec::new();
                source.array(COLUMNS_MAX, |source| {
                    read.push(Column::decode_from(source)?);
                    Ok(())
                })?;
                columns = Some(read);
            }
            Ok(key == 0)
        })?;
        let columns = required(WHAT, "columns", columns)?;
        Ok(Self { columns })
    }
}

/// The first time, then how much each step differs from the one before: zigzag varints.
fn encode_times(times_ms: &[u64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(times_ms.len() + 8);
    let (mut last, mut step) = (0_u64, 0_u64);
    for &time in times_ms {
        let next = time.wrapping_sub(last);
        put_varint(&mut out, zigzag(next.wrapping_sub(step).cast_signed()));
        (last, step) = (time, next);
    }
    out
}

fn decode_times(bytes: &[u8]) -> Result<Vec<u64>, EdgeError> {
    let (mut last, mut step) = (0_u64, 0_u64);
    integers(bytes, |difference| {
        step = step.wrapping_add(difference.cast_unsigned());
        last = last.wrapping_add(step);
        last
    })
}

fn encode_scaled(values: &[f64], decimals: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(values.len() * 2);
    let mut last = 0_i64;
    for &value in values {
        let next = scaled(value, decimals).unwrap_or_default();
        put_varint(&mut out, zigzag(next.wrapping_sub(last)));
        last = next;
    }
    out
}

fn decode_scaled(bytes: &[u8], decimals: u8) -> Result<Vec<f64>, EdgeError> {
    let Some(&scale) = SCALES.get(usize::from(decimals)) else {
        let reason = format!("{decimals} decimals are more than {}", SCALES.len() - 1);
        return Err(EdgeError::malformed(WHAT, reason));
    };
    let mut last = 0_i64;
    integers(bytes, |difference| {
        last = last.wrapping_add(difference);
        as_float(last) / scale
    })
}

fn decode_raw(bytes: &[u8]) -> Result<Vec<f64>, EdgeError> {
    let (values, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(EdgeError::malformed(WHAT, "a value is cut off"));
    }
    check_length(WHAT, values.len(), READINGS_MAX)?;
    Ok(values
        .iter()
        .map(|&bytes| f64::from_le_bytes(bytes))
        .collect())
}

fn integers<T>(bytes: &[u8], mut next: impl FnMut(i64) -> T) -> Result<Vec<T>, EdgeError> {
    let refuse = |error: WireError| EdgeError::malformed(WHAT, error.to_string());
    let mut reader = Reader::new(bytes);
    let mut read = Vec::new();
    while !reader.rest().is_empty() {
        check_length(WHAT, read.len() + 1, READINGS_MAX)?;
        let coded = reader.varint().map_err(refuse)?;
        read.push(next(unzigzag(coded)));
    }
    Ok(read)
}

/// Powers of ten; a value of at most six decimals is exact as an integer over one of them.
const SCALES: [f64; 7] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6];

/// The fewest decimals with which every value comes back bit for bit.
fn decimals_of(values: &[f64]) -> Option<u8> {
    (0..=6).find(|&decimals| {
        values
            .iter()
            .all(|&value| scaled(value, decimals).is_some())
    })
}

fn scaled(value: f64, decimals: u8) -> Option<i64> {
    /// Beyond this, integers are no longer exact as floats.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let scale = SCALES.get(usize::from(decimals))?;
    let product = (value * scale).round();
    if product.is_nan() || product.abs() > EXACT_MAX {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is whole and within 2^53"
    )]
    let whole = product as i64;
    ((as_float(whole) / scale).to_bits() == value.to_bits()).then_some(whole)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the encoder keeps within 2^53; what a stranger sends is rounded"
)]
const fn as_float(whole: i64) -> f64 {
    whole as f64
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

const fn unzigzag(coded: u64) -> i64 {
    (coded >> 1).cast_signed() ^ -((coded & 1).cast_signed())
}

/// A column as JSON has it.
#[cfg(feature = "json")]
#[derive(serde::Serialize, serde::Deserialize)]
struct Pairs {
    metric: Name,
    readings: Vec<(u64, f64)>,
}

#[cfg(feature = "json")]
impl From<Column> for Pairs {
    fn from(column: Column) -> Self {
        Self {
            readings: column.iter().collect(),
            metric: column.metric,
        }
    }
}

#[cfg(feature = "json")]
impl TryFrom<Pairs> for Column {
    type Error = EdgeError;

    fn try_from(pairs: Pairs) -> Result<Self, EdgeError> {
        let mut column = Self::new(pairs.metric);
        for (at_ms, value) in pairs.readings {
            column.push(at_ms, value)?;
        }
        Ok(column)
    }
}
