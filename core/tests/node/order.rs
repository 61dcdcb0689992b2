//! What a turn does, and in which order.

use std::sync::mpsc;
use std::time::Duration;

use peaberry_core::{Effects, Envelope, Input, Instant, LogId, Next, ReadId};

use crate::stage::{Puppet, channel, of, peer, puppet, run, stage, stage_with, words};

#[test]
fn effects_happen_in_the_one_safe_order() {
    let (mut node, stage) = stage();
    let protocol = puppet(|_, input, fx| {
        if let Input::Command(_) = input {
            fx.emit_after_commit("durable".into());
            fx.send_after_commit(peer(2), words("durable"));
            fx.batch().put(b"key", b"value");
            fx.emit("early".into());
            fx.send(peer(2), words("early"));
        }
        Ok(())
    });
    let handle = node.add(channel(0), protocol, stage.diary.sink()).unwrap();
    handle.submit(1).unwrap();
    assert_eq!(run(&mut node), Next::Sleep(None));
    let order = [
        "send early",
        "emit early",
        "commit Synced key",
        "send durable",
        "emit durable",
    ];
    assert_eq!(stage.diary.take(), order);
}

#[test]
fn inputs_of_two_protocols_share_one_commit() {
    let (mut node, stage) = stage();
    let writer = |key: &'static str| {
        puppet(move |_, input, fx| {
            if let Input::Command(_) = input {
                fx.batch().put(key.as_bytes(), b"");
            }
            Ok(())
        })
    };
    let one = node.add(channel(1), writer("one"), |_| {}).unwrap();
    let two = node.add(channel(2), writer("two"), |_| {}).unwrap();
    one.submit(1).unwrap();
    one.submit(2).unwrap();
    two.submit(3).unwrap();
    run(&mut node);
    assert_eq!(stage.diary.take(), ["commit Buffered one,one,two"]);
}

#[test]
fn whatever_waits_forces_the_sync_of_all() {
    let (mut node, stage) = stage();
    let lazy = puppet(|_, _, fx| {
        fx.batch().put(b"lazy", b"");
        Ok(())
    });
    let strict = puppet(|_, _, fx| {
        fx.sync();
        Ok(())
    });
    let lazy = node.add(channel(1), lazy, |_| {}).unwrap();
    let strict = node.add(channel(2), strict, |_| {}).unwrap();
    lazy.submit(1).unwrap();
    run(&mut node);
    strict.submit(1).unwrap();
    run(&mut node);
    lazy.submit(1).unwrap();
    strict.submit(1).unwrap();
    run(&mut node);
    let commits = [
        "commit Buffered lazy",
        "commit Synced ",
        "commit Synced lazy",
    ];
    assert_eq!(stage.diary.take(), commits);
}

#[test]
fn a_turn_that_writes_nothing_commits_nothing() {
    let (mut node, stage) = stage();
    let handle = node
        .add(channel(1), puppet(|_, _, _| Ok(())), |_| {})
        .unwrap();
    handle.submit(1).unwrap();
    run(&mut node);
    assert!(stage.diary.take().is_empty());
}

#[test]
fn settle_is_called_once_a_turn_behind_all_inputs_and_once_at_first_without_any() {
    let (mut node, _) = stage();
    let (settled, counts) = mpsc::channel();
    let protocol = Puppet {
        step: |_, _, _: &mut Effects<'_, String>| Ok(()),
        deadline: || None,
        settled: Some(settled),
        inputs: 0,
    };
    let handle = node.add(channel(0), protocol, |_| {}).unwrap();
    run(&mut node);
    assert_eq!(counts.try_iter().collect::<Vec<_>>(), [0]);
    for number in 0..3 {
        handle.submit(number).unwrap();
    }
    run(&mut node);
    run(&mut node);
    assert_eq!(counts.try_iter().collect::<Vec<_>>(), [3]);
}

#[test]
fn inputs_come_in_their_fixed_order() {
    let (mut node, stage) = stage_with(Some(peer(9)));
    stage.clock.advance(Duration::from_secs(1));
    let diary = stage.diary.clone();
    let step = move |_, input: Input<u32>, fx: &mut Effects<'_, String>| {
        diary.write(match input {
            Input::Committed(_) => "committed",
            Input::Read(..) => "read",
            Input::Unreachable(_) => "unreachable",
            Input::Message(_) => "message",
            Input::Timeout => "timeout",
            Input::Command(1) => {
                fx.notify_committed();
                fx.read(ReadId(4), LogId::new(channel(0), 0), 0..9, 100);
                fx.send(peer(9), words("refused"));
                "first command"
            }
            Input::Command(_) => "command",
        });
        Ok(())
    };
    let protocol = Puppet {
        step,
        deadline: || Some(Instant::default()),
        settled: None,
        inputs: 0,
    };
    let handle = node.add(channel(0), protocol, |_| {}).unwrap();
    handle.submit(1).unwrap();
    node.turn();
    stage.diary.take();
    handle.submit(2).unwrap();
    let mut batch = vec![Envelope {
        from: peer(2),
        channel: channel(0),
        payload: words("hello"),
    }];
    stage
        .wire
        .mailbox
        .lock()
        .as_ref()
        .unwrap()
        .deliver(&mut batch);
    node.turn();
    let order = [
        "committed",
        "read",
        "unreachable",
        "message",
        "command",
        "timeout",
    ];
    assert_eq!(stage.diary.take(), order);
}

#[test]
fn a_read_sees_what_its_own_turn_wrote() {
    let (mut node, stage) = stage();
    let log = LogId::new(channel(0), 3);
    let diary = stage.diary.clone();
    let protocol = puppet(move |_, input, fx| {
        match input {
            Input::Command(_) => {
                fx.read(ReadId(8), log, 1..3, 1_000);
                fx.batch().append(log, 1, [b"one".as_slice(), b"two"]);
            }
            Input::Read(id, entries) => {
                diary.write(format!("read {} {:?}", id.0, entries.unwrap()));
            }
            _ => {}
        }
        Ok(())
    });
    let handle = node.add(channel(0), protocol, |_| {}).unwrap();
    handle.submit(1).unwrap();
    run(&mut node);
    let lines = stage.diary.take();
    assert_eq!(of(&lines, "read "), ["8 [b\"one\", b\"two\"]"]);
}
