use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Frame, FrameError, HEADER_BYTES};
use crate::peer::{Channel, ProtocolId};
use crate::transport::PAYLOAD_BYTES_MAX;

// Two bits apart, so that no flipped bit turns one kind into another.
const MESSAGE: u8 = 1;
const PING: u8 = 2;
const PONG: u8 = 4;

/// Writes the frames of one direction of a connection.
///
/// ```
/// use bytes::{Bytes, BytesMut};
/// use peaberry_core::frame::{Frame, FrameDecoder, FrameEncoder};
/// use peaberry_core::{Channel, ProtocolId};
///
/// let channel = Channel::new(ProtocolId(2000), 7);
/// let mut bytes = BytesMut::new();
/// FrameEncoder::new(41).message(channel, b"hello", &mut bytes);
///
/// let payload = Bytes::from_static(b"hello");
/// let frame = FrameDecoder::new(41).decode(&mut bytes).unwrap();
/// assert_eq!(frame, Some(Frame::Message { channel, payload }));
/// ```
#[derive(Clone, Debug)]
pub struct FrameEncoder {
    next: u64,
}

impl FrameEncoder {
    /// An encoder whose first frame has the sequence `first`: a [`Session`](super::Session)'s `first_sent`.
    #[must_use]
    pub const fn new(first: u64) -> Self {
        Self { next: first }
    }

    /// Adds a message behind `out`'s bytes.
    ///
    /// # Panics
    ///
    /// When `payload` is longer than [`PAYLOAD_BYTES_MAX`].
    pub fn message(&mut self, channel: Channel, payload: &[u8], out: &mut BytesMut) {
        assert!(
            payload.len() <= PAYLOAD_BYTES_MAX,
            "a payload of {} bytes is over the limit of {PAYLOAD_BYTES_MAX}",
            payload.len()
        );
        out.reserve(HEADER_BYTES + payload.len());
        self.header(MESSAGE, payload.len(), channel, out);
        out.extend_from_slice(payload);
    }

    /// Adds a ping behind `out`'s bytes; returns its sequence, which the pong will repeat.
    pub fn ping(&mut self, out: &mut BytesMut) -> u64 {
        self.header(PING, 0, Channel::new(ProtocolId(0), 0), out)
    }

    /// Adds the answer to the ping with the sequence `answers` behind `out`'s bytes.
    pub fn pong(&mut self, answers: u64, out: &mut BytesMut) {
        self.header(PONG, 0, Channel::new(ProtocolId(0), answers), out);
    }

    fn header(&mut self, kind: u8, length: usize, channel: Channel, out: &mut BytesMut) -> u64 {
        let sequence = self.next;
        self.next = sequence.wrapping_add(1);
        out.put_u32(u32::try_from(length).expect("the limit of a payload fits 32 bits"));
        out.put_u8(kind);
        out.put_u64(sequence);
        out.put_u16(channel.protocol.0);
        out.put_u64(channel.group);
        sequence
    }
}

/// Reads the frames of one direction of a connection. Total: no bytes make it panic.
#[derive(Clone, Debug)]
pub struct FrameDecoder {
    next: u64,
    /// Once a frame was wrong, where the next one starts is unknown.
    failed: Option<FrameError>,
}

impl FrameDecoder {
    /// A decoder whose first frame must have the sequence `first`: a [`Session`](super::Session)'s `first_received`.
    #[must_use]
    pub const fn new(first: u64) -> Self {
        Self {
            next: first,
            failed: None,
        }
    }

