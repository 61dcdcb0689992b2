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
}

impl Departing {
    pub(super) fn new(gives: VersionVector, bytes: Vec<u8>) -> Self {
        Self {
            id: id_of(&bytes),
            gives,
            bytes,
            arrived: 0,
        }
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
        let is_new = upto.arrived > self.arrived || upto.arrived == 0;
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

/// What has arrived of the one delta that is being laid together.
#[derive(Debug, Default)]
pub(super) struct Stage {
    arriving: Option<Arriving>,
}

#[derive(Debug)]
struct Arriving {
    from: Member,
    id: TransferId,
    total: usize,
    bytes: Vec<u8>,
    heard_at: Duration,
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
    /// Lays a piece to the others. The delta of a member that has brought nothing new for `patience` gives way to another's.
    pub(super) fn put(
        &mut self,
        now: Duration,
        from: Member,
        piece: &Piece<'_>,
        patience: Duration,
    ) -> Staged {
        if let Some(held) = &self.arriving
            && held.from != from
            && now < held.heard_at.saturating_add(patience)
        {
            return Staged::Busy;
        }
        let is_held =
            |held: &Arriving| (held.from, held.id, held.total) == (from, piece.id, piece.total);
        if !self.arriving.as_ref().is_some_and(is_held) {
            if piece.offset > 0 {
                return Staged::Some(Progress {
                    id: piece.id,
                    arrived: 0,
                });
            }
            self.arriving = Some(Arriving {
                from,
                id: piece.id,
                total: piece.total,
                bytes: Vec::new(),
                heard_at: now,
            });
        }
        let Some(held) = &mut self.arriving else {
            return Staged::Busy;
        };
        if piece.offset == held.bytes.len() || mutant::is_planted("piece_out_of_place") {
            held.bytes.extend_from_slice(piece.bytes);
            held.heard_at = now;
        }
        if held.bytes.len() < held.total {
            return Staged::Some(Progress {
                id: held.id,
                arrived: held.bytes.len(),
            });
        }
        match self.arriving.take() {
            Some(whole) if id_of(&whole.bytes) == whole.id => Staged::All(whole.bytes),
            _ => Staged::Mixed,
        }
    }

    /// Drops what comes from those whom `is_member` does not know.
    pub(super) fn retain(&mut self, is_member: impl Fn(Member) -> bool) {
        self.arriving.take_if(|held| !is_member(held.from));
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
