//! One connection, from its beginning to its end.

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::packets::Heard;
use super::socket::Socket;
use super::state::Shared;
use super::{End, MqttSettings, PACKET_BYTES_MIN, Session, Takes, chain};

/// How long a broker may take to let us in.
const WELCOME_MAX: Duration = Duration::from_secs(5);

/// So much is read at a time.
const READ_BYTES: usize = 4 << 10;

/// Connects, and carries what `shared` has, until something ends it.
pub(super) async fn run(shared: &Shared, settings: &MqttSettings, session: Session) -> End {
    let welcomed_by = Instant::now() + WELCOME_MAX;
    let mut greeting = BytesMut::new();
    let spelled = shared.packets.connect(settings, session, &mut greeting);
    if let Err(error) = spelled {
        return End::Lost(chain(&error));
    }
    let socket = match tokio::time::timeout_at(welcomed_by, Socket::connect(settings)).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(error)) => return End::Lost(chain(&error)),
        Err(_) => return End::Lost("the broker cannot be reached in time".to_owned()),
    };
    let mut connection = Connection {
        shared,
        settings,
        session,
        socket,
        is_up: false,
        incoming: BytesMut::new(),
        outgoing: greeting,
        written_bytes: 0,
        keep_alive: settings.keep_alive(),
        is_asked: false,
        stuck_at: None,
        ask_at: welcomed_by,
        alarm: Box::pin(tokio::time::sleep_until(welcomed_by)),
    };
    std::future::poll_fn(|cx| connection.poll(cx)).await
}

/// Whether a broker lets us in, what it takes, and how long it lets us be silent. One that takes too little is none for us.
pub(super) fn welcome(heard: Heard) -> Result<(bool, Takes, Option<Duration>), End> {
    let (is_resumed, takes, keep_alive) = match heard {
        Heard::Welcome {
            is_resumed,
            takes,
            keep_alive,
        } => (is_resumed, takes, keep_alive),
        Heard::Farewell(reason) => return Err(End::Lost(reason)),
        _ => {
            let reason = "the broker does not begin with letting us in";
            return Err(End::Lost(reason.to_owned()));
        }
    };
    let bytes_max = takes.packet_bytes_max;
    if bytes_max < PACKET_BYTES_MIN {
        return Err(End::Lost(format!(
            "the broker takes packets of {bytes_max} bytes, and {PACKET_BYTES_MIN} are needed"
        )));
    }
    Ok((is_resumed, takes, keep_alive))
}

struct Connection<'a> {
    shared: &'a Shared,
    settings: &'a MqttSettings,
    session: Session,
    socket: Socket,
    is_up: bool,
    /// Read, and no whole packet yet.
    incoming: BytesMut,
    /// Being written.
    outgoing: BytesMut,
    /// Of what `shared` had.
    written_bytes: u64,
    keep_alive: Duration,
    /// Whether the broker was asked if it is there, and nothing was heard since.
    is_asked: bool,
    /// When it was asked, not all could be written; so many bytes had been.
    stuck_at: Option<u64>,
    /// When it is asked, or has not answered in time.
    ask_at: Instant,
    alarm: Pin<Box<Sleep>>,
}

impl Connection<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        match self.turn(cx) {
            Ok(()) => Poll::Pending,
            Err(end) => Poll::Ready(end),
        }
    }

    /// Reads and writes as much as can be now. Whatever can be later wakes us.
    fn turn(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        loop {
            self.read(cx)?;
            self.write(cx)?;
            if self.alarm.deadline() != self.ask_at {
                self.alarm.as_mut().reset(self.ask_at);
            }
            if self.alarm.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            self.ask()?;
        }
    }

    /// Asks whether the broker is there, or has been waited for long enough.
    fn ask(&mut self) -> Result<(), End> {
        if !self.is_up {
            let reason = "the broker does not let us in in time";
            return Err(End::Lost(reason.to_owned()));
        }
        let mut state = self.shared.state.lock();
        if self.is_asked && !state.is_full() {
            let reason = "the broker does not answer";
            return Err(End::Lost(reason.to_owned()));
        }
        let stuck_at = (!self.outgoing.is_empty()).then_some(self.written_bytes);
        if stuck_at.is_some() && stuck_at == self.stuck_at {
            // Whatever it says meanwhile.
            let reason = "the broker reads nothing";
            return Err(End::Lost(reason.to_owned()));
        }
        self.stuck_at = stuck_at;
        state.ping(self.shared.packets);
        self.is_asked = true;
        self.ask_at = Instant::now() + self.keep_alive;
        Ok(())
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        while !self.shared.state.lock().waits(cx) {
            let mut space = [MaybeUninit::uninit(); READ_BYTES];
            let mut read = ReadBuf::uninit(&mut space);
            match Pin::new(&mut self.socket).poll_read(cx, &mut read) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(error)) => return Err(End::Lost(chain(&error))),
                Poll::Ready(Ok(())) if read.filled().is_empty() => {
                    let reason = "the broker closed the connection";
                    return Err(End::Lost(reason.to_owned()));
                }
                Poll::Ready(Ok(())) => {
                    self.incoming.extend_from_slice(read.filled());
                    self.is_asked = false;
                    self.hear()?;
                }
            }
        }
        Ok(())
    }

    /// Takes every whole packet.
    fn hear(&mut self) -> Result<(), End> {
        let packets = self.shared.packets;
        while let Some(heard) = self.next_packet()? {
            if self.is_up {
                self.shared.state.lock().hear(packets, heard)?;
            } else {
                self.begin(heard)?;
            }
        }
        if self.incoming.is_empty() {
            // Nothing is kept for a connection that is silent.
            self.incoming = BytesMut::new();
        }
        self.shared.state.lock().tell();
        Ok(())
    }

    fn next_packet(&mut self) -> Result<Option<Heard>, End> {
        let read = self.shared.packets.read(&mut self.incoming, self.settings);
        read.map_err(|end| match end {
            // What comes before we were let in is no message to us: no session holds it, and none is given up for it.
            End::TooLong(reason) if !self.is_up => End::Lost(reason),
            end => end,
        })
    }

    /// What a broker says first.
    fn begin(&mut self, heard: Heard) -> Result<(), End> {
        let (is_resumed, takes, keep_alive) = welcome(heard)?;
        if !self.outgoing.is_empty() {
            // What is left of our greeting would count as messages that have been written.
            let reason = "the broker lets us in before we have asked";
            return Err(End::Lost(reason.to_owned()));
        }
        if self.session == Session::Unwanted {
            return Err(End::Forgotten);
        }
        self.is_up = true;
        self.keep_alive = keep_alive.unwrap_or(self.keep_alive);
        self.ask_at = Instant::now() + self.keep_alive;
        let mut state = self.shared.state.lock();
        state.up(self.shared.packets, is_resumed, takes);
        Ok(())
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        loop {
            if self.outgoing.is_empty() {
                let mut state = self.shared.state.lock();
                state.written(self.shared.packets, self.written_bytes);
                self.outgoing = state.take_out(cx);
            }
            if self.outgoing.is_empty() {
                break;
            }
            match Pin::new(&mut self.socket).poll_write(cx, &self.outgoing) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(error)) => return Err(End::Lost(chain(&error))),
                Poll::Ready(Ok(bytes)) => {
                    self.outgoing.advance(bytes);
                    self.written_bytes += if self.is_up { bytes as u64 } else { 0 };
                }
            }
        }
        match Pin::new(&mut self.socket).poll_flush(cx) {
            Poll::Ready(Err(error)) => Err(End::Lost(chain(&error))),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }
}
