//! Three shops share orders and stock, and go on selling while the line between them is down.
//!
//! You will learn what merges by itself (orders: an observed-remove map) and what must not (stock: a bounded counter,
//! whose rights to sell are handed out beforehand, so that nobody sells the same bag twice).
//!
//! Tested as: `cargo run --example crdt_shop`
//!
//! You will see each shop refuse what it has no right to, and all agree when the line is back.

use peaberry_crdt::{
    BoundedCounter, BoundedError, Causal, Lattice, MvRegister, ObservedRemoveMap, ReplicaId, Writer,
};

type Orders = Causal<ObservedRemoveMap<u32, MvRegister<String>>>;

struct Shop {
    name: &'static str,
    writer: Writer,
    orders: Orders,
    stock: BoundedCounter,
    refused: u32,
}

impl Shop {
    fn new(name: &'static str, id: u128) -> Result<Self, Box<dyn std::error::Error>> {
        Ok(Self {
            name,
            writer: Writer::new(ReplicaId::new(id).ok_or("not zero")?, 0, 1000),
            orders: Orders::bottom(),
            stock: BoundedCounter::bottom(),
            refused: 0,
        })
    }

    /// Sells one bag, if the shop has the right to.
    fn sell(&mut self, order: u32, what: &str) -> Result<(), Box<dyn std::error::Error>> {
        match self.stock.take(&self.writer, 1) {
            Ok(_delta) => {}
            Err(BoundedError::TooFewRights { .. }) => {
                self.refused += 1;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        self.orders.write(&mut self.writer, |orders, mint| {
            orders.update(order, |value| Ok(value.write(mint, what.to_owned())))
        })?;
        Ok(())
    }
}

/// Two shops tell each other everything: what one lacks of the orders, and the whole of the small stock.
fn meet(one: &mut Shop, other: &mut Shop) -> Result<(), Box<dyn std::error::Error>> {
    other
        .orders
        .apply(&one.orders.delta_since(other.orders.vector()))?;
    one.orders
        .apply(&other.orders.delta_since(one.orders.vector()))?;
    other.stock.join(&one.stock);
    one.stock.join(&other.stock);
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut harbour = Shop::new("harbour", 1)?;
    let mut market = Shop::new("market", 2)?;
    let mut station = Shop::new("station", 3)?;

    // Thirty bags arrive at the harbour, which hands out rights to sell them.
    harbour.stock.add(&harbour.writer, 30)?;
    harbour
        .stock
        .pass(&harbour.writer, market.writer.replica(), 8)?;
    harbour
        .stock
        .pass(&harbour.writer, station.writer.replica(), 12)?;
    meet(&mut harbour, &mut market)?;
    meet(&mut harbour, &mut station)?;

    // The station's line goes down; everybody wants to sell eleven.
    for order in 0..11 {
        harbour.sell(100 + order, "house blend")?;
        market.sell(200 + order, "espresso")?;
        station.sell(300 + order, "decaf")?;
        meet(&mut harbour, &mut market)?;
    }
    // The market crosses out an order, the station, not knowing, changes its own.
    market
        .orders
        .write(&mut market.writer, |orders, _| Ok(orders.remove(&200)))?;
    for shop in [&harbour, &market, &station] {
        println!(
            "{}: {} bags left as it knows, {} customers sent away",
            shop.name,
            shop.stock.value(),
            shop.refused
        );
    }
    assert_eq!(
        (harbour.refused, market.refused, station.refused),
        (1, 3, 0)
    );

    // The line is back.
    meet(&mut station, &mut harbour)?;
    meet(&mut market, &mut harbour)?;
    meet(&mut station, &mut market)?;
    assert_eq!(harbour.orders, market.orders);
    assert_eq!(harbour.orders, station.orders);
    assert_eq!(harbour.stock, station.stock);
    let sold = harbour.orders.value().iter().len() + 1;
    println!(
        "together: {sold} bags sold, {} left, {} orders stand",
        harbour.stock.value(),
        sold - 1
    );
    assert_eq!(
        sold as i128 + harbour.stock.value(),
        30,
        "no bag was sold twice"
    );
    Ok(())
}
