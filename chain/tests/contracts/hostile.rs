//! A token that behaves as it is told (`contracts/hostile`).

use alloy_sol_types::sol;
use peaberry_chain::primitives::Bytes;

sol! {
    function behave(uint8 manner);
    function callBack(address calls, bytes with);
    function mint(address to, uint256 amount);
    function wentThrough() returns (bool);
    function refusal() returns (bytes4);
}

/// How it behaves, numbered as the contract does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Plain,
    AnswersNothing,
    AnswersShort,
    AnswersNo,
    AnswersTwo,
    KeepsPart,
    MovesNothing,
    Reverts,
    CallsBack,
    TakesMore,
}

pub(crate) const MANNERS: [Manner; 10] = [
    Manner::Plain,
    Manner::AnswersNothing,
    Manner::AnswersShort,
    Manner::AnswersNo,
    Manner::AnswersTwo,
    Manner::KeepsPart,
    Manner::MovesNothing,
    Manner::Reverts,
    Manner::CallsBack,
    Manner::TakesMore,
];

pub(crate) fn bytecode() -> Bytes {
    crate::ground::bytecode(include_str!("../../contracts/hostile/HostileToken.json"))
}
