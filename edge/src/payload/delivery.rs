use crate::error::EdgeError;
use crate::identity::{BootEpoch, Position};

use super::cbor::required;
use super::{Record, Wire};

const WHAT: &str = "delivery";

/// A record on its way, with its place among those of its stream that the device still holds.
///
/// It reads as a [`Record`] too: what it adds are two keys behind those of the record.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The record.
    pub record: Record,
    /// The record of the same stream that the device held right before it when it sent this; `None`: it held none.
    pub after: Option<Position>,
}

impl Wire for Delivery {
    fn encode_into(&self, out: &mut Vec<u8>) {
        put_delivery(out, &self.record.encode(), self.record.id.boot, self.after);
    }

    fn decode(bytes: &[u8]) -> Result<Self, EdgeError> {
        let (mut sequence, mut boots_back) = (None, 0);
        let record = Record::decode_with(bytes, |key, source| {
            match key {
                7 => sequence = Some(source.uint()?),
                8 => boots_back = source.uint()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let Some(sequence) = sequence else {
            return Ok(Self {
                record,
                after: None,
            });
        };
        let boot = record
            .id
            .boot
            .get()
            .checked_sub(boots_back)
            .and_then(BootEpoch::new);
        let boot = required(WHAT, "a boot epoch before its own", boot)?;
        let after = Position::new(boot, sequence);
        if sequence == 0 || after >= record.id.position() {
            return Err(EdgeError::malformed(WHAT, "it comes after itself"));
        }
        Ok(Self {
            record,
            after: Some(after),
        })
    }
}

/// The map header of a record: seven keys.
const RECORD_MAP: u8 = 0xa7;

/// Appends the delivery of an encoded record, made in the start `boot`.
pub(crate) fn put_delivery(
    out: &mut Vec<u8>,
    record: &[u8],
    boot: BootEpoch,
    after: Option<Position>,
) {
    let Some(after) = after else {
        out.extend_from_slice(record);
        return;
    };
    assert_eq!(
        record.first(),
        Some(&RECORD_MAP),
        "a record is a map of seven keys"
    );
    let boots_back = boot.get() - after.boot.get();
    let keys = 1 + u8::from(boots_back > 0);
    out.push(RECORD_MAP + keys);
    out.extend_from_slice(record.get(1..).unwrap_or_default());
    let mut put = |key: u8, value: u64| {
        out.push(key);
        minicbor::Encoder::new(&mut *out)
            .u64(value)
            .expect("writing to memory does not fail");
    };
    put(7, after.sequence);
    if boots_back > 0 {
        put(8, boots_back);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::payload::Payload;
    use crate::{Name, RecordId};

    #[test]
    fn a_delivery_comes_back_and_reads_as_its_record() {
        let boot = BootEpoch::new(7).unwrap();
        let id = RecordId {
            device: Name::new("m").unwrap(),
            boot,
            sequence: 300,
        };
        let record = Record {
            id,
            at_ms: 9,
            payload: Payload::Twin(Bytes::from_static(b"d")),
        };
        for after in [
            None,
            Some(Position::new(boot, 299)),
            Some(Position::new(BootEpoch::FIRST, 70_000)),
        ] {
            let delivery = Delivery {
                record: record.clone(),
                after,
            };
            let bytes = delivery.encode();
            assert_eq!(Delivery::decode(&bytes).unwrap(), delivery);
            assert_eq!(Record::decode(&bytes).unwrap(), record);
        }
        let after = Some(Position::new(boot, 300));
        assert!(Delivery::decode(&Delivery { record, after }.encode()).is_err());
    }
}
