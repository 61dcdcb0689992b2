//! What is refused, by whose fault, and that nothing changes then.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use peaberry_crdt::wire::{Budget, DecodeError, IdTable, Message as _};
use peaberry_crdt::{
    AddWinsSet, ApplyError, Causal, Changed, Delta, Dot, DotFun, DotList, DotSet, Edit,
    FarFutureStamp, Hlc, Lattice, Limits, LwwRegister, Mint, MvRegister, ObservedRemoveMap,
    ReplicaId, ResettableCounter, Stamp, VersionVector, WriteError, Writer, dot_store,
};

type Set = Causal<AddWinsSet<u32>>;

fn replica(number: u128) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

fn writer(number: u128) -> Writer {
    Writer::new(replica(number), 0, 1000)
}

#[test]
fn two_values_for_one_event_are_refused_by_name() {
    let mut first: Causal<MvRegister<u8>> = Causal::bottom();
    let mut second: Causal<MvRegister<u8>> = Causal::bottom();
    first
        .write(&mut writer(9), |register, mint| Ok(register.write(mint, 1)))
        .unwrap();
    let delta = second
        .write(&mut writer(9), |register, mint| Ok(register.write(mint, 2)))
        .unwrap();
    let before = first.clone();
    assert_eq!(
        first.apply(&delta),
        Err(ApplyError::Conflict {
            replica: replica(9),
            counter: 1
        })
    );
    assert_eq!(first, before);
    // A state as a whole is looked at only if one asks for it.
    let conflict = ApplyError::Conflict {
        replica: replica(9),
        counter: 1,
    };
    assert_eq!(first.try_join(&second, &Limits::NONE), Err(conflict));
    assert_eq!(first, before);
    assert_eq!(
        first.clone().try_join(&before, &Limits::NONE),
        Ok(Changed::No)
    );
}

#[test]
fn one_event_under_two_keys_is_refused() {
    let mut first = Set::bottom();
    let mut second = Set::bottom();
    first
        .write(&mut writer(9), |set, mint| Ok(set.add(mint, 1)))
        .unwrap();
    let delta = second
        .write(&mut writer(9), |set, mint| Ok(set.add(mint, 2)))
        .unwrap();
    assert!(matches!(
        first.apply(&delta),
        Err(ApplyError::Conflict { .. })
    ));
}

/// A removal that lands before the add it removed would let a late add bring the element back.
#[test]
fn a_removal_is_refused_before_the_add_it_removed() {
    let (mut adder, mut remover, mut third) = (Set::bottom(), Set::bottom(), Set::bottom());
    let add = adder
        .write(&mut writer(1), |set, mint| Ok(set.add(mint, 5)))
        .unwrap();
    remover.apply(&add).unwrap();
    let remove = remover
        .write(&mut writer(2), |set, _| Ok(set.remove(&5)))
        .unwrap();
    let gap = ApplyError::Gap {
        replica: replica(1),
        known: 0,
        from: 1,
    };
    assert_eq!(third.apply(&remove), Err(gap));
    assert_eq!(third, Set::bottom());
    third.apply(&add).unwrap();
    third.apply(&remove).unwrap();
    assert_eq!(third.apply(&add), Ok(Changed::No));
    assert!(third.value().is_empty());
}

#[test]
fn a_writer_stops_at_its_reservation_and_continues_past_a_larger_one() {
    let mut set = Set::bottom();
    let mut writer = Writer::new(replica(1), 0, 1);
    set.write(&mut writer, |set, mint| Ok(set.add(mint, 1)))
        .unwrap();
    let before = set.clone();
    let refused = set
        .write(&mut writer, |set, mint| Ok(set.add(mint, 2)))
        .unwrap_err();
    assert_eq!(
        refused,
        WriteError::ReservationExhausted {
            replica: replica(1),
            reserved: 1
        }
    );
    assert_eq!(set, before);
    writer.reserve(2);
    set.write(&mut writer, |set, mint| Ok(set.add(mint, 2)))
        .unwrap();
    assert_eq!((set.value().len(), writer.remaining()), (2, 0));
}

