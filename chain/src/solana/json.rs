//! The parts of a node's JSON that are used.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// An answer, of which either part is there.
#[derive(Deserialize)]
pub(super) struct Answer {
    pub(super) id: u64,
    #[serde(default, deserialize_with = "present")]
    pub(super) result: Option<Box<RawValue>>,
    #[serde(default)]
    pub(super) error: Option<RpcErrorJson>,
}

// A null that is there is an answer, too.
fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// JSON-RPC's error.
#[derive(Debug, Deserialize)]
pub(super) struct RpcErrorJson {
    pub(super) code: i64,
    pub(super) message: String,
    #[serde(default)]
    pub(super) data: Value,
}

#[derive(Deserialize)]
pub(super) struct WithContext<T> {
    pub(super) context: Context,
    pub(super) value: T,
}

#[derive(Deserialize)]
pub(super) struct Context {
    pub(super) slot: u64,
    /// Several nodes asked as one say so of what they do not know: pairs of a slot as of which it is so, and of one since which
    /// it would be known.
    #[serde(default, rename = "peaberryKnownSince")]
    pub(super) known_since: Option<Vec<(u64, u64)>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BlockhashJson {
    pub(super) blockhash: String,
    pub(super) last_valid_block_height: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EpochJson {
    pub(super) absolute_slot: u64,
    pub(super) block_height: u64,
}

#[derive(Deserialize)]
pub(super) struct AccountJson {
    pub(super) lamports: u64,
    pub(super) owner: String,
    pub(super) data: (String, String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StatusJson {
    pub(super) slot: u64,
    #[serde(default)]
    pub(super) err: Value,
    #[serde(default)]
    pub(super) confirmation_status: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SimulationJson {
    #[serde(default)]
    pub(super) err: Value,
    #[serde(default)]
    pub(super) units_consumed: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BlockJson {
    pub(super) blockhash: String,
    pub(super) previous_blockhash: String,
    #[serde(default)]
    pub(super) block_height: Option<u64>,
    #[serde(default)]
    pub(super) block_time: Option<i64>,
}
