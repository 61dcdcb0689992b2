//! Taking in a frame.

use core::time::Duration;

use super::anti_entropy::{AntiEntropy, TABLE_IDS_MAX};
use super::frame::{self, Hello, Kind, Passage};
use super::membership::Member;
use super::outcome::{Handled, Refusal, SyncError, SyncEvent};
use super::peer::{Owed, Part, Peer};
use super::transfer::{Piece, Progress, Staged};
use crate::wire::{Bound, Budget, DecodeError, Message, over, schema};
use crate::{ApplyError, Changed, Lattice as _, Limits, Replicated, VersionVector};

/// How many refused senders wait to be told the membership at most.
const STRANGERS_MAX: usize = 64;

impl<R: Replicated> AntiEntropy<R> {
    /// Takes in a frame. `from` is who the link says has sent it. What changed of the state must be durable before
    /// the next frames leave.
    ///
    /// # Errors
    ///
    /// [`SyncError`]; neither the state nor what is believed of the peer has changed, beyond that it may be greeted or
    /// told our vector again.
    pub fn handle(
        &mut self,
        now: Duration,
        from: Member,
        frame: &[u8],
        state: &mut R,
        limits: &Limits,
    ) -> Result<Handled, SyncError> {
        let mut handled = self.take_in(now, from, frame, state, limits)?;
        if handled.event.is_none()
            && let Some(peer) = self.peers.get_mut(&from)
            && peer.in_vain.is_to_be_named()
        {
            handled.event = Some(SyncEvent::ServedInVain { member: from });
        }
        Ok(handled)
    }

    fn take_in(
        &mut self,
        now: Duration,
        from: Member,
        frame: &[u8],
        state: &mut R,
        limits: &Limits,
    ) -> Result<Handled, SyncError> {
        let unreadable = |source| SyncError::Unreadable { from, source };
        let malformed = |source| SyncError::Malformed { from, source };
        let bytes_max = self.config.budget.bytes_max;
        if let Err(source) = over(Bound::Bytes, frame.len() as u64, bytes_max as u64) {
            return self.answer_for(from, frame, Err(malformed(source)));
        }
        let (kind, frame) = frame::split(frame).map_err(unreadable)?;
        if kind == Kind::Hello {
            let body = frame::open(Passage::OPEN, frame).map_err(unreadable)?;
            let hello = Hello::decode(body, self.config.budget).map_err(malformed)?;
            return self.greet(now, from, &hello, state);
        }
        let Some(peer) = self.peers.get_mut(&from).filter(|_| !self.is_evicted) else {
            return Err(self.not_a_member(from));
        };
        let opened = match &peer.session {
            Some(session) => {
                let passage = Passage {
                    from: session.number,
                    to: self.session.number,
                };
                frame::open(passage, frame).map(|body| (session, body))
            }
            None => Err(DecodeError::Malformed("no session")),
        };
        let (session, body) = match opened {
            Ok(opened) => opened,
            Err(source) => {
                // Perhaps it lives a new life, or has not heard of ours; or it is an echo of either's earlier one.
                peer.owes_hello |= peer.hello_after <= now;
                return Err(unreadable(source));
            }
        };
        let budget = self.config.budget;
        // As many ids as have room in a frame: who knows more than we may is to be understood all the same.
        let of_vectors = Budget {
            ids_max: usize::MAX,
            ..budget
        };
        let told_max = told_ids_max(budget.bounds().ids_max, state.vector());
        match kind {
            Kind::Hello => {}
            Kind::Digest => {
                let Ok(digest) = <[u8; 16]>::try_from(body) else {
                    return Err(malformed(DecodeError::Malformed("digest")));
                };
                if digest == state.vector().digest() {
                    peer.tells(state.vector());
                    self.shown.join(state.vector());
                } else {
                    peer.owe(Owed::VectorAsking);
                }
            }
            Kind::Vector | Kind::VectorAsking | Kind::VectorReset => {
                let vector = VersionVector::from_session_bytes(body, &session.table, of_vectors)
                    .map_err(malformed)?;
                // Ours is true, whatever it told.
                if kind == Kind::VectorAsking {
                    peer.owe(Owed::Vector);
                }
                check_ids(peer, from, &vector, kind == Kind::VectorReset, told_max)?;
                if kind == Kind::VectorReset {
                    peer.forget(now, self.config.retry_max);
                }
                peer.tells(&vector);
                self.shown.join(&vector.meet(state.vector()));
            }
            Kind::Ack | Kind::VectorResetBegun => {
                let vector = VersionVector::from_session_bytes(body, &session.table, of_vectors)
                    .map_err(malformed)?;
                check_ids(
                    peer,
                    from,
                    &vector,
                    kind == Kind::VectorResetBegun,
                    told_max,
                )?;
                if kind == Kind::VectorResetBegun {
                    peer.forget(now, self.config.retry_max);
                }
                peer.knows(&vector);
                self.shown.join(&vector.meet(state.vector()));
            }
            Kind::Delta => {
                let taken = R::Delta::from_session_bytes(body, &session.table, budget)
                    .map_err(malformed)
                    .and_then(|delta| self.join(now, from, &delta, state, limits));
                return self.answer_for(from, frame, taken);
            }
            Kind::Piece => {
                let taken = Piece::decode(body, budget)
                    .map_err(malformed)
                    .and_then(|piece| self.lay(now, from, &piece, state, limits));
                return self.answer_for(from, frame, taken);
            }
            Kind::PieceAck => {
                let progress = Progress::decode(body, budget).map_err(malformed)?;
                if let Some(Part::Pieces(departing)) = peer.parts.front_mut()
                    && departing.has_arrived(&progress)
                {
                    peer.is_sent = false;
                    if progress.arrived > 0 {
                        (peer.attempts, peer.part_attempts) = (0, 0);
                    }
                }
            }
            Kind::Refusal => {
                let &[a, b, c, d, number] = body else {
                    return Err(malformed(DecodeError::Malformed("refusal")));
                };
                let reason = Refusal::of_number(number);
                let reason = reason
                    .ok_or_else(|| malformed(DecodeError::Malformed("reason of a refusal")))?;
                return Ok(self.hear_refusal(now, from, [a, b, c, d], reason));
            }
        }
        Ok(NOTHING_NEW)
    }

