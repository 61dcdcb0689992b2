//! Drivers whose node has more commands waiting than it takes: they sleep until there is room, and no answer is lost.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use peaberry_chain::dev::{DevChain, DevOptions};
use peaberry_chain::follow::{FollowConfig, FollowDriver, Start};
use peaberry_chain::outbox::{
    Ask, ChainRules, Found, IdempotencyKey, OutboxConfig, OutboxHandle, Performer, Submission,
};
use peaberry_chain::primitives::Address;
use peaberry_chain::{Amount, Asset, ChainError, ChainId, Intent, LogFilter};
use peaberry_core::{MemoryStorage, Next, Node, SystemClock};

/// More than a node lets wait for one protocol.
const TOO_MANY: u32 = (1 << 16) + 1;

/// How often a driver was woken.
#[derive(Default)]
struct Alarm(AtomicU32);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Alarm {
    fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

fn poll<F: Future<Output = ()> + Unpin>(driver: &mut F, alarm: &Arc<Alarm>) -> Poll<()> {
    let waker = Waker::from(alarm.clone());
    Pin::new(driver).poll(&mut Context::from_waker(&waker))
}

/// The queue is full, and the driver has an answer: it waits without being woken, and is woken by the node's next turn.
fn expect_patience<F: Future<Output = ()> + Unpin>(driver: &mut F, node: &mut Node) {
    let alarm = Arc::new(Alarm::default());
    assert!(poll(driver, &alarm).is_pending());
    let woken = alarm.count();
    for _ in 0..8 {
        assert!(poll(driver, &alarm).is_pending());
    }
    assert_eq!(alarm.count(), woken, "it sleeps while there is no room");
    node.turn();
    assert!(alarm.count() > woken, "it is woken when there is room");
    assert!(poll(driver, &alarm).is_pending());
}

/// Takes turns until nothing waits.
fn work_off(node: &mut Node) {
    while node.turn() == Next::Again {}
}

fn node() -> (Arc<MemoryStorage>, Node) {
    let storage = Arc::new(MemoryStorage::new());
    let node = Node::alone(storage.clone(), Arc::new(SystemClock::new()));
    (storage, node)
}

/// Knows what gas costs, and counts how often it was asked.
#[derive(Default)]
struct Market {
    asks: Mutex<Vec<Ask>>,
}

#[async_trait]
impl Performer for Market {
    fn chain_id(&self) -> ChainId {
        ChainId::POLYGON
    }

    async fn perform(&self, ask: Ask) -> Result<Found, ChainError> {
        self.asks.lock().push(ask);
        Ok(Found::Gas(30_000))
    }
}

#[test]
fn an_outbox_driver_sleeps_until_there_is_room() {
    let (storage, mut node) = node();
    let rules = ChainRules::every(Duration::from_secs(3_600));
    let config = OutboxConfig::new().chain(ChainId::POLYGON, rules);
    let market = Arc::new(Market::default());
    let performers = [market.clone() as Arc<dyn Performer>];
    let (outbox, mut driver) =
        OutboxHandle::install(&mut node, 0, config, &*storage, performers).unwrap();
    let intent = Intent::Transfer {
        from: Address::repeat_byte(1).into(),
        to: Address::repeat_byte(2).into(),
        asset: Asset::Native,
        amount: Amount::wei(1),
    };
    let key = IdempotencyKey::new("order-1").unwrap();
    let submission = Submission::new(key, ChainId::POLYGON, intent);
    let mut submitting = Box::pin(outbox.submit(submission));
    let mut context = Context::from_waker(Waker::noop());
    assert!(submitting.as_mut().poll(&mut context).is_pending());
    node.turn();
    for _ in 0..TOO_MANY {
        outbox.wake(ChainId::POLYGON);
    }
    expect_patience(&mut driver, &mut node);
    assert!(submitting.as_mut().poll(&mut context).is_ready());
    // Its estimate has arrived: it is asked for once.
    work_off(&mut node);
    assert!(poll(&mut driver, &Arc::new(Alarm::default())).is_pending());
    let gas = |ask: &&Ask| matches!(ask, Ask::Gas(_));
    assert_eq!(market.asks.lock().iter().filter(gas).count(), 1);
}

#[test]
fn a_follow_driver_sleeps_until_there_is_room() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let chain = DevChain::new(DevOptions::default());
    let client = runtime.block_on(chain.client()).unwrap();
    let (storage, mut node) = node();
    let config = FollowConfig {
        start: Start::At(0),
        ..FollowConfig::evm(&chain.network(), LogFilter::default())
    };
    let (mut changes, mut driver) =
        FollowDriver::install(&mut node, 0, config, &*storage, Arc::new(client)).unwrap();
    node.turn();
    for _ in 0..TOO_MANY {
        changes.wake();
    }
    let _entered = runtime.enter();
    expect_patience(&mut driver, &mut node);
    work_off(&mut node);
    let mut context = Context::from_waker(Waker::noop());
    let change = futures_util::Stream::poll_next(Pin::new(&mut changes), &mut context);
    assert!(matches!(change, Poll::Ready(Some(Ok(_)))), "{change:?}");
}
