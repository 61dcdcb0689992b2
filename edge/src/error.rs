//! Why something could not be done.

use peaberry_core::StorageError;
use peaberry_core::wire::WireError;
use peaberry_crdt::{ApplyError, WriteError};

use crate::identity::{BootEpoch, Position};

/// Why the edge could not do as told. Unless a variant says otherwise, nothing changed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EdgeError {
    /// A name is empty, too long, or has a character outside `A–Z a–z 0–9 . _ -`.
    #[error("{text:?} is no name: use 1 to {bytes_max} of A-Z a-z 0-9 . _ -")]
    Name {
        /// Its beginning.
        text: String,
        /// The longest name allowed.
        bytes_max: usize,
    },
    /// A topic is not one of ours.
    #[error("topic {topic:?} is not understood: {reason}")]
    Topic {
        /// Its beginning.
        topic: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Bytes are not what their place calls for.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Something is longer than its limit; for bytes from outside, it was refused before memory was taken for it.
    #[error("{what} of {length} is over the limit of {length_max}")]
    TooLong {
        /// What it is.
        what: &'static str,
        /// Its length, in the unit that `what` names.
        length: u64,
        /// The limit.
        length_max: u64,
    },
    /// A message was written in a format of a later major version.
    #[error("{what} has format {found}, this build reads {supported}: use a newer build")]
    Version {
        /// What was being read.
        what: &'static str,
        /// Its format.
        found: u64,
        /// The one this build reads.
        supported: u64,
    },
    /// A command names another device.
    #[error("command for {addressed} reached {device}: it was not carried out")]
    WrongDevice {
        /// The device it names.
        addressed: String,
        /// The device it reached.
        device: String,
    },
    /// A message came for a device that is not carried here, or for one of another site. It was passed over.
    #[error("a message for {device} of site {site} came where no such device is carried")]
    NotCarried {
        /// The device that its topic names.
        device: String,
        /// The site that its topic names.
        site: String,
    },
    /// The broker does not let us hear something while the connection lasts: see what its access rules say.
    #[error("the broker refused the subscription to {filter}: {reason}")]
    NotSubscribed {
        /// The filter.
        filter: String,
        /// What the broker says.
        reason: String,
    },
    /// An acknowledgement names a record that its device has not made: a stranger's, or meant for another device of this name.
    /// It was not followed.
    #[error("{stream} is acknowledged up to {through}, but {device} has made no more than {last}")]
    NeverMade {
        /// The device it names.
        device: String,
        /// The stream it is about.
        stream: &'static str,
        /// The position it names.
        through: Position,
        /// The last that was made.
        last: Position,
    },
    /// A sink knows a later start of this device than this one, or more of this one than it has made: the device's disk was
    /// replaced or restored from a backup. Nothing was cut. What this start has made and makes up to `known`, of any stream, may
    /// be taken for repeated: the sink acknowledges it then, and it is cut without another word. That the next start is later than
    /// `known` is staged: start the device again. Or somebody has made it up, who may publish as the sink.
    #[error(
        "a sink knows {device} up to {known}, and this start, {own}, has not come so far: its disk was replaced or restored; start it again"
    )]
    LaterStart {
        /// Which device.
        device: String,
        /// Up to where the sink knows the stream that it acknowledged: in a later start than this one, or in this one.
        known: Position,
        /// This start.
        own: BootEpoch,
    },
    /// The record that told of an order's end was given up for want of room, and until there was some, so many other orders
    /// ended that this one is forgotten. A gap tells that there was such a record.
    #[error("{device} can no longer tell how order {order} ended: too many others have since")]
    EndForgotten {
        /// Which device.
        device: String,
        /// The order's key.
        order: String,
    },
    /// A password without a user name, which MQTT 3.1.1 has no words for: name a user, or speak version 5.
    #[error("MQTT 3.1.1 has no password without a user name: name a user, or speak version 5")]
    PasswordWithoutUser,
    /// A setting is outside its range.
    #[error("{setting} of {value} is refused: {reason}")]
    Setting {
        /// Which setting.
        setting: &'static str,
        /// What was given.
        value: f64,
        /// Its range.
        reason: &'static str,
    },
    /// A message to a twin is refused for what it claims: a stamp from the far future, or an event with two meanings.
    #[error("a twin's message is refused")]
    Twin {
        /// What it claims, and who claims it.
        #[source]
        source: ApplyError,
    },
    /// A twin cannot be written: all events of this side are used up, or what is stored was not written by it. Give this side a
    /// new name or id.
    #[error("the twin cannot be written")]
    TwinWrite {
        /// Why.
        #[source]
        source: WriteError,
    },
    /// The spool is full, and nothing gives way to the record: it is not kept. That is told in a gap record.
    #[error("the spool of {bytes_max} bytes is full: a record of stream {stream} was rejected")]
    SpoolFull {
        /// The record's stream.
        stream: &'static str,
        /// The spool's size.
        bytes_max: u64,
    },
    /// The store failed. What it says about its state holds.
    #[error("could not {doing}")]
    Storage {
        /// What was attempted.
        doing: &'static str,
        /// The store's answer.
        #[source]
        source: StorageError,
    },
    /// The store holds something else than was written: it belongs to another program, or is damaged in a way the store
    /// itself does not see. Start with an empty one.
    #[error("what is stored as {what} cannot be read")]
    Stored {
        /// What was being read.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: WireError,
    },
}

impl EdgeError {
    pub(crate) fn malformed(what: &'static str, reason: impl Into<String>) -> Self {
        Self::Malformed {
            what,
            reason: reason.into(),
        }
    }
}

/// The beginning of what a stranger sent, short enough to be shown.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT_CHARS_MAX).collect()
}

/// A line's worth.
const EXCERPT_CHARS_MAX: usize = 80;
