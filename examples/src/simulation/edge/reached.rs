//! Which rare branches the worlds reach.

use crate::simulation::Reached;

macro_rules! branches {
    ($($name:ident = $word:literal,)*) => {
        $(pub(super) const $name: &str = $word;)*

        pub(super) fn none() -> Reached {
            Reached::of(&[$($name),*])
        }
    };
}

branches! {
    BROKER_KILLED = "broker_killed",
    BROKER_REFUSED = "broker_refused_a_message",
    MESSAGE_LATE = "message_came_late",
    MESSAGE_TWICE = "message_came_twice",
    BROKER_FORGOT = "broker_forgot_what_it_acknowledged",
    FOG_CRASHED = "collector_crashed",
    GATEWAY_CRASHED = "gateway_crashed",
    LINK_CUT = "link_cut",
    RETAINED = "retained_order_placed",
    RETAINED_REJECTED = "order_kept_by_the_broker_rejected",
    GAP_DROPPED = "gap_told_of_dropped_records",
    GAP_DECIMATED = "gap_told_of_decimated_records",
    GAP_REJECTED = "gap_told_of_rejected_records",
    GAP_REPEATED = "gap_record_was_dropped_itself",
    REPEATED = "collector_knew_the_record",
    OF_EARLIER_START = "collector_named_an_earlier_start",
    LATER_START_KNOWN = "device_heard_of_a_later_start",
    OVERTAKEN_AND_LOST = "record_of_an_overtaken_start_lost_and_named",
    GONE_ABOVE = "start_on_another_disk_above_all_known",
    DISK_REPLACED = "disk_replaced_by_an_empty_one",
    DISK_RESTORED = "disk_restored_from_a_backup",
    TWIN_REFUSED = "twin_without_memory_refused_by_the_service",
    BROKER_IS_ENOUGH = "broker_acknowledgement_is_enough",
    DEFERRED = "collector_deferred_a_record",
    COLLECTOR_FULL = "collector_found_its_disk_full",
    INBOX_READ_AGAIN = "inbox_read_again_after_a_crash",
    STRANGER_REFUSED = "stranger_refused_by_a_device",
    STRANGER_REFUSED_BY_COLLECTOR = "stranger_refused_by_the_collector",
    OTHER_DEVICE = "command_for_another_device_refused",
    ORDER_REPEATED = "order_placed_again",
    ORDER_REJECTED = "order_without_ingredients_rejected",
    RECIPE_UNKNOWN = "unknown_recipe_rejected",
    KEY_REUSED = "key_used_for_another_recipe_rejected",
    ORDER_COMPLETED = "order_completed",
    ORDER_CANCELLED = "order_cancelled",
    ORDER_FAILED = "order_failed",
    ORDER_STOPPED = "order_stopped",
    ORDER_UNKNOWN = "order_unknown_after_a_crash",
    STEP_CUT_SHORT = "power_lost_in_a_step",
    STEP_REPEATED = "step_begun_again_after_a_crash",
    STEP_OVERDUE = "step_took_too_long",
    END_TOLD_AGAIN = "end_of_an_order_told_again",
    FULL_WITH_ORDER = "disk_full_with_an_order_under_way",
    FULL_AND_GIVEN_UP = "records_given_up_to_a_full_disk",
    BOOT_ON_FULL_DISK = "start_on_a_full_disk_failed",
    SPOOL_REJECTED = "record_rejected_by_a_full_spool",
    ACTED = "rule_acted",
    BACKLOG_REPEATED = "backlog_handed_in_again",
    BACKLOG_OF_EARLIER_START = "backlog_of_an_earlier_start_handed_in",
    SAMPLE_FROM_THE_FUTURE = "sample_from_the_future_refused",
    TWIN_DESIRED_AWAY = "twin_desired_by_the_service",
    TWIN_DESIRED_HERE = "twin_desired_on_the_spot",
    TWIN_ANSWERED = "twin_answered_who_was_behind",
    SETTING_REFUSED = "setting_refused",
    CALENDAR_SET_BACK = "calendar_set_back_ten_years",
}
