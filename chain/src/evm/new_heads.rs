//! News of blocks over a WebSocket: a reason to look, and nothing more.

mod any;
mod connection;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use peaberry_core::{Clock, SystemClock};

pub use self::any::hear_any_bytes;
use self::connection::{Connection, Target};
use crate::ChainError;

/// Bounds on what a node's news may take of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewHeadsOptions {
    /// How long connecting and subscribing may take. 10 s by default.
    pub connect_within: Duration,
    /// A connection that has been silent for so long is given up; half-way there it is asked for a sign of life. 60 s by
    /// default.
    pub silence_max: Duration,
    /// The pause before the second attempt to connect; doubled with each failure. 500 ms by default.
    pub retry_delay_min: Duration,
    /// The longest pause between attempts. 30 s by default.
    pub retry_delay_max: Duration,
    /// The largest message that is read. 64 KiB by default; a header takes two.
    pub message_bytes_max: usize,
    /// Wake-ups come no faster than this, whatever the node sends. 20 ms by default.
    pub wake_every_min: Duration,
}

impl Default for NewHeadsOptions {
    fn default() -> Self {
        Self {
            connect_within: Duration::from_secs(10),
            silence_max: Duration::from_secs(60),
            retry_delay_min: Duration::from_millis(500),
            retry_delay_max: Duration::from_secs(30),
            message_bytes_max: 64 << 10,
            wake_every_min: Duration::from_millis(20),
        }
    }
}

/// Wakes whoever polls a chain when its node has news of a block (`eth_subscribe`, `newHeads`): a stream without end.
///
/// `Ok` says that it may be worth looking now; several blocks may share one. It also comes after every (re)connect, as
/// there may have been blocks meanwhile. `Err` says why there is no connection at the moment; another attempt follows by
/// itself, after a pause. Nothing that comes over the socket is believed, so a lying, silent or missing node costs
/// latency only: whoever follows a chain polls it all the same.
///
/// Nothing happens unless it is polled. Needs a tokio runtime.
///
/// ```no_run
/// # async fn follow(changes: peaberry_chain::follow::Changes) -> Result<(), peaberry_chain::ChainError> {
/// use futures_util::StreamExt as _;
/// use peaberry_chain::evm::{NewHeads, NewHeadsOptions};
///
/// let mut heads = NewHeads::new("wss://node.example/key", NewHeadsOptions::default())?;
/// while let Some(news) = heads.next().await {
///     match news {
///         Ok(()) => changes.wake(),
///         Err(reason) => eprintln!("no news of blocks for now: {reason}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct NewHeads {
    target: Target,
    stream: BoxStream<'static, Result<(), ChainError>>,
}

impl NewHeads {
    /// News of the node at `url`: `ws://…`, and with feature `https` also `wss://…`. Does not connect yet.
    ///
    /// User and password in the URL become an `Authorization` header.
    ///
    /// # Errors
    ///
    /// [`ChainError::InvalidUrl`]: not such a URL.
    pub fn new(url: &str, options: NewHeadsOptions) -> Result<Self, ChainError> {
        Self::with_clock(url, options, Arc::new(SystemClock::new()))
    }

    /// The same, with time from `clock`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_clock(
        url: &str,
        options: NewHeadsOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ChainError> {
        Ok(Self::listen(Target::new(url)?, options, clock))
    }

    /// The same as [`new`](Self::new), believing only servers whose certificates come from `roots`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    #[cfg(feature = "https")]
    pub fn with_roots(
        url: &str,
        options: NewHeadsOptions,
        roots: &crate::TlsRoots,
    ) -> Result<Self, ChainError> {
        let target = Target::new(url)?.with_roots(roots);
        Ok(Self::listen(target, options, Arc::new(SystemClock::new())))
    }

    fn listen(target: Target, options: NewHeadsOptions, clock: Arc<dyn Clock>) -> Self {
        let listener = Listener {
            target: target.clone(),
            options,
            clock,
            connection: None,
            retry_delay: None,
        };
        let stream = stream::unfold(listener, async |mut listener| {
            let news = listener.next().await;
            Some((news, listener))
        });
        Self {
            target,
            stream: stream.boxed(),
        }
    }
}

impl Stream for NewHeads {
    type Item = Result<(), ChainError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.stream.poll_next_unpin(cx)
    }
}

impl fmt::Debug for NewHeads {
    /// Without the path: providers put their customers' keys there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewHeads({})", self.target)
    }
}

struct Listener {
    target: Target,
    options: NewHeadsOptions,
    clock: Arc<dyn Clock>,
    connection: Option<Connection>,
    /// What is waited before the next attempt, once one has failed.
    retry_delay: Option<Duration>,
}

impl Listener {
    async fn next(&mut self) -> Result<(), ChainError> {
        match self.connection.take() {
            None => self.connect().await,
            Some(connection) => self.listen(connection).await,
        }
    }

    async fn connect(&mut self) -> Result<(), ChainError> {
        if let Some(delay) = self.retry_delay {
            self.clock.sleep_until(self.clock.now() + delay).await;
        }
        match Connection::open(&self.target, &self.options, &*self.clock).await {
            Ok(connection) => {
                self.connection = Some(connection);
                Ok(())
            }
            Err(error) => Err(self.lost(error)),
        }
    }

    async fn listen(&mut self, mut connection: Connection) -> Result<(), ChainError> {
        let now = self.clock.now();
        self.clock
            .sleep_until(now + self.options.wake_every_min)
            .await;
        match connection.news(&self.options, &*self.clock).await {
            Ok(()) => {
                self.retry_delay = None;
                self.connection = Some(connection);
                Ok(())
            }
            Err(error) => Err(self.lost(error)),
        }
    }

    /// A node that takes connections and drops them at once is not asked any faster than one that is not there.
    fn lost(&mut self, error: ChainError) -> ChainError {
        let doubled = self.retry_delay.map(|delay| delay * 2);
        let delay = doubled.unwrap_or(self.options.retry_delay_min);
        self.retry_delay = Some(delay.min(self.options.retry_delay_max));
        error
    }
}
