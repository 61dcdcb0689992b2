use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use super::{Dice, Subject, check};
use crate::sync::{AntiEntropy, Member, Membership, SyncConfig, SyncError};
use crate::{Limits, ReplicaId, Writer};

const MEMBERS: u64 = 3;
const STEPS_MAX: usize = 300;
/// A step takes so long.
const STEP: Duration = Duration::from_millis(20);
/// Steps of peace in which all must come to agree, and how many of them are tried.
const PEACE_STEPS: usize = 3_000;

/// Lets replicas talk on a network that loses, repeats, reorders and damages frames, while they write, crash and come
/// back as they were or from an older backup; then heals it.
///
/// # Panics
///
/// When they do not come to agree, or a frame is refused that should not be; with the seed and the fewest steps.
pub fn check_convergence<R: Subject>(
    seeds: Range<u64>,
    initial: impl Fn() -> R,
    mut edit: impl FnMut(&mut R, &mut Writer, &mut Dice),
) {
    check(seeds, STEPS_MAX, |seed, steps| {
        let mut world = World::new(seed, &initial);
        for _ in 0..steps {
            world.act(&mut edit);
            world.pass(true)?;
        }
        for _ in 0..PEACE_STEPS {
            world.pass(false)?;
            if world.agrees() {
                return Ok(());
            }
        }
        Err(format!(
            "replicas still differ after {PEACE_STEPS} steps without faults"
        ))
    });
}

struct Replica<R: Subject> {
    member: Member,
    state: R,
    backup: R,
    writer: Writer,
    sync: AntiEntropy<R>,
}

struct World<R: Subject> {
    dice: Dice,
    now: Duration,
    replicas: Vec<Replica<R>>,
    /// By the step in which they arrive, then by when they were sent.
    frames: BTreeMap<(Duration, u64), (Member, Member, Vec<u8>)>,
    sent: u64,
    ids: u128,
}

impl<R: Subject> World<R> {
    fn new(seed: u64, initial: impl Fn() -> R) -> Self {
        let mut world = Self {
            dice: Dice::new(seed),
            now: Duration::ZERO,
            replicas: Vec::new(),
            frames: BTreeMap::new(),
            sent: 0,
            ids: 0,
        };
        for member in (1..=MEMBERS).filter_map(Member::new) {
            let (state, backup) = (initial(), initial());
            let sync = world.new_life(member);
            let writer = world.new_writer();
            world.replicas.push(Replica {
                member,
                state,
                backup,
                writer,
                sync,
            });
        }
        world
    }

    fn new_life(&mut self, member: Member) -> AntiEntropy<R> {
        let membership = Membership::new((1..=MEMBERS).filter_map(Member::new));
        let mut config = SyncConfig::new(member, 1, membership, self.dice.bits());
        config.part_bytes = 64;
        AntiEntropy::new(config, self.now)
            .unwrap_or_else(|_| unreachable!("the usual pace, and few members"))
    }

    fn new_writer(&mut self) -> Writer {
        self.ids += 1;
        let id = ReplicaId::new(self.ids).unwrap_or_else(|| unreachable!("ids count from 1"));
        Writer::new(id, 0, u64::MAX)
    }

    fn act(&mut self, edit: &mut impl FnMut(&mut R, &mut Writer, &mut Dice)) {
        let (at, what) = (self.dice.index(self.replicas.len()), self.dice.below(60));
        let writer = self.new_writer();
        let Some(replica) = self.replicas.get_mut(at) else {
            return;
        };
        match what {
            0..20 => {
                edit(&mut replica.state, &mut replica.writer, &mut self.dice);
                replica.sync.changed();
            }
            20..22 => {
                // Forgets only what all have acknowledged.
                let stable = replica.sync.stable(&replica.state);
                replica.state.collect(&stable);
            }
            22 => replica.backup = replica.state.clone(),
            23 | 24 => {
                if what == 24 {
                    replica.state = replica.backup.clone();
                }
                replica.writer = writer;
                let member = replica.member;
                let sync = self.new_life(member);
                if let Some(replica) = self.replicas.get_mut(at) {
                    replica.sync = sync;
                }
            }
            _ => {}
        }
    }

    /// Lets a step's time pass: frames are sent and arrive.
    fn pass(&mut self, is_bad: bool) -> Result<(), String> {
        self.now += STEP;
        for replica in &mut self.replicas {
            while let Some(transmit) = replica.sync.poll_transmit(self.now, &replica.state) {
                let copies = if is_bad { self.dice.below(3) } else { 1 };
                for _ in 0..copies {
                    let mut frame = transmit.frame.clone();
                    if is_bad && self.dice.one_in(20) {
                        let at = self.dice.index(frame.len());
                        if let Some(byte) = frame.get_mut(at) {
                            *byte ^= 1 << self.dice.below(8);
                        }
                    }
                    self.sent += 1;
                    let delay =
                        Duration::from_millis(self.dice.below(if is_bad { 500 } else { 20 }));
                    let to = (replica.member, transmit.to, frame);
                    self.frames.insert((self.now + delay, self.sent), to);
                }
            }
        }
        while let Some(first) = self.frames.first_entry()
            && first.key().0 <= self.now
        {
            let (from, to, frame) = first.remove();
            self.arrive(from, to, &frame)?;
        }
        Ok(())
    }

    fn arrive(&mut self, from: Member, to: Member, frame: &[u8]) -> Result<(), String> {
        let Some(replica) = self
            .replicas
            .iter_mut()
            .find(|replica| replica.member == to)
        else {
            return Ok(());
        };
        let now = self.now;
        match replica
            .sync
            .handle(now, from, frame, &mut replica.state, &Limits::NONE)
        {
            // Damaged, or of an earlier life.
            Ok(_) | Err(SyncError::Unreadable { .. }) => Ok(()),
            Err(error) => Err(format!("a frame was refused: {error:?}")),
        }
    }

    fn agrees(&self) -> bool {
        let mut states = self.replicas.iter().map(|replica| &replica.state);
        let Some(first) = states.next() else {
            return true;
        };
        states.all(|state| state == first && state.canonical_bytes() == first.canonical_bytes())
    }
}
