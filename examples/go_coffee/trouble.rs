//! What goes wrong this morning: the leader is killed, a follower is cut off.

use std::time::Duration;

use peaberry_core::Clock;

use crate::Failure;
use crate::barista::Counter;
use crate::cluster::{Cluster, REPLICAS};

/// How the shop came through.
pub(crate) struct Trouble {
    /// From the kill to the first lock that the next leader granted.
    pub(crate) failover: Duration,
    /// Orders finished while a follower was cut off.
    pub(crate) served_cut_off: usize,
}

/// Strikes at a third and at two thirds of the orders.
pub(crate) async fn strike(
    cluster: &mut Cluster,
    counter: &Counter,
    orders: usize,
    mut rng: fastrand::Rng,
) -> Result<Trouble, Failure> {
    finished(counter, orders / 3).await?;
    let failover = kill_the_leader(cluster, counter).await?;
    finished(counter, orders * 2 / 3).await?;
    let (_, leader) = cluster.leader();
    let followers: Vec<u64> = REPLICAS.into_iter().filter(|&id| id != leader).collect();
    let follower = rng.choice(followers).ok_or("a leader has followers")?;
    cluster.cut_off(follower);
    let before = *counter.done.borrow();
    finished(counter, orders * 5 / 6).await?;
    let served_cut_off = *counter.done.borrow() - before;
    cluster.heal(follower);
    finished(counter, orders).await?;
    Ok(Trouble {
        failover,
        served_cut_off,
    })
}

/// Waits until so many orders are finished.
async fn finished(counter: &Counter, orders: usize) -> Result<(), Failure> {
    counter
        .done
        .subscribe()
        .wait_for(|&done| done >= orders)
        .await?;
    Ok(())
}

/// Kills the leader's process and starts it again on its folder once another leads; answers how long no lock was granted.
async fn kill_the_leader(cluster: &mut Cluster, counter: &Counter) -> Result<Duration, Failure> {
    let (term, leader) = cluster.leader();
    let killed = counter.clock.now();
    cluster.kill(leader)?;
    cluster.leader_after(term).await?;
    // Only from here on can a grant be the next leader's; what was in the air before does not count.
    let granted = *counter.grants.borrow();
    counter
        .grants
        .subscribe()
        .wait_for(|&grants| grants > granted)
        .await?;
    let failover = counter.clock.now().since(killed);
    cluster.start_replica(leader).await?;
    Ok(failover)
}
