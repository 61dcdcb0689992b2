//! What the journal keeps of one intent.

use std::fmt;

use alloy_primitives::{B256, Bytes, U256};
use peaberry_core::wire::{Reader, WireError, put_bytes, put_varint};

use super::reason::{put_revert, read_revert};
use crate::evm::Fees;
use crate::{Address, Amount, Asset, ChainFamily, ChainId, Intent, Revert, SolanaAddress, TxId};

/// The longest idempotency key.
pub const KEY_BYTES_MAX: usize = 64;
/// The most call data or creation code of one intent, and the longest signed transaction: what EVM nodes take.
pub const DATA_BYTES_MAX: usize = 128 << 10;
/// The most attempts (one nonce, different fees) that are kept and asked about. There is no seventeenth, and the last is for
/// calling off.
pub const ATTEMPTS_MAX: usize = 16;
/// The longest reason that is kept of a refusal.
pub(super) const REASON_BYTES_MAX: usize = 512;

const FORMAT: u8 = 1;

/// Names an intent in its outbox's journal. Counted upwards from 1, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(pub u64);

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// The caller's own name for an intent: handing the same one over again is the same transaction, not a second.
///
/// ```
/// use peaberry_chain::outbox::IdempotencyKey;
///
/// let key = IdempotencyKey::new("order-17").unwrap();
/// assert_eq!(key.as_bytes(), b"order-17");
/// assert!(IdempotencyKey::new("").is_none());
/// assert!(IdempotencyKey::new([0; 65]).is_none());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyKey(Bytes);

impl IdempotencyKey {
    /// A key of 1 to [`KEY_BYTES_MAX`] bytes; `None` for any other length.
    #[must_use]
    pub fn new(bytes: impl AsRef<[u8]>) -> Option<Self> {
        let bytes = bytes.as_ref();
        (1..=KEY_BYTES_MAX)
            .contains(&bytes.len())
            .then(|| Self(Bytes::copy_from_slice(bytes)))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

/// One signed transaction for an intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) raw: Bytes,
    pub(crate) id: TxId,
    pub(crate) terms: Terms,
    /// A transfer of nothing to oneself that takes the nonce from the intent.
    pub(crate) is_cancel: bool,
}

/// Until when, or for how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Terms {
    Evm(Fees),
    Solana {
        last_valid_height: u64,
        /// A final slot from before it was signed: it is in no older one.
        signed_slot: u64,
    },
}

impl Attempt {
    pub(crate) const fn fees(&self) -> Option<Fees> {
        match self.terms {
            Terms::Evm(fees) => Some(fees),
            Terms::Solana { .. } => None,
        }
    }

    pub(crate) const fn last_valid_height(&self) -> Option<u64> {
        match self.terms {
            Terms::Evm(_) => None,
            Terms::Solana {
                last_valid_height, ..
            } => Some(last_valid_height),
        }
    }

    pub(crate) const fn signed_slot(&self) -> Option<u64> {
        match self.terms {
            Terms::Evm(_) => None,
            Terms::Solana { signed_slot, .. } => Some(signed_slot),
        }
    }
}

/// Where a transaction was included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inclusion {
    /// Which of the intent's attempts.
    pub transaction: TxId,
    /// The number of its block; on Solana the slot.
    pub block_number: u64,
    /// The hash of its block; zero if the node did not keep that block (Solana, final blocks only).
    pub block_hash: B256,
    /// Whether it was carried out; otherwise its fee was paid and everything else undone.
    pub is_success: bool,
    /// Why it was undone, where the node could say when the inclusion was seen: 512 bytes of it at most. On EVM chains a good
    /// guess, as [`TransactionStatus::Reverted`](crate::TransactionStatus::Reverted) has it; on Solana what is written beside
    /// the transaction. `None` where it was carried out, or the node knew nothing.
    pub reason: Option<Revert>,
}

/// How an intent ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in a final block: carried out, or reverted there.
    Final(Inclusion),
    /// It was called off and can never happen.
    Cancelled,
    /// It would fail or is refused, and can never happen: nothing was ever signed for it, or something else has used its
    /// nonce for good.
    Rejected {
        /// Why.
        reason: String,
    },
}

/// Why nothing shall come of an intent any more, although something may still: the chain decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallOff {
    /// The caller has called it off.
    ByCaller,
    /// Nodes refuse it, in these words, and it stands in the way of others.
    Refused(String),
}

impl CallOff {
    /// How the intent ends once it is certain that nothing came of it.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::ByCaller => Outcome::Cancelled,
            Self::Refused(reason) => Outcome::Rejected {
                reason: reason.clone(),
            },
        }
    }
}

