//! What happens when a protocol or the store fails.

use std::sync::Arc;

use bytes::Bytes;
use peaberry_core::{Busy, Envelope, Input, LogId, Next, ReadId, Report, StorageError};

use crate::stage::{ToldToFail, channel, peer, puppet, run, stage, words};

#[test]
fn a_failed_commit_lets_out_nothing_that_waited_and_stops_the_node() {
    let (mut node, stage) = stage();
    let protocol = puppet(|_, _, fx| {
        fx.batch().put(b"key", b"");
        fx.send(peer(2), words("early"));
        fx.send_after_commit(peer(2), words("durable"));
        fx.emit_after_commit("durable".into());
        fx.notify_committed();
        fx.read(ReadId(1), LogId::new(channel(0), 0), 0..1, 100);
        Ok(())
    });
    let handle = node.add(channel(0), protocol, stage.diary.sink()).unwrap();
    handle.submit(1).unwrap();
    *stage.store.layer().is_failing.lock() = true;
    assert_eq!(run(&mut node), Next::Stopped);
    assert_eq!(stage.diary.take(), ["send early", "commit fails"]);
    assert!(matches!(node.failure(), Some(StorageError::Poisoned)));
    assert!(matches!(
        stage.reports.try_recv(),
        Ok(Report::StorageFailed { .. })
    ));
    *stage.store.layer().is_failing.lock() = false;
    assert!(matches!(handle.submit(2), Err(Busy::Closed(2))));
    assert_eq!(node.turn(), Next::Stopped);
    assert!(stage.diary.take().is_empty());
}

#[test]
fn a_failing_protocol_is_rolled_back_and_quarantined_while_its_neighbours_go_on() {
    let (mut node, stage) = stage();
    let writer = |name: &'static str, fails_on: u32| {
        puppet(move |_, input, fx| {
            fx.batch().put(name.as_bytes(), b"");
            fx.send(peer(2), words(name));
            fx.send_after_commit(peer(2), words(name));
            fx.emit(name.into());
            fx.emit_after_commit(name.into());
            match input {
                Input::Command(number) if number == fails_on => Err(ToldToFail),
                _ => Ok(()),
            }
        })
    };
    let mut handles = Vec::new();
    for (group, name, fails_on) in [(1, "a", 0), (2, "bad", 2), (3, "c", 0)] {
        let protocol = writer(name, fails_on);
        handles.push(
            node.add(channel(group), protocol, stage.diary.sink())
                .unwrap(),
        );
    }
    for handle in &handles {
        handle.submit(2).unwrap();
    }
    run(&mut node);
    let diary = stage.diary.take();
    assert!(diary.iter().all(|line| !line.contains("bad")), "{diary:?}");
    assert!(diary.contains(&"commit Synced a,c".to_owned()), "{diary:?}");
    let report = stage.reports.try_recv().unwrap();
    assert!(
        matches!(&report, Report::ProtocolFailed { channel: failed, error }
            if *failed == channel(2) && error.to_string() == "told to fail"),
        "{report:?}"
    );
    assert!(matches!(handles[1].submit(3), Err(Busy::Closed(3))));
    handles[0].submit(3).unwrap();
    run(&mut node);
    assert!(stage.diary.take().contains(&"commit Synced a".to_owned()));
    assert!(stage.reports.try_recv().is_err(), "reported once");
}

#[test]
fn what_comes_for_a_failed_protocol_does_not_pile_up() {
    let (mut node, stage) = stage();
    let handle = node
        .add(channel(0), puppet(|_, _, _| Err(ToldToFail)), |_| {})
        .unwrap();
    handle.submit(1).unwrap();
    run(&mut node);
    let owner = Arc::new([7_u8; 100]);
    struct Shared(Arc<[u8; 100]>);
    impl AsRef<[u8]> for Shared {
        fn as_ref(&self) -> &[u8] {
            self.0.as_ref()
        }
    }
    let mut batch = vec![Envelope {
        from: peer(2),
        channel: channel(0),
        payload: Bytes::from_owner(Shared(owner.clone())),
    }];
    let mailbox = stage.wire.mailbox.lock().clone().unwrap();
    mailbox.deliver(&mut batch);
    run(&mut node);
    assert_eq!(Arc::strong_count(&owner), 1, "the message is kept");
}
