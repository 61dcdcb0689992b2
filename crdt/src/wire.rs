//! Bytes: canonical, versioned, checked, and bounded before anything is allocated.
//!
//! `FORMAT.md` beside the crate's manifest has every byte. In short: integers are varints in their shortest form, dots
//! are columns with run lengths, replica ids are named once in a message and then by their index.
//!
//! # Two encodings
//!
//! - [`Message::to_bytes`] stands alone: magic, version, kind, schema, ids, body, checksum. For files, and for links
//!   without a session.
//! - [`Message::to_session_bytes`] leaves out what both ends of a session have agreed on: version and schema, and the
//!   ids of an [`IdTable`]. Ids that are not in the table are still told. [`seal`] and [`open`] add and check the
//!   checksum of the frame that carries it.
//!
//! # What to implement
//!
//! [`Element`] for what you keep in sets, maps and registers. [`StoreCodec`] for a store of your own; the macro
//! [`dot_store!`](crate::dot_store) does it for a type made of stores. [`Message`] for a document with an encoding of
//! its own.
//!
//! ```
//! use peaberry_crdt::wire::{Budget, DecodeError, Decoder, Element, Encoder, Message};
//! use peaberry_crdt::{AddWinsSet, Causal, Delta, Lattice, ReplicaId, Writer};
//!
//! #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
//! struct Table { room: String, seats: u64 }
//!
//! impl Element for Table {
//!     fn describe(out: &mut String) { out.push_str("Table"); }
//!     fn encode(&self, out: &mut Encoder<'_>) { self.room.encode(out); self.seats.encode(out); }
//!     fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
//!         Ok(Self { room: String::decode(input)?, seats: u64::decode(input)? })
//!     }
//! }
//!
//! let mut tables: Causal<AddWinsSet<Table>> = Causal::bottom();
//! let mut writer = Writer::new(ReplicaId::new(1).unwrap(), 0, 10);
//! let table = Table { room: "terrace".into(), seats: 4 };
//! let delta = tables.write(&mut writer, |set, mint| Ok(set.add(mint, table))).unwrap();
//!
//! let bytes = delta.to_bytes();
//! let mut there: Causal<AddWinsSet<Table>> = Causal::bottom();
//! there.apply(&Delta::from_bytes(&bytes, Budget::default()).unwrap()).unwrap();
//! assert_eq!(there, tables);
//! assert!(Delta::<AddWinsSet<Table>>::from_bytes(&bytes[..bytes.len() - 1], Budget::default()).is_err());
//! ```

mod budget;
mod causality;
mod column;
#[cfg(feature = "compress")]
mod container;
mod counter;
mod decoder;
mod element;
mod encoder;
mod error;
mod ids;
mod message;
#[cfg(feature = "serde")]
mod serde;
mod store;

pub use budget::Budget;
pub use column::RUN_MAX;
#[cfg(feature = "compress")]
#[doc(hidden)]
pub use container::decompress_any;
#[cfg(feature = "compress")]
pub use container::{CONTAINER_MAGIC, compress, decompress};
pub use decoder::Decoder;
pub(crate) use decoder::over;
pub use element::Element;
pub use encoder::Encoder;
pub(crate) use encoder::{unzigzag, zigzag};
pub use error::{Bound, DecodeError};
pub use ids::IdTable;
pub use message::{MAGIC, Message, VERSION, open, schema, seal};
pub use store::StoreCodec;
