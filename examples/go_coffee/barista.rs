//! Baristas: each takes an order, the lock of a machine, a cup, and writes the order down.

use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use peaberry_core::{Clock, MemoryStorage, Node, SystemClock};
use peaberry_examples::orders::Order;
use peaberry_lockd::{ClientConfig, Guard, LockClient, LockError, Session, SessionOptions};
use tokio::sync::{Mutex, mpsc, watch};

use crate::Failure;
use crate::arguments::Shop;
use crate::bar::Bar;
use crate::cluster::{Cluster, REPLICAS};
use crate::machine::{BrewError, CoffeeMachine};
use crate::prices::Prices;
use crate::replica::GROUP;
use crate::report::Report;
use crate::shops;
use crate::till::Till;
use crate::town::Town;
use crate::trouble;
use crate::witness::Witness;

/// The baristas' leases: long enough to outlast an election.
pub(crate) const LEASE: Duration = Duration::from_secs(5);

/// Without a finished order for so long the shop has stood still for good.
const PATIENCE: Duration = Duration::from_secs(60);

/// So many paid orders may wait for a barista.
const ORDERS_WAITING: usize = 64;

/// What all baristas share.
pub(crate) struct Counter {
    pub(crate) clock: SystemClock,
    pub(crate) bar: Bar,
    pub(crate) witness: Witness,
    /// Paid orders.
    orders: Mutex<mpsc::Receiver<Order>>,
    /// Orders finished so far.
    pub(crate) done: watch::Sender<usize>,
    /// Locks granted so far.
    pub(crate) grants: watch::Sender<u64>,
    pub(crate) retries: std::sync::atomic::AtomicU64,
}

/// Serves every order, through all the trouble, and reports.
pub(crate) async fn serve(shop: &Shop, orders: Vec<Order>) -> Result<Report, Failure> {
    let folder = tempfile::tempdir()?;
    let mut rng = fastrand::Rng::with_seed(shop.seed);
    let mut cluster = Cluster::start(folder.path(), rng.fork()).await?;
    let mesh = Arc::new(cluster.mesh().await?);
    let clock = SystemClock::new();
    let mut node = Node::new(
        mesh,
        Arc::new(MemoryStorage::new()),
        Arc::new(clock.clone()),
    );
    let servers = REPLICAS
        .into_iter()
        .filter_map(peaberry_core::PeerId::new)
        .collect();
    let client = LockClient::add_to(
        &mut node,
        ClientConfig {
            group: GROUP,
            servers,
            seed: rng.u64(..),
        },
    )?;
    let node = node.spawn("shop")?;

    let numbers: Vec<u64> = orders.iter().map(|order| order.number).collect();
    let bar = Bar::open(folder.path(), shop, clock.clone()).await?;
    let town = Town::open(shop.rpc.as_deref(), shop.chain_id).await?;
    let mut till = Till::open(folder.path(), town, clock.clone()).await?;
    let prices = Prices::open(&till.town, till.outbox.clone(), clock.clone(), rng.fork()).await?;
    till.begin(orders.len())?;
    prices.first().await?;
    let (paid, paid_orders) = mpsc::channel(ORDERS_WAITING);
    let counter = Arc::new(Counter {
        clock: clock.clone(),
        bar,
        witness: Witness::new(folder.path())?,
        orders: Mutex::new(paid_orders),
        done: watch::Sender::new(0),
        grants: watch::Sender::new(0),
        retries: 0.into(),
    });
    let began = clock.now();
    let baristas = (0..shop.baristas)
        .map(|number| tokio::spawn(work(counter.clone(), client.clone(), number)))
        .collect::<Vec<_>>();
    let progress = tokio::spawn(show_progress(
        counter.done.subscribe(),
        numbers.len() as u64,
    ));
    let trouble = trouble::strike(&mut cluster, &counter, &client, numbers.len(), rng);
    let paying = till.take(orders, &prices, paid);
    let (trouble, payments) = tokio::select! {
        both = async { tokio::try_join!(trouble, paying) } => both?,
        stuck = stands_still(counter.done.subscribe()) => return Err(stuck),
    };
    for barista in baristas {
        tokio::select! {
            ended = barista => ended??,
            stuck = stands_still(counter.done.subscribe()) => return Err(stuck),
        }
    }
    let elapsed = clock.now().since(began);
    progress.abort();
    drop(node);
    let mut report = Report::new(shop.seed, &numbers, &counter, &trouble, elapsed)?;
    report.prices = prices.close(&mut report.violations).await?;
    report.till = till.close(payments, &mut report.violations).await?;
    let counter = Arc::into_inner(counter).ok_or("the baristas have gone home")?;
    report.bar = counter
        .bar
        .close(
            &numbers,
            shop.baristas,
            trouble.outage,
            &mut report.violations,
        )
        .await?;
    let rng = fastrand::Rng::with_seed(shop.seed);
    report.shops = shops::sell(folder.path(), numbers.len(), rng, &mut report.violations).await?;
    Ok(report)
}

