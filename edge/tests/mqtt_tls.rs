//! An encrypted connection to a real broker: it carries records, and nothing is said to a broker that nobody vouches for.
//! Skipped where Mosquitto is not installed.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test says what it sees, and ends at what should not be"
)]

mod broker;

use std::future::poll_fn;
use std::time::Duration;

use peaberry_edge::uplink::{
    Message, MqttSettings, MqttTls, MqttUplink, MqttVersion, Uplink, UplinkEvent,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use self::broker::Broker;

/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// An authority, and what it issues.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { pem, issuer }
    }

    /// A certificate for `name` and its key, in PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// A broker that shows a certificate for `localhost`, and wants one of its clients.
fn start(authority: &Authority) -> Option<Broker> {
    Broker::start(|folder| {
        let (certificate, key) = authority.issue("localhost");
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let ca = write("ca.pem", &authority.pem);
        let certificate = write("broker.pem", &certificate);
        let key = write("broker.key", &key);
        format!(
            "cafile {ca}\ncertfile {certificate}\nkeyfile {key}\nrequire_certificate true\n\
             # As root it would become another user, who cannot read the key.\nuser root"
        )
    })
}

fn settings(broker: &Broker, id: &str, tls: MqttTls) -> MqttSettings {
    let mut settings = MqttSettings::new(id, "localhost", broker.port);
    settings.tls = Some(tls);
    settings.backoff_max = Duration::from_millis(200);
    settings
}

/// The next event.
async fn next(uplink: &mut MqttUplink) -> UplinkEvent {
    let mut events = Vec::new();
    poll_fn(|cx| uplink.poll_events(cx, &mut events)).await;
    assert_eq!(events.len(), 1, "one thing is waited for at a time");
    events.remove(0)
}

/// What keeps the connection from being made, once something of the kind does.
async fn trouble(uplink: &MqttUplink, word: &str) -> String {
    loop {
        if let Some(trouble) = uplink.trouble()
            && trouble.contains(word)
        {
            return trouble.to_string();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_goes_to_a_broker_that_is_vouched_for_and_to_no_other() {
    let authority = Authority::new("ours");
    let Some(broker) = start(&authority) else {
        return;
    };
    let story = tokio::time::timeout(PATIENCE, async {
        for version in [MqttVersion::V4, MqttVersion::V5] {
            accepted(&broker, &authority, version).await;
        }
        refused(&broker, &authority).await;
    });
    story.await.expect("nothing takes so long");
}

async fn accepted(broker: &Broker, authority: &Authority, version: MqttVersion) {
    let runtime = tokio::runtime::Handle::current();
    let (certificate, key) = authority.issue("m-17");
    let tls = MqttTls::with_identity(
        authority.pem.as_bytes(),
        certificate.as_bytes(),
        key.as_bytes(),
    );
    let mut settings = settings(broker, &format!("m-17-{version:?}"), tls.unwrap());
    settings.version = version;
    let mut uplink = MqttUplink::spawn(&runtime, settings).unwrap();
    assert!(matches!(next(&mut uplink).await, UplinkEvent::Up { .. }));
    assert_eq!(uplink.trouble(), None);
    uplink.submit(7, Message::new("up/t", "93.5")).unwrap();
    assert_eq!(next(&mut uplink).await, UplinkEvent::Accepted(7));
}

async fn refused(broker: &Broker, authority: &Authority) {
    let runtime = tokio::runtime::Handle::current();
    let (certificate, key) = authority.issue("m-18");
    let with = |authority: &Authority| {
        let (ca, own) = (authority.pem.as_bytes(), certificate.as_bytes());
        MqttTls::with_identity(ca, own, key.as_bytes()).unwrap()
    };
    let stranger = settings(broker, "m-18", with(&Authority::new("another")));
    let uplink = MqttUplink::spawn(&runtime, stranger).unwrap();
    let why = trouble(&uplink, "certificate").await;
    println!("another authority: {why}");
    assert!(why.contains("UnknownIssuer"), "{why}");
    assert_eq!(uplink.room(), 0, "nothing may be submitted");

    let mut elsewhere = settings(broker, "m-18", with(authority));
    elsewhere.host = "127.0.0.1".to_owned();
    let uplink = MqttUplink::spawn(&runtime, elsewhere).unwrap();
    let why = trouble(&uplink, "certificate").await;
    println!("another host: {why}");
    assert!(why.contains("not valid for name"), "{why}");

    let mut plain = settings(broker, "m-18", with(authority));
    plain.tls = None;
    let uplink = MqttUplink::spawn(&runtime, plain).unwrap();
    let why = trouble(&uplink, "").await;
    println!("without TLS: {why}");
    assert_eq!(uplink.room(), 0);
}
