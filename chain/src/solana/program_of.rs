//! Which program an instruction of a transaction asks, read from the transaction's bytes.

use crate::SolanaAddress;

const SIGNATURE_BYTES: usize = 64;
const BLOCKHASH_BYTES: usize = 32;
const HEADER_BYTES: usize = 3;
// The first bit of a message that says its version; a legacy one begins with how many sign.
const VERSIONED: u8 = 0x80;

/// The program of instruction `index` of the transaction `raw`, with a legacy message or one of version 0, which names its
/// programs itself. `None` where the bytes are no such transaction or have no such instruction.
pub(super) fn program_of(raw: &[u8], index: u8) -> Option<SolanaAddress> {
    let mut rest = raw;
    let signatures = take_length(&mut rest)?;
    take(&mut rest, signatures * SIGNATURE_BYTES)?;
    match *rest.first()? {
        0..VERSIONED => {}
        VERSIONED => {
            take(&mut rest, 1)?;
        }
        _ => return None,
    }
    take(&mut rest, HEADER_BYTES)?;
    let count = take_length(&mut rest)?;
    let accounts = take(&mut rest, count * 32)?;
    take(&mut rest, BLOCKHASH_BYTES)?;
    if take_length(&mut rest)? <= usize::from(index) {
        return None;
    }
    for _ in 0..index {
        skip_instruction(&mut rest)?;
    }
    let place = usize::from(*rest.first()?);
    let (addresses, _) = accounts.as_chunks::<32>();
    addresses.get(place).copied().map(SolanaAddress)
}

fn skip_instruction(rest: &mut &[u8]) -> Option<()> {
    take(rest, 1)?;
    for _ in ["accounts", "data"] {
        let length = take_length(rest)?;
        take(rest, length)?;
    }
    Some(())
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

/// One to three bytes of seven bits, lowest first.
fn take_length(rest: &mut &[u8]) -> Option<usize> {
    let mut length = 0;
    for shift in [0, 7, 14] {
        let byte = usize::from(*take(rest, 1)?.first()?);
        length |= (byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(length);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use alloy_primitives::B256;

    use super::*;
    use crate::solana::{AccountMeta, Instruction, Message, system, token};

    const PAYER: SolanaAddress = SolanaAddress([1; 32]);
    const OTHER: SolanaAddress = SolanaAddress([9; 32]);

    /// Three instructions of three programs, the second with more data than one byte of a length counts.
    fn transaction() -> Vec<u8> {
        let long = Instruction {
            program: OTHER,
            accounts: vec![AccountMeta::read(OTHER)],
            data: vec![7; 200],
        };
        let mint = SolanaAddress([4; 32]);
        let instructions = [
            system::transfer(PAYER, SolanaAddress([2; 32]), 5),
            long,
            token::create_associated_account(PAYER, PAYER, mint, token::PROGRAM),
        ];
        let message = Message::new(PAYER, &instructions, B256::repeat_byte(3)).unwrap();
        [&[1][..], &[0xee; 64], message.as_bytes()].concat()
    }

    #[test]
    fn each_instruction_has_its_program() {
        let legacy = transaction();
        let mut versioned = legacy.clone();
        versioned.insert(65, 0x80);
        for raw in [legacy, versioned] {
            let programs = [0, 1, 2, 3, 255].map(|index| program_of(&raw, index));
            let expected = [system::PROGRAM, OTHER, token::ASSOCIATED_PROGRAM].map(Some);
            assert_eq!(programs[..3], expected);
            assert_eq!(programs[3..], [None, None]);
        }
    }

    #[test]
    fn a_later_version_or_a_length_of_four_bytes_says_nothing() {
        let mut later = transaction();
        later.insert(65, 0x81);
        assert_eq!(program_of(&later, 0), None);
        let endless = [&[0xff; 8][..], &transaction()].concat();
        assert_eq!(program_of(&endless, 0), None);
    }

    #[test]
    fn any_bytes_have_a_program_or_none() {
        crate::hostile::each_spoiled(&[&transaction()], |raw| {
            for index in [0, 2, 255] {
                program_of(raw, index);
            }
        });
    }
}