    /// Lets a peer know that the delta in its frame is not taken, so that it does not send it over and over.
    fn answer_for(
        &mut self,
        from: Member,
        frame: &[u8],
        taken: Result<Handled, SyncError>,
    ) -> Result<Handled, SyncError> {
        let reason = match &taken {
            Err(SyncError::Malformed { .. }) => Refusal::Malformed,
            Err(SyncError::Refused { source, .. }) => match source {
                ApplyError::FarFuture(_) => Refusal::FarFuture,
                ApplyError::Jump(_) => Refusal::Jump,
                ApplyError::Outgrown(_) => Refusal::Malformed,
                ApplyError::OutOfBounds { .. } => Refusal::OutOfBounds,
                ApplyError::Conflict { .. }
                | ApplyError::Gap { .. }
                | ApplyError::Forked { .. } => Refusal::Conflict,
            },
            _ => return taken,
        };
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.refusal = Some((frame::checksum_of(frame), reason));
        }
        taken
    }

    /// What a frame with this checksum brought is not taken. Only of clocks it may be hoped that they agree soon; to try that
    /// with many pieces costs too much.
    fn hear_refusal(
        &mut self,
        now: Duration,
        from: Member,
        refused: [u8; 4],
        reason: Refusal,
    ) -> Handled {
        let (retry_min, retry_max) = (self.config.retry_min, self.config.retry_max);
        let part_bytes = self.config.part_bytes;
        let peer = self.peers.get_mut(&from);
        let mut peer = peer.filter(|peer| peer.is_sent && peer.sent == refused);
        let part = peer.as_ref().and_then(|peer| peer.parts.front());
        let wait = match (reason, part) {
            (Refusal::FarFuture, Some(Part::Delta(_))) => retry_min,
            _ => retry_max,
        };
        let hold = peer.as_mut().and_then(|peer| {
            peer.in_vain.pardon(now, retry_max);
            peer.refuses(wait, R::gives, part_bytes)
        });
        let Some(hold) = hold else {
            return NOTHING_NEW;
        };
        let hold_until = now + hold / 2 + self.jitter(hold / 2);
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.hold_until = hold_until;
        }
        let member = from;
        Handled {
            changed: Changed::No,
            event: Some(SyncEvent::RefusedBy { member, reason }),
        }
    }

    /// Lays a piece of a delta to the others, and joins the delta if that was the last.
    fn lay(
        &mut self,
        now: Duration,
        from: Member,
        piece: &Piece<'_>,
        state: &mut R,
        limits: &Limits,
    ) -> Result<Handled, SyncError> {
        let malformed = |source| SyncError::Malformed { from, source };
        let bytes_max = self.config.transfer_bytes_max;
        over(Bound::Bytes, piece.total() as u64, bytes_max as u64).map_err(malformed)?;
        let Some(peer) = self.peers.get_mut(&from) else {
            return Ok(NOTHING_NEW);
        };
        if peer.completed == Some(piece.id()) {
            peer.owe(Owed::Vector);
            return Ok(NOTHING_NEW);
        }
        let patience = self.config.retry_max.saturating_mul(2);
        let bytes = match self.stage.put(now, from, piece, patience) {
            Staged::Busy => return Ok(NOTHING_NEW),
            Staged::Some(progress) => {
                peer.progress = Some(progress);
                return Ok(NOTHING_NEW);
            }
            Staged::Mixed => return Err(malformed(DecodeError::Malformed("pieces of a delta"))),
            Staged::All(bytes) => bytes,
        };
        peer.progress = None;
        let budget = Budget {
            bytes_max,
            ..self.config.budget
        };
        let delta = R::Delta::from_bytes(&bytes, budget).map_err(malformed)?;
        drop(bytes);
        let handled = self.join(now, from, &delta, state, limits)?;
        // After a gap its sender makes another.
        if let Some(peer) = self.peers.get_mut(&from)
            && R::gives(&delta).partial_le(state.vector())
        {
            peer.completed = Some(piece.id());
        }
        Ok(handled)
    }

    fn join(
        &mut self,
        now: Duration,
        from: Member,
        delta: &R::Delta,
        state: &mut R,
        limits: &Limits,
    ) -> Result<Handled, SyncError> {
        let Some(peer) = self.peers.get_mut(&from) else {
            return Ok(NOTHING_NEW);
        };
        let limits = Limits {
            bounds: limits.bounds.meet(self.config.budget.bounds()),
            ..*limits
        };
        let changed = match state.apply_within(delta, &limits) {
            Ok(changed) => changed,
            Err(ApplyError::Gap { .. }) => {
                peer.owe(Owed::VectorReset);
                return Ok(NOTHING_NEW);
            }
            Err(source) => return Err(SyncError::Refused { from, source }),
        };
        // What it sends it knows; sent back to it, it would only be an echo.
        peer.knows(R::gives(delta));
        self.shown.join(R::gives(delta));
        peer.acknowledge(R::gives(delta), state.vector());
        if changed == Changed::Yes {
            self.relay(now, from);
        }
        Ok(Handled {
            changed,
            event: None,
        })
    }

    /// Lets the others find out soon whether they lack what `from` has brought. Who wrote it has most likely told them.
    fn relay(&mut self, now: Duration, from: Member) {
        let soon = now + self.config.retry_min / 4 + self.jitter(self.config.retry_min / 4);
        for (_, peer) in self.peers.iter_mut().filter(|(member, _)| **member != from) {
            peer.may_have_learned(soon);
        }
    }

    fn greet(
        &mut self,
        now: Duration,
        from: Member,
        hello: &Hello,
        state: &R,
    ) -> Result<Handled, SyncError> {
        let (document, schema_found) = (hello.document, hello.schema);
        if document != self.config.document || schema_found != schema::<R::Delta>() {
            return Err(SyncError::OtherDocument {
                from,
                document,
                schema: schema_found,
            });
        }
        let (theirs, ours) = (&hello.membership, &self.config.membership);
        let (claimed, epoch) = (theirs.epoch(), ours.epoch());
        if claimed == epoch && theirs != ours {
            return Err(SyncError::TwoMemberships { from, epoch });
        }
        if ours.joined(from).is_none() {
            // Who is ahead is not told: were it as strange to us as we to it, neither would ever fall silent.
            return Err(if claimed > epoch {
                SyncError::ForeignMembership {
                    from,
                    epoch,
                    claimed,
                }
            } else {
                self.not_a_member(from)
            });
        }
        if claimed >= epoch && theirs.joined(from) != Some(hello.joined) {
            // By its own word it is none of those for whom it speaks.
            return Err(self.not_a_member(from));
        }
        let event = self.adopt(now, hello.membership.clone());
        if self.is_evicted {
            return Ok(Handled {
                changed: Changed::No,
                event,
            });
        }
        if self.config.membership.joined(from) != Some(hello.joined) {
            return Err(self.not_a_member(from));
        }
        let is_behind = claimed < epoch;
        let number = self.session.number;
        let Some(peer) = self.peers.get_mut(&from) else {
            return Err(self.not_a_member(from));
        };
        peer.meet(hello, number, is_behind, now, self.config.retry_max);
        if hello.digest == state.vector().digest() {
            peer.tells(state.vector());
            self.shown.join(state.vector());
        } else {
            peer.owe(Owed::Vector);
        }
        Ok(Handled {
            changed: Changed::No,
            event,
        })
    }

    /// Tells one who is none what the members are, once for each word of his.
    fn not_a_member(&mut self, from: Member) -> SyncError {
        let epoch = self.config.membership.epoch();
        if self.strangers.len() < STRANGERS_MAX && !self.is_evicted {
            self.strangers.insert(from);
        }
        SyncError::NotAMember { from, epoch }
    }
}

/// Of how many replicas a peer may tell: of as many as a state may know, or ours does, and of some more, for who has
/// outgrown what ours may be is to be understood all the same.
fn told_ids_max(ids_max: usize, ours: &VersionVector) -> usize {
    let held = ours.iter().len().max(ids_max);
    held.saturating_add(TABLE_IDS_MAX)
}

/// Whether what a peer tells may be remembered: in place of what is believed of it, or beside.
fn check_ids<D>(
    peer: &Peer<D>,
    from: Member,
    vector: &VersionVector,
    replaces: bool,
    max: usize,
) -> Result<(), SyncError> {
    let given = if replaces {
        Some(vector.iter().len()).filter(|given| *given > max)
    } else {
        peer.tells_too_many(vector, max)
    };
    match given {
        Some(given) => Err(SyncError::TooManyIds { from, given, max }),
        None => Ok(()),
    }
}

const NOTHING_NEW: Handled = Handled {
    changed: Changed::No,
    event: None,
};
