//! A coffee machine that is not there: sensors to read, recipes to order, a brewer that carries them out.
//!
//! For examples, tests and fleets. Everything in it is made of the parts that a real machine uses: its sensors implement
//! [`Sensor`](crate::sensor::Sensor), its recipes are [`Recipe`](crate::order::Recipe)s, and its brewer takes
//! [`OrderEvent`](crate::order::OrderEvent)s and answers with [`OrderCommand`](crate::order::OrderCommand)s.

mod brewer;
mod machine;
mod recipes;

pub use self::brewer::{BrewCommand, BrewReport, Brewer};
pub use self::machine::{CoffeeMachine, CoffeeMetric, Fault, MachineSensor};
pub use self::recipes::{capabilities, recipes};
