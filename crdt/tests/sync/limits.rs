//! What passes its limits stays out, by name, and the rest goes on.

use std::time::Duration;

use peaberry_crdt::sync::{Refusal, SyncError, SyncEvent};
use peaberry_crdt::{
    AddWinsSet, ApplyError, Causal, CounterJump, Edit, Hlc, Lattice, LwwRegister, Mint, ReplicaId,
    ResettableCounter, Tolerance, WriteError, Writer, dot_store,
};

use crate::link::{Link, Side, config, member};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shop {
    price: LwwRegister<u64>,
    sold: ResettableCounter,
    tags: AddWinsSet<u64>,
}

dot_store!(Shop {
    price: LwwRegister<u64>,
    sold: ResettableCounter,
    tags: AddWinsSet<u64>,
});

type Document = Causal<Shop>;
type EditShop<'a> = &'a dyn Fn(&Shop, Mint) -> Result<Edit<Shop>, WriteError>;

const MINUTE: Duration = Duration::from_secs(60);

fn writer(number: u128) -> Writer {
    Writer::new(ReplicaId::new(number).unwrap(), 0, 1000)
}

fn write(side: &mut Side<Document>, writer: &mut Writer, edit: EditShop<'_>) {
    side.state.write(writer, edit).unwrap();
    side.sync.changed();
}

fn tag(side: &mut Side<Document>, writer: &mut Writer, tag: u64) {
    let of = |tags| Shop {
        tags,
        ..Shop::default()
    };
    write(side, writer, &|shop, mint| {
        Ok(shop.tags.add(mint, tag).within(of))
    });
}

fn price(side: &mut Side<Document>, writer: &mut Writer, clock: &mut Hlc, wall_ms: u64) {
    let stamp = clock.now(wall_ms);
    let of = |price| Shop {
        price,
        ..Shop::default()
    };
    write(side, writer, &|shop, mint| {
        Ok(shop.price.write(mint, stamp, 5)?.within(of))
    });
}

fn sell(side: &mut Side<Document>, writer: &mut Writer, amount: i64) {
    let of = |sold| Shop {
        sold,
        ..Shop::default()
    };
    write(side, writer, &|shop, mint| {
        Ok(shop.sold.add(mint, amount)?.within(of))
    });
}

fn sides(tolerance: Tolerance) -> Vec<Side<Document>> {
    let mut sides: Vec<_> = (1..=3)
        .map(|number| {
            Side::new(
                config(number, 3, number),
                Duration::ZERO,
                Document::bottom(),
            )
        })
        .collect();
    sides.iter_mut().for_each(|side| side.tolerance = tolerance);
    sides
}

fn run(link: &mut Link, sides: &mut [Side<Document>], time: Duration) {
    let end = link.now + time;
    while link.now < end {
        link.step(sides);
    }
}

/// What the first wrote is refused by both others, who go on without it; in an hour it is sent a handful of times.
fn check_refused(
    link: &mut Link,
    sides: &mut [Side<Document>],
    reason: Refusal,
    is_named: impl Fn(&ApplyError) -> bool,
) {
    let mut others = [writer(0xB), writer(0xC)];
    for (at, tags) in [(1, 10..20), (2, 20..30)] {
        for number in tags {
            tag(&mut sides[at], &mut others[at - 1], number);
        }
    }
    run(link, sides, MINUTE);
    assert_eq!(sides[1].state, sides[2].state);
    assert_eq!(
        sides[1].state.value().tags.len(),
        20,
        "the others' sync goes on"
    );
    assert_eq!(
        sides[0].state.value().tags.len(),
        20,
        "and with who is refused"
    );
    assert_eq!(sides[1].state.vector().get(ReplicaId::new(0xA).unwrap()), 0);
    let named = |error: &SyncError| matches!(error, SyncError::Refused { from, source } if *from == member(1) && is_named(source));
    for side in &sides[1..] {
        assert!(
            !side.errors.is_empty() && side.errors.iter().all(named),
            "{:?}",
            side.errors
        );
    }
    let heard = |by| {
        let refused = SyncEvent::RefusedBy {
            member: member(by),
            reason,
        };
        sides[0].events.contains(&refused)
    };
    assert!(heard(2) && heard(3));
    let before = sides[0].deltas;
    run(link, sides, 59 * MINUTE);
    let sent = sides[0].deltas - before;
    assert!(
        sent <= 2 * 10,
        "{sent} in an hour, to two who do not take them"
    );
}

#[test]
fn a_stamp_from_the_far_future_is_refused_by_name_until_clocks_have_caught_up() {
    let (mut link, mut sides) = (Link::new(0), sides(Tolerance::USUAL));
    link.step = Duration::from_millis(200);
    let (mut hers, mut clock) = (writer(0xA), Hlc::new(u64::MAX));
    let ahead = link.wall_ms() + 70 * 60_000;
    price(&mut sides[0], &mut hers, &mut clock, ahead);
    check_refused(
        &mut link,
        &mut sides,
        Refusal::FarFuture,
        |source| matches!(source, ApplyError::FarFuture(far) if far.replica == ReplicaId::new(0xA).unwrap()),
    );
    // When it is no longer far it is taken.
    run(&mut link, &mut sides, 150 * MINUTE);
    assert!(sides.windows(2).all(|pair| pair[0].state == pair[1].state));
    assert_eq!(sides[2].state.value().price.value(), Some(&5));
}

