//! Who is evicted brings nothing back, and may come back itself.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking"
)]

use std::time::Duration;

use peaberry_crdt::sync::{
    AntiEntropy, Member, Membership, SyncConfig, SyncError, SyncEvent, Transmit,
};
use peaberry_crdt::wire::DecodeError;
use peaberry_crdt::{AddWinsSet, Causal, Lattice, Limits, ReplicaId, Writer};

type Tags = Causal<AddWinsSet<String>>;

fn member(number: u64) -> Member {
    Member::new(number).unwrap()
}

fn writer(number: u128) -> Writer {
    Writer::new(ReplicaId::new(number).unwrap(), 0, 100)
}

struct Side {
    member: Member,
    sync: AntiEntropy<Tags>,
    tags: Tags,
    writer: Writer,
    events: Vec<SyncEvent>,
    errors: Vec<SyncError>,
}

impl Side {
    fn new(number: u64, membership: &Membership, life: u64) -> Self {
        let config = SyncConfig::new(member(number), 7, membership.clone(), life);
        Self {
            member: member(number),
            sync: AntiEntropy::new(config, Duration::ZERO),
            tags: Tags::bottom(),
            writer: writer(u128::from(life)),
            events: Vec::new(),
            errors: Vec::new(),
        }
    }

    fn add(&mut self, tag: &str) {
        let add = |set: &AddWinsSet<String>, mint| Ok(set.add(mint, tag.to_owned()));
        self.tags.write(&mut self.writer, add).unwrap();
        self.sync.changed();
    }

    fn remove(&mut self, tag: &str) {
        let remove = |set: &AddWinsSet<String>, _| Ok(set.remove(&tag.to_owned()));
        self.tags.write(&mut self.writer, remove).unwrap();
        self.sync.changed();
    }

    fn transmit(&mut self, now: Duration) -> Option<Transmit> {
        self.sync.poll_transmit(now, &self.tags)
    }

    fn shows(&self) -> Vec<&str> {
        self.tags.value().iter().map(String::as_str).collect()
    }
}

/// Half a minute in which those of `cut_off` hear nobody, and are heard by nobody.
fn talk(sides: &mut [Side], seconds: std::ops::Range<u64>, cut_off: &[Member]) {
    for now in seconds.map(Duration::from_secs) {
        let mut is_silent = false;
        while !is_silent {
            is_silent = true;
            for from in 0..sides.len() {
                let sender = sides[from].member;
                while let Some(sent) = sides[from].transmit(now) {
                    is_silent = false;
                    let is_lost = cut_off.contains(&sender) || cut_off.contains(&sent.to);
                    let receiver = sides.iter_mut().find(|side| side.member == sent.to);
                    if let Some(to) = receiver.filter(|_| !is_lost) {
                        let (tags, limits) = (&mut to.tags, &Limits::NONE);
                        match to.sync.handle(now, sender, &sent.frame, tags, limits) {
                            Ok(handled) => to.events.extend(handled.event),
                            Err(SyncError::Unreadable { .. }) => {}
                            Err(error) => to.errors.push(error),
                        }
                    }
                }
            }
        }
    }
}

/// Not in silence: it would never get further. And what keeps within the budget arrives.
#[test]
fn a_state_over_the_budget_is_refused_by_name() {
    for (dots_max, taken) in [(0, 0), (2, 3)] {
        let members = Membership::new([1, 2].map(member));
        let mut sides = [1, 2].map(|number| Side::new(number, &members, number));
        let mut config = SyncConfig::new(member(2), 7, members, 2);
        config.budget.dots_max = dots_max;
        sides[1].sync = AntiEntropy::new(config, Duration::ZERO);
        for tag in ["tea", "decaf", "oats"] {
            sides[0].add(tag);
        }
        talk(&mut sides, 0..30, &[]);
        assert_eq!(sides[1].shows().len(), taken);
        let is_told = |error: &SyncError| matches!(error, SyncError::Malformed { from, source: DecodeError::OverBudget { .. } } if *from == member(1));
        assert!(sides[1].errors.iter().any(is_told));
    }
}

#[test]
fn who_is_evicted_late_brings_nothing_back_and_comes_back_empty() {
    let all = Membership::new([1, 2, 3].map(member));
    let mut sides = [1, 2, 3].map(|number| Side::new(number, &all, number));
    sides[0].add("tea");
    sides[0].add("decaf");
    talk(&mut sides, 0..30, &[]);
    assert!(sides.iter().all(|side| side.shows() == ["decaf", "tea"]));

    // Behind a partition it goes on; the others remove what it holds, evict it, and forget the removal.
    let late = member(3);
    sides[2].add("tea");
    sides[2].add("old");
    sides[1].remove("tea");
    let without = all.without(late);
    sides[0]
        .sync
        .reconfigure(Duration::from_secs(30), without.clone());
    talk(&mut sides, 30..60, &[late]);
    for side in &mut sides[..2] {
        assert_eq!(side.sync.membership(), &without);
        let stable = side.sync.stable(&side.tags);
        assert_eq!(&stable, side.tags.vector(), "the evicted is not waited for");
        side.tags.collect(&stable);
        assert_eq!(side.tags.log_bytes(), 0);
    }

    // The link is whole again: it is refused by name, learns why, and falls silent.
    talk(&mut sides, 60..90, &[]);
    let refused = SyncError::NotAMember {
        from: late,
        epoch: 2,
    };
    // Whom it comes to first tells it, and then it asks nobody else.
    assert!(sides[..2].iter().any(|side| side.errors.contains(&refused)));
    assert!(sides[..2].iter().all(|side| side.shows() == ["decaf"]));
    assert!(sides[2].sync.is_evicted());
    assert_eq!(sides[2].events, [SyncEvent::Evicted(without.clone())]);
    let silent = &mut sides[2];
    assert_eq!(silent.transmit(Duration::from_secs(90)), None);

    // A member again, with its old state it is still a stranger; empty it is not.
    let again = without.with(late);
    sides[0]
        .sync
        .reconfigure(Duration::from_secs(90), again.clone());
    let old = std::mem::replace(&mut sides[2], Side::new(3, &again, 33));
    let mut config = SyncConfig::new(late, 7, again, 34);
    config.joined = 1;
    let pretender: AntiEntropy<Tags> = AntiEntropy::new(config, Duration::ZERO);
    assert!(pretender.is_evicted());
    assert!(old.shows().contains(&"tea"));
    talk(&mut sides, 90..120, &[]);
    sides[2].add("oats");
    talk(&mut sides, 120..150, &[]);
    assert!(sides.iter().all(|side| side.shows() == ["decaf", "oats"]));
    assert!(sides.windows(2).all(|pair| pair[0].tags == pair[1].tags));
}
