//! Blocks by the clock.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use peaberry_core::Clock as _;
use peaberry_core::simulation::SimulatedClock;
use serde_json::json;

use crate::ask;
use crate::node::World;

const INTERVAL: Duration = Duration::from_secs(12);

/// One block each time the interval has passed, with what waits and at the clock's time; a sleeper makes up for nothing.
#[test]
fn blocks_come_by_interval() {
    let world = World::dev();
    let clock = SimulatedClock::new();
    let mut mining = pin!(world.chain().mine_every(Arc::new(clock.clone()), INTERVAL));
    let mut advance = |duration| {
        clock.advance(duration);
        assert!(mining.as_mut().now_or_never().is_none(), "it goes on");
        world.chain().head()
    };
    assert_eq!(advance(Duration::ZERO).number, 0);
    let paid = world
        .chain()
        .submit(world.sign(0, &world.payment(0)).raw())
        .unwrap();
    assert_eq!(advance(INTERVAL - Duration::from_secs(1)).number, 0);
    let block = advance(Duration::from_secs(1));
    assert_eq!(block.number, 1);
    assert_eq!(
        block.timestamp_s,
        clock.timestamp().as_unix_nanos() / 1_000_000_000
    );
    assert_eq!(world.chain().transactions(1), [paid]);
    assert_eq!(advance(INTERVAL).number, 2);
    assert_eq!(advance(10 * INTERVAL).number, 3);
    assert_eq!(advance(INTERVAL).number, 4);
}

/// The interval is kept while it is asked for, changed at once, and kept by one alone; without a clock it is refused.
#[test]
fn an_interval_is_kept_as_long_as_it_is_asked_for() {
    let world = World::dev();
    let set = |seconds: u64| ask(&world, "evm_setIntervalMining", &json!([seconds]));
    let refused = set(12);
    let words = refused["error"]["message"].as_str().unwrap();
    assert!(words.contains("serve it by DevServer"), "{words}");
    // Not to have one is what it has.
    assert!(set(0)["error"].is_null());

    let clock = SimulatedClock::new();
    let mut keeping = pin!(world.chain().mine_by_interval(Arc::new(clock.clone())));
    let mut advance = |duration| {
        // What was asked for meanwhile is seen first.
        assert!(keeping.as_mut().now_or_never().is_none(), "it goes on");
        clock.advance(duration);
        assert!(keeping.as_mut().now_or_never().is_none(), "it goes on");
        world.chain().head().number
    };
    assert_eq!(advance(10 * INTERVAL), 0);
    assert!(set(12)["error"].is_null());
    let paid = world
        .chain()
        .submit(world.sign(0, &world.payment(0)).raw())
        .unwrap();
    assert_eq!(advance(INTERVAL - Duration::from_secs(1)), 0);
    assert_eq!(advance(Duration::from_secs(1)), 1);
    assert_eq!(world.chain().transactions(1), [paid]);
    set(5);
    assert_eq!(advance(Duration::from_secs(5)), 2);
    set(0);
    assert_eq!(advance(10 * INTERVAL), 2);
    set(12);
    assert_eq!(advance(INTERVAL), 3);

    let mut other = pin!(world.chain().mine_by_interval(Arc::new(clock.clone())));
    assert!(keeping.now_or_never().is_some(), "another does it");
    assert!(other.as_mut().now_or_never().is_none());
    clock.advance(INTERVAL);
    assert!(other.as_mut().now_or_never().is_none());
    assert_eq!(world.chain().head().number, 4);
}
