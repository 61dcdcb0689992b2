//! Hello world of replicated data: two tills count cups without asking each other, and agree when they meet.
//!
//! You will learn to write to a document, to ask for what another lacks, and that late and repeated deltas do no harm.
//!
//! Tested as: `cargo run --example crdt_counter`
//!
//! You will see both counts before and after the tills meet, and how many bytes that took.

use peaberry_crdt::wire::{Budget, Message};
use peaberry_crdt::{Causal, Delta, Lattice, ReplicaId, ResettableCounter, Writer};

type Cups = Causal<ResettableCounter>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut front, mut back) = (Cups::bottom(), Cups::bottom());
    // An id is random in life; the numbers behind it are how many events are there already, and how many may be made.
    let mut front_writer = Writer::new(ReplicaId::new(1).ok_or("not zero")?, 0, 1000);
    let mut back_writer = Writer::new(ReplicaId::new(2).ok_or("not zero")?, 0, 1000);

    for _ in 0..3 {
        front.write(&mut front_writer, |cups, mint| cups.add(mint, 2))?;
        back.write(&mut back_writer, |cups, mint| cups.add(mint, 5))?;
    }
    println!(
        "apart: front {}, back {}",
        front.value().value(),
        back.value().value()
    );

    // A vector says what one knows; a delta is what the other has over it.
    let bytes = front.delta_since(back.vector()).to_bytes();
    let delta = Delta::from_bytes(&bytes, Budget::default())?;
    back.apply(&delta)?;
    back.apply(&delta)?; // repeated: changes nothing
    front.apply(&back.delta_since(front.vector()))?;

    println!(
        "together: front {}, back {}",
        front.value().value(),
        back.value().value()
    );
    println!("one way took {} bytes, checksum included", bytes.len());
    assert_eq!(front, back);
    assert_eq!(front.value().value(), 21);
    Ok(())
}
