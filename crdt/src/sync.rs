//! Anti-entropy: replicas of one document find out what the other lacks, and send that.
//!
//! [`AntiEntropy`] decides and acts not: the caller hands it frames and the time, and asks it for frames and for when to
//! ask again. It needs no clock, no socket and no randomness but one number, and works on links that lose, repeat,
//! reorder and damage.
//!
//! # The conversation
//!
//! | frame | says | answered by |
//! |---|---|---|
//! | `Hello` | who I am: format, schema, document, [`Membership`], my session and its table of replica ids, my digest, and the session of yours that I know | a `Hello`, until both know the other's session and membership |
//! | `Digest` | 16 bytes of my vector | nothing if yours is the same, else your `Vector` |
//! | `Vector` | what I know | a `Delta` of what I lack; your `Vector` if I asked for it or know more |
//! | `Delta` | events that I believe you lack; more than a few only after your `Vector` | an `Ack`, and soon a `Digest` to every other peer |
//! | `Ack` | what I know of the replicas in your delta | the next `Delta`, if you still lack something |
//! | `Piece` | some bytes of a delta that is too long for one frame and cannot be split | a `PieceAck`; the last piece by an `Ack` |
//! | `PieceAck` | how much of that has arrived | the next `Piece` |
//! | `Refusal` | that I do not take what you sent, and why | nothing: half as much is sent until what is refused is alone; that is sent again after about [`retry_max`](SyncConfig::retry_max), or [`retry_min`](SyncConfig::retry_min) if clocks differ, then after twice as long each time, up to an hour |
//!
//! # Why it is safe
//!
//! - **A frame is read only in the lives it was written for.** The checksum covers the sender's and the receiver's
//!   session numbers, which are drawn anew in each life and the sender's with each table; so a frame from or to an
//!   earlier life, before a crash or before an old backup was restored, is a damaged frame.
//! - **What a peer is believed to know is a lower bound.** It begins at nothing with each of the peer's sessions, rises
//!   with what that session says of itself, and is nothing that this replica concluded from having sent. Within a life a
//!   replica's knowledge only grows, so a late word is still true. Should the belief be too high in spite of that, the
//!   delta is refused as a gap, and the `Vector` that answers replaces it.
//! - **Equal digests mean equal vectors** (but for one chance in 2^64 at a million replicas), and equal vectors mean
//!   equal states: that is a law of [`Replicated`](crate::Replicated).
//! - **A part of a delta is a causally closed prefix**, and the next is sent when the one before is acknowledged: at any
//!   moment a replica's state is that of the events in its vector.
//! - **What cannot be divided is applied when all of it is there.** A delta beyond the log's cut travels as pieces of its
//!   bytes, of one delta at a time at each receiver, each as long as a part; until the last has come nothing is changed, and
//!   all of it is checked as if it had come at once. A lost piece is sent again, a lost session does not begin anew what
//!   is laid together, and pieces that do not make up what they say are dropped by name.
//! - **History is forgotten** only below [`stable`](AntiEntropy::stable), which every *configured* member has
//!   acknowledged, reachable or not. Who is gone for good is taken out of the configuration by raising its epoch, never
//!   by a clock. Each member is told until it has said that it knows, and from then on refuses by name what such a
//!   replica sends; it may come back as a new member with an empty state.
//! - **A membership is believed of members.** A higher epoch is taken from one who is a member of the epoch that holds
//!   here, and from nobody else: a stranger who claims one is refused by name.
//! - **What passes its limits stays out.** A delta with a stamp from the far future, a total that jumps, or another value
//!   for a known event is refused by name and changes nothing; its sender is told, so that it does not send it over and
//!   over. What the sender knew before that event gets through, and what it came to know later waits with it: its own
//!   writes, too, for they may rest on it. So a member that takes in what a stricter one refuses waits with what it writes
//!   until that one takes it. The exchange among others goes on.
//! - **Who serves and is served takes turns.** A delta in pieces keeps other senders waiting only while it comes at a pace,
//!   and a peer keeps others waiting only while it takes what it is sent: other words do not count.
//! - **Nobody has work done for nothing.** What was made for a peer and not taken, because it said that it knew nothing, also
//!   after all, or began a new life, is made again after a longer and longer while, and the peer is named
//!   ([`SyncEvent::ServedInVain`]). One that tells of more replicas than a state may know is refused.
//!
//! Members are trusted to tell the truth: one that forges another's events is not defended against.
//!
//! # What it costs
//!
//! Who writes sends to every peer; who hears of it tells the others no more than a digest, so a change crosses each link
//! once, and reaches those whom only others reach in a few times [`retry_min`](SyncConfig::retry_min) for each hop.
//!
//! Two replicas at rest exchange 21 bytes each way at every [`idle`](SyncConfig::idle) interval. For each peer there is
//! one delta on the way, its later parts and pieces in memory for at most [`TRANSFERS_MAX`] peers at a time; and one that
//! comes in pieces is held, as far as it has come. A difference in one
//! replica's events costs one whole vector in each direction: about three bytes for each replica that ever wrote and is
//! in the session's table, which has 4,096, and about 19 for each other.

mod anti_entropy;
mod config;
mod frame;
mod in_vain;
mod membership;
mod outcome;
mod peer;
mod receive;
mod transfer;

pub use anti_entropy::{AntiEntropy, TRANSFERS_MAX};
pub use config::{ConfigError, SyncConfig};
#[doc(hidden)]
pub use frame::decode_any_hello;
pub use membership::{MEMBERS_MAX, Member, Membership, MembershipError};
pub use outcome::{Handled, Refusal, SyncError, SyncEvent, Transmit};
#[doc(hidden)]
pub use transfer::decode_any_piece;
