//! What called what, as far as nodes must agree on it.

use serde_json::Value;

/// As much of a call, and those within it, as nodes must agree on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Called {
    kind: String,
    from: Value,
    to: Value,
    value: Value,
    gas: [Value; 2],
    data: [Value; 2],
    is_undone: bool,
    within: Vec<Self>,
}

impl Called {
    /// A whole transaction. Of the outermost call Anvil leaves out what the transaction itself costs from the limit, and
    /// counts the block's earlier transactions as gas used; geth tells those of the transaction.
    pub(crate) fn read(trace: &Value) -> Self {
        Self {
            gas: [Value::Null, Value::Null],
            ..Self::read_call(trace)
        }
    }

    fn read_call(trace: &Value) -> Self {
        let bytes = |name: &str| match trace[name].as_str() {
            None | Some("0x") => Value::Null,
            Some(text) => Value::from(text),
        };
        let is_undone = trace["error"].is_string();
        let is_creation = trace["type"].as_str().unwrap().starts_with("CREATE");
        let within = trace["calls"].as_array();
        Self {
            kind: trace["type"].as_str().unwrap().to_owned(),
            from: trace["from"].clone(),
            // Where a creation that failed would have been, nodes say or do not.
            to: if is_undone && is_creation {
                Value::Null
            } else {
                trace["to"].clone()
            },
            value: match trace["value"].as_str() {
                None | Some("0x0") => Value::Null,
                Some(text) => Value::from(text),
            },
            gas: [trace["gas"].clone(), trace["gasUsed"].clone()],
            data: [bytes("input"), bytes("output")],
            is_undone,
            within: within.into_iter().flatten().map(Self::read_call).collect(),
        }
    }
}
