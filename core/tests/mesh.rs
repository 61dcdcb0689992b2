//! A mesh on loopback: who is let in, what is refused, and what survives broken connections.

#![expect(
    clippy::unwrap_used,
    reason = "what a test's helpers expect is a test too"
)]

mod mesh_world;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mesh_world::{
    Intruder, PROTOCOL, authority, channel, cluster, credentials, member, member_with, message,
    peer, start, until,
};
use peaberry_core::ca::DevelopmentCa;
use peaberry_core::frame::FrameError;
use peaberry_core::mesh::{
    CredentialsError, DisconnectReason, DropReason, MeshError, MeshEvent, RejectReason, Side,
};
use peaberry_core::{
    Channel, Effects, Input, Instant, Mailbox, MemoryStorage, Node, Outgoing, PAYLOAD_BYTES_MAX,
    PeerId, Peers, Protocol, ProtocolId, SystemClock, Transport,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Runs `test` with a runtime of two threads.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test);
}

/// Whether an event rejects a connection for a reason that `wanted` accepts, seen from `side`.
fn rejects(side: Side, wanted: impl Fn(&RejectReason) -> bool) -> impl Fn(&MeshEvent) -> bool {
    move |event| match event {
        MeshEvent::Rejected {
            side: seen, reason, ..
        } => *seen == side && wanted(reason),
        _ => false,
    }
}

#[test]
fn a_certificate_of_another_authority_is_refused_by_both_sides() {
    run(async {
        let mut ours = member(&authority(), 1).await;
        let mut stranger = member(&authority(), 2).await;
        stranger.dials(&ours);
        let tls = |reason: &RejectReason| matches!(reason, RejectReason::Tls(_));
        stranger.expect(rejects(Side::Dialler, tls)).await;
        ours.expect(rejects(Side::Acceptor, tls)).await;
    });
}

/// Here only the listener has reason to refuse: the intruder believes everything.
#[test]
fn the_listener_checks_certificates_by_itself() {
    run(async {
        let ca = authority();
        let mut ours = member(&ca, 1).await;
        let forged = authority().issue(peer(2)).unwrap();
        let intruder = Intruder::dial(ours.address(), &forged).await;
        let tls = |reason: &RejectReason| matches!(reason, RejectReason::Tls(_));
        ours.expect(rejects(Side::Acceptor, tls)).await;
        drop(intruder);
    });
}

#[test]
fn a_certificate_of_another_cluster_is_refused_even_from_the_same_authority() {
    run(async {
        let ca = authority();
        let other = DevelopmentCa::from_pem(cluster(2), ca.certificate_pem(), &ca.key_pem());
        let mut ours = member(&ca, 1).await;
        let mut theirs = member(&other.unwrap(), 2).await;
        theirs.dials(&ours);
        let expected = |us, them| {
            move |reason: &RejectReason| match reason {
                RejectReason::Cluster { seen, expected } => *seen == them && *expected == us,
                _ => false,
            }
        };
        let (one, two) = (cluster(1), cluster(2));
        theirs
            .expect(rejects(Side::Dialler, expected(two, one)))
            .await;
        // The dialler hangs up first; an intruder would not.
        let issued = DevelopmentCa::from_pem(two, ca.certificate_pem(), &ca.key_pem())
            .and_then(|ca| ca.issue(peer(3)))
            .unwrap();
        let intruder = Intruder::dial(ours.address(), &issued).await;
        ours.expect(rejects(Side::Acceptor, expected(one, two)))
            .await;
        drop(intruder);
    });
}

#[test]
fn another_peer_at_the_address_is_refused_by_name() {
    run(async {
        let ca = authority();
        let mut one = member(&ca, 1).await;
        let three = member(&ca, 3).await;
        one.mesh.set_peer(peer(2), three.address()).unwrap();
        let other = |reason: &RejectReason| match reason {
            RejectReason::OtherPeer { seen, expected } => *seen == peer(3) && *expected == peer(2),
            _ => false,
        };
        one.expect(rejects(Side::Dialler, other)).await;
        assert!(one.mesh.connected().is_empty());
    });
}

