use std::sync::atomic::Ordering;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::delivery::Delivery;
use super::event::{DisconnectReason, MeshEvent};
use super::link::Link;
use super::shared::Shared;
use crate::transport::Envelope;
use crate::transport::frame::{Frame, FrameDecoder, FrameError};

/// How much room the reader makes for what comes, in bytes. For a larger frame the buffer grows with the bytes that
/// have really come.
const READ_BYTES: usize = 64 << 10;

/// Delivers what comes from the peer until the connection ends.
pub(super) async fn run(
    shared: &Shared,
    link: &Link,
    mut decoder: FrameDecoder,
    mut stream: impl AsyncRead + Unpin,
) -> DisconnectReason {
    let mut delivery = Delivery::new(shared, link);
    let mut buffer = BytesMut::new();
    let mut messages = Vec::new();
    loop {
        if buffer.capacity() - buffer.len() < READ_BYTES / 4 {
            buffer.reserve(READ_BYTES);
        }
        match stream.read_buf(&mut buffer).await {
            Ok(0) => return ended(shared, link, decoder.finish(&buffer)),
            Ok(_) => link.pulse.heard.store(true, Ordering::Relaxed),
            Err(error) => return DisconnectReason::Broken(error),
        }
        let outcome = decode(link, &mut decoder, &mut buffer, &mut messages);
        delivery.deliver(&mut messages).await;
        if let Err(error) = outcome {
            return ended(shared, link, Err(error));
        }
    }
}

/// Takes every complete frame out of `buffer`.
fn decode(
    link: &Link,
    decoder: &mut FrameDecoder,
    buffer: &mut BytesMut,
    messages: &mut Vec<Envelope>,
) -> Result<(), FrameError> {
    while let Some(frame) = decoder.decode(buffer)? {
        match frame {
            Frame::Message { channel, payload } => messages.push(Envelope {
                from: link.peer,
                channel,
                payload,
            }),
            Frame::Ping { sequence } => {
                link.duties.lock().pong = Some(sequence);
                link.wake.notify_one();
            }
            Frame::Pong { answers } => link.duties.lock().unconfirmed.ponged(answers),
        }
    }
    Ok(())
}

fn ended(shared: &Shared, link: &Link, outcome: Result<(), FrameError>) -> DisconnectReason {
    let Err(reason) = outcome else {
        return DisconnectReason::Closed;
    };
    (shared.report)(MeshEvent::Misbehaved {
        peer: link.peer,
        reason,
    });
    DisconnectReason::Misbehaved
}
