//! Two nodes of one chain behind one address, as a balancer has them: every other answer is that of one which is behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use peaberry_chain::evm::{EvmRpc, EvmView, FeeHistory, Receipt, SeenTransaction};
use peaberry_chain::primitives::{B256, Bytes, U256};
use peaberry_chain::{
    Block, BlockAt, CallRequest, ChainError, ChainId, EvmAddress, FinalityPolicy, Log, LogFilter,
    LogRange, Sent,
};

/// How far behind the final block the slower node may be, as well as behind the newest.
const FINAL_DEPTH: u64 = 8;

pub(crate) struct Lagging {
    node: Arc<dyn EvmView>,
    /// How many blocks the one that is behind lacks.
    blocks: AtomicU64,
    asked: AtomicU64,
    /// How many answers came from it.
    late: AtomicU64,
    /// Neither answers.
    is_down: AtomicBool,
}

impl Lagging {
    pub(crate) fn new(node: Arc<dyn EvmView>) -> Arc<Self> {
        Arc::new(Self {
            node,
            blocks: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            late: AtomicU64::new(0),
            is_down: AtomicBool::new(false),
        })
    }

    /// From now on it is so many blocks behind.
    pub(crate) fn is_behind(&self, blocks: u64) {
        self.blocks.store(blocks, Ordering::SeqCst);
    }

    /// Whether neither can be reached from now on.
    pub(crate) fn fails(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }

    /// How many answers came from a node that was behind.
    pub(crate) fn late_answers(&self) -> u64 {
        self.late.load(Ordering::SeqCst)
    }

    /// The newest block of the node that answers now.
    async fn head(&self) -> Result<Block, ChainError> {
        if self.is_down.load(Ordering::SeqCst) {
            return Err(ChainError::Connection {
                doing: "the test's question",
                sent: Sent::No,
                source: Arc::new(std::io::Error::other("nobody is there")),
            });
        }
        let head = self.node.block(BlockAt::Latest).await?;
        let head = head.expect("a chain has a newest block");
        let blocks = self.blocks.load(Ordering::SeqCst);
        // Half of them, out of step with whatever is asked.
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        let mixed = asked.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        if blocks == 0 || mixed.count_ones().is_multiple_of(2) {
            return Ok(head);
        }
        self.late.fetch_add(1, Ordering::SeqCst);
        let number = head.number.saturating_sub(blocks);
        let behind = self.node.block(BlockAt::Number(number)).await?;
        Ok(behind.expect("it was there a moment ago"))
    }

    /// The block of `at`, if the node that answers now has it.
    async fn resolve(&self, at: BlockAt) -> Result<Option<Block>, ChainError> {
        let head = self.head().await?;
        let at = match at {
            BlockAt::Latest | BlockAt::Pending => return Ok(Some(head)),
            BlockAt::Final => match head.number.checked_sub(FINAL_DEPTH) {
                Some(number) => BlockAt::Number(number),
                None => BlockAt::Number(0),
            },
            at => at,
        };
        let block = self.node.block(at).await?;
        Ok(block.filter(|block| block.number <= head.number))
    }

    async fn at(&self, at: BlockAt) -> Result<BlockAt, ChainError> {
        let block = self.resolve(at).await?;
        let block = block.ok_or_else(|| ChainError::NotFound {
            what: "that block".into(),
        })?;
        Ok(BlockAt::Hash(block.hash))
    }
}

#[async_trait]
impl EvmRpc for Lagging {
    async fn chain_id(&self) -> Result<ChainId, ChainError> {
        self.node.chain_id().await
    }

    async fn balance(&self, account: EvmAddress, at: BlockAt) -> Result<U256, ChainError> {
        self.node.balance(account, self.at(at).await?).await
    }

    async fn nonce(&self, account: EvmAddress, at: BlockAt) -> Result<u64, ChainError> {
        self.node.nonce(account, self.at(at).await?).await
    }

    async fn code(&self, address: EvmAddress, at: BlockAt) -> Result<Bytes, ChainError> {
        self.node.code(address, self.at(at).await?).await
    }

    async fn call(&self, request: &CallRequest, at: BlockAt) -> Result<Bytes, ChainError> {
        self.node.call(request, self.at(at).await?).await
    }

    async fn estimate_gas(&self, request: &CallRequest, at: BlockAt) -> Result<u64, ChainError> {
        self.node.estimate_gas(request, at).await
    }

    async fn fee_history(&self, blocks: u16, percentiles: &[u8]) -> Result<FeeHistory, ChainError> {
        self.node.fee_history(blocks, percentiles).await
    }

    async fn broadcast(&self, raw: &[u8]) -> Result<B256, ChainError> {
        self.node.broadcast(raw).await
    }

    async fn transaction(&self, hash: B256) -> Result<Option<SeenTransaction>, ChainError> {
        self.node.transaction(hash).await
    }

    async fn receipt(&self, hash: B256) -> Result<Option<Receipt>, ChainError> {
        let head = self.head().await?;
        let receipt = self.node.receipt(hash).await?;
        Ok(receipt.filter(|receipt| receipt.block_number <= head.number))
    }

    async fn block(&self, at: BlockAt) -> Result<Option<Block>, ChainError> {
        self.resolve(at).await
    }

    async fn logs(&self, filter: &LogFilter, range: &LogRange) -> Result<Vec<Log>, ChainError> {
        match range {
            // Whoever lacks the block says so.
            LogRange::Block(hash) => {
                self.at(BlockAt::Hash(*hash)).await?;
                self.node.logs(filter, range).await
            }
            // By number what is not there is left out.
            LogRange::Numbers(_) => {
                let head = self.head().await?;
                let logs = self.node.logs(filter, range).await?.into_iter();
                Ok(logs.filter(|log| log.block_number <= head.number).collect())
            }
        }
    }
}

/// The one of them that answers says both.
#[async_trait]
impl EvmView for Lagging {
    async fn lacks_receipts(
        &self,
        hashes: &[B256],
        at: Block,
        newest_max: u64,
    ) -> Vec<Result<bool, ChainError>> {
        match self.head().await {
            Ok(head) if at.number <= head.number => {
                self.node.lacks_receipts(hashes, at, newest_max).await
            }
            Ok(_) => vec![Ok(false); hashes.len()],
            Err(error) => vec![Err(error); hashes.len()],
        }
    }

    async fn final_block(
        &self,
        number: u64,
        _policy: FinalityPolicy,
    ) -> Result<Option<Block>, ChainError> {
        let head = self.head().await?;
        match number <= head.number.saturating_sub(FINAL_DEPTH) {
            true => self.node.block(BlockAt::Number(number)).await,
            false => Ok(None),
        }
    }

    async fn logs_upto(
        &self,
        filter: &LogFilter,
        first: u64,
        last: Block,
    ) -> Result<Vec<Log>, ChainError> {
        self.at(BlockAt::Hash(last.hash)).await?;
        self.node.logs_upto(filter, first, last).await
    }

    async fn block_below(&self, depth: u64) -> Result<Option<Block>, ChainError> {
        let head = self.head().await?;
        match head.number.checked_sub(depth) {
            Some(number) => self.node.block(BlockAt::Number(number)).await,
            None => Ok(None),
        }
    }
}
