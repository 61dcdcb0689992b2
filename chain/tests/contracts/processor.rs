//! PaymentProcessor: invoices paid once, refunds within them, and never owing more than it holds, in a token that is what
//! it should be and in one that is not.

mod model;

use model::{Invoice, Model, NUMBERS, TOKENS};
use peaberry_chain::bindings::{
    CoffeeToken as Token, PaymentProcessor as Processor, SolCall, SolError, creation,
};
use peaberry_chain::primitives::{Address, B256, Bytes, U256, keccak256};

use crate::ground::{ACCOUNTS, BLOCK_TIME_S, Ground, Outcome, agree, event, refused};
use crate::hostile::{self, MANNERS, Manner};
use crate::node::{NodeKind, on_both};

on_both! {
    tokens_of_every_manner_are_taken_or_refused
    nothing_is_paid_out_to_nobody
    a_token_without_code_is_only_given_up
}

const STEPS: u64 = 24;
const FUNDS: u64 = 1_000;
// The tokens' places.
const HOSTILE: usize = 1;

struct Game<'a> {
    ground: &'a mut Ground,
    contract: Address,
    model: Model,
}

pub(crate) fn play(ground: &mut Ground, code: &Bytes) -> Result<(), String> {
    let mut game = Game::begin(ground, code)?;
    for _ in 0..STEPS {
        game.step()?;
    }
    game.compare_invoices()
}

fn number_of(number: usize) -> B256 {
    B256::from(U256::from(number))
}

impl<'a> Game<'a> {
    /// Two tokens, both accepted, and funds of both for everybody.
    fn begin(ground: &'a mut Ground, code: &Bytes) -> Result<Self, String> {
        let admin = ground.address(0);
        let token = Token::constructorCall {
            name_: "Coffee".into(),
            symbol_: "CFE".into(),
            cap_: U256::from(u128::MAX),
            pointsPerToken_: U256::ZERO,
            admin,
        };
        let coffee = ground.deploy(0, creation(&Token::BYTECODE, &token));
        let hostile = ground.deploy(0, hostile::bytecode());
        let contract = ground.deploy(0, creation(code, &Processor::constructorCall { admin }));
        let grant = Token::grantRoleCall {
            role: keccak256("MINTER_ROLE"),
            account: admin,
        };
        ground.must(0, coffee, &grant)?;
        let amount = U256::from(FUNDS);
        for who in 0..ACCOUNTS {
            let to = ground.address(who);
            ground.must(0, coffee, &Token::mintCall { to, amount })?;
            ground.must(0, hostile, &hostile::mintCall { to, amount })?;
            let (spender, value) = (contract, U256::MAX);
            ground.must(who, coffee, &Token::approveCall { spender, value })?;
        }
        // What it calls back with is its own.
        let own = hostile::mintCall {
            to: hostile,
            amount,
        };
        ground.must(0, hostile, &own)?;
        let model = Model::new(ground, contract, [coffee, hostile], FUNDS);
        let mut game = Self {
            ground,
            contract,
            model,
        };
        game.accept(1, 0, true)?;
        for token in 0..TOKENS {
            game.accept(0, token, true)?;
        }
        Ok(game)
    }

    fn step(&mut self) -> Result<(), String> {
        let ground = &mut *self.ground;
        let [who, other] = [(); 2].map(|()| ground.account());
        let (place, token) = (ground.dice.place(NUMBERS), ground.dice.place(TOKENS));
        let amount = ground.roll(60);
        match ground.roll(9) {
            0 | 1 => self.create(who, place, token, amount),
            2 if self.ground.roll(4) == 0 => {
                let number = number_of(place);
                let call = Processor::cancelInvoiceCall { number };
                self.call(who, &call, |model, _| model.cancels(who, place))
            }
            2 | 3 => self.pay(who, other, place),
            4 => {
                // All of it, half of the time: a second time it is too much.
                let whole = self.model.invoices[who][place].amount;
                let amount = [amount, whole][self.ground.dice.place(2)];
                let call = Processor::refundCall {
                    number: number_of(place),
                    amount: U256::from(amount),
                };
                self.call(who, &call, |model, _| model.refunds(who, place, amount))
            }
            5 => {
                let call = Processor::depositCall {
                    token: self.model.tokens[token],
                    amount: U256::from(amount),
                };
                self.call(who, &call, |model, _| model.deposits(who, token, amount))
            }
            // Only the admin says which tokens are accepted; mostly they are.
            6 if self.ground.roll(3) == 0 => {
                let accepted = !self.model.accepted[token] || self.ground.roll(4) > 0;
                self.accept(who, token, accepted)
            }
            7 => {
                let manner = MANNERS[self.ground.dice.place(MANNERS.len())];
                self.behave(manner, who)
            }
            _ => {
                let call = Processor::withdrawCall {
                    token: self.model.tokens[token],
                    to: self.model.addresses[other],
                    amount: U256::from(amount),
                };
                self.call(who, &call, |model, _| {
                    model.withdraws(who, other, token, amount)
                })
            }
        }
    }

