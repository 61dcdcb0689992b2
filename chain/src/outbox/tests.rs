//! Single decisions, one answer at a time.

mod displacing;
mod fees;
mod forgetting;
mod nonces;
mod refusals;
mod rig;
mod settling;
mod solana;
