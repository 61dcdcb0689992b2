//! CoffeeToken: supply, allowances, orders, points, roles and signatures.

mod model;

use model::{Model, NOBODY, minter_role};
use peaberry_chain::bindings::{CoffeeToken as Token, SolCall, SolError, creation};
use peaberry_chain::primitives::{Address, B256, Bytes, U256, keccak256, uint};

use crate::ground::{ACCOUNTS, BLOCK_TIME_S, CHAIN, Ground, agree, event};
use crate::node::{NodeKind, on_both};

on_both! {
    a_signature_is_good_for_one_contract
    points_stay_within_their_half
    points_of_a_payment_never_overflow
    one_role_is_the_admin_of_all
}

const STEPS: u64 = 24;
/// The first is none: no order has the number zero.
const ORDERS: u64 = 4;
const NAME: &str = "Coffee";
/// The order of secp256k1.
const GROUP_ORDER: U256 =
    uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);
const WHOLE: U256 = uint!(1_000_000_000_000_000_000_U256);

/// The amounts that a game is played with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Amounts {
    /// Below 120, of at most 700; a unit earns a point.
    Small,
    /// Around balances, halves, and all that 128 and 256 bits hold; a unit earns three points.
    Edge,
}

struct Game<'a> {
    ground: &'a mut Ground,
    token: Address,
    amounts: Amounts,
    model: Model,
}

pub(crate) fn play(ground: &mut Ground, code: &Bytes) -> Result<(), String> {
    let (amounts, cap, points_per_unit) = match ground.roll(4) {
        0 => (Amounts::Edge, U256::from(u128::MAX), U256::from(3)),
        _ => (Amounts::Small, U256::from(700), U256::ONE),
    };
    let token = ground.deploy(0, token_of(ground, code, cap, points_per_unit));
    let model = Model::new(ground, cap, points_per_unit);
    let mut game = Game {
        ground,
        token,
        amounts,
        model,
    };
    game.role(0, 0, true)?;
    if amounts == Amounts::Edge {
        let (to, amount) = (game.ground.account(), cap - U256::from(2));
        let call = Token::mintCall {
            to: game.model.address(to),
            amount,
        };
        game.call(0, &call, |model, _| model.mint(0, to, amount))?;
    }
    for _ in 0..STEPS {
        game.step()?;
    }
    game.compare_all()
}

fn token_of(ground: &Ground, code: &Bytes, cap: U256, points_per_unit: U256) -> Bytes {
    let constructor = Token::constructorCall {
        name_: NAME.into(),
        symbol_: "CFE".into(),
        cap_: cap,
        pointsPerToken_: points_per_unit * WHOLE,
        admin: ground.address(0),
    };
    creation(code, &constructor)
}

fn order_id(order: u64) -> B256 {
    B256::from(U256::from(order))
}

/// A way to sign, of which only the first is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signing {
    Right,
    /// Good to the second of its block and no longer.
    InTheLastSecond,
    Expired,
    OtherSigner,
    OtherContract,
    OtherChain,
    OtherName,
    OtherVersion,
    UpperHalf,
    Altered,
}

/// What a signature is bound to (EIP-712), computed from what is known of a contract without asking it.
fn domain(name: &str, version: &str, chain: u64, contract: Address) -> B256 {
    let kind = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
    let chain = B256::from(U256::from(chain));
    let fields = [
        keccak256(name),
        keccak256(version),
        chain,
        contract.into_word(),
    ];
    hash(kind, &fields)
}

/// A value's hash (EIP-712): its type's hash, then its fields.
fn hash(kind: &str, fields: &[B256]) -> B256 {
    let words: Vec<B256> = [keccak256(kind)]
        .into_iter()
        .chain(fields.iter().copied())
        .collect();
    keccak256(words.concat())
}

