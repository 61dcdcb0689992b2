//! The faults of chains and their nodes, by name.

use crate::simulation::Reached;

pub(super) const QUESTION_LOST: &str = "rpc_question_lost";
pub(super) const QUESTION_REPEATED: &str = "rpc_question_repeated";
pub(super) const ANSWER_LOST: &str = "rpc_answer_lost";
pub(super) const ANSWER_REPEATED: &str = "rpc_answer_repeated";
pub(super) const HUNG: &str = "rpc_hung";
pub(super) const LIMITED: &str = "rpc_rate_limited";
pub(super) const ANSWER_LATE: &str = "rpc_answer_reordered";
pub(super) const UNREACHABLE: &str = "rpc_unreachable";
pub(super) const NODE_LAGGED: &str = "node_lagged";
pub(super) const NODE_BEHIND: &str = "node_behind_the_final_block";
pub(super) const ORPHANED: &str = "node_answered_from_an_orphan";
pub(super) const ORPHAN_REPEATED: &str = "liar_called_an_orphan_final";
pub(super) const RECEIPT_FORGOTTEN: &str = "node_forgot_a_receipt";
pub(super) const RANGE_TOO_WIDE: &str = "range_too_wide";
pub(super) const REORG: &str = "reorg";
pub(super) const REORG_DEEP: &str = "reorg_32_or_deeper";
pub(super) const REORG_WHILE_DOWN: &str = "reorg_while_down";
pub(super) const REORG_DEEPEST: &str = "reorg_64_or_deeper";
pub(super) const REORG_DEEP_WHILE_DOWN: &str = "reorg_32_or_deeper_while_down";
pub(super) const LEFT_BEHIND: &str = "node_left_on_a_dead_fork";
pub(super) const NODE_ASTRAY: &str = "node_answered_from_a_dead_fork";
pub(super) const FOREIGN: &str = "foreign_transaction";
pub(super) const FOREIGN_FORGOTTEN: &str = "foreign_transaction_where_receipts_are_forgotten";
pub(super) const POOL_LOST: &str = "mempool_lost_transaction";
pub(super) const FEES_ROSE: &str = "fees_rose";
pub(super) const BROKE: &str = "account_without_money";
pub(super) const FINAL_CHANGED: &str = "final_block_changed";
pub(super) const POOL_FULL: &str = "mempool_full";
pub(super) const SIGNER_FAILED: &str = "signer_failed";
pub(super) const SIGNER_SILENT: &str = "signer_silent";
pub(super) const PAST_REFUSED: &str = "node_refused_its_past";
pub(super) const STORY_NO_RECEIPTS: &str = "liar_held_to_no_receipts";
pub(super) const STORY_ONE_FINAL_BLOCK: &str = "liar_held_to_one_final_block";
pub(super) const STORY_NO_LOGS: &str = "liar_held_to_no_logs";
pub(super) const STORY_ONE_NONCE: &str = "liar_held_to_one_nonce";
pub(super) const STORY_ON_ORPHAN: &str = "liar_held_to_an_orphan";
pub(super) const STORY_REFUSALS: &str = "liar_held_to_refusals";
pub(super) const STORY_SILENCE: &str = "liar_held_to_silence";
pub(super) const SOLANA_SNAPSHOT: &str = "solana_node_from_a_snapshot";
pub(super) const SOLANA_CONGESTED: &str = "solana_congested";
pub(super) const SOLANA_POOR: &str = "solana_account_without_money";
pub(super) const SOLANA_REORG: &str = "solana_fork_abandoned";
pub(super) const SOLANA_LOST: &str = "solana_transaction_not_forwarded";
pub(super) const SOLANA_MISSHAPEN: &str = "solana_liar_answered_in_another_shape";

/// What a lying node lies about: everything that it can be asked.
pub(super) const LIES: [&str; 19] = [
    LIE_CHAIN_ID,
    LIE_BALANCE,
    LIE_CODE,
    LIE_CALL,
    LIE_NONCE,
    LIE_PENDING_NONCE,
    LIE_GAS,
    LIE_FEES,
    LIE_TAKEN,
    LIE_REFUSED,
    LIE_TRANSACTION,
    LIE_RECEIPT,
    LIE_REASON,
    LIE_NEWEST,
    LIE_FINAL,
    LIE_BLOCK_BY_NUMBER,
    LIE_BLOCK_BY_HASH,
    LIE_LOGS_OF_BLOCK,
    LIE_LOGS_OF_RANGE,
];
pub(super) const LIE_CHAIN_ID: &str = "lied_about_chain_id";
pub(super) const LIE_BALANCE: &str = "lied_about_balance";
pub(super) const LIE_CODE: &str = "lied_about_code";
pub(super) const LIE_CALL: &str = "lied_about_call";
pub(super) const LIE_NONCE: &str = "lied_about_nonce";
pub(super) const LIE_PENDING_NONCE: &str = "lied_about_pending_nonce";
pub(super) const LIE_GAS: &str = "lied_about_gas";
pub(super) const LIE_FEES: &str = "lied_about_fees";
pub(super) const LIE_TAKEN: &str = "lied_that_it_took_transaction";
pub(super) const LIE_REFUSED: &str = "lied_why_it_refused_transaction";
pub(super) const LIE_TRANSACTION: &str = "lied_about_transaction";
pub(super) const LIE_RECEIPT: &str = "lied_about_receipt";
pub(super) const LIE_REASON: &str = "lied_why_transaction_was_undone";
pub(super) const LIE_NEWEST: &str = "lied_about_newest_block";
pub(super) const LIE_FINAL: &str = "lied_about_final_block";
pub(super) const LIE_BLOCK_BY_NUMBER: &str = "lied_about_block_by_number";
pub(super) const LIE_BLOCK_BY_HASH: &str = "lied_about_block_by_hash";
pub(super) const LIE_LOGS_OF_BLOCK: &str = "lied_about_logs_of_block";
pub(super) const LIE_LOGS_OF_RANGE: &str = "lied_about_logs_of_range";