/// Ends when no order has been finished for a long time.
async fn stands_still(mut done: watch::Receiver<usize>) -> Failure {
    loop {
        match tokio::time::timeout(PATIENCE, done.changed()).await {
            Ok(Ok(())) => {}
            _ => {
                return format!(
                    "no order was finished for {PATIENCE:?}, {} were before",
                    *done.borrow()
                )
                .into();
            }
        }
    }
}

/// One barista, until no order is left.
async fn work(counter: Arc<Counter>, client: LockClient, number: u32) -> Result<(), Failure> {
    let options = SessionOptions::new(&format!("barista-{number}")).ttl(LEASE);
    let mut session = Arc::new(client.open_session(options.clone()).await?);
    loop {
        let Some(order) = counter.orders.lock().await.recv().await else {
            break;
        };
        while let Err(error) = serve_order(&counter, &session, &order).await {
            counter
                .retries
                .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            match error.downcast_ref::<LockError>() {
                Some(LockError::Stopped) | None => return Err(error),
                Some(error) if error.is_retryable() => tokio::task::yield_now().await,
                Some(_) => session = Arc::new(client.open_session(options.clone()).await?),
            }
        }
        counter.done.send_modify(|done| *done += 1);
    }
    Ok(())
}

/// Serves one order; an error means that it must be tried again, which brews no second cup.
async fn serve_order(
    counter: &Counter,
    session: &Arc<Session>,
    order: &Order,
) -> Result<(), Failure> {
    let machines = &counter.bar.machines;
    let at = usize::try_from(order.number).unwrap_or_default() % machines.len();
    let machine = machines.get(at).ok_or("there is at least one machine")?;
    let guard = session.acquire(&machine.path).await?;
    let path = machine.path.to_string();
    counter.witness.granted(&path, guard.token(), session);
    counter.grants.send_modify(|grants| *grants += 1);
    let brewed = brew(counter, &guard, machine, order).await;
    counter.witness.ended(&path, guard.token());
    counter.witness.record(order.number, brewed?)?;
    // The order is served. A release that goes unheard ends with the lease.
    let _ = guard.release().await;
    Ok(())
}

async fn brew(
    counter: &Counter,
    guard: &Guard,
    machine: &CoffeeMachine,
    order: &Order,
) -> Result<peaberry_lockd::fence::Token, Failure> {
    let brewing = counter
        .bar
        .brew(machine, order, guard.token(), guard.floor());
    guard.run(brewing).await?.map_err(|error| match error {
        // A stale token means what a lost session means: somebody else holds the machine.
        BrewError::Stale(_) => LockError::SessionLost.into(),
        error => error.into(),
    })
}

async fn show_progress(mut done: watch::Receiver<usize>, total: u64) {
    let bar = ProgressBar::new(total);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} orders, {per_sec}") {
        bar.set_style(style);
    }
    while done.changed().await.is_ok() {
        bar.set_position(*done.borrow_and_update() as u64);
    }
}
