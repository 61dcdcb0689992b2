use std::task::{Context, Poll};

use super::{AckToken, Message, SubmitError, Uplink, UplinkEvent};

/// What stands between an application and an uplink: counters, limits, faults. Whatever it does not override goes through.
///
/// [`LayeredUplink`] makes an [`Uplink`] of it. A layer keeps the promises of [`Uplink`], or breaks them on purpose in a test.
///
/// ```
/// use peaberry_edge::uplink::{
///     LayeredUplink, MemoryBroker, MemoryUplink, Message, SubmitError, Uplink, UplinkLayer,
/// };
///
/// struct CountBytes { inner: MemoryUplink, bytes: usize }
///
/// impl UplinkLayer for CountBytes {
///     fn inner(&self) -> &dyn Uplink {
///         &self.inner
///     }
///
///     fn inner_mut(&mut self) -> &mut dyn Uplink {
///         &mut self.inner
///     }
///
///     fn submit(&mut self, seq: u64, message: Message) -> Result<(), SubmitError> {
///         self.bytes += message.payload.len();
///         self.inner.submit(seq, message)
///     }
/// }
///
/// let inner = MemoryBroker::new(1).connect("m-17");
/// let mut uplink = LayeredUplink::new(CountBytes { inner, bytes: 0 });
/// uplink.submit(1, Message::new("up/telemetry", "93.5")).unwrap();
/// assert_eq!(uplink.layer().bytes, 4);
/// ```
pub trait UplinkLayer: Send {
    /// The uplink beneath.
    fn inner(&self) -> &dyn Uplink;

    /// The uplink beneath, to act on.
    fn inner_mut(&mut self) -> &mut dyn Uplink;

    /// As [`Uplink::subscribe`].
    fn subscribe(&mut self, filter: &str) {
        self.inner_mut().subscribe(filter);
    }

    /// As [`Uplink::subscribe_now`].
    fn subscribe_now(&mut self, filters: &mut dyn Iterator<Item = String>) -> usize {
        self.inner_mut().subscribe_now(filters)
    }

    /// As [`Uplink::unsubscribe`].
    fn unsubscribe(&mut self, filter: &str) {
        self.inner_mut().unsubscribe(filter);
    }

    /// As [`Uplink::room`].
    fn room(&self) -> usize {
        self.inner().room()
    }

    /// As [`Uplink::submit`].
    ///
    /// # Errors
    ///
    /// Those of the uplink beneath.
    fn submit(&mut self, seq: u64, message: Message) -> Result<(), SubmitError> {
        self.inner_mut().submit(seq, message)
    }

    /// As [`Uplink::acknowledge`].
    fn acknowledge(&mut self, token: AckToken) {
        self.inner_mut().acknowledge(token);
    }

    /// As [`Uplink::poll_events`].
    fn poll_events(&mut self, cx: &mut Context<'_>, events: &mut Vec<UplinkEvent>) -> Poll<()> {
        self.inner_mut().poll_events(cx, events)
    }
}

/// An uplink behind an [`UplinkLayer`].
#[derive(Debug, Default)]
pub struct LayeredUplink<L>(L);

impl<L> LayeredUplink<L> {
    /// The uplink that `layer` makes of the one beneath it.
    pub const fn new(layer: L) -> Self {
        Self(layer)
    }

    /// The layer.
    pub const fn layer(&self) -> &L {
        &self.0
    }
}

impl<L: UplinkLayer> Uplink for LayeredUplink<L> {
    fn subscribe(&mut self, filter: &str) {
        self.0.subscribe(filter);
    }

    fn subscribe_now(&mut self, filters: &mut dyn Iterator<Item = String>) -> usize {
        self.0.subscribe_now(filters)
    }

    fn unsubscribe(&mut self, filter: &str) {
        self.0.unsubscribe(filter);
    }

    fn room(&self) -> usize {
        self.0.room()
    }

    fn submit(&mut self, seq: u64, message: Message) -> Result<(), SubmitError> {
        self.0.submit(seq, message)
    }

    fn acknowledge(&mut self, token: AckToken) {
        self.0.acknowledge(token);
    }

    fn poll_events(&mut self, cx: &mut Context<'_>, events: &mut Vec<UplinkEvent>) -> Poll<()> {
        self.0.poll_events(cx, events)
    }
}
