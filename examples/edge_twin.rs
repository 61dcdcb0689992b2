//! A machine's twin, edited on both sides while they cannot hear each other.
//!
//! You will learn what desired and reported are, how both sides come to agree, and how a setting reaches a device.
//!
//! Tested as: `cargo run --example edge_twin`
//!
//! You will see the same twin on both sides after an outage, and a stamp from the far future refused.

use clap::Parser;
use peaberry_core::{Batch, Channel, Durability, MemoryStorage, ProtocolId, Storage, Subspace};
use peaberry_crdt::ReplicaId;
use peaberry_edge::Name;
use peaberry_edge::twin::{Side, Twin};

const NOON_MS: u64 = 1_780_000_000_000;

/// Lets both say what they know, and passes messages to and fro until they fall silent.
fn connect(
    device: &mut Twin,
    service: &mut Twin,
    wall_ms: u64,
) -> Result<usize, peaberry_edge::EdgeError> {
    let mut batch = Batch::new();
    let mut to_service = vec![device.hello()];
    let mut to_device = vec![service.hello()];
    let mut count = 0;
    while !to_service.is_empty() || !to_device.is_empty() {
        count += to_service.len() + to_device.len();
        let arrived = std::mem::take(&mut to_service);
        for message in std::mem::take(&mut to_device) {
            to_service.extend(device.receive(&message, Some(wall_ms), &mut batch)?.answers);
        }
        for message in arrived {
            to_device.extend(
                service
                    .receive(&message, Some(wall_ms), &mut batch)?
                    .answers,
            );
        }
    }
    Ok(count)
}

/// A machine's twin, edited on both sides while they cannot hear each other. It takes no arguments.
#[derive(Parser)]
struct Arguments {}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments {} = Arguments::parse();
    let space = Subspace::of(Channel::new(ProtocolId(2000), 1));
    let (here, there) = (MemoryStorage::new(), MemoryStorage::new());
    let mut device = Twin::open(&here, &space, Side::Device)?;
    let side = Side::Service(ReplicaId::new(0xC10D).ok_or("not zero")?);
    let mut service = Twin::open(&there, &space, side)?;
    let (target, grind) = (Name::new("boiler.target")?, Name::new("grind")?);

    println!("while the line is down:");
    let mut batch = Batch::new();
    service.desire(target.clone(), 94.0.into(), Some(NOON_MS), &mut batch)?;
    service.desire(grind.clone(), 3.into(), Some(NOON_MS), &mut batch)?;
    there.commit(&batch, Durability::Synced)?;
    println!("  the service desires {target} = 94, {grind} = 3");
    let mut batch = Batch::new();
    device.desire(grind.clone(), 5.into(), Some(NOON_MS + 60_000), &mut batch)?;
    device.report(target.clone(), 93.0.into(), Some(NOON_MS), &mut batch)?;
    here.commit(&batch, Durability::Synced)?;
    println!("  a minute later, somebody turns the machine's knob: {grind} = 5");

    let messages = connect(&mut device, &mut service, NOON_MS + 120_000)?;
    println!("after {messages} messages, on both sides:");
    for (key, value) in device.all_desired() {
        let reported = device.reported(key).map(|it| format!("reported {it}"));
        let reported = reported.unwrap_or_else(|| "not reported yet".to_owned());
        println!("  {key} = {value}, {reported}");
        assert_eq!(service.desired(key), Some(value));
    }
    assert_eq!(
        device.desired(&grind),
        Some(&5.into()),
        "the later write holds"
    );
    assert_eq!(device.delta(), service.delta());
    assert_eq!(device.delta().len(), 2, "both are yet to be brought about");
    for (key, value) in device.delta() {
        device.report(key, value, Some(NOON_MS + 130_000), &mut Batch::new())?;
    }
    connect(&mut device, &mut service, NOON_MS + 140_000)?;
    assert!(
        service.delta().is_empty(),
        "the service sees that it is done"
    );

    let year_ms = 365 * 86_400_000;
    let lie = service.desire(
        target.clone(),
        120.0.into(),
        Some(NOON_MS + year_ms),
        &mut Batch::new(),
    )?;
    let refused = device.receive(&lie, Some(NOON_MS + 150_000), &mut Batch::new());
    let error = refused
        .err()
        .ok_or("a stamp a year ahead must be refused")?;
    println!(
        "a wish dated a year ahead: {error}: {}",
        std::error::Error::source(&error).ok_or("it has a cause")?
    );
    assert_eq!(device.desired(&target), Some(&94.0.into()));
    Ok(())
}
