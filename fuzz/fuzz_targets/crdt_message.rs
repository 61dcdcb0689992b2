//! Any bytes at all as a state, a delta and a vector, of each kind of type: the first byte says which.

#![no_main]

use libfuzzer_sys::fuzz_target;
use peaberry_crdt::testkit::check_decoder;
use peaberry_crdt::{
    AddWinsSet, BoundedCounter, Causal, Delta, DisableWinsFlag, Document, DotList, EnableWinsFlag,
    IntervalVersionVector, List, LwwRegister, MvRegister, ObservedRemoveMap, PnCounter,
    RemoveWinsSet, ResettableCounter, VersionVector,
};

type Nested = ObservedRemoveMap<u8, ObservedRemoveMap<String, MvRegister<Option<u64>>>>;

const DECODERS: &[fn(&[u8])] = &[
    check_decoder::<Causal<AddWinsSet<String>>>,
    check_decoder::<Delta<AddWinsSet<String>>>,
    check_decoder::<Causal<RemoveWinsSet<u64>>>,
    check_decoder::<Delta<RemoveWinsSet<u64>>>,
    check_decoder::<Causal<Nested>>,
    check_decoder::<Delta<Nested>>,
    check_decoder::<Causal<LwwRegister<u8>>>,
    check_decoder::<Delta<LwwRegister<u8>>>,
    check_decoder::<Causal<ResettableCounter>>,
    check_decoder::<Delta<ResettableCounter>>,
    check_decoder::<Causal<List<String>>>,
    check_decoder::<Delta<List<String>>>,
    check_decoder::<Causal<Document>>,
    check_decoder::<Delta<Document>>,
    check_decoder::<Causal<EnableWinsFlag>>,
    check_decoder::<Causal<DisableWinsFlag>>,
    check_decoder::<VersionVector>,
    check_decoder::<IntervalVersionVector>,
    check_decoder::<PnCounter>,
    check_decoder::<BoundedCounter>,
    check_decoder::<Causal<DotList<EnableWinsFlag>>>,
    check_decoder::<Delta<DotList<EnableWinsFlag>>>,
];

fuzz_target!(|bytes: &[u8]| {
    if let Some((which, bytes)) = bytes.split_first()
        && let Some(check) = DECODERS.get(usize::from(*which) % DECODERS.len())
    {
        check(bytes);
    }
});
