//! What each type should show, read from the events alone.

use std::collections::BTreeSet;

use peaberry_crdt::{
    AddWinsSet, DisableWinsFlag, Edit, EnableWinsFlag, GrowOnlySet, LwwRegister, Mint, MvRegister,
    ObservedRemoveMap, RemoveWinsSet, ResettableCounter, Stamp, WriteError,
};

use crate::history::{Event, Subject, survivors};

#[derive(Clone, Debug)]
pub(crate) enum SetOp {
    Add(u8),
    Remove(u8),
    Clear,
}

impl SetOp {
    fn random(choice: u8, detail: u8) -> Self {
        match choice % 8 {
            0..4 => Self::Add(detail % 4),
            4..7 => Self::Remove(detail % 4),
            _ => Self::Clear,
        }
    }

    fn concerns(&self, element: u8) -> bool {
        match self {
            Self::Add(other) | Self::Remove(other) => *other == element,
            Self::Clear => true,
        }
    }
}

pub(crate) struct AddWins;

impl Subject for AddWins {
    type Store = AddWinsSet<u8>;
    type Op = SetOp;
    type View = BTreeSet<u8>;

    fn op(_: &Self::Store, choice: u8, detail: u8) -> SetOp {
        SetOp::random(choice, detail)
    }

    fn edit(set: &Self::Store, mint: Mint, op: &SetOp) -> Result<Edit<Self::Store>, WriteError> {
        Ok(match op {
            SetOp::Add(element) => set.add(mint, *element),
            SetOp::Remove(element) => set.remove(element),
            SetOp::Clear => set.clear(),
        })
    }

    fn view(set: &Self::Store) -> BTreeSet<u8> {
        assert_eq!(set.iter().len(), set.len());
        set.iter()
            .copied()
            .filter(|element| set.contains(element))
            .collect()
    }

    fn specification(events: &[Event<SetOp>]) -> BTreeSet<u8> {
        let overrides = |later: &SetOp, op: &SetOp| matches!(op, SetOp::Add(element) if later.concerns(*element));
        let alive = survivors(events, overrides);
        alive
            .iter()
            .filter_map(|event| {
                if let SetOp::Add(element) = event.op {
                    Some(element)
                } else {
                    None
                }
            })
            .collect()
    }
}

pub(crate) struct RemoveWins;

impl Subject for RemoveWins {
    type Store = RemoveWinsSet<u8>;
    type Op = (u8, bool);
    type View = BTreeSet<u8>;

    fn op(_: &Self::Store, choice: u8, detail: u8) -> Self::Op {
        (detail % 4, !choice.is_multiple_of(3))
    }

    fn edit(set: &Self::Store, mint: Mint, op: &Self::Op) -> Result<Edit<Self::Store>, WriteError> {
        Ok(if op.1 {
            set.add(mint, op.0)
        } else {
            set.remove(mint, op.0)
        })
    }

    fn view(set: &Self::Store) -> BTreeSet<u8> {
        set.iter()
            .copied()
            .filter(|element| set.contains(element))
            .collect()
    }

    fn specification(events: &[Event<Self::Op>]) -> BTreeSet<u8> {
        let alive = survivors(events, |later, op| later.0 == op.0);
        let added = alive
            .iter()
            .filter(|event| event.op.1)
            .map(|event| event.op.0);
        added
            .filter(|element| !alive.iter().any(|event| event.op == (*element, false)))
            .collect()
    }
}

pub(crate) struct GrowOnly;

impl Subject for GrowOnly {
    type Store = GrowOnlySet<u8>;
    type Op = u8;
    type View = BTreeSet<u8>;

    fn op(_: &Self::Store, _: u8, detail: u8) -> u8 {
        detail % 16
    }

    fn edit(set: &Self::Store, mint: Mint, op: &u8) -> Result<Edit<Self::Store>, WriteError> {
        Ok(set.add(mint, *op))
    }

    fn view(set: &Self::Store) -> BTreeSet<u8> {
        set.iter().copied().collect()
    }

    fn specification(events: &[Event<u8>]) -> BTreeSet<u8> {
        events.iter().map(|event| event.op).collect()
    }
}

