//! PaymentProcessor: invoices paid once, refunds within them, and never owing more than it holds.

use peaberry_chain::bindings::{CoffeeToken as Token, PaymentProcessor as Processor, creation};
use peaberry_chain::primitives::{Address, B256, Bytes, U256, keccak256};

use crate::ground::{ACCOUNTS, Ground};

const STEPS: u64 = 24;
const NUMBERS: usize = 2;
const FUNDS: u64 = 1_000;
// As the development chain has it; on a node that asks the system's clock less passes, and no invoice here is so close to
// its end that this would matter.
const BLOCK_TIME_S: u64 = 12;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Unknown,
    Open,
    Paid,
    Cancelled,
}

#[derive(Clone, Copy, Debug, Default)]
struct Invoice {
    state: State,
    amount: u64,
    refunded: u64,
    /// Who alone may pay, or who has paid; anyone if `None`.
    payer: Option<usize>,
    expires_at_s: u64,
}

#[derive(Default)]
struct Model {
    is_accepted: bool,
    invoices: [[Invoice; NUMBERS]; ACCOUNTS],
    owed: [u64; ACCOUNTS],
    balances: [u64; ACCOUNTS],
}

pub(crate) fn play(ground: &mut Ground, code: &Bytes) -> Result<(), String> {
    let admin = ground.address(0);
    let token = Token::constructorCall {
        name_: "Coffee".into(),
        symbol_: "CFE".into(),
        cap_: U256::from(u128::MAX),
        pointsPerToken_: U256::ZERO,
        admin,
    };
    let token = ground.deploy(0, creation(&Token::BYTECODE, &token));
    let contract = ground.deploy(0, creation(code, &Processor::constructorCall { admin }));
    let role = keccak256("MINTER_ROLE");
    ground.expect(
        0,
        token,
        &Token::grantRoleCall {
            role,
            account: admin,
        },
        true,
    )?;
    let accept = Processor::setAcceptedCall {
        token,
        accepted: true,
    };
    ground.expect(1, contract, &accept, false)?;
    ground.expect(0, contract, &accept, true)?;
    for who in 0..ACCOUNTS {
        let mint = Token::mintCall {
            to: ground.address(who),
            amount: U256::from(FUNDS),
        };
        ground.expect(0, token, &mint, true)?;
        ground.expect(
            who,
            token,
            &Token::approveCall {
                spender: contract,
                value: U256::MAX,
            },
            true,
        )?;
    }
    let mut model = Model {
        balances: [FUNDS; ACCOUNTS],
        is_accepted: true,
        ..Model::default()
    };
    for _ in 0..STEPS {
        step(ground, contract, token, &mut model)?;
    }
    compare(ground, contract, token, &model)
}

fn number_of(number: usize) -> B256 {
    B256::from(U256::from(number + 1))
}

