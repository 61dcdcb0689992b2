use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::EdgeError;

use super::cbor::check_length;
use super::{
    Alert, Command, Gap, Health, MESSAGE_BYTES_MAX, Notification, OrderUpdate, Readings, Record,
    SinkAck, Wire,
};

const WHAT: &str = "JSON";

/// Reads JSON as people write it into a [`Command`], [`Record`] or any other of these types. What CBOR cannot say (an order
/// that is done to more than 1000 thousandths, a gap of no records, more columns than a batch may have) JSON cannot either.
///
/// # Errors
///
/// [`EdgeError::TooLong`] over [`MESSAGE_BYTES_MAX`] or another bound of the type, or [`EdgeError::Malformed`], which says
/// where.
///
/// # Example
///
/// ```
/// use peaberry_edge::payload::{Action, Command, from_json};
///
/// let text = br#"{"device": "m-17", "action": {"place_order": {"key": "o-1", "recipe": "latte"}}}"#;
/// let command: Command = from_json(text).unwrap();
/// assert!(matches!(command.action, Action::PlaceOrder { .. }));
/// let error = from_json::<Command>(br#"{"device": "m-17"}"#).unwrap_err();
/// assert_eq!(error.to_string(), "JSON is malformed: missing field `action` at line 1 column 18");
/// ```
pub fn from_json<T: Wire + PartialEq + DeserializeOwned>(text: &[u8]) -> Result<T, EdgeError> {
    check_length("JSON bytes", text.len(), MESSAGE_BYTES_MAX)?;
    let value: T = serde_json::from_slice(text)
        .map_err(|error| EdgeError::malformed(WHAT, error.to_string()))?;
    if T::decode(&value.encode())? == value {
        return Ok(value);
    }
    let reason = "it says more than a message can";
    Err(EdgeError::malformed(WHAT, reason))
}

/// Writes any of these types as JSON for people. A number that JSON cannot say (NaN, infinities) becomes `null`, and does
/// not read back.
///
/// # Errors
///
/// [`EdgeError::Malformed`] for a value that has no JSON.
pub fn to_json<T: Serialize>(value: &T) -> Result<String, EdgeError> {
    serde_json::to_string(value).map_err(|error| EdgeError::malformed(WHAT, error.to_string()))
}

/// Feeds any bytes at all to every reader of JSON, and panics if one that accepts them does not write them back so that they
/// are read as the same again, in JSON and in CBOR.
#[doc(hidden)]
pub fn decode_any_json_bytes(bytes: &[u8]) {
    fn check<T: Wire + PartialEq + Serialize + DeserializeOwned + std::fmt::Debug>(bytes: &[u8]) {
        if let Ok(value) = from_json::<T>(bytes) {
            let written = to_json(&value).expect("what was read has JSON");
            // Digits as bytes and escapes may be longer as we write them.
            if written.len() <= MESSAGE_BYTES_MAX {
                let again = from_json::<T>(written.as_bytes());
                assert_eq!(again.expect("what we write can be read"), value);
            }
            let again = T::decode(&value.encode());
            assert_eq!(again.expect("what JSON says CBOR can say"), value);
        }
    }
    check::<Record>(bytes);
    check::<Readings>(bytes);
    check::<Health>(bytes);
    check::<Alert>(bytes);
    check::<Gap>(bytes);
    check::<Notification>(bytes);
    check::<OrderUpdate>(bytes);
    check::<Command>(bytes);
    check::<SinkAck>(bytes);
}
