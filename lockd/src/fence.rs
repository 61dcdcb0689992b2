//! Fencing: what keeps a holder that has lost its lock, and does not know yet, from doing harm.
//!
//! A lease can end while its holder is paused; no lock service can prevent that. So every grant carries a [`Token`]
//! larger than that of every grant before it, the holder shows it with each request, and the resource refuses a token
//! once it has seen a newer one. A [`Gate`] is that check, a [`DurableGate`] one that survives restarts.
//!
//! In SQL the check is a condition of the write itself, so that both happen or neither does. Keep the floor beside the
//! guarded row, and treat an update of no row as refused:
//!
//! ```sql
//! UPDATE orders
//!    SET state = :state, floor_incarnation = :floor_incarnation, floor_grant = :floor_grant
//!  WHERE id = :id
//!    AND (floor_incarnation, floor_grant) <= (:floor_incarnation, :floor_grant);
//! ```
//!
//! That serves exclusive locks, where a grant's floor is its token. Where several hold at once, compare the stored floor
//! with the *token* and store `GREATEST` of both floors.

mod durable;

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

pub use self::durable::{DurableGate, DurableGateError};

/// The number of a grant, larger than that of every grant before it in the same group, over every lock.
///
/// Ordered by incarnation, then by grant. The incarnation is raised when a group is restored from a backup, so that
/// tokens never repeat. Tokens of different groups do not compare.
///
/// ```
/// use peaberry_lockd::fence::Token;
///
/// let before = Token::new(1, 900).unwrap();
/// let after: Token = "2.1".parse().unwrap();
/// assert!(after > before);
/// assert_eq!(Token::from_bytes(after.to_bytes()), Some(after));
/// assert_eq!(Token::new(1, 0), None, "no grant has number zero");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    incarnation: NonZeroU64,
    grant: NonZeroU64,
}

impl Token {
    /// The token of grant number `grant` in `incarnation`; `None` when one is zero.
    #[must_use]
    pub const fn new(incarnation: u64, grant: u64) -> Option<Self> {
        match (NonZeroU64::new(incarnation), NonZeroU64::new(grant)) {
            (Some(incarnation), Some(grant)) => Some(Self { incarnation, grant }),
            _ => None,
        }
    }

    /// How often the group has been restored from a backup, and one.
    #[must_use]
    pub const fn incarnation(self) -> u64 {
        self.incarnation.get()
    }

    /// The number of the grant, from 1 upwards.
    #[must_use]
    pub const fn grant(self) -> u64 {
        self.grant.get()
    }

    /// Both numbers, big-endian: the bytes sort as tokens do.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        ((self.incarnation.get() as u128) << 64 | self.grant.get() as u128).to_be_bytes()
    }

    /// The token that [`to_bytes`](Self::to_bytes) wrote; `None` when a number is zero.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        let (incarnation, grant) = bytes.split_first_chunk::<8>()?;
        Self::new(
            u64::from_be_bytes(*incarnation),
            u64::from_be_bytes(grant.try_into().ok()?),
        )
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.incarnation, self.grant)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not a token: two numbers above zero with a dot between them, such as `1.42`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a fencing token: expected two numbers above zero joined by a dot, such as 1.42")]
pub struct ParseTokenError(());

impl FromStr for Token {
    type Err = ParseTokenError;

    fn from_str(text: &str) -> Result<Self, ParseTokenError> {
        let number = |digits: &str| {
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| plain)
        };
        text.split_once('.')
            .and_then(|(incarnation, grant)| Self::new(number(incarnation)?, number(grant)?))
            .ok_or(ParseTokenError(()))
    }
}

/// Guards one resource: remembers the highest floor it was shown, and refuses every token below.
///
/// Put it where the resource's writes are put in order, and ask it before each. It forgets at a restart; where a stale
/// holder may come back after that, use a [`DurableGate`].
///
/// ```
/// use peaberry_lockd::fence::{Gate, Token};
///
/// let (early, late) = (Token::new(1, 7).unwrap(), Token::new(1, 9).unwrap());
/// let mut gate = Gate::new();
/// assert!(gate.admit(early, early).is_ok());
/// assert!(gate.admit(late, late).is_ok());
/// let stale = gate.admit(early, early).unwrap_err();
/// assert_eq!(stale.floor, late);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    floor: Option<Token>,
}

impl Gate {
    /// A gate that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { floor: None }
    }

    /// A gate that goes on from a floor that [`floor`](Self::floor) answered.
    #[must_use]
    pub const fn from_floor(floor: Token) -> Self {
        Self { floor: Some(floor) }
    }

    /// The highest floor it has admitted.
    #[must_use]
    pub const fn floor(&self) -> Option<Token> {
        self.floor
    }

    /// Lets `token` pass unless a newer grant has made it stale, and from now on refuses what lies below `floor`.
    /// A floor above its own token counts as that token.
    ///
    /// # Errors
    ///
    /// [`Stale`]; nothing changed. The holder has lost its lock.
    pub fn admit(&mut self, token: Token, floor: Token) -> Result<(), Stale> {
        if let Some(highest) = self.floor
            && token < highest
        {
            return Err(Stale {
                token,
                floor: highest,
            });
        }
        self.floor = self.floor.max(Some(floor.min(token)));
        Ok(())
    }
}

/// A token below the highest floor of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("token {token} is stale: the lock was granted again, nothing below {floor} is valid")]
#[non_exhaustive]
pub struct Stale {
    /// What was shown.
    pub token: Token,
    /// What it should have reached.
    pub floor: Token,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn tokens_survive_text_and_bytes_and_sort_alike(a in (1..u64::MAX, 1..u64::MAX), b in (1..u64::MAX, 1..u64::MAX)) {
            let (a, b) = (Token::new(a.0, a.1).unwrap(), Token::new(b.0, b.1).unwrap());
            prop_assert_eq!(a.to_string().parse(), Ok(a));
            prop_assert_eq!(Token::from_bytes(a.to_bytes()), Some(a));
            prop_assert_eq!(a.cmp(&b), a.to_bytes().cmp(&b.to_bytes()));
        }

        #[test]
        fn a_gate_never_admits_below_a_floor_it_admitted(grants in prop::collection::vec((1..50_u64, 1..50_u64), 1..60)) {
            let mut gate = Gate::new();
            let mut highest = 0;
            for (token, floor) in grants {
                let admitted = gate
                    .admit(Token::new(1, token).unwrap(), Token::new(1, floor).unwrap())
                    .is_ok();
                prop_assert_eq!(admitted, token >= highest);
                if admitted {
                    highest = highest.max(floor.min(token));
                }
            }
        }
    }

    #[test]
    fn holders_that_share_a_floor_pass_side_by_side() {
        let token = |grant| Token::new(1, grant).unwrap();
        let mut gate = Gate::new();
        gate.admit(token(5), token(4)).unwrap();
        gate.admit(token(4), token(4)).unwrap();
        assert!(gate.admit(token(3), token(3)).is_err());
    }

    #[test]
    fn text_that_is_no_token_is_refused() {
        for text in ["", "1", "1.", ".1", "0.1", "1.0", "+1.2", "1.2.3", " 1.2"] {
            assert!(text.parse::<Token>().is_err(), "{text:?}");
        }
    }
}
