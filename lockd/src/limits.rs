//! Every bound of the lock service, and why it is there.

/// The shortest lease, in milliseconds: a few ticks and a few round trips.
pub const TTL_MS_MIN: u64 = 500;
/// The longest lease, in milliseconds: how long a lock outlives a holder that has died, at worst. Ten minutes.
pub const TTL_MS_MAX: u64 = 600_000;
/// The lease of a session that names none, in milliseconds.
pub const TTL_MS_DEFAULT: u64 = 30_000;

/// How far one entry may move log time, in milliseconds: a forged stamp expires nobody whose lease is longer.
pub const ADVANCE_MS_MAX: u64 = 10_000;

/// The longest path of a lock, in bytes.
pub const PATH_BYTES_MAX: usize = 256;
/// The deepest path, in segments.
pub const PATH_SEGMENTS_MAX: usize = 16;
/// The longest name of a session's owner, in bytes.
pub const OWNER_BYTES_MAX: usize = 128;

/// Sessions alive at once.
pub const SESSIONS_MAX: usize = 100_000;
/// Sessions alive at once of one peer, so that none can crowd out the others.
pub const SESSIONS_PER_PEER_MAX: usize = 10_000;
/// Locks held at once.
pub const LOCKS_MAX: usize = 250_000;
/// Locks that one session may hold and wait for together.
pub const CLAIMS_PER_SESSION_MAX: usize = 16_384;
/// Claims that may wait for one lock. With it a lock fits into one chunk of a snapshot.
pub const WAITERS_PER_LOCK_MAX: usize = 4_096;
/// How often one session may re-enter one lock.
pub const REENTRIES_MAX: usize = 64;
/// Replies that a session may leave unacknowledged. With it a session fits into one chunk of a snapshot.
pub const REPLIES_PER_SESSION_MAX: usize = 1_024;

/// Claims that one entry drops because their sessions ended; the rest go with the next, so that no entry takes long.
pub const REAPED_PER_ENTRY_MAX: usize = 4_096;

/// Requests in one entry, and queries in one read.
pub const REQUESTS_PER_ENTRY_MAX: usize = 1_024;
/// The longest request, in bytes: the longest path and owner, and room for numbers.
pub const REQUEST_BYTES_MAX: usize = 512;
/// Locks in one page of a listing or of a session's state.
pub const PAGE_LOCKS_MAX: usize = 256;
