//! Coffee orders: read from a file of real sales, or made up from a seed.
//!
//! ```
//! use peaberry_examples::orders::{OrderFile, SeededOrders};
//!
//! let text = "date,datetime,cash_type,card,money,coffee_name\n\
//!             2024-03-01,2024-03-01 10:15:50.520,card,ANON-0001,38.7,Latte\n\
//!             2024-03-01,2024-03-01 10:30:35.668,cash,,-40.0,Latte\n";
//! let file = OrderFile::read(text.as_bytes()).unwrap();
//! assert_eq!(file.orders[0].price_cents, 3870);
//! assert_eq!(file.problems[0].to_string(), "line 3, money: \"-40.0\" is not an amount such as 38.7");
//! assert!(file.into_orders().is_err(), "one bad line is reported, never passed over");
//!
//! assert_eq!(SeededOrders::new(7).take(3).count(), 3);
//! ```

mod columns;
mod file;
mod lines;
mod seeded;

use peaberry_core::Timestamp;

pub use self::file::{MalformedOrders, ORDERS_MAX, OrderFile, OrdersError, PROBLEMS_MAX, Problem};
pub use self::lines::LINE_BYTES_MAX;
pub use self::seeded::SeededOrders;

/// One drink sold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its place among the orders of one source, from 1 upwards without gaps.
    pub number: u64,
    /// When it was sold: the machine's local calendar, read as if it were UTC, in whole milliseconds.
    pub time: Timestamp,
    /// What was sold, 1 to 64 bytes.
    pub drink: String,
    /// What was paid, in hundredths of the machine's currency, never zero.
    pub price_cents: u32,
    /// How it was paid.
    pub paid_by: PaidBy,
}

/// How an order was paid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a coffee machine takes these two, and an accountant handles both"
)]
pub enum PaidBy {
    /// Coins and notes: the customer has no name.
    Cash,
    /// A card, by its pseudonym.
    Card(String),
}
