//! A state as bytes.

use alloc::string::String;
use alloc::vec::Vec;

use crate::arrivals::Arrivals;
use crate::removal_log::{REMOVAL_LOG_BYTES_MAX, RemovalLog};
use crate::store::held_twice;
use crate::wire::{DecodeError, Decoder, Encoder, IdTable, Message, StoreCodec};
use crate::{Causal, DotStore, Lattice, VersionVector};

/// Set if the log's floor is the whole vector: there is no log.
const NO_LOG: u8 = 1;

impl<S: StoreCodec> Causal<S> {
    /// The state without its log, as bytes: equal for equal states, whatever way they came about.
    #[must_use]
    pub fn canonical_bytes(&self) -> Vec<u8> {
        let table = IdTable::new();
        let mut encoder = Encoder::new(&table);
        self.write_content(&mut encoder);
        let mut bytes = Vec::new();
        encoder.finish(&mut bytes);
        bytes
    }

    fn write_content(&self, out: &mut Encoder<'_>) {
        out.vector(&self.context);
        S::encode_column(&[&self.store], out);
    }
}

/// With the log, as a replica stores itself. A budget set by [`Causal::limit_log`] is not kept.
impl<S: StoreCodec> Message for Causal<S> {
    const KIND: u8 = 1;

    fn describe(out: &mut String) {
        S::describe(out);
    }

    fn encode(&self, out: &mut Encoder<'_>) {
        let no_log = self.log.floor() == &self.context;
        out.u8(if no_log { NO_LOG } else { 0 });
        self.write_content(out);
        if !no_log {
            out.vector_below(self.log.floor(), &self.context);
            out.set_base(self.log.floor());
            out.u8(u8::from(!self.log.is_empty()));
            if !self.log.is_empty() {
                self.log.encode(out);
            }
        }
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let flags = input.u8()?;
        if flags & !NO_LOG != 0 {
            return Err(DecodeError::Malformed("flags of a state"));
        }
        let context = input.vector()?;
        let store = S::decode_column(1, input)?.pop();
        let mut state = Self {
            store: store.ok_or(DecodeError::Malformed("no store"))?,
            log: RemovalLog::default(),
            log_bytes_max: REMOVAL_LOG_BYTES_MAX,
            arrivals: Arrivals::default(),
            context,
        };
        if flags & NO_LOG == 0 {
            let floor = input.vector_below(&state.context)?;
            if floor == state.context {
                return Err(DecodeError::Malformed("floor of a state"));
            }
            state.log.cut(&floor);
            input.set_base(&floor);
            match input.u8()? {
                0 => {}
                1 => state.log.decode(&state.context, input)?,
                _ => return Err(DecodeError::Malformed("log of a state")),
            }
        } else {
            state.log.cut(&state.context);
        }
        state.validate()?;
        Ok(state)
    }
}

impl<S: DotStore> Causal<S> {
    fn validate(&self) -> Result<(), DecodeError> {
        let bottom = VersionVector::bottom();
        let mut unclaimed = None;
        self.store
            .for_each_after(&self.context, &mut |dot| unclaimed = Some(dot));
        self.store.for_each_named(&mut |dot| {
            if !self.context.covers(dot) {
                unclaimed = Some(dot);
            }
        });
        if let Some(dot) = unclaimed.or_else(|| self.log.first_removed_beyond(&self.context)) {
            let (replica, counter) = (dot.replica(), dot.counter());
            return Err(DecodeError::Unclaimed { replica, counter });
        }
        if held_twice(&self.store).is_some() {
            return Err(DecodeError::Malformed("a dot is held twice"));
        }
        let removed = self.log.all_removed();
        let mut held = false;
        self.store
            .for_each_after(&bottom, &mut |dot| held |= removed.contains(dot));
        if held {
            return Err(DecodeError::Malformed("a removed dot is held"));
        }
        Ok(())
    }
}
