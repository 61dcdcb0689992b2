//! What is replicated beside the document, by the same members, on the same nodes: a text, and a stock that never falls
//! below zero.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use peaberry_core::simulation::BootError;
use peaberry_core::{Channel, Node, PeerId, Storage};
use peaberry_crdt::protocol::{
    CRDT, Mutation, Replica, ReplicaEvent, ReplicaHandle, ReplicaOptions,
};
use peaberry_crdt::sync::Membership;
use peaberry_crdt::wire::Message;
use peaberry_crdt::{
    BoundedCounter, BoundedError, Dot, Lattice as _, ReplicaId, Replicated, Text, Tolerance, Writer,
};

/// Characters a text has, about.
const TEXT_CHARS: usize = 40;
/// The most characters that are written or removed at once.
const EDIT_CHARS: usize = 5;

/// The newest event of one write, `None` where it changed nothing; or what is wrong.
type Answer = Result<Option<Dot>, String>;

/// A kind of document that members write beside the shop.
trait Written: Replicated<Delta: Send> + Message + Send + Sized + 'static {
    /// Its number: the shop's is 0.
    const DOCUMENT: u64;
    /// Dots that one write takes at most.
    const DOTS: u64;

    fn empty() -> Self;

    /// Does something, or nothing.
    fn draw(&mut self, writer: &mut Writer, rng: &mut fastrand::Rng) -> Result<(), String>;

    /// What must always hold.
    fn check(&self) -> Result<(), String>;
}

impl Written for Text {
    const DOCUMENT: u64 = 1;
    const DOTS: u64 = EDIT_CHARS as u64;

    fn empty() -> Self {
        Self::default()
    }

    fn draw(&mut self, writer: &mut Writer, rng: &mut fastrand::Rng) -> Result<(), String> {
        let chars = self.len_chars();
        let at = rng.usize(..=chars);
        let len = rng.usize(1..=EDIT_CHARS);
        let outcome = if rng.usize(..2 * TEXT_CHARS) < chars {
            self.delete(writer, at..(at + len).min(chars))
        } else {
            let word: String = (0..len).map(|_| rng.char('a'..='\u{17f}')).collect();
            self.insert(writer, at, &word)
        };
        outcome.map_err(|error| format!("a text is not written: {error}"))
    }

    fn check(&self) -> Result<(), String> {
        let shown: usize = self.chunks().map(|chunk| chunk.chars().count()).sum();
        if shown == self.len_chars() {
            return Ok(());
        }
        Err(format!(
            "a text of {} shows {shown} characters",
            self.len_chars()
        ))
    }
}

impl Written for BoundedCounter {
    const DOCUMENT: u64 = 2;
    const DOTS: u64 = 0;

    fn empty() -> Self {
        Self::bottom()
    }

    fn draw(&mut self, writer: &mut Writer, rng: &mut fastrand::Rng) -> Result<(), String> {
        let amount = rng.u64(1..9);
        let outcome = match rng.u8(..4) {
            0 => self.add(writer, amount),
            1 => {
                let known: Vec<ReplicaId> = self.vector().iter().map(|(id, _)| id).collect();
                let heir = rng.choice(known).unwrap_or_else(|| writer.replica());
                self.pass(writer, heir, amount)
            }
            _ => self.take(writer, amount),
        };
        match outcome {
            Ok(_) | Err(BoundedError::TooFewRights { .. }) => Ok(()),
            Err(error) => Err(format!("a stock is not written: {error}")),
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.value() >= 0 {
            return Ok(());
        }
        Err(format!("a stock fell to {}", self.value()))
    }
}

/// A replica of any kind.
trait Side: Send {
    fn write(&self, rng: fastrand::Rng) -> Mutation<Answer>;
    fn check(&self) -> Result<(), String>;
    fn digest(&self) -> [u8; 16];
    fn canonical_bytes(&self) -> Vec<u8>;
    fn covers(&self, dot: Dot) -> bool;
    fn membership(&self) -> Membership;
    fn reconfigure(&self, membership: Membership);
    fn tolerate(&self, tolerance: Tolerance);
    fn close(&self);
}

impl<D: Written> Side for ReplicaHandle<D> {
    fn write(&self, mut rng: fastrand::Rng) -> Mutation<Answer> {
        self.mutate_reserving(D::DOTS, move |doc: &mut D, writer| {
            let id = writer.replica();
            let before = doc.vector().get(id);
            doc.draw(writer, &mut rng)?;
            let after = doc.vector().get(id);
            Ok(Dot::new(id, after).filter(|_| after > before))
        })
    }

    fn check(&self) -> Result<(), String> {
        self.read(Written::check)
    }

    fn digest(&self) -> [u8; 16] {
        self.read(|doc| doc.vector().digest())
    }

    fn canonical_bytes(&self) -> Vec<u8> {
        self.read(Replicated::canonical_bytes)
    }

    fn covers(&self, dot: Dot) -> bool {
        self.read(|doc| doc.vector().covers(dot))
    }

    fn membership(&self) -> Membership {
        Self::membership(self)
    }

