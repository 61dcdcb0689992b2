//! What this crate asks of a Solana node.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{B256, Bytes};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use peaberry_core::{Clock, SystemClock};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::SignedTransaction;
use super::json::{
    AccountJson, Answer, BlockJson, BlockhashJson, EpochJson, SimulationJson, StatusJson,
    WithContext,
};
use super::refusal::Failure;
use crate::chain_id::excerpt;
use crate::deadline::within;
use crate::{
    Block, ChainError, ChainId, Revert, RpcTransport, Sent, SolanaAddress, TransportFailure, TxId,
};

/// The largest answer that is looked into. An [`HttpEndpoint`](crate::HttpEndpoint) reads no larger one to begin with.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;

const GET_BLOCK: &str = "getBlock";

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A Solana node behind JSON-RPC. One question is one request, without retries.
#[derive(Clone)]
pub struct SolanaRpc {
    transport: Arc<dyn RpcTransport>,
    clock: Arc<dyn Clock>,
    answer_within: Duration,
}

/// How much of the cluster's stake stands behind an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Commitment {
    /// None: the node has executed the block. Blocks are not given out at this commitment.
    Processed,
    /// Two thirds have voted for the block. The newest that this crate calls a block.
    Confirmed,
    /// Two thirds have rooted it: final.
    Finalized,
}

impl Commitment {
    const fn name(self) -> &'static str {
        match self {
            Self::Processed => "processed",
            Self::Confirmed => "confirmed",
            Self::Finalized => "finalized",
        }
    }
}

/// A recent block's hash, which dates transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blockhash {
    /// The hash.
    pub hash: B256,
    /// The last block height at which a transaction with it may be included.
    pub last_valid_height: u64,
}

/// Where a chain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Height {
    /// The slot.
    pub slot: u64,
    /// How many blocks came before; less than the slot, as slots may stay empty.
    pub height: u64,
}

/// An account's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its SOL.
    pub lamports: u64,
    /// The program that may change it.
    pub owner: SolanaAddress,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// What a node knows about a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureStatus {
    /// The slot of its block.
    pub slot: u64,
    /// How much stake stands behind that block.
    pub commitment: Commitment,
    /// Why it failed there; `None` if it was carried out.
    pub failure: Option<Revert>,
}

/// A signature's status.
pub(crate) struct Sighting {
    /// `None`: nothing is known of it.
    pub(crate) status: Option<SignatureStatus>,
    /// The slot as of which it is so.
    pub(crate) as_of: u64,
    /// What it proves that nothing is known of it, as of several slots; `None` where one node was asked.
    ignorance: Option<Vec<Ignorance>>,
}

/// A node, or enough of several, that knows nothing of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ignorance {
    /// The slot it has come to.
    pub(crate) as_of: u64,
    /// It has everything that happened since this slot; `None` where that must be asked for.
    pub(crate) since: Option<u64>,
}

impl Sighting {
    /// Who knows nothing of it and has come to `slot` or further: of several the one that goes back furthest.
    pub(crate) fn ignorance_at(&self, slot: u64) -> Option<Ignorance> {
        let Some(several) = &self.ignorance else {
            let (as_of, since) = (self.as_of, None);
            return (as_of >= slot).then_some(Ignorance { as_of, since });
        };
        let reached = several.iter().filter(|one| one.as_of >= slot);
        reached.min_by_key(|one| one.since).copied()
    }
}

/// What a transaction would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Simulation {
    /// The compute units it took.
    pub units: u64,
}

impl SolanaRpc {
    /// The node behind `transport`.
    #[must_use]
    pub fn new(transport: Arc<dyn RpcTransport>) -> Self {
        Self {
            transport,
            clock: Arc::new(SystemClock::new()),
            answer_within: ANSWER_WITHIN,
        }
    }

    /// The node at `url`. Does not connect yet.
    ///
    /// # Errors
    ///
    /// [`ChainError::InvalidUrl`].
    #[cfg(feature = "http")]
    pub fn http(url: &str) -> Result<Self, ChainError> {
        let endpoint = crate::HttpEndpoint::new(url, crate::HttpOptions::default())?;
        let clock = Arc::new(crate::http::RuntimeClock::new());
        Ok(Self::new(Arc::new(endpoint)).with_clock(clock))
    }

    /// Answers have this long; 10 s by default.
    #[must_use]
    pub const fn with_answer_within(mut self, answer_within: Duration) -> Self {
        self.answer_within = answer_within;
        self
    }