#[test]
fn nobody_speaks_in_anothers_name_or_in_ours() {
    run(async {
        let ca = authority();
        let mut ours = member(&ca, 1).await;
        let mut liar = Intruder::dial(ours.address(), &ca.issue(peer(2)).unwrap()).await;
        let mut hello = liar.hello(1);
        hello.from = peer(3);
        liar.write(&hello.encode()).await;
        let lied = |reason: &RejectReason| {
            let expected = FrameError::Sender {
                seen: peer(3),
                expected: peer(2),
            };
            matches!(reason, RejectReason::Hello(error) if *error == expected)
        };
        ours.expect(rejects(Side::Acceptor, lied)).await;

        let twin = Intruder::dial(ours.address(), &ca.issue(peer(1)).unwrap()).await;
        let own = |reason: &RejectReason| matches!(reason, RejectReason::OwnId { .. });
        ours.expect(rejects(Side::Acceptor, own)).await;
        drop(twin);

        let mut lost = Intruder::dial(ours.address(), &ca.issue(peer(2)).unwrap()).await;
        let hello = lost.hello(9);
        lost.write(&hello.encode()).await;
        let for_another = |reason: &RejectReason| {
            matches!(reason, RejectReason::Hello(FrameError::Receiver { .. }))
        };
        ours.expect(rejects(Side::Acceptor, for_another)).await;
    });
}

#[test]
fn a_wrong_version_is_refused() {
    run(async {
        let ca = authority();
        let mut ours = member(&ca, 1).await;
        let mut newer = Intruder::dial(ours.address(), &ca.issue(peer(2)).unwrap()).await;
        let mut hello = newer.hello(1).encode();
        hello[9] = 2;
        newer.write(&hello).await;
        let version = |reason: &RejectReason| {
            matches!(reason, RejectReason::Hello(FrameError::Version { seen: 2 }))
        };
        ours.expect(rejects(Side::Acceptor, version)).await;
    });
}

#[test]
fn garbage_on_the_port_is_refused_and_the_mesh_goes_on() {
    run(async {
        let ca = authority();
        let mut ours = member(&ca, 1).await;
        for garbage in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), &[0xff; 5000], &[]] {
            let mut socket = TcpStream::connect(ours.address()).await.unwrap();
            socket.write_all(garbage).await.unwrap();
            socket.shutdown().await.unwrap();
            let tls = |reason: &RejectReason| matches!(reason, RejectReason::Tls(_));
            ours.expect(rejects(Side::Acceptor, tls)).await;
        }
        let mut friend = member(&ca, 2).await;
        friend.dials(&ours);
        friend.connected().await;
    });
}

#[test]
fn slow_handshakes_are_bounded_in_number_and_time() {
    run(async {
        let mut ours = member_with(&authority(), 1, |config| {
            config.limits.handshakes_max = 2;
            config.times.handshake_timeout = Duration::from_millis(500);
        })
        .await;
        let full = |reason: &RejectReason| matches!(reason, RejectReason::HandshakesFull);
        let mut sockets = Vec::new();
        // Three do, unless the machine is so busy that the first is given up before the third has come.
        loop {
            sockets.push(TcpStream::connect(ours.address()).await.unwrap());
            let turned_away = ours.expect(rejects(Side::Acceptor, full));
            let waited = tokio::time::timeout(Duration::from_millis(50), turned_away).await;
            if waited.is_ok() {
                break;
            }
        }
        assert!(sockets.len() >= 3, "two handshakes may go on at once");
        let slow = |reason: &RejectReason| matches!(reason, RejectReason::TimedOut);
        ours.expect(rejects(Side::Acceptor, slow)).await;
    });
}

#[test]
fn incoming_peers_are_bounded_and_a_known_one_may_come_back() {
    run(async {
        let ca = authority();
        let mut ours = member_with(&ca, 1, |config| config.limits.incoming_max = 1).await;
        let two = ca.issue(peer(2)).unwrap();
        let mut first = Intruder::dial(ours.address(), &two).await;
        first.greet(1).await;
        ours.connected().await;
        let mut third = Intruder::dial(ours.address(), &ca.issue(peer(3)).unwrap()).await;
        third.greet(1).await;
        let full = |reason: &RejectReason| matches!(reason, RejectReason::IncomingFull);
        ours.expect(rejects(Side::Acceptor, full)).await;
        let mut again = Intruder::dial(ours.address(), &two).await;
        again.greet(1).await;
        ours.eventually(|event| {
            let replaced = |reason: &_| matches!(reason, DisconnectReason::Replaced);
            matches!(event, MeshEvent::Disconnected { reason, .. } if replaced(reason))
        })
        .await;
        assert_eq!(ours.mesh.connected(), [peer(2)].into());
    });
}

