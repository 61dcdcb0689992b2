//! Contracts whose ABI is known only when the program runs: called and sent to by name.
//!
//! Where the ABI is known when the program is written, `alloy_sol_types::sol!` encodes and
//! [`ChainClient::call`] carries; this module is for tools, scripts and configuration.

mod abi;
mod any;
mod depth;
mod registry;
mod text;
mod weigh;

pub use alloy_dyn_abi::DynSolValue as Value;

use std::fmt;
use std::sync::Arc;

use alloy_primitives::Address as EvmAddress;

pub use abi::{ABI_BYTES_MAX, Abi, DECODED_BYTES_MAX, Event, Field};
#[doc(hidden)]
pub use any::read_any_abi;
pub use depth::TYPE_DEPTH_MAX;
pub use registry::Contracts;
pub use text::to_text;

use crate::{
    Address, Amount, BlockAt, CallRequest, ChainClient, ChainError, Estimate, Intent, Log,
    LogFilter, LogRange, TxId,
};

/// A contract at an address of a chain. Cheap to clone.
///
/// Functions are named as in the source; where a name is overloaded and the number of arguments does not tell, by
/// their signature: `"transfer(address,uint256)"`.
#[derive(Clone)]
pub struct Contract {
    client: Arc<dyn ChainClient>,
    address: EvmAddress,
    abi: Abi,
}

impl Contract {
    /// The contract at `address` of the client's chain. Asks nothing.
    #[must_use]
    pub fn new(client: Arc<dyn ChainClient>, address: EvmAddress, abi: Abi) -> Self {
        Self {
            client,
            address,
            abi,
        }
    }

    /// Its address.
    #[must_use]
    pub const fn address(&self) -> EvmAddress {
        self.address
    }

    /// Its ABI.
    #[must_use]
    pub const fn abi(&self) -> &Abi {
        &self.abi
    }

    /// Its chain's client.
    #[must_use]
    pub const fn client(&self) -> &Arc<dyn ChainClient> {
        &self.client
    }

    /// What `function` answers in the newest block. Changes nothing, also where the function would.
    ///
    /// # Errors
    ///
    /// [`ChainError::Abi`]: no such function, or arguments or an answer of other types. [`ChainError::Reverted`] with the
    /// contract's own error [decoded](crate::Revert::Decoded). [`ChainError::NotFound`]: no contract is there. Otherwise as
    /// [`ChainClient::call`]. Nothing was sent.
    pub async fn call(
        &self,
        function: &str,
        arguments: &[Value],
    ) -> Result<Vec<Value>, ChainError> {
        let request = CallRequest::new(self.address, self.abi.encode(function, arguments)?);
        self.ask(function, arguments.len(), &request, BlockAt::Latest)
            .await
    }

    /// The same with arguments as people write them: see [`Abi::read_arguments`].
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub async fn call_text(
        &self,
        function: &str,
        arguments: &[&str],
    ) -> Result<Vec<String>, ChainError> {
        let arguments = self.abi.read_arguments(function, arguments)?;
        let answer = self.call(function, &arguments).await?;
        Ok(answer.iter().map(to_text).collect())
    }

    /// What `function` would answer `from` at a block, paid `value`.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub async fn call_as(
        &self,
        from: Address,
        function: &str,
        arguments: &[Value],
        value: Amount,
        at: BlockAt,
    ) -> Result<Vec<Value>, ChainError> {
        let mut request = CallRequest::new(self.address, self.abi.encode(function, arguments)?);
        request.from = Some(from);
        request.value = value.units();
        self.ask(function, arguments.len(), &request, at).await
    }

    /// The intent to call `function`, to be submitted here, by the outbox, or by another client.
    ///
    /// # Errors
    ///
    /// [`ChainError::Abi`]: no such function, arguments of other types, a function that only reads, or a payment to one
    /// that takes none. Nothing was sent.
    pub fn intent(
        &self,
        from: impl Into<Address>,
        function: &str,
        arguments: &[Value],
        value: Amount,
    ) -> Result<Intent, ChainError> {
        let data = self.abi.encode_sent(function, arguments, value)?;
        Ok(Intent::Call {
            from: from.into(),
            to: self.address.into(),
            value,
            data,
        })
    }

    /// What [`send`](Self::send) would take now.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send). Nothing was sent.
    pub async fn estimate(
        &self,
        from: impl Into<Address>,
        function: &str,
        arguments: &[Value],
    ) -> Result<Estimate, ChainError> {
        let intent = self.intent(from, function, arguments, Amount::wei(0))?;
        let estimate = self.client.estimate(&intent).await;
        estimate.map_err(|error| self.abi.explain(error))
    }

    /// Calls `function` in a transaction, without a payment. The client must hold the signer of `from`.
    ///
    /// # Errors
    ///
    /// As [`intent`](Self::intent) and [`ChainClient::submit`], reverts [decoded](crate::Revert::Decoded). Ask
    /// [`ChainError::may_have_been_sent`] before trying again.
    pub async fn send(
        &self,
        from: impl Into<Address>,
        function: &str,
        arguments: &[Value],
    ) -> Result<TxId, ChainError> {
        let intent = self.intent(from, function, arguments, Amount::wei(0))?;
        let sent = self.client.submit(&intent).await;
        sent.map_err(|error| self.abi.explain(error))
    }

    /// The contract's events named `event` in `range`, with their logs, in the chain's order.
    ///
    /// # Errors
    ///
    /// [`ChainError::Abi`]: no such event, or a log that does not decode. Otherwise as [`ChainClient::logs`].
    pub async fn events(
        &self,
        event: &str,
        range: &LogRange,
    ) -> Result<Vec<(Log, Event)>, ChainError> {
        let topic = self.abi.topic(event)?;
        let filter = LogFilter::default().address(self.address).topic(0, topic);
        let logs = self.client.logs(&filter, range).await?.into_iter();
        logs.map(|log| {
            let event = self.abi.decode_log(&log)?;
            Ok((log, event))
        })
        .collect()
    }

    async fn ask(
        &self,
        function: &str,
        arguments: usize,
        request: &CallRequest,
        at: BlockAt,
    ) -> Result<Vec<Value>, ChainError> {
        let answer = self.client.call(request, at).await;
        let answer = answer.map_err(|error| self.abi.explain(error))?;
        if answer.is_empty() && self.abi.answers(function, arguments)? {
            return Err(ChainError::NotFound {
                what: format!("a contract at {}", self.address),
            });
        }
        self.abi.decode_answer(function, arguments, &answer)
    }
}

impl fmt::Debug for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Contract({} on {})",
            self.address,
            self.client.chain_id()
        )
    }
}