    /// Time comes from `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The chain that the node serves.
    ///
    /// # Errors
    ///
    /// The node could not be asked. Nothing was sent; so of every method but [`send`](Self::send).
    pub async fn chain_id(&self) -> Result<ChainId, ChainError> {
        const DOING: &str = "getGenesisHash";
        let hash: String = self.read(DOING, json!([])).await?;
        Ok(ChainId::solana(&hash32(&hash, DOING)?.0))
    }

    /// A block hash to date a transaction by.
    ///
    /// # Errors
    ///
    /// The node could not be asked.
    pub async fn latest_blockhash(&self) -> Result<Blockhash, ChainError> {
        const DOING: &str = "getLatestBlockhash";
        let answer: WithContext<BlockhashJson> =
            self.read(DOING, json!([at(Commitment::Confirmed)])).await?;
        Ok(Blockhash {
            hash: hash32(&answer.value.blockhash, DOING)?,
            last_valid_height: answer.value.last_valid_block_height,
        })
    }

    /// Where the chain stands.
    ///
    /// # Errors
    ///
    /// The node could not be asked.
    pub async fn height(&self, commitment: Commitment) -> Result<Height, ChainError> {
        let answer: EpochJson = self.read("getEpochInfo", json!([at(commitment)])).await?;
        Ok(Height {
            slot: answer.absolute_slot,
            height: answer.block_height,
        })
    }

    /// The oldest slot that the node still has in its ledger: of what was before, it knows nothing.
    ///
    /// # Errors
    ///
    /// The node could not be asked.
    pub async fn first_slot(&self) -> Result<u64, ChainError> {
        self.read("getFirstAvailableBlock", json!([])).await
    }

    /// The slots with blocks from `first` to `last`, at most 500,000, in order.
    ///
    /// # Errors
    ///
    /// The node could not be asked.
    pub async fn slots(&self, first: u64, last: u64) -> Result<Vec<u64>, ChainError> {
        let params = json!([first, last, at(Commitment::Confirmed)]);
        self.read("getBlocks", params).await
    }

    /// The block of `slot`; `None` if it is empty, not confirmed, or forgotten by the node.
    ///
    /// # Errors
    ///
    /// The node could not be asked.
    pub async fn block(&self, slot: u64) -> Result<Option<Block>, ChainError> {
        let Some(block) = self.block_in(slot).await? else {
            return Ok(None);
        };
        let timestamp = block.block_time.unwrap_or_default();
        Ok(Some(Block {
            number: slot,
            hash: hash32(&block.blockhash, GET_BLOCK)?,
            parent: hash32(&block.previous_blockhash, GET_BLOCK)?,
            timestamp_s: u64::try_from(timestamp).unwrap_or_default(),
        }))
    }

    /// How many blocks came before that of `slot`; `None` as of [`block`](Self::block).
    pub(crate) async fn height_of(&self, slot: u64) -> Result<Option<u64>, ChainError> {
        let block = self.block_in(slot).await?;
        Ok(block.and_then(|block| block.block_height))
    }

    async fn block_in(&self, slot: u64) -> Result<Option<BlockJson>, ChainError> {
        let options = json!({
            "commitment": "confirmed", "transactionDetails": "none", "rewards": false,
            "encoding": "base64", "maxSupportedTransactionVersion": 0,
        });
        match self.ask(GET_BLOCK, json!([slot, options])).await? {
            Err(error) if error.is_no_block() => Ok(None),
            Err(error) => Err(error.into_chain_error(GET_BLOCK, Sent::No)),
            Ok(answer) => parse(&answer, GET_BLOCK, Sent::No),
        }
    }

    /// How many lamports `address` has.
    ///
    /// # Errors
    ///
    /// The node could not be asked.
    pub async fn balance(&self, address: SolanaAddress) -> Result<u64, ChainError> {
        let params = json!([address.to_string(), at(Commitment::Confirmed)]);
        let answer: WithContext<u64> = self.read("getBalance", params).await?;
        Ok(answer.value)
    }

    /// The accounts at `addresses` (at most 100), in that order.
    ///
    /// # Errors
    ///
    /// The node could not be asked.
    pub async fn accounts(
        &self,
        addresses: &[SolanaAddress],
    ) -> Result<Vec<Option<Account>>, ChainError> {
        const DOING: &str = "getMultipleAccounts";
        let names: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let options = json!({"commitment": "confirmed", "encoding": "base64"});
        let answer: WithContext<Vec<Option<AccountJson>>> =
            self.read(DOING, json!([names, options])).await?;
        if answer.value.len() != addresses.len() {
            return Err(malformed(
                DOING,
                "another number of accounts than asked for",
            ));
        }
        let accounts = answer.value.into_iter();
        accounts
            .map(|account| {
                account
                    .map(|account| read_account(account, DOING))
                    .transpose()
            })
            .collect()
    }

