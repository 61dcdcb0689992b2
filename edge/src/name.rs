//! Names: of devices, sites, metrics, recipes, orders.

use std::fmt;
use std::sync::Arc;

use crate::error::{EdgeError, excerpt};

/// The longest [`Name`], in bytes: long enough for a UUID with a prefix, short enough for a topic.
pub const NAME_BYTES_MAX: usize = 64;

/// 1 to [`NAME_BYTES_MAX`] of `A–Z a–z 0–9 . _ -`: harmless in a topic, a key, a path and a log line. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "json", serde(try_from = "String", into = "String"))]
pub struct Name(Arc<str>);

impl Name {
    /// The name `text`.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Name`] if it is empty, too long, or has another character.
    ///
    /// # Example
    ///
    /// ```
    /// use peaberry_edge::Name;
    ///
    /// assert_eq!(Name::new("boiler.temperature").unwrap().as_str(), "boiler.temperature");
    /// assert!(Name::new("boiler/#").is_err());
    /// ```
    pub fn new(text: &str) -> Result<Self, EdgeError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(is_allowed) {
            return Err(EdgeError::Name {
                text: excerpt(text),
                bytes_max: NAME_BYTES_MAX,
            });
        }
        Ok(Self(text.into()))
    }

    /// Its characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl std::str::FromStr for Name {
    type Err = EdgeError;

    fn from_str(text: &str) -> Result<Self, EdgeError> {
        Self::new(text)
    }
}

impl TryFrom<String> for Name {
    type Error = EdgeError;

    fn try_from(text: String) -> Result<Self, EdgeError> {
        Self::new(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.as_ref().to_owned()
    }
}

/// Names a device within its site.
pub type DeviceId = Name;

/// Names a site: the devices that one collector or fog looks after.
pub type SiteId = Name;
