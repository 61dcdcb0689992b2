//! What called what in a transaction.

use std::fmt;

use alloy_primitives::{Bytes, U256, hex};
use revm::Inspector;
use revm::context::result::HaltReason;
use revm::context_interface::{ContextTr, CreateScheme};
use revm::interpreter::{
    CallInputs, CallOutcome, CallScheme, CreateInputs, CreateOutcome, InterpreterResult,
    SuccessOrHalt,
};

use super::execution::halt_words;
use crate::evm::decode_revert;
use crate::{EvmAddress, Revert};

/// The most that one trace keeps, in bytes: input, output and 256 for each call. What lies behind is left out.
pub const TRACE_BYTES_MAX: usize = 16 << 20;
const CALL_BYTES: usize = 256;

/// A call and the calls within it. Printed as a tree, a line for each call.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use peaberry_chain::dev::{DevChain, DevOptions};
/// use peaberry_chain::{BlockAt, CallRequest, EvmAddress};
///
/// let chain = DevChain::new(DevOptions::default());
/// let trace = chain.trace_call(&CallRequest::new(EvmAddress::repeat_byte(1), []), BlockAt::Latest)?;
/// assert!(trace.failure.is_none() && trace.calls.is_empty());
/// assert!(trace.to_string().starts_with("CALL 0x0101010101010101010101010101010101010101"));
/// # Ok::<(), peaberry_chain::ChainError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallTrace {
    /// How it was called.
    pub kind: CallKind,
    /// Who called; where code was borrowed, who ran it.
    pub from: EvmAddress,
    /// Whose code ran; of a creation the new contract, or where it would have been. `None` where it failed before that was
    /// known.
    pub to: Option<EvmAddress>,
    /// What it was paid, in wei.
    pub value: U256,
    /// The most gas it could use. The outermost call's is the transaction's own limit.
    pub gas: u64,
    /// What it used, with all that lies within. The outermost call's is what the transaction took.
    pub gas_used: u64,
    /// Its call data, or a new contract's creation code.
    pub input: Bytes,
    /// What it returned: an answer, a new contract's code, or the reason of a revert.
    pub output: Bytes,
    /// Why it was undone; a call within can fail without its caller.
    pub failure: Option<Revert>,
    /// The calls within, in order.
    pub calls: Vec<CallTrace>,
    /// Calls within are left out, as the whole would be over [`TRACE_BYTES_MAX`].
    pub is_cut: bool,
}

/// How a call was made. Displayed as the instruction's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// Another account's code, in its own name.
    Call,
    /// Another account's code in the caller's name; before [`DelegateCall`](Self::DelegateCall).
    CallCode,
    /// Another account's code in the name and value of the caller's own call.
    DelegateCall,
    /// A call that may change nothing.
    StaticCall,
    /// A new contract.
    Create,
    /// A new contract whose address does not depend on a nonce.
    Create2,
    /// A contract gives all it has to another account.
    SelfDestruct,
}

impl fmt::Display for CallKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Call => "CALL",
            Self::CallCode => "CALLCODE",
            Self::DelegateCall => "DELEGATECALL",
            Self::StaticCall => "STATICCALL",
            Self::Create => "CREATE",
            Self::Create2 => "CREATE2",
            Self::SelfDestruct => "SELFDESTRUCT",
        })
    }
}

impl CallTrace {
    /// Where a failure began: as long as the last thing that a failed call did was a call that failed, it is that one's.
    /// `None` where the outermost call did not fail.
    #[must_use]
    pub fn culprit(&self) -> Option<&Self> {
        self.failure.as_ref()?;
        let within = self.calls.last().and_then(Self::culprit);
        Some(within.unwrap_or(self))
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        write!(f, "{:width$}{}", "", self.kind, width = 2 * depth)?;
        match self.to {
            Some(to) => write!(f, " {to}")?,
            None => f.write_str(" nothing")?,
        }
        let is_creation = matches!(self.kind, CallKind::Create | CallKind::Create2);
        if let (false, Some(selector)) = (is_creation, self.input.get(..4)) {
            write!(f, " {}", hex::encode_prefixed(selector))?;
        }
        if !self.value.is_zero() {
            write!(f, " with {} wei", self.value)?;
        }
        write!(f, ", {} gas", self.gas_used)?;
        if let Some(failure) = &self.failure {
            write!(f, ": undone by {failure}")?;
        }
        for call in &self.calls {
            f.write_str("\n")?;
            call.write(f, depth + 1)?;
        }
        if self.is_cut {
            write!(f, "\n{:width$}…", "", width = 2 * depth + 2)?;
        }
        Ok(())
    }
}

impl fmt::Display for CallTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

/// Watches the EVM call.
#[derive(Debug)]
pub(super) struct Tracer {
    /// The calls under way, each within the one before.
    open: Vec<Open>,
    whole: Option<CallTrace>,
    bytes_left: usize,
}

#[derive(Debug)]
struct Open {
    call: CallTrace,
    is_kept: bool,
}

