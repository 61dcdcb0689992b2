//! Deltas that come in pieces.
//!
//! A delta beyond the log's cut, or one that spans an element from its addition to its late removal, is whole or wrong:
//! a part of it would claim what it does not carry. So its bytes travel in pieces, are laid together, and are applied
//! when all of them are there, and not before. What arrives late, twice or out of order does no harm: a piece says of
//! which bytes it is and where in them it lies. It is resumed where it stopped, also in another session of its sender,
//! for as long as the receiver lives and the bytes are the same.

use alloc::vec::Vec;
use core::hash::Hasher as _;
use core::time::Duration;

use siphasher::sip128::{Hasher128 as _, SipHasher24};

use super::membership::Member;
use crate::wire::{Budget, DecodeError, Decoder, Encoder, IdTable};
use crate::{VersionVector, mutant};

/// Which bytes they are: SipHash-2-4-128 of all of them with a key of zeros.
pub(super) type TransferId = [u8; 16];

/// The shortest piece but the last.
const PIECE_BYTES_MIN: usize = 32;

/// No replica is named.
static NO_IDS: IdTable = IdTable::new();

fn id_of(bytes: &[u8]) -> TransferId {
    let mut hasher = SipHasher24::new();
    hasher.write(bytes);
    hasher.finish128().as_bytes()
}

/// A delta on its way out.
#[derive(Debug)]
pub(super) struct Departing {
    id: TransferId,
    /// What its receiver knows afterwards.
    pub(super) gives: VersionVector,
    bytes: Vec<u8>,
    /// How much of it has arrived.
    arrived: usize,
    /// How many pieces were sent, some of them again.
    pub(super) sent: u64,
}

impl Departing {
    pub(super) fn new(gives: VersionVector, bytes: Vec<u8>) -> Self {
        Self {
            id: id_of(&bytes),
            gives,
            bytes,
            arrived: 0,
            sent: 0,
        }
    }

    /// Whether as many pieces were sent as it makes, whatever its receiver says to have.
    pub(super) fn was_sent(&self, bytes_max: usize) -> bool {
        let pieces = self.bytes.len().div_ceil(bytes_max.max(PIECE_BYTES_MIN));
        self.sent >= pieces as u64
    }

    /// The piece that comes next.
    pub(super) fn next(&self, bytes_max: usize) -> Piece<'_> {
        let rest = self.bytes.get(self.arrived..).unwrap_or_default();
        let length = rest.len().min(bytes_max.max(PIECE_BYTES_MIN));
        Piece {
            id: self.id,
            total: self.bytes.len(),
            offset: self.arrived,
            bytes: rest.get(..length).unwrap_or_default(),
        }
    }

    /// Whether this news calls for another piece. News may be old: only those who lost what they had begin at nothing.
    pub(super) fn has_arrived(&mut self, upto: &Progress) -> bool {
        let is_new = upto.arrived > self.arrived || (upto.arrived == 0 && self.arrived > 0);
        if upto.id != self.id || !is_new || upto.arrived >= self.bytes.len() {
            return false;
        }
        self.arrived = upto.arrived;
        true
    }
}

/// How far a delta has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) id: TransferId,
    pub(super) arrived: usize,
}

impl Progress {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Encoder::new(&NO_IDS);
        body.raw(&self.id);
        body.varint(self.arrived as u64);
        body.finish(out);
    }

    pub(super) fn decode(body: &[u8], budget: Budget) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(body, &NO_IDS, budget)?;
        let progress = Self {
            id: input.array()?,
            arrived: length(&mut input)?,
        };
        input.finish()?;
        Ok(progress)
    }
}

/// Some of a delta's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    id: TransferId,
    total: usize,
    offset: usize,
    bytes: &'a [u8],
}

impl<'a> Piece<'a> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Encoder::new(&NO_IDS);
        body.raw(&self.id);
        body.varint(self.total as u64);
        body.varint(self.offset as u64);
        body.raw(self.bytes);
        body.finish(out);
    }

    pub(super) fn decode(body: &'a [u8], budget: Budget) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(body, &NO_IDS, budget)?;
        let (id, total, offset) = (input.array()?, length(&mut input)?, length(&mut input)?);
        let bytes = input.raw(input.rest().len())?;
        input.finish()?;
        let is_within = offset
            .checked_add(bytes.len())
            .is_some_and(|end| end <= total);
        if bytes.is_empty() || !is_within {
            return Err(DecodeError::Malformed("piece of a delta"));
        }
        Ok(Self {
            id,
            total,
            offset,
            bytes,
        })
    }

    pub(super) const fn id(&self) -> TransferId {
        self.id
    }

    pub(super) const fn total(&self) -> usize {
        self.total
    }
}

