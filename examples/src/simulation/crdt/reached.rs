//! Which rare branches the worlds reach.

use crate::simulation::Reached;

pub(super) const DAMAGED: &str = "frame_damaged";
pub(super) const STALE_BACKUP: &str = "stale_backup_restored";
pub(super) const EVICTED: &str = "member_evicted";
pub(super) const REJOINED: &str = "member_came_back";
pub(super) const STRANGER_REFUSED: &str = "evicted_member_refused_by_name";
pub(super) const LEARNED_EVICTION: &str = "eviction_learned";
/// Heard from another member, or from the operator.
pub(super) const MEMBERSHIP_HEARD: &str = "later_membership_heard";
/// Everybody whom it may still know is gone.
pub(super) const TOLD_BY_HAND: &str = "membership_told_by_hand";
pub(super) const ID_KEPT: &str = "id_kept_over_a_restart";
pub(super) const ID_FRESH: &str = "fresh_id_after_a_restart";
pub(super) const LATE_WRITE: &str = "write_after_eviction";

/// A delta that was too long for a frame.
pub(super) const IN_PIECES: &str = "delta_sent_in_pieces";
/// A stamp of one whose calendar is far ahead.
pub(super) const FAR_FUTURE: &str = "far_future_stamp_refused";
/// Where a document may hold a few dots only.
pub(super) const WRITE_WITHOUT_ROOM: &str = "write_without_room_refused";
pub(super) const DELTA_WITHOUT_ROOM: &str = "delta_without_room_refused";
pub(super) const TOLD_OF_REFUSAL: &str = "sender_told_of_refusal";

/// A single write's delta that was passed on unasked.
pub(super) const PASSED_ON: &str = "delta_passed_on";
/// One that had overtaken what it needs.
pub(super) const GAP: &str = "gap_refused";

/// A sequence that joined what another wrote while it was itself written.
pub(super) const WRITTEN_APART: &str = "sequence_written_apart";
/// A text or a stock, durably, beside the document.
pub(super) const WRITTEN_BESIDE: &str = "text_or_stock_written";
pub(super) const EDIT_BEYOND: &str = "edit_beyond_text_refused";
/// An event that had not seen its replica's own before.
pub(super) const FORKED: &str = "forked_text_refused";

pub(super) fn none() -> Reached {
    Reached::of(&[
        DAMAGED,
        STALE_BACKUP,
        EVICTED,
        REJOINED,
        STRANGER_REFUSED,
        LEARNED_EVICTION,
        MEMBERSHIP_HEARD,
        TOLD_BY_HAND,
        ID_KEPT,
        ID_FRESH,
        LATE_WRITE,
        IN_PIECES,
        FAR_FUTURE,
        WRITE_WITHOUT_ROOM,
        DELTA_WITHOUT_ROOM,
        TOLD_OF_REFUSAL,
        PASSED_ON,
        GAP,
        WRITTEN_APART,
        WRITTEN_BESIDE,
        EDIT_BEYOND,
        FORKED,
    ])
}
