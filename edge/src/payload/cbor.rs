//! Maps with ascending integer keys, on minicbor.

use minicbor::{Decoder, Encoder};

use crate::error::EdgeError;
use crate::name::{NAME_BYTES_MAX, Name};

use super::MESSAGE_BYTES_MAX;

const INFALLIBLE: &str = "writing to memory does not fail";

/// Writes one map. Fields that are `None` are left out, so the map's length is counted first: `put` runs twice.
pub(super) fn put_map(out: &mut Vec<u8>, fields: impl Fn(&mut Fields<'_>)) {
    let mut count = Fields {
        count: 0,
        last: None,
        out: None,
    };
    fields(&mut count);
    let length = count.count;
    Encoder::new(&mut *out).map(length).expect(INFALLIBLE);
    fields(&mut Fields {
        count: 0,
        last: None,
        out: Some(out),
    });
}

/// The fields of one map.
pub(super) struct Fields<'a> {
    count: u64,
    last: Option<u64>,
    out: Option<&'a mut Vec<u8>>,
}

impl Fields<'_> {
    pub(super) fn uint(&mut self, key: u64, value: u64) {
        self.with(key, |out| {
            Encoder::new(out).u64(value).expect(INFALLIBLE);
        });
    }

    pub(super) fn uint_if(&mut self, key: u64, value: Option<u64>) {
        if let Some(value) = value {
            self.uint(key, value);
        }
    }

    /// Leaves a zero out.
    pub(super) fn count(&mut self, key: u64, value: u64) {
        self.uint_if(key, (value != 0).then_some(value));
    }

    pub(super) fn int_if(&mut self, key: u64, value: Option<i64>) {
        if let Some(value) = value {
            self.with(key, |out| {
                Encoder::new(out).i64(value).expect(INFALLIBLE);
            });
        }
    }

    pub(super) fn float(&mut self, key: u64, value: f64) {
        self.with(key, |out| {
            Encoder::new(out).f64(value).expect(INFALLIBLE);
        });
    }

    pub(super) fn text(&mut self, key: u64, value: &str) {
        self.with(key, |out| {
            Encoder::new(out).str(value).expect(INFALLIBLE);
        });
    }

    pub(super) fn text_if(&mut self, key: u64, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    pub(super) fn bytes(&mut self, key: u64, value: &[u8]) {
        self.with(key, |out| {
            Encoder::new(out).bytes(value).expect(INFALLIBLE);
        });
    }

    /// One data item that `write` appends.
    pub(super) fn with(&mut self, key: u64, write: impl FnOnce(&mut Vec<u8>)) {
        assert!(
            self.last.is_none_or(|last| last < key),
            "keys are written in ascending order"
        );
        self.last = Some(key);
        self.count += 1;
        if let Some(out) = self.out.as_deref_mut() {
            Encoder::new(&mut *out).u64(key).expect(INFALLIBLE);
            write(out);
        }
    }
}

/// An array of what `write` appends for each item.
pub(super) fn put_array<T>(out: &mut Vec<u8>, items: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
    Encoder::new(&mut *out)
        .array(items.len() as u64)
        .expect(INFALLIBLE);
    for item in items {
        write(out, item);
    }
}

/// A name, as an item of an array.
pub(super) fn put_name(out: &mut Vec<u8>, name: &Name) {
    Encoder::new(out).str(name.as_str()).expect(INFALLIBLE);
}

/// Reads one map to the end of `bytes`; `field` is given each key it may know, and says whether it did.
pub(super) fn read_map<'b>(
    what: &'static str,
    bytes: &'b [u8],
    field: impl FnMut(u64, &mut Source<'b>) -> Result<bool, EdgeError>,
) -> Result<(), EdgeError> {
    check_length(what, bytes.len(), MESSAGE_BYTES_MAX)?;
    let mut source = Source {
        what,
        decoder: Decoder::new(bytes),
    };
    source.map(field)?;
    if source.decoder.position() == bytes.len() {
        Ok(())
    } else {
        Err(EdgeError::malformed(what, "bytes are left over behind it"))
    }
}

/// `length`, if it is within its limit.
pub(super) fn check_length(
    what: &'static str,
    length: usize,
    length_max: usize,
) -> Result<usize, EdgeError> {
    if length > length_max {
        return Err(EdgeError::TooLong {
            what,
            length: length as u64,
            length_max: length_max as u64,
        });
    }
    Ok(length)
}

