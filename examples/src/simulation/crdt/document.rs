//! What the members write: tags, bans, a price, shelves, a count and whether it is open; and what a naive reading of its
//! events says.

use std::collections::{BTreeMap, BTreeSet};

use peaberry_crdt::{
    AddWinsSet, Causal, Dot, Edit, EnableWinsFlag, Hlc, LwwRegister, Mint, MvRegister,
    ObservedRemoveMap, RemoveWinsSet, ReplicaId, ResettableCounter, Stamp, VersionVector,
    WriteError, dot_store,
};

/// The document's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shop {
    tags: AddWinsSet<u8>,
    price: LwwRegister<u32>,
    shelves: ObservedRemoveMap<u8, MvRegister<u8>>,
    banned: RemoveWinsSet<u8>,
    sold: ResettableCounter,
    is_open: EnableWinsFlag,
}

dot_store!(Shop {
    tags: AddWinsSet<u8>,
    price: LwwRegister<u32>,
    shelves: ObservedRemoveMap<u8, MvRegister<u8>>,
    banned: RemoveWinsSet<u8>,
    sold: ResettableCounter,
    is_open: EnableWinsFlag,
});

pub(super) type Document = Causal<Shop>;

impl Shop {
    /// The latest stamp that it holds, in milliseconds.
    pub(super) fn latest_stamp_ms(&self) -> Option<u64> {
        self.price.stamps().map(|(_, stamp)| stamp.wall_ms).max()
    }
}

/// One thing done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Tag(u8),
    Untag(u8),
    Price(Stamp, u32),
    Fill(u8, u8),
    Clear(u8),
    Ban(u8),
    Allow(u8),
    Sell(i64),
    /// Undoes the sales that its writer knew.
    Recount,
    Open,
    Close,
}

/// One event, and what its writer knew.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) dot: Dot,
    pub(super) op: Op,
    pub(super) seen: VersionVector,
    /// What it did away with: what its writer saw, and saw no other do away with.
    removed: BTreeSet<Dot>,
}

impl Event {
    /// An event, when `before` are all that were ever written.
    pub(super) fn new(dot: Dot, op: Op, seen: VersionVector, before: &[Self]) -> Self {
        let mut removed = BTreeSet::new();
        for earlier in alive(before, &seen) {
            if op.overrides(earlier.op) {
                removed.insert(earlier.dot);
            }
        }
        Self {
            dot,
            op,
            seen,
            removed,
        }
    }
}

/// The events that `known` covers and that no other of them did away with.
fn alive<'a>(events: &'a [Event], known: &'a VersionVector) -> impl Iterator<Item = &'a Event> {
    let known_events = || events.iter().filter(|event| known.covers(event.dot));
    let removed: BTreeSet<Dot> = known_events()
        .flat_map(|event| event.removed.iter().copied())
        .collect();
    known_events().filter(move |event| !removed.contains(&event.dot))
}

/// What a reader sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    tags: BTreeSet<u8>,
    price: Option<u32>,
    shelves: BTreeMap<u8, Vec<u8>>,
    banned: BTreeSet<u8>,
    sold: i128,
    is_open: bool,
}

impl Op {
    /// Few keys, so that members get in each other's way. The clock is the writer's, and has seen what its machine took in.
    pub(super) fn draw(
        shop: &Shop,
        clock: &mut Hlc,
        wall_ms: u64,
        rng: &mut fastrand::Rng,
    ) -> Self {
        match rng.u8(..18) {
            0..3 => Self::Tag(rng.u8(..6)),
            3..6 => Self::Untag(rng.u8(..6)),
            6 => {
                // What the replica let in was not too far ahead then; its own clock may have gone back since.
                shop.price
                    .stamps()
                    .for_each(|(_, stamp)| clock.follow(stamp));
                Self::Price(clock.now(wall_ms), rng.u32(..1000))
            }
            7..9 => Self::Fill(rng.u8(..4), rng.u8(..)),
            9 => Self::Clear(rng.u8(..4)),
            10 | 11 => Self::Ban(rng.u8(..4)),
            12 => Self::Allow(rng.u8(..4)),
            13 | 14 => Self::Sell(rng.i64(-3..9)),
            15 => Self::Recount,
            16 => Self::Open,
            _ => Self::Close,
        }
    }

    /// All that can be removed without a trace.
    pub(super) const REMOVALS: [Self; 11] = [
        Self::Untag(0),
        Self::Untag(1),
        Self::Untag(2),
        Self::Untag(3),
        Self::Untag(4),
        Self::Untag(5),
        Self::Clear(0),
        Self::Clear(1),
        Self::Clear(2),
        Self::Clear(3),
        Self::Close,
    ];

    /// The same, or another in place of one that leaves something for ever.
    pub(super) const fn that_can_be_removed(self) -> Self {
        match self {
            Self::Ban(tag) | Self::Allow(tag) => Self::Fill(tag, tag),
            Self::Sell(_) | Self::Recount => Self::Tag(0),
            other => other,
        }
    }