/// What the entry is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Intent(Intent),
    /// Fills a gap between nonces, so that what lies above it can be included.
    Filler,
}

/// One intent from its acceptance to its end. `nonce` and `attempts` are the chain's own business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key: Option<IdempotencyKey>,
    /// Of chain and intent: a retry repeats them exactly.
    pub(crate) digest: B256,
    pub(crate) chain: ChainId,
    pub(crate) account: Address,
    pub(crate) purpose: Purpose,
    pub(crate) gas_limit: Option<u64>,
    pub(crate) fee_cap: Option<u128>,
    pub(crate) nonce: Option<u64>,
    pub(crate) called_off: Option<CallOff>,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) included: Option<Inclusion>,
    pub(crate) outcome: Option<Outcome>,
    /// The how-manieth end this was; zero for what is open.
    pub(crate) end_number: u64,
    /// The final block when it got its nonce: no attempt with that nonce is in it or an older one. One in a newer block may
    /// be reorganised into an older block than it was in.
    pub(crate) signed_above: Option<u64>,
}

impl Record {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        put_bytes(
            &mut out,
            self.key.as_ref().map_or(&[], |key| key.as_bytes()),
        );
        out.extend_from_slice(self.digest.as_slice());
        put_bytes(&mut out, self.chain.as_str().as_bytes());
        put_address(&mut out, self.account);
        // Once it is over only what answers a retry is kept.
        match (&self.purpose, &self.outcome) {
            (_, Some(_)) => out.push(0),
            (Purpose::Filler, None) => out.push(1),
            (Purpose::Intent(intent), None) => put_intent(&mut out, intent),
        }
        put_option(&mut out, self.gas_limit, put_varint);
        put_option(&mut out, self.fee_cap, put_u128);
        put_option(&mut out, self.nonce, put_varint);
        match &self.called_off {
            None => out.push(0),
            Some(CallOff::ByCaller) => out.push(1),
            Some(CallOff::Refused(reason)) => {
                out.push(2);
                put_bytes(&mut out, cut(reason).as_bytes());
            }
        }
        put_varint(&mut out, self.attempts.len() as u64);
        for attempt in &self.attempts {
            put_attempt(&mut out, attempt);
        }
        put_option(&mut out, self.included.as_ref(), put_inclusion);
        put_option(&mut out, self.outcome.as_ref(), put_outcome);
        put_varint(&mut out, self.end_number);
        put_option(&mut out, self.signed_above, put_varint);
        out
    }

    /// Reads what [`encode`](Self::encode) wrote. Total: any bytes give a record or an error.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(bytes);
        let record = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(record)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, RecordError> {
        expect(reader.u8()? == FORMAT, "format")?;
        let key = IdempotencyKey::new(reader.bytes(KEY_BYTES_MAX)?);
        let digest = reader.array::<32>()?.into();
        let chain = str::from_utf8(reader.bytes(64)?)
            .ok()
            .and_then(|text| text.parse::<ChainId>().ok())
            .ok_or(RecordError::Field("chain"))?;
        let account = read_address(reader)?;
        let purpose = read_purpose(reader, account)?;
        let gas_limit = read_option(reader, |reader| Ok(reader.varint()?))?;
        let fee_cap = read_option(reader, read_u128)?;
        let nonce = read_option(reader, |reader| Ok(reader.varint()?))?;
        let called_off = match reader.u8()? {
            0 => None,
            1 => Some(CallOff::ByCaller),
            2 => Some(CallOff::Refused(read_reason(reader)?)),
            _ => return Err(RecordError::Field("calling off")),
        };
        let count = reader.length(ATTEMPTS_MAX)?;
        let mut attempts = Vec::with_capacity(count);
        for _ in 0..count {
            attempts.push(read_attempt(reader)?);
        }
        let included = read_option(reader, read_inclusion)?;
        let outcome = read_option(reader, read_outcome)?;
        let end_number = reader.varint()?;
        let signed_above = read_option(reader, |reader| Ok(reader.varint()?))?;
        // An intent is kept as long as there is something to do for it.
        expect(purpose.is_some() != outcome.is_some(), "purpose")?;
        let record = Self {
            key,
            digest,
            chain,
            account,
            purpose: purpose.unwrap_or(Purpose::Filler),
            gas_limit,
            fee_cap,
            nonce,
            called_off,
            attempts,
            included,
            outcome,
            end_number,
            signed_above,
        };
        record.check()?;
        Ok(record)
    }

    /// What the bytes of each field cannot say: that they belong together.
    fn check(&self) -> Result<(), RecordError> {
        self.account
            .expect_on(self.chain)
            .map_err(|_foreign| RecordError::Field("account"))?;
        if let Purpose::Intent(intent) = &self.purpose {
            intent
                .expect_on(self.chain)
                .map_err(|_foreign| RecordError::Field("intent"))?;
        }
        let family = self.chain.family();
        let fits = |attempt: &Attempt| match attempt.terms {
            Terms::Evm(_) => family == Some(ChainFamily::Evm),
            Terms::Solana { .. } => family == Some(ChainFamily::Solana),
        };
        expect(self.attempts.iter().all(fits), "attempt")
    }
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// They do not read.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A field has a value that it cannot have.
    #[error("the {0} makes no sense")]
    Field(&'static str),
}

