//! Which rare branches the worlds reach.

use crate::simulation::Reached;

pub(super) const BROKER_KILLED: &str = "broker_killed";
pub(super) const BROKER_FORGOT: &str = "broker_forgot_what_it_acknowledged";
pub(super) const FOG_CRASHED: &str = "fog_crashed";
pub(super) const GATEWAY_CRASHED: &str = "gateway_crashed";
pub(super) const LINK_CUT: &str = "link_cut";
pub(super) const GAP_TOLD: &str = "gap_told";
pub(super) const ORDER_REPEATED: &str = "order_placed_again";
pub(super) const BACKLOG_REPEATED: &str = "backlog_handed_in_again";
pub(super) const STEP_UNKNOWN: &str = "power_lost_in_a_step";
pub(super) const COMPLETED: &str = "order_completed";

pub(super) fn none() -> Reached {
    Reached::of(&[
        BROKER_KILLED,
        BROKER_FORGOT,
        FOG_CRASHED,
        GATEWAY_CRASHED,
        LINK_CUT,
        GAP_TOLD,
        ORDER_REPEATED,
        BACKLOG_REPEATED,
        STEP_UNKNOWN,
        COMPLETED,
    ])
}
