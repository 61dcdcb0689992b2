use std::time::Duration;

use peaberry_core::Timestamp;

use super::{Order, PaidBy};

/// Drinks with their price in hundredths and how many of a thousand orders ask for them.
const MENU: [(&str, u32, u32); 8] = [
    ("Americano with Milk", 3282, 237),
    ("Latte", 3772, 214),
    ("Cappuccino", 3772, 173),
    ("Americano", 2792, 149),
    ("Cortado", 2792, 87),
    ("Hot Chocolate", 3772, 66),
    ("Espresso", 2302, 43),
    ("Cocoa", 3772, 31),
];

/// How many of a thousand orders are paid in cash.
const CASH_PER_MILLE: u32 = 79;

/// Of how many thousandths of the card orders the customer is one of the regulars.
const REGULAR_PER_MILLE: u32 = 400;

const REGULARS: u32 = 12;
const STRANGERS: u32 = 1000;

/// The machine sells from here on, in hours of the day, …
const OPENS: u64 = 7;
/// … for this long. Nobody waits more than two hours for the next order, so each day has some.
const OPEN_MS: u64 = 15 * HOUR_MS;
const GAP_MS_MAX: u64 = 2 * HOUR_MS;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// 2024-03-01 00:00 UTC.
const FIRST_DAY_MS: u64 = 1_709_251_200_000;

/// Orders made up from a seed, without end: the same seed gives the same orders on every machine.
///
/// They look like the sales of one coffee machine: the same drinks in about the same shares, opening hours, some cash,
/// a few customers who come often and many who come once. Times rise from order to order.
#[derive(Clone, Debug)]
pub struct SeededOrders {
    random: fastrand::Rng,
    number: u64,
    /// Since the first day opened, with the closed hours left out.
    open_ms: u64,
}

impl SeededOrders {
    /// The orders of `seed`, from the first on.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            number: 0,
            open_ms: 0,
        }
    }

    fn time(&mut self) -> Timestamp {
        self.open_ms += self.random.u64(1..=GAP_MS_MAX);
        let (day, into_day) = (self.open_ms / OPEN_MS, self.open_ms % OPEN_MS);
        let millis = FIRST_DAY_MS + day * DAY_MS + OPENS * HOUR_MS + into_day;
        let nanos = Duration::from_millis(millis).as_nanos();
        Timestamp::from_unix_nanos(u64::try_from(nanos).expect("far before the year 2554"))
    }

    fn drink(&mut self) -> (&'static str, u32) {
        let mut ticket = self.random.u32(..1000);
        for (drink, price_cents, share) in MENU {
            if ticket < share {
                return (drink, price_cents);
            }
            ticket -= share;
        }
        unreachable!("the shares add up to a thousand")
    }

    fn paid_by(&mut self) -> PaidBy {
        if self.random.u32(..1000) < CASH_PER_MILLE {
            return PaidBy::Cash;
        }
        let customer = if self.random.u32(..1000) < REGULAR_PER_MILLE {
            self.random.u32(..REGULARS)
        } else {
            REGULARS + self.random.u32(..STRANGERS)
        };
        PaidBy::Card(format!("SEED-{customer:04}"))
    }
}

impl Iterator for SeededOrders {
    type Item = Order;

    fn next(&mut self) -> Option<Order> {
        self.number += 1;
        let time = self.time();
        let (drink, price_cents) = self.drink();
        Some(Order {
            number: self.number,
            time,
            drink: drink.to_owned(),
            price_cents,
            paid_by: self.paid_by(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Write;

    use time::OffsetDateTime;

    use super::*;
    use crate::orders::OrderFile;

    #[test]
    fn a_seed_gives_the_same_orders_again_and_another_gives_others() {
        let orders = |seed| SeededOrders::new(seed).take(100).collect::<Vec<_>>();
        assert_eq!(orders(7), orders(7));
        assert_ne!(orders(7), orders(8));
    }

    #[test]
    fn seeded_orders_written_as_a_file_are_read_back_unchanged() {
        let orders: Vec<_> = SeededOrders::new(3).take(2000).collect();
        let mut text = String::from("date,datetime,cash_type,card,money,coffee_name\n");
        for order in &orders {
            write_line(&mut text, order);
        }
        let read = OrderFile::read(text.as_bytes()).unwrap().into_orders();
        assert_eq!(read.unwrap(), orders);
    }

    fn write_line(text: &mut String, order: &Order) {
        let nanos = i128::from(order.time.as_unix_nanos());
        let time = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap();
        let day = time.date();
        let (hour, minute, second, millis) = time.to_hms_milli();
        let (cash_type, card) = match &order.paid_by {
            PaidBy::Cash => ("cash", ""),
            PaidBy::Card(card) => ("card", card.as_str()),
        };
        let (whole, cents) = (order.price_cents / 100, order.price_cents % 100);
        writeln!(
            text,
            "{day},{day} {hour:02}:{minute:02}:{second:02}.{millis:03},{cash_type},{card},{whole}.{cents:02},{}",
            order.drink
        )
        .unwrap();
    }

    #[test]
    fn times_rise_and_stay_within_the_opening_hours() {
        let orders: Vec<_> = SeededOrders::new(11).take(2000).collect();
        assert!(orders.is_sorted_by(|earlier, later| earlier.time < later.time));
        for order in orders {
            let into_day_ms = order.time.as_unix_nanos() / 1_000_000 % DAY_MS;
            assert!((OPENS * HOUR_MS..OPENS * HOUR_MS + OPEN_MS).contains(&into_day_ms));
        }
    }

    #[test]
    fn shares_are_about_those_of_the_menu() {
        let mut count = BTreeMap::<String, u32>::new();
        let mut in_cash = 0;
        for order in SeededOrders::new(5).take(10_000) {
            *count.entry(order.drink).or_default() += 1;
            in_cash += u32::from(order.paid_by == PaidBy::Cash);
        }
        for (drink, _, share) in MENU {
            assert!(
                count[drink].abs_diff(share * 10) < 200,
                "{drink}: {}",
                count[drink]
            );
        }
        assert_eq!(MENU.iter().map(|(_, _, share)| share).sum::<u32>(), 1000);
        assert!(in_cash.abs_diff(CASH_PER_MILLE * 10) < 200, "{in_cash}");
    }
}
