//! Contracts by name.

use std::collections::BTreeMap;

use super::{Abi, Contract};
use crate::{AccountId, ChainError, MultiChain};

/// Contracts of many chains, by names of your own.
///
/// ```
/// use peaberry_chain::contract::{Abi, Contracts};
/// use peaberry_chain::{AccountId, ChainError, MultiChain};
///
/// let mut contracts = Contracts::new(MultiChain::new());
/// let account: AccountId = "eip155:1:0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed".parse()?;
/// let unknown = contracts.add("coffee", account, Abi::from_json(b"[]")?);
/// assert!(matches!(unknown, Err(ChainError::UnknownChain { .. })));
/// assert!(contracts.get("coffee").is_err());
/// # Ok::<(), ChainError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Contracts {
    chains: MultiChain,
    contracts: BTreeMap<String, Contract>,
}

impl Contracts {
    /// None yet; their chains are among `chains`.
    #[must_use]
    pub const fn new(chains: MultiChain) -> Self {
        Self {
            chains,
            contracts: BTreeMap::new(),
        }
    }

    /// Calls the contract at `account` by `name` from now on, and no longer another that had it.
    ///
    /// # Errors
    ///
    /// [`ChainError::UnknownChain`]: no client for its chain. [`ChainError::WrongFamily`]: its chain has no contracts of
    /// this kind. Nothing changed.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        account: AccountId,
        abi: Abi,
    ) -> Result<&Contract, ChainError> {
        let client = self.chains.client(account.chain())?.clone();
        let address = account.address().evm_on(account.chain())?;
        let contract = Contract::new(client, address, abi);
        Ok(self
            .contracts
            .entry(name.into())
            .insert_entry(contract)
            .into_mut())
    }

    /// The contract called `name`.
    ///
    /// # Errors
    ///
    /// [`ChainError::NotFound`]: none is.
    pub fn get(&self, name: &str) -> Result<&Contract, ChainError> {
        self.contracts
            .get(name)
            .ok_or_else(|| ChainError::NotFound {
                what: format!("a contract called {name:?}"),
            })
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.contracts.keys().map(String::as_str)
    }
}
