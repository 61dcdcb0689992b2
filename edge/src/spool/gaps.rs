//! What was dropped and has not been told yet.

use peaberry_core::mutant::is_planted;
use peaberry_core::{Batch, Storage, Subspace, wire};

use super::log::unreadable;
use crate::error::EdgeError;
use crate::identity::Position;
use crate::payload::{Gap, GapReason, Wire};
use crate::topic::Stream;

/// One gap for each stream and reason, widened by every further drop until it is told: an outage of a month takes no more
/// room than one of a minute.
#[derive(Debug)]
pub(super) struct Gaps {
    space: Subspace,
    /// `None`: there is none, as with most devices most of the time.
    lists: Option<Box<Lists>>,
}

#[derive(Debug, Default)]
struct Lists {
    durable: Vec<Gap>,
    staged: Vec<Gap>,
    /// Records of the present commit: they will have been rejected if it fails.
    uncertain: Vec<Gap>,
    /// What failed commits have left: not in the store yet.
    owed: Vec<Gap>,
    is_dirty: bool,
}

impl Gaps {
    pub(super) fn open(storage: &dyn Storage, space: Subspace) -> Result<Self, EdgeError> {
        let mut durable = Vec::new();
        for entry in space.entries(storage) {
            let (_, value) = entry.map_err(unreadable)?;
            durable.push(Gap::decode(&value)?);
        }
        let lists = Lists {
            staged: durable.clone(),
            durable,
            ..Lists::default()
        };
        let lists = Some(Box::new(lists)).filter(|lists| !lists.are_empty());
        Ok(Self { space, lists })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.staged().is_empty()
    }

    pub(super) fn all(&self) -> Vec<Gap> {
        self.staged().to_vec()
    }

    fn staged(&self) -> &[Gap] {
        self.lists.as_ref().map_or(&[], |lists| &lists.staged)
    }

    fn lists(&mut self) -> &mut Lists {
        self.lists.get_or_insert_default()
    }

    /// Records were lost; it is written down with what else is staged.
    pub(super) fn note(&mut self, batch: &mut Batch, gap: Gap) {
        if is_planted("edge_gap_forgotten") {
            return;
        }
        let lists = self.lists();
        lists.is_dirty = true;
        let gap = widen(&mut lists.staged, gap);
        put(&self.space, batch, &gap);
        self.save(batch);
    }

    /// Records were lost that no commit had to do with; it is written down with the next. Not while one is staged.
    pub(super) fn owe(&mut self, gap: Gap) {
        let lists = self.lists();
        widen(&mut lists.owed, gap);
        widen(&mut lists.staged, gap);
    }

    /// What failed commits have left is written with the next.
    pub(super) fn save(&mut self, batch: &mut Batch) {
        let owing = self.lists.as_mut().filter(|lists| !lists.owed.is_empty());
        if let Some(lists) = owing {
            lists.is_dirty = true;
            for gap in &lists.staged {
                put(&self.space, batch, gap);
            }
        }
    }

    /// The gap stands in a record now.
    pub(super) fn told(&mut self, batch: &mut Batch, gap: &Gap) {
        let lists = self.lists();
        lists.is_dirty = true;
        lists.staged.retain(|other| key(other) != key(gap));
        self.space.delete(batch, &key(gap));
    }

    /// A record depends on the present commit.
    pub(super) fn depends(&mut self, stream: Stream, at: Position) {
        let gap = one(stream, at, GapReason::Rejected);
        widen(&mut self.lists().uncertain, gap);
    }

    pub(super) fn committed(&mut self) {
        let Some(lists) = &mut self.lists else {
            return;
        };
        lists.uncertain.clear();
        if lists.is_dirty {
            lists.durable.clone_from(&lists.staged);
            lists.owed.clear();
            lists.is_dirty = false;
        }
        if lists.are_empty() {
            self.lists = None;
        }
    }

    /// How many records are lost with the commit.
    pub(super) fn aborted(&mut self) -> u64 {
        self.lists.as_mut().map_or(0, |lists| lists.aborted())
    }
}

impl Lists {
    const fn are_empty(&self) -> bool {
        self.durable.is_empty()
            && self.staged.is_empty()
            && self.uncertain.is_empty()
            && self.owed.is_empty()
    }

    fn aborted(&mut self) -> u64 {
        let mut count = 0;
        for gap in self.uncertain.drain(..) {
            count += gap.count;
            widen(&mut self.owed, gap);
        }
        self.staged.clone_from(&self.durable);
        for gap in &self.owed {
            widen(&mut self.staged, *gap);
        }
        self.is_dirty = false;
        count
    }
}

/// The gap of a single record.
pub(super) const fn one(stream: Stream, at: Position, reason: GapReason) -> Gap {
    Gap {
        stream,
        first: at,
        last: at,
        count: 1,
        reason,
    }
}

fn widen(gaps: &mut Vec<Gap>, gap: Gap) -> Gap {
    match gaps.iter_mut().find(|other| key(other) == key(&gap)) {
        Some(other) => {
            other.widen(&gap);
            *other
        }
        None => {
            gaps.push(gap);
            gap
        }
    }
}

fn put(space: &Subspace, batch: &mut Batch, gap: &Gap) {
    space.put(batch, &key(gap), &gap.encode());
}

fn key(gap: &Gap) -> Vec<u8> {
    let mut key = vec![gap.stream.number()];
    wire::put_varint(&mut key, gap.reason.number());
    key
}
