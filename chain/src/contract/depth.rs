//! How deep types may be nested: whatever walks along them does so by calling itself.

use alloy_json_abi::{EventParam, JsonAbi, Param};

/// The most arrays and structs within each other that a type of an ABI may have. No compiler makes so many.
pub const TYPE_DEPTH_MAX: usize = 64;

/// The name of what has a deeper type, if anything has.
pub(super) fn too_deep(abi: &JsonAbi) -> Option<&str> {
    let constructor = abi
        .constructor
        .iter()
        .map(|it| ("the constructor", &it.inputs));
    let asked = abi.functions().map(|it| (it.name.as_str(), &it.inputs));
    let answered = abi.functions().map(|it| (it.name.as_str(), &it.outputs));
    let errors = abi.errors().map(|it| (it.name.as_str(), &it.inputs));
    let mut all = constructor.chain(asked).chain(answered).chain(errors);
    let found = all.find(|(_, params)| params.iter().any(|param| depth(param) > TYPE_DEPTH_MAX));
    let mut events = abi.events();
    let event = events.find(|it| it.inputs.iter().any(|it| event_depth(it) > TYPE_DEPTH_MAX));
    found
        .map(|(name, _)| name)
        .or_else(|| event.map(|event| event.name.as_str()))
}

fn depth(param: &Param) -> usize {
    arrays(&param.ty) + below(&param.components)
}

fn event_depth(param: &EventParam) -> usize {
    arrays(&param.ty) + below(&param.components)
}

/// What JSON has in JSON is bounded by its reader: this ends.
fn below(components: &[Param]) -> usize {
    components
        .iter()
        .map(depth)
        .max()
        .map_or(0, |most| most + 1)
}

/// Arrays in a type's name, and structs that are written in it.
fn arrays(kind: &str) -> usize {
    kind.bytes()
        .filter(|sign| matches!(sign, b'[' | b'('))
        .count()
}
