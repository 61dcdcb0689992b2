//! Blocks by the clock.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use peaberry_core::Clock as _;
use peaberry_core::simulation::SimulatedClock;

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