fn length(input: &mut Decoder<'_>) -> Result<usize, DecodeError> {
    let length = usize::try_from(input.varint()?).ok();
    length.ok_or(DecodeError::Malformed("length of a delta"))
}

/// Any bytes at all as a piece and as news of one, for fuzzing: what decodes has one form.
#[doc(hidden)]
pub fn decode_any_piece(bytes: &[u8]) {
    let budget = Budget {
        bytes_max: 1 << 16,
        ..Budget::default()
    };
    let mut again = Vec::new();
    if let Ok(piece) = Piece::decode(bytes, budget) {
        piece.encode(&mut again);
        assert_eq!(again, bytes, "one piece, one spelling");
    }
    again.clear();
    if let Ok(progress) = Progress::decode(bytes, budget) {
        progress.encode(&mut again);
        assert_eq!(again, bytes, "one progress, one spelling");
    }
}

/// In how many times its patience a delta must have come that keeps others waiting.
const PATIENCES: usize = 64;

/// How often the patience is doubled at most.
const DOUBLINGS_MAX: u32 = 6;

/// What has arrived of the one delta that is being laid together, and whose turn it is.
///
/// A member keeps its turn for as long as its delta comes at a pace, or nobody else asks for one. Else the next who asks
/// has it, and if that one is too slow the former again, with twice the patience until one of them has come to an end.
/// Whoever has ended its turn, with a whole or by beginning another, goes behind those who were turned away.
#[derive(Debug, Default)]
pub(super) struct Stage {
    turn: Option<Turn>,
    /// The last who was turned away since the turn began, and when.
    turned_away: Option<(Member, Duration)>,
    /// Who had the last turn, and until when another may have the next.
    yields: Option<(Member, Duration)>,
    doublings: u32,
}

#[derive(Debug)]
struct Turn {
    from: Member,
    id: TransferId,
    total: usize,
    bytes: Vec<u8>,
    /// Until when so many bytes must be there, or it is another's turn if one asks.
    due_at: Duration,
    due: usize,
    /// Whether it may go on when they are: not if it begins another while others wait.
    is_first: bool,
}

impl Turn {
    fn begin(from: Member, piece: &Piece<'_>, due_at: Duration) -> Self {
        Self {
            from,
            id: piece.id,
            total: piece.total,
            bytes: Vec::new(),
            due_at,
            due: 1,
            is_first: true,
        }
    }

    fn is_of(&self, from: Member, piece: &Piece<'_>) -> bool {
        (self.from, self.id, self.total) == (from, piece.id, piece.total)
    }

    /// More has come: by when the next of it must.
    fn renew(&mut self, due_at: Duration) {
        if self.bytes.len() >= self.due && self.is_first {
            self.due_at = due_at;
            self.due = self.bytes.len() + self.total.div_ceil(PATIENCES);
        }
    }
}

/// What a piece has brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Staged {
    /// Another member's delta comes first. Its sender will ask again, and most likely not need to.
    Busy,
    /// So much is there.
    Some(Progress),
    /// All is there, and it is what its sender said.
    All(Vec<u8>),
    /// All is there, and it is something else.
    Mixed,
}

