//! The till: every order is paid in CoffeeToken through an outbox, which no crash and no reorganisation of the chain makes
//! pay twice or forget.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream;
use peaberry_chain::bindings::{CoffeeToken, SolCall as _, SolEvent, creation};
use peaberry_chain::outbox::{
    IdempotencyKey, OutboxConfig, OutboxHandle, Outcome, Stage, Stages, Submission,
};
use peaberry_chain::primitives::{B256, U256, keccak256};
use peaberry_chain::{ChainClient as _, EvmAddress, Finality, LogFilter, LogRange};
use peaberry_core::{DiskOptions, DiskStorage, Node, NodeThread, SystemClock};
use peaberry_examples::orders::Order;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::Failure;
use crate::prices::Prices;
use crate::town::{Town, call_of};

/// The shop's account, and the guests': numbers in the town.
const SHOP: usize = 0;
const GUESTS: std::ops::Range<usize> = 1..5;

/// Loyalty points for a whole token.
const POINTS: u64 = 10;

/// Orders that are paid at a time.
const AT_ONCE: usize = 64;

/// Logs are asked for in so many blocks at once.
const LOGS_BLOCKS: u64 = 500;

pub(crate) struct Till {
    pub(crate) town: Town,
    pub(crate) outbox: OutboxHandle,
    token: EvmAddress,
    minted: U256,
    /// End with it.
    _node: NodeThread,
    driver: JoinHandle<()>,
}

/// An order's payment, included; its life goes on.
pub(crate) struct Payment {
    order: u64,
    amount: U256,
    stages: Stages,
}

/// What is told of the payments.
#[derive(Default, Serialize)]
pub(crate) struct TillReport {
    paid_exactly_once: usize,
    tokens_paid: String,
    points_earned: u128,
    transactions_undone_by_reorg: u64,
    payments_seen_undone: u64,
    supply_conserved: bool,
}

impl Till {
    /// Deploys the token and gives every guest some; from then on the outbox pays.
    pub(crate) async fn open(
        folder: &Path,
        town: Town,
        clock: SystemClock,
    ) -> Result<Self, Failure> {
        let shop = town.account(SHOP)?;
        let whole = U256::from(10).pow(U256::from(18));
        let each = whole * U256::from(1_000_000_000_u64);
        let constructor = CoffeeToken::constructorCall {
            name_: "Coffee".into(),
            symbol_: "CFE".into(),
            cap_: each * U256::from(GUESTS.len()),
            pointsPerToken_: U256::from(POINTS),
            admin: shop,
        };
        let token = town
            .deploy(creation(&CoffeeToken::BYTECODE, &constructor))
            .await?;
        let grant = CoffeeToken::grantRoleCall {
            role: keccak256("MINTER_ROLE"),
            account: shop,
        };
        town.settle(&call_of(shop, token, grant.abi_encode()))
            .await?;
        for guest in GUESTS {
            let mint = CoffeeToken::mintCall {
                to: town.account(guest)?,
                amount: each,
            };
            town.settle(&call_of(shop, token, mint.abi_encode()))
                .await?;
        }

        let storage = DiskStorage::open(folder.join("till"), DiskOptions::owned_by("till"))?;
        let storage = Arc::new(storage);
        let mut node = Node::alone(storage.clone(), Arc::new(clock));
        let config = OutboxConfig::new().chain(town.client.chain_id(), town.rules);
        let (outbox, driver) = OutboxHandle::install(
            &mut node,
            0,
            config,
            storage.as_ref(),
            [town.client.clone() as _],
        )?;
        Ok(Self {
            minted: each * U256::from(GUESTS.len()),
            town,
            outbox,
            token,
            _node: node.spawn("till")?,
            driver: tokio::spawn(driver),
        })
    }

    /// Lets the chain go on by itself: half of `payments` on it has a reorganisation.
    pub(crate) fn begin(&mut self, payments: usize) -> Result<(), Failure> {
        self.town.go_on(self.token, payments)
    }

