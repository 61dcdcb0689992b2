//! What goes wrong this morning: the leader is killed, the machines' line is cut, a follower is cut off.

use std::time::Duration;

use peaberry_core::Clock;
use peaberry_lockd::{LockClient, SessionOptions};

use crate::Failure;
use crate::bar::Outage;
use crate::barista::{Counter, LEASE};
use crate::cluster::{Cluster, REPLICAS};

/// How the shop came through.
pub(crate) struct Trouble {
    /// From the kill to the first lock that the next leader granted.
    pub(crate) failover: Duration,
    /// Orders finished while a follower was cut off.
    pub(crate) served_cut_off: usize,
    /// When the machines' line was cut and mended.
    pub(crate) outage: Outage,
}

/// Strikes at a third, at half and at two thirds of the orders.
pub(crate) async fn strike(
    cluster: &mut Cluster,
    counter: &Counter,
    client: &LockClient,
    orders: usize,
    mut rng: fastrand::Rng,
) -> Result<Trouble, Failure> {
    finished(counter, orders / 3).await?;
    let failover = kill_the_leader(cluster, counter, client).await?;
    finished(counter, orders / 2).await?;
    let cut_at = counter.bar.cut();
    let served_before = *counter.done.borrow();
    finished(counter, orders * 2 / 3).await?;
    let (_, leader) = cluster.leader();
    let followers: Vec<u64> = REPLICAS.into_iter().filter(|&id| id != leader).collect();
    let follower = rng.choice(followers).ok_or("a leader has followers")?;
    cluster.cut_off(follower);
    let before = *counter.done.borrow();
    finished(counter, orders * 5 / 6).await?;
    let served_cut_off = *counter.done.borrow() - before;
    cluster.heal(follower);
    let mended_at = counter.bar.mend();
    finished(counter, orders).await?;
    Ok(Trouble {
        failover,
        served_cut_off,
        outage: Outage {
            cut_at,
            mended_at,
            served_before,
        },
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
async fn kill_the_leader(
    cluster: &mut Cluster,
    counter: &Counter,
    client: &LockClient,
) -> Result<Duration, Failure> {
    let (term, leader) = cluster.leader_after(0).await?;
    let killed = counter.clock.now();
    cluster.kill(leader)?;
    cluster.leader_after(term).await?;
    // Only from here on can a grant be the next leader's; what was in the air before does not count.
    let granted = *counter.grants.borrow();
    let mut grants = counter.grants.subscribe();
    tokio::select! {
        granted = grants.wait_for(|&grants| grants > granted) => drop(granted?),
        granted = lock_of_ones_own(client) => granted?,
    }
    let failover = counter.clock.now().since(killed);
    cluster.start_replica(leader).await?;
    Ok(failover)
}

/// Takes a lock that no barista asks for: on a slow morning no order may be left to tell when locks are granted again.
async fn lock_of_ones_own(client: &LockClient) -> Result<(), Failure> {
    let options = SessionOptions::new("watch").ttl(LEASE);
    let session = client.open_session(options).await?;
    let guard = session.acquire(&"watch".parse()?).await?;
    // Whether it is given back now or with its lease changes nothing.
    let _ = guard.release().await;
    Ok(())
}
