//! `spBv1.0/GROUP/TYPE/NODE` and `spBv1.0/GROUP/TYPE/NODE/DEVICE`.

use std::fmt;

use crate::error::{EdgeError, excerpt};
use crate::name::{DeviceId, NAME_BYTES_MAX, Name};

const NAMESPACE: &str = "spBv1.0";

/// The longest of our Sparkplug topics, in bytes.
const TOPIC_BYTES_MAX: usize = NAMESPACE.len() + 3 * (NAME_BYTES_MAX + 1) + "/NBIRTH".len();

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum MessageType {
    /// An edge node is there, with all of its metrics.
    NodeBirth,
    /// Metrics of an edge node.
    NodeData,
    /// An edge node is gone.
    NodeDeath,
    /// A command to an edge node.
    NodeCommand,
    /// A device is there, with all of its metrics.
    DeviceBirth,
    /// Metrics of a device.
    DeviceData,
    /// A device is gone.
    DeviceDeath,
    /// A command to a device.
    DeviceCommand,
}

impl MessageType {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::NodeBirth,
        Self::NodeData,
        Self::NodeDeath,
        Self::NodeCommand,
        Self::DeviceBirth,
        Self::DeviceData,
        Self::DeviceDeath,
        Self::DeviceCommand,
    ];

    /// Its word in a topic.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NodeBirth => "NBIRTH",
            Self::NodeData => "NDATA",
            Self::NodeDeath => "NDEATH",
            Self::NodeCommand => "NCMD",
            Self::DeviceBirth => "DBIRTH",
            Self::DeviceData => "DDATA",
            Self::DeviceDeath => "DDEATH",
            Self::DeviceCommand => "DCMD",
        }
    }

    /// Whether it is about a device, and its topic names one.
    #[must_use]
    pub const fn is_of_device(self) -> bool {
        matches!(
            self,
            Self::DeviceBirth | Self::DeviceData | Self::DeviceDeath | Self::DeviceCommand
        )
    }
}

/// A topic of one edge node or of one of its devices.
///
/// ```
/// use peaberry_edge::sparkplug::{MessageType, SparkplugTopic};
///
/// let topic = SparkplugTopic::parse("spBv1.0/berlin/DDATA/gateway/m-17").unwrap();
/// assert_eq!(topic.kind, MessageType::DeviceData);
/// assert_eq!(topic.to_string(), "spBv1.0/berlin/DDATA/gateway/m-17");
/// assert!(SparkplugTopic::parse("spBv1.0/berlin/NDATA/gateway/m-17").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SparkplugTopic {
    /// The group: our site.
    pub group: Name,
    /// What the message is.
    pub kind: MessageType,
    /// The edge node.
    pub node: Name,
    /// The device; exactly when [`MessageType::is_of_device`].
    pub device: Option<DeviceId>,
}

impl SparkplugTopic {
    /// Reads a topic. Total: any text gives a topic or an error.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Topic`], or [`EdgeError::Name`] for a part that is no name of ours.
    pub fn parse(text: &str) -> Result<Self, EdgeError> {
        let refuse = |reason| EdgeError::Topic {
            topic: excerpt(text),
            reason,
        };
        if text.len() > TOPIC_BYTES_MAX {
            return Err(refuse("it is too long"));
        }
        let mut levels = text.split('/');
        let mut level = || levels.next().ok_or_else(|| refuse("it ends too early"));
        if level()? != NAMESPACE {
            return Err(refuse("it does not begin with spBv1.0/"));
        }
        let (group, word, node) = (level()?, level()?, level()?);
        let kind = MessageType::ALL
            .into_iter()
            .find(|kind| kind.word() == word);
        let kind = kind.ok_or_else(|| refuse("its message type is unknown"))?;
        let device = levels.next();
        if levels.next().is_some() || device.is_some() != kind.is_of_device() {
            return Err(refuse("it has another number of levels than its type"));
        }
        Ok(Self {
            group: Name::new(group)?,
            kind,
            node: Name::new(node)?,
            device: device.map(Name::new).transpose()?,
        })
    }
}

impl fmt::Display for SparkplugTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, node, .. } = self;
        write!(f, "{NAMESPACE}/{group}/{}/{node}", self.kind.word())?;
        match &self.device {
            Some(device) => write!(f, "/{device}"),
            None => Ok(()),
        }
    }
}
