use crate::error::EdgeError;
use crate::name::Name;

use super::cbor::{put_array, put_map, put_name, read_map, required};
use super::{TEXT_BYTES_MAX, Text, Wire};

const WHAT: &str = "health report";

/// How a device is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "json", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Status {
    /// It has not been heard of for longer than it should be silent. A device never says this of itself.
    #[default]
    Offline,
    /// It works.
    Online,
    /// Somebody works on it; it takes no orders.
    Maintenance,
    /// It has stopped itself and needs somebody.
    Error,
}

impl Status {
    const fn number(self) -> u64 {
        match self {
            Self::Offline => 0,
            Self::Online => 1,
            Self::Maintenance => 2,
            Self::Error => 3,
        }
    }

    fn from_number(number: u64) -> Result<Self, EdgeError> {
        [Self::Offline, Self::Online, Self::Maintenance, Self::Error]
            .into_iter()
            .find(|status| status.number() == number)
            .ok_or_else(|| EdgeError::malformed(WHAT, format!("status {number} is unknown")))
    }
}

/// A heartbeat: that a device lives, and how it does. What was dropped, lost or could not be read is counted from 0 in each start
/// of it: over several [boot epochs](crate::BootEpoch), add up the last of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
pub struct Health {
    /// How it is doing.
    pub status: Status,
    /// Milliseconds since its start.
    pub uptime_ms: u64,
    /// What it runs.
    pub firmware: Text,
    /// Records waiting in its spool.
    pub spooled_records: u64,
    /// Their bytes.
    pub spooled_bytes: u64,
    /// Records dropped from the spool.
    pub dropped_records: u64,
    /// How often the uplink was lost.
    pub uplink_losses: u64,
    /// Readings that a sensor could not make, or that were no number.
    pub sensor_errors: u64,
    /// Alerts raised and not cleared.
    pub alerts_active: u64,
    /// Wall milliseconds since 1970 less those since the start, once learned: it dates all records of this start.
    pub wall_offset_ms: Option<i64>,
    /// How far that may be off.
    pub wall_uncertainty_ms: Option<u64>,
    /// Where it stands; told in the first report of a start and of each connection, and when asked for; else empty.
    pub location: Text,
    /// What it can do, at most [`CAPABILITIES_MAX`]; what is beyond is not encoded. Told as the location is, else empty.
    pub capabilities: Vec<Name>,
}

/// How many capabilities a health report may name.
pub const CAPABILITIES_MAX: usize = 64;

impl Wire for Health {
    fn encode_into(&self, out: &mut Vec<u8>) {
        put_map(out, |fields| {
            fields.uint(0, self.status.number());
            fields.uint(1, self.uptime_ms);
            fields.text(2, self.firmware.as_str());
            fields.count(3, self.spooled_records);
            fields.count(4, self.spooled_bytes);
            fields.count(5, self.dropped_records);
            fields.count(6, self.uplink_losses);
            fields.count(7, self.sensor_errors);
            fields.count(8, self.alerts_active);
            fields.int_if(9, self.wall_offset_ms);
            fields.uint_if(10, self.wall_uncertainty_ms);
            let location = self.location.as_str();
            fields.text_if(11, (!location.is_empty()).then_some(location));
            let told = self.capabilities.len().min(CAPABILITIES_MAX);
            if let Some(told @ [_, ..]) = self.capabilities.get(..told) {
                fields.with(12, |out| put_array(out, told, put_name));
            }
        });
    }

    fn decode(bytes: &[u8]) -> Result<Self, EdgeError> {
        let mut read = Self::default();
        let mut status = None;
        let mut uptime_ms = None;
        read_map(WHAT, bytes, |key, source| {
            match key {
                0 => status = Some(Status::from_number(source.uint()?)?),
                1 => uptime_ms = Some(source.uint()?),
                2 => read.firmware = Text::new(source.text(TEXT_BYTES_MAX)?),
                3 => read.spooled_records = source.uint()?,
                4 => read.spooled_bytes = source.uint()?,
                5 => read.dropped_records = source.uint()?,
                6 => read.uplink_losses = source.uint()?,
                7 => read.sensor_errors = source.uint()?,
                8 => read.alerts_active = source.uint()?,
                9 => read.wall_offset_ms = Some(source.int()?),
                10 => read.wall_uncertainty_ms = Some(source.uint()?),
                11 => read.location = Text::new(source.text(TEXT_BYTES_MAX)?),
                12 => source.array(CAPABILITIES_MAX, |source| {
                    read.capabilities.push(source.name()?);
                    Ok(())
                })?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        read.status = required(WHAT, "a status", status)?;
        read.uptime_ms = required(WHAT, "an uptime", uptime_ms)?;
        Ok(read)
    }
}
