//! Which rare branches the worlds reach.

use crate::simulation::Reached;

pub(super) const WEIGHTED: &str = "weighted_median";
pub(super) const FALLBACK: &str = "equal_weights_in_place_of_a_dominated_set";
pub(super) const TWO_REPORTS: &str = "two_signed_reports_of_one_round";
pub(super) const EVIDENCE_OBSERVATIONS: &str = "evidence_of_two_observations";
pub(super) const EVIDENCE_REPORTS: &str = "evidence_of_two_reports";
pub(super) const LIAR_NAMED: &str = "liar_named";
pub(super) const LIAR_LED: &str = "liar_led_a_report";
pub(super) const TRIPPED: &str = "breaker_tripped";
pub(super) const RESET_BY_OPERATOR: &str = "breaker_reset_by_operator";
pub(super) const RESET_BY_QUORUM: &str = "breaker_reset_by_quorum";
pub(super) const ROTATED: &str = "weights_rotated";
pub(super) const SPLIT: &str = "oracles_with_other_weights";
pub(super) const OTHER_CONFIGURATION: &str = "other_configuration_noticed";
pub(super) const LATE_SLOT: &str = "stored_by_a_later_transmitter";
pub(super) const REFUSED_ON_CHAIN: &str = "replay_refused_on_chain";
pub(super) const RECHECKED: &str = "stored_answer_computed_again";
pub(super) const ECDSA: &str = "world_with_ecdsa";
pub(super) const FROST: &str = "world_with_frost";
pub(super) const ALL_RESTARTED: &str = "calm_after_a_restart_of_all";
pub(super) const CALM_WITHOUT_RESTART: &str = "calm_without_restarts";
pub(super) const EQUIVOCATION_ARRIVED: &str = "equivocation_reached_its_leader";
pub(super) const EVIDENCE_READ_BACK: &str = "evidence_read_back_from_a_store";
pub(super) const HALTED_ON_CHAIN: &str = "feed_halted_on_chain";
pub(super) const RESET_ON_CHAIN: &str = "feed_reset_on_chain";
pub(super) const NO_VALUES: &str = "liars_without_values";
pub(super) const LONG_EPOCHS: &str = "world_of_long_epochs";
pub(super) const SEVEN: &str = "world_of_seven";

pub(super) fn none() -> Reached {
    Reached::of(&[
        WEIGHTED,
        FALLBACK,
        TWO_REPORTS,
        EVIDENCE_OBSERVATIONS,
        EVIDENCE_REPORTS,
        LIAR_NAMED,
        LIAR_LED,
        TRIPPED,
        RESET_BY_OPERATOR,
        RESET_BY_QUORUM,
        ROTATED,
        SPLIT,
        OTHER_CONFIGURATION,
        LATE_SLOT,
        REFUSED_ON_CHAIN,
        RECHECKED,
        ECDSA,
        FROST,
        ALL_RESTARTED,
        CALM_WITHOUT_RESTART,
        EQUIVOCATION_ARRIVED,
        EVIDENCE_READ_BACK,
        HALTED_ON_CHAIN,
        RESET_ON_CHAIN,
        NO_VALUES,
        LONG_EPOCHS,
        SEVEN,
    ])
}
