//! Single decisions, one answer at a time.

mod forgetting;
mod rig;
