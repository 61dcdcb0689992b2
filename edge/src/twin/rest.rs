//! A document that nobody looks at is its bytes.

use std::sync::OnceLock;

use bytes::Bytes;
use peaberry_crdt::Lattice;
use peaberry_crdt::wire::{Budget, Message};

use super::{Document, REMOVALS_BYTES_MAX, WHAT};
use crate::error::EdgeError;

/// A document, or what it is read from when somebody looks: a twin is looked at for moments, hours apart, and takes ten
/// times as much room then.
#[derive(Debug)]
pub(super) struct Resting {
    awake: OnceLock<Box<Document>>,
    /// What `awake` was read from; empty once that may have changed.
    bytes: Bytes,
}

impl Resting {
    pub(super) fn new() -> Self {
        let mut document = Document::bottom();
        document.limit_log(REMOVALS_BYTES_MAX);
        Self {
            awake: Box::new(document).into(),
            bytes: Bytes::new(),
        }
    }

    /// What was stored.
    pub(super) fn stored(bytes: Bytes) -> Result<Self, EdgeError> {
        let document = read(&bytes)?;
        Ok(Self {
            awake: Box::new(document).into(),
            bytes,
        })
    }

    pub(super) fn get(&self) -> &Document {
        self.awake.get_or_init(|| {
            let document = read(&self.bytes).expect("a document reads its own bytes");
            Box::new(document)
        })
    }

    pub(super) fn get_mut(&mut self) -> &mut Document {
        self.get();
        self.bytes = Bytes::new();
        self.awake.get_mut().expect("it was woken above")
    }

    /// Becomes `document`, if its bytes keep to `budget`: they will be read again.
    pub(super) fn become_if_within(
        &mut self,
        budget: &Budget,
        document: Document,
    ) -> Result<(), EdgeError> {
        let bytes = Bytes::from(document.to_bytes());
        Document::from_bytes(&bytes, *budget).map_err(|error| {
            let reason = format!("the twin would become too large with it: {error}");
            EdgeError::malformed(WHAT, reason)
        })?;
        *self = Self {
            awake: Box::new(document).into(),
            bytes,
        };
        Ok(())
    }

    /// What it is read from.
    pub(super) fn bytes(&mut self) -> &Bytes {
        if self.bytes.is_empty()
            && let Some(document) = self.awake.get()
        {
            self.bytes = document.to_bytes().into();
        }
        &self.bytes
    }

    pub(super) fn rest(&mut self) {
        self.bytes();
        self.awake = OnceLock::new();
    }
}

/// With more room than it is ever given: own writes come on top of what others made.
fn read(bytes: &[u8]) -> Result<Document, EdgeError> {
    let mut document = Document::from_bytes(bytes, Budget::default())
        .map_err(|error| EdgeError::malformed("stored twin", error.to_string()))?;
    document.limit_log(REMOVALS_BYTES_MAX);
    Ok(document)
}
