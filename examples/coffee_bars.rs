//! A node of your own: a protocol that nobody shipped, hosted like every other.
//!
//! Three coffee bars tell one another how much they have sold. You learn how a protocol decides without acting, how
//! "durable before it leaves" is one method call, and how a lost message comes right by a deadline instead of a thread
//! that sleeps: one bar opens late, when the others' messages to it are long gone.
//!
//! Tested as: `cargo run --example coffee_bars`
//!
//! You see each bar's news as it comes, and at the end three stores that agree.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use bytes::Bytes;
use peaberry_core::{
    Channel, Effects, Handle, Input, Instant, MemoryNetwork, MemoryStorage, Node, NodeThread,
    PeerId, Protocol, ProtocolId, Storage, Subspace, SystemClock,
};

const CHANNEL: Channel = Channel::new(ProtocolId(2000), 0);
/// A story that stands still for this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);
const RESEND_AFTER: Duration = Duration::from_millis(20);

const TOTAL: u8 = 1;
const CONFIRM: u8 = 2;

/// One bar's view. Totals only grow, so a message that comes twice, late or out of order does no harm.
struct Tally {
    sold: u64,
    /// What each other bar has told us, and up to where it has confirmed what we told it.
    others: BTreeMap<PeerId, Known>,
    resend_at: Option<Instant>,
}

#[derive(Default)]
struct Known {
    told: u64,
    confirmed: u64,
}

/// Another bar has this many of our sales in its store.
struct Confirmed {
    by: PeerId,
    total: u64,
}

impl Tally {
    fn new(others: impl IntoIterator<Item = PeerId>) -> Self {
        Self {
            sold: 0,
            others: others
                .into_iter()
                .map(|peer| (peer, Known::default()))
                .collect(),
            resend_at: None,
        }
    }

    fn is_known_everywhere(&self) -> bool {
        let mut others = self.others.values();
        others.all(|known| known.confirmed == self.sold)
    }

    fn tell(&mut self, now: Instant, fx: &mut Effects<'_, Confirmed>) {
        for (&peer, known) in &self.others {
            if known.confirmed < self.sold {
                fx.send_after_commit(peer, encode(TOTAL, self.sold));
            }
        }
        self.resend_at = Some(now + RESEND_AFTER);
    }

    fn hear(&mut self, from: PeerId, payload: &[u8], fx: &mut Effects<'_, Confirmed>) {
        // Bytes from outside: what is no message of ours, or from no bar of ours, changes nothing.
        let (Some((kind, total)), Some(known)) = (decode(payload), self.others.get_mut(&from))
        else {
            return;
        };
        if kind == TOTAL {
            known.told = known.told.max(total);
            let told = known.told.to_be_bytes();
            Subspace::of(CHANNEL).put(fx.batch(), &from.get().to_be_bytes(), &told);
            fx.send_after_commit(from, encode(CONFIRM, known.told));
        } else if (known.confirmed + 1..=self.sold).contains(&total) {
            known.confirmed = total;
            fx.emit(Confirmed { by: from, total });
        }
        if self.is_known_everywhere() {
            self.resend_at = None;
        }
    }
}

impl Protocol for Tally {
    /// One coffee sold.
    type Command = ();
    type Event = Confirmed;
    type Error = Infallible;

