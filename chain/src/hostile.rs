//! What is right, and spoiled in many ways: the fuzz targets' readers on the stable toolchain, alike in every run.

#[path = "../tests/dice/mod.rs"]
mod dice;

use dice::Dice;

/// What is put in the place of a byte: ends and signs of both binary and text.
const SIGNS: &[u8] = &[
    0x00, 0x01, 0x7f, 0x80, 0xff, b'"', b'[', b'{', b'}', b'-', b'9', b'\\',
];

/// Spoiled at random so often.
const ROUNDS: usize = 1_000;

/// Shows `read` each sample; each beginning of it; each with one byte changed, left out or doubled; and mixtures of all.
pub(crate) fn each_spoiled(samples: &[&[u8]], mut read: impl FnMut(&[u8])) {
    for sample in samples {
        read(sample);
        for at in 0..sample.len() {
            let (before, rest) = sample.split_at(at);
            let (byte, behind) = rest.split_first().expect("it is below the length");
            read(before);
            read(&[before, behind].concat());
            read(&[before, &[*byte], rest].concat());
            // Not all signs in each place: they would be too many.
            let sign = |turn: usize| SIGNS[(at + turn) % SIGNS.len()];
            for other in [sign(0), sign(5), byte ^ 1, byte ^ 0x80] {
                read(&[before, &[other], behind].concat());
            }
        }
    }
    let mut dice = Dice(1);
    for _ in 0..ROUNDS {
        let pieces = 2 + dice.roll(3);
        let mixed: Vec<&[u8]> = (0..pieces).map(|_| piece(&mut dice, samples)).collect();
        read(&mixed.concat());
    }
}

/// A piece of one of the samples.
fn piece<'a>(dice: &mut Dice, samples: &[&'a [u8]]) -> &'a [u8] {
    let sample = samples[dice.place(samples.len())];
    let ends = [(); 2].map(|()| dice.place(sample.len() + 1));
    &sample[ends[0].min(ends[1])..ends[0].max(ends[1])]
}
