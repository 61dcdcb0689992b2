//! Groups on real threads, over memory.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail as tests do")]

mod support;

use bytes::Bytes;
use peaberry_consensus::{Outcome, ReadError, Rejection};
use support::{Cluster, number};

/// Every replica ends with every command that completed, and answers what the state machine answered.
#[tokio::test(flavor = "multi_thread")]
async fn commands_complete_with_the_machines_answer() {
    let cluster = Cluster::start(3);
    let leader = cluster.leader().await;
    let mut sum = 0;
    for add in 1..=200_u64 {
        sum += add;
        let outcome = cluster
            .handle(leader)
            .propose(Bytes::copy_from_slice(&add.to_be_bytes()))
            .await;
        let Outcome::Committed { response, .. } = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(number(&response), sum);
    }
    for replica in 0..3 {
        let read = cluster.handle(replica).read(Bytes::new()).await.unwrap();
        assert_eq!(
            number(&read),
            sum,
            "a linearizable read on replica {replica}"
        );
    }
}

/// A follower refuses and names the leader; a command over the limit is refused everywhere.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_proposed_is_rejected_with_the_reason() {
    let cluster = Cluster::start(3);
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    let outcome = cluster
        .handle(follower)
        .propose(Bytes::from_static(&[0; 8]))
        .await;
    let Outcome::Rejected(rejection) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        rejection.to_string(),
        format!("this replica does not lead: try peer-{}", leader + 1)
    );

    let outcome = cluster
        .handle(leader)
        .propose(Bytes::from(vec![0; (1 << 20) + 1]))
        .await;
    let Outcome::Rejected(rejection) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        rejection.to_string(),
        "command of 1048577 bytes is over the limit of 1048576"
    );
}

/// Many callers at once: each gets the answer to its own command.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_callers_get_their_own_answers() {
    let cluster = Cluster::start(3);
    let leader = cluster.leader().await;
    let callers = (0..64).map(|_| {
        let handle = cluster.handle(leader).clone();
        tokio::spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..50 {
                let outcome = handle
                    .propose(Bytes::copy_from_slice(&1_u64.to_be_bytes()))
                    .await;
                let Outcome::Committed { response, .. } = outcome else {
                    panic!("{outcome:?}")
                };
                seen.push(number(&response));
            }
            seen
        })
    });
    let mut all = Vec::new();
    for caller in callers.collect::<Vec<_>>() {
        all.extend(caller.await.unwrap());
    }
    all.sort_unstable();
    assert_eq!(
        all,
        (1..=64 * 50).collect::<Vec<u64>>(),
        "each sum was answered to exactly one caller"
    );
}

/// Trying again on a replica that has stopped leads nowhere, so its answer is another than an overloaded one's.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_replica_says_so() {
    let cluster = Cluster::start(1);
    let handle = cluster.handle(cluster.leader().await).clone();
    drop(cluster);
    assert_eq!(
        handle.propose(Bytes::new()).await,
        Outcome::Rejected(Rejection::Stopped)
    );
    assert_eq!(handle.read(Bytes::new()).await, Err(ReadError::Stopped));
}