impl Stage {
    /// Lays a piece to the others. A delta that comes slower than a 64th part of it in `patience` gives way to another's.
    pub(super) fn put(
        &mut self,
        now: Duration,
        from: Member,
        piece: &Piece<'_>,
        patience: Duration,
    ) -> Staged {
        let patience = patience.saturating_mul(1 << self.doublings);
        if self.is_anothers(now, from) {
            self.turned_away = Some((from, now));
            return Staged::Busy;
        }
        if !self
            .turn
            .as_ref()
            .is_some_and(|turn| turn.is_of(from, piece))
        {
            if piece.offset > 0 {
                return Staged::Some(Progress {
                    id: piece.id,
                    arrived: 0,
                });
            }
            self.begin(from, piece, now.saturating_add(patience));
        }
        let Some(turn) = &mut self.turn else {
            return Staged::Busy;
        };
        if piece.offset == turn.bytes.len() || mutant::is_planted("piece_out_of_place") {
            turn.bytes.extend_from_slice(piece.bytes);
            turn.renew(now.saturating_add(patience));
        }
        if turn.bytes.len() < turn.total {
            return Staged::Some(Progress {
                id: turn.id,
                arrived: turn.bytes.len(),
            });
        }
        let waits = self.turned_away.take();
        self.yields = waits.map(|(_, at)| (from, at.saturating_add(patience)));
        match self.turn.take() {
            Some(whole) if id_of(&whole.bytes) == whole.id => {
                self.doublings = 0;
                Staged::All(whole.bytes)
            }
            _ => Staged::Mixed,
        }
    }

    fn is_anothers(&self, now: Duration, from: Member) -> bool {
        match (&self.turn, self.yields) {
            (Some(turn), _) => turn.from != from && now < turn.due_at,
            (None, Some((last, until))) => last == from && now < until,
            (None, None) => false,
        }
    }

    /// Begins a turn, or in it another delta.
    fn begin(&mut self, from: Member, piece: &Piece<'_>, due_at: Duration) {
        let mut next = Turn::begin(from, piece, due_at);
        match self.turn.take() {
            Some(last) if last.from == from && self.turned_away.is_some() => {
                (next.due_at, next.is_first) = (last.due_at, false);
            }
            Some(last) if last.from != from => {
                self.doublings = (self.doublings + 1).min(DOUBLINGS_MAX);
                self.turned_away = None;
            }
            _ => self.turned_away = None,
        }
        self.yields = None;
        self.turn = Some(next);
    }

