//! Writers who were apart: the history of all of them, for ours and for diamond-types.

use diamond_types::list::OpLog;
use diamond_types::list::encoding::ENCODE_FULL;
use diamond_types::list::operation::Operation;
use peaberry_crdt::wire::{Message as _, compress};
use peaberry_crdt::{Lattice as _, ReplicaId, Text, VersionVector, Writer};

use peaberry_benches::versus::fastest;

use crate::trace::Trace;

/// Our file: each agent is a replica, and hears of what a transaction's parents had left before it writes it.
pub(crate) fn ours(trace: &Trace) -> Vec<u8> {
    let writer = |agent: usize| {
        let id = ReplicaId::new(agent as u128 + 1).expect("not zero");
        Writer::new(id, 0, u64::MAX)
    };
    let mut sides: Vec<(Text, Writer)> = (0..trace.agents)
        .map(|agent| (Text::bottom(), writer(agent)))
        .collect();
    let mut left: Vec<(usize, VersionVector)> = Vec::new();
    for transaction in &trace.transactions {
        let at = transaction.agent;
        for (author, upto) in transaction.parents.iter().filter_map(|at| left.get(*at)) {
            let Some(known) = sides.get(at).map(|side| side.0.vector().clone()) else {
                continue;
            };
            if *author == at || upto.partial_le(&known) {
                continue;
            }
            let delta = sides
                .get(*author)
                .map(|side| side.0.delta_between(&known, upto));
            if let (Some(delta), Some((text, _))) = (delta, sides.get_mut(at)) {
                text.apply(&delta).expect("it follows");
            }
        }
        let (text, writer) = sides.get_mut(at).expect("agents are numbered");
        for (at, removed, inserted) in &transaction.patches {
            text.delete(writer, *at..at + removed)
                .expect("the place is there");
            text.insert(writer, *at, inserted)
                .expect("the place is there");
        }
        left.push((at, text.vector().clone()));
    }
    let mut whole = Text::bottom();
    for (text, _) in &sides {
        whole.join(text);
    }
    compress(&whole.to_bytes())
}

/// Their file.
pub(crate) fn diamond(trace: &Trace) -> Vec<u8> {
    let mut log = OpLog::new();
    let agents: Vec<_> = (0..trace.agents)
        .map(|agent| log.get_or_create_agent_id(&format!("agent {agent}")))
        .collect();
    let mut left = Vec::new();
    for transaction in &trace.transactions {
        let mut ops = Vec::new();
        for (at, removed, inserted) in &transaction.patches {
            if *removed > 0 {
                ops.push(Operation::new_delete(*at..at + removed));
            }
            if !inserted.is_empty() {
                ops.push(Operation::new_insert(*at, inserted));
            }
        }
        let parents = transaction.parents.iter().filter_map(|at| left.get(*at));
        let parents: Vec<usize> = parents.copied().collect();
        let agent = agents.get(transaction.agent).expect("agents are numbered");
        left.push(log.add_operations_at(*agent, &parents, &ops));
    }
    log.encode(ENCODE_FULL)
}

/// What two wrote apart who each put so many characters in front of all: how long one takes to join the other's, in
/// microseconds.
pub(crate) fn ours_at_one_place(count: usize) -> f64 {
    let [mine, theirs] = [1, 2].map(|id| {
        let mut text = Text::bottom();
        let id = ReplicaId::new(id).expect("not zero");
        let mut writer = Writer::new(id, 0, u64::MAX);
        for _ in 0..count {
            text.insert(&mut writer, 0, "x")
                .expect("the place is there");
        }
        text
    });
    let delta = theirs.delta_since(mine.vector());
    fastest(
        || mine.clone(),
        |text| {
            text.apply(&delta).expect("it follows");
            assert_eq!(text.len_chars(), 2 * count);
        },
    )
}

/// The same.
pub(crate) fn diamond_at_one_place(count: usize) -> f64 {
    let mut log = OpLog::new();
    let mut heads = Vec::new();
    for agent in ["agent 1", "agent 2"] {
        let agent = log.get_or_create_agent_id(agent);
        let ops: Vec<_> = (0..count).map(|_| Operation::new_insert(0, "x")).collect();
        heads.push(log.add_operations_at(agent, &[], &ops));
    }
    let mine = &heads[..1];
    fastest(
        || log.checkout(mine),
        |branch| {
            branch.merge(&log, log.local_version_ref());
            assert_eq!(branch.content().len_chars(), 2 * count);
        },
    )
}
