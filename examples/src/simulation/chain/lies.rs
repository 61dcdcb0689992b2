//! What liars say. Each lie is made up by dice that all liars of a world share as long as they hold to one plot.

use peaberry_chain::evm::{FeeHistory, Receipt, SeenTransaction};
use peaberry_chain::primitives::{Address, B256, U256, keccak256};
use peaberry_chain::{Block, ChainError, Log, Revert, Sent, TxId};

use super::faults::Lie;
use super::model::Model;
use super::node::{receipt as receipt_of, too_wide};

/// In what only a liar says.
pub(super) const LIE: &str = "a lie";

/// Another block for the newest or the final one.
pub(super) fn head(mut lie: Lie, truth: Option<Block>, model: &Model) -> Option<Block> {
    let tip = model.tip();
    let number = match lie.u8(..5) {
        0 => return None,
        1 => return truth.map(forged),
        2 => {
            let number = tip + lie.u64(1..2_000);
            return truth.map(|block| forged(Block { number, ..block }));
        }
        3 => tip,
        _ => tip.saturating_sub(lie.u64(1..80)),
    };
    model.sealed(number).map(|sealed| sealed.block)
}

/// Another block for one that was asked for by its number or by its hash.
pub(super) fn block(mut lie: Lie, truth: Option<Block>, model: &Model) -> Option<Block> {
    match lie.u8(..5) {
        0 => None,
        1 => truth.map(forged),
        2 => truth.map(|block| Block {
            parent: keccak256(block.parent),
            ..block
        }),
        3 => truth.map(|block| Block {
            number: block.number + 1,
            ..block
        }),
        _ => lie.choice(&model.chain).map(|sealed| sealed.block),
    }
}

fn forged(block: Block) -> Block {
    let hash = keccak256(block.hash);
    Block { hash, ..block }
}

pub(super) fn nonce(mut lie: Lie, truth: u64) -> u64 {
    match lie.u8(..4) {
        0 => 0,
        1 => truth.saturating_sub(lie.u64(1..4)),
        2 => truth + lie.u64(1..8),
        _ => lie.u64(..),
    }
}

pub(super) fn gas(mut lie: Lie) -> Result<u64, ChainError> {
    match lie.u8(..6) {
        0 => Ok(0),
        1 => Ok(lie.u64(1..50_000)),
        2 => Ok(lie.u64(50_000..u64::MAX)),
        3 => Ok(u64::MAX),
        4 => Err(reverted()),
        _ => Err(ChainError::InsufficientFunds {
            account: None,
            detail: "a lie".into(),
        }),
    }
}

pub(super) fn reverted() -> ChainError {
    ChainError::Reverted(Revert::Message(LIE.into()))
}

pub(super) fn fees(mut lie: Lie) -> FeeHistory {
    let base_fee = match lie.u8(..4) {
        0 => U256::ZERO,
        1 => U256::MAX,
        2 => U256::from(lie.u64(..)),
        _ => {
            return FeeHistory {
                oldest_block: u64::MAX,
                base_fees: Vec::new(),
                tips: vec![Vec::new()],
            };
        }
    };
    FeeHistory {
        oldest_block: 0,
        base_fees: vec![base_fee],
        tips: vec![vec![base_fee]],
    }
}

/// It says that it has a transaction, and has thrown it away; perhaps it even names another.
pub(super) fn taken(mut lie: Lie, hash: B256) -> B256 {
    if lie.u8(..3) == 0 {
        keccak256(hash)
    } else {
        hash
    }
}

/// It refuses a transaction for a reason that is none.
pub(super) fn refusal(mut lie: Lie, hash: B256) -> ChainError {
    let transaction = Some(TxId::Evm(hash));
    match lie.u8(..7) {
        0 => ChainError::NonceTooLow { transaction },
        1 => ChainError::ReplacementUnderpriced,
        2 => ChainError::FeeTooLow {
            message: "a lie".into(),
        },
        3 => ChainError::InsufficientFunds {
            account: None,
            detail: "a lie".into(),
        },
        4 => ChainError::InvalidTransaction {
            message: "a lie".into(),
        },
        5 => reverted(),
        _ => ChainError::Refused {
            doing: "eth_sendRawTransaction",
            code: -32000,
            message: "already known, or so it says".into(),
            sent: Sent::Maybe(transaction),
        },
    }
}

pub(super) fn transaction(
    mut lie: Lie,
    truth: Option<SeenTransaction>,
    hash: B256,
) -> Option<SeenTransaction> {
    let made_up = SeenTransaction {
        hash,
        from: Address::ZERO,
        nonce: lie.u64(..9),
        block_hash: None,
    };
    match truth {
        Some(_) if lie.bool() => None,
        _ => Some(made_up),
    }
}

pub(super) fn receipt(
    mut lie: Lie,
    truth: Option<Receipt>,
    hash: B256,
    model: &Model,
) -> Option<Receipt> {
    let made_up = |block| receipt_of(hash, block, Address::ZERO, false);
    match (truth, lie.u8(..3)) {
        (Some(_), 0) => None,
        (Some(truth), 1) => Some(Receipt {
            is_success: !truth.is_success,
            ..truth
        }),
        _ => {
            let sealed = lie.choice(&model.chain)?;
            Some(made_up(sealed.block))
        }
    }
}

/// Another reason than it was undone for, or one for what was not undone at all.
pub(super) fn reason(mut lie: Lie) -> Option<Revert> {
    match lie.u8(..4) {
        0 => None,
        1 => Some(Revert::Message(LIE.into())),
        2 => Some(Revert::Panic(U256::from(lie.u8(..)))),
        _ => Some(Revert::Unexplained(LIE.into())),
    }
}

pub(super) fn logs(mut lie: Lie, mut truth: Vec<Log>) -> Result<Vec<Log>, ChainError> {
    match lie.u8(..5) {
        0 => truth.clear(),
        1 => drop(truth.pop()),
        2 => truth.extend(truth.last().cloned()),
        3 => {
            if let Some(log) = truth.last_mut() {
                log.topics.clear();
            }
        }
        _ => return Err(too_wide()),
    }
    Ok(truth)
}
