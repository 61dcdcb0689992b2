//! A coffee machine: a device that brews one order at a time, for whoever shows the newest fencing token.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use peaberry_edge::coffee::{self, CoffeeMetric};
use peaberry_edge::device::{Device, DeviceBuilder, Metric};
use peaberry_edge::fleet::FleetHandle;
use peaberry_edge::order::{OrderCommand, OrderEvent, StepRun};
use peaberry_edge::payload::{OrderPhase, OrderUpdate};
use peaberry_edge::{DeviceId, Name};
use peaberry_examples::orders::Order;
use peaberry_lockd::LockPath;
use peaberry_lockd::fence::{Gate, Stale, Token};
use tokio::sync::oneshot;

use std::time::Duration;

use crate::Failure;

/// Somebody fills the tank, the hopper and the jug when so many cups came out.
const CUPS_PER_REFILL: u32 = 8;

/// How much of each resource there is then: grams and millilitres.
const FULL: [(&str, u64); 3] = [("beans", 1_000), ("milk", 2_000), ("water", 4_000)];

/// How often a machine reads each of its sensors, and how long readings wait to be told together.
const READING_PERIOD: Duration = Duration::from_millis(50);
const BATCH: Duration = Duration::from_millis(200);

pub(crate) struct CoffeeMachine {
    /// The lock that guards it.
    pub(crate) path: LockPath,
    pub(crate) id: DeviceId,
    /// What its sensors see.
    pub(crate) works: coffee::CoffeeMachine,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    gate: Gate,
    stale_refused: u64,
    /// The token with which each order came first.
    placed: BTreeMap<u64, Token>,
    /// The last step of an order, while it is under way.
    last_step: Option<(StepRun, u64)>,
    /// Every cup that came out, by order, with the token it was brewed for.
    cups: Vec<(u64, Token)>,
    ended: BTreeMap<u64, OrderUpdate>,
    waiting: BTreeMap<u64, Vec<oneshot::Sender<()>>>,
}

/// Why there is no coffee.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrewError {
    /// Somebody else holds the machine by now.
    #[error(transparent)]
    Stale(#[from] Stale),
    /// The machine could not.
    #[error("order {} ended as {:?}{}", .0.key, .0.phase, reason(.0))]
    Ended(OrderUpdate),
    /// The machine is gone.
    #[error("the machines have stopped")]
    Stopped,
}

fn reason(update: &OrderUpdate) -> String {
    let reason = update.reason.as_ref();
    reason.map_or_else(String::new, |reason| format!(": {reason}"))
}

impl CoffeeMachine {
    pub(crate) fn new(number: u32, seed: u64) -> Result<Self, Failure> {
        Ok(Self {
            path: format!("machines/{number}").parse()?,
            id: DeviceId::new(&format!("machine-{number}"))?,
            works: coffee::CoffeeMachine::new(seed),
            inner: Mutex::default(),
        })
    }

    /// The device that it is: its sensors are read, and it takes orders.
    pub(crate) fn device(&self) -> DeviceBuilder {
        let metrics = CoffeeMetric::ALL.into_iter();
        metrics
            .map(|metric| Metric::of(self.works.sensor(metric)).every(READING_PERIOD))
            .fold(Device::builder(self.id.clone()), DeviceBuilder::metric)
            .takes_orders(coffee::recipes(), coffee::capabilities())
            .batch(BATCH, 1_000)
            .heartbeat_every(Duration::from_secs(1))
    }