const fn expect(holds: bool, field: &'static str) -> Result<(), RecordError> {
    if holds {
        Ok(())
    } else {
        Err(RecordError::Field(field))
    }
}

fn put_option<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

fn read_option<T>(
    reader: &mut Reader<'_>,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, RecordError>,
) -> Result<Option<T>, RecordError> {
    if read_flag(reader)? {
        read(reader).map(Some)
    } else {
        Ok(None)
    }
}

fn read_flag(reader: &mut Reader<'_>) -> Result<bool, RecordError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(RecordError::Field("flag")),
    }
}

fn put_u128(out: &mut Vec<u8>, value: u128) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn read_u128(reader: &mut Reader<'_>) -> Result<u128, RecordError> {
    Ok(u128::from_be_bytes(reader.array()?))
}

fn put_address(out: &mut Vec<u8>, address: Address) {
    match address {
        Address::Evm(address) => {
            out.push(0);
            out.extend_from_slice(address.as_slice());
        }
        Address::Solana(address) => {
            out.push(1);
            out.extend_from_slice(&address.0);
        }
    }
}

fn read_address(reader: &mut Reader<'_>) -> Result<Address, RecordError> {
    match reader.u8()? {
        0 => Ok(Address::Evm(reader.array::<20>()?.into())),
        1 => Ok(Address::Solana(SolanaAddress(reader.array()?))),
        _ => Err(RecordError::Field("address")),
    }
}

fn put_amount(out: &mut Vec<u8>, amount: &Amount) {
    out.extend_from_slice(&amount.units().to_be_bytes::<32>());
    out.push(amount.decimals());
}

fn read_amount(reader: &mut Reader<'_>) -> Result<Amount, RecordError> {
    let units = U256::from_be_bytes(reader.array::<32>()?);
    Ok(Amount::new(units, reader.u8()?))
}

/// Tells intents apart without keeping them.
pub(super) fn digest_of(chain: ChainId, intent: &Intent) -> B256 {
    let mut bytes = chain.as_str().as_bytes().to_vec();
    put_address(&mut bytes, intent.from());
    put_intent(&mut bytes, intent);
    alloy_primitives::keccak256(bytes)
}

fn put_intent(out: &mut Vec<u8>, intent: &Intent) {
    match intent {
        Intent::Transfer {
            to, asset, amount, ..
        } => {
            out.push(2);
            put_address(out, *to);
            match asset {
                Asset::Native => out.push(0),
                Asset::Token(token) => {
                    out.push(1);
                    put_address(out, *token);
                }
            }
            put_amount(out, amount);
        }
        Intent::Call {
            to, value, data, ..
        } => {
            out.push(3);
            put_address(out, *to);
            put_amount(out, value);
            put_bytes(out, data);
        }
        Intent::Deploy { value, code, .. } => {
            out.push(4);
            put_amount(out, value);
            put_bytes(out, code);
        }
    }
}

/// `None`: it is over, and the intent was not kept.
fn read_purpose(reader: &mut Reader<'_>, from: Address) -> Result<Option<Purpose>, RecordError> {
    let intent = match reader.u8()? {
        0 => return Ok(None),
        1 => return Ok(Some(Purpose::Filler)),
        2 => {
            let to = read_address(reader)?;
            let asset = match reader.u8()? {
                0 => Asset::Native,
                1 => Asset::Token(read_address(reader)?),
                _ => return Err(RecordError::Field("asset")),
            };
            let amount = read_amount(reader)?;
            Intent::Transfer {
                from,
                to,
                asset,
                amount,
            }
        }
        3 => Intent::Call {
            from,
            to: read_address(reader)?,
            value: read_amount(reader)?,
            data: Bytes::copy_from_slice(reader.bytes(DATA_BYTES_MAX)?),
        },
        4 => Intent::Deploy {
            from,
            value: read_amount(reader)?,
            code: Bytes::copy_from_slice(reader.bytes(DATA_BYTES_MAX)?),
        },
        _ => return Err(RecordError::Field("purpose")),
    };
    Ok(Some(Purpose::Intent(intent)))
}

