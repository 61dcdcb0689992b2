//! The payload: the part of Sparkplug's protobuf schema that edge nodes and hosts use.
//!
//! After the *Protocol Buffers Encoding* specification, proto2: varints, 32 and 64 bits, and length-delimited fields. Fields
//! that are not known, or not used here (data sets, templates, property sets), are skipped. Writers write fields in
//! ascending order and leave out what is absent.

use crate::error::EdgeError;
use crate::payload::MESSAGE_BYTES_MAX;

const WHAT: &str = "Sparkplug payload";

/// How many metrics one payload may hold.
pub const METRICS_MAX: usize = 4096;

/// How long a text or a string of bytes in one may be.
pub const FIELD_BYTES_MAX: usize = 64 * 1024;

/// One message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Payload {
    /// Milliseconds since 1970 at which it was sent.
    pub timestamp_ms: Option<u64>,
    /// What it tells.
    pub metrics: Vec<Metric>,
    /// 0 to 255; absent in commands and deaths of nodes.
    pub seq: Option<u64>,
}

/// One metric of a message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metric {
    /// What it is called; absent where the alias says so.
    pub name: Option<String>,
    /// A number for the name, given in a birth.
    pub alias: Option<u64>,
    /// Milliseconds since 1970 at which it was made.
    pub timestamp_ms: Option<u64>,
    /// Of which type it is, by Sparkplug's numbers.
    pub datatype: Option<u32>,
    /// Whether it is told late and is not the present value.
    pub is_historical: bool,
    /// The value; absent: it is null.
    pub value: Option<Value>,
}

/// A value as the wire has it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Up to 32 bits, signed ones as two's complement.
    Int(u32),
    /// Up to 64 bits, signed ones as two's complement.
    Long(u64),
    /// 32 bits.
    Float(f32),
    /// 64 bits.
    Double(f64),
    /// Yes or no.
    Boolean(bool),
    /// A text.
    String(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// Sparkplug's numbers for the types that are written here.
pub mod datatype {
    /// 64 bits, unsigned.
    pub const UINT64: u32 = 8;
    /// 64 bits, signed.
    pub const INT64: u32 = 4;
    /// 64 bits, floating.
    pub const DOUBLE: u32 = 10;
    /// Yes or no.
    pub const BOOLEAN: u32 = 11;
    /// A text.
    pub const STRING: u32 = 12;
}

impl Payload {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer(Vec::new());
        out.varint_if(1, self.timestamp_ms);
        for metric in &self.metrics {
            out.bytes(2, &metric.encode());
        }
        out.varint_if(3, self.seq);
        out.0
    }

    /// Reads it from the whole of `bytes`.
    ///
    /// # Errors
    ///
    /// [`EdgeError::TooLong`] or [`EdgeError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, EdgeError> {
        check("Sparkplug bytes", bytes.len(), MESSAGE_BYTES_MAX)?;
        let mut read = Self::default();
        fields(bytes, |number, field| {
            match (number, field) {
                (1, Field::Varint(value)) => read.timestamp_ms = Some(value),
                (2, Field::Bytes(bytes)) => {
                    check("Sparkplug metrics", read.metrics.len() + 1, METRICS_MAX)?;
                    read.metrics.push(Metric::decode(bytes)?);
                }
                (3, Field::Varint(value)) => read.seq = Some(value),
                _ => {}
            }
            Ok(())
        })?;
        Ok(read)
    }
}

impl Metric {
    fn encode(&self) -> Vec<u8> {
        let mut out = Writer(Vec::new());
        if let Some(name) = &self.name {
            out.bytes(1, name.as_bytes());
        }
        out.varint_if(2, self.alias);
        out.varint_if(3, self.timestamp_ms);
        out.varint_if(4, self.datatype.map(u64::from));
        out.varint_if(5, self.is_historical.then_some(1));
        match &self.value {
            None => out.varint_if(7, Some(1)),
            Some(Value::Int(value)) => out.varint_if(10, Some(u64::from(*value))),
            Some(Value::Long(value)) => out.varint_if(11, Some(*value)),
            Some(Value::Float(value)) => out.fixed(12, FIXED_32, &value.to_le_bytes()),
            Some(Value::Double(value)) => out.fixed(13, FIXED_64, &value.to_le_bytes()),
            Some(Value::Boolean(value)) => out.varint_if(14, Some(u64::from(*value))),
            Some(Value::String(value)) => out.bytes(15, value.as_bytes()),
            Some(Value::Bytes(value)) => out.bytes(16, value),
        }
        out.0
    }

