//! What is printed at the end.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use comfy_table::Table;
use serde::Serialize;

use crate::Failure;
use crate::bar::BarReport;
use crate::barista::Counter;
use crate::shops::ShopsReport;
use crate::till::TillReport;
use crate::trouble::Trouble;

#[derive(Serialize)]
pub(crate) struct Report {
    seed: u64,
    orders: usize,
    completed: usize,
    brewed_exactly_once: usize,
    two_valid_holders: u64,
    tokens_strictly_increasing: bool,
    stale_tokens_refused: u64,
    orders_tried_again: u64,
    served_while_a_follower_was_cut_off: usize,
    failover_ms: u64,
    locks_per_second: f64,
    elapsed_s: f64,
    pub(crate) till: TillReport,
    pub(crate) bar: BarReport,
    pub(crate) shops: ShopsReport,
    pub(crate) violations: Vec<String>,
}

impl Report {
    pub(crate) fn new(
        seed: u64,
        orders: &[u64],
        counter: &Counter,
        trouble: &Trouble,
        elapsed: Duration,
    ) -> Result<Self, Failure> {
        let testimony = counter.witness.testify();
        let mut violations = testimony.violations;
        let cups = count_cups(counter, &mut violations);
        let mut completed = 0;
        for &order in orders {
            match counter.witness.recorded(order)? {
                Some(_) => completed += 1,
                None => violations.push(format!("order {order} was never recorded")),
            }
            match cups.get(&order) {
                Some(1) => {}
                cups => violations.push(format!(
                    "order {order} was brewed {} times",
                    cups.unwrap_or(&0)
                )),
            }
        }
        Ok(Self {
            seed,
            orders: orders.len(),
            completed,
            brewed_exactly_once: cups.values().filter(|&&cups| cups == 1).count(),
            two_valid_holders: testimony.two_holders,
            tokens_strictly_increasing: testimony.tokens_went_back == 0,
            stale_tokens_refused: counter
                .bar
                .machines
                .iter()
                .map(|machine| machine.stale_refused())
                .sum(),
            orders_tried_again: counter.retries.load(Ordering::Relaxed),
            served_while_a_follower_was_cut_off: trouble.served_cut_off,
            failover_ms: u64::try_from(trouble.failover.as_millis())?,
            locks_per_second: round(testimony.grants as f64 / elapsed.as_secs_f64()),
            elapsed_s: round(elapsed.as_secs_f64()),
            till: TillReport::default(),
            bar: BarReport::default(),
            shops: ShopsReport::default(),
            violations,
        })
    }

    pub(crate) fn print(&self, json: bool) {
        if json {
            println!(
                "{}",
                serde_json::to_string(self).expect("a report is plain data")
            );
        } else {
            println!("{}", self.table());
        }
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        let yes_no = |holds: bool| if holds { "yes" } else { "NO" }.to_owned();
        let rows = [
            ("orders", self.orders.to_string()),
            ("recorded", self.completed.to_string()),
            ("brewed exactly once", self.brewed_exactly_once.to_string()),
            (
                "never two valid holders",
                yes_no(self.two_valid_holders == 0),
            ),
            (
                "tokens strictly increasing",
                yes_no(self.tokens_strictly_increasing),
            ),
            (
                "stale tokens refused",
                self.stale_tokens_refused.to_string(),
            ),
            ("orders tried again", self.orders_tried_again.to_string()),
            (
                "served with a follower cut off",
                self.served_while_a_follower_was_cut_off.to_string(),
            ),
            ("failover", format!("{} ms", self.failover_ms)),
            ("locks per second", format!("{:.0}", self.locks_per_second)),
            ("elapsed", format!("{:.1} s", self.elapsed_s)),
            ("violations", self.violations.len().to_string()),
        ];
        for (what, how) in rows
            .into_iter()
            .chain(self.till.rows())
            .chain(self.bar.rows())
            .chain(self.shops.rows())
        {
            table.add_row([what.to_owned(), how]);
        }
        for violation in &self.violations {
            table.add_row(["", violation.as_str()]);
        }
        table
    }
}

/// How many cups each order got; within a machine, tokens of cups must never go back.
fn count_cups(counter: &Counter, violations: &mut Vec<String>) -> BTreeMap<u64, u32> {
    let mut count = BTreeMap::new();
    for machine in &counter.bar.machines {
        let cups = machine.cups();
        for (order, _) in &cups {
            *count.entry(*order).or_default() += 1;
        }
        if !cups.is_sorted_by(|(_, before), (_, after)| before < after) {
            violations.push(format!(
                "{} brewed for a token behind a newer one",
                machine.path
            ));
        }
    }
    count
}

fn round(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}