fn put_id(out: &mut Vec<u8>, id: TxId) {
    match id {
        TxId::Evm(hash) => {
            out.push(0);
            out.extend_from_slice(hash.as_slice());
        }
        TxId::Solana(signature) => {
            out.push(1);
            out.extend_from_slice(&signature);
        }
    }
}

fn read_id(reader: &mut Reader<'_>) -> Result<TxId, RecordError> {
    match reader.u8()? {
        0 => Ok(TxId::Evm(reader.array::<32>()?.into())),
        1 => Ok(TxId::Solana(reader.array()?)),
        _ => Err(RecordError::Field("transaction id")),
    }
}

fn put_attempt(out: &mut Vec<u8>, attempt: &Attempt) {
    put_bytes(out, &attempt.raw);
    put_id(out, attempt.id);
    match attempt.terms {
        Terms::Evm(Fees::Legacy { gas_price }) => {
            out.push(0);
            put_u128(out, gas_price);
        }
        Terms::Evm(Fees::Eip1559 { fee_max, tip_max }) => {
            out.push(1);
            put_u128(out, fee_max);
            put_u128(out, tip_max);
        }
        Terms::Solana {
            last_valid_height,
            signed_slot,
        } => {
            out.push(2);
            put_varint(out, last_valid_height);
            put_varint(out, signed_slot);
        }
    }
    out.push(u8::from(attempt.is_cancel));
}

fn read_attempt(reader: &mut Reader<'_>) -> Result<Attempt, RecordError> {
    let raw = Bytes::copy_from_slice(reader.bytes(DATA_BYTES_MAX)?);
    let id = read_id(reader)?;
    let terms = match reader.u8()? {
        0 => Terms::Evm(Fees::Legacy {
            gas_price: read_u128(reader)?,
        }),
        1 => Terms::Evm(Fees::Eip1559 {
            fee_max: read_u128(reader)?,
            tip_max: read_u128(reader)?,
        }),
        2 => Terms::Solana {
            last_valid_height: reader.varint()?,
            signed_slot: reader.varint()?,
        },
        _ => return Err(RecordError::Field("terms")),
    };
    Ok(Attempt {
        raw,
        id,
        terms,
        is_cancel: read_flag(reader)?,
    })
}

fn put_inclusion(out: &mut Vec<u8>, inclusion: &Inclusion) {
    put_id(out, inclusion.transaction);
    put_varint(out, inclusion.block_number);
    out.extend_from_slice(inclusion.block_hash.as_slice());
    match (&inclusion.reason, inclusion.is_success) {
        (_, true) => out.push(1),
        (None, false) => out.push(0),
        (Some(reason), false) => {
            out.push(2);
            put_revert(out, reason);
        }
    }
}

fn read_inclusion(reader: &mut Reader<'_>) -> Result<Inclusion, RecordError> {
    let (transaction, block_number) = (read_id(reader)?, reader.varint()?);
    let block_hash = reader.array::<32>()?.into();
    let (is_success, reason) = match reader.u8()? {
        0 => (false, None),
        1 => (true, None),
        2 => (false, Some(read_revert(reader)?)),
        _ => return Err(RecordError::Field("inclusion")),
    };
    Ok(Inclusion {
        transaction,
        block_number,
        block_hash,
        is_success,
        reason,
    })
}

fn put_outcome(out: &mut Vec<u8>, outcome: &Outcome) {
    match outcome {
        Outcome::Final(inclusion) => {
            out.push(0);
            put_inclusion(out, inclusion);
        }
        Outcome::Cancelled => out.push(1),
        Outcome::Rejected { reason } => {
            out.push(2);
            put_bytes(out, cut(reason).as_bytes());
        }
    }
}

fn read_outcome(reader: &mut Reader<'_>) -> Result<Outcome, RecordError> {
    match reader.u8()? {
        0 => read_inclusion(reader).map(Outcome::Final),
        1 => Ok(Outcome::Cancelled),
        2 => Ok(Outcome::Rejected {
            reason: read_reason(reader)?,
        }),
        _ => Err(RecordError::Field("outcome")),
    }
}

pub(super) fn read_reason(reader: &mut Reader<'_>) -> Result<String, RecordError> {
    let reason = str::from_utf8(reader.bytes(REASON_BYTES_MAX)?);
    let reason = reason.map_err(|_not_text| RecordError::Field("reason"))?;
    Ok(reason.to_owned())
}

/// At most [`REASON_BYTES_MAX`] bytes of `text`.
pub(super) fn cut(text: &str) -> &str {
    let end = text.floor_char_boundary(REASON_BYTES_MAX);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests;
