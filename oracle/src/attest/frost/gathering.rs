use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use frost_secp256k1_evm::round2::SignatureShare;
use frost_secp256k1_evm::{Identifier, SigningPackage, aggregate};
use peaberry_chain::primitives::B256;
use peaberry_core::mutant::is_planted;

use super::wire::{Commitment, Part, Request, identifier};
use super::{PublicGroup, attestation_of};
use crate::attest::{AttestError, Gathered};

/// How often a member may say that it has lost its nonces: each time it leaves an attempt unfinished, and then it can leave
/// one more, by its silence.
const RESTARTS_MAX: u32 = 2;

/// The gatherer's side for one digest (ROAST, figure 4).
pub(super) struct Gathering {
    digest: B256,
    members: BTreeMap<u8, State>,
    attempts: Vec<Attempt>,
    done: Option<Bytes>,
}

/// What a member is doing for us.
#[derive(Debug)]
struct State {
    now: Now,
    restarts: u32,
    /// Every commitment that it has made: the network repeats old ones, and whoever were asked by one again would be taken
    /// for a liar when his old share is repeated too.
    known: Vec<Commitment>,
}

#[derive(Debug)]
enum Now {
    /// It has committed to a nonce and is asked for nothing.
    Free(Commitment),
    /// It is asked, in the attempt of this index.
    Asked(usize, Commitment),
    /// It gave a share that was not its own.
    Excluded,
}

/// f+1 members who are to sign together.
struct Attempt {
    package: SigningPackage,
    members: BTreeSet<u8>,
    shares: BTreeMap<Identifier, SignatureShare>,
}

impl fmt::Debug for Gathering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gathering")
            .field("members", &self.members)
            .field("attempts", &self.attempts.len())
            .field("is_done", &self.done.is_some())
            .finish_non_exhaustive()
    }
}

impl Gathering {
    pub(super) const fn new(digest: B256) -> Self {
        Self {
            digest,
            members: BTreeMap::new(),
            attempts: Vec::new(),
            done: None,
        }
    }

    pub(super) const fn digest(&self) -> &B256 {
        &self.digest
    }

    /// Takes a member's part.
    pub(super) fn take(
        &mut self,
        group: &PublicGroup,
        member: u8,
        part: Part,
    ) -> Result<Gathered, AttestError> {
        if let Some(done) = &self.done {
            return Ok(Gathered::Done(done.clone()));
        }
        if !group.has_member(member) {
            return Err(AttestError::NoSuchMember(member));
        }
        match part {
            Part::Commitment(commitment) => self.commit(member, commitment)?,
            Part::Share { used, share, next } => {
                if let Some(done) = self.answer(group, member, used, share, next)? {
                    return Ok(Gathered::Done(done));
                }
            }
        }
        self.ask(group)
    }

    /// A commitment that was not asked for: the member's first, the same again, or one after a restart.
    fn commit(&mut self, member: u8, commitment: Commitment) -> Result<(), AttestError> {
        let free = Now::Free(commitment);
        match self.members.get_mut(&member) {
            None => {
                let state = State {
                    now: free,
                    restarts: 0,
                    known: vec![commitment],
                };
                self.members.insert(member, state);
            }
            Some(state) if state.known.contains(&commitment) => {}
            Some(state) => match state.now {
                Now::Excluded => {}
                Now::Free(_) | Now::Asked(..) if state.restarts == RESTARTS_MAX => {
                    return Err(AttestError::Unexpected);
                }
                Now::Free(_) | Now::Asked(..) => {
                    state.restarts += 1;
                    state.known.push(commitment);
                    state.now = free;
                }
            },
        }
        Ok(())
    }

    /// A share: its sender is free again, unless it lied.
    fn answer(
        &mut self,
        group: &PublicGroup,
        member: u8,
        used: Commitment,
        share: SignatureShare,
        next: Commitment,
    ) -> Result<Option<Bytes>, AttestError> {
        let state = self.members.get_mut(&member);
        let state = state.ok_or(AttestError::Unexpected)?;
        let Now::Asked(at, asked) = state.now else {
            // The answer to a request came twice.
            return Ok(None);
        };
        let Some(attempt) = self.attempts.get_mut(at).filter(|_| asked == used) else {
            return Ok(None);
        };
        let name = identifier(member)?;
        let is_own = group.verify_share(name, &share, &attempt.package)
            || is_planted("frost_bad_share_accepted");
        if !is_own {
            state.now = Now::Excluded;
            return Err(AttestError::Signature(member));
        }
        state.known.push(next);
        state.now = Now::Free(next);
        attempt.shares.insert(name, share);
        if attempt.shares.len() < attempt.members.len() {
            return Ok(None);
        }
        let signature = aggregate(&attempt.package, &attempt.shares, &group.package);
        let signature = signature.map_err(|_other| AttestError::GroupSignature)?;
        let attestation = attestation_of(&signature)?;
        self.done = Some(attestation.clone());
        Ok(Some(attestation))
    }

    /// Asks f+1 members that are free, if there are so many: those first who have not failed us yet.
    fn ask(&mut self, group: &PublicGroup) -> Result<Gathered, AttestError> {
        let mut free: Vec<(u32, u8, Commitment)> = self
            .members
            .iter()
            .filter_map(|(member, state)| match state.now {
                Now::Free(commitment) => Some((state.restarts, *member, commitment)),
                Now::Asked(..) | Now::Excluded => None,
            })
            .collect();
        if free.len() < group.threshold() {
            return Ok(Gathered::More);
        }
        free.sort_by_key(|(restarts, member, _)| (*restarts, *member));
        free.truncate(group.threshold());
        free.sort_by_key(|(_, member, _)| *member);
        let signers: Vec<_> = free
            .into_iter()
            .map(|(_, member, it)| (member, it))
            .collect();
        let request = Request { signers };
        let attempt = Attempt {
            package: request.package(&self.digest)?,
            members: request.signers.iter().map(|(member, _)| *member).collect(),
            shares: BTreeMap::new(),
        };
        for (member, commitment) in &request.signers {
            if let Some(state) = self.members.get_mut(member) {
                state.now = Now::Asked(self.attempts.len(), *commitment);
            }
        }
        self.attempts.push(attempt);
        let bytes = request.to_bytes();
        let asked = request.signers.iter();
        let asked = asked.map(|(member, _)| (*member, bytes.clone())).collect();
        Ok(Gathered::Ask(asked))
    }
}
