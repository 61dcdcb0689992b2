//! Any bytes at all as a text, what one text has over another, a list, a place in a text, and a compressed container: the
//! first byte says which.

#![no_main]

use libfuzzer_sys::fuzz_target;
use peaberry_crdt::testkit::check_decoder;
use peaberry_crdt::wire::decompress_any;
use peaberry_crdt::{Causal, Cursor, Delta, DotList, List, MvRegister, Text, TextDelta};

const DECODERS: &[fn(&[u8])] = &[
    check_decoder::<Text>,
    check_decoder::<TextDelta>,
    check_decoder::<Causal<List<u8>>>,
    check_decoder::<Delta<List<String>>>,
    check_decoder::<Causal<DotList<List<u8>>>>,
    check_decoder::<Causal<MvRegister<Cursor>>>,
    decompress_any,
];

fuzz_target!(|bytes: &[u8]| {
    if let Some((which, bytes)) = bytes.split_first()
        && let Some(check) = DECODERS.get(usize::from(*which) % DECODERS.len())
    {
        check(bytes);
    }
});