    /// Brews `order` once, however often this is called; answers the token it was brewed for.
    ///
    /// The token is checked where the order is handed to the device, whose queue keeps the order of tokens; from there on
    /// the device's own idempotency key stands for the order, over crashes and repetitions.
    pub(crate) async fn brew(
        &self,
        device: &FleetHandle,
        order: &Order,
        token: Token,
        floor: Token,
    ) -> Result<Token, BrewError> {
        let (sender, ended) = oneshot::channel();
        {
            let mut inner = self.inner.lock();
            if let Err(stale) = inner.gate.admit(token, floor) {
                inner.stale_refused += 1;
                return Err(stale.into());
            }
            inner.placed.entry(order.number).or_insert(token);
            inner.waiting.entry(order.number).or_default().push(sender);
            let recipe = recipe_of(&order.drink);
            if !device.place(&self.id, key_of(order.number), recipe) {
                return Err(BrewError::Stopped);
            }
        }
        ended.await.map_err(|_dropped| BrewError::Stopped)?;
        let inner = self.inner.lock();
        match inner.ended.get(&order.number) {
            Some(update) if update.phase == OrderPhase::Completed => {
                Ok(inner.placed.get(&order.number).copied().unwrap_or(token))
            }
            Some(update) => Err(BrewError::Ended(update.clone())),
            None => Err(BrewError::Stopped),
        }
    }

    /// Fills everything up.
    pub(crate) fn refill(&self, device: &FleetHandle) -> bool {
        self.works.refill();
        FULL.into_iter().all(|(resource, units)| {
            let resource = name(resource);
            device.order(&self.id, OrderCommand::Stock { resource, units })
        })
    }

    /// What the device's orders tell or want done.
    pub(crate) fn hear(&self, event: &OrderEvent, device: &FleetHandle) {
        let mut inner = self.inner.lock();
        match event {
            OrderEvent::Begin { run, key, step } if step.name.as_str() == "finalise" => {
                inner.last_step = number_of(key).map(|order| (*run, order));
            }
            OrderEvent::Update(update) if update.phase.is_final() => {
                let Some(order) = number_of(&update.key) else {
                    return;
                };
                let is_new = inner.ended.insert(order, update.clone()).is_none();
                for waiting in inner.waiting.remove(&order).unwrap_or_default() {
                    // Who gave up waiting asks again.
                    let _ = waiting.send(());
                }
                let cups = u32::try_from(inner.ended.len()).unwrap_or(u32::MAX);
                drop(inner);
                if is_new && cups.is_multiple_of(CUPS_PER_REFILL) {
                    let _ = self.refill(device);
                }
            }
            _ => {}
        }
    }

    /// What the works report: with the last step a cup comes out.
    pub(crate) fn report(&self, command: &OrderCommand) {
        let mut inner = self.inner.lock();
        if let OrderCommand::Done { run, .. } = command
            && let Some((_, order)) = inner.last_step.take_if(|(last, _)| last == run)
            && let Some(&token) = inner.placed.get(&order)
        {
            inner.cups.push((order, token));
        }
    }

    /// Every cup that came out, in order.
    pub(crate) fn cups(&self) -> Vec<(u64, Token)> {
        self.inner.lock().cups.clone()
    }

    /// How often a stale token was turned away.
    pub(crate) fn stale_refused(&self) -> u64 {
        self.inner.lock().stale_refused
    }

    /// The quality of each order that was completed, in thousandths.
    pub(crate) fn qualities(&self) -> Vec<u16> {
        let inner = self.inner.lock();
        let updates = inner.ended.values();
        updates.filter_map(|it| it.quality_permille).collect()
    }
}

/// The order's idempotency key.
pub(crate) fn key_of(order: u64) -> Name {
    name(&format!("order-{order}"))
}

/// The order that a key names.
pub(crate) fn number_of(key: &Name) -> Option<u64> {
    key.as_str().strip_prefix("order-")?.parse().ok()
}

/// Which of its programmes the machine runs for a drink.
fn recipe_of(drink: &str) -> Name {
    let drink = drink.to_lowercase();
    name(match drink.as_str() {
        "espresso" => "espresso",
        "americano" | "americano with milk" => "americano",
        "cortado" | "cappuccino" => "cappuccino",
        _ => "latte",
    })
}

fn name(word: &str) -> Name {
    Name::new(word).expect("the words here are names")
}
