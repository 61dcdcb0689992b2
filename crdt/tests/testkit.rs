//! The shipped types keep the laws of the public testkit, and a type that breaks one is caught.
#![cfg(feature = "testkit")]

#[path = "testkit/lawless.rs"]
mod lawless;

use peaberry_crdt::document::{Document, Kind, Leaf, Node};
use peaberry_crdt::testkit::{Dice, check_convergence, check_laws};
use peaberry_crdt::{
    AddWinsSet, Causal, DotList, EnableWinsFlag, Lattice, List, LwwRegister, MvRegister,
    ObservedRemoveMap, RemoveWinsSet, ResettableCounter, Stamp, Writer, dot_store,
};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shop {
    stock: ObservedRemoveMap<u64, ResettableCounter>,
    tags: AddWinsSet<u64>,
    banned: RemoveWinsSet<u64>,
    price: LwwRegister<u64>,
    name: MvRegister<u64>,
    is_open: EnableWinsFlag,
    queues: ObservedRemoveMap<u64, List<u64>>,
}

dot_store!(Shop {
    stock: ObservedRemoveMap<u64, ResettableCounter>,
    tags: AddWinsSet<u64>,
    banned: RemoveWinsSet<u64>,
    price: LwwRegister<u64>,
    name: MvRegister<u64>,
    is_open: EnableWinsFlag,
    queues: ObservedRemoveMap<u64, List<u64>>,
});

/// A shop with nothing but that field.
macro_rules! within {
    ($field:ident) => {
        |$field| Shop {
            $field,
            ..Shop::default()
        }
    };
}

fn edit(shop: &mut Causal<Shop>, writer: &mut Writer, dice: &mut Dice) {
    let (what, number) = (dice.below(18), dice.below(4));
    let stamp = Stamp {
        wall_ms: dice.below(20),
        logical: 0,
    };
    let written = shop.write(writer, |shop, mint| {
        Ok(match what {
            0..3 => shop.tags.add(mint, number).within(within!(tags)),
            3 => shop.tags.remove(&number).within(within!(tags)),
            4 => shop.tags.clear().within(within!(tags)),
            5 => shop.banned.add(mint, number).within(within!(banned)),
            6 => shop.banned.remove(mint, number).within(within!(banned)),
            7 => shop.name.write(mint, number).within(within!(name)),
            8 => shop.is_open.enable(mint).within(within!(is_open)),
            9 => shop.is_open.disable().within(within!(is_open)),
            10 => shop.stock.remove(&number).within(within!(stock)),
            11 => shop
                .stock
                .update(number, |count| Ok(count.reset(mint)))?
                .within(within!(stock)),
            14..16 => shop
                .queues
                .update(number % 2, |queue| {
                    let index = dice.index(queue.len() + 1);
                    queue.insert(mint, index, number)
                })?
                .within(within!(queues)),
            16 => shop
                .queues
                .update(number % 2, |queue| {
                    let index = dice.index(queue.len());
                    queue.remove(index)
                })?
                .within(within!(queues)),
            17 => shop.queues.remove(&(number % 2)).within(within!(queues)),
            12 => shop
                .price
                .write(mint, stamp, number)?
                .within(within!(price)),
            _ => shop
                .stock
                .update(number, |count| count.add(mint, 3))?
                .within(within!(stock)),
        })
    });
    // A stamp that is not the highest is refused, and that is all.
    let _ = written;
}

/// `PEABERRY_SEEDS` in place of the usual number.
fn seeds(usual: u64) -> u64 {
    let wanted = std::env::var("PEABERRY_SEEDS").ok();
    wanted
        .and_then(|number| number.parse().ok())
        .unwrap_or(usual)
}

#[test]
fn a_document_of_every_kind_keeps_the_laws() {
    check_laws(0..seeds(300), Causal::<Shop>::bottom, edit);
}

#[test]
fn a_document_of_every_kind_converges_on_a_bad_network() {
    check_convergence(0..seeds(60), Causal::<Shop>::bottom, edit);
}

/// Writes to any place of a document, down to four levels: lists in maps in lists, and whatever is in the way.
fn edit_document(doc: &mut Causal<Document>, writer: &mut Writer, dice: &mut Dice) {
    let key = |dice: &mut Dice| match dice.below(3) {
        0 => "a",
        1 => "b",
        _ => "list",
    };
    let mut place = Vec::from([key(dice).into()]);
    while place.len() < 4 && !dice.one_in(2) {
        let length = doc
            .value()
            .get(&place)
            .and_then(Node::list)
            .map(|list| list.len());
        place.push(match length {
            Some(length) if length > 0 => dice.index(length).into(),
            _ => key(dice).into(),
        });
    }
    let (what, number) = (dice.below(10), i64::from(dice.one_in(2)));
    let length = doc.value().get(&place).and_then(Node::list);
    let index = dice.index(length.map_or(0, |list| list.len()) + 1);
    let written = doc.write(writer, |doc, mint| match what {
        0..3 => doc.set(mint, &place, number),
        3 => doc.set(mint, &place, Leaf::Map),
        4 => doc.set(mint, &place, Leaf::List),
        5 => doc.add(mint, &place, number - 2),
        6..8 => doc.insert(mint, &place, index, number),
        8 => doc.insert(mint, &place, index, Leaf::List),
        _ => doc.remove(&place),
    });
    // What is no map or list is not entered, and that is all.
    if let Some(node) = doc.value().get(&place).filter(|_| written.is_ok()) {
        assert!(node.kinds().count() > 0 && node.kind() <= Kind::Scalar);
    }
}

#[test]
fn a_document_of_paths_keeps_the_laws() {
    check_laws(0..seeds(300), Causal::<Document>::bottom, edit_document);
}

#[test]
fn a_document_of_paths_converges_on_a_bad_network() {
    check_convergence(0..seeds(60), Causal::<Document>::bottom, edit_document);
}

/// Nothing but runs of columns: their entries take less than a byte each.
fn edit_flags(flags: &mut Causal<DotList<EnableWinsFlag>>, writer: &mut Writer, dice: &mut Dice) {
    let many = if dice.one_in(4) { 40 } else { 1 };
    let (what, from) = (dice.below(4), dice.index(flags.value().len() + 1));
    for index in (from..).take(many) {
        let written = flags.write(writer, |flags, mint| match what {
            0..2 => flags.insert(mint, index, EnableWinsFlag::default().enable(mint)),
            2 => flags.update(index, |flag| Ok(flag.enable(mint))),
            _ => flags.remove(from),
        });
        // Behind the end there is none, and that is all.
        let _ = written;
    }
}

#[test]
fn a_list_of_flags_keeps_the_laws() {
    check_laws(0..seeds(60), Causal::bottom, edit_flags);
}
