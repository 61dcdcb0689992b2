//! Three shops sell bags through a partition; one of them is restarted. Stock and sales are one replicated document.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use peaberry_core::{
    DiskOptions, DiskStorage, MemoryNetwork, Node, NodeThread, PeerId, SystemClock,
};
use peaberry_crdt::protocol::{Replica, ReplicaHandle, ReplicaOptions};
use peaberry_crdt::sync::{Member, Membership, SyncConfig};
use peaberry_crdt::{
    Causal, Edit, Lattice as _, Mint, ObservedRemoveMap, ReplicaId, ResettableCounter, WriteError,
    dot_store,
};
use serde::Serialize;

use crate::Failure;

const SHOPS: u64 = 3;
/// The document's number.
const BOOKS: u64 = 1;
/// How long the shops may take to agree once the line is back.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bags in stock, and bags sold by each shop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Books {
    stock: ResettableCounter,
    sold: ObservedRemoveMap<u64, ResettableCounter>,
}

dot_store!(Books {
    stock: ResettableCounter,
    sold: ObservedRemoveMap<u64, ResettableCounter>,
});

type Ledger = Causal<Books>;

impl Books {
    fn deliver(&self, mint: Mint, bags: i64) -> Result<Edit<Self>, WriteError> {
        Ok(self.stock.add(mint, bags)?.within(|stock| Self {
            stock,
            ..Self::default()
        }))
    }

    fn sell(&self, mint: Mint, shop: u64) -> Result<Edit<Self>, WriteError> {
        let edit = self.sold.update(shop, |sold| sold.add(mint, 1))?;
        Ok(edit.within(|sold| Self {
            sold,
            ..Self::default()
        }))
    }

    /// What is left: bags are taken from the stock by being sold.
    fn left(&self) -> i128 {
        self.stock.value() - self.total()
    }

    fn total(&self) -> i128 {
        self.sold.iter().map(|(_, sold)| sold.value()).sum()
    }
}

/// What is told of the shops.
#[derive(Default, Serialize)]
pub(crate) struct ShopsReport {
    delivered: i128,
    sold: i128,
    left: i128,
    sold_during_partition: i128,
    restarted: u64,
    converged_ms: u64,
}

impl ShopsReport {
    pub(crate) fn rows(&self) -> [(&'static str, String); 3] {
        [
            (
                "bags sold, and left",
                format!("{}, {}", self.sold, self.left),
            ),
            (
                "sold through a partition",
                self.sold_during_partition.to_string(),
            ),
            ("shops agreed after", format!("{} ms", self.converged_ms)),
        ]
    }
}

/// One shop, while its process runs.
struct Shop {
    number: u64,
    ledger: ReplicaHandle<Ledger>,
    /// Ends with it.
    _node: NodeThread,
}

/// The shops' street: how they reach each other, and where their books lie.
struct Street<'a> {
    folder: &'a Path,
    network: MemoryNetwork,
    rng: fastrand::Rng,
}

impl Street<'_> {
    fn open(&mut self, number: u64) -> Result<Shop, Failure> {
        let peer = PeerId::new(number).ok_or("shops are numbered from 1")?;
        let folder = self.folder.join(format!("shop-{number}"));
        std::fs::create_dir_all(&folder)?;
        let storage = Arc::new(DiskStorage::open(&folder, DiskOptions::new("shops", peer))?);
        let members = (1..=SHOPS).filter_map(Member::new);
        let fresh = ReplicaId::new(self.rng.u128(1..)).ok_or("an id is not zero")?;
        let member = Member::new(number).ok_or("shops are numbered from 1")?;
        let membership = Membership::new(members);
        let config = SyncConfig::new(member, BOOKS, membership, self.rng.u64(..));
        let mut options = ReplicaOptions::new(config, fresh);
        options.sync.idle = Duration::from_millis(100);
        let replica = Replica::open(storage.as_ref(), options, Ledger::bottom())?;
        let transport = self.network.join(peer);
        let mut node = Node::new(Arc::new(transport), storage, Arc::new(SystemClock::new()));
        let ledger = replica.add_to(&mut node, |_event| {})?;
        let node = node.spawn(&format!("shop-{number}"))?;
        Ok(Shop {
            number,
            ledger,
            _node: node,
        })
    }
}

