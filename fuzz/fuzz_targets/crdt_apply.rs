//! Any bytes at all as a delta for a state of three writers: the first byte says of which type. What is refused changes
//! nothing, and what is taken leaves a state that is written and read.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use peaberry_crdt::document::{Document, Leaf};
use peaberry_crdt::testkit::check_apply;
use peaberry_crdt::{Causal, Edit, Lattice, List, Mint, ReplicaId, Text, WriteError, Writer, path};

type Write<'a> = dyn Fn(&Document, Mint) -> Result<Edit<Document>, WriteError> + 'a;

struct Bases {
    text: Text,
    document: Causal<Document>,
    list: Causal<List<u8>>,
}

static BASES: LazyLock<Bases> = LazyLock::new(|| {
    let mut bases = Bases {
        text: Text::bottom(),
        document: Causal::bottom(),
        list: Causal::bottom(),
    };
    for number in 1..=3_u8 {
        let id = ReplicaId::new(u128::from(number)).expect("it is not zero");
        let writer = || Writer::new(id, 0, 100);
        bases
            .text
            .insert(&mut writer(), 0, "teapot")
            .expect("it is within");
        bases
            .text
            .delete(&mut Writer::new(id, 6, 100), 1..3)
            .expect("it is within");
        let mut mine = writer();
        for at in 0..3 {
            let insert = |list: &List<u8>, mint| list.insert(mint, at, number);
            bases.list.write(&mut mine, insert).expect("it is within");
        }
        let mut mine = writer();
        let mut write = |edit: &Write<'_>| {
            bases
                .document
                .write(&mut mine, edit)
                .expect("the path leads somewhere");
        };
        write(&|doc, mint| doc.set(mint, path!["sold"], Leaf::Counter(2)));
        write(&|doc, mint| doc.insert(mint, path!["extras"], 0, i64::from(number)));
        write(&|doc, mint| doc.set(mint, path!["menu", "tea"], true));
    }
    bases
});

fuzz_target!(|bytes: &[u8]| {
    match bytes.split_first() {
        Some((0, bytes)) => check_apply(&BASES.text, bytes),
        Some((1, bytes)) => check_apply(&BASES.document, bytes),
        Some((_, bytes)) => check_apply(&BASES.list, bytes),
        None => {}
    }
});
