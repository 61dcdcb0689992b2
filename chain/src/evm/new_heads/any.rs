//! Any bytes at all as what a node says over a WebSocket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use peaberry_core::SystemClock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::NewHeadsOptions;
use super::connection::{Connection, Wire, bounds};
use crate::ChainError;

/// Says its bytes, and no more; it takes whatever it is told.
struct Said(io::Cursor<Vec<u8>>);

impl AsyncRead for Said {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Said {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Subscribes where a node says these bytes, frames and what is in them, and then falls silent for ever; for fuzzing. Answers
/// how often there was news, and how it ended.
///
/// # Panics
///
/// Something waits for more than was said.
#[doc(hidden)]
pub fn hear_any_bytes(bytes: &[u8]) -> (usize, ChainError) {
    let options = NewHeadsOptions {
        message_bytes_max: 4 << 10,
        ..NewHeadsOptions::default()
    };
    let clock = SystemClock::new();
    let hearing = async {
        let wire: Box<dyn Wire> = Box::new(Said(io::Cursor::new(bytes.to_vec())));
        let bounds = Some(bounds(&options));
        let socket = WebSocketStream::from_raw_socket(wire, Role::Client, bounds).await;
        let mut connection = match Connection::subscribe(socket, &options).await {
            Ok(connection) => connection,
            Err(error) => return (0, error),
        };
        let mut news = 0;
        loop {
            match connection.news(&options, &clock).await {
                Ok(()) => news += 1,
                Err(error) => return (news, error),
            }
        }
    };
    let heard = hearing.now_or_never();
    heard.expect("what was said is there, and so is its end")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile::each_spoiled;

    /// A frame of a server: whole, and not masked.
    fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap();
        let head = match u8::try_from(length) {
            Ok(length @ 0..126) => vec![0x80 | opcode, length],
            _ => [&[0x80 | opcode, 126][..], &length.to_be_bytes()].concat(),
        };
        [&head[..], payload].concat()
    }

    /// What a node says whose news of a block comes so often.
    fn told(news_count: usize) -> Vec<u8> {
        let subscribed = br#"{"jsonrpc":"2.0","id":1,"result":"0x9"}"#;
        let news = br#"{"method":"eth_subscription","params":{"subscription":"0x9","result":{"number":"0x1"}}}"#;
        let others = br#"{"method":"eth_subscription","params":{"subscription":"0x8"}}"#;
        let frames = [
            frame(1, subscribed),
            frame(9, b"ping"),
            frame(1, others),
            frame(1, news).repeat(news_count),
            frame(2, b"bytes"),
            frame(8, &[]),
        ];
        frames.concat()
    }

    #[test]
    fn any_bytes_are_heard_or_named() {
        // As many as are taken for one news, and some; what comes with the end goes with it.
        let (news, end) = hear_any_bytes(&told(1100));
        assert_eq!(news, 1);
        assert!(matches!(end, ChainError::Connection { .. }), "{end:?}");
        let refused = frame(1, br#"{"id":1,"error":{"code":-32601,"message":"no"}}"#);
        each_spoiled(&[&told(1), &refused], |bytes| {
            let (_, end) = hear_any_bytes(bytes);
            assert!(!end.may_have_been_sent(), "{end:?}");
        });
    }

    /// Nothing is kept for what is only announced, and no more than the bound for what comes in pieces.
    #[test]
    fn a_message_without_end_is_given_up_at_the_bound() {
        let announced = [&[0x81, 127][..], &(1_u64 << 40).to_be_bytes(), b"{"].concat();
        let begun = [&[0x01, 125][..], &[b' '; 125]].concat();
        let piece = [&[0x00, 125][..], &[b' '; 125]].concat();
        let pieces = [begun, piece.repeat(64)].concat();
        for said in [announced, pieces] {
            let (news, end) = hear_any_bytes(&said);
            assert_eq!(news, 0);
            assert!(
                matches!(
                    end,
                    ChainError::TooLarge {
                        bytes_max: 4096,
                        ..
                    }
                ),
                "{end:?}"
            );
        }
    }
}
