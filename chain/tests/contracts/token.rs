//! CoffeeToken: supply, allowances, orders, points, roles and signatures.

use std::collections::{BTreeMap, BTreeSet};

use peaberry_chain::bindings::{CoffeeToken as Token, creation};
use peaberry_chain::primitives::{Address, B256, Bytes, U256, keccak256, uint};

use crate::ground::{ACCOUNTS, Ground};

const STEPS: u64 = 24;
const CAP: u64 = 700;
const ORDERS: u64 = 3;
/// The order of secp256k1.
const GROUP_ORDER: U256 =
    uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);

/// An allowance without end: spending does not lessen it.
const ENDLESS: u64 = u64::MAX;

/// What the contract should hold; amounts are small, and a unit earns a point.
#[derive(Default)]
struct Model {
    balances: [u64; ACCOUNTS],
    points: [u64; ACCOUNTS],
    allowances: BTreeMap<(usize, usize), u64>,
    nonces: [u64; ACCOUNTS],
    paid: BTreeSet<(usize, usize, u64)>,
    minters: BTreeSet<usize>,
}

impl Model {
    fn supply(&self) -> u64 {
        self.balances.iter().sum()
    }

    fn spends(&mut self, owner: usize, spender: usize, amount: u64) -> bool {
        let allowance = self.allowances.entry((owner, spender)).or_default();
        let is_enough = *allowance >= amount;
        if is_enough && *allowance != ENDLESS && self.balances[owner] >= amount {
            *allowance -= amount;
        }
        is_enough
    }

    fn moves(&mut self, from: usize, to: usize, amount: u64) -> bool {
        if self.balances[from] < amount {
            return false;
        }
        self.balances[from] -= amount;
        self.balances[to] += amount;
        true
    }

    fn pays(&mut self, from: usize, to: usize, amount: u64, order: u64) -> bool {
        let is_new = !self.paid.contains(&(from, to, order));
        if amount == 0 || !is_new || !self.moves(from, to, amount) {
            return false;
        }
        self.points[from] += amount;
        self.paid.insert((from, to, order));
        true
    }
}

struct Game<'a> {
    ground: &'a mut Ground,
    token: Address,
    domain: B256,
    model: Model,
}

pub(crate) fn play(ground: &mut Ground, code: &Bytes) -> Result<(), String> {
    let constructor = Token::constructorCall {
        name_: "Coffee".into(),
        symbol_: "CFE".into(),
        cap_: U256::from(CAP),
        pointsPerToken_: U256::from(10).pow(U256::from(18)),
        admin: ground.address(0),
    };
    let token = ground.deploy(0, creation(code, &constructor));
    let domain = ground.ask(token, &Token::DOMAIN_SEPARATORCall {});
    let mut game = Game {
        ground,
        token,
        domain,
        model: Model::default(),
    };
    game.role(0, 0, true)?;
    for _ in 0..STEPS {
        game.step()?;
    }
    game.compare()
}

/// An amount as the contract has it.
fn wide(amount: u64) -> U256 {
    match amount {
        ENDLESS => U256::MAX,
        amount => U256::from(amount),
    }
}

fn order_id(order: u64) -> B256 {
    B256::from(U256::from(order))
}

/// A way to sign, of which only the first is right.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signing {
    Right,
    Expired,
    OtherSigner,
    OtherDomain,
    UpperHalf,
    Altered,
}

