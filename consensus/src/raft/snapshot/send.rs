//! Sending the newest snapshot to a replica that is behind the log.

use std::ops::Range;

use bytes::Bytes;
use peaberry_core::LogId;

use super::{Manifest, Snapshots, Stored, area_log};
use crate::raft::message::{SnapshotAck, SnapshotChunk};
use crate::state_machine::StateMachine;

/// Chunks on their way to one peer that it has not acknowledged.
const WINDOW: u64 = 4;

/// Ticks without progress after which the unacknowledged chunks are sent again.
const RESEND_TICKS: u64 = 8;

/// How often chunks are sent again before the transfer counts as failed; raft then begins another.
const RESENDS_MAX: u32 = 8;

/// A transfer to one peer.
#[derive(Debug)]
pub(super) struct Sending {
    stored: Stored,
    /// The next chunk to read and send.
    next: u64,
    acknowledged: u64,
    /// The chunk being read from storage.
    reading: Option<u64>,
    /// The tick of the last progress.
    since: u64,
    resends: u32,
}

impl Sending {
    pub(super) const fn reads_area(&self, area: u8) -> bool {
        self.stored.area == area
    }
}

impl<S: StateMachine> Snapshots<S> {
    /// Begins to send the newest snapshot to `peer`, unless that is under way.
    pub(in crate::raft) fn begin_sending(&mut self, peer: u64, tick: u64) {
        let Some(stored) = self.current.clone() else {
            return;
        };
        let is_same = self
            .sending
            .get(&peer)
            .is_some_and(|sending| sending.stored == stored);
        if !is_same {
            let sending = Sending {
                stored,
                next: 0,
                acknowledged: 0,
                reading: None,
                since: tick,
                resends: 0,
            };
            self.sending.insert(peer, sending);
        }
    }

    /// The chunks to read next, one for each peer that has room in its window.
    pub(in crate::raft) fn reads(&mut self) -> Vec<(u64, LogId, Range<u64>)> {
        let channel = self.channel;
        let can_read = |sending: &Sending| {
            let in_window = sending.next < sending.acknowledged + WINDOW;
            sending.reading.is_none() && in_window && sending.next < sending.stored.manifest.chunks
        };
        let ready = self
            .sending
            .iter_mut()
            .filter(|(_, sending)| can_read(sending));
        ready
            .map(|(&peer, sending)| {
                let at = sending.stored.start + sending.next;
                sending.reading = Some(sending.next);
                sending.next += 1;
                (peer, area_log(channel, sending.stored.area), at..at + 1)
            })
            .collect()
    }

    /// The message for a chunk that was read for `peer`.
    pub(in crate::raft) fn chunk_read(
        &mut self,
        peer: u64,
        term: u64,
        chunk: Option<Bytes>,
    ) -> Option<SnapshotChunk> {
        let sending = self.sending.get_mut(&peer)?;
        let number = sending.reading.take()?;
        Some(SnapshotChunk {
            term,
            manifest: sending.stored.manifest.clone(),
            number,
            bytes: chunk?,
        })
    }

    /// Takes how far `peer` has come; answers whether it has everything.
    pub(in crate::raft) fn acknowledged(&mut self, peer: u64, ack: SnapshotAck, tick: u64) -> bool {
        let Some(sending) = self.sending.get_mut(&peer) else {
            return false;
        };
        let Manifest { at, chunks, .. } = sending.stored.manifest;
        if ack.index != at.index || ack.next > chunks {
            return false;
        }
        if ack.next == chunks {
            self.sending.remove(&peer);
            return true;
        }
        if ack.next < sending.acknowledged {
            // The peer has restarted, and what it had of the snapshot is gone.
            sending.next = ack.next;
        } else if ack.next > sending.acknowledged {
            sending.since = tick;
            sending.resends = 0;
        }
        sending.acknowledged = ack.next;
        sending.next = sending.next.max(ack.next);
        false
    }

    /// Sends again what got lost; answers the peers whose transfer has failed.
    pub(in crate::raft) fn tick_sending(&mut self, tick: u64) -> Vec<u64> {
        let mut failed = Vec::new();
        for (&peer, sending) in &mut self.sending {
            if sending.since + RESEND_TICKS <= tick {
                sending.since = tick;
                sending.resends += 1;
                sending.next = sending.acknowledged;
            }
            if sending.resends > RESENDS_MAX {
                failed.push(peer);
            }
        }
        for peer in &failed {
            self.sending.remove(peer);
        }
        failed
    }

    /// Ends every transfer: this replica leads no more.
    pub(in crate::raft) fn stop_sending(&mut self) {
        self.sending.clear();
    }
}