#[test]
fn an_oversized_frame_names_its_sender_and_ends_the_connection() {
    run(async {
        let ca = authority();
        let mut ours = member(&ca, 1).await;
        let mut peer_two = Intruder::dial(ours.address(), &ca.issue(peer(2)).unwrap()).await;
        let mut encoder = peer_two.greet(1).await;
        let mut frame = message(&mut encoder, channel(1), b"");
        let length = u32::try_from(PAYLOAD_BYTES_MAX).unwrap() + 1;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        peer_two.write(&frame).await;
        ours.eventually(|event| {
            let oversized = |reason: &_| matches!(reason, FrameError::Oversized { .. });
            matches!(event, MeshEvent::Misbehaved { peer: id, reason } if *id == peer(2) && oversized(reason))
        })
        .await;
        ours.eventually(|event| matches!(event, MeshEvent::Disconnected { .. }))
            .await;
    });
}

#[test]
fn a_replayed_frame_is_refused_within_and_across_connections() {
    run(async {
        let ca = authority();
        let mut ours = member(&ca, 1).await;
        let issued = ca.issue(peer(2)).unwrap();
        let replayed = |event: &MeshEvent| {
            let sequence = |reason: &_| matches!(reason, FrameError::Sequence { .. });
            matches!(event, MeshEvent::Misbehaved { reason, .. } if sequence(reason))
        };
        let mut peer_two = Intruder::dial(ours.address(), &issued).await;
        let mut encoder = peer_two.greet(1).await;
        let frame = message(&mut encoder, channel(1), b"pay once");
        peer_two.write(&frame).await;
        peer_two.write(&frame).await;
        ours.eventually(replayed).await;

        // The same hello again, with the same nonce: ours is another one.
        let mut peer_two = Intruder::dial(ours.address(), &issued).await;
        peer_two.greet(1).await;
        peer_two.write(&frame).await;
        ours.eventually(replayed).await;
        let arrived = ours.mailbox.take();
        assert_eq!(arrived.len(), 1);
        assert_eq!(arrived[0].payload, "pay once");
    });
}

#[test]
fn a_truncated_frame_is_never_delivered() {
    run(async {
        let ca = authority();
        let mut ours = member(&ca, 1).await;
        let mut peer_two = Intruder::dial(ours.address(), &ca.issue(peer(2)).unwrap()).await;
        let mut encoder = peer_two.greet(1).await;
        let frame = message(&mut encoder, channel(1), b"half of it");
        peer_two.write(&frame[..frame.len() - 1]).await;
        peer_two.stream.shutdown().await.unwrap();
        ours.eventually(|event| {
            let truncated = |reason: &_| matches!(reason, FrameError::Truncated { .. });
            matches!(event, MeshEvent::Misbehaved { reason, .. } if truncated(reason))
        })
        .await;
        assert!(ours.mailbox.take().is_empty());
    });
}

/// Passes on what is dialled to it, and flips a bit of what the dialler sends when `spoils` says so, once.
async fn damaging_wire(target: SocketAddr, spoils: Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let spoils = spoils.clone();
            tokio::spawn(async move {
                let far = TcpStream::connect(target).await.unwrap();
                let (mut near_in, mut near_out) = near.into_split();
                let (mut far_in, mut far_out) = far.into_split();
                let there = async {
                    let mut bytes = BytesMut::with_capacity(64 << 10);
                    while let Ok(1..) = near_in.read_buf(&mut bytes).await {
                        if spoils.swap(false, Ordering::SeqCst)
                            && let Some(last) = bytes.last_mut()
                        {
                            *last ^= 1;
                        }
                        if far_out.write_all_buf(&mut bytes).await.is_err() {
                            break;
                        }
                    }
                };
                tokio::select! {
                    () = there => {}
                    _ = tokio::io::copy(&mut far_in, &mut near_out) => {}
                }
            });
        }
    });
    address
}

#[test]
fn a_bit_flipped_on_the_wire_ends_the_connection_and_nothing_altered_arrives() {
    run(async {
        let ca = authority();
        let mut one = member(&ca, 1).await;
        let mut two = member(&ca, 2).await;
        let spoils = Arc::new(AtomicBool::new(false));
        let wire = damaging_wire(two.address(), spoils.clone()).await;
        one.mesh.set_peer(peer(2), wire).unwrap();
        one.connected().await;
        for round in 0..10 {
            spoils.store(true, Ordering::SeqCst);
            assert!(one.send(2, channel(1), "pay once"));
            // Broken; or silent, where the bit made a record longer than all that follows.
            two.eventually(|event| matches!(event, MeshEvent::Disconnected { .. }))
                .await;
            one.connected().await;
            assert!(one.send(2, channel(1), "over"));
            let over = |envelope: &peaberry_core::Envelope| envelope.payload == "over";
            let arrived = two.receive(|arrived| arrived.iter().any(over)).await;
            // A ping may have been hit instead, and the message gone by the next connection.
            let as_sent = |envelope: &peaberry_core::Envelope| {
                over(envelope) || envelope.payload == "pay once"
            };
            assert!(arrived.len() <= 2 && arrived.iter().all(as_sent), "{round}");
        }
    });
}