/// A restored backup knows fewer events than its writer minted: going on would use dots twice.
#[test]
fn a_writer_does_not_continue_a_stale_state() {
    let mut set = Set::bottom();
    let mut writer = writer(1);
    let backup = set.clone();
    set.write(&mut writer, |set, mint| Ok(set.add(mint, 1)))
        .unwrap();
    let mut restored = backup;
    let refused = restored
        .write(&mut writer, |set, mint| Ok(set.add(mint, 2)))
        .unwrap_err();
    assert_eq!(
        refused,
        WriteError::NotContinuous {
            replica: replica(1),
            known: 0,
            minted: 1
        }
    );
}

#[test]
fn an_edit_of_another_event_or_state_is_refused() {
    let (mut here, mut there) = (Set::bottom(), Set::bottom());
    let mut kept = None;
    here.write(&mut writer(1), |set, mint| {
        kept = Some(mint);
        Ok(set.add(mint, 1))
    })
    .unwrap();
    let mut other = writer(2);
    let refused = there
        .write(&mut other, |set, _| Ok(set.add(kept.unwrap(), 1)))
        .unwrap_err();
    assert!(matches!(refused, WriteError::ForeignDot { .. }));
    let refused = there
        .write(&mut other, |_, _| Ok(here.value().clear()))
        .unwrap_err();
    assert!(matches!(refused, WriteError::ForeignDot { .. }));
    assert_eq!((there, other.remaining()), (Set::bottom(), 1000));
}

#[test]
fn a_write_that_changes_nothing_mints_nothing() {
    let mut set = Set::bottom();
    let mut writer = writer(1);
    let delta = set.write(&mut writer, |set, _| Ok(set.remove(&1))).unwrap();
    assert!(delta.is_empty() && set.vector().is_empty());
    assert_eq!(writer.remaining(), 1000);
}

#[test]
fn a_stamp_that_was_seen_cannot_be_written_again() {
    let mut register: Causal<LwwRegister<u8>> = Causal::bottom();
    let mut writer = writer(1);
    let seen = Stamp {
        wall_ms: 5,
        logical: 1,
    };
    register
        .write(&mut writer, |register, mint| register.write(mint, seen, 1))
        .unwrap();
    let refused = register
        .write(&mut writer, |register, mint| register.write(mint, seen, 2))
        .unwrap_err();
    assert_eq!(refused, WriteError::StaleStamp { given: seen, seen });
}

/// Removals reach a peer whose removal events the log has dropped, by what is alive.
#[test]
fn a_byte_budget_cuts_the_log_and_late_peers_still_lose_what_was_removed() {
    let (mut here, mut late) = (Set::bottom(), Set::bottom());
    let mut writer = writer(1);
    for element in 0..100 {
        here.write(&mut writer, |set, mint| Ok(set.add(mint, element)))
            .unwrap();
    }
    late.join(&here);
    here.limit_log(1000);
    // Not in the order of the adds: removals in order take a run of the log, whatever their number.
    for element in (0..99).map(|number| number * 37 % 99) {
        here.write(&mut writer, |set, _| Ok(set.remove(&element)))
            .unwrap();
        assert!(here.log_bytes() <= 1000);
    }
    let delta = here.delta_since(late.vector());
    assert!(delta.is_beyond_log());
    late.apply(&delta).unwrap();
    assert_eq!(late, here);
    assert!(late.value().iter().eq([&99]));
    assert!(!here.delta_since(here.vector()).is_beyond_log());
    assert!(here.delta_since(&VersionVector::new()).is_beyond_log());
}

/// Found by a random history: the second writer had seen a clear that the third has not, and its write, which removed
/// nothing itself, does not depend on it.
#[test]
fn a_write_may_come_before_a_removal_its_writer_had_seen_and_still_converges() {
    let mut states: [Causal<MvRegister<u8>>; 3] =
        [Causal::bottom(), Causal::bottom(), Causal::bottom()];
    let [first, second, third] = &mut states;
    let mut writer_of_first = writer(1);
    third
        .apply(
            &first
                .write(&mut writer_of_first, |register, mint| {
                    Ok(register.write(mint, 7))
                })
                .unwrap(),
        )
        .unwrap();
    let clear = first
        .write(&mut writer_of_first, |register, _| Ok(register.clear()))
        .unwrap();
    second.join(first);
    third
        .apply(
            &second
                .write(&mut writer(2), |register, mint| Ok(register.write(mint, 8)))
                .unwrap(),
        )
        .unwrap();
    assert!(third.value().values().eq(&[7, 8]));
    third.apply(&clear).unwrap();
    assert_eq!(third, second);
    assert!(third.value().values().eq(&[8]));
}

