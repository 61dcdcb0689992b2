//! A wire between two peers that can be cut: TCP passed on, or swallowed in both directions.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What a wire does with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Passes them on.
    Whole,
    /// Swallows them, without a word to either side.
    Cut,
    /// Has swallowed some: the connection is useless and must be closed.
    Spoilt,
}

/// Listens on a port of its own and passes connections on to a target that may move.
pub(crate) struct Wire {
    address: SocketAddr,
    target: Arc<Mutex<Option<SocketAddr>>>,
    state: watch::Sender<State>,
}

impl Wire {
    /// A wire to nowhere yet.
    pub(crate) async fn lay() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let wire = Self {
            address: listener.local_addr()?,
            target: Arc::default(),
            state: watch::Sender::new(State::Whole),
        };
        tokio::spawn(accept(
            listener,
            wire.target.clone(),
            wire.state.subscribe(),
        ));
        Ok(wire)
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where connections go from now on.
    pub(crate) fn lead_to(&self, target: SocketAddr) {
        *self.target.lock() = Some(target);
    }

    pub(crate) fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// Closes what was cut, and passes on what is dialled anew.
    pub(crate) fn heal(&self) {
        self.state.send_replace(State::Spoilt);
        self.state.send_replace(State::Whole);
    }
}

async fn accept(
    listener: TcpListener,
    target: Arc<Mutex<Option<SocketAddr>>>,
    state: watch::Receiver<State>,
) {
    while let Ok((near, _)) = listener.accept().await {
        let target = *target.lock();
        let mut state = state.clone();
        tokio::spawn(async move {
            let dialled_cut = state.wait_for(|state| *state == State::Whole).await;
            drop(dialled_cut);
            if let Some(target) = target
                && let Ok(far) = TcpStream::connect(target).await
            {
                pass_on(near, far, state).await;
            }
        });
    }
}

/// Passes both directions on until one ends, or until the wire has been cut and healed.
async fn pass_on(near: TcpStream, far: TcpStream, state: watch::Receiver<State>) {
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    let mut healed = state.clone();
    tokio::select! {
        _ = copy(near_in, far_out, state.clone()) => {}
        _ = copy(far_in, near_out, state) => {}
        () = cut_and_healed(&mut healed) => {}
    }
}

async fn cut_and_healed(state: &mut watch::Receiver<State>) {
    let was_cut = state.wait_for(|state| *state == State::Cut).await.is_ok();
    if was_cut {
        let _ = state.wait_for(|state| *state != State::Cut).await;
    } else {
        std::future::pending::<()>().await;
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    state: watch::Receiver<State>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        let is_whole = *state.borrow() == State::Whole;
        if is_whole && let Some(bytes) = buffer.get(..count) {
            to.write_all(bytes).await?;
        }
    }
}
