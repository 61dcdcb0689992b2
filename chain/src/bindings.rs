//! Go Coffee's contracts as types, made by alloy's `sol!` from the artefacts in `chain/contracts/artifacts`.
//!
//! Calls, events and errors encode and decode without any ABI at run time; [`creation`] makes what deploys one.
//!
//! ```
//! use peaberry_chain::EvmAddress;
//! use peaberry_chain::bindings::{CoffeeToken, creation};
//! use peaberry_chain::primitives::U256;
//! use peaberry_chain::bindings::{SolCall, SolConstructor};
//!
//! let code = creation(
//!     &CoffeeToken::BYTECODE,
//!     &CoffeeToken::constructorCall {
//!         name_: "Coffee".into(), symbol_: "CFE".into(), cap_: U256::from(1000), pointsPerToken_: U256::ONE,
//!         admin: EvmAddress::repeat_byte(1),
//!     },
//! );
//! assert!(code.starts_with(&CoffeeToken::BYTECODE));
//! let pay = CoffeeToken::mintCall { to: EvmAddress::repeat_byte(2), amount: U256::from(5) };
//! assert_eq!(pay.abi_encode().len(), 4 + 2 * 32);
//! ```

use alloy_primitives::Bytes;
pub use alloy_sol_types::{SolCall, SolConstructor, SolError, SolEvent, SolInterface};

/// Creation code with the constructor's arguments behind, for [`Intent::Deploy`](crate::Intent::Deploy).
#[must_use]
pub fn creation(bytecode: &Bytes, constructor: &impl SolConstructor) -> Bytes {
    [&bytecode[..], &constructor.abi_encode()].concat().into()
}

pub use generated::{CoffeeToken, PaymentProcessor, SupplyChain};

#[allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    elided_lifetimes_in_paths,
    clippy::all,
    clippy::pedantic,
    clippy::use_self,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::missing_errors_doc,
    reason = "the macro's code, named as the contracts name things"
)]
mod generated {
    alloy_sol_types::sol!(CoffeeToken, "contracts/artifacts/CoffeeToken.json");
    alloy_sol_types::sol!(SupplyChain, "contracts/artifacts/SupplyChain.json");
    alloy_sol_types::sol!(
        PaymentProcessor,
        "contracts/artifacts/PaymentProcessor.json"
    );
}