    fn create(
        &mut self,
        who: usize,
        place: usize,
        token: usize,
        amount: u64,
    ) -> Result<(), String> {
        // Now and then for one payer alone, for ten blocks alone, or for no time at all.
        let ground = &mut *self.ground;
        let payer = (ground.roll(4) == 0).then(|| ground.account());
        let time_s = ground.time_s();
        let expires_at_s = match ground.roll(16) {
            0 => time_s - BLOCK_TIME_S,
            // The time of the block that it is made in.
            3 => time_s + BLOCK_TIME_S,
            1 | 2 => time_s + 10 * BLOCK_TIME_S,
            _ => u64::MAX,
        };
        self.open(
            who,
            place,
            Invoice::open(token, amount, payer, expires_at_s),
        )
    }

    fn open(&mut self, who: usize, place: usize, invoice: Invoice) -> Result<(), String> {
        let payer = invoice.payer.map(|payer| self.model.addresses[payer]);
        let call = Processor::createInvoiceCall {
            number: number_of(place),
            token: self.model.tokens[invoice.token],
            amount: U256::from(invoice.amount),
            expiresAt: invoice.expires_at_s,
            payer: payer.unwrap_or_default(),
        };
        self.call(who, &call, |model, time_s| {
            model.creates(who, place, invoice, time_s)
        })
    }

    fn pay(&mut self, who: usize, merchant: usize, place: usize) -> Result<(), String> {
        let invoice = self.model.invoices[merchant][place];
        // The payer names another amount or token now and then.
        let named = invoice.amount + u64::from(self.ground.roll(5) == 0);
        let token = match self.ground.roll(8) {
            0 => TOKENS - 1 - invoice.token,
            _ => invoice.token,
        };
        let call = Processor::payCall {
            merchant: self.model.addresses[merchant],
            number: number_of(place),
            token: self.model.tokens[token],
            amount: U256::from(named),
        };
        self.call(who, &call, |model, time_s| {
            model.pays(who, [merchant, place], token, named, time_s)
        })
    }

    fn accept(&mut self, who: usize, token: usize, accepted: bool) -> Result<(), String> {
        let call = Processor::setAcceptedCall {
            token: self.model.tokens[token],
            accepted,
        };
        self.call(who, &call, |model, _| model.accepts(who, token, accepted))
    }

    /// The hostile token behaves so from now on; what it calls back would succeed, if anything could be called then.
    fn behave(&mut self, manner: Manner, who: usize) -> Result<(), String> {
        let (hostile, amount) = (self.model.tokens[HOSTILE], U256::ONE);
        let with = match self.ground.roll(3) {
            0 => Processor::depositCall {
                token: hostile,
                amount,
            }
            .abi_encode(),
            1 => Processor::withdrawCall {
                token: hostile,
                to: self.model.addresses[who],
                amount,
            }
            .abi_encode(),
            _ => Processor::payCall {
                merchant: self.model.addresses[who],
                number: number_of(1),
                token: hostile,
                amount: U256::from(self.model.invoices[who][1].amount),
            }
            .abi_encode(),
        };
        let (calls, with) = (self.contract, with.into());
        self.ground
            .must(who, hostile, &hostile::callBackCall { calls, with })?;
        let number = u8::try_from(MANNERS.iter().position(|one| *one == manner).unwrap()).unwrap();
        self.ground
            .must(who, hostile, &hostile::behaveCall { manner: number })?;
        self.model.manner = manner;
        Ok(())
    }

    fn call<C: SolCall>(
        &mut self,
        who: usize,
        call: &C,
        model: impl FnOnce(&mut Model, u64) -> Outcome,
    ) -> Result<(), String> {
        let found = self.ground.send(who, self.contract, call);
        let mut next = self.model.clone();
        let wanted = model(&mut next, self.ground.time_s());
        if wanted.is_ok() {
            self.model = next;
        }
        let manner = self.model.manner;
        agree::<C>(&found, &wanted).map_err(|why| format!("{why} (the token: {manner:?})"))?;
        self.compare()
    }

    /// Of each token what everybody has, what waits for whom, and that no more waits than is there.
    fn compare(&self) -> Result<(), String> {
        let (ground, model) = (&self.ground, &self.model);
        for (place, &token) in model.tokens.iter().enumerate() {
            let of = |account| ground.ask(token, &Token::balanceOfCall { account });
            let (held, owes) = (of(self.contract), model.owes(place));
            if held != U256::from(model.held[place]) || held < U256::from(owes) {
                return Err(format!("it holds {held} of token {place} and owes {owes}"));
            }
            for (who, &merchant) in model.addresses.iter().enumerate() {
                let owed = ground.ask(self.contract, &Processor::owedCall { merchant, token });
                let (balance, wanted) = (of(merchant), model.balances[who][place]);
                if balance != U256::from(wanted) || owed != U256::from(model.owed[who][place]) {
                    return Err(format!(
                        "{who} has {balance} of token {place}, not {wanted}, and is owed {owed}"
                    ));
                }
            }
        }
        let hostile = model.tokens[HOSTILE];
        if ground.ask(hostile, &hostile::wentThroughCall {}) {
            return Err("it was entered while a call was under way".into());
        }
        let refusal = ground.ask(hostile, &hostile::refusalCall {});
        match refusal == [0; 4] || refusal == Processor::Reentered::SELECTOR {
            true => Ok(()),
            false => Err(format!("a call back was refused with {refusal}")),
        }
    }

