//! Five replicas over a link that loses half of everything, against sending whole states over the same link.
//!
//! You will learn to drive `AntiEntropy` yourself: hand it frames and a time, send what it asks for, ask when to come again.
//!
//! Tested as: `cargo run --example crdt_sync_lossy`
//!
//! You will see how many bytes a hundred changes to a set of two thousand took, and how many as whole states that are sent
//! again until they are acknowledged.

use std::time::Duration;

use peaberry_crdt::sync::{AntiEntropy, Member, Membership, SyncConfig};
use peaberry_crdt::wire::{Budget, Message as _};
use peaberry_crdt::{AddWinsSet, Causal, Lattice, Limits, ReplicaId, VersionVector, Writer};

type Orders = Causal<AddWinsSet<u32>>;

const REPLICAS: u64 = 5;
const LOSS_PERCENT: u8 = 50;
const REPEATED_PERCENT: u8 = 20;
const STEP: Duration = Duration::from_millis(50);
/// After how many steps a whole state is sent again that was not acknowledged: as often as the sync begins with.
const RETRY_STEPS: u32 = 4;

type Failure = Box<dyn std::error::Error>;

/// A link that loses half, repeats some, and delivers in any order.
struct Link {
    rng: fastrand::Rng,
    /// From whom, to whom, and what.
    waiting: Vec<(Member, Member, Vec<u8>)>,
    bytes_sent: u64,
}

impl Link {
    fn new() -> Self {
        Self {
            rng: fastrand::Rng::with_seed(7),
            waiting: Vec::new(),
            bytes_sent: 0,
        }
    }

    fn send(&mut self, from: Member, to: Member, frame: &[u8]) {
        self.bytes_sent += frame.len() as u64;
        let is_repeated = self.rng.u8(..100) < REPEATED_PERCENT;
        for _ in 0..1 + usize::from(is_repeated) {
            if self.rng.u8(..100) >= LOSS_PERCENT {
                self.waiting.push((from, to, frame.to_vec()));
            }
        }
    }

    fn deliver(&mut self) -> Option<(Member, Member, Vec<u8>)> {
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
        while let Some(sent) = shop.sync.poll_transmit(now, &shop.doc) {
            link.send(shop.member, sent.to, &sent.frame);
        }
    }
    while let Some((from, to, frame)) = link.deliver() {
        if let Some(shop) = shops.iter_mut().find(|shop| shop.member == to) {
            // A damaged frame is refused; later ones make up for it.
            let _ = shop
                .sync
                .handle(now, from, &frame, &mut shop.doc, &Limits::NONE);
        }
    }
}

/// Exchanges until all are equal; how long that took.
fn settle(now: &mut Duration, shops: &mut [Shop], link: &mut Link) -> Duration {
    let began = *now;
    while differ(shops.iter().map(|shop| &shop.doc)) {
        assert!(
            *now - began < Duration::from_secs(600),
            "the shops never agree"
        );
        exchange(*now, shops, link);
        *now += STEP;
    }
    *now - began
}

fn differ<'a>(mut docs: impl Iterator<Item = &'a Orders>) -> bool {
    let first = docs.next();
    docs.any(|doc| Some(doc) != first)
}

/// One of a hundred changes to the orders.
fn change(doc: &mut Orders, writer: &mut Writer, number: u32) -> Result<(), Failure> {
    doc.write(writer, |set, mint| {
        Ok(if number.is_multiple_of(2) {
            set.remove(&(number * 7))
        } else {
            set.add(mint, 10_000 + number)
        })
    })?;
    Ok(())
}

/// A shop that knows no deltas: it sends its whole state to whoever has not acknowledged it.
struct Shipper {
    member: Member,
    doc: Orders,
    writer: Writer,
    /// Of each other shop what it has acknowledged, and in how many steps it is sent the state again.
    others: Vec<(Member, VersionVector, u32)>,
}

impl Shipper {
    fn speak(&mut self, link: &mut Link) {
        for (to, known, wait) in &mut self.others {
            if self.doc.vector().partial_le(known) {
                continue;
            }
            if *wait == 0 {
                link.send(self.member, *to, &self.doc.to_bytes());
                *wait = RETRY_STEPS;
            }
            *wait -= 1;
        }
    }

    /// Takes in a state, and returns what acknowledges it; or an acknowledgement.
    fn hear(&mut self, from: Member, bytes: &[u8]) -> Option<Vec<u8>> {
        if let Ok(state) = Orders::from_bytes(bytes, Budget::default()) {
            self.doc.join(&state);
            return Some(self.doc.vector().to_bytes());
        }
        let vector = VersionVector::from_bytes(bytes, Budget::default()).ok()?;
        let (_, known, _) = self.others.iter_mut().find(|(other, ..)| *other == from)?;
        known.join(&vector);
        None
    }
}

/// The same changes at the same pace over the same kind of link, as whole states; how many bytes that took.
fn ship(shops: &[Shop]) -> Result<u64, Failure> {
    let others = |member| {
        let others = shops.iter().filter(move |shop| shop.member != member);
        others.map(|shop| (shop.member, shop.doc.vector().clone(), 0))
    };
    let mut shippers = Vec::new();
    for shop in shops {
        let replica = ReplicaId::new(100 + u128::from(shop.member.get())).ok_or("not zero")?;
        shippers.push(Shipper {
            member: shop.member,
            doc: shop.doc.clone(),
            writer: Writer::new(replica, 0, 10_000),
            others: others(shop.member).collect(),
        });
    }
    let mut link = Link::new();
    for step in 0_u32.. {
        let count = shippers.len();
        if step < 100 {
            let shipper = shippers.get_mut(usize::try_from(step)? % count);
            let shipper = shipper.ok_or("there are shops")?;
            change(&mut shipper.doc, &mut shipper.writer, step)?;
        } else if !differ(shippers.iter().map(|shipper| &shipper.doc)) {
            break;
        }
        shippers
            .iter_mut()
            .for_each(|shipper| shipper.speak(&mut link));
        while let Some((from, to, bytes)) = link.deliver() {
            let shipper = shippers.iter_mut().find(|shipper| shipper.member == to);
            if let Some(answer) = shipper.and_then(|shipper| shipper.hear(from, &bytes)) {
                link.send(to, from, &answer);
            }
        }
    }
    Ok(link.bytes_sent)
}

fn main() -> Result<(), Failure> {
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
            )?,
        });
    }
    let (mut link, mut now) = (Link::new(), Duration::ZERO);

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
    let whole = ship(&shops)?;

    let before = link.bytes_sent;
    for number in 0..100_u32 {
        let at = usize::try_from(number)? % shops.len();
        let shop = shops.get_mut(at).ok_or("there are shops")?;
        change(&mut shop.doc, &mut shop.writer, number)?;
        shop.sync.changed();
        exchange(now, &mut shops, &mut link);
        now += STEP;
    }
    let took = settle(&mut now, &mut shops, &mut link);
    let deltas = link.bytes_sent - before;

    println!(
        "100 changes settled {took:?} after the last one, in {deltas} bytes with all retries and digests"
    );
    println!(
        "as whole states, over the same link, they took {whole} bytes: {} times as many",
        whole / deltas
    );
    assert!(!differ(shops.iter().map(|shop| &shop.doc)));
    assert!(whole > 10 * deltas, "deltas are what is sent");
    Ok(())
}
