//! What a client sees of an EVM node, on two of them: this crate's development chain and Anvil. Both are asked by the
//! same JSON-RPC, and every test runs on both; where Anvil is not installed, its half says so and skips itself.
//!
//! So do all other tests of this crate that ask an EVM node (`on_both!` says so in each file), but for those below: Anvil's
//! rules differ from geth's here and there. `coverage` holds these lists against the tests: one that is neither run on both
//! nor listed fails, and so does a line whose test is gone. Those of `peaberry-oracle` are held against a list of their own,
//! in its `tests/on_chain`.
//!
//! | in | test | Anvil's rule |
//! |---|---|---|
//! | `dev_chain/blocks` | `one_history_has_one_chain` | its headers hold random numbers: the same calls give other hashes |
//! | `dev_chain/blocks` | `reorganisations_of_every_depth_return_or_drop`, `what_spends_everything_comes_back_too` | what `anvil_reorg` and `anvil_rollback` undo is lost: nothing returns to the mempool |
//! | `dev_chain/blocks` | `the_base_fee_follows_the_blocks` | its second block has the base fee of its first; from there on `anvil_agreement` compares every one |
//! | `dev_chain/blocks` | `time_comes_from_outside_and_never_goes_back` | a time before the parent's is an error, and without a time the system's clock is asked |
//! | `dev_chain/mempool` | `a_replacement_pays_a_tenth_more_of_both_fees` | it takes replacements for 5 % more |
//! | `dev_chain/mempool` | `who_cannot_pay_the_base_fee_waits_until_it_falls` | it refuses a transaction that cannot pay the base fee of now |
//! | `dev_chain/mempool` | `what_no_node_takes_is_refused_and_changes_nothing` | it takes tips of zero, and gas limits over EIP-7825's |
//! | `dev_chain/mempool` | `what_waits_is_counted_against_the_balance`, `what_lies_behind_a_gap_is_not_counted_against_the_balance` | it holds each transaction alone against the balance |
//! | `dev_chain/json_rpc` | `an_answer_is_bounded_in_bytes` | it has no such bound |
//! | `dev_chain/mempool` | `an_estimate_looks_at_the_balance` | it estimates a plain payment without doing so |
//! | `dev_chain/mempool` | `the_best_paying_sender_comes_first_and_each_in_the_order_of_nonces` | it orders by the most that is offered, not by the tip; `anvil_agreement` sends what both order alike |
//! | `dev_chain/traces` | `the_evms_own_errors_have_words` | it has words of its own for them |
//! | `dev_chain/traces` | `a_trace_leads_to_the_call_that_failed`, `a_trace_is_cut_at_its_bound`, `a_trace_of_what_cannot_begin_says_why` | it has no bound, and no lines for people: they are of the chain's own `CallTrace`; `evm/traces` compares what both tell |
//! | `dev_chain/interval` | `blocks_come_by_interval`, `an_interval_is_kept_as_long_as_it_is_asked_for` | its clock is the system's, and not the test's; `evm/json_rpc` asks both for the interval |
//! | `dev_chain/filters` | `logs_of_undone_blocks_are_told_as_removed` | it tells nothing of undone blocks |
//! | `dev_chain/filters` | `filters_are_bounded_and_the_idle_ones_go`, `a_filter_that_has_missed_something_is_not_found` | it forgets filters by the clock |
//! | `dev_chain/filters` | `more_logs_than_one_answer_holds_come_in_several`, `a_block_with_too_many_logs_ends_its_filter` | it has no such bound |
//! | `dev_chain/filters` | `a_filter_whose_blocks_end_before_they_begin_is_refused` | it refuses every filter from a block on that is still to come |
//! | `dev_chain/json_rpc` | `both_doors_show_the_same_chain` | it has one door alone |
//! | `dev_chain/json_rpc` | `what_it_does_not_have_it_says`, `what_is_not_here_is_not_left_out` | it has these methods and arguments, and says no in other words than geth's |
//! | `dev_chain/json_rpc` | `base_fees_and_the_block_to_come_are_as_geth_tells_them` | its second block has the base fee of its first; `evm/json_rpc` asks both for all else |
//! | `dev_chain/json_rpc` | `tools_make_blocks_and_undo_them` | it has no `peaberry_reorg`; `evm/json_rpc` asks both for all else |
//! | `dev_chain/json_rpc` | `other_tools_names_mean_what_they_mean_there` | it puts transactions into the blocks of a reorganisation, and traces without `callTracer`; `evm/json_rpc` asks both for all else |
//! | `dev_chain/json_rpc` | `batches_are_answered_in_order_and_bounded` | it refuses a batch whole for one bad request, and has other bounds; `evm/json_rpc` asks both for the order |
//! | `dev_chain/json_rpc` | `any_bytes_are_answered` | it answers what is not JSON by a status of HTTP |
//! | `dev_chain/json_rpc` | `it_is_served_over_http` | it has another bound for requests; all else that is asked of Anvil goes over HTTP |
//! | `dev_chain/json_rpc` | `a_snapshot_brings_everything_back` | it does not put back what waited, goes to snapshots that were forgotten and has no chain then, and its time goes by the system's clock; `evm/json_rpc` asks both for the chain |
//! | `dev_chain/websocket` | `whoever_subscribes_is_told_of_each_block` | it has more subscriptions; `evm/websocket` asks both for the blocks |
//! | `dev_chain/websocket` | `subscriptions_and_messages_are_bounded` | it has no such bounds |
//! | `dev_chain/websocket` | `news_of_blocks_wake_and_come_back_with_the_node` | its chain ends with its process |
//! | `evm/status` | `what_nodes_may_have_forgotten_is_not_replaced` | it takes minutes for thousands of blocks |
//! | `full_queue` | `a_follow_driver_sleeps_until_there_is_room` | it is a process: no answer of its is there at the driver's first poll |
//!
//! And these ask no EVM node, or both at once:
//!
//! | in | test | why |
//! |---|---|---|
//! | `anvil_agreement` | `the_same_transactions_do_the_same_on_anvil` | plays on both and compares them |
//! | `price_oracle/gas` | `a_report_takes_as_much_on_anvil` | plays on both and compares them |
//! | `bad_input/caller` | `a_bad_checksum_is_no_address` | asks no node |
//! | `bad_input/solana` | `a_spoiled_answer_to_a_question_is_a_typed_error_and_sends_nothing`, `a_spoiled_answer_to_a_submission_names_what_may_have_been_sent`, `a_spoiled_block_hash_stops_a_submission_before_it_is_signed`, `a_limited_rate_is_kept_without_asking_again`, `a_signer_that_hangs_is_not_waited_for` | asks Solana's |
//! | `dev_chain/websocket` | `whatever_a_node_says_is_bounded_and_named`, `a_silent_node_is_given_up` | its node is the test itself, at its worst |
//! | `dev_chain/websocket` | `keys_in_urls_are_not_printed_and_others_are_refused` | asks no node |
//! | `full_queue` | `an_outbox_driver_sleeps_until_there_is_room` | its node is the test itself |
//! | `quorum` | `half_is_no_quorum` | asks no node |
//! | `tls` | `what_is_no_authority_is_refused` | asks no node |
//! | `evm/status` | `a_receipt_of_a_dead_fork_is_never_final`, `a_block_that_was_left_meanwhile_is_not_final`, `what_lies_on_a_branch_of_which_a_node_has_a_part_is_not_final`, `a_branch_is_followed_once` | its nodes are two chains at once |
//! | `evm/coverage` | `each_test_runs_on_both_nodes_or_is_listed` | reads these lists |
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as loudly as the test"
)]

#[path = "../node/mod.rs"]
mod node;

mod alloy;
mod blocks;
mod client;
mod contracts;
mod coverage;
mod filters;
mod json_rpc;
mod mempool;
mod status;
mod traces;
mod websocket;

use peaberry_chain::evm::EvmNetwork;

fn network() -> EvmNetwork {
    EvmNetwork::generic(31_337)
}
