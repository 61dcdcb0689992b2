//! One of everything that has bytes, made the same way each time.

use std::time::Duration;

use peaberry_crdt::document::{Document, Leaf, Value};
use peaberry_crdt::sync::{AntiEntropy, Member, Membership, SyncConfig};
use peaberry_crdt::testkit::check_decoder;
use peaberry_crdt::wire::{Budget, IdTable, Message, StoreCodec};
use peaberry_crdt::{
    AddWinsSet, BoundedCounter, Causal, Cursor, CursorSide, Delta, DisableWinsFlag, DotList, Edit,
    EnableWinsFlag, GCounter, GrowOnlySet, Interval, IntervalVersionVector, Lattice, Limits, List,
    LwwRegister, Mint, MvRegister, ObservedRemoveMap, PnCounter, RemoveWinsSet, ReplicaId,
    ResettableCounter, Stamp, Text, VersionVector, WriteError, Writer, dot_store, path,
};

pub(crate) fn replica(number: u128) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

fn writer(number: u128) -> Writer {
    Writer::new(replica(number), 0, 1000)
}

/// A message by name, and what reads it.
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// Reads bytes that stand alone, and writes them again.
    pub(crate) reread: fn(&[u8], Budget) -> Option<Vec<u8>>,
    /// Any bytes at all.
    pub(crate) check: fn(&[u8]),
    /// Any bytes at all, once, in a session with this table.
    #[allow(
        dead_code,
        reason = "not every program that has samples asks what they cost"
    )]
    pub(crate) take: fn(&[u8], &IdTable),
}

fn sample<M: Message>(name: &str, message: &M) -> Sample {
    Sample {
        name: name.to_owned(),
        bytes: message.to_bytes(),
        reread: |bytes, budget| {
            M::from_bytes(bytes, budget)
                .ok()
                .map(|message| message.to_bytes())
        },
        check: check_decoder::<M>,
        take: |bytes, table| drop(M::from_session_bytes(bytes, table, Budget::default())),
    }
}

type Write<S> = fn(&S, Mint) -> Result<Edit<S>, WriteError>;

