//! Threads and tasks that turn nodes.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use peaberry_core::{
    Busy, Clock, Effects, Handle, Input, MemoryNetwork, MemoryStorage, Node, SystemClock,
};

use crate::stage::{Puppet, channel, peer, puppet, stage};

/// Two live nodes, each telling the other what it is commanded and emitting what it hears.
fn talkers() -> [(Node, Handle<u32>, Receiver<String>); 2] {
    let network = MemoryNetwork::new();
    [(1, 2), (2, 1)].map(|(local, other)| {
        let transport = Arc::new(network.join(peer(local)));
        let clock = Arc::new(SystemClock::new());
        let mut node = Node::new(transport, Arc::new(MemoryStorage::new()), clock);
        let (heard, hears) = mpsc::channel();
        let protocol = puppet(move |_, input, fx| {
            match input {
                Input::Command(number) => {
                    fx.send_after_commit(peer(other), Bytes::from(number.to_string()));
                }
                Input::Message(message) => {
                    fx.emit(String::from_utf8_lossy(&message.payload).into_owned());
                }
                _ => {}
            }
            Ok(())
        });
        let sink = move |events: &mut Vec<String>| {
            for event in events.drain(..) {
                // The test may have heard enough.
                let _ = heard.send(event);
            }
        };
        let handle = node.add(channel(0), protocol, sink).unwrap();
        (node, handle, hears)
    })
}

#[test]
fn threads_host_nodes_until_they_are_stopped() {
    let [(one, first, _), (two, _, hears)] = talkers();
    let one = one.spawn("one").unwrap();
    let two = two.spawn("two").unwrap();
    for number in 0..100 {
        first.submit(number).unwrap();
        assert_eq!(hears.recv().unwrap(), number.to_string());
    }
    assert!(!one.is_finished());
    let node = one.stop();
    first.submit(100).unwrap();
    drop(two);
    drop(node);
    assert!(matches!(first.submit(101), Err(Busy::Closed(101))));
}

#[test]
fn a_thread_wakes_for_a_deadline() {
    let (heard, hears) = mpsc::channel();
    let clock = SystemClock::new();
    let due = clock.now() + Duration::from_millis(5);
    let deadline = Arc::new(Mutex::new(Some(due)));
    let protocol = Puppet {
        step: {
            let deadline = deadline.clone();
            move |now, input, _: &mut Effects<'_, String>| {
                if matches!(input, Input::Timeout) {
                    *deadline.lock() = None;
                    heard.send(now).unwrap();
                }
                Ok(())
            }
        },
        deadline: move || *deadline.lock(),
        settled: None,
        inputs: 0,
    };
    let transport = Arc::new(MemoryNetwork::new().join(peer(1)));
    let mut node = Node::new(transport, Arc::new(MemoryStorage::new()), Arc::new(clock));
    node.add(channel(0), protocol, |_| {}).unwrap();
    let _thread = node.spawn("alarm").unwrap();
    assert!(hears.recv().unwrap() >= due);
}

#[test]
fn tasks_host_nodes_until_they_are_dropped() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let [(one, first, _), (two, _, hears)] = talkers();
    let one = runtime.spawn(one.into_task());
    let two = runtime.spawn(two.into_task());
    for number in 0..100 {
        first.submit(number).unwrap();
        assert_eq!(hears.recv().unwrap(), number.to_string());
    }
    one.abort();
    two.abort();
    assert!(runtime.block_on(one).unwrap_err().is_cancelled());
    assert!(matches!(first.submit(100), Err(Busy::Closed(100))));
}

#[test]
fn a_task_completes_with_its_node_when_the_store_fails() {
    let (mut node, stage) = stage();
    *stage.store.layer().is_failing.lock() = true;
    let protocol = puppet(|_, _, fx| {
        fx.sync();
        Ok(())
    });
    let handle = node.add(channel(0), protocol, |_| {}).unwrap();
    handle.submit(1).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let node = runtime.block_on(node.into_task());
    assert!(node.failure().is_some());
}

#[test]
fn a_node_that_lingers_hears_what_comes_while_it_looks_and_what_comes_while_it_sleeps() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    for linger in [Duration::from_nanos(1), Duration::from_millis(2)] {
        let [(one, first, _), (two, _, hears)] = talkers();
        let _one = one.with_linger(linger).spawn("lingers").unwrap();
        let two = runtime.spawn(two.with_linger(linger).into_task());
        for number in 0..100 {
            first.submit(number).unwrap();
            assert_eq!(hears.recv().unwrap(), number.to_string());
        }
        // Long enough to fall asleep: nobody waits here for anything that could tell.
        assert!(hears.recv_timeout(linger * 3).is_err());
        first.submit(100).unwrap();
        assert_eq!(hears.recv().unwrap(), "100");
        two.abort();
    }
}