    fn step(
        &mut self,
        now: Instant,
        input: Input<()>,
        fx: &mut Effects<'_, Confirmed>,
    ) -> Result<(), Infallible> {
        match input {
            Input::Command(()) => {
                self.sold += 1;
                let own_key = 0_u64.to_be_bytes();
                Subspace::of(CHANNEL).put(fx.batch(), &own_key, &self.sold.to_be_bytes());
                self.tell(now, fx);
            }
            Input::Message(message) => self.hear(message.from, &message.payload, fx),
            Input::Timeout => self.tell(now, fx),
            // A message that found nobody is sent again at the deadline, as one that got lost on the way.
            Input::Unreachable(_) | Input::Committed(_) | Input::Read(..) => {}
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        self.resend_at
    }
}

fn encode(kind: u8, total: u64) -> Bytes {
    [[kind].as_slice(), &total.to_be_bytes()].concat().into()
}

fn decode(payload: &[u8]) -> Option<(u8, u64)> {
    let (&kind, total) = payload.split_first()?;
    let total = u64::from_be_bytes(total.try_into().ok()?);
    (kind == TOTAL || kind == CONFIRM).then_some((kind, total))
}

/// A running bar.
struct Bar {
    node: NodeThread,
    storage: Arc<MemoryStorage>,
    sell: Handle<()>,
    news: Receiver<Confirmed>,
}

fn open(network: &MemoryNetwork, bars: &[PeerId], own: PeerId) -> Result<Bar, Box<dyn Error>> {
    let storage = Arc::new(MemoryStorage::new());
    let mut node = Node::new(
        Arc::new(network.join(own)),
        storage.clone(),
        Arc::new(SystemClock::new()),
    );
    let (sink, news) = mpsc::channel();
    let tally = Tally::new(bars.iter().copied().filter(|&bar| bar != own));
    let sell = node.add(CHANNEL, tally, move |events| {
        for event in events.drain(..) {
            // Nobody listens to a bar whose story is told.
            let _ = sink.send(event);
        }
    })?;
    let node = node.spawn(&own.to_string())?;
    Ok(Bar {
        node,
        storage,
        sell,
        news,
    })
}

/// Waits until each of `bars` has confirmed `sold`, in whatever order they do.
fn wait_until(bar: &Bar, bars: &[PeerId], sold: u64) -> Result<(), Box<dyn Error>> {
    let mut missing: BTreeSet<PeerId> = bars.iter().copied().collect();
    while !missing.is_empty() {
        let Confirmed { by, total } = bar.news.recv_timeout(PATIENCE)?;
        println!("{by} has {total} of {sold} in its store");
        if total == sold {
            missing.remove(&by);
        }
    }
    Ok(())
}

fn total(bar: &Bar, name: &[u8]) -> Result<u64, Box<dyn Error>> {
    let value = Subspace::of(CHANNEL).get(bar.storage.as_ref() as &dyn Storage, name)?;
    Ok(value.map_or(Ok(0), |value| {
        value.as_ref().try_into().map(u64::from_be_bytes)
    })?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let bars: Vec<PeerId> = (1..=3).filter_map(PeerId::new).collect();
    let [north, harbour, late] = bars[..] else {
        unreachable!("three numbers from 1 on are three peers");
    };
    let network = MemoryNetwork::new();
    let north_bar = open(&network, &bars, north)?;
    let harbour_bar = open(&network, &bars, harbour)?;
    for _ in 0..5 {
        north_bar.sell.submit(())?;
    }
    // What the north sent to the bar that is not open went out in the same turns: it is lost by now.
    wait_until(&north_bar, &[harbour], 5)?;
    let late_bar = open(&network, &bars, late)?;
    wait_until(&north_bar, &[late], 5)?;

    for _ in 0..3 {
        harbour_bar.sell.submit(())?;
    }
    wait_until(&harbour_bar, &[north, late], 3)?;

    let from_north = north.get().to_be_bytes();
    let from_harbour = harbour.get().to_be_bytes();
    let own = 0_u64.to_be_bytes();
    assert_eq!(
        [total(&north_bar, &own)?, total(&north_bar, &from_harbour)?],
        [5, 3]
    );
    assert_eq!(
        [
            total(&harbour_bar, &from_north)?,
            total(&harbour_bar, &own)?
        ],
        [5, 3]
    );
    assert_eq!(
        [
            total(&late_bar, &from_north)?,
            total(&late_bar, &from_harbour)?
        ],
        [5, 3]
    );
    println!("three stores agree: 5 sold in the north, 3 at the harbour");
    for bar in [north_bar, harbour_bar, late_bar] {
        drop(bar.node);
    }
    Ok(())
}
