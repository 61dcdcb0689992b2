//! What the keys of a transaction sign: Solana's legacy message.

use alloy_primitives::B256;

use super::instruction::{AccountMeta, Instruction};
use super::transaction::TRANSACTION_BYTES_MAX;
use crate::{ChainError, SolanaAddress};

// One byte counts an instruction's accounts, and each is named by one byte.
const ACCOUNTS_MAX: usize = 256;

/// Instructions, compiled: every account once, those that sign first.
///
/// ```
/// use peaberry_chain::primitives::B256;
/// use peaberry_chain::solana::{Message, system};
/// use peaberry_chain::SolanaAddress;
///
/// let [from, to] = [SolanaAddress([1; 32]), SolanaAddress([2; 32])];
/// let message = Message::new(from, &[system::transfer(from, to, 5_000)], B256::ZERO)?;
/// assert_eq!(message.signers(), [from]);
/// assert_eq!(message.as_bytes()[..3], [1, 0, 1]);
/// # Ok::<(), peaberry_chain::ChainError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    bytes: Vec<u8>,
    signers: Vec<SolanaAddress>,
}

impl Message {
    /// Compiles `instructions`, to be paid by `payer`, who signs first, and valid as long as `blockhash` is young.
    ///
    /// # Errors
    ///
    /// [`ChainError::TransactionTooLarge`]: more than fits one transaction. Nothing was sent.
    pub fn new(
        payer: SolanaAddress,
        instructions: &[Instruction],
        blockhash: B256,
    ) -> Result<Self, ChainError> {
        let accounts = Accounts::of(payer, instructions)?;
        let count = |wanted: fn(&AccountMeta) -> bool| {
            accounts.metas.iter().filter(|meta| wanted(meta)).count()
        };
        let signers = count(|meta| meta.is_signer);
        let header = [
            signers,
            count(|meta| meta.is_signer && !meta.is_writable),
            count(|meta| !meta.is_signer && !meta.is_writable),
        ];
        let mut bytes = Vec::with_capacity(TRANSACTION_BYTES_MAX);
        bytes.extend(header.map(small));
        put_length(&mut bytes, accounts.metas.len());
        for meta in &accounts.metas {
            bytes.extend(meta.address.0);
        }
        bytes.extend(blockhash.0);
        put_length(&mut bytes, instructions.len());
        for instruction in instructions {
            bytes.push(accounts.index(instruction.program));
            put_length(&mut bytes, instruction.accounts.len());
            let indices = instruction.accounts.iter();
            bytes.extend(indices.map(|meta| accounts.index(meta.address)));
            put_length(&mut bytes, instruction.data.len());
            bytes.extend(&instruction.data);
        }
        let whole = 1 + 64 * signers + bytes.len();
        if whole > TRANSACTION_BYTES_MAX {
            return Err(too_large(whole));
        }
        let signers = accounts.metas.iter().take(signers);
        Ok(Self {
            signers: signers.map(|meta| meta.address).collect(),
            bytes,
        })
    }

    /// The bytes that are signed.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whose keys have to sign, in this order.
    #[must_use]
    pub fn signers(&self) -> &[SolanaAddress] {
        &self.signers
    }
}

/// Every account of a transaction once, in the order that the header's counts imply.
struct Accounts {
    metas: Vec<AccountMeta>,
}

impl Accounts {
    fn of(payer: SolanaAddress, instructions: &[Instruction]) -> Result<Self, ChainError> {
        let mut metas = vec![AccountMeta::write(payer).signed()];
        let programs = instructions.iter().map(|i| AccountMeta::read(i.program));
        let named = instructions.iter().flat_map(|i| i.accounts.iter().copied());
        for meta in named.chain(programs) {
            if let Some(known) = metas.iter_mut().find(|known| known.address == meta.address) {
                known.is_signer |= meta.is_signer;
                known.is_writable |= meta.is_writable;
            } else if metas.len() < ACCOUNTS_MAX {
                metas.push(meta);
            } else {
                return Err(too_large(ACCOUNTS_MAX * 32));
            }
        }
        // Stable: the payer stays first.
        metas.sort_by_key(|meta| (!meta.is_signer, !meta.is_writable));
        Ok(Self { metas })
    }

    fn index(&self, address: SolanaAddress) -> u8 {
        let place = self.metas.iter().position(|meta| meta.address == address);
        small(place.expect("every account of an instruction was collected"))
    }
}

fn small(number: usize) -> u8 {
    u8::try_from(number).expect("a message has at most 256 accounts")
}

const fn too_large(bytes: usize) -> ChainError {
    ChainError::TransactionTooLarge {
        bytes,
        bytes_max: TRANSACTION_BYTES_MAX,
    }
}

/// A length in one to three bytes of seven bits, lowest first.
pub(super) fn put_length(bytes: &mut Vec<u8>, length: usize) {
    let mut rest = length;
    loop {
        let low = u8::try_from(rest & 0x7f).expect("seven bits");
        rest >>= 7;
        if rest == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_seven_bits_a_byte() {
        for (length, expected) in [
            (0, vec![0]),
            (0x7f, vec![0x7f]),
            (0x80, vec![0x80, 0x01]),
            (0x3fff, vec![0xff, 0x7f]),
            (0x4000, vec![0x80, 0x80, 0x01]),
        ] {
            let mut bytes = Vec::new();
            put_length(&mut bytes, length);
            assert_eq!(bytes, expected);
        }
    }

    #[test]
    fn an_account_named_twice_stands_once_with_all_its_rights() {
        let [payer, other, program] = [1, 2, 3].map(|byte| SolanaAddress([byte; 32]));
        let instruction = Instruction {
            program,
            accounts: vec![
                AccountMeta::read(other),
                AccountMeta::write(other).signed(),
                AccountMeta::read(payer),
            ],
            data: vec![9],
        };
        let message = Message::new(payer, &[instruction], B256::repeat_byte(7)).unwrap();
        assert_eq!(message.signers(), [payer, other]);
        let mut expected = vec![2, 0, 1, 3];
        expected.extend([[1; 32], [2; 32], [3; 32], [7; 32]].concat());
        expected.extend([1, 2, 3, 1, 1, 0, 1, 9]);
        assert_eq!(message.as_bytes(), expected);
    }

    #[test]
    fn what_does_not_fit_a_packet_is_refused() {
        let payer = SolanaAddress([1; 32]);
        let instruction = |data| Instruction {
            program: SolanaAddress([2; 32]),
            accounts: Vec::new(),
            data,
        };
        // 65 of signatures, 3 of header, 65 of accounts, 32 of block hash, 1 + 1 + 1 + 2 around the data.
        let room = TRANSACTION_BYTES_MAX - 65 - 3 - 65 - 32 - 5;
        assert!(Message::new(payer, &[instruction(vec![0; room])], B256::ZERO).is_ok());
        let over = Message::new(payer, &[instruction(vec![0; room + 1])], B256::ZERO);
        assert!(matches!(
            over,
            Err(ChainError::TransactionTooLarge { bytes: 1233, .. })
        ));
        let crowd = Instruction {
            accounts: (0..300_u16)
                .map(|i| {
                    let mut address = [0; 32];
                    address[..2].copy_from_slice(&i.to_be_bytes());
                    AccountMeta::read(SolanaAddress(address))
                })
                .collect(),
            ..instruction(Vec::new())
        };
        assert!(Message::new(payer, &[crowd], B256::ZERO).is_err());
    }
}