#[test]
fn a_peer_that_falls_silent_is_given_up() {
    run(async {
        let ca = authority();
        let mut ours = member_with(&ca, 1, |config| {
            config.times.ping_interval = Duration::from_millis(20);
            config.times.idle_timeout = Duration::from_millis(100);
        })
        .await;
        let mut peer_two = Intruder::dial(ours.address(), &ca.issue(peer(2)).unwrap()).await;
        peer_two.greet(1).await;
        ours.eventually(|event| {
            let silent = |reason: &_| matches!(reason, DisconnectReason::Silent);
            matches!(event, MeshEvent::Disconnected { reason, .. } if silent(reason))
        })
        .await;
    });
}

/// The other half: a connection on which both sides only ping stays up for many times the time-out.
#[test]
fn an_idle_connection_stays_up() {
    run(async {
        let ca = authority();
        let quick = |config: &mut peaberry_core::mesh::MeshConfig| {
            config.times.ping_interval = Duration::from_millis(50);
            config.times.idle_timeout = Duration::from_millis(500);
        };
        let one = member_with(&ca, 1, quick).await;
        let mut two = member_with(&ca, 2, quick).await;
        two.dials(&one);
        two.connected().await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert!(two.send(1, channel(1), "still the same connection"));
        one.receive(|arrived| arrived.len() == 1).await;
        let ended = two.eventually(|event| matches!(event, MeshEvent::Disconnected { .. }));
        let ended = tokio::time::timeout(Duration::ZERO, ended).await;
        assert!(ended.is_err(), "the connection was replaced meanwhile");
    });
}

#[test]
fn what_waits_for_a_restarting_peer_arrives() {
    run(async {
        let ca = authority();
        let mut one = member(&ca, 1).await;
        let mut two = member(&ca, 2).await;
        one.dials(&two);
        one.connected().await;
        let address = two.address();
        two.connected().await;
        assert!(one.send(2, channel(1), "before"));
        two.receive(|arrived| arrived.len() == 1).await;
        two.mesh.shutdown().await;
        one.eventually(|event| matches!(event, MeshEvent::Disconnected { .. }))
            .await;
        for number in 0..100_u64 {
            assert!(one.send(2, channel(number), number.to_string()));
        }
        one.eventually(|event| matches!(event, MeshEvent::Unreachable { .. }))
            .await;

        let two = member_with(&ca, 2, |config| config.listen = Some(address)).await;
        let arrived = two.receive(|arrived| arrived.len() == 100).await;
        assert!(arrived.iter().all(|envelope| envelope.from == peer(1)));
        one.connected().await;
    });
}

/// Queued before there is a connection, so that the order is the queue's and not the timing's.
#[test]
fn a_heartbeat_overtakes_a_queued_snapshot() {
    run(async {
        let ca = authority();
        let one = member(&ca, 1).await;
        let address = {
            let two = member(&ca, 2).await;
            let address = two.address();
            two.mesh.shutdown().await;
            address
        };
        one.mesh.set_peer(peer(2), address).unwrap();
        let chunk = Bytes::from(vec![0; 64 << 10]);
        let mut chunks = 0;
        while one.send(2, channel(1), chunk.clone()) {
            chunks += 1;
        }
        assert!(chunks > 100, "{chunks} chunks wait");
        assert!(one.send(2, channel(2), "heartbeat"));

        let two = member_with(&ca, 2, |config| config.listen = Some(address)).await;
        let arrived = two.receive(|arrived| arrived.len() == chunks + 1).await;
        let before = arrived
            .iter()
            .position(|envelope| envelope.channel == channel(2));
        assert!(before.unwrap() <= 2, "{before:?} chunks came first");
    });
}