impl Shop {
    async fn sell(&self, bags: usize) -> Result<(), Failure> {
        let number = self.number;
        for _ in 0..bags {
            let sold = self.ledger.mutate(move |ledger: &mut Ledger, writer| {
                ledger.write(writer, |books, mint| books.sell(mint, number))
            });
            sold.await??;
        }
        Ok(())
    }

    fn totals(&self) -> (i128, i128) {
        self.ledger
            .read(|ledger| (ledger.value().total(), ledger.value().left()))
    }
}

/// Sells a bag for each order, most of them while no shop hears of another, and restarts one in the middle.
pub(crate) async fn sell(
    folder: &Path,
    orders: usize,
    rng: fastrand::Rng,
    violations: &mut Vec<String>,
) -> Result<ShopsReport, Failure> {
    let mut street = Street {
        folder,
        network: MemoryNetwork::new(),
        rng,
    };
    let mut shops = (1..=SHOPS)
        .map(|number| street.open(number))
        .collect::<Result<Vec<_>, _>>()?;
    let stock = i64::try_from(orders)? * 2;
    let first = shops.first().ok_or("there are shops")?;
    let delivered = first.ledger.mutate(move |ledger: &mut Ledger, writer| {
        ledger.write(writer, |books, mint| books.deliver(mint, stock))
    });
    delivered.await??;

    let share = orders / (shops.len() * 3);
    for shop in &shops {
        shop.sell(share).await?;
    }
    let sold = i128::try_from(share * shops.len())?;
    let together = (sold, i128::from(stock) - sold);
    agree(&shops, together, violations).await;

    let peers: Vec<_> = (1..=SHOPS).filter_map(PeerId::new).collect();
    for &peer in &peers {
        street.network.cut(peer);
    }
    for shop in &shops {
        shop.sell(share).await?;
    }
    let restarted = street.rng.u64(1..=SHOPS);
    shops.retain(|shop| shop.number != restarted);
    shops.push(street.open(restarted)?);
    let rest = orders - 2 * share * shops.len();
    let last = shops.last().ok_or("it was opened just now")?;
    last.sell(rest).await?;
    let sold_during_partition = check_apart(&shops, together.0, violations);
    for peer in peers {
        street.network.mend(peer);
    }

    let expected = (
        i128::try_from(orders)?,
        i128::from(stock) - i128::try_from(orders)?,
    );
    let began = tokio::time::Instant::now();
    agree(&shops, expected, violations).await;
    let converged_ms = u64::try_from(began.elapsed().as_millis())?;
    let ledgers: Vec<Ledger> = shops
        .iter()
        .map(|shop| shop.ledger.read(Ledger::clone))
        .collect();
    let first = ledgers.first().ok_or("there are shops")?;
    if ledgers.iter().any(|ledger| ledger != first) {
        violations.push("the shops' books differ after the partition".into());
    }
    Ok(ShopsReport {
        delivered: first.value().stock.value(),
        sold: first.value().total(),
        left: first.value().left(),
        sold_during_partition,
        restarted,
        converged_ms,
    })
}

/// Waits until every shop's books say so.
async fn agree(shops: &[Shop], expected: (i128, i128), violations: &mut Vec<String>) {
    for shop in shops {
        let mut changes = shop.ledger.changes();
        let agree = async {
            while shop.totals() != expected {
                changes.next().await;
            }
        };
        if tokio::time::timeout(PATIENCE, agree).await.is_err() {
            let (sold, left) = shop.totals();
            violations.push(format!(
                "shop {} counts {sold} sold and {left} left, {expected:?} are right",
                shop.number
            ));
        }
    }
}

/// What all of them have sold since they last heard of each other: each knows of its own sales only, so no two books are
/// the same.
fn check_apart(shops: &[Shop], together: i128, violations: &mut Vec<String>) -> i128 {
    let books: Vec<Books> = shops
        .iter()
        .map(|shop| shop.ledger.read(|ledger| ledger.value().clone()))
        .collect();
    for (at, mine) in books.iter().enumerate() {
        // Where there were too few orders for each to sell something, there is nothing to tell apart.
        let has_sold = mine.total() > together;
        if has_sold && books.iter().skip(at + 1).any(|theirs| theirs == mine) {
            violations.push("two shops have the same books through a partition".into());
        }
    }
    books.iter().map(|books| books.total() - together).sum()
}
