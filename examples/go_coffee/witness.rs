//! Watches who holds what, from outside, and writes down what must not happen.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use peaberry_core::{Batch, DiskOptions, DiskStorage, Durability, PeerId, Storage};
use peaberry_lockd::Session;
use peaberry_lockd::fence::Token;

use crate::Failure;
use crate::cluster::SHOP;

/// Sees every grant and every end of one, and keeps the shop's durable ledger.
pub(crate) struct Witness {
    ledger: DiskStorage,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    holders: BTreeMap<String, Holder>,
    newest: BTreeMap<String, Token>,
    grants: u64,
    two_holders: u64,
    tokens_went_back: u64,
    violations: Vec<String>,
}

struct Holder {
    token: Token,
    session: Arc<Session>,
}

/// What a witness has seen.
#[derive(Default)]
pub(crate) struct Testimony {
    pub(crate) grants: u64,
    pub(crate) two_holders: u64,
    pub(crate) tokens_went_back: u64,
    pub(crate) violations: Vec<String>,
}

impl Witness {
    pub(crate) fn new(folder: &Path) -> Result<Self, Failure> {
        let shop = PeerId::new(SHOP).ok_or("the shop is not peer 0")?;
        let ledger = DiskStorage::open(folder.join("ledger"), DiskOptions::new("go-coffee", shop))?;
        Ok(Self {
            ledger,
            inner: Mutex::default(),
        })
    }

    /// A machine's lock was granted.
    pub(crate) fn granted(&self, machine: &str, token: Token, session: &Arc<Session>) {
        let mut inner = self.inner.lock();
        inner.grants += 1;
        let holder = Holder {
            token,
            session: session.clone(),
        };
        if let Some(earlier) = inner.holders.insert(machine.to_owned(), holder)
            && !earlier.session.valid_for().is_zero()
        {
            inner.two_holders += 1;
            let text = format!(
                "{machine} had two valid holders, {} and {token}",
                earlier.token
            );
            inner.violations.push(text);
        }
        if let Some(newest) = inner.newest.insert(machine.to_owned(), token)
            && newest >= token
        {
            inner.tokens_went_back += 1;
            inner.violations.push(format!(
                "{machine} was granted with {token} behind {newest}"
            ));
        }
    }

    /// A holder is about to give its lock up, or has lost it.
    pub(crate) fn ended(&self, machine: &str, token: Token) {
        let mut inner = self.inner.lock();
        if inner
            .holders
            .get(machine)
            .is_some_and(|holder| holder.token == token)
        {
            inner.holders.remove(machine);
        }
    }

    /// Writes an order into the ledger, durably. One that stands there already is a violation.
    pub(crate) fn record(&self, order: u64, token: Token) -> Result<(), Failure> {
        let key = order.to_be_bytes();
        if self.ledger.get(&key)?.is_some() {
            self.inner
                .lock()
                .violations
                .push(format!("order {order} was recorded twice"));
        }
        let mut batch = Batch::new();
        batch.put(&key, &token.to_bytes());
        Ok(self.ledger.commit(&batch, Durability::Synced)?)
    }

    /// The token under which an order was recorded.
    pub(crate) fn recorded(&self, order: u64) -> Result<Option<Token>, Failure> {
        let entry = self.ledger.get(&order.to_be_bytes())?;
        Ok(entry
            .and_then(|bytes| bytes.as_ref().try_into().ok())
            .and_then(Token::from_bytes))
    }

    /// What was seen so far.
    pub(crate) fn testify(&self) -> Testimony {
        let mut inner = self.inner.lock();
        Testimony {
            grants: inner.grants,
            two_holders: inner.two_holders,
            tokens_went_back: inner.tokens_went_back,
            violations: std::mem::take(&mut inner.violations),
        }
    }
}
