use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection;
use super::event::{MeshEvent, RejectReason, Side};
use super::handshake;
use super::shared::Shared;

/// Accepts connections, for ever.
pub(super) async fn run(shared: Arc<Shared>, listener: TcpListener) {
    let handshakes = Arc::new(Semaphore::new(shared.limits.handshakes_max));
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => match handshakes.clone().try_acquire_owned() {
                Ok(permit) => {
                    let task = serve(shared.clone(), stream, remote, permit);
                    shared.spawn(task);
                }
                Err(_full) => reject(&shared, remote, RejectReason::HandshakesFull),
            },
            Err(error) => {
                // Most often out of file descriptors: wait until some are closed.
                (shared.report)(MeshEvent::ListenerFailed { error });
                tokio::time::sleep(shared.times.retry_delay_min).await;
            }
        }
    }
}

async fn serve(
    shared: Arc<Shared>,
    stream: TcpStream,
    remote: SocketAddr,
    handshaking: OwnedSemaphorePermit,
) {
    let outcome = accept(&shared, stream).await;
    drop(handshaking);
    let outcome = match outcome {
        Ok(connection) => connection::serve(&shared, connection).await,
        Err(reason) => Err(reason),
    };
    if let Err(reason) = outcome {
        reject(&shared, remote, reason);
    }
}

async fn accept(shared: &Shared, stream: TcpStream) -> Result<handshake::Connection, RejectReason> {
    stream.set_nodelay(true).map_err(RejectReason::Broken)?;
    handshake::accept(shared, stream).await
}

fn reject(shared: &Shared, remote: SocketAddr, reason: RejectReason) {
    let report = &shared.report;
    shared
        .rejections
        .report(report, remote, Side::Acceptor, reason);
}