    /// Drops what comes from those whom `is_member` does not know.
    pub(super) fn retain(&mut self, is_member: impl Fn(Member) -> bool) {
        self.turn.take_if(|turn| !is_member(turn.from));
        self.turned_away.take_if(|(from, _)| !is_member(*from));
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use core::time::Duration;

    use super::{Departing, Progress, Stage, Staged};
    use crate::VersionVector;
    use crate::sync::Member;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn member(number: u64) -> Member {
        Member::new(number).unwrap()
    }

    fn departing(seed: u8) -> Departing {
        let bytes: Vec<u8> = (0..100).map(|at: u8| at.wrapping_mul(seed)).collect();
        Departing::new(VersionVector::new(), bytes)
    }

    #[test]
    fn pieces_that_come_late_twice_and_too_early_make_up_the_whole() {
        let (mut sent, mut stage) = (departing(7), Stage::default());
        let now = Duration::ZERO;
        let mut early = departing(7);
        let id = early.next(0).id();
        assert!(early.has_arrived(&Progress { id, arrived: 64 }));
        let none = Staged::Some(Progress { id, arrived: 0 });
        assert_eq!(stage.put(now, member(1), &early.next(0), PATIENCE), none);
        for arrived in [32, 64, 96] {
            let some = Staged::Some(Progress { id, arrived });
            for _ in 0..2 {
                assert_eq!(stage.put(now, member(1), &sent.next(0), PATIENCE), some);
            }
            assert!(sent.has_arrived(&Progress { id, arrived }));
            assert!(!sent.has_arrived(&Progress { id, arrived: 32 }), "old news");
        }
        let whole = Staged::All(sent.bytes.clone());
        assert_eq!(stage.put(now, member(1), &sent.next(0), PATIENCE), whole);
        // The first once more, as if it had been lost: nothing is left of what was, and it begins anew.
        assert!(sent.has_arrived(&Progress { id, arrived: 0 }));
        let some = Staged::Some(Progress { id, arrived: 32 });
        assert_eq!(stage.put(now, member(1), &sent.next(0), PATIENCE), some);
    }

    #[test]
    fn one_delta_is_laid_together_at_a_time_and_a_silent_sender_gives_way() {
        let (one, other, mut stage) = (departing(7), departing(9), Stage::default());
        let (piece, others) = (one.next(0), other.next(0));
        let some = |id| Staged::Some(Progress { id, arrived: 32 });
        let at = Duration::from_secs;
        assert_eq!(
            stage.put(at(0), member(1), &piece, PATIENCE),
            some(piece.id())
        );
        assert_eq!(stage.put(at(5), member(2), &others, PATIENCE), Staged::Busy);
        assert_eq!(
            stage.put(at(20), member(2), &others, PATIENCE),
            some(others.id())
        );
        stage.retain(|from| from != member(2));
        assert_eq!(
            stage.put(at(21), member(1), &piece, PATIENCE),
            some(piece.id())
        );
    }

    /// A byte now and then, of a delta that never ends or of one after the other, keeps the stage from nobody for ever.
    #[test]
    fn who_brings_a_byte_now_and_then_gives_way() {
        for restarts in [false, true] {
            let (honest, mut stage) = (departing(9), Stage::default());
            let some = Staged::Some(Progress {
                id: honest.next(0).id(),
                arrived: 32,
            });
            let bytes = [1; 100];
            let mut taken_at = None;
            for second in 0..200_u8 {
                let now = Duration::from_secs(second.into());
                if second % 10 == 0 {
                    let at = usize::from(second / 10);
                    let (id, offset) = if restarts { (second + 1, 0) } else { (0, at) };
                    let piece = super::Piece {
                        id: [id; 16],
                        total: 64 * 100,
                        offset,
                        bytes: &bytes[..1],
                    };
                    stage.put(now, member(1), &piece, PATIENCE);
                }
                if stage.put(now, member(2), &honest.next(0), PATIENCE) == some {
                    taken_at.get_or_insert(second);
                }
            }
            assert!(taken_at.is_some_and(|second| second <= 40), "{taken_at:?}");
        }
    }

    /// Who brings one whole after the other, each of a piece, takes turns with who asks for one.
    #[test]
    fn who_has_had_its_turn_goes_behind_who_waits() {
        let mut stage = Stage::default();
        let (sent, honest) = (departing(7), departing(9));
        let at = Duration::from_secs;
        let first = sent.next(0);
        stage.put(at(0), member(1), &first, PATIENCE);
        assert_eq!(
            stage.put(at(1), member(2), &honest.next(0), PATIENCE),
            Staged::Busy
        );
        let rest = super::Piece {
            offset: 32,
            bytes: &sent.bytes[32..],
            ..first
        };
        assert!(matches!(
            stage.put(at(2), member(1), &rest, PATIENCE),
            Staged::All(_)
        ));
        assert_eq!(stage.put(at(3), member(1), &first, PATIENCE), Staged::Busy);
        assert!(matches!(
            stage.put(at(10), member(2), &honest.next(0), PATIENCE),
            Staged::Some(_)
        ));
        // If none comes who waited, there is no need to wait.
        stage.retain(|from| from != member(2));
        assert!(matches!(
            stage.put(at(11), member(1), &first, PATIENCE),
            Staged::Some(_)
        ));
    }

    /// Two that are both slower than the pace do not push each other out for ever.
    #[test]
    fn slow_links_come_to_an_end_by_turns() {
        let mut stage = Stage::default();
        let mut senders = [departing(7), departing(9)];
        let mut ends = [false; 2];
        for second in 0..4_000_u64 {
            for (at, sender) in senders.iter_mut().enumerate() {
                // A piece a minute: three times as long as the patience without one.
                if second % 60 != 30 * at as u64 || ends[at] {
                    continue;
                }
                let from = member(at as u64 + 1);
                match stage.put(Duration::from_secs(second), from, &sender.next(0), PATIENCE) {
                    Staged::Some(progress) => {
                        sender.has_arrived(&progress);
                    }
                    Staged::All(_) => ends[at] = true,
                    Staged::Busy => {}
                    Staged::Mixed => unreachable!("nobody lies"),
                }
            }
        }
        assert_eq!(ends, [true; 2]);
    }

    #[test]
    fn what_does_not_make_up_what_it_said_is_no_whole() {
        let (sent, mut stage) = (departing(7), Stage::default());
        let mut piece = sent.next(100);
        piece.id = [0; 16];
        assert_eq!(
            stage.put(Duration::ZERO, member(1), &piece, PATIENCE),
            Staged::Mixed
        );
    }
}