/// Two writers make their edits, the second having seen what the first made; the first edit again concurrently. Of it
/// all: the state, the delta since the middle, the state without its log, and the delta to one behind the cut.
fn samples_of<S: StoreCodec>(name: &str, edits: &[Write<S>], samples: &mut Vec<Sample>) {
    let (mut here, mut there) = (Causal::<S>::bottom(), Causal::<S>::bottom());
    let (mut mine, mut theirs) = (writer(0xA11CE), writer(0xB0B));
    let (former, latter) = edits.split_at(edits.len() / 2);
    for edit in former {
        here.write(&mut mine, edit).unwrap();
    }
    there.join(&here);
    let middle = here.vector().clone();
    for edit in latter {
        there.write(&mut theirs, edit).unwrap();
    }
    here.write(&mut mine, edits[0]).unwrap();
    here.join(&there);
    samples.push(sample(&format!("{name}, state"), &here));
    samples.push(sample(
        &format!("{name}, delta"),
        &here.delta_since(&middle),
    ));
    let everything = here.vector().clone();
    here.collect(&everything);
    samples.push(sample(&format!("{name}, state without log"), &here));
    let beyond: Delta<S> = here.delta_since(&middle);
    samples.push(sample(&format!("{name}, delta beyond log"), &beyond));
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Product {
    name: MvRegister<String>,
    tags: AddWinsSet<[u8; 2]>,
}

dot_store!(Product { name: MvRegister<String>, tags: AddWinsSet<[u8; 2]> });

const fn at(wall_ms: u64) -> Stamp {
    Stamp {
        wall_ms,
        logical: 7,
    }
}

pub(crate) fn all() -> Vec<Sample> {
    let mut all = Vec::new();
    samples_of::<AddWinsSet<String>>(
        "AddWinsSet<String>",
        &[
            |set, mint| Ok(set.add(mint, "tea".into())),
            |set, mint| Ok(set.add(mint, "milk".into())),
            |set, _| Ok(set.remove(&"milk".into())),
            |set, mint| Ok(set.add(mint, "tea".into())),
            |set, mint| Ok(set.add(mint, "oats".into())),
            |set, _| Ok(set.clear()),
        ],
        &mut all,
    );
    samples_of::<RemoveWinsSet<u32>>(
        "RemoveWinsSet<u32>",
        &[
            |set, mint| Ok(set.add(mint, 300)),
            |set, mint| Ok(set.remove(mint, 300)),
        ],
        &mut all,
    );
    samples_of::<GrowOnlySet<i16>>(
        "GrowOnlySet<i16>",
        &[
            |set, mint| Ok(set.add(mint, -300)),
            |set, mint| Ok(set.add(mint, 5)),
        ],
        &mut all,
    );
    samples_of::<MvRegister<Option<bool>>>(
        "MvRegister<Option<bool>>",
        &[
            |held, mint| Ok(held.write(mint, Some(true))),
            |held, mint| Ok(held.write(mint, None)),
        ],
        &mut all,
    );
    samples_of::<LwwRegister<u64>>(
        "LwwRegister<u64>",
        &[
            |held, mint| {
                held.write(
                    mint,
                    at(1_700_000_000_000 + held.stamps().count() as u64),
                    12,
                )
            },
            |held, mint| held.write(mint, at(1_700_000_000_500), 13),
        ],
        &mut all,
    );
    samples_of::<EnableWinsFlag>(
        "EnableWinsFlag",
        &[
            |flag, mint| Ok(flag.enable(mint)),
            |flag, _| Ok(flag.disable()),
        ],
        &mut all,
    );
    samples_of::<DisableWinsFlag>(
        "DisableWinsFlag",
        &[
            |flag, mint| Ok(flag.enable(mint)),
            |flag, mint| Ok(flag.disable(mint)),
        ],
        &mut all,
    );
    samples_of::<ResettableCounter>(
        "ResettableCounter",
        &[
            |count, mint| count.add(mint, 200),
            |count, mint| count.add(mint, -3),
            |count, mint| Ok(count.reset(mint)),
            |count, mint| count.add(mint, 1),
        ],
        &mut all,
    );
    samples_of::<ObservedRemoveMap<u8, ObservedRemoveMap<String, MvRegister<u8>>>>(
        "ObservedRemoveMap<u8, ObservedRemoveMap<String, MvRegister<u8>>>",
        &[
            |map, mint| {
                map.update(1, |map| {
                    map.update("a".into(), |held| Ok(held.write(mint, 9)))
                })
            },
            |map, mint| {
                map.update(2, |map| {
                    map.update("b".into(), |held| Ok(held.write(mint, 8)))
                })
            },
            |map, _| Ok(map.remove(&1)),
            |map, mint| {
                map.update(2, |map| {
                    map.update("c".into(), |held| Ok(held.write(mint, 7)))
                })
            },
        ],
        &mut all,
    );
    samples_of::<List<String>>(
        "List<String>",
        &[
            |list, mint| list.insert(mint, 0, "one".into()),
            |list, mint| list.push(mint, "two".into()),
            |list, mint| list.insert(mint, 1, "between".into()),
            |list, _| list.remove(0),
        ],
        &mut all,
    );
    samples_of::<Document>(
        "Document",
        &[
            |doc, mint| doc.set(mint, path!["name"], "flat white"),
            |doc, mint| doc.set(mint, path!["sold"], Leaf::Counter(2)),
            |doc, mint| doc.insert(mint, path!["extras"], 0, Leaf::Map),
            |doc, mint| doc.set(mint, path!["extras", 0, "oat"], true),
            |doc, mint| doc.set(mint, path!["name"], vec![1, 2]),
            |doc, mint| doc.add(mint, path!["sold"], 5),
            |doc, mint| doc.set(mint, path!["empty"], Leaf::List),
            |doc, _| doc.remove(path!["extras", 0]),
        ],
        &mut all,
    );
    samples_of::<Product>(
        "Product",
        &[
            |product, mint| {
                let edit = product.name.write(mint, "decaf".into());
                Ok(edit.within(|name| Product {
                    name,
                    ..Product::default()
                }))
            },
            |product, mint| {
                let edit = product.tags.add(mint, [1, 2]);
                Ok(edit.within(|tags| Product {
                    tags,
                    ..Product::default()
                }))
            },
        ],
        &mut all,
    );
    others(&mut all);
    all
}

fn others(all: &mut Vec<Sample>) {
    let mut vector = VersionVector::new();
    let mut intervals = IntervalVersionVector::new();
    let (mut count, mut stock, mut seats) = (
        GCounter::bottom(),
        PnCounter::bottom(),
        BoundedCounter::bottom(),
    );
    for number in [3, 5, 1 << 100] {
        let (replica, writer) = (replica(number), writer(number));
        vector.raise(replica, 300);
        intervals.insert(Interval::new(replica, 2, 400).unwrap());
        intervals.insert(Interval::new(replica, 402, 402).unwrap());
        count.add(&writer, 1000).unwrap();
        stock.add(&writer, -7).unwrap();
        seats.add(&writer, 20).unwrap();
        seats.pass(&writer, self::replica(5), 4).unwrap();
        seats.take(&writer, 1).unwrap();
    }
    all.push(sample("VersionVector", &vector));
    all.push(sample("IntervalVersionVector", &intervals));
    all.push(sample("GCounter", &count));
    all.push(sample("PnCounter", &stock));
    all.push(sample("BoundedCounter", &seats));
    // Runs, literals and more than one segment in a column.
    let mut doc: Causal<Document> = Causal::bottom();
    let menu = Value::from_iter((0..40).map(|number| Value::from(number / 10)));
    doc.assign(&mut writer(7), path!["menu"], &menu).unwrap();
    all.push(sample("Document of 40 numbers, state", &doc));
    texts(all);
}

/// A text of two writers who were apart, with each kind of run, and cursors into it.
fn texts(all: &mut Vec<Sample>) {
    let (mut mine, mut theirs) = (writer(0xA11CE), writer(0xB0B));
    let mut here = Text::bottom();
    here.insert(&mut mine, 0, "two flat whites").unwrap();
    let known = here.vector().clone();
    let mut there = here.clone();
    // Backwards, and again at the same place.
    here.delete(&mut mine, 14..15).unwrap();
    here.delete(&mut mine, 13..14).unwrap();
    here.insert(&mut mine, 13, "er ☕").unwrap();
    there.delete(&mut theirs, 0..3).unwrap();
    there.insert(&mut theirs, 0, "three").unwrap();
    there.insert(&mut theirs, 5, " large").unwrap();
    here.join(&there);
    here.insert(&mut mine, 0, "— ").unwrap();
    all.push(sample("Text, state", &here));
    all.push(sample("TextDelta", &here.delta_since(&known)));
    let part = here.delta_since(&VersionVector::new()).split(64).remove(1);
    all.push(sample("TextDelta, part", &part));
    let mut cursors: Causal<MvRegister<Cursor>> = Causal::bottom();
    let places = [
        (0, CursorSide::Left),
        (0, CursorSide::Right),
        (9, CursorSide::Left),
    ];
    for (number, (at, side)) in (1..).zip(places) {
        let cursor = here.cursor(at, side).unwrap();
        let mut by_one = Causal::bottom();
        by_one
            .write(&mut writer(number), |held: &MvRegister<Cursor>, mint| {
                Ok(held.write(mint, cursor))
            })
            .unwrap();
        cursors.join(&by_one);
    }
    all.push(sample("MvRegister<Cursor> of three, state", &cursors));
    let mut nested: Causal<DotList<List<u8>>> = Causal::bottom();
    let mut writers = [writer(0xA11CE), writer(0xB0B)];
    for (number, at) in (0..6_u8).zip((0..2).cycle()) {
        let edit = |list: &DotList<List<u8>>, mint: Mint| {
            if list.len() < 2 {
                list.insert(mint, 0, List::default().push(mint, number)?)
            } else {
                list.update(usize::from(number) % 2, |inner| {
                    inner.insert(mint, 0, number)
                })
            }
        };
        nested.write(&mut writers[at], edit).unwrap();
    }
    all.push(sample("DotList<List<u8>>, state", &nested));
    let (mut flags, mut mine) = (Causal::bottom(), writer(0xA11CE));
    for _ in 0..100 {
        let push = |list: &DotList<EnableWinsFlag>, mint: Mint| {
            list.insert(mint, list.len(), EnableWinsFlag::default().enable(mint))
        };
        flags.write(&mut mine, push).unwrap();
    }
    all.push(sample("DotList<EnableWinsFlag> of 100, state", &flags));
    let delta = flags.delta_since(&VersionVector::new());
    all.push(sample("DotList<EnableWinsFlag> of 100, delta", &delta));
}

/// The frames of a conversation: the first member has something that the second lacks. The kind is the first byte.
pub(crate) fn frames() -> Vec<(String, Vec<u8>)> {
    type Tags = Causal<AddWinsSet<String>>;
    let members = [1, 2].map(|number| Member::new(number).unwrap());
    let mut sides = members.map(|local| {
        let config = SyncConfig::new(local, 7, Membership::new(members), local.get());
        AntiEntropy::<Tags>::new(config, Duration::ZERO).unwrap()
    });
    let mut states = [Tags::bottom(), Tags::bottom()];
    let mut frames = Vec::new();
    // More than is sent unasked, so that vectors are exchanged.
    let mut elder = Writer::new(replica(0xB0B), 0, 1000);
    for tag in 0..40 {
        states[1]
            .write(&mut elder, |set, mint| {
                Ok(set.add(mint, format!("old {tag}")))
            })
            .unwrap();
    }
    let mut writer = writer(0xA11CE);
    for second in 0..40 {
        let now = Duration::from_secs(second);
        if second == 2 || second == 4 {
            for tag in 0..if second == 2 { 1 } else { 50 } {
                let tag = format!("tag {tag}");
                states[0]
                    .write(&mut writer, |set, mint| Ok(set.add(mint, tag)))
                    .unwrap();
            }
            sides[0].changed();
        }
        for from in [0, 1, 0, 1] {
            while let Some(sent) = sides[from].poll_transmit(now, &states[from]) {
                let name = format!("frame {} at {second} s from {}", frames.len(), from + 1);
                let (side, state) = (&mut sides[1 - from], &mut states[1 - from]);
                // Until both know the other's session some are not meant for it.
                let _ = side.handle(now, members[from], &sent.frame, state, &Limits::NONE);
                frames.push((name, sent.frame));
            }
        }
    }
    assert_eq!(states[0], states[1]);
    frames.truncate(36);
    // A peer whose state shrinks within a life, which only a broken one does: it asks for all anew.
    states[1] = Tags::bottom();
    let mut later = Vec::new();
    for (second, tag) in (41..44).zip(["later", "later still", "last"]) {
        let now = Duration::from_secs(second);
        let add = |set: &AddWinsSet<String>, mint| Ok(set.add(mint, tag.to_owned()));
        states[0].write(&mut writer, add).unwrap();
        sides[0].changed();
        for from in [0, 1, 0, 1] {
            while let Some(sent) = sides[from].poll_transmit(now, &states[from]) {
                let name = format!("frame {} at {second} s from {}", 36 + later.len(), from + 1);
                let (side, state) = (&mut sides[1 - from], &mut states[1 - from]);
                side.handle(now, members[from], &sent.frame, state, &Limits::NONE)
                    .unwrap();
                later.push((name, sent.frame));
            }
        }
    }
    assert_eq!(states[0], states[1]);
    frames.extend(later);
    frames.extend(large_frames());
    frames
}

/// The frames of a conversation in which a delta comes in pieces, and one is refused.
fn large_frames() -> Vec<(String, Vec<u8>)> {
    type Price = Causal<LwwRegister<[u8; 40]>>;
    let members = [1, 2].map(|number| Member::new(number).unwrap());
    let mut sides = members.map(|local| {
        let mut config = SyncConfig::new(local, 7, Membership::new(members), local.get());
        config.part_bytes = 48;
        // Not within these seconds is sent again what is refused.
        config.retry_min = config.retry_max;
        AntiEntropy::<Price>::new(config, Duration::ZERO).unwrap()
    });
    let mut states = [Price::bottom(), Price::bottom()];
    let (mut writer, mut frames) = (writer(0xA11CE), Vec::new());
    for second in 0..4 {
        let now = Duration::from_secs(second);
        if let Some(wall_ms) = [None, Some(1), Some(2_000), None][usize::try_from(second).unwrap()]
        {
            let stamp = Stamp {
                wall_ms,
                logical: 0,
            };
            states[0]
                .write(&mut writer, |price, mint| price.write(mint, stamp, [7; 40]))
                .unwrap();
            sides[0].changed();
        }
        let limits = Limits {
            drift_ms_max: 1_000,
            ..Limits::NONE
        };
        for from in [0, 1, 0, 1, 0, 1, 0, 1] {
            while let Some(sent) = sides[from].poll_transmit(now, &states[from]) {
                let name = format!("frame in pieces at {second} s from {}", from + 1);
                let (side, state) = (&mut sides[1 - from], &mut states[1 - from]);
                let _ = side.handle(now, members[from], &sent.frame, state, &limits);
                frames.push((name, sent.frame));
            }
        }
    }
    assert_eq!(
        states[1].vector().get(replica(0xA11CE)),
        1,
        "one was taken, one was not"
    );
    frames
}
