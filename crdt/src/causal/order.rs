//! The order in which a state came to know its events, as bytes beside its own.

use alloc::vec::Vec;

use crate::arrivals::Arrivals;
use crate::wire::{Budget, DecodeError, Decoder, Encoder, IdTable, open, seal};
use crate::{Causal, DotStore};

/// As those of the state beside which they lie: nobody else's.
const OWN: Budget = Budget {
    bytes_max: usize::MAX,
    ids_max: usize::MAX,
    dots_max: usize::MAX,
    intervals_max: usize::MAX,
    events_max: u64::MAX,
    depth_max: 1,
};

impl<S: DotStore> Causal<S> {
    /// In which order the events became known: no part of the state, nor of its bytes. Kept beside these and given to
    /// [`restore_order`](Self::restore_order), it lets what was read be cut into parts as what was written.
    #[must_use]
    pub fn order_bytes(&self) -> Vec<u8> {
        let table = IdTable::new();
        let mut out = Encoder::new(&table);
        out.raw(&self.context.digest());
        self.arrivals.encode(&mut out);
        let mut bytes = Vec::new();
        out.finish(&mut bytes);
        seal(&mut bytes, 0);
        bytes
    }

    /// Takes up what [`order_bytes`](Self::order_bytes) told of this state. What it told of another, as of this one with fewer
    /// events, is ignored: in that order the others would come first.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]; nothing changed.
    pub fn restore_order(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let table = IdTable::new();
        let mut input = Decoder::new(open(bytes)?, &table, OWN)?;
        if input.array()? != self.context.digest() {
            return Ok(());
        }
        let arrivals = Arrivals::decode(&self.context, &mut input)?;
        input.finish()?;
        self.arrivals = arrivals;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use crate::wire::{Budget, Message as _, seal};
    use crate::{AddWinsSet, Causal, Lattice as _, ReplicaId, VersionVector, Writer};

    type Tags = Causal<AddWinsSet<u32>>;

    fn written_by_two(count: u32) -> Tags {
        let mut writers = [1, 2].map(|id| Writer::new(ReplicaId::new(id).unwrap(), 0, 10_000));
        let mut tags = Tags::bottom();
        for tag in 0..count {
            let writer = &mut writers[usize::from(tag % 3 == 0)];
            tags.write(writer, |set, mint| Ok(set.add(mint, tag)))
                .unwrap();
        }
        tags
    }

    fn read_again(tags: &Tags) -> Tags {
        let mut again = Tags::from_bytes(&tags.to_bytes(), Budget::default()).unwrap();
        again.restore_order(&tags.order_bytes()).unwrap();
        again
    }

    #[test]
    fn what_was_read_is_cut_as_what_was_written() {
        let tags = written_by_two(200);
        let again = read_again(&tags);
        let parts = |tags: &Tags| {
            let whole = tags.delta_since(&VersionVector::new());
            whole.split(200)
        };
        assert!(parts(&tags).len() > 3);
        assert_eq!(parts(&again), parts(&tags));
        assert_eq!(again.order_bytes(), tags.order_bytes());
        let without = Tags::from_bytes(&tags.to_bytes(), Budget::default()).unwrap();
        assert_eq!(parts(&without).len(), 1);
    }

    /// It would have the events that it does not tell come before all others.
    #[test]
    fn the_order_of_an_earlier_state_is_ignored() {
        let mut tags = written_by_two(200);
        let order = tags.order_bytes();
        let mut writer = Writer::new(ReplicaId::new(3).unwrap(), 0, 10);
        tags.write(&mut writer, |set, mint| Ok(set.add(mint, 999)))
            .unwrap();
        let mut again = Tags::from_bytes(&tags.to_bytes(), Budget::default()).unwrap();
        let before = again.order_bytes();
        again.restore_order(&order).unwrap();
        assert_eq!(again.order_bytes(), before);
    }

    #[test]
    fn an_order_of_events_that_are_not_there_or_come_twice_is_refused() {
        let tags = written_by_two(3);
        let order = tags.order_bytes();
        for length in 0..order.len() {
            let mut again = tags.clone();
            assert!(again.restore_order(&order[..length]).is_err());
        }
        // Two ids of 16 bytes, a digest, and two steps: of the first, its intervals less one, id, first and length less one.
        let steps = 1 + 32 + 16;
        assert_eq!(order[steps..order.len() - 4], [2, 0, 0, 1, 0, 0, 1, 1, 1]);
        for (at, byte) in [(2, 7), (3, 7), (4, 9), (6, 7), (7, 9), (8, 0xff), (6, 0)] {
            let mut forged: Vec<u8> = order[..order.len() - 4].to_vec();
            forged[steps + at] = byte;
            seal(&mut forged, 0);
            let mut again = tags.clone();
            assert!(again.restore_order(&forged).is_err(), "{byte} at {at}");
            assert_eq!(again.order_bytes(), order);
        }
    }
}
