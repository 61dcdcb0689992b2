//! What a document does, told as its users would tell it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use peaberry_crdt::document::{
    DOCUMENT_DEPTH_MAX, Document, Float, Kind, Leaf, PathError, Scalar, Segment, Value,
};
use peaberry_crdt::wire::{Budget, Message};
use peaberry_crdt::{
    ApplyError, Bounds, Causal, Lattice, Limits, ReplicaId, WriteError, Writer, path,
};

type Doc = Causal<Document>;

fn writer(number: u128) -> Writer {
    Writer::new(ReplicaId::new(number).unwrap(), 0, 10_000)
}

fn pair() -> ([Doc; 2], [Writer; 2]) {
    ([Doc::bottom(), Doc::bottom()], [writer(1), writer(2)])
}

fn meet(docs: &mut [Doc; 2]) {
    let [here, there] = docs;
    here.join(there);
    there.join(here);
    assert_eq!(here, there);
    assert_eq!(here.canonical_bytes(), there.canonical_bytes());
}

fn order() -> Value {
    Value::from_iter([
        ("drink", Value::from("flat white")),
        ("price", Value::Float(Float::new(3.8).unwrap())),
        ("paid", Value::from(false)),
        ("note", Value::Null),
        (
            "extras",
            Value::from_iter([
                Value::from("oat milk"),
                Value::from_iter([("sugars", Value::from(2))]),
            ]),
        ),
        ("empty", Value::from_iter([Value::Null; 0])),
        ("nothing", Value::from_iter([("", Value::Null); 0])),
    ])
}

#[test]
fn a_value_assigned_is_the_value_shown_and_replaces_what_was_there() {
    let (mut doc, mut writer) = (Doc::bottom(), writer(1));
    doc.assign(
        &mut writer,
        path!["order"],
        &Value::from_iter([("old", Value::from(1))]),
    )
    .unwrap();
    doc.assign(&mut writer, path!["order"], &order()).unwrap();
    assert_eq!(doc.value().get(path!["order"]).unwrap().to_value(), order());
    assert_eq!(
        doc.value()
            .get(path!["order", "extras", 1, "sugars"])
            .unwrap()
            .to_value(),
        Value::from(2)
    );
    doc.assign(&mut writer, path![], &order()).unwrap();
    assert_eq!(doc.value().to_value(), order());
    let again = Doc::from_bytes(&doc.to_bytes(), Budget::default()).unwrap();
    assert_eq!(again, doc);
    assert!(doc.value().conflicts().is_empty());
}

#[cfg(feature = "serde")]
#[test]
fn json_goes_in_and_comes_out() {
    let text = r#"{"a":[1,-2,2.5,{"b":null}],"c":"x","d":true}"#;
    let value: Value = serde_json::from_str(text).unwrap();
    let (mut doc, mut writer) = (Doc::bottom(), writer(1));
    doc.assign(&mut writer, path![], &value).unwrap();
    assert_eq!(
        serde_json::to_string(&doc.value().to_value()).unwrap(),
        text
    );
    assert!(serde_json::from_str::<Value>("18446744073709551615").is_err());
    // States, deltas and vectors are their bytes.
    let state: Doc = serde_json::from_str(&serde_json::to_string(&doc).unwrap()).unwrap();
    assert_eq!(state, doc);
    assert!(serde_json::from_str::<Doc>("[1,2,3]").is_err());
}

#[test]
fn concurrent_kinds_are_all_held_and_the_next_write_settles_them() {
    let (mut docs, mut writers) = pair();
    docs[0]
        .write(&mut writers[0], |doc, mint| {
            doc.set(mint, path!["size"], "small")
        })
        .unwrap();
    docs[1]
        .write(&mut writers[1], |doc, mint| {
            doc.set(mint, path!["size", "ml"], 240)
        })
        .unwrap();
    docs[1]
        .write(&mut writers[1], |doc, mint| {
            doc.set(mint, path!["other"], 1)
        })
        .unwrap();
    meet(&mut docs);
    let node = docs[0].value().get(path!["size"]).unwrap();
    assert!(node.kinds().eq([Kind::Map, Kind::Scalar]));
    assert_eq!((node.kind(), node.as_str()), (Kind::Map, Some("small")));
    assert_eq!(
        node.to_value(),
        Value::from_iter([("ml", Value::from(240))])
    );
    let conflicts = docs[0].value().conflicts();
    assert_eq!(conflicts.len(), 1);
    assert_eq!(conflicts[0].0, path!["size"]);

    docs[1]
        .write(&mut writers[1], |doc, mint| {
            doc.set(mint, path!["size"], "large")
        })
        .unwrap();
    meet(&mut docs);
    assert!(docs[0].value().conflicts().is_empty());
    assert_eq!(
        docs[0].value().get(path!["size"]).unwrap().to_value(),
        Value::from("large")
    );
}

