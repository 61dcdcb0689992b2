//! What an uplink and its task share.

use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::BytesMut;
use parking_lot::Mutex;

use super::packets::{Heard, Packets, is_filter, is_topic};
use super::window::Window;
use super::{ACKS_MAX, End, HEADER_BYTES_MAX, MESSAGE_BYTES_MAX, Takes, UNREAD_ACKS_MAX};
use crate::uplink::{AckToken, HELD_BYTES_MAX, Message, Qos, SubmitError, UplinkEvent};

pub(super) struct Shared {
    pub(super) packets: &'static dyn Packets,
    pub(super) state: Mutex<State>,
}

pub(super) struct State {
    is_up: bool,
    /// Counts connections, so that tokens of an earlier one do nothing.
    connection: u64,
    /// Packets to be written, and how many bytes went before them on this connection.
    out: BytesMut,
    taken_bytes: u64,
    /// Acknowledgements among them.
    acks_out: usize,
    window: Window,
    takes: Takes,
    events: Vec<UplinkEvent>,
    /// Of the messages among them.
    events_bytes: usize,
    /// Whoever owns the uplink, and its task, where they wait.
    owner: Option<Waker>,
    task: Option<Waker>,
    wanted: Vec<Box<str>>,
    /// So many of these, from the first on, this connection has been asked for.
    asked: usize,
    trouble: Option<Arc<str>>,
}

impl Shared {
    pub(super) fn new(packets: &'static dyn Packets, takes: Takes) -> Self {
        Self {
            packets,
            state: Mutex::new(State {
                is_up: false,
                connection: 0,
                out: BytesMut::new(),
                taken_bytes: 0,
                acks_out: 0,
                window: Window::default(),
                takes,
                events: Vec::new(),
                events_bytes: 0,
                owner: None,
                task: None,
                wanted: Vec::new(),
                asked: 0,
                trouble: None,
            }),
        }
    }

    pub(super) fn trouble(&self) -> Option<Arc<str>> {
        self.state.lock().trouble.clone()
    }

    pub(super) fn subscribe(&self, filter: &str) {
        let mut state = self.state.lock();
        if state.wanted.iter().any(|wanted| **wanted == *filter) || !is_filter(filter) {
            return;
        }
        state.wanted.push(filter.into());
        state.ask_for_wanted(self.packets);
    }

    pub(super) fn subscribe_now(&self, filters: &mut dyn Iterator<Item = String>) -> usize {
        self.state.lock().ask_for(self.packets, filters)
    }

    pub(super) fn unsubscribe(&self, filter: &str) {
        let mut state = self.state.lock();
        if let Some(at) = state.wanted.iter().position(|wanted| **wanted == *filter) {
            state.wanted.remove(at);
            state.asked -= usize::from(at < state.asked);
        }
        if state.has_room()
            && is_filter(filter)
            && let Some(packet_id) = state.window.filter([filter.to_owned()].into())
        {
            self.packets.unsubscribe(filter, packet_id, &mut state.out);
            state.wake_task();
        }
    }

    pub(super) fn room(&self) -> usize {
        let state = self.state.lock();
        if !state.is_up {
            return 0;
        }
        state.takes.window.saturating_sub(state.window.len())
    }

    pub(super) fn submit(&self, seq: u64, message: Message) -> Result<(), SubmitError> {
        let bytes = message.topic.len() + message.payload.len();
        if bytes > MESSAGE_BYTES_MAX {
            let bytes_max = MESSAGE_BYTES_MAX;
            return Err(SubmitError::TooLong { bytes, bytes_max });
        }
        if !is_topic(&message.topic) {
            return Err(SubmitError::BadTopic);
        }
        let mut state = self.state.lock();
        if !state.is_up {
            return Err(SubmitError::Down);
        }
        // Written, it would end the connection, and all that is on its way with it.
        let bytes_max = state.takes.packet_bytes_max;
        let bytes_max = bytes_max.saturating_sub(HEADER_BYTES_MAX);
        if bytes > bytes_max {
            return Err(SubmitError::TooLong { bytes, bytes_max });
        }
        if !state.has_room() {
            return Err(SubmitError::Busy);
        }
        if message.qos == Qos::AtLeastOnce {
            let packet_id = state.window.publish(seq).ok_or(SubmitError::Busy)?;
            self.packets.publish(message, packet_id, &mut state.out);
        } else {
            self.packets.publish(message, 0, &mut state.out);
            let end = state.taken_bytes + state.out.len() as u64;
            state.window.publish_unacknowledged(seq, end);
        }
        state.wake_task();
        Ok(())
    }