/// Where a value is read from.
pub(super) struct Source<'b> {
    what: &'static str,
    decoder: Decoder<'b>,
}

impl<'b> Source<'b> {
    /// Reads a map whose keys ascend.
    pub(super) fn map(
        &mut self,
        mut field: impl FnMut(u64, &mut Self) -> Result<bool, EdgeError>,
    ) -> Result<(), EdgeError> {
        let length = self.decoder.map().map_err(|error| self.refuse(&error))?;
        let length = length.ok_or_else(|| self.indefinite())?;
        let mut last = None;
        for _ in 0..length {
            let key = self.uint()?;
            if last.is_some_and(|last| last >= key) {
                return Err(EdgeError::malformed(
                    self.what,
                    format!("key {key} does not ascend"),
                ));
            }
            last = Some(key);
            if !field(key, self)? {
                self.skip()?;
            }
        }
        Ok(())
    }

    /// Reads an array of at most `length_max` items, each by `item`.
    pub(super) fn array(
        &mut self,
        length_max: usize,
        mut item: impl FnMut(&mut Self) -> Result<(), EdgeError>,
    ) -> Result<(), EdgeError> {
        let length = self.decoder.array().map_err(|error| self.refuse(&error))?;
        let length = length.ok_or_else(|| self.indefinite())?;
        if length > length_max as u64 {
            return Err(EdgeError::TooLong {
                what: self.what,
                length,
                length_max: length_max as u64,
            });
        }
        (0..length).try_for_each(|_| item(self))
    }

    pub(super) fn uint(&mut self) -> Result<u64, EdgeError> {
        self.decoder.u64().map_err(|error| self.refuse(&error))
    }

    /// An integer that fits.
    pub(super) fn small<T: TryFrom<u64>>(&mut self) -> Result<T, EdgeError> {
        let value = self.uint()?;
        T::try_from(value)
            .ok()
            .ok_or_else(|| EdgeError::malformed(self.what, format!("{value} does not fit")))
    }

    pub(super) fn int(&mut self) -> Result<i64, EdgeError> {
        self.decoder.i64().map_err(|error| self.refuse(&error))
    }

    pub(super) fn float(&mut self) -> Result<f64, EdgeError> {
        self.decoder.f64().map_err(|error| self.refuse(&error))
    }

    pub(super) fn text(&mut self, bytes_max: usize) -> Result<&'b str, EdgeError> {
        let text = self.decoder.str().map_err(|error| self.refuse(&error))?;
        check_length(self.what, text.len(), bytes_max)?;
        Ok(text)
    }

    pub(super) fn name(&mut self) -> Result<Name, EdgeError> {
        Name::new(self.text(NAME_BYTES_MAX)?)
    }

    pub(super) fn bytes(&mut self, bytes_max: usize) -> Result<&'b [u8], EdgeError> {
        let bytes = self.decoder.bytes().map_err(|error| self.refuse(&error))?;
        check_length(self.what, bytes.len(), bytes_max)?;
        Ok(bytes)
    }

    /// The bytes of the next data item, whatever it is.
    pub(super) fn raw(&mut self) -> Result<&'b [u8], EdgeError> {
        let from = self.decoder.position();
        self.skip()?;
        let read = self.decoder.input().get(from..self.decoder.position());
        Ok(read.unwrap_or_default())
    }

    fn skip(&mut self) -> Result<(), EdgeError> {
        self.decoder.skip().map_err(|error| self.refuse(&error))
    }

    fn refuse(&self, error: &minicbor::decode::Error) -> EdgeError {
        EdgeError::malformed(self.what, error.to_string())
    }

    fn indefinite(&self) -> EdgeError {
        EdgeError::malformed(self.what, "a length is indefinite")
    }
}

/// A field that must be there.
pub(super) fn required<T>(
    what: &'static str,
    field: &'static str,
    value: Option<T>,
) -> Result<T, EdgeError> {
    value.ok_or_else(|| EdgeError::malformed(what, format!("{field} is missing")))
}

/// The version of a format, if it is the one supported.
pub(super) fn version(
    what: &'static str,
    supported: u64,
    source: &mut Source<'_>,
) -> Result<(), EdgeError> {
    match source.uint()? {
        found if found == supported => Ok(()),
        found => Err(EdgeError::Version {
            what,
            found,
            supported,
        }),
    }
}