    /// What an account of so many bytes must hold to stay.
    ///
    /// # Errors
    ///
    /// The node could not be asked.
    pub async fn rent_exemption(&self, bytes: u64) -> Result<u64, ChainError> {
        let params = json!([bytes]);
        self.read("getMinimumBalanceForRentExemption", params).await
    }

    /// What `message`, its bytes, would cost in lamports; `None` if its block hash is too old.
    ///
    /// # Errors
    ///
    /// The node could not be asked.
    pub async fn fee(&self, message: &[u8]) -> Result<Option<u64>, ChainError> {
        let params = json!([STANDARD.encode(message), at(Commitment::Confirmed)]);
        let answer: WithContext<Option<u64>> = self.read("getFeeForMessage", params).await?;
        Ok(answer.value)
    }

    /// What the transaction of `raw` would do, whoever signed it.
    ///
    /// # Errors
    ///
    /// [`ChainError::Reverted`] and [`ChainError::InsufficientFunds`]: it would fail; or the node could not be asked.
    pub async fn simulate(&self, raw: &[u8]) -> Result<Simulation, ChainError> {
        const DOING: &str = "simulateTransaction";
        let options = json!({
            "encoding": "base64", "commitment": "confirmed", "sigVerify": false, "replaceRecentBlockhash": true,
        });
        let params = json!([STANDARD.encode(raw), options]);
        let answer: WithContext<SimulationJson> = self.read(DOING, params).await?;
        match Failure::read(&answer.value.err) {
            Some(failure) => Err(failure.into_chain_error(DOING, raw, None)),
            None => Ok(Simulation {
                units: answer.value.units_consumed.unwrap_or_default(),
            }),
        }
    }

    /// Gives the node a transaction to try and to spread. One that is included already is a success.
    ///
    /// # Errors
    ///
    /// [`ChainError::Expired`]: its block hash is unknown to the node. [`ChainError::Reverted`],
    /// [`ChainError::InsufficientFunds`]: it would fail, and was not spread. Ask
    /// [`may_have_been_sent`](ChainError::may_have_been_sent).
    pub async fn send(&self, transaction: &SignedTransaction) -> Result<(), ChainError> {
        const DOING: &str = "sendTransaction";
        let id = transaction.id();
        let sent = Sent::Maybe(Some(id));
        let options = json!({"encoding": "base64", "preflightCommitment": "confirmed"});
        let params = json!([STANDARD.encode(transaction.raw()), options]);
        let answer = match self.ask_once(DOING, params, sent).await? {
            Ok(answer) => answer,
            Err(error) => {
                return match error.preflight() {
                    Some(Failure::AlreadyProcessed) => Ok(()),
                    Some(failure) => {
                        Err(failure.into_chain_error(DOING, transaction.raw(), Some(id)))
                    }
                    None => Err(error.into_chain_error(DOING, sent)),
                };
            }
        };
        let signature: String = parse(&answer, DOING, sent)?;
        if signature == id.to_string() {
            return Ok(());
        }
        Err(ChainError::Malformed {
            doing: DOING,
            reason: "another transaction's signature".into(),
            sent,
        })
    }

    /// What the node knows of a signature, and the slot as of which it says so. It looks into its whole ledger.
    ///
    /// # Errors
    ///
    /// The node could not be asked.
    pub async fn signature_status(
        &self,
        signature: &[u8; 64],
    ) -> Result<(Option<SignatureStatus>, u64), ChainError> {
        let sighting = self.sighting(signature).await?;
        Ok((sighting.status, sighting.as_of))
    }

