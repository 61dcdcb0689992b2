//! Single decisions, one answer at a time.

mod fees;
mod forgetting;
mod refusals;
mod rig;
