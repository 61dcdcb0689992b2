//! What the contract should hold, do and say.

use std::collections::{BTreeMap, BTreeSet};

use peaberry_chain::bindings::{CoffeeToken as Token, SolEvent};
use peaberry_chain::primitives::{Address, B256, Bytes, LogData, U256, keccak256};

use crate::ground::{ACCOUNTS, Ground, refused};

/// The zero address, as the last of the accounts.
pub(super) const NOBODY: usize = ACCOUNTS;

/// What the contract logs, or the words in which it refuses.
pub(super) type Verdict = Result<Vec<LogData>, Bytes>;

/// The accounts' names, and what the contract holds of each.
#[derive(Clone)]
pub(super) struct Model {
    addresses: [Address; ACCOUNTS + 1],
    pub(super) cap: U256,
    points_per_unit: U256,
    pub(super) balances: [U256; ACCOUNTS],
    pub(super) points: [U256; ACCOUNTS],
    allowances: BTreeMap<(usize, usize), U256>,
    pub(super) nonces: [u64; ACCOUNTS],
    pub(super) paid: BTreeSet<(usize, usize, B256)>,
    pub(super) minters: BTreeSet<usize>,
}

pub(super) fn minter_role() -> B256 {
    keccak256("MINTER_ROLE")
}

fn logged(event: &impl SolEvent) -> LogData {
    event.encode_log_data()
}

impl Model {
    pub(super) fn new(ground: &Ground, cap: U256, points_per_unit: U256) -> Self {
        let address = |who| match who {
            NOBODY => Address::ZERO,
            who => ground.address(who),
        };
        Self {
            addresses: std::array::from_fn(address),
            cap,
            points_per_unit,
            balances: [U256::ZERO; ACCOUNTS],
            points: [U256::ZERO; ACCOUNTS],
            allowances: BTreeMap::new(),
            nonces: [0; ACCOUNTS],
            paid: BTreeSet::new(),
            minters: BTreeSet::new(),
        }
    }

    pub(super) const fn address(&self, who: usize) -> Address {
        self.addresses[who]
    }

    pub(super) fn supply(&self) -> U256 {
        self.balances.iter().sum()
    }

    pub(super) fn allowed(&self, owner: usize, spender: usize) -> U256 {
        let allowed = self.allowances.get(&(owner, spender));
        allowed.copied().unwrap_or_default()
    }

    pub(super) fn mint(&mut self, who: usize, to: usize, amount: U256) -> Verdict {
        if !self.minters.contains(&who) {
            let (account, role) = (self.address(who), minter_role());
            return refused(&Token::MissingRole { account, role });
        }
        if to == NOBODY {
            return refused(&Token::ZeroAddress {});
        }
        let (available, wanted) = (self.cap - self.supply(), amount);
        if wanted > available {
            return refused(&Token::CapExceeded { available, wanted });
        }
        self.balances[to] += amount;
        Ok(vec![self.transfer(NOBODY, to, amount)])
    }

    pub(super) fn burns(&mut self, who: usize, amount: U256) -> Verdict {
        self.debit(who, amount)?;
        Ok(vec![self.transfer(who, NOBODY, amount)])
    }

    pub(super) fn moves(&mut self, from: usize, to: usize, value: U256) -> Verdict {
        if to == NOBODY {
            return refused(&Token::ZeroAddress {});
        }
        self.debit(from, value)?;
        self.balances[to] += value;
        Ok(vec![self.transfer(from, to, value)])
    }

    pub(super) fn approves(&mut self, owner: usize, spender: usize, value: U256) -> Verdict {
        if spender == NOBODY {
            return refused(&Token::ZeroAddress {});
        }
        self.allowances.insert((owner, spender), value);
        let (owner, spender) = (self.address(owner), self.address(spender));
        Ok(vec![logged(&Token::Approval {
            owner,
            spender,
            value,
        })])
    }

    /// An allowance of all that 256 bits hold is without end.
    pub(super) fn spends(
        &mut self,
        owner: usize,
        spender: usize,
        wanted: U256,
    ) -> Result<(), Bytes> {
        let available = self.allowed(owner, spender);
        if available == U256::MAX {
            return Ok(());
        }
        if wanted > available {
            return refused(&Token::InsufficientAllowance {
                owner: self.address(owner),
                spender: self.address(spender),
                available,
                wanted,
            });
        }
        self.allowances.insert((owner, spender), available - wanted);
        Ok(())
    }

    pub(super) fn pays(&mut self, from: usize, to: usize, amount: U256, order: B256) -> Verdict {
        let (payer, payee) = (self.address(from), self.address(to));
        if order == B256::ZERO {
            return refused(&Token::ZeroId {});
        }
        if amount.is_zero() {
            return refused(&Token::ZeroAmount {});
        }
        if from == to {
            return refused(&Token::PaidToPayer { account: payer });
        }
        if !self.paid.insert((from, to, order)) {
            return refused(&Token::AlreadyPaid {
                from: payer,
                to: payee,
                orderId: order,
            });
        }
        if to == NOBODY {
            return refused(&Token::ZeroAddress {});
        }
        self.debit(from, amount)?;
        let points = amount * self.points_per_unit;
        self.points[from] += points;
        if self.points[from] > U256::from(u128::MAX) {
            return refused(&Token::TooManyPoints { account: payer });
        }
        self.balances[to] += amount;
        let processed = Token::PaymentProcessed {
            from: payer,
            to: payee,
            orderId: order,
            amount,
            points,
        };
        Ok(vec![self.transfer(from, to, amount), logged(&processed)])
    }

    pub(super) fn redeems(&mut self, who: usize, points: U256, reward: B256) -> Verdict {
        if points.is_zero() {
            return refused(&Token::ZeroAmount {});
        }
        let (account, available) = (self.address(who), self.points[who]);
        if points > available {
            return refused(&Token::InsufficientPoints {
                account,
                available,
                wanted: points,
            });
        }
        self.points[who] -= points;
        Ok(vec![logged(&Token::PointsRedeemed {
            account,
            reward,
            points,
        })])
    }

    /// The admin, who is the first account, says who mints.
    pub(super) fn appoints(&mut self, who: usize, account: usize, has: bool) -> Verdict {
        if who != 0 {
            let (account, role) = (self.address(who), B256::ZERO);
            return refused(&Token::MissingRole { account, role });
        }
        Ok(self.role(who, account, has))
    }

    pub(super) fn renounces(&mut self, who: usize, account: usize) -> Verdict {
        if who != account {
            return refused(&Token::NotYourself {});
        }
        Ok(self.role(who, who, false))
    }

    fn role(&mut self, who: usize, account: usize, has: bool) -> Vec<LogData> {
        let role = minter_role();
        let (sender, named) = (self.address(who), self.address(account));
        let is_changed = match has {
            true => self.minters.insert(account),
            false => self.minters.remove(&account),
        };
        let log = match has {
            true => logged(&Token::RoleGranted {
                role,
                account: named,
                sender,
            }),
            false => logged(&Token::RoleRevoked {
                role,
                account: named,
                sender,
            }),
        };
        if is_changed { vec![log] } else { Vec::new() }
    }

    fn debit(&mut self, who: usize, wanted: U256) -> Result<(), Bytes> {
        let available = self.balances[who];
        if wanted > available {
            return refused(&Token::InsufficientBalance {
                account: self.address(who),
                available,
                wanted,
            });
        }
        self.balances[who] -= wanted;
        Ok(())
    }

    fn transfer(&self, from: usize, to: usize, value: U256) -> LogData {
        let (from, to) = (self.address(from), self.address(to));
        logged(&Token::Transfer { from, to, value })
    }
}
