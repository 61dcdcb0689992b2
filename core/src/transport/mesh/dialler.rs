use std::net::SocketAddr;
use std::sync::Arc;

use super::backoff::Backoff;
use super::connection;
use super::event::{MeshEvent, Side};
use super::handshake;
use super::peers::Peer;
use super::shared::Shared;

/// Keeps a connection to `peer` at `address`, for ever.
pub(super) async fn run(shared: Arc<Shared>, peer: Arc<Peer>, address: SocketAddr) {
    let times = &shared.times;
    // Two peers that lose each other, or many that lose one, do not come back in step.
    let seed = shared.seed ^ shared.local.peer.get().rotate_left(32) ^ peer.id().get();
    let mut backoff = Backoff::new(times.retry_delay_min, times.retry_delay_max, seed);
    loop {
        if dial_once(&shared, &peer, address).await {
            backoff.reset();
        }
        tokio::time::sleep(backoff.delay()).await;
    }
}

/// Whether a connection stood, which has ended by now.
async fn dial_once(shared: &Arc<Shared>, peer: &Peer, address: SocketAddr) -> bool {
    let stream = match handshake::connect(shared, address).await {
        Ok(stream) => stream,
        Err(error) => {
            let peer = peer.id();
            (shared.report)(MeshEvent::Unreachable {
                peer,
                address,
                error,
            });
            return false;
        }
    };
    let outcome = match handshake::dial(shared, stream, peer.id()).await {
        Ok(connection) => connection::serve(shared, connection).await,
        Err(reason) => Err(reason),
    };
    if let Err(reason) = outcome {
        let report = &shared.report;
        shared
            .rejections
            .report(report, address, Side::Dialler, reason);
        return false;
    }
    true
}