#[test]
fn what_is_written_below_a_removed_place_stays_alone() {
    let (mut docs, mut writers) = pair();
    docs[0]
        .assign(&mut writers[0], path!["order"], &order())
        .unwrap();
    meet(&mut docs);
    docs[0]
        .write(&mut writers[0], |doc, _| doc.remove(path!["order"]))
        .unwrap();
    docs[1]
        .write(&mut writers[1], |doc, mint| {
            doc.set(mint, path!["order", "paid"], true)
        })
        .unwrap();
    docs[1]
        .write(&mut writers[1], |doc, mint| {
            doc.insert(mint, path!["order", "extras"], 1, "ice")
        })
        .unwrap();
    meet(&mut docs);
    let left = Value::from_iter([
        ("extras", Value::from_iter([Value::from("ice")])),
        ("paid", Value::from(true)),
    ]);
    assert_eq!(
        docs[0].value().get(path!["order"]).unwrap().to_value(),
        left
    );
}

#[test]
fn counters_count_at_both_ends_and_may_be_replaced() {
    let (mut docs, mut writers) = pair();
    docs[0]
        .write(&mut writers[0], |doc, mint| {
            doc.set(mint, path!["sold"], Leaf::Counter(10))
        })
        .unwrap();
    meet(&mut docs);
    for (doc, writer) in docs.iter_mut().zip(&mut writers) {
        doc.write(writer, |doc, mint| doc.add(mint, path!["sold"], -3))
            .unwrap();
    }
    meet(&mut docs);
    assert_eq!(
        docs[0].value().get(path!["sold"]).unwrap().counter(),
        Some(4)
    );
    docs[1]
        .write(&mut writers[1], |doc, mint| {
            doc.set(mint, path!["sold"], Leaf::Counter(0))
        })
        .unwrap();
    meet(&mut docs);
    assert_eq!(
        docs[0].value().get(path!["sold"]).unwrap().counter(),
        Some(0)
    );
}

#[test]
fn containers_written_themselves_stay_when_empty_others_go() {
    let (mut doc, mut writer) = (Doc::bottom(), writer(1));
    doc.write(&mut writer, |doc, mint| {
        doc.set(mint, path!["made"], Leaf::Map)
    })
    .unwrap();
    doc.write(&mut writer, |doc, mint| {
        doc.set(mint, path!["made", "x"], 1)
    })
    .unwrap();
    doc.write(&mut writer, |doc, mint| {
        doc.set(mint, path!["implied", "x"], 1)
    })
    .unwrap();
    for at in [path!["made", "x"], path!["implied", "x"]] {
        doc.write(&mut writer, |doc, _| doc.remove(at)).unwrap();
    }
    let nothing = Value::from_iter([("", Value::Null); 0]);
    assert_eq!(
        doc.value().to_value(),
        Value::from_iter([("made", nothing)])
    );
}

#[test]
fn paths_that_lead_nowhere_are_refused_by_segment_and_nothing_changes() {
    let (mut doc, mut writer) = (Doc::bottom(), writer(1));
    doc.assign(&mut writer, path!["order"], &order()).unwrap();
    let before = (doc.clone(), writer.remaining());
    let mut refused = |path: &[Segment<'_>]| {
        doc.write(&mut writer, |doc, mint| doc.set(mint, path, 1))
            .unwrap_err()
    };
    assert_eq!(refused(path![]), PathError::Empty.into());
    let kind = PathError::OtherKind {
        segment: 2,
        expected: Kind::Map,
        found: Kind::Scalar,
    };
    assert_eq!(refused(path!["order", "drink", "x"]), kind.into());
    assert_eq!(
        kind.to_string(),
        "segment 2 of the path needs a map, and a scalar is there: set it to a map first"
    );
    let length = PathError::NoElement {
        segment: 2,
        index: 2,
        length: 2,
    };
    assert_eq!(refused(path!["order", "extras", 2]), length.into());
    assert_eq!(
        refused(path!["new", 0]),
        PathError::NoList { segment: 1 }.into()
    );
    assert_eq!(refused(path![0]), PathError::NoList { segment: 0 }.into());
    let deep = vec![Segment::Key("x"); DOCUMENT_DEPTH_MAX + 1];
    let too_deep = PathError::TooDeep {
        segments: DOCUMENT_DEPTH_MAX + 1,
        max: DOCUMENT_DEPTH_MAX,
    };
    assert_eq!(refused(&deep), too_deep.into());
    let nested = (0..DOCUMENT_DEPTH_MAX).fold(Value::Null, |value, _| Value::from_iter([value]));
    assert_eq!(
        doc.assign(&mut writer, path!["deep"], &nested).unwrap_err(),
        too_deep.into()
    );
    let mut short = Writer::new(
        writer.replica(),
        doc.vector().get(writer.replica()),
        before.0.vector().get(writer.replica()) + 3,
    );
    assert!(matches!(
        doc.assign(&mut short, path!["order"], &order()),
        Err(WriteError::ReservationExhausted { .. })
    ));
    assert_eq!((doc, writer.remaining()), before);
}

