//! Why something was undone, and which call did it.

use peaberry_chain::dev::{CallKind, TRACE_BYTES_MAX};
use peaberry_chain::evm::{EvmRpc as _, Transaction};
use peaberry_chain::primitives::{B256, hex};
use peaberry_chain::{BlockAt, CallRequest, ChainError, EvmAddress, Revert};

use super::now;
use crate::node::World;

fn call(code: &[u8]) -> CallRequest {
    CallRequest {
        data: code.to_vec().into(),
        ..CallRequest::default()
    }
}

/// An invalid instruction uses up all gas, and its words are known afterwards.
#[test]
fn the_evms_own_errors_have_words() {
    let world = World::dev();
    let raw = world.sign(0, &world.creation(0, &[0xfe]));
    world.chain().submit(raw.raw()).unwrap();
    // REVERT with nothing.
    let quiet = Transaction {
        nonce: 1,
        ..world.creation(1, &[0x5f, 0x5f, 0xfd])
    };
    let quiet = world.sign(0, &quiet);
    world.chain().submit(quiet.raw()).unwrap();
    world.chain().mine();
    let receipt = now(world.chain().receipt(raw.hash())).unwrap().unwrap();
    assert_eq!((receipt.is_success, receipt.gas_used), (false, 1_000_000));
    assert_eq!(
        world.chain().revert_reason(raw.hash()),
        Some(Revert::Unexplained("invalid opcode: INVALID".into()))
    );
    assert!(world.chain().revert_reason(quiet.hash()).is_some());
    assert_eq!(world.chain().revert_reason(B256::ZERO), None);
}

/// A tree of calls, the innermost of which failed: the trace says where it began, in lines for people.
#[test]
fn a_trace_leads_to_the_call_that_failed() {
    let world = World::dev();
    // Calls account 4, the identity, which answers; then 0x99, which nobody has given any code; then reverts with nothing.
    let code = hex!("5f5f5f5f5f60045af1505f5f5f5f5f60995af1505f5ffd");
    let raw = world.sign(0, &world.creation(0, &code));
    world.chain().submit(raw.raw()).unwrap();
    world.chain().mine();
    let trace = world.chain().trace(raw.hash()).unwrap();
    assert_eq!(
        (trace.kind, trace.from),
        (CallKind::Create, world.address(0))
    );
    assert_eq!(trace.calls.len(), 2);
    assert!(trace.calls.iter().all(|call| call.failure.is_none()));
    assert_eq!(trace.culprit(), Some(&trace));
    let receipt = now(world.chain().receipt(raw.hash())).unwrap().unwrap();
    assert_eq!(trace.gas_used, receipt.gas_used);
    let told = trace.to_string();
    let lines: Vec<&str> = told.lines().collect();
    let created = world.address(0).create(0);
    assert!(
        lines[0].starts_with(&format!("CREATE {created}, ")),
        "{told}"
    );
    assert!(
        lines[0].ends_with(": undone by execution reverted"),
        "{told}"
    );
    assert!(
        lines[1].starts_with("  CALL 0x0000000000000000000000000000000000000004, "),
        "{told}"
    );
    assert_eq!(world.chain().trace(B256::ZERO), None);
}

/// Whoever copies a lot cannot make a trace of any size.
#[test]
fn a_trace_is_cut_at_its_bound() {
    let world = World::dev();
    // Two hundred times the identity of a hundred thousand bytes.
    let code = hex!("6100c85b5f5f620186a05f60045afa50600190038060035700");
    let trace = world
        .chain()
        .trace_call(&call(&code), BlockAt::Latest)
        .unwrap();
    assert!(trace.failure.is_none(), "{:?}", trace.failure);
    assert!(trace.is_cut);
    let kept: usize = trace
        .calls
        .iter()
        .map(|call| call.input.len() + call.output.len())
        .sum();
    assert!(kept > TRACE_BYTES_MAX / 2 && kept <= TRACE_BYTES_MAX);
    assert!(trace.to_string().ends_with('…'));
}

#[test]
fn a_trace_of_what_cannot_begin_says_why() {
    let world = World::dev();
    let missing = world.chain().trace_call(&call(&[]), BlockAt::Number(9));
    assert!(matches!(missing, Err(ChainError::NotFound { .. })));
    let poor = CallRequest {
        to: Some(EvmAddress::repeat_byte(9).into()),
        value: peaberry_chain::primitives::U256::MAX,
        ..CallRequest::default()
    }
    .from(world.address(0));
    let poor = world.chain().trace_call(&poor, BlockAt::Latest);
    assert!(matches!(poor, Err(ChainError::InsufficientFunds { .. })));
}