    /// Has all orders paid, many at a time, and passes each on once its payment is in a block.
    pub(crate) async fn take(
        &self,
        orders: Vec<Order>,
        prices: &Prices,
        paid: mpsc::Sender<Order>,
    ) -> Result<Vec<Payment>, Failure> {
        let mut payments = Vec::with_capacity(orders.len());
        let mut paying = stream::iter(orders)
            .map(|order| self.pay(order, prices))
            .buffer_unordered(AT_ONCE);
        while let Some(payment) = paying.next().await {
            let (order, payment) = payment?;
            payments.push(payment);
            // Nobody is left to brew: they say why.
            let _ = paid.send(order).await;
        }
        Ok(payments)
    }

    async fn pay(&self, order: Order, prices: &Prices) -> Result<(Order, Payment), Failure> {
        let amount = prices.tokens(order.price_cents).await?;
        let guests = u64::try_from(GUESTS.len())?;
        let guest = GUESTS.start + usize::try_from(order.number % guests)?;
        let from = self.town.account(guest)?;
        let call = CoffeeToken::processPaymentCall {
            from,
            to: self.town.account(SHOP)?,
            amount,
            orderId: order_id(order.number),
        };
        let submission = Submission::new(
            IdempotencyKey::new(format!("order-{}", order.number)).ok_or("a short key")?,
            self.town.client.chain_id(),
            call_of(from, self.token, call.abi_encode()),
        );
        let mut stages = self.outbox.submit(submission).await?;
        while let Some(stage) = stages.next().await {
            match stage {
                Stage::Included(inclusion) if inclusion.is_success => {
                    let number = order.number;
                    let payment = Payment {
                        order: number,
                        amount,
                        stages,
                    };
                    return Ok((order, payment));
                }
                Stage::Included(_) | Stage::Ended(_) => {
                    return Err(format!("order {} was not paid: {stage:?}", order.number).into());
                }
                _ => {}
            }
        }
        Err("the outbox has stopped".into())
    }

    /// Waits until every payment is final, and compares the chain with what was ordered.
    pub(crate) async fn close(
        self,
        payments: Vec<Payment>,
        violations: &mut Vec<String>,
    ) -> Result<TillReport, Failure> {
        let mut wanted = BTreeMap::new();
        let mut seen_undone = 0;
        for mut payment in payments {
            wanted.insert(order_id(payment.order), payment.amount);
            let (outcome, was_undone) = payment.end().await;
            seen_undone += u64::from(was_undone);
            match outcome {
                Some(Outcome::Final(inclusion)) if inclusion.is_success => {}
                outcome => violations.push(format!(
                    "the payment of order {} ended as {outcome:?}",
                    payment.order
                )),
            }
        }
        let (points, paid_once) = self.compare(&wanted, violations).await?;
        let supply_conserved = self
            .is_supply_conserved(points, &wanted, violations)
            .await?;
        let undone = self.town.undone();
        if self.town.reorganises() && undone == 0 {
            violations.push("the chain was to undo blocks and has not".to_owned());
        }
        let paid: U256 = wanted.values().copied().sum();
        let report = TillReport {
            paid_exactly_once: paid_once,
            tokens_paid: tokens(paid),
            points_earned: points,
            transactions_undone_by_reorg: undone,
            payments_seen_undone: seen_undone,
            supply_conserved,
        };
        self.driver.abort();
        Ok(report)
    }