    pub(super) fn acknowledge(&self, token: AckToken) {
        let mut state = self.state.lock();
        if state.is_up && token.0 >> 16 == state.connection {
            let packet_id = (token.0 & 0xffff) as u16;
            self.packets.acknowledge(packet_id, &mut state.out);
            state.acks_out += 1;
            state.wake_task();
        }
    }

    /// What has happened; if nothing has, the waker is kept.
    pub(super) fn take_events(&self, cx: &Context<'_>) -> Vec<UplinkEvent> {
        let mut state = self.state.lock();
        if state.events.is_empty() {
            keep(&mut state.owner, cx);
        } else if state.is_full() {
            // It does not read while it is.
            state.wake_task();
        }
        state.events_bytes = 0;
        // Nothing is kept for a connection that is silent.
        std::mem::take(&mut state.events)
    }

    /// Ends the connection. Whether it had been up.
    pub(super) fn down(&self, end: End) -> bool {
        let reason: Arc<str> = end.reason().into();
        let mut state = self.state.lock();
        let was_up = std::mem::take(&mut state.is_up);
        (state.out, state.taken_bytes, state.acks_out) = (BytesMut::new(), 0, 0);
        state.window = Window::default();
        state.task = None;
        state.trouble = Some(reason.clone());
        if was_up {
            // What has come in is not acknowledged yet and comes again; what was accepted was.
            state
                .events
                .retain(|event| !matches!(event, UplinkEvent::Inbound { .. }));
            state.events_bytes = 0;
            state.events.push(UplinkEvent::Down { reason });
            state.wake_owner();
        }
        was_up
    }
}

impl State {
    /// The broker has let us in.
    pub(super) fn up(&mut self, packets: &dyn Packets, is_resumed: bool, takes: Takes) {
        self.is_up = true;
        self.connection += 1;
        self.takes = takes;
        self.trouble = None;
        self.asked = 0;
        self.ask_for_wanted(packets);
        self.events.push(UplinkEvent::Up { is_resumed });
    }

    fn has_room(&self) -> bool {
        self.is_up && self.window.len() < self.takes.window
    }

    /// Asks for what is wanted and has not been asked for, if it can be.
    fn ask_for_wanted(&mut self, packets: &dyn Packets) {
        if self.asked >= self.wanted.len() {
            return;
        }
        let wanted = std::mem::take(&mut self.wanted);
        let rest = wanted.iter().skip(self.asked);
        self.asked += self.ask_for(packets, &mut rest.map(ToString::to_string));
        self.wanted = wanted;
    }

    /// Asks for as many filters as can be, and answers how many.
    fn ask_for(
        &mut self,
        packets: &dyn Packets,
        filters: &mut dyn Iterator<Item = String>,
    ) -> usize {
        let mut asked = 0;
        while self.has_room() {
            let some: Vec<_> = filters.take(self.takes.filters()).collect();
            if some.is_empty() {
                break;
            }
            let Some(packet_id) = self.window.filter(some.clone().into()) else {
                break;
            };
            packets.subscribe(&some, packet_id, &mut self.out);
            asked += some.len();
        }
        if asked > 0 {
            self.wake_task();
        }
        asked
    }

