use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::config::Reporter;
use super::event::{DropReason, MeshEvent};
use crate::peer::{PeerId, ProtocolId};

/// How many pairs of protocol and reason are counted apart for one connection.
const KINDS_MAX: usize = 64;

/// Counts dropped messages, to be told together: a peer that sends what nobody wants must not flood the operator.
#[derive(Debug, Default)]
pub(super) struct Drops(Mutex<BTreeMap<(Option<ProtocolId>, DropReason), u64>>);

impl Drops {
    pub(super) fn count(&self, protocol: ProtocolId, reason: DropReason, messages: usize) {
        let mut counts = self.0.lock();
        let apart = (Some(protocol), reason);
        let kind = if counts.len() < KINDS_MAX || counts.contains_key(&apart) {
            apart
        } else {
            (None, reason)
        };
        *counts.entry(kind).or_default() += messages as u64;
    }

    /// Tells what was counted since the last time.
    pub(super) fn report(&self, peer: PeerId, report: &Reporter) {
        let counts = std::mem::take(&mut *self.0.lock());
        for ((protocol, reason), count) in counts {
            report(MeshEvent::Dropped {
                peer,
                protocol,
                reason,
                count,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_flood_of_protocols_is_counted_in_bounded_memory() {
        let drops = Drops::default();
        for protocol in 0..u16::MAX {
            drops.count(ProtocolId(protocol), DropReason::NotBound, 2);
        }
        let told = Arc::new(Mutex::new(Vec::new()));
        let report: Reporter = Arc::new({
            let told = told.clone();
            move |event| told.lock().push(event)
        });
        drops.report(PeerId::new(1).unwrap(), &report);
        let counted = |event: &MeshEvent| match event {
            MeshEvent::Dropped { count, .. } => *count,
            _ => 0,
        };
        let told = told.lock();
        assert!(told.len() <= KINDS_MAX + 4);
        assert_eq!(
            told.iter().map(counted).sum::<u64>(),
            2 * u64::from(u16::MAX)
        );
    }
}
