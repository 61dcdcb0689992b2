//! Who a certificate speaks for.

use std::fmt;
use std::num::NonZeroU128;
use std::str::FromStr;

use crate::peer::PeerId;

/// A cluster: the peers that trust one certificate authority and speak to each other. Zero is invalid by construction.
///
/// Draw it at random once, when the cluster is made. It is written as 32 hexadecimal digits.
///
/// ```
/// use peaberry_core::ClusterId;
///
/// let cluster = ClusterId::new(0xc0ffee).unwrap();
/// assert_eq!(cluster.to_string(), "00000000000000000000000000c0ffee");
/// assert_eq!(cluster.to_string().parse(), Ok(cluster));
/// assert!(ClusterId::new(0).is_none());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(NonZeroU128);

impl ClusterId {
    /// The cluster numbered `id`; `None` for zero.
    #[must_use]
    pub const fn new(id: u128) -> Option<Self> {
        match NonZeroU128::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The number, never zero.
    #[must_use]
    pub const fn get(self) -> u128 {
        self.0.get()
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ClusterId {
    type Err = IdentityError;

    /// Reads 32 lower-case hexadecimal digits, and no other spelling of the same number.
    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let digits = text.len() == 32 && text.bytes().all(is_lower_hex);
        let id = u128::from_str_radix(text, 16).ok().filter(|_| digits);
        id.and_then(Self::new)
            .ok_or_else(|| IdentityError::Cluster {
                seen: excerpt(text),
            })
    }
}

const fn is_lower_hex(digit: u8) -> bool {
    digit.is_ascii_digit() || matches!(digit, b'a'..=b'f')
}

/// A peer of a cluster, as a certificate names it: a URI among its subject alternative names.
///
/// ```
/// use peaberry_core::{ClusterId, PeerId, PeerIdentity};
///
/// let identity = PeerIdentity { cluster: ClusterId::new(0xc0ffee).unwrap(), peer: PeerId::new(7).unwrap() };
/// let uri = "peaberry://00000000000000000000000000c0ffee/peer/7";
/// assert_eq!(identity.to_string(), uri);
/// assert_eq!(uri.parse(), Ok(identity));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "the URI has these two parts")]
pub struct PeerIdentity {
    /// The cluster that vouches for the peer.
    pub cluster: ClusterId,
    /// The peer.
    pub peer: PeerId,
}

/// What every identity's URI begins with.
pub(crate) const SCHEME: &str = "peaberry://";

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/peer/{}", self.cluster, self.peer.get())
    }
}

impl FromStr for PeerIdentity {
    type Err = IdentityError;

    /// Reads the one spelling that `to_string` writes.
    fn from_str(uri: &str) -> Result<Self, IdentityError> {
        let malformed = || IdentityError::Uri { seen: excerpt(uri) };
        let (cluster, peer) = uri
            .strip_prefix(SCHEME)
            .and_then(|rest| rest.split_once("/peer/"))
            .ok_or_else(malformed)?;
        let identity = Self {
            cluster: cluster.parse()?,
            peer: peer
                .parse()
                .ok()
                .and_then(PeerId::new)
                .ok_or_else(malformed)?,
        };
        // `+7` and `007` are numbers to the parser, but not names of peer 7.
        if identity.to_string() == uri {
            Ok(identity)
        } else {
            Err(malformed())
        }
    }
}

/// Why a text names no peer. It may come from a stranger's certificate: at most 128 characters of it are kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Not a cluster id.
    #[error("{seen:?} is not a cluster id: 32 lower-case hexadecimal digits, not all zero")]
    Cluster {
        /// The text, cut short.
        seen: String,
    },
    /// Not a peer's URI.
    #[error("{seen:?} is not a peer's identity: peaberry://CLUSTER/peer/NUMBER")]
    Uri {
        /// The text, cut short.
        seen: String,
    },
}

/// How much of a stranger's text an error repeats, in characters.
const EXCERPT_CHARS_MAX: usize = 128;

fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_spelling_names_a_peer() {
        let cluster = "00000000000000000000000000c0ffee";
        for peer in [
            "0",
            "+7",
            "07",
            "",
            "7 ",
            "-1",
            "18446744073709551616",
            "7/peer/7",
        ] {
            let uri = format!("{SCHEME}{cluster}/peer/{peer}");
            assert!(uri.parse::<PeerIdentity>().is_err(), "{uri}");
        }
        for cluster in ["c0ffee", &"0".repeat(32), &"C".repeat(32), &"+".repeat(32)] {
            let uri = format!("{SCHEME}{cluster}/peer/7");
            assert!(uri.parse::<PeerIdentity>().is_err(), "{uri}");
        }
        assert!("spiffe://x/peer/7".parse::<PeerIdentity>().is_err());
    }

    #[test]
    fn an_error_repeats_little_of_a_long_name() {
        let error = "x".repeat(1 << 20).parse::<PeerIdentity>().unwrap_err();
        assert!(error.to_string().len() < 300);
    }
}
