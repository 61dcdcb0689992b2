//! Where inputs come from: deadlines, refused messages, queues of commands.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use parking_lot::Mutex;
use peaberry_core::{AddError, Busy, Effects, Input, Instant, Next, Node};

use crate::stage::{Puppet, channel, of, peer, puppet, run, stage, stage_with, words};

#[test]
fn a_refused_message_comes_back_as_unreachable_once() {
    for after_commit in [false, true] {
        let (mut node, stage) = stage_with(Some(peer(3)));
        let diary = stage.diary.clone();
        let protocol = puppet(move |_, input, fx| {
            match input {
                Input::Command(_) => {
                    for to in [2, 3, 3] {
                        if after_commit {
                            fx.send_after_commit(peer(to), words("hello"));
                        } else {
                            fx.send(peer(to), words("hello"));
                        }
                    }
                }
                Input::Unreachable(peer) => diary.write(format!("unreachable {peer}")),
                _ => {}
            }
            Ok(())
        });
        let handle = node.add(channel(0), protocol, |_| {}).unwrap();
        handle.submit(1).unwrap();
        run(&mut node);
        let lines = stage.diary.take();
        assert_eq!(of(&lines, "send "), ["hello"]);
        assert_eq!(of(&lines, "unreachable "), ["peer-3"]);
    }
}

#[test]
fn a_deadline_fires_once_and_again_when_it_is_set_again() {
    let (mut node, stage) = stage();
    let deadline = Arc::new(Mutex::new(None));
    let fired = Arc::new(Mutex::new(Vec::new()));
    let protocol = Puppet {
        step: {
            let (deadline, fired) = (deadline.clone(), fired.clone());
            move |now, input, _: &mut Effects<'_, String>| {
                match input {
                    Input::Timeout => {
                        fired.lock().push(now);
                        *deadline.lock() = None;
                    }
                    Input::Command(millis) => {
                        let set = Instant::from_nanos(u64::from(millis) * 1_000_000);
                        *deadline.lock() = Some(set);
                    }
                    _ => {}
                }
                Ok(())
            }
        },
        deadline: move || *deadline.lock(),
        settled: None,
        inputs: 0,
    };
    let handle = node.add(channel(0), protocol, |_| {}).unwrap();
    let at = |millis: u64| Instant::from_nanos(millis * 1_000_000);
    handle.submit(10).unwrap();
    assert_eq!(run(&mut node), Next::Sleep(Some(at(10))));
    handle.submit(20).unwrap();
    assert_eq!(run(&mut node), Next::Sleep(Some(at(20))), "moved");
    stage.clock.advance(Duration::from_millis(19));
    assert_eq!(run(&mut node), Next::Sleep(Some(at(20))), "not yet");
    stage.clock.advance(Duration::from_millis(1));
    assert_eq!(run(&mut node), Next::Sleep(None));
    run(&mut node);
    assert_eq!(*fired.lock(), [at(20)], "once");
    handle.submit(20).unwrap();
    run(&mut node);
    run(&mut node);
    assert_eq!(*fired.lock(), [at(20), at(20)], "the past is due at once");
}

#[test]
fn a_deadline_that_stays_in_the_past_fires_in_every_turn_and_no_more() {
    let (mut node, _) = stage();
    let (fired, count) = mpsc::channel();
    let protocol = Puppet {
        step: move |_, input, _: &mut Effects<'_, String>| {
            if matches!(input, Input::Timeout) {
                fired.send(()).unwrap();
            }
            Ok(())
        },
        deadline: || Some(Instant::default()),
        settled: None,
        inputs: 0,
    };
    node.add(channel(0), protocol, |_| {}).unwrap();
    for _ in 0..3 {
        assert_eq!(node.turn(), Next::Sleep(Some(Instant::default())));
    }
    assert_eq!(count.try_iter().count(), 2, "the first turn only settles");
}

#[test]
fn a_full_queue_gives_the_command_back_and_a_turn_makes_room() {
    let (mut node, _) = stage();
    let handle = node
        .add(channel(0), puppet(|_, _, _| Ok(())), |_| {})
        .unwrap();
    let mut taken = 0;
    let refused = loop {
        match handle.submit(taken) {
            Ok(()) => taken += 1,
            Err(busy) => break busy,
        }
    };
    assert_eq!(taken, 65_536);
    assert!(matches!(refused, Busy::Full(65_536)));
    assert_eq!(refused.into_command(), 65_536);
    run(&mut node);
    handle.submit(1).unwrap();
    drop(node);
    assert!(matches!(handle.submit(2), Err(Busy::Closed(2))));
}

#[test]
fn a_channel_is_taken_once() {
    let (mut node, _) = stage();
    let add = |node: &mut Node| node.add(channel(7), puppet(|_, _, _| Ok(())), |_| {});
    add(&mut node).unwrap();
    let again = add(&mut node).unwrap_err();
    assert_eq!(
        again,
        AddError::ChannelTaken {
            channel: channel(7)
        }
    );
}

/// A crowd of commands must not hold up the node's other protocols, nor its peers, until the last is done.
#[test]
fn a_crowd_of_commands_is_spread_over_turns_in_order() {
    let (mut node, stage) = stage();
    let (stepped, steps) = mpsc::channel();
    let crowd = puppet(move |_, input, _| {
        if let Input::Command(number) = input {
            stepped.send(number).unwrap();
        }
        Ok(())
    });
    let crowded = node.add(channel(0), crowd, |_| {}).unwrap();
    let neighbour = puppet(|_, input, fx| {
        if let Input::Command(number) = input {
            fx.emit(number.to_string());
        }
        Ok(())
    });
    let calm = node.add(channel(1), neighbour, stage.diary.sink()).unwrap();
    for number in 0..2500 {
        crowded.submit(number).unwrap();
    }
    calm.submit(7).unwrap();
    assert_eq!(node.turn(), Next::Again);
    assert_eq!(stage.diary.take(), ["emit 7"], "the neighbour had its turn");
    assert!(steps.try_iter().eq(0..1024));
    crowded.submit(2500).unwrap();
    run(&mut node);
    assert!(steps.try_iter().eq(1024..=2500));
}