    /// Takes the next frame out of `buffer`. `None`: it is not complete; add bytes and call again.
    ///
    /// The header is checked as soon as it is there, before its payload is waited for. Nothing is allocated or
    /// reserved here.
    ///
    /// # Errors
    ///
    /// The bytes are not the next frame. From then on the same error comes again, and `buffer` is left alone.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let outcome = self.next_frame(buffer);
        if let Err(error) = &outcome {
            self.failed = Some(error.clone());
        }
        outcome
    }

    /// How many bytes the frame at the start of `buffer` has in all, once its length is there.
    ///
    /// # Errors
    ///
    /// [`Oversized`](FrameError::Oversized).
    fn frame_bytes(buffer: &[u8]) -> Result<Option<usize>, FrameError> {
        let Some((length, _)) = buffer.split_first_chunk() else {
            return Ok(None);
        };
        let bytes = u32::from_be_bytes(*length) as usize;
        if bytes > PAYLOAD_BYTES_MAX {
            return Err(FrameError::Oversized { bytes });
        }
        Ok(Some(HEADER_BYTES + bytes))
    }

    /// Tells what the end of the connection means, with `buffer` holding what came last.
    ///
    /// # Errors
    ///
    /// [`Truncated`](FrameError::Truncated), or the error that [`decode`](Self::decode) gave.
    pub fn finish(&self, buffer: &[u8]) -> Result<(), FrameError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if buffer.is_empty() {
            return Ok(());
        }
        Err(FrameError::Truncated {
            have: buffer.len(),
            need: Self::frame_bytes(buffer)?.unwrap_or(HEADER_BYTES),
        })
    }

    fn next_frame(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(frame_bytes) = Self::frame_bytes(buffer)? else {
            return Ok(None);
        };
        let Some(mut header) = buffer.get(4..HEADER_BYTES) else {
            return Ok(None);
        };
        let kind = header.get_u8();
        let sequence = header.get_u64();
        let protocol = header.get_u16();
        let group = header.get_u64();
        let length = frame_bytes - HEADER_BYTES;
        self.check(kind, sequence)?;
        let zero = match kind {
            MESSAGE => 0,
            PING => length as u64 | u64::from(protocol) | group,
            _ => length as u64 | u64::from(protocol),
        };
        if zero != 0 {
            let place = if kind == PING { "ping" } else { "pong" };
            return Err(FrameError::Reserved { place, seen: zero });
        }
        if buffer.len() < frame_bytes {
            return Ok(None);
        }
        self.next = sequence.wrapping_add(1);
        buffer.advance(HEADER_BYTES);
        Ok(Some(match kind {
            MESSAGE => Frame::Message {
                channel: Channel::new(ProtocolId(protocol), group),
                payload: take(buffer, length),
            },
            PING => Frame::Ping { sequence },
            _ => Frame::Pong { answers: group },
        }))
    }

    const fn check(&self, kind: u8, sequence: u64) -> Result<(), FrameError> {
        if !matches!(kind, MESSAGE | PING | PONG) {
            return Err(FrameError::Kind { seen: kind });
        }
        if sequence != self.next {
            return Err(FrameError::Sequence {
                seen: sequence,
                expected: self.next,
            });
        }
        Ok(())
    }
}

/// An empty payload holds on to no buffer.
fn take(buffer: &mut BytesMut, length: usize) -> Bytes {
    if length == 0 {
        Bytes::new()
    } else {
        buffer.split_to(length).freeze()
    }
}

