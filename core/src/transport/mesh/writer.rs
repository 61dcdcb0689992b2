use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::event::DisconnectReason;
use super::link::Link;
use super::peers::Peer;
use crate::peer::Channel;
use crate::transport::frame::FrameEncoder;

/// How much is gathered for one write, in bytes: enough to make system calls and TLS records cheap, little enough that
/// a heartbeat queued meanwhile is soon on its way.
const WRITE_BYTES_MAX: usize = 256 << 10;

/// Sends what waits for the peer, and pings and pongs, until the connection breaks.
pub(super) async fn run(
    peer: &Peer,
    link: &Arc<Link>,
    mut encoder: FrameEncoder,
    mut stream: impl AsyncWrite + Unpin,
) -> DisconnectReason {
    let mut messages = Vec::new();
    let mut bytes = BytesMut::new();
    loop {
        peer.take(link, WRITE_BYTES_MAX, &mut messages);
        encode(link, &mut encoder, &mut messages, &mut bytes);
        if bytes.is_empty() {
            link.wake.notified().await;
            continue;
        }
        link.pulse.writing.store(true, Ordering::Relaxed);
        let outcome = write(link, &bytes, &mut stream).await;
        link.pulse.writing.store(false, Ordering::Relaxed);
        if let Err(error) = outcome {
            return DisconnectReason::Broken(error);
        }
        bytes.clear();
        if bytes.capacity() > 2 * WRITE_BYTES_MAX {
            // A large payload has passed: give its memory back.
            bytes = BytesMut::new();
        }
    }
}

/// Turns messages and what else is due into bytes.
fn encode(
    link: &Link,
    encoder: &mut FrameEncoder,
    messages: &mut Vec<(Channel, Bytes)>,
    bytes: &mut BytesMut,
) {
    for (channel, payload) in messages.iter() {
        encoder.message(*channel, payload, bytes);
    }
    let mut duties = link.duties.lock();
    let channels = messages.iter().map(|(channel, _)| *channel);
    duties.unconfirmed.sent(channels);
    if std::mem::take(&mut duties.ping) {
        let sequence = encoder.ping(bytes);
        duties.unconfirmed.pinged(sequence);
    }
    if let Some(answers) = duties.pong.take() {
        encoder.pong(answers, bytes);
    }
    drop(duties);
    messages.clear();
}

/// Writes all, noting each step forward for the watchdog.
async fn write(
    link: &Link,
    mut bytes: &[u8],
    stream: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = stream.write(bytes).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(written..).unwrap_or_default();
        link.pulse.wrote.store(true, Ordering::Relaxed);
    }
    stream.flush().await?;
    link.pulse.wrote.store(true, Ordering::Relaxed);
    Ok(())
}
