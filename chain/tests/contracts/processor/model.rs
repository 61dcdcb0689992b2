//! What the contract should hold, do and say.

use peaberry_chain::bindings::{CoffeeToken as Token, PaymentProcessor as Processor};
use peaberry_chain::primitives::{Address, B256, Bytes, U256};

use crate::ground::{ACCOUNTS, Ground, Outcome, event, refused};
use crate::hostile::Manner;

/// The first is none: no invoice has the number zero.
pub(super) const NUMBERS: usize = 3;
pub(super) const TOKENS: usize = 2;
const COFFEE: usize = 0;

// As the contract numbers them.
const UNKNOWN: u8 = 0;
const OPEN: u8 = 1;
pub(super) const PAID: u8 = 2;
const CANCELLED: u8 = 3;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Invoice {
    pub(super) state: u8,
    pub(super) token: usize,
    pub(super) amount: u64,
    pub(super) refunded: u64,
    /// Who alone may pay, or who has paid; anyone if `None`.
    pub(super) payer: Option<usize>,
    pub(super) expires_at_s: u64,
}

impl Invoice {
    pub(super) const fn open(
        token: usize,
        amount: u64,
        payer: Option<usize>,
        expires_at_s: u64,
    ) -> Self {
        Self {
            state: OPEN,
            token,
            amount,
            refunded: 0,
            payer,
            expires_at_s,
        }
    }
}

#[derive(Clone)]
pub(super) struct Model {
    contract: Address,
    pub(super) addresses: [Address; ACCOUNTS],
    pub(super) tokens: [Address; TOKENS],
    /// That of the hostile one.
    pub(super) manner: Manner,
    pub(super) accepted: [bool; TOKENS],
    pub(super) invoices: [[Invoice; NUMBERS]; ACCOUNTS],
    pub(super) owed: [[u64; TOKENS]; ACCOUNTS],
    pub(super) balances: [[u64; TOKENS]; ACCOUNTS],
    /// What the contract has of each token.
    pub(super) held: [u64; TOKENS],
}

fn number_of(number: usize) -> B256 {
    super::number_of(number)
}

impl Model {
    pub(super) fn new(
        ground: &Ground,
        contract: Address,
        tokens: [Address; TOKENS],
        funds: u64,
    ) -> Self {
        Self {
            contract,
            addresses: std::array::from_fn(|who| ground.address(who)),
            tokens,
            manner: Manner::Plain,
            accepted: [false; TOKENS],
            invoices: Default::default(),
            owed: Default::default(),
            balances: [[funds; TOKENS]; ACCOUNTS],
            held: [0; TOKENS],
        }
    }

    pub(super) fn owes(&self, token: usize) -> u64 {
        self.owed.iter().map(|owed| owed[token]).sum()
    }

    pub(super) fn accepts(&mut self, who: usize, token: usize, accepted: bool) -> Outcome {
        if who != 0 {
            let (account, role) = (self.addresses[who], B256::ZERO);
            return refused(&Processor::MissingRole { account, role });
        }
        self.accepted[token] = accepted;
        let token = self.tokens[token];
        self.logged(Vec::new(), &Processor::TokenAccepted { token, accepted })
    }

    pub(super) fn creates(
        &mut self,
        who: usize,
        place: usize,
        invoice: Invoice,
        time_s: u64,
    ) -> Outcome {
        let (merchant, number) = (self.addresses[who], number_of(place));
        if number == B256::ZERO {
            return refused(&Processor::ZeroId {});
        }
        if self.invoices[who][place].state != UNKNOWN {
            return refused(&Processor::InvoiceExists { merchant, number });
        }
        self.expect_accepted(invoice.token)?;
        if invoice.amount == 0 {
            return refused(&Processor::ZeroAmount {});
        }
        let expiresAt = invoice.expires_at_s;
        if time_s > expiresAt {
            return refused(&Processor::Expired {
                merchant,
                number,
                expiresAt,
            });
        }
        self.invoices[who][place] = invoice;
        let created = Processor::InvoiceCreated {
            merchant,
            number,
            token: self.tokens[invoice.token],
            amount: U256::from(invoice.amount),
            expiresAt,
        };
        self.logged(Vec::new(), &created)
    }

