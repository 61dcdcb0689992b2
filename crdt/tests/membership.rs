//! Who is evicted brings nothing back, and may come back itself.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking"
)]

use std::time::Duration;

use peaberry_crdt::sync::{
    AntiEntropy, ConfigError, MEMBERS_MAX, Member, Membership, MembershipError, SyncConfig,
    SyncError, SyncEvent, Transmit,
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
            sync: AntiEntropy::new(config, Duration::ZERO).unwrap(),
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

/// Not in silence: it would never get further. And what keeps within the budget arrives, as far as there is room.
#[test]
fn a_state_over_the_budget_is_refused_by_name() {
    for (dots_max, taken) in [(0, 0), (2, 2)] {
        let members = Membership::new([1, 2].map(member));
        let mut sides = [1, 2].map(|number| Side::new(number, &members, number));
        let mut config = SyncConfig::new(member(2), 7, members, 2);
        config.budget.dots_max = dots_max;
        sides[1].sync = AntiEntropy::new(config, Duration::ZERO).unwrap();
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
        .reconfigure(Duration::from_secs(30), without.clone())
        .unwrap();
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
        .reconfigure(Duration::from_secs(90), again.clone())
        .unwrap();
    let old = std::mem::replace(&mut sides[2], Side::new(3, &again, 33));
    let mut config = SyncConfig::new(late, 7, again, 34);
    config.joined = 1;
    let pretender: AntiEntropy<Tags> = AntiEntropy::new(config, Duration::ZERO).unwrap();
    assert!(pretender.is_evicted());
    assert!(old.shows().contains(&"tea"));
    talk(&mut sides, 90..120, &[]);
    sides[2].add("oats");
    talk(&mut sides, 120..150, &[]);
    assert!(sides.iter().all(|side| side.shows() == ["decaf", "oats"]));
    assert!(sides.windows(2).all(|pair| pair[0].tags == pair[1].tags));
}

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Whatever a side has to say at this moment is lost.
fn lose_all(side: &mut Side, now: Duration) {
    while side.transmit(now).is_some() {}
}

/// One lost word, and the others would take the evicted member's late writes for ever.
#[test]
fn a_membership_spreads_though_the_first_word_of_it_is_lost() {
    let all = Membership::new([1, 2, 3].map(member));
    let mut sides = [1, 2, 3].map(|number| Side::new(number, &all, number));
    sides[0].add("tea");
    talk(&mut sides, 0..30, &[]);
    let (late, without) = (member(3), all.without(member(3)));
    sides[0].sync.reconfigure(at(30), without.clone()).unwrap();
    lose_all(&mut sides[0], at(30));
    talk(&mut sides, 30..60, &[late]);
    assert_eq!(sides[1].sync.membership(), &without);
    // From here on what it writes is refused by the other one, too.
    sides[2].add("late");
    talk(&mut sides[1..], 60..90, &[]);
    assert_eq!(sides[1].shows(), ["tea"]);
    let refused = |error: &SyncError| matches!(error, SyncError::NotAMember { from, epoch: 2 } if *from == late);
    assert!(sides[1].errors.iter().any(refused));
}

/// Nobody is evicted by one who has no say, whatever epoch he claims; and those who do not know each other fall silent.
#[test]
fn a_membership_is_believed_of_members_alone() {
    let all = Membership::new([1, 2, 3].map(member));
    let without = all.without(member(3));
    let mut sides = [1, 2, 3, 9].map(|number| Side::new(number, &all, number));
    for side in &mut sides[..2] {
        side.sync.reconfigure(at(0), without.clone()).unwrap();
    }
    // The evicted and one who never was a member each claim that they are all there is.
    for number in [3, 9] {
        let mut theirs = Membership::new([1, 2, number].map(member));
        for _ in 0..5 {
            theirs = theirs.without(member(1)).with(member(1));
        }
        let side = sides.iter_mut().find(|side| side.member == member(number));
        *side.unwrap() = Side::new(number, &theirs, number + 10);
    }
    talk(&mut sides, 0..30, &[]);
    for side in &sides[..2] {
        assert_eq!(side.sync.membership(), &without);
        for from in [3, 9].map(member) {
            let claim = SyncError::ForeignMembership {
                from,
                epoch: 2,
                claimed: 11,
            };
            assert!(side.errors.contains(&claim), "{:?}", side.errors);
            let times = side.errors.iter().filter(|error| **error == claim).count();
            assert!(times <= 12, "{times} in half a minute");
        }
    }
    sides[0].add("tea");
    talk(&mut sides, 30..60, &[]);
    assert_eq!(sides[1].shows(), ["tea"], "the members go on");
}

/// What the life before the eviction wrote late is not taken, though both changes were heard at once.
#[test]
fn who_was_evicted_and_joined_again_is_another() {
    let both = Membership::new([1, 2].map(member));
    let mut sides = [1, 2].map(|number| Side::new(number, &both, number));
    sides[1].add("tea");
    talk(&mut sides, 0..30, &[]);
    let again = both.without(member(2)).with(member(2));
    sides[0].sync.reconfigure(at(30), again.clone()).unwrap();
    lose_all(&mut sides[0], at(30));
    sides[1].add("late");
    let sent = sides[1].transmit(at(30)).unwrap();
    let (receiver, limits) = (&mut sides[0], &Limits::NONE);
    let state = &mut receiver.tags;
    let handled = receiver
        .sync
        .handle(at(30), member(2), &sent.frame, state, limits);
    assert!(matches!(handled, Err(SyncError::Unreadable { .. })));
    assert_eq!(sides[0].shows(), ["tea"]);
    sides[1] = Side::new(2, &again, 22);
    talk(&mut sides, 30..60, &[]);
    assert_eq!(sides[1].shows(), ["tea"]);
}

#[test]
fn a_configuration_that_nobody_could_go_by_is_refused() {
    let new = |adjust: &dyn Fn(&mut SyncConfig)| {
        let members = Membership::new([1, 2].map(member));
        let mut config = SyncConfig::new(member(1), 7, members, 1);
        adjust(&mut config);
        AntiEntropy::<Tags>::new(config, Duration::ZERO).map(drop)
    };
    assert_eq!(new(&|_| {}), Ok(()));
    let zero = Duration::ZERO;
    let pace = |name| Err(ConfigError::Pace { name, given: zero });
    assert_eq!(new(&|config| config.idle = zero), pace("idle"));
    assert_eq!(new(&|config| config.retry_min = zero), pace("retry_min"));
    assert_eq!(new(&|config| config.retry_max = zero), pace("retry_max"));
    assert!(new(&|config| config.idle = Duration::MAX).is_err());
    let crowd = Membership::new((1..=MEMBERS_MAX as u64 + 1).map(member));
    let given = MEMBERS_MAX + 1;
    let too_many = MembershipError::TooMany { given };
    let refused = new(&|config| config.membership = crowd.clone());
    assert_eq!(refused, Err(ConfigError::Membership(too_many)));
    let mut side = Side::new(1, &Membership::new([1, 2].map(member)), 1);
    let crowd = crowd.with(member(1));
    assert_eq!(side.sync.reconfigure(at(1), crowd), Err(too_many));
    assert_eq!(side.sync.membership().epoch(), 1);
}

/// Five bytes each, and what they draw is the longest of all frames.
#[test]
fn frames_that_nobody_can_read_draw_one_hello_at_a_time() {
    let both = Membership::new([1, 2].map(member));
    let mut sides = [1, 2].map(|number| Side::new(number, &both, number));
    talk(&mut sides, 0..30, &[]);
    lose_all(&mut sides[0], at(30));
    let (victim, limits) = (&mut sides[0], &Limits::NONE);
    let mut drawn = 0;
    for _ in 0..1_000 {
        let tags = &mut victim.tags;
        let handled = victim
            .sync
            .handle(at(30), member(2), &[2, 0, 0, 0, 0], tags, limits);
        assert!(matches!(handled, Err(SyncError::Unreadable { .. })));
        while victim.transmit(at(30)).is_some() {
            drawn += 1;
        }
    }
    assert!(drawn <= 1, "{drawn} at one moment");
}