/// Reads all of `bytes`, the frames of a connection from its first to its end.
///
/// # Errors
///
/// The first wrong frame's error beside the frames before it.
///
/// ```
/// use bytes::BytesMut;
/// use peaberry_core::frame::{FrameEncoder, FrameError, decode_all};
///
/// let mut bytes = BytesMut::new();
/// FrameEncoder::new(5).ping(&mut bytes);
/// assert_eq!(decode_all(5, &bytes).unwrap().len(), 1);
///
/// let (before, error) = decode_all(6, &bytes).unwrap_err();
/// assert!(before.is_empty());
/// assert_eq!(error, FrameError::Sequence { seen: 5, expected: 6 });
/// ```
pub fn decode_all(first: u64, bytes: &[u8]) -> Result<Vec<Frame>, (Vec<Frame>, FrameError)> {
    let mut decoder = FrameDecoder::new(first);
    let mut buffer = BytesMut::from(bytes);
    let mut frames = Vec::new();
    loop {
        match decoder.decode(&mut buffer) {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => break,
            Err(error) => return Err((frames, error)),
        }
    }
    match decoder.finish(&buffer) {
        Ok(()) => Ok(frames),
        Err(error) => Err((frames, error)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame() -> impl Strategy<Value = Frame> {
        let payload = prop::collection::vec(any::<u8>(), 0..200);
        prop_oneof![
            4 => (any::<u16>(), any::<u64>(), payload).prop_map(|(protocol, group, payload)| Frame::Message {
                channel: Channel::new(ProtocolId(protocol), group),
                payload: payload.into(),
            }),
            1 => Just(Frame::Ping { sequence: 0 }),
            1 => any::<u64>().prop_map(|answers| Frame::Pong { answers }),
        ]
    }

    /// The frames' bytes, and the frames with their pings' sequences filled in.
    fn encode(first: u64, frames: &mut [Frame]) -> BytesMut {
        let mut encoder = FrameEncoder::new(first);
        let mut bytes = BytesMut::new();
        for frame in frames {
            match frame {
                Frame::Message { channel, payload } => {
                    encoder.message(*channel, payload, &mut bytes);
                }
                Frame::Ping { sequence } => *sequence = encoder.ping(&mut bytes),
                Frame::Pong { answers } => encoder.pong(*answers, &mut bytes),
            }
        }
        bytes
    }

    fn message(payload: &[u8]) -> Vec<Frame> {
        vec![Frame::Message {
            channel: Channel::new(ProtocolId(0x0102), 0x0304_0506_0708_090a),
            payload: Bytes::copy_from_slice(payload),
        }]
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let bytes = encode(0x1112_1314_1516_1718, &mut message(b"abc"));
        let documented = [
            0, 0, 0, 3, 1, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 1, 2, 3, 4, 5, 6, 7, 8,
            9, 10, b'a', b'b', b'c',
        ];
        assert_eq!(bytes[..], documented);
    }

    #[test]
    fn an_oversized_frame_is_refused_by_its_first_four_bytes() {
        let length = u32::try_from(PAYLOAD_BYTES_MAX).unwrap() + 1;
        let mut buffer = BytesMut::from(&length.to_be_bytes()[..]);
        let mut decoder = FrameDecoder::new(0);
        let oversized = FrameError::Oversized {
            bytes: PAYLOAD_BYTES_MAX + 1,
        };
        assert_eq!(decoder.decode(&mut buffer), Err(oversized.clone()));
        buffer.clear();
        buffer.extend_from_slice(&encode(0, &mut message(b"good")));
        assert_eq!(
            decoder.decode(&mut buffer),
            Err(oversized),
            "the decoder does not guess where the next frame starts"
        );
    }

    #[test]
    fn the_largest_payload_passes() {
        let mut frames = message(&vec![7; PAYLOAD_BYTES_MAX]);
        let bytes = encode(0, &mut frames);
        assert_eq!(decode_all(0, &bytes), Ok(frames));
    }

    #[test]
    fn a_replayed_frame_is_refused() {
        let bytes = encode(u64::MAX, &mut message(b"pay once"));
        let twice = [&bytes[..], &bytes[..]].concat();
        let (frames, error) = decode_all(u64::MAX, &twice).unwrap_err();
        assert_eq!(frames.len(), 1);
        let seen = u64::MAX;
        assert_eq!(error, FrameError::Sequence { seen, expected: 0 });
    }

    #[test]
    fn unknown_kinds_and_filled_reserved_fields_are_refused() {
        let mut bytes = encode(0, &mut [Frame::Ping { sequence: 0 }]);
        bytes[22] = 9;
        let (_, error) = decode_all(0, &bytes).unwrap_err();
        assert_eq!(
            error,
            FrameError::Reserved {
                place: "ping",
                seen: 9
            }
        );
        bytes[4] = 3;
        let (_, error) = decode_all(0, &bytes).unwrap_err();
        assert_eq!(error, FrameError::Kind { seen: 3 });
    }

    proptest! {
        #[test]
        fn frames_come_back_however_their_bytes_are_cut(
            first: u64,
            mut frames in prop::collection::vec(frame(), 0..20),
            cuts in prop::collection::vec(1..100_usize, 1..20),
        ) {
            let bytes = encode(first, &mut frames);
            let mut decoder = FrameDecoder::new(first);
            let (mut buffer, mut decoded, mut rest) = (BytesMut::new(), Vec::new(), &bytes[..]);
            for cut in cuts.into_iter().cycle() {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                buffer.extend_from_slice(now);
                rest = later;
                while let Some(frame) = decoder.decode(&mut buffer).unwrap() {
                    decoded.push(frame);
                }
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(decoder.finish(&buffer), Ok(()));
            prop_assert_eq!(decoded, frames);
        }

        #[test]
        fn a_truncated_connection_is_told_from_a_finished_one(
            mut frames in prop::collection::vec(frame(), 1..5),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = encode(0, &mut frames);
            let cut = cut.index(bytes.len());
            match decode_all(0, &bytes[..cut]) {
                Ok(decoded) => prop_assert!(frames.starts_with(&decoded) && decoded.len() < frames.len()),
                Err((decoded, error)) => {
                    prop_assert!(frames.starts_with(&decoded));
                    let truncated = matches!(error, FrameError::Truncated { have, need } if have < need);
                    prop_assert!(truncated);
                }
            }
        }

        #[test]
        fn a_flipped_kind_or_sequence_is_found(
            mut frames in prop::collection::vec(frame(), 1..5),
            at in 4..13_usize,
            bit in 0..8_u8,
        ) {
            let mut bytes = encode(77, &mut frames);
            bytes[at] ^= 1 << bit;
            match decode_all(77, &bytes) {
                Ok(decoded) => prop_assert!(false, "decoded {:?}", decoded),
                Err((before, _)) => prop_assert!(before.is_empty(), "decoded {:?} of {:?}", before, frames),
            }
        }

        /// A frame cut short or made longer is accepted (TLS is there to find that), and nothing behind it.
        #[test]
        fn behind_a_flipped_length_nothing_is_accepted(
            mut frames in prop::collection::vec(frame(), 2..5),
            at in 0..4_usize,
            bit in 0..8_u8,
        ) {
            let mut bytes = encode(77, &mut frames);
            bytes[at] ^= 1 << bit;
            let decoded = decode_all(77, &bytes).unwrap_or_else(|(before, _)| before);
            prop_assert!(decoded.len() <= 1, "only the frame itself, cut or extended");
            prop_assert!(!decoded.iter().any(|frame| *frame == frames[0]));
        }

        #[test]
        fn any_bytes_are_survived(first: u64, noise in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode_all(first, &noise);
        }
    }
}