    pub(super) fn cancels(&mut self, who: usize, place: usize) -> Outcome {
        self.expect_state(who, place, OPEN)?;
        self.invoices[who][place].state = CANCELLED;
        let (merchant, number) = (self.addresses[who], number_of(place));
        self.logged(
            Vec::new(),
            &Processor::InvoiceCancelled { merchant, number },
        )
    }

    pub(super) fn pays(
        &mut self,
        who: usize,
        [merchant, place]: [usize; 2],
        token: usize,
        amount: u64,
        time_s: u64,
    ) -> Outcome {
        self.expect_state(merchant, place, OPEN)?;
        let invoice = self.invoices[merchant][place];
        if invoice.token != token {
            let token = self.tokens[token];
            return refused(&Processor::TokenNotAccepted { token });
        }
        self.expect_accepted(token)?;
        if amount != invoice.amount {
            return refused(&Processor::OtherAmount {
                asked: U256::from(invoice.amount),
                offered: U256::from(amount),
            });
        }
        if time_s > invoice.expires_at_s {
            return refused(&Processor::Expired {
                merchant: self.addresses[merchant],
                number: number_of(place),
                expiresAt: invoice.expires_at_s,
            });
        }
        if let Some(payer) = invoice.payer.filter(|payer| *payer != who) {
            let payer = self.addresses[payer];
            return refused(&Processor::NotThePayer { payer });
        }
        self.invoices[merchant][place] = Invoice {
            state: PAID,
            payer: Some(who),
            ..invoice
        };
        self.owed[merchant][token] += amount;
        let logs = self.pull(who, token, amount)?;
        let paid = Processor::InvoicePaid {
            merchant: self.addresses[merchant],
            number: number_of(place),
            payer: self.addresses[who],
            amount: U256::from(amount),
        };
        self.logged(logs, &paid)
    }

    pub(super) fn refunds(&mut self, who: usize, place: usize, amount: u64) -> Outcome {
        self.expect_state(who, place, PAID)?;
        if amount == 0 {
            return refused(&Processor::ZeroAmount {});
        }
        let invoice = self.invoices[who][place];
        let available = invoice.amount - invoice.refunded;
        if amount > available {
            return refused(&Processor::RefundTooHigh {
                available: U256::from(available),
                wanted: U256::from(amount),
            });
        }
        self.invoices[who][place].refunded += amount;
        self.take(who, invoice.token, amount)?;
        let payer = invoice.payer.expect("it was paid");
        let logs = self.push(payer, invoice.token, amount)?;
        let refunded = Processor::InvoiceRefunded {
            merchant: self.addresses[who],
            number: number_of(place),
            payer: self.addresses[payer],
            amount: U256::from(amount),
        };
        self.logged(logs, &refunded)
    }

    pub(super) fn deposits(&mut self, who: usize, token: usize, amount: u64) -> Outcome {
        self.expect_accepted(token)?;
        if amount == 0 {
            return refused(&Processor::ZeroAmount {});
        }
        self.owed[who][token] += amount;
        let logs = self.pull(who, token, amount)?;
        let deposited = Processor::Deposited {
            merchant: self.addresses[who],
            token: self.tokens[token],
            amount: U256::from(amount),
        };
        self.logged(logs, &deposited)
    }

    pub(super) fn withdraws(
        &mut self,
        who: usize,
        to: usize,
        token: usize,
        amount: u64,
    ) -> Outcome {
        if amount == 0 {
            return refused(&Processor::ZeroAmount {});
        }
        self.take(who, token, amount)?;
        let logs = self.push(to, token, amount)?;
        let withdrawn = Processor::Withdrawn {
            merchant: self.addresses[who],
            token: self.tokens[token],
            to: self.addresses[to],
            amount: U256::from(amount),
        };
        self.logged(logs, &withdrawn)
    }

