//! Two people edit one note offline, and merge.
//!
//! You will learn to write a `Text`, to keep a cursor beside a character, and to exchange what the other lacks.
//!
//! Tested as: `cargo run --example crdt_notes`
//!
//! You will see both notes before and after the merge, each with its writer's cursor as `|`.

use peaberry_crdt::{Cursor, CursorSide, Lattice, ReplicaId, Text, Writer};

fn show(name: &str, note: &Text, cursor: Cursor) -> Result<(), Box<dyn std::error::Error>> {
    let at = note
        .locate(cursor)
        .ok_or("the cursor's character is unknown")?;
    let whole = note.to_string();
    let (before, after): (String, String) = (
        whole.chars().take(at).collect(),
        whole.chars().skip(at).collect(),
    );
    println!("{name}: {before}|{after}");
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let writer = |number| ReplicaId::new(number).map(|id| Writer::new(id, 0, 10_000));
    let (mut annas, mut bens) = (writer(1).ok_or("zero")?, writer(2).ok_or("zero")?);
    let mut here = Text::bottom();
    here.insert(&mut annas, 0, "Buy: beans.")?;
    let mut there = here.clone();

    // Offline, both write behind the beans; Ben also says how many.
    here.insert(&mut annas, 10, ", oat milk")?;
    let annas_cursor = here.cursor(20, CursorSide::Left).ok_or("no such place")?;
    there.insert(&mut bens, 10, ", filters")?;
    there.delete(&mut bens, 0..3)?;
    there.insert(&mut bens, 0, "Order 2 kg")?;
    let bens_cursor = there.cursor(10, CursorSide::Left).ok_or("no such place")?;
    show("Anna, offline", &here, annas_cursor)?;
    show("Ben, offline ", &there, bens_cursor)?;

    let to_ben = here.delta_since(there.vector());
    here.apply(&there.delta_since(here.vector()))?;
    there.apply(&to_ben)?;
    show("Anna, merged ", &here, annas_cursor)?;
    show("Ben, merged  ", &there, bens_cursor)?;

    assert_eq!(here, there);
    assert_eq!(here.to_string(), "Order 2 kg: beans, oat milk, filters.");
    assert_eq!(
        here.locate(annas_cursor),
        Some("Order 2 kg: beans, oat milk".len())
    );
    Ok(())
}
