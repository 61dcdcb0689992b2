//! Where orders are stored.

use bytes::Bytes;
use peaberry_core::wire::{Reader, WireError};
use peaberry_core::{Batch, Storage, StorageError, Subspace};

use crate::error::EdgeError;
use crate::name::Name;
use crate::payload::Text;

use super::state::Stored;

/// Orders under their numbers, stock under its resources, and the reason for a stop.
#[derive(Debug)]
pub(super) struct Journal {
    orders: Subspace,
    stock: Subspace,
    stop: Subspace,
}

/// The format of a stored order.
const VERSION: u8 = 1;

const ORDER: &str = "an order";

impl Journal {
    pub(super) fn new(space: &Subspace) -> Self {
        Self {
            orders: space.within(b"o"),
            stock: space.within(b"r"),
            stop: space.within(b"s"),
        }
    }

    pub(super) fn put_order(&self, batch: &mut Batch, number: u64, order: &Stored) {
        self.orders
            .put(batch, &number.to_be_bytes(), &encode(order));
    }

    pub(super) fn forget_order(&self, batch: &mut Batch, number: u64) {
        self.orders.delete(batch, &number.to_be_bytes());
    }

    pub(super) fn put_stock(&self, batch: &mut Batch, resource: &Name, units: u64) {
        let name = resource.as_str().as_bytes();
        self.stock.put(batch, name, &units.to_be_bytes());
    }

    pub(super) fn put_stop(&self, batch: &mut Batch, reason: Option<&Text>) {
        match reason {
            Some(reason) => self.stop.put(batch, b"", reason.as_str().as_bytes()),
            None => self.stop.delete(batch, b""),
        }
    }

    pub(super) fn stop(&self, storage: &dyn Storage) -> Result<Option<Text>, EdgeError> {
        let bytes = self.stop.get(storage, b"").map_err(unreadable)?;
        Ok(bytes.map(|bytes| Text::new(&String::from_utf8_lossy(&bytes))))
    }

    pub(super) fn stock(&self, storage: &dyn Storage) -> Result<Vec<(Name, u64)>, EdgeError> {
        scan(&self.stock, storage, |name, value| {
            let name = std::str::from_utf8(name).ok().map(Name::new);
            let name = name.and_then(Result::ok).ok_or(WireError::Truncated);
            let read = name.and_then(|name| Ok((name, number(value)?)));
            read.map_err(|source| stored("the stock", source))
        })
    }

    pub(super) fn orders(&self, storage: &dyn Storage) -> Result<Vec<(u64, Stored)>, EdgeError> {
        scan(&self.orders, storage, |name, value| {
            let number = number(name).map_err(|source| stored(ORDER, source))?;
            Ok((number, decode(value)?))
        })
    }
}

fn encode(order: &Stored) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    order.encode_into(&mut bytes);
    bytes
}

fn decode(bytes: &[u8]) -> Result<Stored, EdgeError> {
    let fail = |source| stored(ORDER, source);
    let mut reader = Reader::new(bytes);
    let found = reader.u8().map_err(fail)?;
    if found != VERSION {
        return Err(EdgeError::Version {
            what: ORDER,
            found: u64::from(found),
            supported: u64::from(VERSION),
        });
    }
    let order = Stored::decode_from(&mut reader).map_err(fail)?;
    reader.finish().map_err(fail)?;
    Ok(order)
}

/// Feeds any bytes at all to the decoder of stored orders.
pub(super) fn decode_any(bytes: &[u8]) {
    if let Ok(order) = decode(bytes) {
        assert_eq!(encode(&order), bytes, "an order has one spelling");
    }
}

fn number(bytes: &[u8]) -> Result<u64, WireError> {
    let mut reader = Reader::new(bytes);
    let number = u64::from_be_bytes(reader.array()?);
    reader.finish()?;
    Ok(number)
}

fn unreadable(source: StorageError) -> EdgeError {
    EdgeError::Storage {
        doing: "read the orders",
        source,
    }
}

const fn stored(what: &'static str, source: WireError) -> EdgeError {
    EdgeError::Stored { what, source }
}

/// Everything in `space`, each entry as `read` has it, in ascending order of names.
fn scan<T>(
    space: &Subspace,
    storage: &dyn Storage,
    read: impl Fn(&[u8], &[u8]) -> Result<T, EdgeError>,
) -> Result<Vec<T>, EdgeError> {
    let entries = space.entries(storage);
    let read_one = |entry: Result<(Bytes, Bytes), StorageError>| {
        let (name, value) = entry.map_err(unreadable)?;
        read(&name, &value)
    };
    entries.map(read_one).collect()
}
