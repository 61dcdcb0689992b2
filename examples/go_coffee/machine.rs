//! A coffee machine: it brews one order at a time, for whoever shows the newest fencing token.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use peaberry_examples::orders::Order;
use peaberry_lockd::LockPath;
use peaberry_lockd::fence::{Gate, Stale, Token};

use crate::Failure;

pub(crate) struct CoffeeMachine {
    /// The lock that guards it.
    pub(crate) path: LockPath,
    speed: u32,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    gate: Gate,
    /// Every cup that came out, by order, with the token it was brewed for.
    cups: Vec<(u64, Token)>,
    /// Orders whose cup stands ready: the machine's memory of its idempotency keys.
    ready: BTreeMap<u64, Token>,
    stale_refused: u64,
}

impl CoffeeMachine {
    pub(crate) fn new(number: u32, speed: u32) -> Result<Self, Failure> {
        Ok(Self {
            path: format!("machines/{number}").parse()?,
            speed,
            inner: Mutex::default(),
        })
    }

    /// Brews `order`, unless its cup stands ready already; answers the token it was brewed for.
    ///
    /// The token is checked when the beans are ground and again before the cup comes out: whoever was paused in between
    /// past the end of its lease gets no coffee.
    pub(crate) async fn brew(
        &self,
        order: &Order,
        token: Token,
        floor: Token,
    ) -> Result<Token, Stale> {
        if let Some(&ready) = self.admit(token, floor)?.ready.get(&order.number) {
            return Ok(ready);
        }
        tokio::time::sleep(brewing_time(&order.drink) / self.speed).await;
        let mut inner = self.admit(token, floor)?;
        inner.cups.push((order.number, token));
        inner.ready.insert(order.number, token);
        Ok(token)
    }

    fn admit(
        &self,
        token: Token,
        floor: Token,
    ) -> Result<parking_lot::MutexGuard<'_, Inner>, Stale> {
        let mut inner = self.inner.lock();
        match inner.gate.admit(token, floor) {
            Ok(()) => Ok(inner),
            Err(stale) => {
                inner.stale_refused += 1;
                Err(stale)
            }
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
}

/// How long a drink takes in life.
fn brewing_time(drink: &str) -> Duration {
    let seconds = match drink {
        "Espresso" => 25,
        "Cortado" | "Americano" => 35,
        "Latte" | "Cappuccino" => 55,
        _ => 45,
    };
    Duration::from_secs(seconds)
}