/// The same of Solana, by its methods.
pub(super) const SOLANA_LIES: [(&str, &str); 7] = [
    ("getGenesisHash", "solana_lied_about_genesis"),
    ("getLatestBlockhash", "solana_lied_about_block_hash"),
    ("getEpochInfo", "solana_lied_about_height"),
    ("getFirstAvailableBlock", "solana_lied_about_ledger"),
    ("getBlock", "solana_lied_about_block"),
    ("getSignatureStatuses", "solana_lied_about_status"),
    ("sendTransaction", "solana_lied_about_sending"),
];

pub(super) fn none() -> Reached {
    let own = [
        QUESTION_LOST,
        QUESTION_REPEATED,
        ANSWER_LOST,
        ANSWER_REPEATED,
        ANSWER_LATE,
        HUNG,
        LIMITED,
        UNREACHABLE,
        SOLANA_POOR,
        NODE_LAGGED,
        NODE_BEHIND,
        ORPHANED,
        ORPHAN_REPEATED,
        RECEIPT_FORGOTTEN,
        PAST_REFUSED,
        STORY_NO_RECEIPTS,
        STORY_ONE_FINAL_BLOCK,
        STORY_NO_LOGS,
        STORY_ONE_NONCE,
        STORY_ON_ORPHAN,
        STORY_REFUSALS,
        STORY_SILENCE,
        RANGE_TOO_WIDE,
        REORG,
        REORG_DEEP,
        REORG_DEEPEST,
        REORG_WHILE_DOWN,
        REORG_DEEP_WHILE_DOWN,
        LEFT_BEHIND,
        NODE_ASTRAY,
        FOREIGN,
        FOREIGN_FORGOTTEN,
        POOL_LOST,
        FEES_ROSE,
        BROKE,
        POOL_FULL,
        SIGNER_FAILED,
        SIGNER_SILENT,
        FINAL_CHANGED,
        SOLANA_CONGESTED,
        SOLANA_SNAPSHOT,
        SOLANA_REORG,
        SOLANA_LOST,
        SOLANA_MISSHAPEN,
    ];
    let solana = SOLANA_LIES.map(|(_, lie)| lie);
    Reached::of(&[own.as_slice(), &LIES, &solana].concat())
}

pub(super) const UNKNOWN: &str = "nobody_knows_what_used_a_nonce";
pub(super) const UNKNOWN_TO_THE_END: &str = "nobody_knows_to_the_end_what_used_a_nonce";
pub(super) const DISPLACED: &str = "transaction_displaced";
pub(super) const REORGANISED: &str = "transaction_reorganised";
pub(super) const CANCELLED: &str = "transaction_cancelled";
pub(super) const BUMPED: &str = "fees_raised";
pub(super) const EXPIRED: &str = "solana_transaction_expired";
pub(super) const REJECTED: &str = "intent_rejected";
pub(super) const REFUSED: &str = "transaction_refused_for_good";
pub(super) const UNDONE: &str = "transaction_reverted";
pub(super) const DEFERRED: &str = "intent_deferred";
pub(super) const FAR_BEHIND: &str = "follower_far_behind";
pub(super) const FAR_ON_DEAD_FORK: &str = "follower_far_behind_on_a_dead_fork";
pub(super) const ALARMED: &str = "alarm_raised";
pub(super) const RETOLD: &str = "change_told_again_after_a_crash";
pub(super) const REMOVED: &str = "block_removed";
pub(super) const LIAR_NAMED: &str = "liar_named";
pub(super) const STRAY_NAMED: &str = "node_on_a_dead_fork_named";
pub(super) const LONG_ASTRAY: &str = "node_stayed_on_a_dead_fork_beyond_finality";
pub(super) const FOLLOWED_ASTRAY: &str = "follower_on_a_dead_fork";
pub(super) const RING_FULL: &str = "chain_longer_than_the_ring";
pub(super) const APPLIED: &str = "changes_applied_with_their_acknowledgement";
pub(super) const FORGOTTEN: &str = "forgotten_key_refused";

pub(super) fn branches() -> Reached {
    Reached::of(&[
        UNKNOWN,
        UNKNOWN_TO_THE_END,
        DISPLACED,
        REORGANISED,
        CANCELLED,
        BUMPED,
        EXPIRED,
        REJECTED,
        REFUSED,
        UNDONE,
        DEFERRED,
        FAR_BEHIND,
        FAR_ON_DEAD_FORK,
        ALARMED,
        RETOLD,
        REMOVED,
        LIAR_NAMED,
        STRAY_NAMED,
        LONG_ASTRAY,
        FOLLOWED_ASTRAY,
        RING_FULL,
        APPLIED,
        FORGOTTEN,
    ])
}