#[test]
fn a_receiver_that_takes_nothing_holds_up_its_sender_and_loses_nothing() {
    run(async {
        let ca = authority();
        let one = member(&ca, 1).await;
        let two = member_with(&ca, 2, |config| {
            config.times.delivery_wait = Duration::from_secs(600);
        })
        .await;
        one.dials(&two);
        let payload = Bytes::from(vec![0; 32 << 10]);
        let mut accepted = 0_usize;
        // Full for a while, and not only while the connection was being made.
        let mut refusals = 0;
        while refusals < 200 {
            if one.send(2, channel(1), payload.clone()) {
                accepted += 1;
                refusals = 0;
            } else {
                refusals += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert!(accepted * payload.len() < 64 << 20, "nothing is bounded");
        }
        let arrived = two.receive(|arrived| arrived.len() >= accepted).await;
        assert_eq!(arrived.len(), accepted);
    });
}

#[test]
fn what_nobody_wants_is_dropped_and_counted() {
    run(async {
        let ca = authority();
        let mut one = member_with(&ca, 1, |config| {
            config.times.ping_interval = Duration::from_millis(20);
        })
        .await;
        let choosy = Arc::new(Mailbox::new(Arc::default()));
        let accept: Peers = [peer(3)].into_iter().collect();
        let bound = ProtocolId(2001);
        one.mesh.bind(bound, accept, choosy.clone()).unwrap();
        let two = member(&ca, 2).await;
        two.dials(&one);
        for _ in 0..500 {
            assert!(two.send(1, Channel::new(ProtocolId(9), 1), "to nobody"));
            assert!(two.send(1, Channel::new(bound, 1), "to one who will not hear it"));
        }
        let (mut not_bound, mut not_accepted) = (0, 0);
        while not_bound + not_accepted < 1000 {
            let event = one
                .eventually(|event| matches!(event, MeshEvent::Dropped { .. }))
                .await;
            match event {
                MeshEvent::Dropped {
                    reason: DropReason::NotBound,
                    count,
                    ..
                } => not_bound += count,
                MeshEvent::Dropped {
                    protocol,
                    reason: DropReason::NotAccepted,
                    count,
                    ..
                } => {
                    assert_eq!(protocol, Some(bound));
                    not_accepted += count;
                }
                other => panic!("{other}"),
            }
        }
        assert_eq!((not_bound, not_accepted), (500, 500));
        assert!(choosy.take().is_empty());
    });
}

#[test]
fn a_client_without_a_listener_is_answered_and_forgotten_when_it_leaves() {
    run(async {
        let ca = authority();
        let mut server = member(&ca, 1).await;
        let client = member_with(&ca, 2, |config| config.listen = None).await;
        assert!(client.mesh.local_addr().is_none());
        client.dials(&server);
        assert!(client.send(1, channel(1), "question"));
        server.receive(|arrived| arrived.len() == 1).await;
        assert!(server.send(2, channel(1), "answer"));
        client.receive(|arrived| arrived.len() == 1).await;
        client.mesh.shutdown().await;
        server
            .eventually(|event| matches!(event, MeshEvent::Disconnected { .. }))
            .await;
        until(|| !server.send(2, channel(1), "too late")).await;
    });
}

#[test]
fn peers_can_move_and_be_removed() {
    run(async {
        let ca = authority();
        let mut one = member(&ca, 1).await;
        let old = member(&ca, 2).await;
        one.dials(&old);
        one.connected().await;
        let new = member(&ca, 2).await;
        one.dials(&new);
        one.eventually(|event| {
            let moved = |reason: &_| matches!(reason, DisconnectReason::AddressChanged);
            matches!(event, MeshEvent::Disconnected { reason, .. } if moved(reason))
        })
        .await;
        assert!(one.send(2, channel(1), "at the new address"));
        new.receive(|arrived| arrived.len() == 1).await;
        assert!(old.mailbox.take().is_empty());

        one.mesh.remove_peer(peer(2));
        assert!(!one.send(2, channel(1), "to whom?"));
        until(|| new.mesh.connected().is_empty()).await;
        let own = one.mesh.set_peer(peer(1), new.address());
        assert!(matches!(own, Err(MeshError::OwnId { .. })));
    });
}

#[test]
fn certificates_rotate_and_ids_stay() {
    run(async {
        let ca = authority();
        let mut one = member(&ca, 1).await;
        let two = member(&ca, 2).await;
        let later = DevelopmentCa::new(cluster(1)).unwrap();
        // Both authorities are believed while certificates move from one to the other.
        let moving = |id| {
            let mut issued = later.issue(peer(id)).unwrap();
            issued.authority_pem += ca.certificate_pem();
            credentials(&issued)
        };
        two.mesh.rotate(&moving(2)).unwrap();
        one.mesh.rotate(&moving(1)).unwrap();
        one.dials(&two);
        one.connected().await;
        let wrong = one.mesh.rotate(&moving(3)).unwrap_err();
        let MeshError::Credentials(CredentialsError::Identity { seen, .. }) = wrong else {
            panic!("{wrong}");
        };
        assert_eq!(seen.peer, peer(3));
    });
}

#[test]
fn a_dropped_mesh_lets_go_of_its_peers_and_its_port() {
    run(async {
        let ca = authority();
        let one = member(&ca, 1).await;
        let mut two = member(&ca, 2).await;
        two.dials(&one);
        two.connected().await;
        let address = one.address();
        drop(one);
        two.eventually(|event| matches!(event, MeshEvent::Disconnected { .. }))
            .await;
        until(|| std::net::TcpListener::bind(address).is_ok()).await;
    });
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    run(async {
        let ca = authority();
        let mut issued = ca.issue(peer(1)).unwrap();
        issued.key_pem = ca.issue(peer(1)).unwrap().key_pem;
        let config = peaberry_core::mesh::MeshConfig::new(credentials(&issued), 1);
        let refused = peaberry_core::mesh::Mesh::start(config).await.unwrap_err();
        let key = |error: &_| matches!(error, CredentialsError::Key(_));
        assert!(matches!(refused, MeshError::Credentials(error) if key(&error)));
    });
}

/// Sends what it is told to, and tells of peers that became unreachable.
struct Courier;

impl Protocol for Courier {
    type Command = (PeerId, Bytes);
    type Event = PeerId;
    type Error = Infallible;

    fn step(
        &mut self,
        _: Instant,
        input: Input<(PeerId, Bytes)>,
        fx: &mut Effects<'_, PeerId>,
    ) -> Result<(), Infallible> {
        match input {
            Input::Command((to, payload)) => fx.send(to, payload),
            Input::Unreachable(peer) => fx.emit(peer),
            _ => {}
        }
        Ok(())
    }
}

#[test]
fn messages_under_way_when_a_connection_breaks_are_reported() {
    run(async {
        let ca = authority();
        let issued = ca.issue(peer(1)).unwrap();
        // After its first one no ping comes, so nothing more is confirmed.
        let one = start(&issued, |config| {
            config.times.ping_interval = Duration::from_secs(600);
        })
        .await;
        let two = member(&ca, 2).await;
        one.dials(&two);
        let mesh = Arc::new(one.mesh);
        drop(one.mailbox);
        let (storage, clock) = (MemoryStorage::new(), SystemClock::new());
        let mut node = Node::new(mesh.clone(), Arc::new(storage), Arc::new(clock));
        let (told, mut unreachable) = tokio::sync::mpsc::unbounded_channel();
        let courier = node
            .add(
                Channel::new(PROTOCOL, 1),
                Courier,
                move |peers: &mut Vec<PeerId>| {
                    for peer in peers.drain(..) {
                        told.send(peer).unwrap();
                    }
                },
            )
            .unwrap();
        let node = node.spawn("courier").unwrap();
        // A connection begins with a ping. It may go out with the first message or the second and confirm it, but not
        // with the third.
        for _ in 0..3 {
            let message = (peer(2), Bytes::from("maybe lost"));
            courier.submit(message).unwrap();
            two.receive(|arrived| arrived.len() == 1).await;
        }
        drop(two);
        let reported = tokio::time::timeout(Duration::from_secs(30), unreachable.recv()).await;
        assert_eq!(reported.unwrap(), Some(peer(2)));
        drop(node.stop());
    });
}

#[test]
fn a_batch_keeps_what_was_refused_and_loses_the_rest() {
    run(async {
        let ca = authority();
        let one = member(&ca, 1).await;
        let two = member(&ca, 2).await;
        one.dials(&two);
        let to = |id: u64| Outgoing {
            to: peer(id),
            channel: channel(id),
            payload: Bytes::from("hello"),
        };
        let mut batch = vec![to(2), to(9), to(2), to(1), to(2)];
        one.mesh.send(&mut batch);
        let kept: Vec<_> = batch.iter().map(|message| message.to.get()).collect();
        assert_eq!(kept, [9, 1]);
        two.receive(|arrived| arrived.len() == 3).await;
    });
}
