//! The keystrokes of real documents, to their last character. From `PEABERRY_DATA`; seeded ones where it is unset.

use std::io::Read as _;
use std::path::PathBuf;

use peaberry_crdt::testkit::Dice;
use peaberry_crdt::wire::{Budget, Message as _};
use peaberry_crdt::{Lattice as _, ReplicaId, Text, VersionVector, Writer};
use serde_json::Value;

/// One writer's edits: where, how many removed, what inserted.
type Patch = (usize, usize, String);

struct Transaction {
    agent: usize,
    parents: Vec<usize>,
    patches: Vec<Patch>,
}

struct Trace {
    agents: usize,
    transactions: Vec<Transaction>,
    end: String,
}

fn load(name: &str) -> Option<Trace> {
    let Some(folder) = std::env::var_os("PEABERRY_DATA") else {
        println!("PEABERRY_DATA is unset: {name} is made from a seed");
        return None;
    };
    let path = PathBuf::from(folder)
        .join("editing-traces")
        .join(format!("{name}.json.gz"));
    let mut json = String::new();
    let file =
        std::fs::File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    flate2::read::GzDecoder::new(file)
        .read_to_string(&mut json)
        .unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    let transactions = json["txns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|transaction| Transaction {
            agent: transaction.get("agent").map_or(0, number),
            parents: transaction.get("parents").map_or(Vec::new(), |parents| {
                parents.as_array().unwrap().iter().map(number).collect()
            }),
            patches: transaction["patches"]
                .as_array()
                .unwrap()
                .iter()
                .map(|patch| {
                    (
                        number(&patch[0]),
                        number(&patch[1]),
                        patch[2].as_str().unwrap().to_owned(),
                    )
                })
                .collect(),
        });
    Some(Trace {
        agents: json.get("numAgents").map_or(1, number),
        transactions: transactions.collect(),
        end: json["endContent"].as_str().unwrap().to_owned(),
    })
}

/// One writer's random edits, and what a plain string makes of them.
fn seeded() -> Trace {
    let mut dice = Dice::new(11);
    let (mut transactions, mut end) = (Vec::new(), Vec::<char>::new());
    let mut at = 0;
    for _ in 0..3000 {
        if dice.one_in(20) {
            at = dice.index(end.len() + 1);
        }
        let removed = if dice.one_in(3) {
            dice.index(3).min(end.len() - at)
        } else {
            0
        };
        let inserted = ["", "x", "yz", "ß"][dice.index(4)].to_owned();
        end.splice(at..at + removed, inserted.chars());
        transactions.push(Transaction {
            agent: 0,
            parents: Vec::new(),
            patches: vec![(at, removed, inserted.clone())],
        });
        at += inserted.chars().count();
    }
    Trace {
        agents: 1,
        transactions,
        end: end.into_iter().collect(),
    }
}

fn carry_out(text: &mut Text, writer: &mut Writer, patches: &[Patch]) {
    for (at, removed, inserted) in patches {
        text.delete(writer, *at..at + removed).unwrap();
        text.insert(writer, *at, inserted).unwrap();
    }
}

fn writer(agent: usize) -> Writer {
    Writer::new(ReplicaId::new(agent as u128 + 1).unwrap(), 0, u64::MAX)
}

/// How many bytes the trace of a paper may take, in the container.
#[cfg(feature = "compress")]
const PAPER_BYTES_MAX: usize = 120_000;

#[cfg(feature = "compress")]
#[test]
fn automerge_paper_takes_120_kilobytes_in_the_container() {
    let Some(trace) = load("automerge-paper") else {
        println!("skipped: PEABERRY_DATA names no folder with the trace");
        return;
    };
    let (mut text, mut writer) = (Text::bottom(), writer(0));
    for transaction in &trace.transactions {
        carry_out(&mut text, &mut writer, &transaction.patches);
    }
    let bytes = peaberry_crdt::wire::compress(&text.to_bytes()).len();
    assert!(bytes <= PAPER_BYTES_MAX, "{bytes} bytes");
}

fn check_end(text: &Text, end: &str) {
    assert_eq!(text.to_string(), end);
    let bytes = text.to_bytes();
    let again = Text::from_bytes(&bytes, Budget::default()).unwrap();
    assert_eq!(again.to_string(), end);
    assert_eq!(&again, text);
    assert_eq!(again.to_bytes(), bytes);
    #[cfg(feature = "compress")]
    {
        use peaberry_crdt::wire::{compress, decompress};
        let packed = compress(&bytes);
        println!("{} bytes, compressed {}", bytes.len(), packed.len());
        assert_eq!(decompress(&packed, Budget::default()).unwrap(), bytes);
    }
}

fn check_sequential(name: &str) {
    let trace = load(name).unwrap_or_else(seeded);
    let (mut text, mut writer) = (Text::bottom(), writer(0));
    for transaction in &trace.transactions {
        carry_out(&mut text, &mut writer, &transaction.patches);
    }
    check_end(&text, &trace.end);
}

#[test]
fn automerge_paper_ends_as_it_did() {
    check_sequential("automerge-paper");
}

#[test]
fn rustcode_ends_as_it_did() {
    check_sequential("rustcode");
}

#[test]
fn sveltecomponent_ends_as_it_did() {
    check_sequential("sveltecomponent");
}

/// Each agent is a replica, which has what a transaction's parents had before it writes it.
fn check_concurrent(name: &str) {
    let Some(trace) = load(name) else {
        return check_sequential(name);
    };
    let mut texts = vec![Text::bottom(); trace.agents];
    let mut writers: Vec<Writer> = (0..trace.agents).map(writer).collect();
    let mut vectors: Vec<(usize, VersionVector)> = Vec::new();
    for transaction in &trace.transactions {
        for parent in &transaction.parents {
            let (author, vector) = &vectors[*parent];
            let at = transaction.agent;
            if *author != at && !vector.partial_le(texts[at].vector()) {
                let delta = texts[*author].delta_between(texts[at].vector(), vector);
                texts[at].apply(&delta).unwrap();
            }
        }
        let at = transaction.agent;
        carry_out(&mut texts[at], &mut writers[at], &transaction.patches);
        vectors.push((at, texts[at].vector().clone()));
    }
    let mut whole = Text::bottom();
    for text in &texts {
        whole.join(text);
    }
    check_end(&whole, &trace.end);
    for text in &mut texts {
        text.join(&whole);
        assert_eq!(text.to_string(), trace.end);
    }
}

#[test]
fn friendsforever_ends_as_it_did() {
    check_concurrent("friendsforever.concurrent");
}

#[test]
fn clownschool_ends_as_it_did() {
    check_concurrent("clownschool.concurrent");
}