/// The deepest document that can be written can be read by others.
#[test]
fn the_deepest_document_goes_through_its_bytes() {
    let (mut doc, mut writer) = (Doc::bottom(), writer(1));
    let deepest = vec![Segment::Key("x"); DOCUMENT_DEPTH_MAX];
    let delta = doc
        .write(&mut writer, |doc, mint| doc.set(mint, &deepest, 1))
        .unwrap();
    let again = peaberry_crdt::Delta::from_bytes(&delta.to_bytes(), Budget::default()).unwrap();
    let mut there = Doc::bottom();
    there.apply(&again).unwrap();
    assert_eq!(there, doc);
    let shallow = Budget {
        depth_max: 10,
        ..Budget::default()
    };
    assert!(Doc::from_bytes(&doc.to_bytes(), shallow).is_err());
}

#[test]
fn a_jump_of_a_nested_counter_is_refused_by_name() {
    let (mut docs, mut writers) = pair();
    let [here, there] = &mut docs;
    let delta = there
        .write(&mut writers[1], |doc, mint| {
            doc.add(mint, path!["a", "b"], i64::MAX)
        })
        .unwrap();
    let limits = Limits {
        advance_max: 1000,
        ..Limits::NONE
    };
    let refused = here.apply_within(&delta, &limits).unwrap_err();
    assert!(matches!(refused, ApplyError::Jump(jump) if jump.replica == writers[1].replica()));
    assert_eq!(*here, Doc::bottom());
}

#[test]
fn scalars_of_every_kind_come_back() {
    let (mut doc, mut writer) = (Doc::bottom(), writer(1));
    let scalars = [
        Scalar::Null,
        true.into(),
        i64::MIN.into(),
        Float::new(-0.0).unwrap().into(),
        "żółć".into(),
        vec![0, 255].into(),
    ];
    for (index, scalar) in scalars.iter().enumerate() {
        doc.write(&mut writer, |doc, mint| {
            doc.insert(mint, path!["all"], index, scalar.clone())
        })
        .unwrap();
    }
    let again = Doc::from_bytes(&doc.to_bytes(), Budget::default()).unwrap();
    let held = again.value().get(path!["all"]).unwrap().list().unwrap();
    assert!(held.map(|node| node.scalar().unwrap().clone()).eq(scalars));
    assert_eq!(
        (Float::new(f64::NAN), Float::new(f64::INFINITY)),
        (None, None)
    );
}

/// Where there is no room for one more, a subtree may be replaced by one as large, and not by a larger one.
#[test]
fn at_its_bounds_a_document_takes_what_replaces_as_much() {
    let (mut doc, mut free) = (Doc::bottom(), writer(1));
    doc.assign(&mut free, path!["order"], &order()).unwrap();
    let dots = free.remaining();
    let bounds = Bounds {
        dots_max: usize::try_from(10_000 - dots).unwrap(),
        ..Bounds::NONE
    };
    let mut full = free.within(bounds);
    let mut larger = order();
    let Value::Map(entries) = &mut larger else {
        panic!("an order is a map");
    };
    entries.insert("more".into(), Value::Null);
    let before = doc.clone();
    let refused = doc.assign(&mut full, path!["order"], &larger);
    assert!(matches!(refused, Err(WriteError::Outgrown(_))));
    assert_eq!((&doc, full.remaining()), (&before, dots));
    doc.assign(&mut full, path!["order"], &order()).unwrap();
    assert_eq!(doc.value().get(path!["order"]).unwrap().to_value(), order());
}
