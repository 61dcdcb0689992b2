//! An application on the machine's own store: what it makes of a change, and that it has, are one write.

use std::convert::Infallible;

use peaberry_chain::follow::{Change, Cursor, FOLLOW};
use peaberry_chain::primitives::{B256, keccak256};
use peaberry_core::{
    Channel, Effects, Input, Instant, Protocol, ProtocolId, Storage, StorageError, Subspace,
};

pub(super) const APPLICATION: Channel = Channel::new(ProtocolId(2000), 0);
const STATE: &[u8] = b"s";

/// Its state: how many changes it has applied, and a digest of them all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Applied {
    pub(super) number: u64,
    pub(super) digest: B256,
}

impl Applied {
    /// The state with one more change.
    pub(super) fn and(self, change: &Change) -> Self {
        let text = format!("{:?} {change:?}", self.digest);
        Self {
            number: self.number + 1,
            digest: keccak256(text),
        }
    }
}

/// What it says.
#[derive(Debug)]
pub(super) enum ApplicationEvent {
    /// The change is applied, durably.
    Applied(Applied),
    /// It was told another change than the next.
    OutOfOrder { number: u64, applied: u64 },
}

#[derive(Debug)]
pub(super) struct Application {
    space: Subspace,
    cursor: Cursor,
    applied: Applied,
}

impl Application {
    pub(super) fn open(storage: &dyn Storage) -> Result<Self, StorageError> {
        let space = Subspace::of(APPLICATION);
        let state = space.get(storage, STATE)?;
        let applied = state.as_deref().and_then(|bytes| {
            let (number, digest) = bytes.split_first_chunk()?;
            Some(Applied {
                number: u64::from_be_bytes(*number),
                digest: B256::try_from(digest).ok()?,
            })
        });
        Ok(Self {
            space,
            cursor: Cursor::of(Channel::new(FOLLOW, 0)),
            applied: applied.unwrap_or_default(),
        })
    }
}

impl Protocol for Application {
    type Command = Box<Change>;
    type Event = ApplicationEvent;
    type Error = Infallible;

    fn step(
        &mut self,
        _now: Instant,
        input: Input<Box<Change>>,
        fx: &mut Effects<'_, ApplicationEvent>,
    ) -> Result<(), Infallible> {
        let Input::Command(change) = input else {
            return Ok(());
        };
        let (number, applied) = (change.number, self.applied.number);
        if number != applied + 1 {
            fx.emit(ApplicationEvent::OutOfOrder { number, applied });
            return Ok(());
        }
        self.applied = self.applied.and(&change);
        let number_bytes = self.applied.number.to_be_bytes();
        let state = [number_bytes.as_slice(), self.applied.digest.as_slice()].concat();
        self.space.put(fx.batch(), STATE, &state);
        self.cursor.acknowledge(fx.batch(), number);
        fx.emit_after_commit(ApplicationEvent::Applied(self.applied));
        Ok(())
    }
}