impl Game<'_> {
    fn step(&mut self) -> Result<(), String> {
        let [who, from, to] = [(); 3].map(|()| self.ground.account());
        let (amount, order) = (self.ground.roll(120), self.ground.roll(ORDERS));
        let value = U256::from(amount);
        let [from_address, to_address] = [from, to].map(|account| self.ground.address(account));
        let model = &mut self.model;
        match self.ground.roll(12) {
            0 => {
                let amount = amount * 5;
                let is_allowed = model.minters.contains(&who) && model.supply() + amount <= CAP;
                if is_allowed {
                    model.balances[to] += amount;
                }
                let call = Token::mintCall {
                    to: to_address,
                    amount: U256::from(amount),
                };
                self.ground.expect(who, self.token, &call, is_allowed)
            }
            1 => {
                let is_allowed = model.moves(who, to, amount);
                let call = Token::transferCall {
                    to: to_address,
                    value,
                };
                self.ground.expect(who, self.token, &call, is_allowed)
            }
            2 => {
                let is_endless = amount.is_multiple_of(7);
                let allowance = if is_endless { ENDLESS } else { amount };
                model.allowances.insert((who, to), allowance);
                let call = Token::approveCall {
                    spender: to_address,
                    value: wide(allowance),
                };
                self.ground.expect(who, self.token, &call, true)
            }
            3 => {
                let is_allowed = model.spends(from, who, amount) && model.moves(from, to, amount);
                let call = Token::transferFromCall {
                    from: from_address,
                    to: to_address,
                    value,
                };
                self.ground.expect(who, self.token, &call, is_allowed)
            }
            4 => {
                let is_allowed = model.balances[who] >= amount;
                if is_allowed {
                    model.balances[who] -= amount;
                }
                self.ground.expect(
                    who,
                    self.token,
                    &Token::burnCall { amount: value },
                    is_allowed,
                )
            }
            5 => self.pay(who, who, to, amount, order),
            6 => self.pay(who, from, to, amount, order),
            7 => self.pay_signed(who, from, to, amount, order),
            8 => self.permit(who, from, to, amount),
            9 => {
                let is_allowed = amount > 0 && model.points[who] >= amount;
                if is_allowed {
                    model.points[who] -= amount;
                }
                let call = Token::redeemPointsCall {
                    points: value,
                    reward: order_id(order),
                };
                self.ground.expect(who, self.token, &call, is_allowed)
            }
            10 => self.pay_nobody(who, value, order),
            _ => match amount % 5 {
                0 => self.renounce(who, to),
                _ => self.role(who, to, amount.is_multiple_of(3)),
            },
        }
    }

    /// The zero address gets nothing, whoever sends it and however.
    fn pay_nobody(&mut self, who: usize, value: U256, order: u64) -> Result<(), String> {
        let to = Address::ZERO;
        let (from, amount, spender) = (self.ground.address(who), value, to);
        let order_id = order_id(order);
        let (token, ground) = (self.token, &mut *self.ground);
        ground.expect(who, token, &Token::transferCall { to, value }, false)?;
        ground.expect(who, token, &Token::mintCall { to, amount }, false)?;
        ground.expect(who, token, &Token::approveCall { spender, value }, false)?;
        let pay = Token::processPaymentCall {
            from,
            to,
            amount,
            orderId: order_id,
        };
        ground.expect(who, token, &pay, false)
    }

    /// Everyone gives up a role of their own, and nobody another's.
    fn renounce(&mut self, who: usize, account: usize) -> Result<(), String> {
        let is_allowed = who == account;
        if is_allowed {
            self.model.minters.remove(&who);
        }
        let call = Token::renounceRoleCall {
            role: keccak256("MINTER_ROLE"),
            account: self.ground.address(account),
        };
        self.ground.expect(who, self.token, &call, is_allowed)
    }

    /// Only the admin says who mints.
    fn role(&mut self, who: usize, account: usize, has: bool) -> Result<(), String> {
        let is_allowed = who == 0;
        if is_allowed && has {
            self.model.minters.insert(account);
        } else if is_allowed {
            self.model.minters.remove(&account);
        }
        let (role, account) = (keccak256("MINTER_ROLE"), self.ground.address(account));
        match has {
            true => self.ground.expect(
                who,
                self.token,
                &Token::grantRoleCall { role, account },
                is_allowed,
            ),
            false => self.ground.expect(
                who,
                self.token,
                &Token::revokeRoleCall { role, account },
                is_allowed,
            ),
        }
    }

    fn pay(
        &mut self,
        who: usize,
        from: usize,
        to: usize,
        amount: u64,
        order: u64,
    ) -> Result<(), String> {
        let model = &mut self.model;
        let could = amount > 0
            && !model.paid.contains(&(from, to, order))
            && model.balances[from] >= amount;
        let is_agreed = who == from || (could && model.spends(from, who, amount));
        let is_allowed = is_agreed && model.pays(from, to, amount, order);
        let call = Token::processPaymentCall {
            from: self.ground.address(from),
            to: self.ground.address(to),
            amount: U256::from(amount),
            orderId: order_id(order),
        };
        self.ground.expect(who, self.token, &call, is_allowed)
    }

    fn pay_signed(
        &mut self,
        who: usize,
        from: usize,
        to: usize,
        amount: u64,
        order: u64,
    ) -> Result<(), String> {
        let signing = self.signing();
        let deadline = self.deadline(signing);
        let [from_address, to_address] = [from, to].map(|account| self.ground.address(account));
        let value = U256::from(amount);
        let hash = hash(
            "Payment(address from,address to,uint256 amount,bytes32 orderId,uint256 deadline)",
            &[
                from_address.into_word(),
                to_address.into_word(),
                value.into(),
                order_id(order),
                deadline.into(),
            ],
        );
        let (v, r, s) = self.sign(from, hash, signing);
        let is_allowed = signing == Signing::Right && self.model.pays(from, to, amount, order);
        let call = Token::processSignedPaymentCall {
            from: from_address,
            to: to_address,
            amount: value,
            orderId: order_id(order),
            deadline,
            v,
            r: r.into(),
            s: s.into(),
        };
        self.ground.expect(who, self.token, &call, is_allowed)
    }

    fn permit(
        &mut self,
        who: usize,
        owner: usize,
        spender: usize,
        amount: u64,
    ) -> Result<(), String> {
        let signing = self.signing();
        let deadline = self.deadline(signing);
        let [owner_address, spender_address] =
            [owner, spender].map(|account| self.ground.address(account));
        let value = U256::from(amount);
        let nonce = U256::from(self.model.nonces[owner]);
        let hash = hash(
            "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)",
            &[
                owner_address.into_word(),
                spender_address.into_word(),
                value.into(),
                nonce.into(),
                deadline.into(),
            ],
        );
        let (v, r, s) = self.sign(owner, hash, signing);
        let is_allowed = signing == Signing::Right;
        if is_allowed {
            self.model.nonces[owner] += 1;
            self.model.allowances.insert((owner, spender), amount);
        }
        let call = Token::permitCall {
            owner: owner_address,
            spender: spender_address,
            value,
            deadline,
            v,
            r: r.into(),
            s: s.into(),
        };
        self.ground.expect(who, self.token, &call, is_allowed)?;
        // A permit is good once.
        self.ground.expect(who, self.token, &call, false)
    }

    fn signing(&mut self) -> Signing {
        match self.ground.roll(10) {
            0 => Signing::Expired,
            1 => Signing::OtherSigner,
            2 => Signing::OtherDomain,
            3 => Signing::UpperHalf,
            4 => Signing::Altered,
            _ => Signing::Right,
        }
    }

    fn deadline(&self, signing: Signing) -> U256 {
        let time_s = self.ground.time_s();
        U256::from(if signing == Signing::Expired {
            time_s - 1
        } else {
            time_s + 1_000
        })
    }

    fn sign(&self, who: usize, hash: B256, signing: Signing) -> (u8, U256, U256) {
        let (signer, domain, hash) = match signing {
            Signing::OtherSigner => ((who + 1) % ACCOUNTS, self.domain, hash),
            Signing::OtherDomain => (who, keccak256(self.domain), hash),
            Signing::Altered => (who, self.domain, keccak256(hash)),
            Signing::Right | Signing::Expired | Signing::UpperHalf => (who, self.domain, hash),
        };
        let (v, r, s) = self.ground.sign(signer, domain, hash);
        match signing {
            // The same signature's other form (EIP-2).
            Signing::UpperHalf => (27 + (28 - v), r, GROUP_ORDER - s),
            _ => (v, r, s),
        }
    }

    fn compare(&self) -> Result<(), String> {
        let expect = |what: &str, found: U256, wanted: u64| match found == U256::from(wanted) {
            true => Ok(()),
            false => Err(format!("{what} is {found}, not {wanted}")),
        };
        let (ground, model) = (&self.ground, &self.model);
        expect(
            "the supply",
            ground.ask(self.token, &Token::totalSupplyCall {}),
            model.supply(),
        )?;
        for who in 0..ACCOUNTS {
            let account = ground.address(who);
            let role = keccak256("MINTER_ROLE");
            let is_minter = Token::hasRoleCall { role, _1: account };
            if ground.ask(self.token, &is_minter) != model.minters.contains(&who) {
                return Err(format!("{who} may mint, or may not"));
            }
            expect(
                "a balance",
                ground.ask(self.token, &Token::balanceOfCall { account }),
                model.balances[who],
            )?;
            let points = Token::getLoyaltyPointsCall { account };
            expect(
                "an account's points",
                ground.ask(self.token, &points),
                model.points[who],
            )?;
            for other in 0..ACCOUNTS {
                let to = ground.address(other);
                let allowance = Token::allowanceCall {
                    owner: account,
                    spender: to,
                };
                let wanted = model
                    .allowances
                    .get(&(who, other))
                    .copied()
                    .unwrap_or_default();
                if ground.ask(self.token, &allowance) != wide(wanted) {
                    return Err(format!("{who} allows {other} otherwise than {wanted}"));
                }
                for order in 0..ORDERS {
                    let is_paid = Token::isPaidCall {
                        from: account,
                        to,
                        orderId: order_id(order),
                    };
                    if ground.ask(self.token, &is_paid) != model.paid.contains(&(who, other, order))
                    {
                        return Err(format!(
                            "order {order} of {who} to {other} is paid, or is not"
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

/// A value's hash (EIP-712): its type's hash, then its fields.
fn hash(kind: &str, fields: &[B256]) -> B256 {
    let words: Vec<B256> = [keccak256(kind)]
        .into_iter()
        .chain(fields.iter().copied())
        .collect();
    keccak256(words.concat())
}
