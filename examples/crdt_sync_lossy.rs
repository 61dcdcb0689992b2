//! Five replicas over a link that loses half of everything, against sending whole states over the same link.
//!
//! You will learn to drive `AntiEntropy` yourself: hand it frames and a time, send what it asks for, ask when to come again.
//!
//! Tested as: `cargo run --example crdt_sync_lossy`
//!
//! You will see how many bytes a hundred changes to a set of two thousand took, and what whole states would have.

use std::time::Duration;

use peaberry_crdt::sync::{AntiEntropy, Member, Membership, SyncConfig, Transmit};
use peaberry_crdt::wire::Message as _;
use peaberry_crdt::{AddWinsSet, Causal, Lattice, Limits, ReplicaId, Writer};

type Orders = Causal<AddWinsSet<u32>>;

const REPLICAS: u64 = 5;
const LOSS_PERCENT: u8 = 50;
const REPEATED_PERCENT: u8 = 20;
const STEP: Duration = Duration::from_millis(50);

/// A link that loses half, repeats some, and delivers in any order.
struct Link {
    rng: fastrand::Rng,
    waiting: Vec<(Member, Transmit)>,
    bytes_sent: u64,
}

impl Link {
    fn send(&mut self, from: Member, frame: Transmit) {
        self.bytes_sent += frame.frame.len() as u64;
        let copies = if self.rng.u8(..100) < REPEATED_PERCENT {
            2
        } else {
            1
        };
        for _ in 0..copies {
            if self.rng.u8(..100) >= LOSS_PERCENT {
                self.waiting.push((from, frame.clone()));
            }
        }
    }

    fn deliver(&mut self) -> Option<(Member, Transmit)> {
        if self.waiting.is_empty() {
            return None;
        }
        let at = self.rng.usize(..self.waiting.len());
        Some(self.waiting.swap_remove(at))
    }
}

struct Shop {
    member: Member,
    doc: Orders,
    writer: Writer,
    sync: AntiEntropy<Orders>,
}

/// Everybody speaks, then whatever the link lets through is heard.
fn exchange(now: Duration, shops: &mut [Shop], link: &mut Link) {
    for shop in shops.iter_mut() {
        while let Some(frame) = shop.sync.poll_transmit(now, &shop.doc) {
            link.send(shop.member, frame);
        }
    }
    while let Some((from, frame)) = link.deliver() {
        if let Some(shop) = shops.iter_mut().find(|shop| shop.member == frame.to) {
            // A damaged frame is refused; later ones make up for it.
            let _ = shop
                .sync
                .handle(now, from, &frame.frame, &mut shop.doc, &Limits::NONE);
        }
    }
}

/// Exchanges until all are equal; how long that took.
fn settle(now: &mut Duration, shops: &mut [Shop], link: &mut Link) -> Duration {
    let began = *now;
    while shops
        .windows(2)
        .any(|pair| matches!(pair, [one, other] if one.doc != other.doc))
    {
        assert!(
            *now - began < Duration::from_secs(600),
            "the shops never agree"
        );
        exchange(*now, shops, link);
        *now += STEP;
    }
    *now - began
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let members: Vec<_> = (1..=REPLICAS).filter_map(Member::new).collect();
    let membership = Membership::new(members.clone());
    let mut shops = Vec::new();
    for member in members {
        let replica = ReplicaId::new(u128::from(member.get())).ok_or("not zero")?;
        shops.push(Shop {
            member,
            doc: Orders::bottom(),
            writer: Writer::new(replica, 0, 10_000),
            sync: AntiEntropy::new(
                SyncConfig::new(member, 0, membership.clone(), member.get()),
                Duration::ZERO,
            ),
        });
    }
    let mut link = Link {
        rng: fastrand::Rng::with_seed(7),
        waiting: Vec::new(),
        bytes_sent: 0,
    };
    let mut now = Duration::ZERO;

    let first = shops.first_mut().ok_or("there are shops")?;
    for order in 0..2000 {
        first
            .doc
            .write(&mut first.writer, |set, mint| Ok(set.add(mint, order)))?;
    }
    first.sync.changed();
    let caught_up = settle(&mut now, &mut shops, &mut link);
    println!(
        "2000 orders reached all in {caught_up:?} of a link that loses {LOSS_PERCENT} %, in {} bytes",
        link.bytes_sent
    );

    let before = link.bytes_sent;
    for change in 0..100_u32 {
        let at = usize::try_from(change)? % shops.len();
        let shop = shops.get_mut(at).ok_or("there are shops")?;
        shop.doc.write(&mut shop.writer, |set, mint| {
            Ok(if change % 2 == 0 {
                set.remove(&(change * 7))
            } else {
                set.add(mint, 10_000 + change)
            })
        })?;
        shop.sync.changed();
        exchange(now, &mut shops, &mut link);
        now += STEP;
    }
    let took = settle(&mut now, &mut shops, &mut link);
    let deltas = link.bytes_sent - before;

    let state = shops.first().ok_or("there are shops")?.doc.to_bytes().len() as u64;
    // Each change sends the state to four others; with half of it lost, twice on average.
    let whole = 100 * (REPLICAS - 1) * state * 2;
    println!(
        "100 changes settled {took:?} after the last one, in {deltas} bytes with all retries and digests"
    );
    println!(
        "whole states of {state} bytes would have taken {whole} bytes: {} times as many",
        whole / deltas
    );
    for shop in &shops {
        assert_eq!(shop.doc, shops.first().ok_or("there are shops")?.doc);
    }
    assert!(whole > 10 * deltas, "deltas are what is sent");
    Ok(())
}