    /// Every order has one payment on the chain, of the amount that was asked. Answers the points earned and how many
    /// orders were paid once.
    async fn compare(
        &self,
        wanted: &BTreeMap<B256, U256>,
        violations: &mut Vec<String>,
    ) -> Result<(u128, usize), Failure> {
        let head = self.town.client.head(Finality::Latest).await?.number;
        let filter = LogFilter::default()
            .address(self.token)
            .topic(0, CoffeeToken::PaymentProcessed::SIGNATURE_HASH);
        let mut found = BTreeMap::<B256, Vec<U256>>::new();
        let mut points = U256::ZERO;
        let mut from = 0;
        while from <= head {
            let to = head.min(from + LOGS_BLOCKS - 1);
            let range = LogRange::Numbers(from..=to);
            for log in self.town.client.logs(&filter, &range).await? {
                let topics = log.topics.iter().copied();
                let event = CoffeeToken::PaymentProcessed::decode_raw_log(topics, &log.data)?;
                found.entry(event.orderId).or_default().push(event.amount);
                points += event.points;
            }
            from = to + 1;
        }
        let mut once = 0;
        for (order, amount) in wanted {
            match found.remove(order).as_deref() {
                Some([paid]) if paid == amount => once += 1,
                paid => violations.push(format!("order {order} of {amount} was paid as {paid:?}")),
            }
        }
        for order in found.keys() {
            violations.push(format!("nobody ordered what was paid as {order}"));
        }
        Ok((points.try_into()?, once))
    }

    async fn is_supply_conserved(
        &self,
        points: u128,
        wanted: &BTreeMap<B256, U256>,
        violations: &mut Vec<String>,
    ) -> Result<bool, Failure> {
        let paid: U256 = wanted.values().copied().sum();
        let supply = self
            .town
            .ask(self.token, &CoffeeToken::totalSupplyCall {})
            .await?;
        let mut balances = U256::ZERO;
        let mut earned = U256::ZERO;
        for guest in GUESTS {
            let account = self.town.account(guest)?;
            balances += self.balance(account).await?;
            let call = CoffeeToken::getLoyaltyPointsCall { account };
            earned += self.town.ask(self.token, &call).await?;
        }
        let takings = self.balance(self.town.account(SHOP)?).await?;
        let is_conserved = supply == self.minted && balances + takings == supply;
        if !is_conserved {
            violations.push(format!(
                "{} were minted, {supply} are there, the accounts hold {}",
                self.minted,
                balances + takings
            ));
        }
        if takings != paid {
            violations.push(format!("the shop has {takings}, {paid} was paid"));
        }
        if earned != U256::from(points) {
            violations.push(format!(
                "the guests have {earned} points and earned {points}"
            ));
        }
        Ok(is_conserved)
    }

    async fn balance(&self, account: EvmAddress) -> Result<U256, Failure> {
        let call = CoffeeToken::balanceOfCall { account };
        self.town.ask(self.token, &call).await
    }
}

impl Payment {
    /// How it ended, and whether it had been undone before.
    async fn end(&mut self) -> (Option<Outcome>, bool) {
        let mut was_undone = false;
        while let Some(stage) = self.stages.next().await {
            match stage {
                Stage::Reorganised => was_undone = true,
                Stage::Ended(outcome) => return (Some(outcome), was_undone),
                _ => {}
            }
        }
        (None, was_undone)
    }
}

impl TillReport {
    pub(crate) fn rows(&self) -> [(&'static str, String); 4] {
        [
            ("paid exactly once", self.paid_exactly_once.to_string()),
            (
                "tokens paid, and points earned",
                format!("{}, {}", self.tokens_paid, self.points_earned),
            ),
            (
                "transactions undone by a reorganisation",
                self.transactions_undone_by_reorg.to_string(),
            ),
            (
                "supply conserved",
                if self.supply_conserved { "yes" } else { "NO" }.to_owned(),
            ),
        ]
    }
}

fn order_id(order: u64) -> B256 {
    U256::from(order).into()
}

/// Tokens with two places, cut.
fn tokens(amount: U256) -> String {
    let hundredths = amount / U256::from(10).pow(U256::from(16));
    let hundred = U256::from(100);
    format!(
        "{}.{:02}",
        hundredths / hundred,
        (hundredths % hundred).to::<u64>()
    )
}
