//! A failure in production becomes a test: record a protocol's inputs, step them again.
//!
//! You will learn how to give a protocol a flight recorder, how to replay what it recorded, and how a changed program
//! shows itself.
//!
//! Tested as: `cargo run --example replay`
//!
//! You will see a till that miscounts a coffee in production, its recording stepped again turn by turn to the same
//! wrong sum, and the first turn in which the repaired till does something else.

use std::convert::Infallible;
use std::error::Error;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use peaberry_core::recorder::{Recorded, Recording, Start, replay};
use peaberry_core::{
    Channel, Effects, Input, Instant, MemoryStorage, Node, Protocol, ProtocolId, Storage,
    StorageError, Subspace, SystemClock,
};

const CHANNEL: Channel = Channel::new(ProtocolId(2000), 0);

/// Adds up what coffees cost, in cents, and tells the sum once it is durable.
struct Till {
    cents: u64,
    /// The tenth coffee is free. The till of production forgot the "tenth".
    coffees: u64,
    is_repaired: bool,
}

impl Till {
    fn open(storage: &dyn Storage, is_repaired: bool) -> Result<Self, StorageError> {
        let number = |name: &[u8]| -> Result<u64, StorageError> {
            let stored = Subspace::of(CHANNEL).get(storage, name)?;
            Ok(stored
                .and_then(|bytes: Bytes| bytes.as_ref().try_into().ok())
                .map_or(0, u64::from_be_bytes))
        };
        Ok(Self {
            cents: number(b"cents")?,
            coffees: number(b"coffees")?,
            is_repaired,
        })
    }
}

impl Protocol for Till {
    type Command = u64;
    type Event = u64;
    type Error = Infallible;

    fn step(
        &mut self,
        _: Instant,
        input: Input<u64>,
        fx: &mut Effects<'_, u64>,
    ) -> Result<(), Infallible> {
        if let Input::Command(cents) = input {
            self.coffees += 1;
            let is_free = if self.is_repaired {
                self.coffees.is_multiple_of(10)
            } else {
                self.coffees.is_multiple_of(5)
            };
            self.cents += if is_free { 0 } else { cents };
            let own = Subspace::of(CHANNEL);
            own.put(fx.batch(), b"cents", &self.cents.to_be_bytes());
            own.put(fx.batch(), b"coffees", &self.coffees.to_be_bytes());
            fx.emit_after_commit(self.cents);
        }
        Ok(())
    }
}

impl Recorded for Till {
    fn encode_command(cents: &u64, to: &mut Vec<u8>) {
        to.extend_from_slice(&cents.to_be_bytes());
    }

    fn decode_command(bytes: &[u8]) -> Option<u64> {
        Some(u64::from_be_bytes(bytes.try_into().ok()?))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::temp_dir().join("peaberry_replay.flight");

    // Production: eight coffees at three euros.
    let storage = Arc::new(MemoryStorage::new());
    let recording =
        Recording::create(&path, 1 << 20)?.with_image(storage.as_ref(), CHANNEL, &[])?;
    let till = Till::open(storage.as_ref(), false)?;

    let mut node = Node::alone(storage, Arc::new(SystemClock::new()));
    let (tell, sums) = mpsc::channel();
    let sink = move |events: &mut Vec<u64>| {
        for sum in events.drain(..) {
            // The story may be over.
            let _ = tell.send(sum);
        }
    };
    let handle = node.add_recorded(CHANNEL, till, recording, sink)?;
    let thread = node.spawn("till")?;
    let mut sum = 0;
    for _ in 0..8 {
        handle.submit(300)?;
        sum = sums.recv()?;
    }
    drop(thread.stop());
    assert_eq!(sum, 2_100, "the fifth was free");
    println!(
        "production: 8 coffees at 300 cents made {sum} cents, recorded in {}",
        path.display()
    );

    // At the desk: the same program does the same.
    let recorded = std::fs::read(&path)?;
    let open = |is_repaired: bool| {
        move |_: Channel, start: Start<'_>| match start {
            Start::Image(storage) => Ok(Till::open(storage, is_repaired)?),
            Start::Checkpoint(_) => Err("this till takes no checkpoints".into()),
        }
    };
    let same = replay::<Till>(&recorded, open(false))?;
    println!("{same}");
    assert_eq!(same.difference, None);
    assert_eq!(same.inputs, 8);

    // The repaired program differs at the fifth coffee, and there only it should.
    let repaired = replay::<Till>(&recorded, open(true))?;
    let difference = repaired.difference.ok_or("the repair changes something")?;
    assert_eq!(repaired.inputs, 5);
    println!("repaired: {difference}");
    Ok(())
}