    fn logged(
        &self,
        mut logs: Vec<(Address, peaberry_chain::primitives::LogData)>,
        last: &impl peaberry_chain::bindings::SolEvent,
    ) -> Outcome {
        logs.push(event(self.contract, last));
        Ok(logs)
    }

    fn expect_accepted(&self, token: usize) -> Result<(), Bytes> {
        let named = self.tokens[token];
        match self.accepted[token] {
            true => Ok(()),
            false => refused(&Processor::TokenNotAccepted { token: named }),
        }
    }

    fn expect_state(&self, who: usize, place: usize, state: u8) -> Result<(), Bytes> {
        let found = self.invoices[who][place].state;
        if found == state {
            return Ok(());
        }
        refused(&Processor::WrongState {
            merchant: self.addresses[who],
            number: number_of(place),
            state: found,
        })
    }

    fn take(&mut self, who: usize, token: usize, amount: u64) -> Result<(), Bytes> {
        let available = self.owed[who][token];
        if amount > available {
            return refused(&Processor::NotEnoughOwed {
                available: U256::from(available),
                wanted: U256::from(amount),
            });
        }
        self.owed[who][token] = available - amount;
        Ok(())
    }

    /// The contract takes what somebody has; of what arrives, nothing may be missing.
    fn pull(&mut self, from: usize, token: usize, amount: u64) -> Outcome {
        let arrives = self.arrives(token, self.balances[from][token], amount)?;
        if arrives != amount {
            return refused(&Processor::TokenKeptPart {
                token: self.tokens[token],
                received: U256::from(arrives),
                expected: U256::from(amount),
            });
        }
        self.balances[from][token] -= amount + self.on_top(token);
        self.held[token] += amount;
        Ok(self.transferred(token, [self.addresses[from], self.contract], amount))
    }

    /// The contract gives, and no more than that may go; whatever else the token makes of it is between the token and those
    /// who accept it.
    fn push(&mut self, to: usize, token: usize, amount: u64) -> Outcome {
        let arrives = self.arrives(token, self.held[token], amount)?;
        if self.on_top(token) > 0 {
            return refused(&Processor::TokenTookMore {
                token: self.tokens[token],
                taken: U256::from(amount + self.on_top(token)),
                expected: U256::from(amount),
            });
        }
        if arrives > 0 || self.manner == Manner::KeepsPart {
            self.held[token] -= amount;
        }
        self.balances[to][token] += arrives;
        Ok(self.transferred(token, [self.contract, self.addresses[to]], amount))
    }

    /// What arrives of `amount`, out of what there is.
    fn arrives(&self, token: usize, has: u64, amount: u64) -> Result<u64, Bytes> {
        match self.manner_of(token) {
            Manner::MovesNothing => Ok(0),
            Manner::KeepsPart if has >= amount => Ok(amount - 1),
            Manner::Plain | Manner::AnswersNothing | Manner::CallsBack if has >= amount => {
                Ok(amount)
            }
            Manner::TakesMore if has > amount => Ok(amount),
            _ => refused(&Processor::TokenFailed {
                token: self.tokens[token],
            }),
        }
    }

    /// What the token takes beside what it moves.
    fn on_top(&self, token: usize) -> u64 {
        u64::from(self.manner_of(token) == Manner::TakesMore)
    }

    fn manner_of(&self, token: usize) -> Manner {
        match token {
            COFFEE => Manner::Plain,
            _ => self.manner,
        }
    }

    /// The hostile token logs nothing.
    fn transferred(
        &self,
        token: usize,
        [from, to]: [Address; 2],
        amount: u64,
    ) -> Vec<(Address, peaberry_chain::primitives::LogData)> {
        let value = U256::from(amount);
        match token {
            COFFEE => vec![event(
                self.tokens[token],
                &Token::Transfer { from, to, value },
            )],
            _ => Vec::new(),
        }
    }
}
