//! Where values come from.
