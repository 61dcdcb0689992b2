//! Orders that are carried out once: reserved, step by step, across a loss of power.
//!
//! [`Orders`] is a [`Protocol`](peaberry_core::Protocol): a node gives it commands and carries out its events. Before a step
//! begins, that it begins is durable; so after a crash it is known which step may have been half-way, and the recipe says
//! whether such a step may be begun again (heating) or not (water has run through the coffee). What was asked for twice,
//! with one key, is done once.

mod admission;
mod command;
mod journal;
mod orders;
mod progress;
mod recipe;
mod remembered;
mod state;
mod stock;

pub use self::command::{OrderCommand, OrderEvent, OrdersSettings, StepRun};
pub use self::orders::Orders;
pub use self::recipe::{
    AfterCrash, Interruption, NEEDS_MAX, Need, Recipe, Recipes, STEPS_MAX, Step,
};

/// Feeds any bytes at all to the decoder of stored orders, and panics if one that it accepts has another spelling.
#[doc(hidden)]
pub fn decode_any_order_bytes(bytes: &[u8]) {
    journal::decode_any(bytes);
}

#[cfg(test)]
mod tests;