/// Bytes that were never written: a delta cannot claim what it does not carry, nor carry what it does not claim.
#[test]
fn a_delta_that_lies_about_what_it_carries_is_refused_by_name() {
    let table = IdTable::from_iter([replica(9)]);
    let mut set = Set::bottom();
    let delta = set
        .write(&mut writer(9), |set, mint| Ok(set.add(mint, 5)))
        .unwrap();
    let mut bytes = Vec::new();
    delta.to_session_bytes(&table, &mut bytes);
    let read = |bytes: &[u8]| {
        Delta::<AddWinsSet<u32>>::from_session_bytes(bytes, &table, Budget::default())
    };
    assert_eq!(read(&bytes).as_ref(), Ok(&delta));
    // No ids told; the flag of one replica; its index; its events before; how many, less one.
    assert_eq!(bytes[..5], [0, 1, 0, 0, 0]);
    let mut over = bytes.clone();
    over[4] = 1;
    let (replica, counter) = (replica(9), 2);
    assert_eq!(
        read(&over),
        Err(DecodeError::OverClaim { replica, counter })
    );
    // The counter of its dot, as a difference from what is expected.
    let mut unclaimed = bytes;
    *unclaimed.last_mut().unwrap() = 2;
    assert_eq!(
        read(&unclaimed),
        Err(DecodeError::Unclaimed { replica, counter })
    );
}