#[test]
fn a_total_that_jumps_is_refused_by_name_and_an_honest_one_is_not() {
    let tolerance = Tolerance {
        advance_max: 1_000,
        ..Tolerance::USUAL
    };
    let (mut link, mut sides) = (Link::new(0), sides(tolerance));
    link.step = Duration::from_millis(200);
    let (mut hers, mut honest) = (writer(0xA), writer(0xD));
    for _ in 0..3 {
        sell(&mut sides[1], &mut honest, 900);
        run(&mut link, &mut sides, MINUTE);
    }
    assert!(
        sides
            .iter()
            .all(|side| side.state.value().sold.value() == 2_700)
    );
    sell(&mut sides[0], &mut hers, 1_001);
    check_refused(
        &mut link,
        &mut sides,
        Refusal::Jump,
        |source| matches!(source, ApplyError::Jump(CounterJump { replica, advance_max: 1_000, .. }) if *replica == ReplicaId::new(0xA).unwrap()),
    );
}

/// Two writers under one id, which cannot be undone: it is said by name, on both sides, and not over and over. Both write
/// before either hears of the other's event; later there would be nothing to compare.
#[test]
fn two_values_for_one_dot_are_refused_by_name() {
    let (mut link, mut sides) = (Link::new(0), sides(Tolerance::USUAL));
    let mut honest = writer(0xD);
    run(&mut link, &mut sides[..2], MINUTE);
    tag(&mut sides[0], &mut honest, 1);
    tag(&mut sides[1], &mut writer(0xD), 2);
    tag(&mut sides[1], &mut writer(0xE), 3);
    tag(&mut sides[0], &mut honest, 4);
    run(&mut link, &mut sides[..2], 10 * MINUTE);
    let conflict = |error: &SyncError| matches!(error, SyncError::Refused { source: ApplyError::Conflict { replica, counter: 1 }, .. } if *replica == ReplicaId::new(0xD).unwrap());
    let all: Vec<_> = sides.iter().flat_map(|side| &side.errors).collect();
    assert!(!all.is_empty() && all.iter().all(|error| conflict(error)));
    let heard = |event: &SyncEvent| {
        matches!(
            event,
            SyncEvent::RefusedBy {
                reason: Refusal::Conflict,
                ..
            }
        )
    };
    assert!(sides.iter().flat_map(|side| &side.events).any(heard));
    let sent: u64 = sides.iter().map(|side| side.deltas).sum();
    assert!(sent <= 20, "{sent} in ten minutes");
}

/// One writes with stamps at the very edge of what is tolerated: the second member takes them in, the third only half a
/// second later. That keeps from the third neither what the second wrote before nor, for long, what it wrote after.
#[test]
fn a_clock_at_the_edge_keeps_no_writes_of_others_for_long() {
    let (mut link, mut sides) = (Link::new(0), sides(Tolerance::USUAL));
    link.step = Duration::from_millis(100);
    sides[1].tolerance.drift_ms_max += 1_000;
    let (mut hers, mut his, mut clock) = (writer(0xA), writer(0xB), Hlc::new(u64::MAX));
    let mut longest = 0;
    for number in 1..=300 {
        let edge = link.wall_ms() + Tolerance::USUAL.drift_ms_max + 500;
        price(&mut sides[0], &mut hers, &mut clock, edge);
        tag(&mut sides[1], &mut his, number);
        run(&mut link, &mut sides, Duration::from_secs(1));
        longest = longest.max(number - sides[2].state.value().tags.len() as u64);
    }
    assert!(!sides[2].errors.is_empty(), "it was refused");
    assert!(longest <= 15, "{longest} s behind");
}

/// What comes before what is refused is taken, whatever follows.
#[test]
fn what_comes_before_a_refused_event_is_taken() {
    let (mut link, mut sides) = (Link::new(0), sides(Tolerance::USUAL));
    let (mut hers, mut clock) = (writer(0xA), Hlc::new(u64::MAX));
    for number in 0..100 {
        tag(&mut sides[0], &mut hers, number);
    }
    let ahead = link.wall_ms() + 70 * 60_000;
    price(&mut sides[0], &mut hers, &mut clock, ahead);
    for number in 100..200 {
        tag(&mut sides[0], &mut hers, number);
    }
    run(&mut link, &mut sides, Duration::from_secs(5));
    for side in &sides[1..] {
        assert_eq!(side.state.value().tags.len(), 100);
    }
    // Told when it is alone, and each time that it is tried again.
    assert!(
        (2..=16).contains(&sides[0].events.len()),
        "{:?}",
        sides[0].events
    );
    link.step = Duration::from_millis(200);
    run(&mut link, &mut sides, 150 * MINUTE);
    assert!(sides.windows(2).all(|pair| pair[0].state == pair[1].state));
    assert_eq!(sides[2].state.value().tags.len(), 200);
}
