//! What several of the examples share, and the systems that `soak` and `mutants` put under simulation.
//!
//! Start with `cargo run --release --example go_coffee`.
#![deny(missing_docs)]

pub mod orders;
pub mod simulation;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use peaberry_chain::follow::FOLLOW;
    use peaberry_chain::outbox::OUTBOX;
    use peaberry_consensus::RAFT;
    use peaberry_crdt::protocol::CRDT;
    use peaberry_edge::collector::COLLECTOR;
    use peaberry_edge::fleet::FLEET;
    use peaberry_edge::spool::SPOOL;
    use peaberry_lockd::LOCKD_PROTOCOL;
    use peaberry_oracle::{KEY_GENERATION, ORACLE};

    #[test]
    fn no_two_crates_share_a_protocol_number_so_that_one_node_and_one_store_can_host_them_all() {
        let all = [
            RAFT,
            LOCKD_PROTOCOL,
            CRDT,
            OUTBOX,
            FOLLOW,
            ORACLE,
            KEY_GENERATION,
            SPOOL,
            COLLECTOR,
            FLEET,
        ];
        let distinct = BTreeSet::from(all);
        assert_eq!(distinct.len(), all.len(), "{all:?}");
        assert!(all.iter().all(|protocol| protocol.0 < 1024));
    }
}

/// The project's front page, whose code runs as a test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
