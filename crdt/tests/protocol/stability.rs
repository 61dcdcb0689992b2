//! What all members know is forgotten by itself.

use std::time::Duration;

use peaberry_core::MemoryNetwork;
use peaberry_crdt::wire::Message as _;

use crate::machines::{Machine, Tags, poll, run, town};

const ADDED: u32 = 10_000;
const AT_ONCE: u32 = 500;

/// Adds some tags, in one mutation.
fn add_from(machine: &Machine<Tags>, first: u32) {
    let _answer = machine.handle.mutate(move |tags: &mut Tags, writer| {
        for tag in first..first + AT_ONCE {
            tags.write(writer, |set, mint| Ok(set.add(mint, tag)))
                .unwrap();
        }
    });
}

/// Removes each tag that it shows by itself, in whatever order.
fn remove_all(machine: &Machine<Tags>) {
    let _answer = machine.handle.mutate(|tags: &mut Tags, writer| {
        let mut shown: Vec<u32> = tags.value().iter().copied().collect();
        shown.sort_by_key(|tag| tag.wrapping_mul(0x9e37_79b1));
        for tag in shown {
            tags.write(writer, |set, _| Ok(set.remove(&tag))).unwrap();
        }
    });
}

/// One adds, another removes, a third only hears of it. Nobody calls `collect`.
#[test]
fn emptied_a_set_takes_64_bytes_at_each_of_three_members() {
    let network = MemoryNetwork::new();
    let mut town = town::<Tags>(&network, 3, |_| {});
    let second = Duration::from_secs(1);
    let sizes = |town: &[Machine<Tags>]| -> Vec<usize> {
        let bytes = |machine: &Machine<Tags>| machine.handle.read(|tags| tags.to_bytes().len());
        town.iter().map(bytes).collect()
    };
    let mut largest = 0;
    for first in (0..ADDED).step_by(AT_ONCE as usize) {
        add_from(&town[0], first);
        run(&mut town, second);
        remove_all(&town[1]);
        run(&mut town, second / 10);
        largest = largest.max(sizes(&town).into_iter().max().unwrap_or(0));
    }
    run(&mut town, 120 * second);
    let done = town[0].handle.mutate(|tags: &mut Tags, _| {
        let events = tags.vector().iter().map(|(_, count)| count);
        (tags.value().is_empty(), events.sum::<u64>())
    });
    run(&mut town, second);
    assert_eq!(poll(done), Some(Ok((true, u64::from(2 * ADDED)))));
    assert!(
        largest > 1_000,
        "there was something to forget: {largest} bytes"
    );
    let sizes = sizes(&town);
    assert!(sizes.iter().all(|bytes| *bytes <= 64), "{sizes:?} bytes");
    for machine in &town {
        assert_eq!(machine.handle.read(Tags::log_bytes), 0);
    }
}