    pub(crate) async fn sighting(&self, signature: &[u8; 64]) -> Result<Sighting, ChainError> {
        const DOING: &str = "getSignatureStatuses";
        let id = TxId::Solana(*signature).to_string();
        let params = json!([[id], {"searchTransactionHistory": true}]);
        let answer: WithContext<Vec<Option<StatusJson>>> = self.read(DOING, params).await?;
        let [status] = <[_; 1]>::try_from(answer.value)
            .map_err(|_other| malformed(DOING, "another number of statuses than asked for"))?;
        let status = status.map(|status| SignatureStatus {
            slot: status.slot,
            // Old entries of the ledger carry none: they are rooted.
            commitment: match status.confirmation_status.as_deref() {
                Some("processed") => Commitment::Processed,
                Some("confirmed") => Commitment::Confirmed,
                _ => Commitment::Finalized,
            },
            failure: Failure::read(&status.err).map(Failure::into_revert),
        });
        let ignorance = answer.context.known_since.map(|pairs| {
            let pairs = pairs.into_iter().map(|(as_of, since)| Ignorance {
                as_of,
                since: Some(since),
            });
            pairs.collect()
        });
        Ok(Sighting {
            status,
            as_of: answer.context.slot,
            ignorance,
        })
    }

    async fn read<T: DeserializeOwned>(
        &self,
        doing: &'static str,
        params: Value,
    ) -> Result<T, ChainError> {
        match self.ask(doing, params).await? {
            Ok(answer) => parse(&answer, doing, Sent::No),
            Err(error) => Err(error.into_chain_error(doing, Sent::No)),
        }
    }

    async fn ask(&self, doing: &'static str, params: Value) -> Asked {
        self.ask_once(doing, params, Sent::No).await
    }

    async fn ask_once(&self, doing: &'static str, params: Value, sent: Sent) -> Asked {
        const ID: u64 = 1;
        let request = json!({"jsonrpc": "2.0", "id": ID, "method": doing, "params": params});
        let request = Bytes::from(request.to_string().into_bytes());
        let exchange = self.transport.exchange(request);
        let answer = match within(&*self.clock, self.answer_within, exchange).await {
            Some(Ok(answer)) => answer,
            // Some gateways give JSON-RPC's errors another status than 200.
            Some(Err(TransportFailure::Status { body, .. })) if is_error(&body) => body,
            Some(Err(failure)) => return Err(failure.into_chain_error(doing, sent)),
            None => {
                return Err(ChainError::TimedOut {
                    doing,
                    after: self.answer_within,
                    sent,
                });
            }
        };
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(ChainError::TooLarge {
                doing,
                bytes_max: ANSWER_BYTES_MAX,
                sent,
            });
        }
        let malformed = |reason: String| ChainError::Malformed {
            doing,
            reason: excerpt(&reason),
            sent,
        };
        let answer: Answer =
            serde_json::from_slice(&answer).map_err(|error| malformed(error.to_string()))?;
        if answer.id != ID {
            return Err(malformed("an answer to another request".into()));
        }
        match (answer.result, answer.error) {
            (_, Some(error)) => Ok(Err(error)),
            (Some(result), None) => Ok(Ok(String::from(Box::<str>::from(result)))),
            (None, None) => Err(malformed("neither result nor error".into())),
        }
    }
}

fn is_error(body: &[u8]) -> bool {
    serde_json::from_slice::<Answer>(body).is_ok_and(|answer| answer.error.is_some())
}

type Asked = Result<Result<String, super::json::RpcErrorJson>, ChainError>;

fn at(commitment: Commitment) -> Value {
    json!({"commitment": commitment.name()})
}

fn parse<T: DeserializeOwned>(
    answer: &str,
    doing: &'static str,
    sent: Sent,
) -> Result<T, ChainError> {
    serde_json::from_str(answer).map_err(|error| ChainError::Malformed {
        doing,
        reason: excerpt(&error.to_string()),
        sent,
    })
}

fn hash32(text: &str, doing: &'static str) -> Result<B256, ChainError> {
    let address: SolanaAddress = text
        .parse()
        .map_err(|_not_32_bytes| malformed(doing, "not 32 bytes in base 58"))?;
    Ok(B256::from(address.0))
}

fn read_account(account: AccountJson, doing: &'static str) -> Result<Account, ChainError> {
    let (data, encoding) = account.data;
    if encoding != "base64" {
        return Err(malformed(
            doing,
            "an account in another encoding than base64",
        ));
    }
    let data = STANDARD.decode(data);
    Ok(Account {
        lamports: account.lamports,
        owner: SolanaAddress(hash32(&account.owner, doing)?.0),
        data: data.map_err(|_not_base64| malformed(doing, "an account that is not base64"))?,
    })
}

fn malformed(doing: &'static str, reason: &str) -> ChainError {
    ChainError::Malformed {
        doing,
        reason: reason.to_owned(),
        sent: Sent::No,
    }
}

impl fmt::Debug for SolanaRpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SolanaRpc")
            .field("answer_within", &self.answer_within)
            .finish_non_exhaustive()
    }
}
