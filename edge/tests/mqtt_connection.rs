//! What an MQTT uplink does about a broker that answers late, out of order, twice, nonsense or not at all: scripted ones on
//! loopback.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends at what should not be"
)]

use std::future::poll_fn;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use peaberry_edge::EdgeError;
use peaberry_edge::uplink::{
    Message, MqttSettings, MqttUplink, MqttVersion, Qos, SubmitError, Uplink, UplinkEvent,
};
use rumqttc::{Packet, Publish, QoS, mqttbytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt, sink};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

const WELCOME: [u8; 4] = [0x20, 2, 0, 0];

async fn within<T>(story: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, story)
        .await
        .expect("nothing takes so long")
}

/// A broker of one client at a time.
struct Broker(TcpListener);

/// Its end of a connection.
struct Line {
    stream: TcpStream,
    read: BytesMut,
}

impl Broker {
    fn start() -> (Self, MqttUplink) {
        Self::start_for(|_| ())
    }

    /// For a client with other settings.
    fn start_for(change: impl FnOnce(&mut MqttSettings)) -> (Self, MqttUplink) {
        let broker = Self::listen();
        let mut settings = broker.settings();
        change(&mut settings);
        let uplink = MqttUplink::spawn(&tokio::runtime::Handle::current(), settings).unwrap();
        (broker, uplink)
    }

    fn listen() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // Inherited: what is not read soon cannot be written.
        socket.set_recv_buffer_size(4 << 10).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self(socket.listen(8).unwrap())
    }

    /// How its client connects.
    fn settings(&self) -> MqttSettings {
        let port = self.0.local_addr().unwrap().port();
        let mut settings = MqttSettings::new("m", "127.0.0.1", port);
        settings.keep_alive = Duration::from_secs(1);
        settings.backoff_min = Duration::from_millis(1);
        settings
    }

    async fn accept(&self) -> Line {
        let (stream, _) = self.0.accept().await.unwrap();
        let read = BytesMut::new();
        Line { stream, read }
    }

    async fn welcome(&self) -> Line {
        let mut line = self.accept().await;
        assert!(matches!(line.next().await, Packet::Connect(_)));
        line.say(&WELCOME).await;
        line
    }
}

impl Broker {
    /// Lets a client of version 5 in, with these properties.
    async fn welcome_v5(&self, properties: &[u8]) -> Line {
        let mut line = self.accept().await;
        line.connect().await;
        let bytes = u8::try_from(properties.len()).unwrap();
        line.say(&[0x20, 3 + bytes, 0, 0, bytes]).await;
        line.say(properties).await;
        line
    }
}

