//! Plain values.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Float, Scalar};

/// A plain value, like JSON's: what a document shows, and what can be assigned to it.
///
/// With feature `serde` it is read and written as such, for example by `serde_json`.
///
/// ```
/// use peaberry_crdt::document::Value;
///
/// let order = Value::from_iter([
///     ("drink", Value::from("flat white")),
///     ("sugars", Value::from(2)),
///     ("extras", Value::from_iter(["oat milk", "cinnamon"].map(Value::from))),
/// ]);
/// let Value::Map(entries) = &order else { panic!("it is a map") };
/// assert_eq!(entries["sugars"], Value::Integer(2));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Value {
    /// Nothing.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Float(Float),
    /// Text.
    String(String),
    /// Bytes, which JSON has not.
    Bytes(Vec<u8>),
    /// Values in order.
    List(Vec<Self>),
    /// Values by key.
    Map(BTreeMap<String, Self>),
}

impl From<&Scalar> for Value {
    fn from(scalar: &Scalar) -> Self {
        match scalar {
            Scalar::Null => Self::Null,
            Scalar::Bool(value) => Self::Bool(*value),
            Scalar::Integer(value) => Self::Integer(*value),
            Scalar::Float(value) => Self::Float(*value),
            Scalar::String(text) => Self::String(text.clone()),
            Scalar::Bytes(bytes) => Self::Bytes(bytes.clone()),
        }
    }
}

impl<T: Into<Scalar>> From<T> for Value {
    fn from(value: T) -> Self {
        Self::from(&value.into())
    }
}

impl FromIterator<Self> for Value {
    fn from_iter<I: IntoIterator<Item = Self>>(values: I) -> Self {
        Self::List(values.into_iter().collect())
    }
}

impl<K: Into<String>> FromIterator<(K, Self)> for Value {
    fn from_iter<I: IntoIterator<Item = (K, Self)>>(entries: I) -> Self {
        Self::Map(
            entries
                .into_iter()
                .map(|(key, value)| (key.into(), value))
                .collect(),
        )
    }
}
