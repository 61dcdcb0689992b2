//! Documents: nested to depth four, against a naive reading of their events; and lists, whose order never turns.

use std::collections::{BTreeMap, BTreeSet};

use peaberry_crdt::document::{Document, Kind, Leaf, Node, Scalar, Segment};
use peaberry_crdt::{Causal, Edit, Lattice, Mint, ReplicaId, WriteError, Writer, path};
use proptest::prelude::*;

use crate::history::{Event, Subject, survivors};

const KEYS: [&str; 2] = ["a", "b"];
const DEPTH_MAX: usize = 4;

type Place = Vec<&'static str>;

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Set(Place, u8),
    Map(Place),
    Add(Place, i64),
    Remove(Place),
}

/// What is at a place.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Seen {
    scalars: Vec<u8>,
    counter: Option<i128>,
    is_map: bool,
}

pub(crate) struct Maps;

fn segments(place: &[&'static str]) -> Vec<Segment<'static>> {
    place.iter().copied().map(Segment::from).collect()
}

impl Op {
    fn place(&self) -> &[&'static str] {
        match self {
            Self::Set(place, _) | Self::Map(place) | Self::Add(place, _) | Self::Remove(place) => {
                place
            }
        }
    }

    /// Whether this, having seen what `earlier` put, does away with it.
    fn removes(&self, earlier: &Self) -> bool {
        !matches!(self, Self::Add(..)) && earlier.place().starts_with(self.place())
    }
}

impl Subject for Maps {
    type Store = Document;
    type Op = Op;
    type View = BTreeMap<Place, Seen>;

    fn op(doc: &Document, choice: u8, detail: u8) -> Op {
        let depth = usize::from(detail >> 4) % DEPTH_MAX + 1;
        let mut place: Place = (0..depth)
            .map(|bit| KEYS[usize::from(detail >> bit) % 2])
            .collect();
        // Nothing is written below what is no map: the document refuses that.
        let blocks = |length: &usize| {
            let node = doc.get(&segments(&place[..*length]));
            node.is_some_and(|node| node.kinds().all(|kind| kind != Kind::Map))
        };
        if let Some(length) = (1..depth).find(blocks) {
            place.truncate(length);
        }
        let here = doc.get(&segments(&place));
        let can_add = here.is_none_or(|node| node.counter().is_some());
        match choice % 8 {
            0..3 => Op::Set(place, detail),
            3 => Op::Map(place),
            4..6 if can_add => Op::Add(place, i64::from(detail) - 100),
            _ => Op::Remove(place),
        }
    }

    fn edit(doc: &Document, mint: Mint, op: &Op) -> Result<Edit<Document>, WriteError> {
        let place = segments(op.place());
        match op {
            Op::Set(_, value) => doc.set(mint, &place, i64::from(*value)),
            Op::Map(_) => doc.set(mint, &place, Leaf::Map),
            Op::Add(_, amount) => doc.add(mint, &place, *amount),
            Op::Remove(_) => doc.remove(&place),
        }
    }

    fn view(doc: &Document) -> Self::View {
        let mut view = BTreeMap::new();
        for (key, node) in doc.iter() {
            look(
                vec![KEYS[KEYS.iter().position(|held| *held == key).unwrap()]],
                node,
                &mut view,
            );
        }
        view
    }

    fn specification(events: &[Event<Op>]) -> Self::View {
        let mut view: Self::View = BTreeMap::new();
        for event in survivors(events, Op::removes) {
            let place = event.op.place().to_vec();
            match &event.op {
                Op::Remove(_) => continue,
                Op::Set(_, value) => view.entry(place.clone()).or_default().scalars.push(*value),
                Op::Map(_) => view.entry(place.clone()).or_default().is_map = true,
                // The last of each replica stands for its running total.
                Op::Add(..) => {
                    if let Some(total) = running_total(events, event) {
                        let counter = &mut view.entry(place.clone()).or_default().counter;
                        *counter = Some(counter.unwrap_or_default() + total);
                    }
                }
            }
            for length in 1..place.len() {
                view.entry(place[..length].to_vec()).or_default().is_map = true;
            }
        }
        view
    }
}

/// What a replica has added at a place up to `last`, since it last had nothing there; `None` if it added again later.
fn running_total(events: &[Event<Op>], last: &Event<Op>) -> Option<i128> {
    let mut own: Vec<_> = events
        .iter()
        .filter(|event| {
            event.dot.replica() == last.dot.replica()
                && matches!(event.op, Op::Add(..))
                && event.op.place() == last.op.place()
        })
        .collect();
    own.sort_by_key(|event| event.dot);
    let later = own.iter().find(|event| event.dot > last.dot);
    if later.is_some_and(|later| continues(events, last, later)) {
        return None;
    }
    let (mut total, mut previous) = (0, None);
    for event in own.into_iter().filter(|event| event.dot <= last.dot) {
        if previous.is_some_and(|previous| !continues(events, previous, event)) {
            total = 0;
        }
        if let Op::Add(_, amount) = event.op {
            total += i128::from(amount);
        }
        previous = Some(event);
    }
    Some(total)
}

/// Whether `later` found the total of `earlier`: nothing that it had seen had removed it.
fn continues(events: &[Event<Op>], earlier: &Event<Op>, later: &Event<Op>) -> bool {
    !events.iter().any(|event| {
        later.seen.covers(event.dot)
            && event.seen.covers(earlier.dot)
            && event.op.removes(&earlier.op)
    })
}

fn look(place: Place, node: Node<'_>, view: &mut BTreeMap<Place, Seen>) {
    let scalars = node.scalars().map(|scalar| match scalar {
        Scalar::Integer(value) => u8::try_from(*value).unwrap(),
        other => panic!("{other:?} was never written"),
    });
    let seen = Seen {
        scalars: scalars.collect(),
        counter: node.counter(),
        is_map: node.kinds().any(|kind| kind == Kind::Map),
    };
    assert!(
        seen != Seen::default(),
        "a place without anything is not held"
    );
    assert_eq!(
        node.is_conflict(),
        seen.scalars.len() + usize::from(seen.counter.is_some()) + usize::from(seen.is_map) > 1
    );
    for (key, below) in node.map().into_iter().flatten() {
        let mut place = place.clone();
        place.push(KEYS[KEYS.iter().position(|held| *held == key).unwrap()]);
        look(place, below, view);
    }
    view.insert(place, seen);
}

#[derive(Clone, Debug)]
enum ListStep {
    Insert(usize, prop::sample::Index),
    Remove(usize, prop::sample::Index),
    Join(usize, usize),
}

fn list_steps() -> impl Strategy<Value = Vec<ListStep>> {
    let index = any::<prop::sample::Index>;
    let step = prop_oneof![
        5 => (0..3usize, index()).prop_map(|(at, index)| ListStep::Insert(at, index)),
        2 => (0..3usize, index()).prop_map(|(at, index)| ListStep::Remove(at, index)),
        2 => (0..3usize, 0..3usize).prop_map(|(to, from)| ListStep::Join(to, from)),
    ];
    prop::collection::vec(step, 0..60)
}

fn elements(doc: &Causal<Document>) -> Vec<i64> {
    let list = doc.value().get(path!["list"]).and_then(Node::list);
    let integer = |node: Node<'_>| match node.scalar() {
        Some(Scalar::Integer(value)) => *value,
        other => panic!("{other:?} was never inserted"),
    };
    list.into_iter().flatten().map(integer).collect()
}

proptest! {
    /// The list specification of Attiya and others (2016), the strong one: whatever any replica ever showed, in one
    /// order; an element stands where it was inserted; and it is there as long as nobody removed it.
    #[test]
    fn a_list_has_one_order_at_all_times(steps in list_steps()) {
        let mut states = vec![Causal::<Document>::bottom(); 3];
        let mut writers: Vec<_> = (1..=3)
            .map(|number| Writer::new(ReplicaId::new(number).unwrap(), 0, 1000))
            .collect();
        let (mut next, mut removed, mut order) = (0, BTreeSet::new(), BTreeSet::new());
        let observe = |state: &Causal<Document>, order: &mut BTreeSet<(i64, i64)>| {
            let shown = elements(state);
            for (at, first) in shown.iter().enumerate() {
                for later in &shown[at + 1..] {
                    assert!(!order.contains(&(*later, *first)), "{first} and {later} changed places");
                    order.insert((*first, *later));
                }
            }
        };
        for step in steps {
            match step {
                ListStep::Insert(at, index) => {
                    let shown = elements(&states[at]);
                    let index = index.index(shown.len() + 1);
                    next += 1;
                    states[at]
                        .write(&mut writers[at], |doc, mint| doc.insert(mint, path!["list"], index, next))
                        .unwrap();
                    let mut expected = shown;
                    expected.insert(index, next);
                    prop_assert_eq!(elements(&states[at]), expected);
                    observe(&states[at], &mut order);
                }
                ListStep::Remove(at, index) => {
                    let shown = elements(&states[at]);
                    if !shown.is_empty() {
                        let index = index.index(shown.len());
                        removed.insert(shown[index]);
                        states[at]
                            .write(&mut writers[at], |doc, _| doc.remove(path!["list", index]))
                            .unwrap();
                    }
                }
                ListStep::Join(to, from) => {
                    let other = states[from].clone();
                    states[to].join(&other);
                    observe(&states[to], &mut order);
                }
            }
        }
        let mut all = Causal::bottom();
        states.iter().for_each(|state| { all.join(state); });
        observe(&all, &mut order);
        let shown: BTreeSet<_> = elements(&all).into_iter().collect();
        prop_assert_eq!(shown, (1..=next).filter(|element| !removed.contains(element)).collect());
    }
}
