use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::AsyncWriteExt;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::config::MeshTimes;
use super::event::{DisconnectReason, MeshEvent, RejectReason, Side};
use super::handshake::Connection;
use super::link::Link;
use super::peers::Peer;
use super::shared::Shared;
use super::{reader, writer};
use crate::transport::frame::{FrameDecoder, FrameEncoder};

/// Puts a connection to use until it ends.
///
/// # Errors
///
/// There is no place for it; nothing was sent on it but the hello.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    connection: Connection,
) -> Result<(), RejectReason> {
    let Connection {
        peer,
        side,
        session,
        stream,
    } = connection;
    let link = Arc::new(Link::new(peer, side));
    let Some(peer) = shared.peers.attach(&link, shared.limits.incoming_max) else {
        return match side {
            Side::Acceptor => Err(RejectReason::IncomingFull),
            // Removed while it was dialled: this task is about to be aborted.
            Side::Dialler => Ok(()),
        };
    };
    let mut attached = Attached {
        shared,
        peer,
        link,
        ended: None,
    };
    (shared.report)(MeshEvent::Connected {
        peer: attached.peer.id(),
        side,
    });
    let link = &attached.link;
    let (read, mut write) = tokio::io::split(stream);
    let (encoder, decoder) = (
        FrameEncoder::new(session.first_sent),
        FrameDecoder::new(session.first_received),
    );
    // One task for both directions: they share the TLS state, and would only wait for each other on two threads.
    let ended = tokio::select! {
        biased;
        () = link.closed() => None,
        ended = writer::run(&attached.peer, link, encoder, &mut write) => Some(ended),
        ended = reader::run(shared, link, decoder, read) => Some(ended),
        ended = watch(shared, link) => Some(ended),
    };
    // Between two frames the connection can be closed in good order; within one, the other side must see it break.
    if ended.is_none() && !link.pulse.writing.load(Ordering::Relaxed) {
        let _ = timeout(shared.times.ping_interval, write.shutdown()).await;
    }
    attached.ended = ended;
    Ok(())
}

/// Takes the connection from its place however it ends, also when its task is aborted.
struct Attached<'a> {
    shared: &'a Arc<Shared>,
    peer: Arc<Peer>,
    link: Arc<Link>,
    /// `None`: it was asked to, or its task was aborted.
    ended: Option<DisconnectReason>,
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        let Self { shared, link, .. } = self;
        let peer = link.peer;
        let buried = shared.peers.detach(link);
        let ended = self
            .ended
            .take()
            .or_else(|| link.take_close_reason())
            .unwrap_or(DisconnectReason::Stopped);
        link.drops.report(peer, &shared.report);
        (shared.report)(MeshEvent::Disconnected {
            peer,
            side: link.side,
            reason: ended,
        });
        let unconfirmed = link.duties.lock().unconfirmed.take();
        shared.bindings.report_unreachable(peer, unconfirmed);
        shared.report_buried(peer, buried);
    }
}

/// Lets the other side hear from us, and gives up a connection that is dead without saying so.
async fn watch(shared: &Shared, link: &Link) -> DisconnectReason {
    let MeshTimes {
        ping_interval,
        idle_timeout,
        ..
    } = shared.times;
    let mut looks = interval(ping_interval);
    // After a pause of the whole machine there is one look, not a burst of them that nothing was heard between.
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let looks_max = idle_timeout.as_nanos().div_ceil(ping_interval.as_nanos());
    let (mut silent, mut stalled) = (0, 0);
    loop {
        looks.tick().await;
        let (is_silent, is_stalled) = link.pulse.look();
        silent = if is_silent { silent + 1 } else { 0 };
        stalled = if is_stalled { stalled + 1 } else { 0 };
        if silent > looks_max {
            return DisconnectReason::Silent;
        }
        if stalled > looks_max {
            return DisconnectReason::Stalled;
        }
        link.duties.lock().ping = true;
        link.wake.notify_one();
        link.drops.report(link.peer, &shared.report);
    }
}
