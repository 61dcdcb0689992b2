//! Go Coffee for a morning: orders, payments, prices, machines, and everything that goes wrong.
//!
//! ```sh
//! cargo run --release --example go_coffee
//! cargo run --release --example go_coffee -- --orders orders.csv --json
//! ```
//!
//! Three replicas of the lock service run as three processes over mutually authenticated TCP, each with a durable store
//! in a folder of its own. Baristas take the lock of a machine for each order; the machine takes it only with a fencing token
//! that nothing newer has overtaken, brews it once, and the order is recorded once. A third of the way the leader's process
//! is killed and started again on its folder; two thirds of the way a follower is cut off by a proxy that drops both
//! directions, and healed.
//!
//! The machines are devices at the edge: their orders are durable step by step, and what they measure and do goes from
//! their spools by a gateway and a broker (`--mqtt URL` for a real one) to a collector. At half of the orders that line is
//! cut for a while. In the end the collector must have every record, and the end of every order.
//!
//! Every order is paid in tokens before it is brewed, on a chain in this process (`--rpc URL` for another) through an outbox.
//! Half of the way the chain in this process undoes blocks and forgets what was in them. In the end every order has been paid once, and no
//! token came from nowhere. What a token is worth, four oracles agree on, one of whom lies ten times; they post it on the
//! chain, and the till goes by it.
//!
//! When the last cup is served, three shops sell a bag for each order from one stock that they share as replicated data: a
//! third of it while no shop hears of another, one of them restarted in between. Their counts must agree in the end.
//!
//! You will see a table, or with `--json` one object: orders, how many were brewed exactly once, whether a machine ever
//! had two valid holders, whether tokens only grew, how long nobody could take a lock behind the kill, and locks per
//! second. Exits with 1 if a promise was broken, with 2 if it could not begin.
//!
//! Tested as: `cargo run --example go_coffee -- --count 60 --seed 7`

mod arguments;
mod bar;
mod barista;
mod cluster;
mod line;
mod machine;
mod office;
mod prices;
mod proxy;
mod replica;
mod report;
mod shops;
mod till;
mod town;
mod trouble;
mod witness;

use std::process::ExitCode;

use clap::Parser;

use self::arguments::{Arguments, Role};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.role {
        Some(Role::Replica(replica)) => replica::run(&replica).map(|()| ExitCode::SUCCESS),
        None => run_shop(&arguments.shop),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {}", chain(error.as_ref()));
        ExitCode::from(2)
    })
}

/// An error and what caused it, each said once.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let errors = std::iter::successors(Some(error), |error| error.source());
    let words: Vec<_> = errors.map(ToString::to_string).collect();
    words.join(": ")
}

/// Why the story could not begin or go on.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn run_shop(shop: &arguments::Shop) -> Result<ExitCode, Failure> {
    let orders = shop.orders()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let report = runtime.block_on(barista::serve(shop, orders))?;
    report.print(shop.json);
    Ok(if report.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