impl Game<'_> {
    fn step(&mut self) -> Result<(), String> {
        let [who, from, to] = [(); 3].map(|()| self.ground.account());
        let order = self.ground.roll(ORDERS);
        // The zero address gets nothing, whoever sends it and however.
        let to = if self.ground.roll(16) == 0 {
            NOBODY
        } else {
            to
        };
        match self.ground.roll(12) {
            0 => {
                let left = self.model.cap - self.model.supply();
                let amount = match self.amounts {
                    Amounts::Small => self.amount(left) * U256::from(5),
                    Amounts::Edge => self.amount(left),
                };
                let to_address = self.model.address(to);
                let call = Token::mintCall {
                    to: to_address,
                    amount,
                };
                self.call(who, &call, |model, _| model.mint(who, to, amount))
            }
            1 => {
                let value = self.amount(self.model.balances[who]);
                let call = Token::transferCall {
                    to: self.model.address(to),
                    value,
                };
                self.call(who, &call, |model, _| model.moves(who, to, value))
            }
            2 => {
                let amount = self.amount(self.model.balances[who]);
                let is_endless = self.ground.roll(7) == 0;
                let value = if is_endless { U256::MAX } else { amount };
                let call = Token::approveCall {
                    spender: self.model.address(to),
                    value,
                };
                self.call(who, &call, |model, _| model.approves(who, to, value))
            }
            3 => {
                let value = self.amount(self.model.balances[from]);
                let call = Token::transferFromCall {
                    from: self.model.address(from),
                    to: self.model.address(to),
                    value,
                };
                self.call(who, &call, |model, _| {
                    model.spends(from, who, value)?;
                    model.moves(from, to, value)
                })
            }
            4 => {
                let amount = self.amount(self.model.balances[who]);
                let call = Token::burnCall { amount };
                self.call(who, &call, |model, _| model.burns(who, amount))
            }
            5 => self.pay(who, who, to, order),
            6 => self.pay(who, from, to, order),
            7 => self.pay_signed(who, from, to, order),
            8 => self.permit(who, from, to),
            9 => {
                let points = self.amount(self.model.points[who]);
                let reward = order_id(order);
                let call = Token::redeemPointsCall { points, reward };
                self.call(who, &call, |model, _| model.redeems(who, points, reward))
            }
            _ => match self.ground.roll(5) {
                0 => self.renounce(who, from),
                roll => self.role(who, from, roll > 1),
            },
        }
    }

    /// An amount, at the edge of `near` where the game is of such.
    fn amount(&mut self, near: U256) -> U256 {
        match (self.amounts, self.ground.roll(120)) {
            (Amounts::Small, roll) => U256::from(roll),
            (Amounts::Edge, roll) => match roll % 8 {
                0 => U256::from(roll % 3),
                1 => near.saturating_sub(U256::ONE),
                2 => near + U256::ONE,
                3 | 4 => near / U256::from(3),
                5 => U256::from(u128::MAX),
                6 if roll % 3 == 0 => U256::MAX,
                _ => near,
            },
        }
    }

    /// A call, what the model makes of it at the time of its block, and what is touched by most calls afterwards.
    fn call<C: SolCall>(
        &mut self,
        who: usize,
        call: &C,
        model: impl FnOnce(&mut Model, u64) -> model::Verdict,
    ) -> Result<(), String> {
        let found = self.ground.send(who, self.token, call);
        let mut next = self.model.clone();
        let verdict = model(&mut next, self.ground.time_s());
        // What is refused changes nothing.
        if verdict.is_ok() {
            self.model = next;
        }
        let token = self.token;
        let wanted = verdict.map(|logs| logs.into_iter().map(|log| (token, log)).collect());
        agree::<C>(&found, &wanted)?;
        self.compare_accounts()
    }

    /// Everyone gives up a role of their own, and nobody another's.
    fn renounce(&mut self, who: usize, account: usize) -> Result<(), String> {
        let call = Token::renounceRoleCall {
            role: minter_role(),
            account: self.model.address(account),
        };
        self.call(who, &call, |model, _| model.renounces(who, account))
    }

    /// Only the admin says who mints.
    fn role(&mut self, who: usize, account: usize, has: bool) -> Result<(), String> {
        let role = minter_role();
        let address = self.model.address(account);
        if has {
            let call = Token::grantRoleCall {
                role,
                account: address,
            };
            self.call(who, &call, |model, _| model.appoints(who, account, true))
        } else {
            let call = Token::revokeRoleCall {
                role,
                account: address,
            };
            self.call(who, &call, |model, _| model.appoints(who, account, false))
        }
    }

    fn pay(&mut self, who: usize, from: usize, to: usize, order: u64) -> Result<(), String> {
        let amount = self.amount(self.model.balances[from]);
        let call = Token::processPaymentCall {
            from: self.model.address(from),
            to: self.model.address(to),
            amount,
            orderId: order_id(order),
        };
        self.call(who, &call, |model, _| {
            if who != from {
                model.spends(from, who, amount)?;
            }
            model.pays(from, to, amount, order_id(order))
        })
    }

    fn pay_signed(&mut self, who: usize, from: usize, to: usize, order: u64) -> Result<(), String> {
        let signing = self.signing();
        let deadline = self.deadline(signing);
        let amount = self.amount(self.model.balances[from]);
        let call = self.signed_payment([from, to], amount, order, deadline, signing);
        let refusal = self.refusal(from, signing);
        self.call(who, &call, |model, time_s| {
            in_time(deadline, time_s)?;
            refusal?;
            model.pays(from, to, amount, order_id(order))
        })
    }

    fn signed_payment(
        &self,
        [from, to]: [usize; 2],
        amount: U256,
        order: u64,
        deadline: U256,
        signing: Signing,
    ) -> Token::processSignedPaymentCall {
        let orderId = order_id(order);
        let addresses = [from, to].map(|account| self.model.address(account));
        let hash = hash(
            "Payment(address from,address to,uint256 amount,bytes32 orderId,uint256 deadline)",
            &[
                addresses[0].into_word(),
                addresses[1].into_word(),
                amount.into(),
                orderId,
                deadline.into(),
            ],
        );
        let (v, r, s) = self.sign(from, hash, signing);
        Token::processSignedPaymentCall {
            from: addresses[0],
            to: addresses[1],
            amount,
            orderId,
            deadline,
            v,
            r: r.into(),
            s: s.into(),
        }
    }

    fn permit(&mut self, who: usize, owner: usize, spender: usize) -> Result<(), String> {
        let signing = self.signing();
        let deadline = self.deadline(signing);
        let value = self.amount(self.model.balances[owner]);
        let addresses = [owner, spender].map(|account| self.model.address(account));
        let nonce = U256::from(self.model.nonces[owner]);
        let hash = hash(
            "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)",
            &[
                addresses[0].into_word(),
                addresses[1].into_word(),
                value.into(),
                nonce.into(),
                deadline.into(),
            ],
        );
        let (v, r, s) = self.sign(owner, hash, signing);
        let call = Token::permitCall {
            owner: addresses[0],
            spender: addresses[1],
            value,
            deadline,
            v,
            r: r.into(),
            s: s.into(),
        };
        let refusal = self.refusal(owner, signing);
        self.call(who, &call, |model, time_s| {
            in_time(deadline, time_s)?;
            refusal?;
            model.nonces[owner] += 1;
            model.approves(owner, spender, value)
        })?;
        // A permit is good once.
        if self.model.nonces[owner] > nonce.to::<u64>() {
            let found = self.ground.send(who, self.token, &call);
            let wanted = match in_time(deadline, self.ground.time_s()) {
                Ok(()) => Token::WrongSignature::SELECTOR.into(),
                Err(late) => late,
            };
            agree::<Token::permitCall>(&found, &Err(wanted))?;
        }
        Ok(())
    }

    fn signing(&mut self) -> Signing {
        match self.ground.roll(16) {
            0 => Signing::Expired,
            1 => Signing::OtherSigner,
            2 => Signing::OtherContract,
            3 => Signing::OtherChain,
            4 => Signing::OtherName,
            5 => Signing::OtherVersion,
            6 => Signing::UpperHalf,
            7 => Signing::Altered,
            8 => Signing::InTheLastSecond,
            _ => Signing::Right,
        }
    }

    fn deadline(&self, signing: Signing) -> U256 {
        let time_s = self.ground.time_s();
        U256::from(match signing {
            Signing::Expired => time_s - 1,
            Signing::InTheLastSecond => time_s + BLOCK_TIME_S,
            _ => time_s + 1_000,
        })
    }

    fn sign(&self, who: usize, hash: B256, signing: Signing) -> (u8, U256, U256) {
        let (name, version, chain, contract) = (NAME, "1", CHAIN, self.token);
        let (signer, domain, hash) = match signing {
            Signing::OtherSigner => (
                (who + 1) % ACCOUNTS,
                domain(name, version, chain, contract),
                hash,
            ),
            Signing::OtherContract => {
                let other = self.ground.address(0).create(1_000);
                (who, domain(name, version, chain, other), hash)
            }
            Signing::OtherChain => (who, domain(name, version, 1, contract), hash),
            Signing::OtherName => (who, domain("Tea", version, chain, contract), hash),
            Signing::OtherVersion => (who, domain(name, "2", chain, contract), hash),
            Signing::Altered => (who, domain(name, version, chain, contract), keccak256(hash)),
            Signing::Right | Signing::InTheLastSecond | Signing::Expired | Signing::UpperHalf => {
                (who, domain(name, version, chain, contract), hash)
            }
        };
        let (v, r, s) = self.ground.sign(signer, domain, hash);
        match signing {
            // The same signature's other form (EIP-2).
            Signing::UpperHalf => (27 + (28 - v), r, GROUP_ORDER - s),
            _ => (v, r, s),
        }
    }

    /// How a signature for `who` is refused that is in time, if it is.
    fn refusal(&self, who: usize, signing: Signing) -> Result<(), Bytes> {
        let signer = match signing {
            Signing::Right | Signing::InTheLastSecond | Signing::Expired => return Ok(()),
            Signing::OtherSigner => self.model.address((who + 1) % ACCOUNTS),
            Signing::UpperHalf => Address::ZERO,
            // Who signs another digest with these numbers is nobody in particular.
            _ => return Err(Token::WrongSignature::SELECTOR.into()),
        };
        let expected = self.model.address(who);
        crate::ground::refused(&Token::WrongSignature { signer, expected })
    }

    /// Supply, balances and points.
    fn compare_accounts(&self) -> Result<(), String> {
        let (ground, model) = (&self.ground, &self.model);
        expect(
            "the supply",
            ground.ask(self.token, &Token::totalSupplyCall {}),
            model.supply(),
        )?;
        for who in 0..ACCOUNTS {
            let account = model.address(who);
            let balance = ground.ask(self.token, &Token::balanceOfCall { account });
            expect("a balance", balance, model.balances[who])?;
            let points = ground.ask(self.token, &Token::getLoyaltyPointsCall { account });
            expect("an account's points", points, model.points[who])?;
        }
        Ok(())
    }

    /// What accounts may do, and what they have paid.
    fn compare_all(&self) -> Result<(), String> {
        let (ground, model) = (&self.ground, &self.model);
        for who in 0..ACCOUNTS {
            let account = model.address(who);
            let is_minter = Token::hasRoleCall {
                role: minter_role(),
                _1: account,
            };
            if ground.ask(self.token, &is_minter) != model.minters.contains(&who) {
                return Err(format!("{who} may mint, or may not"));
            }
            let nonce = ground.ask(self.token, &Token::noncesCall { owner: account });
            expect("a nonce", nonce, U256::from(model.nonces[who]))?;
            for other in 0..ACCOUNTS {
                let to = model.address(other);
                let allowance = Token::allowanceCall {
                    owner: account,
                    spender: to,
                };
                let allowed = ground.ask(self.token, &allowance);
                expect("an allowance", allowed, model.allowed(who, other))?;
                for order in 0..ORDERS {
                    let is_paid = Token::isPaidCall {
                        from: account,
                        to,
                        orderId: order_id(order),
                    };
                    let wanted = model.paid.contains(&(who, other, order_id(order)));
                    if ground.ask(self.token, &is_paid) != wanted {
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

fn in_time(deadline: U256, time_s: u64) -> Result<(), Bytes> {
    let now_ = U256::from(time_s);
    if now_ > deadline {
        return crate::ground::refused(&Token::DeadlinePassed { deadline, now_ });
    }
    Ok(())
}

fn expect(what: &str, found: U256, wanted: U256) -> Result<(), String> {
    match found == wanted {
        true => Ok(()),
        false => Err(format!("{what} is {found}, not {wanted}")),
    }
}

/// What is signed for one contract is refused by its twin, of the same code, name, chain, payer and payee.
fn a_signature_is_good_for_one_contract(kind: NodeKind) {
    let mut ground = Ground::on(kind, 1);
    let cap = U256::from(1_000);
    let code = token_of(&ground, &Token::BYTECODE, cap, U256::ONE);
    let [token, twin] = [(); 2].map(|()| ground.deploy(0, code.clone()));
    for contract in [token, twin] {
        let separator = ground.ask(contract, &Token::DOMAIN_SEPARATORCall {});
        assert_eq!(separator, domain(NAME, "1", CHAIN, contract));
        let (role, account) = (minter_role(), ground.address(0));
        ground
            .must(0, contract, &Token::grantRoleCall { role, account })
            .unwrap();
        let (to, amount) = (ground.address(1), U256::from(100));
        ground
            .must(0, contract, &Token::mintCall { to, amount })
            .unwrap();
    }
    let mut model = Model::new(&ground, cap, U256::ONE);
    model.balances[1] = U256::from(100);
    let game = Game {
        ground: &mut ground,
        token,
        amounts: Amounts::Small,
        model,
    };
    let call = game.signed_payment([1, 2], U256::from(5), 1, U256::MAX, Signing::Right);
    let logs = game
        .model
        .clone()
        .pays(1, 2, U256::from(5), order_id(1))
        .unwrap();
    let found = game.ground.send(3, twin, &call);
    let refusal = Token::WrongSignature::SELECTOR.into();
    agree::<Token::processSignedPaymentCall>(&found, &Err(refusal)).unwrap();
    let found = game.ground.send(3, token, &call);
    let logs = logs.into_iter().map(|log| (token, log)).collect();
    assert_eq!(found, Ok(logs));
}

/// Points fill their half of the slot and do not run over it; what would is refused, and the payment with it.
fn points_stay_within_their_half(kind: NodeKind) {
    let mut ground = Ground::on(kind, 1);
    let all = U256::from(u128::MAX);
    let token = token_of(&ground, &Token::BYTECODE, all, U256::ONE);
    let token = ground.deploy(0, token);
    let [admin, payer, shop] = [0, 1, 2].map(|who| ground.address(who));
    let role = minter_role();
    let grant = Token::grantRoleCall {
        role,
        account: admin,
    };
    ground.must(0, token, &grant).unwrap();
    let mint = Token::mintCall {
        to: payer,
        amount: all,
    };
    ground.must(0, token, &mint).unwrap();
    let pay = |amount, order| Token::processPaymentCall {
        from: payer,
        to: shop,
        amount,
        orderId: order_id(order),
    };
    ground.must(1, token, &pay(all, 1)).unwrap();
    let back = Token::transferCall {
        to: payer,
        value: all,
    };
    ground.must(2, token, &back).unwrap();
    let points = Token::getLoyaltyPointsCall { account: payer };
    assert_eq!(ground.ask(token, &points), all);
    let found = ground.send(1, token, &pay(U256::ONE, 2));
    let refusal = crate::ground::refused(&Token::TooManyPoints { account: payer });
    assert_eq!(found, refusal);
    assert_eq!(ground.ask(token, &points), all);
    let balance = Token::balanceOfCall { account: payer };
    assert_eq!(ground.ask(token, &balance), all);

    // One point less, one unit more.
    let redeem = Token::redeemPointsCall {
        points: U256::ONE,
        reward: order_id(1),
    };
    let redeemed = Token::PointsRedeemed {
        account: payer,
        reward: order_id(1),
        points: U256::ONE,
    };
    assert_eq!(
        ground.send(1, token, &redeem),
        Ok(vec![event(token, &redeemed)])
    );
    ground.must(1, token, &pay(U256::ONE, 2)).unwrap();
    assert_eq!(ground.ask(token, &points), all);
}

/// A token that gives more points than 128 bits hold for one whole is not made; with the most it may give, every payment
/// ends with points or with words.
fn points_of_a_payment_never_overflow(kind: NodeKind) {
    let mut ground = Ground::on(kind, 1);
    let most = U256::from(u128::MAX);
    let [admin, payer, shop] = [0, 1, 2].map(|who| ground.address(who));
    let code = |points: U256| {
        let constructor = Token::constructorCall {
            name_: NAME.into(),
            symbol_: "CFE".into(),
            cap_: most,
            pointsPerToken_: points,
            admin,
        };
        creation(&Token::BYTECODE, &constructor)
    };
    let over = most + U256::ONE;
    let refusal = Token::PointsOutOfRange {
        pointsPerToken: over,
    };
    assert_eq!(
        ground.refusal(code(over)),
        Some(refusal.abi_encode().into())
    );
    assert_eq!(ground.refusal(code(most)), None);

    let token = ground.deploy(0, code(most));
    let (role, account) = (minter_role(), admin);
    let grant = Token::grantRoleCall { role, account };
    ground.must(0, token, &grant).unwrap();
    let (to, amount) = (payer, most);
    ground
        .must(0, token, &Token::mintCall { to, amount })
        .unwrap();
    let pay = |amount| Token::processPaymentCall {
        from: payer,
        to: shop,
        amount,
        orderId: order_id(1),
    };
    let refusal = crate::ground::refused(&Token::TooManyPoints { account: payer });
    for amount in [U256::from(1_u64 << 60), most] {
        assert_eq!(ground.send(1, token, &pay(amount)), refusal);
    }
    // A whole token earns what fits.
    ground.must(1, token, &pay(WHOLE)).unwrap();
    let points = Token::getLoyaltyPointsCall { account: payer };
    assert_eq!(ground.ask(token, &points), most);
}

/// As IAccessControl asks it.
fn one_role_is_the_admin_of_all(kind: NodeKind) {
    let mut ground = Ground::on(kind, 1);
    let code = token_of(&ground, &Token::BYTECODE, U256::ONE, U256::ONE);
    let token = ground.deploy(0, code);
    let admin = ground.ask(token, &Token::DEFAULT_ADMIN_ROLECall {});
    for role in [admin, minter_role(), B256::repeat_byte(7)] {
        let of = Token::getRoleAdminCall(role);
        assert_eq!(ground.ask(token, &of), admin);
    }
}