/// A forger writes at a place that the others know by another path. It is another place, the same for all, whatever comes
/// first; and what is made of it can be written and read.
#[test]
fn a_forged_path_is_a_place_of_its_own_whatever_comes_first() {
    type Rows = Causal<DotList<AddWinsSet<u8>>>;
    let add = |rows: &mut Rows, number, index| {
        let row = |mint| AddWinsSet::default().add(mint, 7);
        let insert = |list: &DotList<AddWinsSet<u8>>, mint| list.insert(mint, index, row(mint));
        rows.write(&mut writer(number), insert).unwrap()
    };
    let mut honest = Rows::bottom();
    let first = add(&mut honest, 1, 0);
    let second = add(&mut honest, 2, 1);
    let third = add(&mut honest, 4, 1);
    // The second row, as if it had been the first.
    let mut forged = Rows::bottom();
    add(&mut forged, 2, 0);
    let update = |list: &DotList<AddWinsSet<u8>>, mint| list.update(0, |row| Ok(row.add(mint, 8)));
    let forged = forged.write(&mut writer(3), update).unwrap();
    let [mut here, mut there] = [Rows::bottom(), Rows::bottom()];
    for delta in [&first, &second, &third, &forged] {
        here.apply(delta).unwrap();
    }
    for delta in [&first, &second, &forged, &third] {
        there.apply(delta).unwrap();
    }
    assert_eq!(here, there);
    assert_eq!(here.value().len(), 4);
    let bytes = here.canonical_bytes();
    assert_eq!(bytes, there.canonical_bytes());
    let read = Rows::from_bytes(&here.to_bytes(), Budget::default()).unwrap();
    assert_eq!((read.canonical_bytes(), &read), (bytes, &there));
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Product {
    seen: DotSet,
    at: DotFun<u64>,
}

dot_store!(Product { seen: DotSet, at: DotFun<u64> });

fn seen_and_at(mint: Mint) -> Edit<Product> {
    let (seen, at) = (DotSet::one(mint.dot()), DotFun::one(mint.dot(), 7));
    Edit::put(Product { seen, at })
}

/// To remove the piece of one field would remove that of the other.
#[test]
fn an_edit_that_puts_its_dot_under_two_fields_is_refused_at_any_depth() {
    let twice = WriteError::DotTwice {
        event: Dot::new(replica(1), 1).unwrap(),
    };
    let mut alone: Causal<Product> = Causal::bottom();
    let mut mine = writer(1);
    let written = alone.write(&mut mine, |_, mint| Ok(seen_and_at(mint)));
    assert_eq!(written, Err(twice));
    assert_eq!(alone, Causal::bottom());

    let mut nested: Causal<ObservedRemoveMap<u8, DotList<Product>>> = Causal::bottom();
    let written = nested.write(&mut mine, |map, mint| {
        map.update(1, |list| list.insert(mint, 0, seen_and_at(mint)))
    });
    assert_eq!(written, Err(twice));
    assert_eq!(nested, Causal::bottom());
    let written = nested.write(&mut mine, |map, mint| {
        let one = DotSet::one(mint.dot());
        let product = Product {
            seen: one,
            ..Product::default()
        };
        map.update(1, |list| list.insert(mint, 0, Edit::put(product)))
    });
    assert!(written.is_ok_and(|delta| !delta.is_empty()));
}

/// From a peer with a store that does not look.
#[test]
fn a_delta_and_a_state_that_hold_a_dot_twice_are_not_read() {
    let malformed = DecodeError::Malformed("a dot is held twice");
    let table = IdTable::from_iter([replica(9)]);
    // No ids told; the flag of one replica; its index, no events before, one event; of each field its size, its dot, and
    // of the second its value.
    let delta = [&[0, 1, 0, 0, 0][..], &[1, 0, 0], &[1, 0, 0, 14]].concat();
    let read = Delta::<Product>::from_session_bytes(&delta, &table, Budget::default());
    assert_eq!(read, Err(malformed));
    // No ids told; no log; a vector of one event; the same store.
    let state = [&[0, 1, 1, 0, 1][..], &[1, 0, 0], &[1, 0, 0, 14]].concat();
    let read = Causal::<Product>::from_session_bytes(&state, &table, Budget::default());
    assert_eq!(read, Err(malformed));
}

fn advancing(advance_max: u64) -> Limits {
    Limits {
        advance_max,
        ..Limits::NONE
    }
}

/// A reset that says it has seen more than there was would undo all that its victim counts from then on.
#[test]
fn a_reset_cannot_claim_to_have_seen_what_was_never_counted() {
    type Count = Causal<ResettableCounter>;
    let mut victim = writer(1);
    let mut here = Count::bottom();
    here.write(&mut victim, |count, mint| count.add(mint, 5))
        .unwrap();
    // Elsewhere its first event adds more.
    let mut private = Count::bottom();
    private
        .write(&mut writer(1), |count, mint| count.add(mint, 1_000_000))
        .unwrap();
    let forged = private
        .write(&mut writer(2), |count, mint| Ok(count.reset(mint)))
        .unwrap();
    let before = here.clone();
    let refused = here.apply_within(&forged, &advancing(100));
    let jump = |error: ApplyError| matches!(error, ApplyError::Jump(jump) if (jump.replica, jump.known) == (replica(2), 5));
    assert!(refused.is_err_and(jump));
    assert_eq!(here, before);
    // An honest one is let pass.
    let mut honest = here.clone();
    let reset = honest.write(&mut writer(3), |count, mint| Ok(count.reset(mint)));
    here.apply_within(&reset.unwrap(), &advancing(100)).unwrap();
    assert_eq!(here.value().value(), 0);
}

/// Whoever removed the key, while the replica counted on, knows nothing of its total any more.
#[test]
fn a_total_goes_on_at_who_has_removed_its_key() {
    type Stock = Causal<ObservedRemoveMap<u8, ResettableCounter>>;
    let mut mine = writer(1);
    let [mut here, mut there] = [Stock::bottom(), Stock::bottom()];
    let add = |stock: &mut Stock, writer: &mut Writer| {
        let add = |map: &ObservedRemoveMap<u8, ResettableCounter>, mint| {
            map.update(1, |count| count.add(mint, 90))
        };
        stock.write(writer, add).unwrap()
    };
    there
        .apply_within(&add(&mut here, &mut mine), &advancing(100))
        .unwrap();
    there
        .write(&mut writer(2), |map, _| Ok(map.remove(&1)))
        .unwrap();
    for _ in 0..3 {
        let more = add(&mut here, &mut mine);
        there.apply_within(&more, &advancing(100)).unwrap();
    }
    assert_eq!(
        there.value().get(&1).map(ResettableCounter::value),
        Some(360)
    );
    // Who knows nothing of it at all measures from zero.
    let all = here.delta_since(&VersionVector::new());
    let refused = Stock::bottom().apply_within(&all, &advancing(100));
    assert!(matches!(refused, Err(ApplyError::Jump(_))));
}

/// Its own stamp, written when the clock was wrong, leads a clock that was set right.
#[test]
fn a_register_whose_own_stamp_leads_is_written_by_a_clock_that_follows_it() {
    let (mut price, mut mine) = (Causal::<LwwRegister<u8>>::bottom(), writer(1));
    let mut clock = Hlc::new(1_000);
    let ahead = clock.now(9_000_000);
    price
        .write(&mut mine, |held, mint| held.write(mint, ahead, 1))
        .unwrap();
    let mut clock = Hlc::new(1_000);
    let held: Vec<_> = price.value().stamps().collect();
    for (dot, stamp) in &held {
        assert!(clock.observe(dot.replica(), *stamp, 5_000).is_err());
    }
    let stale = price.write(&mut mine, |held, mint| {
        held.write(mint, clock.now(5_000), 2)
    });
    assert!(matches!(stale, Err(WriteError::StaleStamp { .. })));
    held.iter().for_each(|(_, stamp)| clock.follow(*stamp));
    price
        .write(&mut mine, |held, mint| {
            held.write(mint, clock.now(5_000), 2)
        })
        .unwrap();
    assert_eq!(price.value().value(), Some(&2));
}

/// A writer's clock was a day ahead and is set right. Its next stamp would have to be later still: it is refused with the
/// facts, until others show that they have come as far.
#[test]
fn an_own_stamp_that_others_would_refuse_is_refused() {
    const DAY: u64 = 86_400_000;
    let [mut mine, mut theirs] = [1, 2].map(writer);
    let mut price: Causal<LwwRegister<u8>> = Causal::bottom();
    let write_at = |price: &mut Causal<LwwRegister<u8>>, writer: &mut Writer, wall_ms, logical| {
        let stamp = Stamp { wall_ms, logical };
        price
            .write(writer, |register, mint| register.write(mint, stamp, 1))
            .map(drop)
    };
    let write = |price: &mut _, writer: &mut _, wall_ms| write_at(price, writer, wall_ms, 0);
    mine.tolerate(2 * DAY, 1_000);
    write(&mut price, &mut mine, 2 * DAY).unwrap();
    mine.tolerate(DAY, 1_000);
    let (before, left) = (price.clone(), mine.remaining());
    let refused = write(&mut price, &mut mine, 2 * DAY + 1);
    let far = FarFutureStamp {
        replica: replica(1),
        stamp_ms: 2 * DAY + 1,
        wall_ms: DAY,
        drift_ms_max: 1_000,
    };
    assert_eq!(refused, Err(WriteError::FarFuture(far)));
    assert_eq!((&price, mine.remaining()), (&before, left));
    // Another id wrote over it; it may be one of our own from before a restart.
    write(&mut price, &mut theirs, 2 * DAY + 1).unwrap();
    assert!(write_at(&mut price, &mut mine, 2 * DAY + 1, 1).is_err());
    // Others have it: as late is well, and no later, however far clocks may differ.
    mine.others_know(price.vector());
    write_at(&mut price, &mut mine, 2 * DAY + 1, 1).unwrap();
    assert!(write(&mut price, &mut mine, 2 * DAY + 2).is_err());
    // While nothing late is held, the drift counts from the clock.
    let mut calm: Causal<LwwRegister<u8>> = Causal::bottom();
    let mut writer = writer(3);
    writer.tolerate(DAY, 1_000);
    write(&mut calm, &mut writer, DAY + 1_000).unwrap();
}