impl Tracer {
    pub(super) const fn new() -> Self {
        Self {
            open: Vec::new(),
            whole: None,
            bytes_left: TRACE_BYTES_MAX,
        }
    }

    /// What was seen of a transaction of so much gas.
    pub(super) fn finish(self, gas: u64, gas_used: u64) -> Option<CallTrace> {
        let whole = self.whole?;
        Some(CallTrace {
            gas,
            gas_used,
            ..whole
        })
    }

    /// Whether there is room for so many bytes. Once there is not, there never is again.
    const fn take(&mut self, bytes: usize) -> bool {
        match self.bytes_left.checked_sub(bytes) {
            Some(left) => {
                self.bytes_left = left;
                true
            }
            None => {
                self.bytes_left = 0;
                false
            }
        }
    }

    fn begin(&mut self, call: CallTrace) {
        let is_first = self.open.is_empty();
        let is_kept = self.take(CALL_BYTES + call.input.len()) || is_first;
        self.open.push(Open { call, is_kept });
    }

    fn end(&mut self, result: &InterpreterResult, created: Option<EvmAddress>) {
        let Some(Open { mut call, is_kept }) = self.open.pop() else {
            return;
        };
        let is_settled = result.result.is_ok_or_revert();
        call.gas_used = if is_settled {
            call.gas.saturating_sub(result.gas.remaining())
        } else {
            call.gas
        };
        if is_kept && self.take(result.output.len()) {
            call.output = result.output.clone();
        }
        if matches!(call.kind, CallKind::Create | CallKind::Create2) {
            call.to = created;
        }
        call.failure = failure(result);
        self.close(call, is_kept);
    }

    fn close(&mut self, call: CallTrace, is_kept: bool) {
        match self.open.last_mut() {
            None => self.whole = Some(call),
            Some(caller) if is_kept => caller.call.calls.push(call),
            Some(caller) => caller.call.is_cut = true,
        }
    }
}

fn failure(result: &InterpreterResult) -> Option<Revert> {
    match SuccessOrHalt::<HaltReason>::from(result.result) {
        SuccessOrHalt::Success(_) => None,
        SuccessOrHalt::Revert => Some(decode_revert(&result.output, "execution reverted")),
        SuccessOrHalt::Halt(reason) => Some(Revert::Unexplained(halt_words(&reason))),
        SuccessOrHalt::FatalExternalError | SuccessOrHalt::Internal(_) => {
            Some(Revert::Unexplained("internal error".into()))
        }
    }
}

fn begun(kind: CallKind, from: EvmAddress, to: Option<EvmAddress>) -> CallTrace {
    CallTrace {
        kind,
        from,
        to,
        value: U256::ZERO,
        gas: 0,
        gas_used: 0,
        input: Bytes::new(),
        output: Bytes::new(),
        failure: None,
        calls: Vec::new(),
        is_cut: false,
    }
}

impl<CTX: ContextTr> Inspector<CTX> for Tracer {
    fn call(&mut self, context: &mut CTX, inputs: &mut CallInputs) -> Option<CallOutcome> {
        let (kind, from) = match inputs.scheme {
            CallScheme::Call => (CallKind::Call, inputs.caller),
            CallScheme::StaticCall => (CallKind::StaticCall, inputs.caller),
            // The code is borrowed: who runs it is the account whose state it changes.
            CallScheme::CallCode => (CallKind::CallCode, inputs.target_address),
            CallScheme::DelegateCall => (CallKind::DelegateCall, inputs.target_address),
        };
        // Where there is no room there is no copy.
        let input = if inputs.input.len() <= self.bytes_left {
            inputs.input.bytes(context)
        } else {
            self.bytes_left = 0;
            Bytes::new()
        };
        self.begin(CallTrace {
            value: inputs.call_value(),
            gas: inputs.gas_limit,
            input,
            ..begun(kind, from, Some(inputs.bytecode_address))
        });
        None
    }

    fn call_end(&mut self, _context: &mut CTX, _inputs: &CallInputs, outcome: &mut CallOutcome) {
        self.end(&outcome.result, None);
    }

    fn create(&mut self, _context: &mut CTX, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        let kind = match inputs.scheme() {
            CreateScheme::Create2 { .. } => CallKind::Create2,
            _ => CallKind::Create,
        };
        self.begin(CallTrace {
            value: inputs.value(),
            gas: inputs.gas_limit(),
            input: inputs.init_code().clone(),
            ..begun(kind, inputs.caller(), None)
        });
        None
    }

    fn create_end(
        &mut self,
        _context: &mut CTX,
        _inputs: &CreateInputs,
        outcome: &mut CreateOutcome,
    ) {
        self.end(&outcome.result, outcome.address);
    }

    fn selfdestruct(&mut self, contract: EvmAddress, target: EvmAddress, value: U256) {
        let is_kept = self.take(CALL_BYTES);
        let call = CallTrace {
            value,
            ..begun(CallKind::SelfDestruct, contract, Some(target))
        };
        self.close(call, is_kept);
    }
}
