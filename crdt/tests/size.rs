//! What a full set takes, against `crdts`, in the same run: half of its bytes and half of its heap at most.
//!
//! A program with one test: live bytes are counted for all threads together.

use std::alloc::System;

use crdts::{CmRDT as _, Orswot};
use peaberry_crdt::wire::Message as _;
use peaberry_crdt::{AddWinsSet, Causal, Lattice as _, ReplicaId, Writer};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ELEMENTS: u64 = 10_000;

fn live<T>(make: impl FnOnce() -> T) -> (T, usize) {
    let region = Region::new(ALLOCATOR);
    let made = make();
    let change = region.change();
    (made, change.bytes_allocated - change.bytes_deallocated)
}

fn ours(writers: u64) -> Causal<AddWinsSet<u64>> {
    let mut writers: Vec<Writer> = (1..=writers)
        .filter_map(|number| ReplicaId::new(u128::from(number)))
        .map(|id| Writer::new(id, 0, ELEMENTS))
        .collect();
    let (mut set, count) = (Causal::bottom(), writers.len());
    for element in 0..ELEMENTS {
        let at = usize::try_from(element).unwrap_or_default() % count;
        if let Some(writer) = writers.get_mut(at) {
            let add = |set: &AddWinsSet<u64>, mint| Ok(set.add(mint, element));
            assert!(set.write(writer, add).is_ok());
        }
    }
    set
}

fn theirs(writers: u64) -> Orswot<u64, u64> {
    let mut set = Orswot::new();
    for element in 0..ELEMENTS {
        set.apply(set.add(element, set.read_ctx().derive_add_ctx(element % writers)));
    }
    set
}

#[test]
fn a_full_set_takes_half_of_what_crdts_takes() {
    for writers in [1, 100] {
        let (set, heap) = live(|| ours(writers));
        let (peer, peers_heap) = live(|| theirs(writers));
        assert_eq!(set.value().len(), peer.read().val.len());
        let bytes = set.to_bytes().len();
        let peers_bytes = postcard::to_stdvec(&peer).map_or(0, |bytes| bytes.len());
        println!("{writers} writers: {bytes} of {peers_bytes} bytes, {heap} of {peers_heap} live");
        assert!(
            2 * bytes <= peers_bytes,
            "{bytes} bytes, crdts {peers_bytes}"
        );
        assert!(
            2 * heap <= peers_heap,
            "{heap} live bytes, crdts {peers_heap}"
        );
    }
}