pub(crate) struct Mv;

impl Subject for Mv {
    type Store = MvRegister<u8>;
    /// `None` clears.
    type Op = Option<u8>;
    type View = Vec<u8>;

    fn op(_: &Self::Store, choice: u8, detail: u8) -> Self::Op {
        (!choice.is_multiple_of(4)).then_some(detail)
    }

    fn edit(
        register: &Self::Store,
        mint: Mint,
        op: &Self::Op,
    ) -> Result<Edit<Self::Store>, WriteError> {
        Ok(op.map_or_else(|| register.clear(), |value| register.write(mint, value)))
    }

    fn view(register: &Self::Store) -> Vec<u8> {
        register.values().copied().collect()
    }

    fn specification(events: &[Event<Self::Op>]) -> Vec<u8> {
        survivors(events, |_, op| op.is_some())
            .iter()
            .filter_map(|event| event.op)
            .collect()
    }
}

pub(crate) struct Lww;

impl Subject for Lww {
    type Store = LwwRegister<u8>;
    type Op = (Stamp, u8);
    type View = Option<u8>;

    /// Clocks of little resolution and great skew, so that stamps often tie.
    fn op(register: &Self::Store, choice: u8, detail: u8) -> Self::Op {
        let seen = register
            .stamps()
            .map(|(_, stamp)| stamp.wall_ms + 1)
            .max()
            .unwrap_or_default();
        (
            Stamp {
                wall_ms: seen.max(u64::from(choice % 4)),
                logical: 0,
            },
            detail,
        )
    }

    fn edit(
        register: &Self::Store,
        mint: Mint,
        op: &Self::Op,
    ) -> Result<Edit<Self::Store>, WriteError> {
        register.write(mint, op.0, op.1)
    }

    fn view(register: &Self::Store) -> Self::View {
        register.value().copied()
    }

    /// The highest of all writes: nothing needs to know what has seen what.
    fn specification(events: &[Event<Self::Op>]) -> Self::View {
        events
            .iter()
            .max_by_key(|event| (event.op.0, event.dot.replica(), event.op.1))
            .map(|event| event.op.1)
    }
}

pub(crate) struct EnableWins;

impl Subject for EnableWins {
    type Store = EnableWinsFlag;
    type Op = bool;
    type View = bool;

    fn op(_: &Self::Store, choice: u8, _: u8) -> bool {
        choice.is_multiple_of(2)
    }

    fn edit(flag: &Self::Store, mint: Mint, op: &bool) -> Result<Edit<Self::Store>, WriteError> {
        Ok(if *op {
            flag.enable(mint)
        } else {
            flag.disable()
        })
    }

    fn view(flag: &Self::Store) -> bool {
        flag.is_enabled()
    }

    fn specification(events: &[Event<bool>]) -> bool {
        survivors(events, |_, _| true).iter().any(|event| event.op)
    }
}

pub(crate) struct DisableWins;

impl Subject for DisableWins {
    type Store = DisableWinsFlag;
    type Op = bool;
    type View = bool;

    fn op(_: &Self::Store, choice: u8, _: u8) -> bool {
        !choice.is_multiple_of(3)
    }

    fn edit(flag: &Self::Store, mint: Mint, op: &bool) -> Result<Edit<Self::Store>, WriteError> {
        Ok(if *op {
            flag.enable(mint)
        } else {
            flag.disable(mint)
        })
    }

    fn view(flag: &Self::Store) -> bool {
        flag.is_enabled()
    }

    fn specification(events: &[Event<bool>]) -> bool {
        let alive = survivors(events, |_, _| true);
        !alive.is_empty() && alive.iter().all(|event| event.op)
    }
}

pub(crate) struct Resettable;

impl Subject for Resettable {
    type Store = ResettableCounter;
    /// `None` resets.
    type Op = Option<i64>;
    type View = i128;

    fn op(_: &Self::Store, choice: u8, detail: u8) -> Self::Op {
        (!choice.is_multiple_of(4)).then(|| i64::from(detail) - 100)
    }