    fn decode(bytes: &[u8]) -> Result<Self, EdgeError> {
        let mut read = Self::default();
        let mut is_null = false;
        fields(bytes, |number, field| {
            match (number, field) {
                (1, Field::Bytes(bytes)) => read.name = Some(text(bytes)?),
                (2, Field::Varint(value)) => read.alias = Some(value),
                (3, Field::Varint(value)) => read.timestamp_ms = Some(value),
                (4, Field::Varint(value)) => read.datatype = Some(low_word(value)),
                (5, Field::Varint(value)) => read.is_historical = value != 0,
                (7, Field::Varint(value)) => is_null = value != 0,
                (10, Field::Varint(value)) => read.value = Some(Value::Int(low_word(value))),
                (11, Field::Varint(value)) => read.value = Some(Value::Long(value)),
                (12, Field::Fixed32(bytes)) => {
                    read.value = Some(Value::Float(f32::from_le_bytes(bytes)));
                }
                (13, Field::Fixed64(bytes)) => {
                    read.value = Some(Value::Double(f64::from_le_bytes(bytes)));
                }
                (14, Field::Varint(value)) => read.value = Some(Value::Boolean(value != 0)),
                (15, Field::Bytes(bytes)) => read.value = Some(Value::String(text(bytes)?)),
                (16, Field::Bytes(bytes)) => {
                    check("Sparkplug field bytes", bytes.len(), FIELD_BYTES_MAX)?;
                    read.value = Some(Value::Bytes(bytes.to_vec()));
                }
                _ => {}
            }
            Ok(())
        })?;
        if is_null {
            read.value = None;
        }
        Ok(read)
    }
}

const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const LENGTH: u8 = 2;
const FIXED_32: u8 = 5;

struct Writer(Vec<u8>);

impl Writer {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            #[expect(clippy::cast_possible_truncation, reason = "the low seven bits")]
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        #[expect(clippy::cast_possible_truncation, reason = "below 0x80")]
        self.0.push(value as u8);
    }

    fn key(&mut self, number: u32, kind: u8) {
        self.varint(u64::from(number) << 3 | u64::from(kind));
    }

    fn varint_if(&mut self, number: u32, value: Option<u64>) {
        if let Some(value) = value {
            self.key(number, VARINT);
            self.varint(value);
        }
    }

    fn fixed(&mut self, number: u32, kind: u8, bytes: &[u8]) {
        self.key(number, kind);
        self.0.extend_from_slice(bytes);
    }

    fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.key(number, LENGTH);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
}

/// The value of a field.
#[derive(Clone, Copy)]
enum Field<'b> {
    Varint(u64),
    Fixed32([u8; 4]),
    Fixed64([u8; 8]),
    Bytes(&'b [u8]),
}

/// Hands each field of a message to `take`. Nothing is allocated for a field before it is known to be there.
fn fields<'b>(
    mut bytes: &'b [u8],
    mut take: impl FnMut(u64, Field<'b>) -> Result<(), EdgeError>,
) -> Result<(), EdgeError> {
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let number = key >> 3;
        if number == 0 {
            return Err(EdgeError::malformed(WHAT, "a field has number 0"));
        }
        let field = match u8::try_from(key & 7).unwrap_or(u8::MAX) {
            VARINT => Field::Varint(varint(&mut bytes)?),
            FIXED_32 => Field::Fixed32(fixed(&mut bytes)?),
            FIXED_64 => Field::Fixed64(fixed(&mut bytes)?),
            LENGTH => Field::Bytes(delimited(&mut bytes)?),
            kind => {
                let reason = format!("a field has wire type {kind}");
                return Err(EdgeError::malformed(WHAT, reason));
            }
        };
        take(number, field)?;
    }
    Ok(())
}

fn varint(bytes: &mut &[u8]) -> Result<u64, EdgeError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or_else(cut_off)?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(EdgeError::malformed(WHAT, "a number has more than 64 bits"))
}

fn fixed<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], EdgeError> {
    let (value, rest) = bytes.split_first_chunk().ok_or_else(cut_off)?;
    *bytes = rest;
    Ok(*value)
}

fn delimited<'b>(bytes: &mut &'b [u8]) -> Result<&'b [u8], EdgeError> {
    let length = usize::try_from(varint(bytes)?).ok();
    let parts = length.and_then(|length| bytes.split_at_checked(length));
    let (value, rest) = parts.ok_or_else(cut_off)?;
    *bytes = rest;
    Ok(value)
}

fn cut_off() -> EdgeError {
    EdgeError::malformed(WHAT, "it is cut off")
}

fn text(bytes: &[u8]) -> Result<String, EdgeError> {
    check("Sparkplug field bytes", bytes.len(), FIELD_BYTES_MAX)?;
    let text = std::str::from_utf8(bytes).ok();
    let text = text.ok_or_else(|| EdgeError::malformed(WHAT, "a text is not UTF-8"))?;
    Ok(text.to_owned())
}

/// Integers of 32 bits may be written as 64, sign extended.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is meant"
)]
const fn low_word(value: u64) -> u32 {
    value as u32
}

fn check(what: &'static str, length: usize, length_max: usize) -> Result<(), EdgeError> {
    if length <= length_max {
        return Ok(());
    }
    Err(EdgeError::TooLong {
        what,
        length: length as u64,
        length_max: length_max as u64,
    })
}

/// Feeds any bytes at all to the reader, and panics if what it accepts does not come back when it is written.
#[doc(hidden)]
pub fn decode_any_sparkplug_bytes(bytes: &[u8]) {
    if let Ok(payload) = Payload::decode(bytes) {
        let again = payload.encode();
        let twice = Payload::decode(&again).expect("what was read and written reads");
        // Bytes rather than values: a NaN does not equal itself.
        assert_eq!(twice.encode(), again);
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(topic) = super::SparkplugTopic::parse(text)
    {
        assert_eq!(topic.to_string(), text);
    }
}