fn step(
    ground: &mut Ground,
    contract: Address,
    token: Address,
    model: &mut Model,
) -> Result<(), String> {
    let [who, merchant] = [(); 2].map(|()| ground.account());
    let (place, amount) = (
        usize::try_from(ground.roll(NUMBERS as u64)).unwrap(),
        ground.roll(60),
    );
    let (number, value) = (number_of(place), U256::from(amount));
    let own = model.invoices[who][place];
    // The time of the block that will hold this step's call.
    let time_s = ground.time_s() + BLOCK_TIME_S;
    match ground.roll(8) {
        0 | 1 => {
            // Now and then for one payer alone, for ten blocks alone, or for no time at all.
            let payer = (ground.roll(4) == 0).then(|| ground.account());
            let expires_at_s = match ground.roll(16) {
                0 => time_s - 2 * BLOCK_TIME_S,
                1 | 2 => time_s + 10 * BLOCK_TIME_S,
                _ => u64::MAX,
            };
            let is_allowed = own.state == State::Unknown
                && amount > 0
                && model.is_accepted
                && time_s <= expires_at_s;
            if is_allowed {
                model.invoices[who][place] = Invoice {
                    state: State::Open,
                    amount,
                    payer,
                    expires_at_s,
                    ..Invoice::default()
                };
            }
            let call = Processor::createInvoiceCall {
                number,
                token,
                amount: value,
                expiresAt: expires_at_s,
                payer: payer.map_or(Address::ZERO, |payer| ground.address(payer)),
            };
            ground.expect(who, contract, &call, is_allowed)
        }
        2 if ground.roll(4) == 0 => {
            let is_allowed = own.state == State::Open;
            if is_allowed {
                model.invoices[who][place].state = State::Cancelled;
            }
            ground.expect(
                who,
                contract,
                &Processor::cancelInvoiceCall { number },
                is_allowed,
            )
        }
        2 | 3 => {
            let invoice = &mut model.invoices[merchant][place];
            // The payer names another amount now and then.
            let named = invoice.amount + u64::from(ground.roll(5) == 0);
            let is_allowed = invoice.state == State::Open
                && named == invoice.amount
                && model.is_accepted
                && time_s <= invoice.expires_at_s
                && invoice.payer.is_none_or(|payer| payer == who)
                && model.balances[who] >= named;
            if is_allowed {
                (invoice.state, invoice.payer) = (State::Paid, Some(who));
                model.owed[merchant] += named;
                model.balances[who] -= named;
            }
            let call = Processor::payCall {
                merchant: ground.address(merchant),
                number,
                token,
                amount: U256::from(named),
            };
            ground.expect(who, contract, &call, is_allowed)
        }
        4 => {
            // All of it, half of the time: a second time it is too much.
            let amount = [amount, own.amount][usize::try_from(ground.roll(2)).unwrap()];
            let value = U256::from(amount);
            let is_allowed = own.state == State::Paid
                && amount > 0
                && own.refunded + amount <= own.amount
                && model.owed[who] >= amount;
            if is_allowed {
                model.invoices[who][place].refunded += amount;
                model.owed[who] -= amount;
                model.balances[own.payer.expect("it was paid")] += amount;
            }
            ground.expect(
                who,
                contract,
                &Processor::refundCall {
                    number,
                    amount: value,
                },
                is_allowed,
            )
        }
        5 => {
            let is_allowed = amount > 0 && model.is_accepted && model.balances[who] >= amount;
            if is_allowed {
                model.balances[who] -= amount;
                model.owed[who] += amount;
            }
            ground.expect(
                who,
                contract,
                &Processor::depositCall {
                    token,
                    amount: value,
                },
                is_allowed,
            )
        }
        6 if ground.roll(3) == 0 => {
            // Only the admin says which tokens are accepted; mostly this one is.
            let accepted = !model.is_accepted || ground.roll(4) > 0;
            let is_allowed = who == 0;
            if is_allowed {
                model.is_accepted = accepted;
            }
            let call = Processor::setAcceptedCall { token, accepted };
            ground.expect(who, contract, &call, is_allowed)
        }
        _ => {
            let is_allowed = amount > 0 && model.owed[who] >= amount;
            if is_allowed {
                model.owed[who] -= amount;
                model.balances[merchant] += amount;
            }
            let call = Processor::withdrawCall {
                token,
                to: ground.address(merchant),
                amount: value,
            };
            ground.expect(who, contract, &call, is_allowed)
        }
    }
}

fn compare(
    ground: &Ground,
    contract: Address,
    token: Address,
    model: &Model,
) -> Result<(), String> {
    let held = ground.ask(token, &Token::balanceOfCall { account: contract });
    if held != U256::from(model.owed.iter().sum::<u64>()) {
        return Err(format!("it holds {held} and owes {:?}", model.owed));
    }
    for who in 0..ACCOUNTS {
        let account = ground.address(who);
        let balance = ground.ask(token, &Token::balanceOfCall { account });
        let owed = ground.ask(
            contract,
            &Processor::owedCall {
                merchant: account,
                token,
            },
        );
        if (balance, owed) != (U256::from(model.balances[who]), U256::from(model.owed[who])) {
            return Err(format!("{who} has {balance} and is owed {owed}"));
        }
    }
    Ok(())
}
