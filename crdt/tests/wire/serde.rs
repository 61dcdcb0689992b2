//! To serde everything that has bytes is those bytes.

use ::serde::Serialize;
use ::serde::de::DeserializeOwned;
use peaberry_crdt::wire::Message;
use peaberry_crdt::{
    AddWinsSet, BoundedCounter, Causal, Delta, GCounter, Interval, IntervalVersionVector, Lattice,
    PnCounter, Text, TextDelta, VersionVector, Writer,
};

use crate::samples::replica;

fn comes_back<M: Message + Serialize + DeserializeOwned>(message: &M) {
    let compact = postcard::to_stdvec(message).unwrap();
    let back: M = postcard::from_bytes(&compact).unwrap();
    assert_eq!(back.to_bytes(), message.to_bytes());
    let json = serde_json::to_string(message).unwrap();
    let back: M = serde_json::from_str(&json).unwrap();
    assert_eq!(back.to_bytes(), message.to_bytes());
}

#[test]
fn documents_of_each_kind_and_their_deltas_come_back_through_serde() {
    let mut writer = Writer::new(replica(1), 0, 100);
    let mut set: Causal<AddWinsSet<u8>> = Causal::default();
    let delta: Delta<AddWinsSet<u8>> = set
        .write(&mut writer, |set, mint| Ok(set.add(mint, 1)))
        .unwrap();
    comes_back(&set);
    comes_back(&delta);
    let mut text = Text::bottom();
    text.insert(&mut Writer::new(replica(2), 0, 100), 0, "tea")
        .unwrap();
    comes_back(&text);
    let delta: TextDelta = text.delta_since(&VersionVector::new());
    comes_back(&delta);
    let (mut count, mut stock, mut seats) = (
        GCounter::bottom(),
        PnCounter::bottom(),
        BoundedCounter::bottom(),
    );
    count.add(&writer, 3).unwrap();
    stock.add(&writer, -3).unwrap();
    seats.add(&writer, 3).unwrap();
    comes_back(&count);
    comes_back(&stock);
    comes_back(&seats);
    let known = VersionVector::from_iter([(replica(3), 4), (replica(1), 2), (replica(3), 1)]);
    assert_eq!(known.get(replica(3)), 4);
    comes_back(&known);
    let mut intervals = IntervalVersionVector::new();
    intervals.insert(Interval::new(replica(1), 2, 9).unwrap());
    comes_back(&intervals);
}