    fn edit(
        counter: &Self::Store,
        mint: Mint,
        op: &Self::Op,
    ) -> Result<Edit<Self::Store>, WriteError> {
        op.map_or_else(
            || Ok(counter.reset(mint)),
            |amount| counter.add(mint, amount),
        )
    }

    fn view(counter: &Self::Store) -> i128 {
        counter.value()
    }

    /// What was added by changes that no reset has seen.
    fn specification(events: &[Event<Self::Op>]) -> i128 {
        survivors(events, |later, _| later.is_none())
            .iter()
            .filter_map(|event| event.op)
            .map(i128::from)
            .sum()
    }
}

type Inner = ObservedRemoveMap<u8, ObservedRemoveMap<u8, AddWinsSet<u8>>>;

/// A set in a map in a map in a map.
pub(crate) struct Nested;

#[derive(Clone, Debug)]
pub(crate) enum NestedOp {
    Add(u8, u8, u8, u8),
    RemoveElement(u8, u8, u8, u8),
    RemoveInner(u8, u8, u8),
    RemoveMiddle(u8, u8),
    RemoveOuter(u8),
}

impl Subject for Nested {
    type Store = ObservedRemoveMap<u8, Inner>;
    type Op = NestedOp;
    type View = BTreeSet<(u8, u8, u8, u8)>;

    fn op(_: &Self::Store, choice: u8, detail: u8) -> NestedOp {
        let [a, b, c, element] = [0, 1, 2, 3].map(|bit| detail >> bit & 1);
        match choice % 12 {
            0..6 => NestedOp::Add(a, b, c, element),
            6..9 => NestedOp::RemoveElement(a, b, c, element),
            9 => NestedOp::RemoveInner(a, b, c),
            10 => NestedOp::RemoveMiddle(a, b),
            _ => NestedOp::RemoveOuter(a),
        }
    }

    fn edit(map: &Self::Store, mint: Mint, op: &NestedOp) -> Result<Edit<Self::Store>, WriteError> {
        match *op {
            NestedOp::Add(a, b, c, element) => map.update(a, |map| {
                map.update(b, |map| map.update(c, |set| Ok(set.add(mint, element))))
            }),
            NestedOp::RemoveElement(a, b, c, element) => map.update(a, |map| {
                map.update(b, |map| map.update(c, |set| Ok(set.remove(&element))))
            }),
            NestedOp::RemoveInner(a, b, c) => {
                map.update(a, |map| map.update(b, |map| Ok(map.remove(&c))))
            }
            NestedOp::RemoveMiddle(a, b) => map.update(a, |map| Ok(map.remove(&b))),
            NestedOp::RemoveOuter(a) => Ok(map.remove(&a)),
        }
    }

    fn view(map: &Self::Store) -> Self::View {
        let mut view = BTreeSet::new();
        for (a, middle) in map.iter() {
            assert!(middle.iter().len() > 0, "an empty map is not held");
            for (b, inner) in middle.iter() {
                assert!(inner.iter().len() > 0, "an empty map is not held");
                for (c, set) in inner.iter() {
                    assert!(!set.is_empty(), "an empty set is not held");
                    view.extend(set.iter().map(|element| (*a, *b, *c, *element)));
                }
            }
        }
        view
    }

    fn specification(events: &[Event<NestedOp>]) -> Self::View {
        let overrides = |later: &NestedOp, op: &NestedOp| {
            let NestedOp::Add(a, b, c, e) = *op else {
                return false;
            };
            match *later {
                NestedOp::Add(x, y, z, w) | NestedOp::RemoveElement(x, y, z, w) => {
                    (x, y, z, w) == (a, b, c, e)
                }
                NestedOp::RemoveInner(x, y, z) => (x, y, z) == (a, b, c),
                NestedOp::RemoveMiddle(x, y) => (x, y) == (a, b),
                NestedOp::RemoveOuter(x) => x == a,
            }
        };
        let alive = survivors(events, overrides);
        let adds = alive.iter().filter_map(|event| match event.op {
            NestedOp::Add(a, b, c, element) => Some((a, b, c, element)),
            _ => None,
        });
        adds.collect()
    }
}