impl Line {
    /// What the client says to be let in, behind the packet's kind and length.
    async fn connect(&mut self) -> Vec<u8> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).await.unwrap();
        assert!(head[0] == 0x10 && head[1] < 0x80, "{head:?}");
        let mut rest = vec![0; usize::from(head[1])];
        self.stream.read_exact(&mut rest).await.unwrap();
        rest
    }

    async fn next(&mut self) -> Packet {
        loop {
            match Packet::read(&mut self.read, 1 << 20) {
                Ok(packet) => return packet,
                Err(mqttbytes::Error::InsufficientBytes(_)) => {
                    let bytes = self.stream.read_buf(&mut self.read).await.unwrap();
                    assert_ne!(bytes, 0, "the client has gone");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The number and the payload of the next message.
    async fn message(&mut self) -> (u16, u64) {
        loop {
            match self.next().await {
                Packet::Publish(mut publish) => return (publish.pkid, publish.payload.get_u64()),
                Packet::PingReq => self.say(&[0xd0, 0]).await,
                other => panic!("{other:?}"),
            }
        }
    }

    async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    async fn accept(&mut self, number: u16) {
        let [high, low] = number.to_be_bytes();
        self.say(&[0x40, 2, high, low]).await;
    }
}

async fn next(uplink: &mut MqttUplink) -> Vec<UplinkEvent> {
    let mut events = Vec::new();
    poll_fn(|cx| uplink.poll_events(cx, &mut events)).await;
    events
}

async fn up(uplink: &mut MqttUplink) {
    assert_eq!(next(uplink).await, [UplinkEvent::Up { is_resumed: false }]);
}

/// Why it went down.
async fn down(uplink: &mut MqttUplink) -> String {
    match next(uplink).await.as_slice() {
        [UplinkEvent::Down { reason }] => reason.to_string(),
        other => panic!("{other:?}"),
    }
}

fn submit(uplink: &mut MqttUplink, seq: u64) {
    let payload = seq.to_be_bytes().to_vec();
    uplink.submit(seq, Message::new("up/t", payload)).unwrap();
}

#[tokio::test]
async fn answers_in_any_order_find_their_messages_and_nonsense_finds_none() {
    within(async {
        let (broker, mut uplink) = Broker::start();
        let mut line = broker.welcome().await;
        up(&mut uplink).await;
        for seq in 70..73 {
            submit(&mut uplink, seq);
        }
        let mut numbers = Vec::new();
        for seq in 70..73 {
            let (number, payload) = line.message().await;
            assert_eq!(payload, seq);
            numbers.push(number);
        }
        for number in [numbers[2], numbers[2], 4_711, 0, numbers[1], numbers[0]] {
            line.accept(number).await;
        }
        let mut accepted = Vec::new();
        while accepted.len() < 3 {
            accepted.extend(next(&mut uplink).await);
        }
        assert_eq!(accepted, [72, 71, 70].map(UplinkEvent::Accepted));
        assert_eq!(uplink.room(), 100);
    })
    .await;
}

#[tokio::test]
async fn one_answer_is_told_though_the_next_never_comes() {
    within(async {
        let (broker, mut uplink) = Broker::start();
        let mut line = broker.welcome().await;
        up(&mut uplink).await;
        submit(&mut uplink, 1);
        submit(&mut uplink, 2);
        let (number, _) = line.message().await;
        line.accept(number).await;
        assert_eq!(next(&mut uplink).await, [UplinkEvent::Accepted(1)]);
    })
    .await;
}

#[tokio::test]
async fn a_broker_that_falls_silent_is_left_and_what_it_had_is_not_accepted_by_the_next() {
    within(async {
        let (broker, mut uplink) = Broker::start();
        let mut silent = broker.welcome().await;
        up(&mut uplink).await;
        submit(&mut uplink, 1);
        let (number, _) = silent.message().await;
        let reason = down(&mut uplink).await;
        assert!(reason.contains("does not answer"), "{reason}");
        assert_eq!(uplink.room(), 0);
        let refused = uplink.submit(2, Message::new("up/t", "2"));
        assert_eq!(refused, Err(SubmitError::Down));

        let mut line = broker.welcome().await;
        up(&mut uplink).await;
        line.accept(number).await;
        submit(&mut uplink, 3);
        let (number, payload) = line.message().await;
        assert_eq!(
            payload, 3,
            "what was on its way is the spool's to send again"
        );
        line.accept(number).await;
        assert_eq!(next(&mut uplink).await, [UplinkEvent::Accepted(3)]);
    })
    .await;
}

#[tokio::test]
async fn nonsense_ends_a_connection_and_no_more() {
    within(async {
        let (broker, mut uplink) = Broker::start();
        // Of no kind; a length without an end; a second welcome; a message without a topic.
        let nonsense: [&[u8]; 4] = [
            &[0x00, 0],
            &[0x30, 0xff, 0xff, 0xff, 0xff, 0xff],
            &WELCOME,
            &[0x32, 3, 0, 9, 7],
        ];
        for bytes in nonsense {
            let mut line = broker.welcome().await;
            up(&mut uplink).await;
            line.say(bytes).await;
            assert!(!down(&mut uplink).await.is_empty());
        }
        let mut line = broker.accept().await;
        line.accept(1).await;
        let _line = broker.welcome().await;
        up(&mut uplink).await;
    })
    .await;
}

#[tokio::test]
async fn what_nobody_acknowledges_is_accepted_when_it_is_written_and_a_bad_topic_never() {
    within(async {
        let (broker, mut uplink) = Broker::start();
        let mut line = broker.welcome().await;
        up(&mut uplink).await;
        for topic in ["", "up/#", "up/+/t"] {
            let refused = uplink.submit(1, Message::new(topic, "7"));
            assert_eq!(refused, Err(SubmitError::BadTopic), "{topic}");
        }
        let mut message = Message::new("up/t", 7_u64.to_be_bytes().to_vec());
        message.qos = Qos::AtMostOnce;
        uplink.submit(2, message).unwrap();
        assert_eq!(line.message().await, (0, 7));
        assert_eq!(next(&mut uplink).await, [UplinkEvent::Accepted(2)]);
        assert_eq!(uplink.room(), 100);
    })
    .await;
}

/// A filter that finds the window full of messages is asked for when one of them is done; that it is refused is told.
#[tokio::test]
async fn a_filter_waits_for_room_and_no_longer() {
    within(async {
        let (broker, mut uplink) = Broker::start_for(|settings| settings.window = 1);
        let mut line = broker.welcome().await;
        up(&mut uplink).await;
        submit(&mut uplink, 1);
        uplink.subscribe("a/#");
        let (number, _) = line.message().await;
        line.accept(number).await;
        assert_eq!(next(&mut uplink).await, [UplinkEvent::Accepted(1)]);
        let number = match line.next().await {
            Packet::Subscribe(subscribe) => subscribe.pkid,
            other => panic!("{other:?}"),
        };
        assert_eq!(uplink.room(), 0, "it takes the place of a message");
        let [high, low] = number.to_be_bytes();
        line.say(&[0x90, 3, high, low, 0x80]).await;
        let (filter, reason) = ("a/#".into(), "Failure".into());
        let told = UplinkEvent::NotSubscribed { filter, reason };
        assert_eq!(next(&mut uplink).await, [told]);
        assert_eq!(uplink.room(), 1);
    })
    .await;
}

/// A broker may send faster than anybody looks: what is held of it is bounded, and none of it is lost.
#[tokio::test]
async fn a_flood_waits_in_the_socket_until_it_is_looked_at() {
    const FLOOD: u32 = 200_000;
    within(async {
        let (broker, mut uplink) = Broker::start();
        let line = broker.welcome().await;
        up(&mut uplink).await;
        let (mut read, mut write) = line.stream.into_split();
        let acks = tokio::spawn(async move { tokio::io::copy(&mut read, &mut sink()).await });
        let flood = tokio::spawn(async move {
            for number in 0..FLOOD {
                let [a, b, c, d] = number.to_be_bytes();
                let id = u16::try_from(number % 60_000 + 1).unwrap();
                let [high, low] = id.to_be_bytes();
                let bytes = [0x32, 9, 0, 1, b't', high, low, a, b, c, d];
                write.write_all(&bytes).await.unwrap();
            }
            write
        });
        let mut heard = 0;
        while heard < FLOOD {
            let events = next(&mut uplink).await;
            assert!(events.len() <= 2_000, "{} are held", events.len());
            for event in events {
                match event {
                    UplinkEvent::Inbound { mut message, token } => {
                        assert_eq!(message.payload.get_u32(), heard, "in order");
                        uplink.acknowledge(token.unwrap());
                        heard += 1;
                    }
                    other => panic!("{other:?}"),
                }
            }
            tokio::task::yield_now().await;
        }
        drop((flood.await.unwrap(), uplink));
        let acked = acks.await.unwrap().unwrap();
        assert!(acked <= u64::from(FLOOD) * 4 + 100, "{acked} bytes of them");
    })
    .await;
}

/// Long messages fill the memory before many do: what is held is bounded in bytes, too.
#[tokio::test]
async fn long_messages_wait_in_the_socket_until_they_are_looked_at() {
    const FLOOD: usize = 100;
    within(async {
        let (broker, mut uplink) = Broker::start();
        let line = broker.welcome().await;
        up(&mut uplink).await;
        let (mut read, mut write) = line.stream.into_split();
        let _acks = tokio::spawn(async move { tokio::io::copy(&mut read, &mut sink()).await });
        let flood = tokio::spawn(async move {
            let payload = vec![7; 200 << 10];
            let mut packet = BytesMut::new();
            let mut publish = Publish::from_bytes("t", QoS::AtLeastOnce, payload.into());
            publish.pkid = 1;
            publish.write(&mut packet).unwrap();
            for _ in 0..FLOOD {
                write.write_all(&packet).await.unwrap();
            }
            write
        });
        let mut heard = 0;
        while heard < FLOOD {
            // Until it is full, and waits.
            for _ in 0..10_000 {
                tokio::task::yield_now().await;
            }
            let events = next(&mut uplink).await;
            assert!(events.len() <= 12, "{} are held", events.len());
            heard += events.len();
            for event in events {
                match event {
                    UplinkEvent::Inbound { token, .. } => uplink.acknowledge(token.unwrap()),
                    other => panic!("{other:?}"),
                }
            }
        }
        flood.await.unwrap();
    })
    .await;
}

/// Submits so much that the client's writing comes to a stop where nobody reads.
fn clog(uplink: &mut MqttUplink) {
    for seq in 0..100 {
        let message = Message::new("up/t", vec![7; 200 << 10]);
        uplink.submit(seq, message).unwrap();
    }
}

/// A broker sends and sends, and never reads an acknowledgement: they do not pile up without end.
#[tokio::test]
async fn a_broker_that_sends_and_reads_no_acknowledgement_is_left() {
    within(async {
        let (broker, mut uplink) = Broker::start_for(|settings| {
            settings.keep_alive = Duration::from_secs(3_600);
        });
        let mut line = broker.welcome().await;
        up(&mut uplink).await;
        clog(&mut uplink);
        let _flood = tokio::spawn(async move {
            for id in (1..=u16::MAX).cycle() {
                let [high, low] = id.to_be_bytes();
                let bytes = [0x32, 6, 0, 1, b't', high, low, b'm'];
                if line.stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        });
        let mut acks = 0;
        loop {
            for event in next(&mut uplink).await {
                match event {
                    UplinkEvent::Inbound { token, .. } => uplink.acknowledge(token.unwrap()),
                    UplinkEvent::Down { reason } => {
                        assert!(reason.contains("does not read"), "{reason}");
                        return;
                    }
                    other => panic!("{other:?}"),
                }
                acks += 1;
                assert!(acks < 10_000, "they wait in memory");
            }
        }
    })
    .await;
}

/// What a broker says does not keep a connection up on which it reads nothing.
#[tokio::test]
async fn a_broker_that_talks_and_reads_nothing_is_left() {
    within(async {
        let (broker, mut uplink) = Broker::start();
        let mut line = broker.welcome().await;
        up(&mut uplink).await;
        clog(&mut uplink);
        let _talk = tokio::spawn(async move {
            while line.stream.write_all(&[0xd0, 0]).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let reason = down(&mut uplink).await;
        assert!(reason.contains("reads nothing"), "{reason}");
    })
    .await;
}

/// A broker of version 5 whose packets are so small that nothing of ours fits makes no record be given up.
#[tokio::test]
async fn a_broker_that_takes_next_to_nothing_is_left() {
    within(async {
        let (broker, mut uplink) = Broker::start_for(|settings| {
            settings.version = MqttVersion::V5;
        });
        let _line = broker.welcome_v5(&[0x27, 0, 0, 3, 0xff]).await;
        let _line = broker.welcome_v5(&[0x27, 0, 0, 4, 0]).await;
        up(&mut uplink).await;
        let long = uplink.submit(1, Message::new("up/t", vec![7; 1_100]));
        assert!(matches!(long, Err(SubmitError::TooLong { .. })), "{long:?}");
        let (broker, uplink) = Broker::start_for(|settings| {
            settings.version = MqttVersion::V5;
        });
        for _ in 0..2 {
            let _line = broker.welcome_v5(&[0x27, 0, 0, 0, 20]).await;
        }
        let trouble = uplink.trouble().unwrap();
        assert!(trouble.contains("packets of 20 bytes"), "{trouble}");
    })
    .await;
}

/// Both sides have more to say than the other takes: whoever makes room wakes the connection, or neither ever goes on.
#[tokio::test]
async fn what_is_taken_makes_room_though_nothing_can_be_written() {
    const FLOOD: u32 = 5_000;
    within(async {
        let (broker, mut uplink) = Broker::start_for(|settings| {
            settings.keep_alive = Duration::from_secs(3_600);
        });
        // It reads nothing.
        let mut line = broker.welcome().await;
        up(&mut uplink).await;
        clog(&mut uplink);
        let flood = tokio::spawn(async move {
            for number in 0..FLOOD {
                let [a, b, c, d] = number.to_be_bytes();
                line.say(&[0x32, 9, 0, 1, b't', 0, 7, a, b, c, d]).await;
            }
            line
        });
        let mut heard = 0;
        while heard < FLOOD {
            // Until it is full, and waits.
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
            for event in next(&mut uplink).await {
                assert!(matches!(event, UplinkEvent::Inbound { .. }), "{event:?}");
                heard += 1;
            }
        }
        flood.await.unwrap();
    })
    .await;
}

/// A length that no session holds, said before anything was let in, costs the session nothing.
#[tokio::test]
async fn what_is_too_long_before_the_welcome_does_not_give_up_the_session() {
    within(async {
        let (broker, _uplink) = Broker::start();
        for _ in 0..3 {
            let mut line = broker.accept().await;
            match line.next().await {
                Packet::Connect(connect) => assert!(!connect.clean_session),
                other => panic!("{other:?}"),
            }
            line.say(&[0x30, 0xff, 0xff, 0xff, 0x7f]).await;
        }
    })
    .await;
}

/// A broker of version 5 that wishes no keep alive is not asked again and again.
#[tokio::test]
async fn a_keep_alive_of_zero_is_none() {
    within(async {
        let (broker, mut uplink) = Broker::start_for(|settings| {
            settings.version = MqttVersion::V5;
            settings.keep_alive = Duration::from_secs(3_600);
        });
        let mut line = broker.welcome_v5(&[0x13, 0, 0]).await;
        up(&mut uplink).await;
        let said = tokio::time::timeout(Duration::from_millis(100), line.stream.read_u8()).await;
        assert!(said.is_err(), "{said:?} is said into the silence");
        submit(&mut uplink, 1);
        assert_eq!(line.stream.read_u8().await.unwrap(), 0x32);
    })
    .await;
}

/// A whole packet that says that it goes on is no half one: nothing of it is passed over in silence.
#[tokio::test]
async fn a_packet_cut_short_inside_ends_a_connection_of_version_5() {
    within(async {
        let (broker, mut uplink) = Broker::start_for(|settings| {
            settings.version = MqttVersion::V5;
        });
        // A message without its properties, and one whose length of properties has no end.
        for bytes in [
            &[0x32_u8, 5, 0, 1, b't', 0, 7] as &[u8],
            &[0x32, 6, 0, 1, b't', 0, 7, 0x80],
        ] {
            let mut line = broker.welcome_v5(&[]).await;
            up(&mut uplink).await;
            line.say(bytes).await;
            let reason = down(&mut uplink).await;
            assert!(!reason.contains("does not answer"), "{reason}");
        }
    })
    .await;
}

/// What a client says to be let in, as the standards have it: the flags, and what they say is behind the client's name.
fn connect(version: MqttVersion, flags: u8, will: Option<[&str; 2]>, login: &[&str]) -> Vec<u8> {
    let is_v5 = version == MqttVersion::V5;
    let level = if is_v5 { 5 } else { 4 };
    let mut bytes = vec![0, 4, b'M', b'Q', b'T', b'T', level, flags, 0, 1];
    if is_v5 {
        // A session of a week, 256 messages to us at a time, and their packets of 257 KiB.
        bytes.extend([13, 0x11, 0, 9, 0x3a, 0x80, 0x21, 1, 0, 0x27, 0, 4, 4, 0]);
    }
    bytes.extend(spelled("m"));
    if let Some(will) = will {
        // It has no properties.
        bytes.extend(is_v5.then_some(0));
        bytes.extend(will.into_iter().flat_map(spelled));
    }
    bytes.extend(login.iter().copied().flat_map(spelled));
    bytes
}

fn spelled(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

/// That of a message that nothing of ours holds.
const TOO_LONG: [u8; 5] = [0x30, 0xff, 0xff, 0xff, 0x7f];

impl Broker {
    /// What the client says to be let in; then it is.
    async fn greeting(&self, version: MqttVersion) -> (Vec<u8>, Line) {
        let mut line = self.accept().await;
        let greeting = line.connect().await;
        line.say(if version == MqttVersion::V5 {
            &[0x20, 3, 0, 0, 0]
        } else {
            &WELCOME
        })
        .await;
        (greeting, line)
    }
}

/// Who a client is and what is to be said when it dies goes with each attempt; but nobody dies with a connection that is only
/// to have the session forgotten.
#[tokio::test]
async fn a_client_says_who_it_is_and_what_to_say_when_it_dies() {
    let will = Message {
        is_retained: true,
        ..Message::new("up/status", "gone")
    };
    let (told, login) = (Some(["up/status", "gone"]), ["barista", "secret"]);
    for version in [MqttVersion::V4, MqttVersion::V5] {
        within(async {
            let (broker, _uplink) = Broker::start_for(|settings| {
                settings.version = version;
                settings.credentials = Some(login.map(Into::into).into());
                settings.last_will = Some(will.clone());
            });
            let all = connect(version, 0b1110_1100, told, &login);
            // Nobody answers the first.
            assert_eq!(broker.accept().await.connect().await, all, "{version:?}");
            let (greeting, mut line) = broker.greeting(version).await;
            assert_eq!(greeting, all, "{version:?}");
            line.say(&TOO_LONG).await;
            let (greeting, _line) = broker.greeting(version).await;
            let forget = connect(version, 0b1100_0010, None, &login);
            assert_eq!(greeting, forget, "{version:?}");
            let (greeting, _line) = broker.greeting(version).await;
            assert_eq!(greeting, all, "{version:?}");
        })
        .await;
    }
}

/// A broker of 3.1.1 has to hang up on a password without a user name [MQTT-3.1.2-22]; one of 5 lets it in.
#[tokio::test]
async fn a_password_without_a_user_name_is_told_in_version_5_alone() {
    let spawn = |broker: &Broker, version, user: &str, password: &str| {
        let mut settings = broker.settings();
        settings.version = version;
        settings.credentials = Some((user.to_owned(), password.to_owned()));
        MqttUplink::spawn(&tokio::runtime::Handle::current(), settings)
    };
    let (v4, v5) = (MqttVersion::V4, MqttVersion::V5);
    let refused = spawn(&Broker::listen(), v4, "", "secret");
    let is_refused = matches!(refused, Err(EdgeError::PasswordWithoutUser));
    assert!(is_refused, "{refused:?}");

    for (version, user, password, flags) in [
        (v5, "", "secret", 0b0100_0000),
        (v4, "barista", "", 0b1000_0000),
        (v5, "barista", "", 0b1000_0000),
        (v4, "", "", 0),
    ] {
        within(async {
            let broker = Broker::listen();
            let _uplink = spawn(&broker, version, user, password).unwrap();
            let told = [user, password].into_iter().filter(|it| !it.is_empty());
            let told: Vec<_> = told.collect();
            let greeting = broker.accept().await.connect().await;
            let case = format!("{version:?} {user:?} {password:?}");
            assert_eq!(greeting, connect(version, flags, None, &told), "{case}");
        })
        .await;
    }
}

/// What has no room in the packet by which a connection begins is refused before there is any.
#[tokio::test]
async fn settings_that_are_too_long_to_be_told_are_refused() {
    let long = "a".repeat(65_536);
    let changes: [&dyn Fn(&mut MqttSettings); 5] = [
        &|settings| settings.client_id.clone_from(&long),
        &|settings| settings.credentials = Some((long.clone(), String::new())),
        &|settings| settings.credentials = Some(("barista".to_owned(), long.clone())),
        &|settings| settings.last_will = Some(Message::new(long.as_str(), "gone")),
        &|settings| settings.last_will = Some(Message::new("up/status", long.clone())),
    ];
    for (version, change) in [MqttVersion::V4, MqttVersion::V5]
        .into_iter()
        .flat_map(|version| changes.map(|change| (version, change)))
    {
        let mut settings = MqttSettings::new("m", "127.0.0.1", 1);
        settings.version = version;
        change(&mut settings);
        let refused = MqttUplink::spawn(&tokio::runtime::Handle::current(), settings);
        let is_refused = matches!(
            refused,
            Err(EdgeError::TooLong {
                length: 65_536,
                length_max: 65_535,
                ..
            })
        );
        assert!(is_refused, "{refused:?}");
    }
}

/// A will that names its connection is made anew for each, and not for one that has none.
#[tokio::test]
async fn each_connection_has_a_will_of_its_own() {
    for version in [MqttVersion::V4, MqttVersion::V5] {
        within(async {
            let broker = Broker::listen();
            let mut settings = broker.settings();
            settings.version = version;
            settings.last_will = Some(Message::new("never", "said"));
            let mut count = 0;
            let will = move || {
                count += 1;
                let mut will = Message::new("up/death", count.to_string());
                will.qos = Qos::AtMostOnce;
                (count < 4).then_some(will)
            };
            let runtime = tokio::runtime::Handle::current();
            let _uplink = MqttUplink::spawn_with_will(&runtime, settings, will).unwrap();
            let of = |number| connect(version, 0b100, Some(["up/death", number]), &[]);
            let (greeting, _) = broker.greeting(version).await;
            assert_eq!(greeting, of("1"), "{version:?}");
            let (greeting, mut line) = broker.greeting(version).await;
            assert_eq!(greeting, of("2"), "{version:?}");
            line.say(&TOO_LONG).await;
            let (greeting, _line) = broker.greeting(version).await;
            let forget = connect(version, 0b10, None, &[]);
            assert_eq!(greeting, forget, "{version:?}");
            let (greeting, _) = broker.greeting(version).await;
            assert_eq!(greeting, of("3"), "not asked in between");
            let (greeting, _line) = broker.greeting(version).await;
            assert_eq!(greeting, connect(version, 0, None, &[]), "{version:?}");
        })
        .await;
    }
}
