//! Single decisions, one answer at a time.

mod displacing;
mod fees;
mod forgetting;
mod looking;
mod nonces;
mod refusals;
mod rig;
mod settling;
mod silences;
mod solana;