    pub(super) fn edit(self, shop: &Shop, mint: Mint) -> Result<Edit<Shop>, WriteError> {
        let tags = |tags| Shop {
            tags,
            ..Shop::default()
        };
        let shelves = |shelves| Shop {
            shelves,
            ..Shop::default()
        };
        let banned = |banned| Shop {
            banned,
            ..Shop::default()
        };
        let sold = |sold| Shop {
            sold,
            ..Shop::default()
        };
        let is_open = |is_open| Shop {
            is_open,
            ..Shop::default()
        };
        Ok(match self {
            Self::Tag(tag) => shop.tags.add(mint, tag).within(tags),
            Self::Untag(tag) => shop.tags.remove(&tag).within(tags),
            Self::Price(stamp, price) => {
                let edit = shop.price.write(mint, stamp, price)?;
                edit.within(|price| Shop {
                    price,
                    ..Shop::default()
                })
            }
            Self::Fill(shelf, with) => {
                let edit = shop
                    .shelves
                    .update(shelf, |held| Ok(held.write(mint, with)))?;
                edit.within(shelves)
            }
            Self::Clear(shelf) => shop.shelves.remove(&shelf).within(shelves),
            Self::Ban(tag) => shop.banned.add(mint, tag).within(banned),
            Self::Allow(tag) => shop.banned.remove(mint, tag).within(banned),
            Self::Sell(amount) => shop.sold.add(mint, amount)?.within(sold),
            Self::Recount => shop.sold.reset(mint).within(sold),
            Self::Open => shop.is_open.enable(mint).within(is_open),
            Self::Close => shop.is_open.disable().within(is_open),
        })
    }

    /// Whether this, having seen `earlier`, does away with what that put.
    fn overrides(self, earlier: Self) -> bool {
        match (self, earlier) {
            (Self::Tag(one) | Self::Untag(one), Self::Tag(other)) => one == other,
            (Self::Price(..), Self::Price(..)) => true,
            (Self::Fill(one, _) | Self::Clear(one), Self::Fill(other, _))
            | (Self::Ban(one) | Self::Allow(one), Self::Ban(other) | Self::Allow(other)) => {
                one == other
            }
            (Self::Open | Self::Close, Self::Open) => true,
            _ => false,
        }
    }
}

impl View {
    pub(super) fn of(shop: &Shop) -> Self {
        let shelves = shop.shelves.iter().map(|(shelf, held)| {
            let mut held: Vec<u8> = held.values().copied().collect();
            held.sort_unstable();
            (*shelf, held)
        });
        Self {
            tags: shop.tags.iter().copied().collect(),
            price: shop.price.value().copied(),
            shelves: shelves.collect(),
            banned: shop.banned.iter().copied().collect(),
            sold: shop.sold.value(),
            is_open: shop.is_open.is_enabled(),
        }
    }

    /// What the events that `known` covers say, without any of the crate's merging.
    pub(super) fn specified(events: &[Event], known: &VersionVector) -> Self {
        let mut view = Self::default();
        let mut last: Option<(Stamp, ReplicaId, u32)> = None;
        let (mut banned, mut allowed) = (BTreeSet::new(), BTreeSet::new());
        let recounts = || {
            let known = events.iter().filter(|event| known.covers(event.dot));
            known.filter(|event| event.op == Op::Recount)
        };
        for event in alive(events, known) {
            match event.op {
                Op::Tag(tag) => {
                    view.tags.insert(tag);
                }
                Op::Price(stamp, price) => {
                    last = last.max(Some((stamp, event.dot.replica(), price)));
                }
                Op::Fill(shelf, with) => view.shelves.entry(shelf).or_default().push(with),
                Op::Ban(tag) => {
                    banned.insert(tag);
                }
                Op::Allow(tag) => {
                    allowed.insert(tag);
                }
                Op::Sell(amount) => {
                    if !recounts().any(|recount| recount.seen.covers(event.dot)) {
                        view.sold += i128::from(amount);
                    }
                }
                Op::Open => view.is_open = true,
                Op::Untag(_) | Op::Clear(_) | Op::Recount | Op::Close => {}
            }
        }
        view.banned = banned.difference(&allowed).copied().collect();
        view.price = last.map(|(.., price)| price);
        view.shelves
            .values_mut()
            .for_each(|held| held.sort_unstable());
        view
    }

    /// What is shown and should be gone.
    pub(super) fn resurrected(&self, specified: &Self) -> bool {
        let held = |view: &Self, shelf, with| {
            let shelf: Option<&Vec<u8>> = view.shelves.get(shelf);
            shelf.is_some_and(|held| held.contains(with))
        };
        !self.tags.is_subset(&specified.tags)
            || !self.banned.is_subset(&specified.banned)
            || (self.is_open && !specified.is_open)
            || self
                .shelves
                .iter()
                .any(|(shelf, all)| all.iter().any(|with| !held(specified, shelf, with)))
    }
}
