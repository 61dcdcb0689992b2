use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use peaberry_examples::orders::{Order, OrderFile, SeededOrders};

use crate::Failure;

/// A morning at Go Coffee: orders brewed exactly once through a killed leader and a cut-off follower.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
    #[command(flatten)]
    pub(crate) shop: Shop,
}

#[derive(Args)]
pub(crate) struct Shop {
    /// Orders to brew, as a CSV file with the columns `date,datetime,cash_type,card,money,coffee_name`; without it
    /// orders are made up from the seed.
    #[arg(long, value_name = "FILE")]
    pub(crate) orders: Option<PathBuf>,
    /// How many orders to make up.
    #[arg(long, default_value_t = 1000, conflicts_with = "orders")]
    pub(crate) count: usize,
    /// Which orders are made up, which machine brews what, and when trouble strikes.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How many coffee machines there are.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) machines: u32,
    /// How many baristas take orders.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) baristas: u32,
    /// How much faster than in life the machines brew.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) speed: u32,
    /// The MQTT broker between the machines and the office, such as `mqtt://127.0.0.1:1883`; without it one in this process.
    #[arg(long, value_name = "URL")]
    pub(crate) mqtt: Option<String>,
    /// The node of the chain on which orders are paid, such as `http://127.0.0.1:8545`; without it one in this process. It
    /// must fund the accounts of development nodes, as `anvil` does; one that makes blocks on demand alone is asked for them.
    #[arg(long, value_name = "URL")]
    pub(crate) rpc: Option<String>,
    /// The number of that chain.
    #[arg(long, default_value_t = 31_337, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) chain_id: u64,
    /// Prints one JSON object and nothing else.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
pub(crate) enum Role {
    /// Runs one replica; the shop starts these itself.
    #[command(hide = true)]
    Replica(ReplicaArguments),
}

#[derive(Args)]
pub(crate) struct ReplicaArguments {
    /// Which peer this is.
    #[arg(long)]
    pub(crate) id: u64,
    /// Every replica.
    #[arg(long, value_delimiter = ',')]
    pub(crate) voters: Vec<u64>,
    /// Holds the credentials and the store.
    #[arg(long)]
    pub(crate) folder: PathBuf,
    /// A fresh random number for this start.
    #[arg(long)]
    pub(crate) seed: u64,
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
}

impl Shop {
    /// The orders, all of them or none: a malformed line is an error that names it.
    pub(crate) fn orders(&self) -> Result<Vec<Order>, Failure> {
        let orders = match &self.orders {
            Some(path) => OrderFile::open(path)?.into_orders()?,
            None => SeededOrders::new(self.seed).take(self.count).collect(),
        };
        if orders.is_empty() {
            return Err("there are no orders to brew".into());
        }
        Ok(orders)
    }
}
