//! Compressed containers from strangers.

use std::sync::PoisonError;

use peaberry_crdt::wire::{
    Bound, Budget, CONTAINER_MAGIC, DecodeError, Message as _, compress, decompress,
    decompress_any, seal,
};
use peaberry_crdt::{Lattice as _, Text, Writer};
use stats_alloc::Region;

use super::samples::{self, replica};
use super::{ALLOCATOR, ALONE, Dice, mutated, over, rounds};

/// DEFLATE makes at most about a thousand bytes of one, and unpacking has a window of its own.
const BYTES_FOR_EACH_BYTE: usize = 2_500;
const BYTES_ANYWAY: usize = 100_000;

fn container() -> (Vec<u8>, Vec<u8>) {
    let mut text = Text::bottom();
    let writer = &mut Writer::new(replica(7), 0, 10_000);
    text.insert(writer, 0, &"two flat whites, please. ".repeat(20))
        .unwrap();
    let message = text.to_bytes();
    (compress(&message), message)
}

/// The same with another length told.
fn telling(container: &[u8], message: &[u8], length: u64) -> Vec<u8> {
    let told = |length: u64| {
        let (mut rest, mut bytes) = (length, Vec::new());
        while rest >= 0x80 {
            bytes.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push((rest & 0x7f) as u8);
        bytes
    };
    let head = CONTAINER_MAGIC.len() + 1;
    let stream = head + told(message.len() as u64).len();
    let mut forged = container[..head].to_vec();
    forged.extend(told(length));
    forged.extend_from_slice(&container[stream..container.len() - 4]);
    seal(&mut forged, 0);
    forged
}

#[test]
fn a_container_gives_back_its_message_and_no_part_of_it_does() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (container, message) = container();
    assert!(container.len() * 3 < message.len());
    assert_eq!(decompress(&container, Budget::default()), Ok(message));
    for length in 0..container.len() {
        assert!(decompress(&container[..length], Budget::default()).is_err());
    }
    for bit in 0..container.len() * 8 {
        let mut damaged = container.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(decompress(&damaged, Budget::default()).is_err());
    }
    let mut longer = container.clone();
    longer.push(0);
    assert!(decompress(&longer, Budget::default()).is_err());
    let mut newer = container;
    newer[3] = 2;
    let refused = decompress(&newer, Budget::default());
    assert_eq!(refused, Err(DecodeError::Version { found: 2, known: 1 }));
    assert_eq!(
        decompress(b"zip", Budget::default()),
        Err(DecodeError::Magic)
    );
}

/// Also behind a checksum that is right: a length that is a lie, and what would become of a bomb.
#[test]
fn lengths_that_lie_are_refused_before_they_cost_anything() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (container, message) = container();
    for length in [
        0,
        1,
        message.len() as u64 - 1,
        message.len() as u64 + 1,
        4_000,
    ] {
        let forged = telling(&container, &message, length);
        let refused = decompress(&forged, Budget::default());
        assert_eq!(
            refused,
            Err(DecodeError::Malformed("container")),
            "{length}"
        );
    }
    for length in [1 << 20, 1 << 26, 1 << 40, u64::MAX] {
        let region = Region::new(ALLOCATOR);
        let refused = decompress(&telling(&container, &message, length), Budget::default());
        assert!(refused.is_err());
        assert!(region.change().bytes_allocated < 20_000);
    }
    // Eight megabytes of nothing are eight kilobytes, and over the budget of who expects one.
    let bomb = compress(&vec![0; 8 << 20]);
    assert!(bomb.len() < 10_000);
    let budget = Budget {
        bytes_max: 1 << 20,
        ..Budget::default()
    };
    let region = Region::new(ALLOCATOR);
    assert_eq!(over(decompress(&bomb, budget).err()), Bound::Bytes);
    assert!(region.change().bytes_allocated < 20_000);
    // One that says it is small stops when it is not.
    let lying = telling(&bomb, &vec![0; 8 << 20], 1 << 10);
    let region = Region::new(ALLOCATOR);
    assert!(decompress(&lying, budget).is_err());
    assert!(region.change().bytes_allocated < BYTES_ANYWAY);
}

#[test]
fn containers_take_any_bytes_within_a_constant_times_their_length() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut dice = Dice(3);
    let containers: Vec<Vec<u8>> = samples::all()
        .iter()
        .map(|sample| compress(&sample.bytes))
        .collect();
    for _ in 0..rounds() * 20 {
        let one = &containers[dice.below(containers.len())];
        let other = &containers[dice.below(containers.len())];
        // Between the version and the checksum, which are made anew.
        let bytes = mutated(&one[4..one.len() - 4], &other[4..], &mut dice);
        let region = Region::new(ALLOCATOR);
        decompress_any(&bytes);
        let allocated = region.change().bytes_allocated;
        // What comes out is packed again, by a compressor that has tables of its own.
        let bound = BYTES_ANYWAY * 10 + BYTES_FOR_EACH_BYTE * bytes.len();
        assert!(allocated <= bound, "{allocated} bytes for {}", bytes.len());
    }
}

/// Bytes behind the end of the stream would be passed on with it and read by nobody.
#[test]
fn bytes_behind_the_stream_are_refused() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for message in [container().1, Vec::new()] {
        let container = compress(&message);
        assert_eq!(decompress(&container, Budget::default()), Ok(message));
        let mut longer = container[..container.len() - 4].to_vec();
        longer.push(0);
        seal(&mut longer, 0);
        let malformed = Err(DecodeError::Malformed("container"));
        assert_eq!(decompress(&longer, Budget::default()), malformed);
    }
}
