//! Carrying requests to the chains and answers back, late, repeated or never.

use std::sync::Arc;
use std::time::Duration;

use peaberry_chain::ChainError;
use peaberry_chain::follow::{Change, FollowCommand, FollowEvent, Known, Step, Walk, step_along};
use peaberry_chain::outbox::{Found, OutboxCommand, OutboxEvent, Request};
use peaberry_core::simulation::World;

use super::application::ApplicationEvent;
use super::{Said, Shared, at_once, reached};

pub(super) fn run_for(
    world: &mut World,
    shared: &Arc<Shared>,
    rng: &mut fastrand::Rng,
    time: Duration,
) {
    let end = world.now() + time;
    world.run_with(end, |world| {
        let said = std::mem::take(&mut *shared.said.lock());
        for (life, said) in said {
            match said {
                Said::Outbox(OutboxEvent::Perform(request)) => {
                    if is_alive(shared, life) {
                        shared.callers.lock().asked(&request);
                    }
                    carry(world, shared, rng, life, Errand::Request(request));
                }
                Said::Outbox(OutboxEvent::Taken { ticket, result }) => {
                    shared.callers.lock().taken(ticket, result);
                }
                Said::Outbox(OutboxEvent::Moved(update)) => {
                    let (model, cluster) = (shared.model.lock(), shared.cluster.lock());
                    shared.callers.lock().moved(&update, &model, &cluster);
                }
                Said::Follow(FollowEvent::Walk(walk)) => {
                    carry(world, shared, rng, life, Errand::Walk(walk));
                }
                Said::Follow(FollowEvent::Change(change)) => {
                    let mut reader = shared.reader.lock();
                    reader.apply(&change);
                    if shared.nature.has_application {
                        apply(shared, life, change);
                    } else if rng.u8(..3) > 0 || !shared.faults.lock().is_storm {
                        // Not every acknowledgement arrives: the next one covers it.
                        acknowledge(shared, reader.number());
                    }
                }
                Said::Application(ApplicationEvent::Applied(applied)) => {
                    shared.reader.lock().applied(applied);
                    if rng.u8(..3) > 0 || !shared.faults.lock().is_storm {
                        acknowledge(shared, applied.number);
                    }
                }
                Said::Application(ApplicationEvent::OutOfOrder { number, applied }) => {
                    let mut reader = shared.reader.lock();
                    reader.complain(format!("change {number} was told behind {applied}"));
                }
                Said::Follow(FollowEvent::Alarm(alarm)) => shared.reader.lock().alarmed(alarm),
                // Whether a chain can be followed now changes nothing that was told of it.
                Said::Follow(FollowEvent::Stalled(_) | FollowEvent::Resumed) => {}
            }
        }
        true
    });
}

/// Whether the process of this number is the one that runs now.
fn is_alive(shared: &Shared, life: u64) -> bool {
    let now = shared.life.lock();
    now.as_ref().is_some_and(|now| now.number == life)
}

/// Gives a change to the application of the same life.
fn apply(shared: &Shared, life: u64, change: Change) {
    let now = shared.life.lock();
    let now = now.as_ref().filter(|now| now.number == life);
    if let Some(application) = now.and_then(|now| now.application.as_ref()) {
        drop(application.submit(Box::new(change)));
    }
}

fn acknowledge(shared: &Shared, number: u64) {
    if let Some(life) = &*shared.life.lock() {
        drop(life.follow.submit(FollowCommand::Acknowledge(number)));
    }
}

enum Errand {
    Request(Request),
    Walk(Walk),
}

/// Takes a request to its chain, and the answer back, in their time. What has left the process reaches the chain also
/// when the process has died since; its answer finds nobody.
fn carry(
    world: &mut World,
    shared: &Arc<Shared>,
    rng: &mut fastrand::Rng,
    life: u64,
    errand: Errand,
) {
    let is_storm = shared.faults.lock().is_storm;
    if let Errand::Walk(walk) = &errand {
        note_distance(shared, walk);
    }
    let there = Duration::from_millis(rng.u64(1..20));
    let mut back = Duration::from_millis(rng.u64(1..20));
    if is_storm && rng.u8(..16) == 0 {
        back += Duration::from_millis(rng.u64(100..600));
        shared.faults.lock().count(reached::ANSWER_LATE);
    }
    if is_storm && rng.u8(..64) == 0 {
        // A node that hangs: whoever asks gives up after a while.
        back += Duration::from_millis(rng.u64(1_000..3_000));
        shared.faults.lock().count(reached::HUNG);
    }
    let repeats = is_storm && rng.u8(..16) == 0;
    let shared = shared.clone();
    world.after(there, move |world| {
        let answer = answer(&shared, errand);
        let times = if repeats {
            shared.faults.lock().count(reached::ANSWER_REPEATED);
            2
        } else {
            1
        };
        world.after(back, move |_| {
            for _ in 0..times {
                deliver(&shared, life, &answer);
            }
        });
    });
}

/// How far the follower is from the chain, where that is rare.
fn note_distance(shared: &Shared, walk: &Walk) {
    let Known::Ring(ring) = &walk.known else {
        return;
    };
    let Some(&(number, hash)) = ring.last() else {
        return;
    };
    let model = shared.model.lock();
    let first = ring.first().map_or(0, |(first, _)| *first);
    if model.tip() - first.min(model.tip()) >= shared.nature.ring_max as u64 {
        let mut callers = shared.callers.lock();
        callers.branches.mark(reached::RING_FULL);
    }
    if shared.fork.lock().is_some()
        && model
            .sealed(number)
            .is_none_or(|sealed| sealed.block.hash != hash)
    {
        let mut callers = shared.callers.lock();
        callers.branches.mark(reached::FOLLOWED_ASTRAY);
    }
    if model.tip() > number + 64 {
        let mut callers = shared.callers.lock();
        callers.branches.mark(reached::FAR_BEHIND);
        if model
            .sealed(number)
            .is_none_or(|sealed| sealed.block.hash != hash)
        {
            callers.branches.mark(reached::FAR_ON_DEAD_FORK);
        }
    }
}

enum Answer {
    Outbox(u64, Result<Found, ChainError>),
    Follow(u64, Result<Step, ChainError>),
}

fn answer(shared: &Shared, errand: Errand) -> Answer {
    match errand {
        Errand::Request(Request { number, chain, ask }) => {
            let performer = shared.performers.get(&chain);
            let performer = performer.expect("the outbox was told of two chains");
            Answer::Outbox(number, at_once(performer.perform(ask)))
        }
        Errand::Walk(walk) => {
            Answer::Follow(walk.number, at_once(step_along(&shared.client, &walk)))
        }
    }
}

fn deliver(shared: &Shared, life: u64, answer: &Answer) {
    let now = shared.life.lock();
    let Some(now) = now.as_ref().filter(|now| now.number == life) else {
        return;
    };
    match answer {
        Answer::Outbox(number, result) => {
            let (number, result) = (*number, Box::new(result.clone()));
            drop(now.outbox.submit(OutboxCommand::Answer { number, result }));
        }
        Answer::Follow(number, result) => {
            let (number, result) = (*number, Box::new(result.clone()));
            drop(now.follow.submit(FollowCommand::Answer { number, result }));
        }
    }
}
