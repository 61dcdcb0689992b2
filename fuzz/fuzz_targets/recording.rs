//! Any bytes at all as a flight recording.

#![no_main]

use std::convert::Infallible;

use libfuzzer_sys::fuzz_target;
use peaberry_core::recorder::{Recorded, replay};
use peaberry_core::{Effects, Input, Instant, Protocol};

/// Does nothing.
struct Idle;

impl Protocol for Idle {
    type Command = ();
    type Event = ();
    type Error = Infallible;

    fn step(&mut self, _: Instant, _: Input<()>, _: &mut Effects<'_, ()>) -> Result<(), Infallible> {
        Ok(())
    }
}

impl Recorded for Idle {
    fn encode_command(_: &(), _: &mut Vec<u8>) {}

    fn decode_command(_: &[u8]) -> Option<()> {
        Some(())
    }
}

fuzz_target!(|bytes: &[u8]| drop(replay(bytes, |_, _| Ok(Idle))));
