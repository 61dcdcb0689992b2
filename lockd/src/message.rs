//! What clients and services send each other. Many calls share one message.

use bytes::Bytes;
use peaberry_consensus::{Apply, Restore, StateMachine};
use peaberry_core::{Batch, PeerId};

use crate::codec::{Malformed, Reader, VERSION, put_bytes, put_number};
use crate::limits::REQUEST_BYTES_MAX;
use crate::lock_table::LockTable;
use crate::request::{Answer, Entry, EntryReply, Notice, Query, Reply, Request, answers_of};

/// One call of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call<'a> {
    /// The client's number for it: comes back with the answer.
    pub(crate) number: u64,
    pub(crate) kind: CallKind,
    pub(crate) body: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    /// The body is a [`Request`](crate::request::Request).
    Request,
    /// The body is a [`Query`](crate::request::Query).
    Query,
}

/// One thing that a service tells a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told<'a> {
    /// The table's [`Reply`](crate::request::Reply) to a request.
    Reply { call: u64, body: &'a [u8] },
    /// The table's [`Answer`](crate::request::Answer) to a query.
    Answer { call: u64, body: &'a [u8] },
    /// Ask again; whether the request was executed is not known, and need not be.
    Again { call: u64, reason: Again },
    /// A [`Notice`](crate::request::Notice).
    Notice { body: &'a [u8] },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    NotLeader { hint: Option<PeerId> },
    Busy,
    Unknown,
}

pub(crate) fn put_call(out: &mut Vec<u8>, call: Call<'_>) {
    begin(out);
    put_number(out, call.number);
    out.push(match call.kind {
        CallKind::Request => 0,
        CallKind::Query => 1,
    });
    put_bytes(out, call.body);
}

pub(crate) fn put_told(out: &mut Vec<u8>, told: Told<'_>) {
    begin(out);
    match told {
        Told::Reply { call, body } => {
            out.push(0);
            put_number(out, call);
            put_bytes(out, body);
        }
        Told::Answer { call, body } => {
            out.push(1);
            put_number(out, call);
            put_bytes(out, body);
        }
        Told::Again { call, reason } => {
            let (code, hint) = match reason {
                Again::NotLeader { hint } => (2, hint),
                Again::Busy => (3, None),
                Again::Unknown => (4, None),
            };
            out.push(code);
            put_number(out, call);
            if code == 2 {
                put_number(out, hint.map_or(0, PeerId::get));
            }
        }
        Told::Notice { body } => {
            out.push(5);
            put_bytes(out, body);
        }
    }
}

fn begin(out: &mut Vec<u8>) {
    if out.is_empty() {
        out.push(VERSION);
    }
}

/// Reads the parts of a message to its end, or to the first that is malformed.
#[derive(Debug)]
pub(crate) struct Parts<'a, T> {
    reader: Reader<'a>,
    read: fn(&mut Reader<'a>) -> Result<T, Malformed>,
}

impl<T> Iterator for Parts<'_, T> {
    type Item = Result<T, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let part = (self.read)(&mut self.reader);
        if part.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(part)
    }
}

pub(crate) fn calls(message: &[u8]) -> Result<Parts<'_, Call<'_>>, Malformed> {
    let reader = Reader::versioned(message)?;
    Ok(Parts { reader, read: call })
}

fn call<'a>(reader: &mut Reader<'a>) -> Result<Call<'a>, Malformed> {
    Ok(Call {
        number: reader.number()?,
        kind: if reader.flag()? {
            CallKind::Query
        } else {
            CallKind::Request
        },
        body: reader.bytes(REQUEST_BYTES_MAX)?,
    })
}

pub(crate) fn tidings(message: &[u8]) -> Result<Parts<'_, Told<'_>>, Malformed> {
    let reader = Reader::versioned(message)?;
    Ok(Parts { reader, read: told })
}

fn told<'a>(reader: &mut Reader<'a>) -> Result<Told<'a>, Malformed> {
    let code = reader.byte()?;
    if code == 5 {
        let body = reader.bytes(reader.remaining())?;
        return Ok(Told::Notice { body });
    }
    let call = reader.number()?;
    let again = |reason| Ok(Told::Again { call, reason });
    match code {
        0 => Ok(Told::Reply {
            call,
            body: reader.bytes(reader.remaining())?,
        }),
        1 => Ok(Told::Answer {
            call,
            body: reader.bytes(reader.remaining())?,
        }),
        2 => again(Again::NotLeader {
            hint: PeerId::new(reader.number()?),
        }),
        3 => again(Again::Busy),
        4 => again(Again::Unknown),
        _ => Err(Malformed::new("unknown part of a message")),
    }
}

/// Any bytes at all as whatever clients, services, the log and snapshots hold: for fuzzing.
#[doc(hidden)]
pub fn decode_any_lockd_bytes(bytes: &[u8]) {
    if let Ok(request) = Request::decode(bytes) {
        let mut again = Vec::new();
        request.encode(&mut again);
        assert_eq!(again, bytes, "one request, one spelling");
    }
    let _ = (Reply::decode(bytes), Answer::decode(bytes));
    let _ = (Query::decode(bytes), Notice::decode(bytes));
    let _ = Entry::decode(bytes);
    let shared = Bytes::copy_from_slice(bytes);
    let _ = (EntryReply::decode(&shared), answers_of(&shared));
    let _ = calls(bytes).map(Iterator::count);
    let _ = tidings(bytes).map(Iterator::count);
    // A table answers any entry and any query, and is restored from no snapshot but its own.
    let mut table = LockTable::new();
    table.apply(&mut Apply::new(
        1,
        bytes,
        &mut Vec::new(),
        &mut Batch::new(),
    ));
    table.query(bytes);
    let mut restore = table.begin_restore();
    if restore.chunk(bytes).is_ok() {
        let _ = restore.finish();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_come_back_in_order() {
        let hint = PeerId::new(3);
        let parts = [
            Told::Reply {
                call: 7,
                body: b"r",
            },
            Told::Answer {
                call: 300,
                body: b"",
            },
            Told::Again {
                call: 8,
                reason: Again::NotLeader { hint },
            },
            Told::Again {
                call: 8,
                reason: Again::NotLeader { hint: None },
            },
            Told::Again {
                call: 9,
                reason: Again::Busy,
            },
            Told::Again {
                call: 10,
                reason: Again::Unknown,
            },
            Told::Notice { body: b"n" },
        ];
        let mut message = Vec::new();
        for part in parts {
            put_told(&mut message, part);
        }
        let back: Result<Vec<_>, _> = tidings(&message).unwrap().collect();
        assert_eq!(back.unwrap(), parts);

        let asked = [
            Call {
                number: 1,
                kind: CallKind::Request,
                body: b"a",
            },
            Call {
                number: 2,
                kind: CallKind::Query,
                body: b"b",
            },
        ];
        let mut message = Vec::new();
        for part in asked {
            put_call(&mut message, part);
        }
        let back: Result<Vec<_>, _> = calls(&message).unwrap().collect();
        assert_eq!(back.unwrap(), asked);
    }

    proptest! {
        #[test]
        fn any_bytes_end(mut bytes in prop::collection::vec(any::<u8>(), 0..64), begins_right: bool) {
            if let Some(first) = bytes.first_mut().filter(|_| begins_right) {
                *first = VERSION;
            }
            decode_any_lockd_bytes(&bytes);
            let parts = calls(&bytes).map_or(0, Iterator::count) + tidings(&bytes).map_or(0, Iterator::count);
            prop_assert!(parts <= 2 * bytes.len());
        }
    }
}