    fn compare_invoices(&self) -> Result<(), String> {
        for (who, &merchant) in self.model.addresses.iter().enumerate() {
            for (place, invoice) in self.model.invoices[who].iter().enumerate() {
                let number = number_of(place);
                let call = Processor::invoiceCall { merchant, number };
                let found = self.ground.ask(self.contract, &call);
                let payer = invoice.payer.map(|payer| self.model.addresses[payer]);
                let found = (found.state, found.payer, found.amount, found.refunded);
                let wanted = (
                    invoice.state,
                    payer.unwrap_or_default(),
                    U256::from(invoice.amount),
                    U256::from(invoice.refunded),
                );
                if found != wanted {
                    return Err(format!(
                        "invoice {place} of {who} is {found:?}, not {wanted:?}"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Of every manner what becomes of a payment, and of what is paid out.
fn tokens_of_every_manner_are_taken_or_refused(kind: NodeKind) {
    for (manner, is_taken, is_given) in [
        (Manner::Plain, true, true),
        (Manner::AnswersNothing, true, true),
        (Manner::AnswersShort, false, false),
        (Manner::AnswersNo, false, false),
        (Manner::AnswersTwo, false, false),
        (Manner::KeepsPart, false, true),
        (Manner::MovesNothing, false, true),
        (Manner::Reverts, false, false),
        (Manner::CallsBack, true, true),
        (Manner::TakesMore, true, false),
    ] {
        let mut ground = Ground::on(kind, 1);
        let mut game = Game::begin(&mut ground, &Processor::BYTECODE).unwrap();
        let invoice = Invoice::open(HOSTILE, 50, None, u64::MAX);
        game.open(1, 1, invoice).unwrap();
        let call = Processor::depositCall {
            token: game.model.tokens[HOSTILE],
            amount: U256::from(9),
        };
        game.call(1, &call, |model, _| model.deposits(1, HOSTILE, 9))
            .unwrap();
        game.behave(manner, 1).unwrap();
        let payment = Processor::payCall {
            merchant: game.model.addresses[1],
            number: number_of(1),
            token: game.model.tokens[HOSTILE],
            amount: U256::from(50),
        };
        game.call(2, &payment, |model, time_s| {
            model.pays(2, [1, 1], HOSTILE, 50, time_s)
        })
        .unwrap();
        assert_eq!(
            game.model.invoices[1][1].state == model::PAID,
            is_taken,
            "{manner:?}"
        );
        let withdrawal = Processor::withdrawCall {
            token: game.model.tokens[HOSTILE],
            to: game.model.addresses[3],
            amount: U256::from(9),
        };
        let before = game.model.owed[1][HOSTILE];
        game.call(1, &withdrawal, |model, _| model.withdraws(1, 3, HOSTILE, 9))
            .unwrap();
        assert_eq!(
            before - game.model.owed[1][HOSTILE] == 9,
            is_given,
            "{manner:?}"
        );
    }
}

/// What waits for a merchant does not get lost at the zero address, nor in the contract itself, where it would wait for
/// nobody.
fn nothing_is_paid_out_to_nobody(kind: NodeKind) {
    let mut ground = Ground::on(kind, 1);
    let mut game = Game::begin(&mut ground, &Processor::BYTECODE).unwrap();
    let (token, amount) = (game.model.tokens[HOSTILE], U256::from(9));
    let deposit = Processor::depositCall { token, amount };
    let deposited = |model: &mut Model, _| model.deposits(1, HOSTILE, 9);
    game.call(1, &deposit, deposited).unwrap();
    let zero = refused(&Processor::ZeroAddress {});
    let itself = refused(&Processor::WithdrawnToItself {});
    for (to, refusal) in [(Address::ZERO, zero), (game.contract, itself)] {
        let withdrawal = Processor::withdrawCall { token, to, amount };
        game.call(1, &withdrawal, |_, _| refusal).unwrap();
    }
}

/// An account without code is no token; one that was accepted and has lost its code can still be given up.
fn a_token_without_code_is_only_given_up(kind: NodeKind) {
    let mut ground = Ground::on(kind, 1);
    let game = Game::begin(&mut ground, &Processor::BYTECODE).unwrap();
    let (contract, token) = (game.contract, Address::repeat_byte(7));
    let accept = |accepted| Processor::setAcceptedCall { token, accepted };
    let found = game.ground.send(0, contract, &accept(true));
    assert_eq!(found, refused(&Processor::TokenNotAccepted { token }));
    let given_up = Processor::TokenAccepted {
        token,
        accepted: false,
    };
    let found = game.ground.send(0, contract, &accept(false));
    assert_eq!(found, Ok(vec![event(contract, &given_up)]));
}
