//! Some of what one state has over another, without the rest.

use alloc::vec::Vec;

use crate::arrivals::Order;
use crate::delta::{Cuts, events_between};
use crate::wire::{Message, StoreCodec};
use crate::{Causal, Delta, Interval, Lattice as _, VersionVector};

/// How many places are looked at first; then twice as many, until they fill a part.
const PLACES_MIN: u64 = 16;

impl<S: StoreCodec> Causal<S> {
    /// A first part of [`delta_since`](Self::delta_since), as [`Delta::split`] makes them. Costs what the part carries,
    /// however much lies behind it; but for a peer behind the log's floor, who is told all at once, and where it is not
    /// known in which order events of several replicas came, as of a state read from bytes without that
    /// ([`restore_order`](Self::restore_order)): those are one part.
    #[must_use]
    pub fn first_part_since(&self, known: &VersionVector, bytes_max: usize) -> Delta<S> {
        self.first_part_by(known, bytes_max, &mut || ())
    }

    /// Calls `step` for each dot that is looked at.
    fn first_part_by(
        &self,
        known: &VersionVector,
        bytes_max: usize,
        step: &mut impl FnMut(),
    ) -> Delta<S> {
        let from = known.meet(&self.context);
        let events: Vec<Interval> = self.context.since(&from).collect();
        let mut cuts = Cuts::of(Order::of(&events, &self.arrivals.after(&from)));
        let mut places = PLACES_MIN;
        while self.log.floor().partial_le(&from) && places < cuts.places() {
            let upto = cuts.upto(&from, places - 1);
            let first = events_between((&self.store, &self.log), &from, &upto, step);
            if first.to_bytes().len() > bytes_max
                && let Some(part) = first.first_closed_part(&mut cuts, places - 1, bytes_max, step)
            {
                return part;
            }
            places = places.saturating_mul(2);
        }
        self.delta_since(known).first_part_by(bytes_max, step)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec::Vec;

    use crate::{AddWinsSet, Causal, Changed, Lattice, ReplicaId, VersionVector, Writer};

    type Tags = Causal<AddWinsSet<String>>;

    fn writers() -> [Writer; 2] {
        [2, 1].map(|number| Writer::new(ReplicaId::new(number).unwrap(), 0, 100_000))
    }

    fn add(tags: &mut Tags, writer: &mut Writer, number: usize, length: usize) {
        let tag = alloc::format!("{number:0length$}");
        tags.write(writer, |set, mint| Ok(set.add(mint, tag)))
            .unwrap();
    }

    /// A peer that refuses what comes first is tried over and over, each time with what there is then.
    #[test]
    fn a_first_part_costs_what_it_carries_and_not_what_lies_behind() {
        for (length, bytes_max) in [
            (8, 0),
            (8, 400),
            (1_000, 400),
            (1_000, 16 << 10),
            (8, 16 << 10),
        ] {
            let mut looked_at = Vec::new();
            for count in [16_000, 32_000] {
                let (mut tags, [mut writer, _]) = (Tags::bottom(), writers());
                for number in 0..count {
                    // Of long ones a few do.
                    let length = if number < 4_000 { length } else { 8 };
                    add(&mut tags, &mut writer, number, length);
                }
                let mut steps = 0;
                let part = tags.first_part_by(&VersionVector::new(), bytes_max, &mut || steps += 1);
                let carried: u64 = part.events().map(|events| events.len()).sum();
                assert!(
                    carried > 0 && steps <= 10 * carried + 64,
                    "{steps} for {carried}"
                );
                looked_at.push(steps);
            }
            assert_eq!(looked_at.first(), looked_at.last());
        }
    }

    /// Part after part, whatever was removed in the meantime, and by whom: as the whole at once.
    #[test]
    fn parts_one_after_the_other_are_the_whole() {
        for (removes, collects) in [(1, false), (3, false), (50, false), (3, true)] {
            let (mut tags, mut writers) = (Tags::bottom(), writers());
            for number in 0..600 {
                let writer = &mut writers[usize::from(number % 7 == 0)];
                add(&mut tags, writer, number, 4);
                if number % 2 == 0 && number >= removes {
                    let tag = alloc::format!("{:04}", number - removes);
                    tags.write(writer, |set, _| Ok(set.remove(&tag))).unwrap();
                }
            }
            if collects {
                let known = tags.vector().clone();
                tags.collect(&known);
                add(&mut tags, &mut writers[0], 1_000, 4);
            }
            for bytes_max in [0, 300, 4_000] {
                let (mut there, mut parts) = (Tags::bottom(), 0);
                while there.vector() != tags.vector() {
                    let part = tags.first_part_since(there.vector(), bytes_max);
                    assert_eq!(there.apply(&part), Ok(Changed::Yes));
                    parts += 1;
                }
                assert_eq!(there, tags);
                if bytes_max == 0 {
                    let split = tags.delta_since(&VersionVector::new()).split(0);
                    assert_eq!(parts, split.len());
                }
            }
        }
    }
}