    fn reconfigure(&self, membership: Membership) {
        // A machine that is down reads it when it boots.
        let _ = Self::reconfigure(self, membership);
    }

    fn tolerate(&self, tolerance: Tolerance) {
        let _ = Self::tolerate(self, tolerance);
    }

    fn close(&self) {
        drop(Self::close(self));
    }
}

/// What a member has beside its document, in one life.
pub(super) struct Sides(Vec<Box<dyn Side>>);

impl Sides {
    /// Channels whose stores these are.
    pub(super) const CHANNELS: [Channel; 2] = [
        Channel::new(CRDT, Text::DOCUMENT),
        Channel::new(CRDT, BoundedCounter::DOCUMENT),
    ];

    /// Opens them, with the options of the document's.
    pub(super) fn open(
        storage: &dyn Storage,
        options: &ReplicaOptions,
        node: &mut Node,
        tell: impl FnMut(ReplicaEvent) + Clone + Send + 'static,
    ) -> Result<Self, BootError> {
        Ok(Self(vec![
            open::<Text>(storage, options.clone(), node, tell.clone())?,
            open::<BoundedCounter>(storage, options.clone(), node, tell)?,
        ]))
    }

    pub(super) fn reconfigure(&self, membership: &Membership) {
        let sides = self.0.iter();
        sides.for_each(|side| side.reconfigure(membership.clone()));
    }

    pub(super) fn tolerate(&self, tolerance: Tolerance) {
        self.0.iter().for_each(|side| side.tolerate(tolerance));
    }

    pub(super) fn close(&self) {
        self.0.iter().for_each(|side| side.close());
    }

    pub(super) fn check(&self) -> Result<(), String> {
        self.0.iter().try_for_each(|side| side.check())
    }

    /// Whether `other` knows the same events.
    pub(super) fn are_level_with(&self, other: &Self) -> bool {
        let mut both = self.0.iter().zip(&other.0);
        both.all(|(one, other)| one.digest() == other.digest())
    }

    pub(super) fn are_equal_to(&self, other: &Self) -> bool {
        let mut both = self.0.iter().zip(&other.0);
        both.all(|(one, other)| one.canonical_bytes() == other.canonical_bytes())
    }

    pub(super) fn have_heard_of(&self, membership: &Membership) -> bool {
        self.0.iter().all(|side| side.membership() == *membership)
    }
}

fn open<D: Written>(
    storage: &dyn Storage,
    mut options: ReplicaOptions,
    node: &mut Node,
    tell: impl FnMut(ReplicaEvent) + Send + 'static,
) -> Result<Box<dyn Side>, BootError> {
    options.sync.document = D::DOCUMENT;
    // No two replicas share an id, of whatever document.
    options.sync.seed = options.sync.seed.rotate_left(D::DOCUMENT as u32);
    let replica = Replica::open(storage, options, D::empty())?;
    Ok(Box::new(replica.add_to(node, tell)?))
}

/// What members were asked to write beside the document, and what was answered.
#[derive(Default)]
pub(super) struct Writes {
    pending: Vec<(PeerId, usize, Mutation<Answer>)>,
    answered: Vec<(PeerId, usize, Dot)>,
}

impl Writes {
    /// Has `at` write one of its `sides`.
    pub(super) fn ask(&mut self, at: PeerId, sides: &Sides, rng: &mut fastrand::Rng) {
        let number = rng.usize(..sides.0.len());
        if let Some(side) = sides.0.get(number) {
            self.pending.push((at, number, side.write(rng.fork())));
        }
    }

    /// Hears answers, and what went wrong.
    pub(super) fn hear(&mut self, mut complain: impl FnMut(String)) -> u64 {
        let mut cx = Context::from_waker(Waker::noop());
        let (answered, mut operations) = (&mut self.answered, 0);
        self.pending.retain_mut(|(at, number, mutation)| {
            match Pin::new(mutation).poll(&mut cx) {
                Poll::Pending => return true,
                Poll::Ready(Ok(Ok(dot))) => {
                    operations += 1;
                    answered.extend(dot.map(|dot| (*at, *number, dot)));
                }
                Poll::Ready(Ok(Err(error))) => complain(error),
                // Of what its machine had not done when it fell nothing is known.
                Poll::Ready(Err(_)) => {}
            }
            false
        });
        operations
    }

    /// Nothing that `at` has answered holds any more.
    pub(super) fn forget(&mut self, at: PeerId) {
        self.pending.retain(|(writer, ..)| *writer != at);
        self.answered.retain(|(writer, ..)| *writer != at);
    }

    /// What was answered for and is lost at one who has these `sides`.
    pub(super) fn lost_at<'a>(
        &'a self,
        sides: &'a Sides,
    ) -> impl Iterator<Item = (PeerId, Dot)> + 'a {
        let lost = self
            .answered
            .iter()
            .filter(|(_, number, dot)| sides.0.get(*number).is_some_and(|side| !side.covers(*dot)));
        lost.map(|(writer, _, dot)| (*writer, *dot))
    }
}
