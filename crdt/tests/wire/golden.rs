//! Golden files: what version 1 wrote is written and read for ever.
//!
//! `PEABERRY_GOLDEN=write` writes the file anew. Do that for a version that has not been released, or for what is added
//! at the end; for anything else raise `VERSION`, keep the old file, and read it in the test for the version before.

use std::fmt::Write as _;
use std::path::Path;

use peaberry_crdt::wire::{Budget, DecodeError, MAGIC, Message as _, VERSION};
use peaberry_crdt::{Lattice as _, ReplicaId, Text, VersionVector, Writer};

use crate::samples;

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

fn golden() -> Vec<(String, Vec<u8>)> {
    let text = include_str!("../golden/v1.txt");
    let entry = |line: &str| {
        let (name, bytes) = line.rsplit_once(": ").unwrap();
        (name.to_owned(), unhex(bytes))
    };
    text.lines().map(entry).collect()
}

#[test]
fn everything_is_written_as_it_always_was() {
    assert_eq!(
        VERSION, 1,
        "keep the golden file of each version that is still read"
    );
    let messages = samples::all()
        .into_iter()
        .map(|sample| (sample.name, sample.bytes));
    let written: Vec<_> = messages.chain(samples::frames()).collect();
    if std::env::var("PEABERRY_GOLDEN").is_ok_and(|mode| mode == "write") {
        let mut text = String::new();
        for (name, bytes) in &written {
            writeln!(text, "{name}: {}", hex(bytes)).unwrap();
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1.txt");
        std::fs::write(path, text).unwrap();
        return;
    }
    let golden = golden();
    for ((name, bytes), (golden_name, golden_bytes)) in written.iter().zip(&golden) {
        assert_eq!(name, golden_name);
        assert_eq!(
            hex(bytes),
            hex(golden_bytes),
            "{name} is written differently"
        );
    }
    assert_eq!(written.len(), golden.len());
}

#[test]
fn what_was_written_is_read() {
    let golden = golden();
    for (sample, (name, bytes)) in samples::all().iter().zip(&golden) {
        let again = (sample.reread)(bytes, Budget::default());
        assert_eq!(again.as_ref(), Some(bytes), "{name} is not read");
        (sample.check)(bytes);
    }
    let kinds: std::collections::BTreeSet<u8> = golden
        .iter()
        .filter(|(name, _)| name.starts_with("frame"))
        .map(|(_, bytes)| bytes[0])
        .collect();
    assert!(
        kinds.is_superset(&(1..=10).collect()),
        "kinds of frames: {kinds:?}"
    );
}

/// The example of `FORMAT.md`, byte by byte.
#[test]
fn the_example_of_the_documentation_is_true() {
    let mut vector = VersionVector::new();
    vector.raise(ReplicaId::new(2).unwrap(), 300);
    let bytes = vector.to_bytes();
    let expected = [
        &b"pbc"[..],
        &[1, 3],                                           // version, kind
        &[0x22, 0x58, 0x3e, 0x01],                         // schema
        &[1],                                              // one id is told
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2], // it
        &[1],                                              // one replica
        &[0],                                              // its index, as expected
        &[0xac, 0x02],                                     // its counter
    ]
    .concat();
    assert_eq!(bytes[..bytes.len() - 4], expected);
    let documentation = include_str!("../../FORMAT.md");
    assert!(
        documentation.contains(&hex(&bytes)),
        "{} is not there",
        hex(&bytes)
    );
}

/// The text of `FORMAT.md`, byte by byte.
#[test]
fn the_text_of_the_documentation_is_true() {
    let (mut text, mut writer) = (Text::bottom(), Writer::new(samples::replica(2), 0, 10));
    text.insert(&mut writer, 0, "tea").unwrap();
    let bytes = text.to_bytes();
    let expected = [
        &[1, 0, 0, 0][..],  // one replica: index, events before, runs less one
        &[3 << 3 | 1 << 2], // its tag
        &[0],               // its place
        &[0],               // how many parents
        &[3],               // how many bytes
        b"tea",
    ]
    .concat();
    assert_eq!(bytes[26..bytes.len() - 4], expected);
    let documentation = include_str!("../../FORMAT.md");
    assert!(
        documentation.contains(&hex(&bytes)),
        "{} is not there",
        hex(&bytes)
    );
}

#[test]
fn other_versions_are_refused_by_number() {
    for found in [0, VERSION + 1] {
        let mut bytes = VersionVector::new().to_bytes();
        assert_eq!(bytes[..3], MAGIC);
        bytes[3] = found;
        assert_eq!(
            VersionVector::from_bytes(&bytes, Budget::default()),
            Err(DecodeError::Version {
                found,
                known: VERSION
            })
        );
    }
}
