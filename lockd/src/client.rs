//! Sessions, locks and guards for applications.

mod calls;
mod guard;
mod handle;
mod lease;
mod protocol;
mod session;
#[cfg(test)]
mod tests;

pub use self::guard::{Guard, GuardState};
pub use self::handle::{AcquireOptions, ClientConfig, LockClient, Session, SessionOptions};
pub use self::lease::Lost;
pub use self::protocol::{CLIENT_CALLS_MAX, ClientCommand, ClientEvent, ClientProtocol};