    /// Takes what a broker says that has let us in.
    pub(super) fn hear(&mut self, packets: &dyn Packets, heard: Heard) -> Result<(), End> {
        match heard {
            Heard::Answer {
                packet_id,
                refusal: None,
            } => {
                let seq = self.window.acknowledged(packet_id);
                self.events.extend(seq.map(UplinkEvent::Accepted));
                self.ask_for_wanted(packets);
            }
            Heard::Answer {
                packet_id,
                refusal: Some(reason),
            } => {
                let (seq, reason) = (self.window.acknowledged(packet_id), reason.into());
                let refused = seq.map(|seq| UplinkEvent::Refused { seq, reason });
                self.events.extend(refused);
                self.ask_for_wanted(packets);
            }
            Heard::Filters {
                packet_id,
                refusals,
            } => self.answered(packets, packet_id, refusals),
            Heard::Inbound { message, packet_id } => return self.inbound(message, packet_id),
            Heard::Farewell(reason) => return Err(End::Lost(reason)),
            Heard::Welcome { .. } => {
                let reason = "the broker lets us in twice".to_owned();
                return Err(End::Lost(reason));
            }
            Heard::Other => {}
        }
        Ok(())
    }

    fn answered(&mut self, packets: &dyn Packets, packet_id: u16, refusals: Vec<Option<String>>) {
        let filters = self.window.answered(packet_id).unwrap_or_default();
        for (filter, refusal) in filters.into_iter().zip(refusals) {
            if let Some(reason) = refusal {
                let (filter, reason) = (filter.into(), reason.into());
                self.events
                    .push(UplinkEvent::NotSubscribed { filter, reason });
            }
        }
        self.ask_for_wanted(packets);
        // There is room for more.
        self.wake_owner();
    }

    fn inbound(&mut self, message: Message, packet_id: u16) -> Result<(), End> {
        // Nobody acknowledges it, so nothing else bounds it; and it may be lost.
        if message.qos == Qos::AtMostOnce && self.is_full() {
            return Ok(());
        }
        if self.acks_out > UNREAD_ACKS_MAX {
            let reason = "the broker sends, and does not read what acknowledges it";
            return Err(End::Lost(reason.to_owned()));
        }
        let token = AckToken(self.connection << 16 | u64::from(packet_id));
        let token = (message.qos == Qos::AtLeastOnce).then_some(token);
        let event = UplinkEvent::Inbound { message, token };
        self.events_bytes += event.bytes();
        self.events.push(event);
        Ok(())
    }

    /// Whether so much has been heard that is not taken that no more is read.
    pub(super) fn is_full(&self) -> bool {
        self.events.len() >= self.takes.window + ACKS_MAX || self.events_bytes >= HELD_BYTES_MAX
    }

    /// Whether it [is full](Self::is_full); then the task's waker is kept, for whoever takes what was heard.
    pub(super) fn waits(&mut self, cx: &Context<'_>) -> bool {
        let waits = self.is_full();
        if waits {
            keep(&mut self.task, cx);
        }
        waits
    }

    /// Tells the owner that something was heard.
    pub(super) fn tell(&mut self) {
        if !self.events.is_empty() {
            self.wake_owner();
        }
    }

    /// So many bytes of this connection have been written.
    pub(super) fn written(&mut self, packets: &dyn Packets, bytes: u64) {
        let before = self.events.len();
        while let Some(seq) = self.window.written(bytes) {
            self.events.push(UplinkEvent::Accepted(seq));
        }
        if self.events.len() > before {
            self.ask_for_wanted(packets);
            self.wake_owner();
        }
    }

    /// What is to be written; if nothing is, the task's waker is kept.
    pub(super) fn take_out(&mut self, cx: &Context<'_>) -> BytesMut {
        if self.out.is_empty() {
            keep(&mut self.task, cx);
        }
        self.taken_bytes += self.out.len() as u64;
        self.acks_out = 0;
        std::mem::take(&mut self.out)
    }

    pub(super) fn ping(&mut self, packets: &dyn Packets) {
        packets.ping(&mut self.out);
    }

    fn wake_owner(&mut self) {
        if let Some(owner) = self.owner.take() {
            owner.wake();
        }
    }

    fn wake_task(&mut self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }
}

fn keep(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(known) => known.clone_from(cx.waker()),
        None => *waker = Some(cx.waker().clone()),
    }
}
