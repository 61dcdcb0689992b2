//! Turns that are told when they are durable, with and without a thread for commits.

use bytes::Bytes;
use peaberry_core::{Input, Next, Node, Protocol};

use crate::stage::{Diary, channel, of, peer, puppet, run, stage, words};

/// Writes, asks for the commit on command, and tells of it.
fn asker(diary: &Diary) -> impl Protocol<Command = u32, Event = String> {
    let diary = diary.clone();
    puppet(move |_, input, fx| {
        match input {
            Input::Command(number) => {
                fx.batch().put(number.to_string().as_bytes(), b"");
                let turn = fx.notify_committed();
                assert_eq!(fx.notify_committed(), turn, "asking twice is asking once");
                diary.write(format!("asked {}", turn.get()));
            }
            Input::Committed(turn) => diary.write(format!("committed {}", turn.get())),
            _ => {}
        }
        Ok(())
    })
}

#[test]
fn committed_comes_once_for_each_turn_that_asked_in_order() {
    let (mut node, stage) = stage();
    let handle = node.add(channel(0), asker(&stage.diary), |_| {}).unwrap();
    for number in 0..3 {
        handle.submit(number).unwrap();
        run(&mut node);
    }
    let lines = stage.diary.take();
    let asked: Vec<_> = of(&lines, "asked ");
    assert_eq!(asked.len(), 3);
    assert_eq!(asked, of(&lines, "committed "));
}

/// Waits, without sleeping, until `done` or the thread's work makes no difference any more.
fn turn_until(node: &mut Node, mut done: impl FnMut() -> bool) {
    for _ in 0..10_000_000_u64 {
        node.turn();
        if done() {
            return;
        }
        std::thread::yield_now();
    }
    panic!("the commit thread does not finish");
}

#[test]
fn with_a_commit_thread_several_turns_are_outstanding_and_each_is_told_of_in_order() {
    let (node, stage) = stage();
    *stage.store.layer().gate.lock() = Some(0);
    let mut node = node.with_commit_thread().unwrap();
    let handle = node.add(channel(0), asker(&stage.diary), |_| {}).unwrap();
    handle.submit(0).unwrap();
    // The first stands before the gate by itself; the other two will share a sync behind it.
    stage.store.layer().wait_for_a_commit(&mut node, |node| {
        run(node);
    });
    for number in 1..3 {
        handle.submit(number).unwrap();
        run(&mut node);
    }
    let lines = stage.diary.take();
    assert_eq!(of(&lines, "asked ").len(), 3, "three turns went on");
    assert!(of(&lines, "committed ").is_empty(), "none is durable");
    stage.store.layer().open_gate_for(1);
    let diary = stage.diary.clone();
    let committed = move || {
        let lines = diary.0.lock();
        of(&lines, "committed ").len()
    };
    turn_until(&mut node, || committed() == 1);
    stage.store.layer().open_gate_for(2);
    turn_until(&mut node, || committed() == 3);
    let after = stage.diary.take();
    assert_eq!(of(&lines, "asked "), of(&after, "committed "));
}

#[test]
fn with_a_commit_thread_nothing_that_waits_leaves_before_its_own_commit() {
    let (node, stage) = stage();
    *stage.store.layer().gate.lock() = Some(0);
    let mut node = node.with_commit_thread().unwrap();
    let protocol = puppet(|_, input, fx| {
        if let Input::Command(number) = input {
            fx.batch().put(number.to_string().as_bytes(), b"");
            fx.send_after_commit(peer(2), Bytes::from(number.to_string()));
            fx.emit_after_commit(number.to_string());
        }
        Ok(())
    });
    let handle = node.add(channel(0), protocol, stage.diary.sink()).unwrap();
    for number in 1..=2 {
        handle.submit(number).unwrap();
        run(&mut node);
    }
    assert!(stage.diary.take().is_empty());
    stage.store.layer().open_gate_for(2);
    let diary = stage.diary.clone();
    turn_until(&mut node, || diary.0.lock().contains(&"emit 2".to_owned()));
    let lines = stage.diary.take();
    for number in ["1", "2"] {
        let place = |what: &str| {
            let found = lines.iter().position(|line| line.starts_with(what));
            found.unwrap_or_else(|| panic!("{what} in {lines:?}"))
        };
        let commit = lines
            .iter()
            .position(|line| line.starts_with("commit") && line.ends_with(number))
            .unwrap();
        assert!(commit < place(&format!("send {number}")), "{lines:?}");
        assert!(place(&format!("send {number}")) < place(&format!("emit {number}")));
    }
}

#[test]
fn a_commit_thread_that_fails_stops_the_node() {
    let (node, stage) = stage();
    *stage.store.layer().is_failing.lock() = true;
    let mut node = node.with_commit_thread().unwrap();
    let protocol = puppet(|_, _, fx| {
        fx.send_after_commit(peer(2), words("durable"));
        Ok(())
    });
    let handle = node.add(channel(0), protocol, stage.diary.sink()).unwrap();
    handle.submit(1).unwrap();
    let mut outcome = Next::Again;
    for _ in 0..10_000_000_u64 {
        outcome = node.turn();
        if outcome == Next::Stopped {
            break;
        }
        std::thread::yield_now();
    }
    assert_eq!(outcome, Next::Stopped);
    assert_eq!(stage.diary.take(), ["commit fails"]);
}
