//! What is offered for being included sooner.

use super::Instruction;
use crate::SolanaAddress;

const PROGRAM: SolanaAddress =
    SolanaAddress::constant("ComputeBudget111111111111111111111111111111");

/// The most compute units that the transaction may take.
pub(super) fn unit_limit(units: u32) -> Instruction {
    let mut data = vec![2];
    data.extend(units.to_le_bytes());
    instruction(data)
}

/// What is offered for a unit.
pub(super) fn unit_price(micro_lamports: u64) -> Instruction {
    let mut data = vec![3];
    data.extend(micro_lamports.to_le_bytes());
    instruction(data)
}

const fn instruction(data: Vec<u8>) -> Instruction {
    Instruction {
        program: PROGRAM,
        accounts: Vec::new(),
        data,
    }
}
