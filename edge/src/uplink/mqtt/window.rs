//! Which packet numbers are out, and for what.

use std::collections::VecDeque;

/// How many packet numbers there are: 1 to 65,535 (MQTT 5.0, section 2.2.1).
const NUMBERS: u64 = 65_535;

/// What is on its way, in the order in which it was handed over.
///
/// Numbers are given out one after the other, so where one stands follows from the number. As many are out as lie between
/// the oldest that the broker has not answered and the newest, in whatever order it answers: none is ever given out twice.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// From the oldest without an answer on.
    sent: VecDeque<Sent>,
    /// How many are no longer among `sent`.
    done: u64,
    /// What is over once it has been written: the number under which it was submitted, and where its bytes end in all that
    /// this connection writes.
    unwritten: VecDeque<(u64, u64)>,
}

#[derive(Debug)]
enum Sent {
    /// A message submitted under this number.
    Message(u64),
    /// Filters that are, or are no longer, wanted.
    Filters(Box<[String]>),
    Answered,
}

impl Window {
    /// How many messages are on their way, those counted that wait for an older one to be answered.
    pub(super) fn len(&self) -> usize {
        self.sent.len() + self.unwritten.len()
    }

    /// The packet number for a message that is acknowledged; `None` if all are out.
    pub(super) fn publish(&mut self, seq: u64) -> Option<u16> {
        self.push(Sent::Message(seq))
    }

    /// The packet number for filters that are, or are no longer, wanted.
    pub(super) fn filter(&mut self, filters: Box<[String]>) -> Option<u16> {
        self.push(Sent::Filters(filters))
    }

    fn push(&mut self, sent: Sent) -> Option<u16> {
        let before = self.sent.len() as u64;
        if before == NUMBERS {
            return None;
        }
        self.sent.push_back(sent);
        u16::try_from((self.done + before) % NUMBERS + 1).ok()
    }

    /// Takes a message that is not acknowledged, and whose bytes end there.
    pub(super) fn publish_unacknowledged(&mut self, seq: u64, end: u64) {
        self.unwritten.push_back((seq, end));
    }

    /// So many bytes have been written: the next message that was among them, if there is one.
    pub(super) fn written(&mut self, bytes: u64) -> Option<u64> {
        let (seq, _) = self.unwritten.pop_front_if(|(_, end)| *end <= bytes)?;
        if self.unwritten.is_empty() {
            self.unwritten = VecDeque::new();
        }
        Some(seq)
    }

    /// The broker has answered this number of a message. Which that was; `None` if it was none, or is answered already.
    pub(super) fn acknowledged(&mut self, packet_id: u16) -> Option<u64> {
        let at = self.place(packet_id)?;
        let Sent::Message(seq) = *self.sent.get(at)? else {
            return None;
        };
        self.finish(at);
        Some(seq)
    }

    /// The broker has answered this number of filters. Which these were; `None` if there were none, or they are answered
    /// already.
    pub(super) fn answered(&mut self, packet_id: u16) -> Option<Box<[String]>> {
        let at = self.place(packet_id)?;
        let Sent::Filters(filters) = self.sent.get_mut(at)? else {
            return None;
        };
        let filters = std::mem::take(filters);
        self.finish(at);
        Some(filters)
    }

    fn place(&self, packet_id: u16) -> Option<usize> {
        let front = self.done % NUMBERS;
        let number = u64::from(packet_id.checked_sub(1)?);
        usize::try_from((number + NUMBERS - front) % NUMBERS).ok()
    }

    fn finish(&mut self, at: usize) {
        if let Some(sent) = self.sent.get_mut(at) {
            *sent = Sent::Answered;
        }
        while let Some(Sent::Answered) = self.sent.front() {
            self.sent.pop_front();
            self.done += 1;
        }
        if self.sent.is_empty() {
            // Nothing is kept for a connection that is silent.
            self.sent = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters() -> Box<[String]> {
        ["a/#".to_owned()].into()
    }

    /// Whatever order the broker answers in, each number finds its message, once, and the window counts from the oldest.
    #[test]
    fn numbers_are_matched_in_any_order_and_the_window_counts_from_the_oldest() {
        let mut window = Window::default();
        assert_eq!(window.publish(70), Some(1));
        assert_eq!(window.publish(71), Some(2));
        assert_eq!(window.publish(72), Some(3));
        assert_eq!(window.acknowledged(3), Some(72));
        assert_eq!(window.len(), 3, "the oldest is still out");
        assert_eq!(window.acknowledged(3), None);
        assert_eq!(window.acknowledged(4), None, "it was never given out");
        assert_eq!(window.acknowledged(0), None, "there is no such number");
        assert_eq!(window.acknowledged(2), Some(71));
        assert_eq!(window.acknowledged(1), Some(70));
        assert_eq!(window.len(), 0);
        assert_eq!(window.publish(73), Some(4));
        assert_eq!(window.acknowledged(4), Some(73));
    }

    /// Subscriptions take places in the window, as they take numbers, and an answer of the wrong kind ends nothing.
    #[test]
    fn an_answer_is_only_for_what_was_asked() {
        let mut window = Window::default();
        assert_eq!(window.filter(filters()), Some(1));
        assert_eq!(window.publish(7), Some(2));
        assert_eq!(window.acknowledged(1), None);
        assert_eq!(window.answered(2), None);
        assert_eq!(window.len(), 2);
        assert_eq!(window.acknowledged(2), Some(7));
        assert_eq!(window.len(), 2, "the subscription is still out");
        assert_eq!(window.answered(1), Some(filters()));
        assert_eq!(window.len(), 0);
    }

    /// Numbers go round, and none is out twice.
    #[test]
    fn numbers_go_round_and_end_when_all_are_out() {
        let mut window = Window::default();
        for seq in 0..200_000 {
            let packet_id = window.publish(seq).unwrap();
            assert_ne!(packet_id, 0);
            assert_eq!(window.acknowledged(packet_id), Some(seq));
        }
        let mut given: Vec<_> = (0..NUMBERS).map(|seq| window.publish(seq)).collect();
        assert_eq!(window.publish(7), None);
        let oldest = given[0].unwrap();
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len() as u64, NUMBERS);
        assert_eq!(window.acknowledged(oldest), Some(0));
        assert_eq!(window.publish(7), Some(oldest));
    }

    /// What nobody acknowledges is over once all of its bytes are written.
    #[test]
    fn unacknowledged_messages_are_over_when_they_are_written() {
        let mut window = Window::default();
        window.publish_unacknowledged(1, 10);
        window.publish_unacknowledged(2, 20);
        assert_eq!(window.written(9), None);
        assert_eq!(window.len(), 2);
        assert_eq!(window.written(20), Some(1));
        assert_eq!(window.written(20), Some(2));
        assert_eq!(window.written(20), None);
        assert_eq!(window.len(), 0);
    }
}
