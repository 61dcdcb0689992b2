//! The transports that ship keep the promises of `Transport`.

#![expect(
    clippy::unwrap_used,
    reason = "what a test's helpers expect is a test too"
)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use peaberry_core::ca::DevelopmentCa;
use peaberry_core::conformance::transport::{self, Harness};
use peaberry_core::mesh::{Credentials, Mesh, MeshConfig};
use peaberry_core::{
    Channel, ClusterId, Mailbox, MemoryNetwork, Outgoing, PAYLOAD_BYTES_MAX, PeerId, Peers,
    ProtocolId, Transport, TransportError,
};

struct Memory;

impl Harness for Memory {
    fn connect(&mut self, count: usize) -> Vec<Arc<dyn Transport>> {
        let network = MemoryNetwork::new();
        let join = |id| Arc::new(network.join(id)) as Arc<dyn Transport>;
        peers(count).map(join).collect()
    }

    fn wait(&mut self) {}

    fn waits_max(&self) -> usize {
        1000
    }
}

#[test]
fn memory_keeps_its_promises() {
    transport::all(&mut Memory);
}

struct Loopback {
    runtime: tokio::runtime::Runtime,
    ca: DevelopmentCa,
    /// Whether the peers are clients of the second, which alone listens.
    clients: bool,
}

impl Loopback {
    fn new(clients: bool) -> Self {
        Self {
            runtime: tokio::runtime::Runtime::new().unwrap(),
            ca: DevelopmentCa::new(ClusterId::new(1).unwrap()).unwrap(),
            clients,
        }
    }

    fn start(&self, id: PeerId, listens: bool) -> Mesh {
        let issued = self.ca.issue(id).unwrap();
        let credentials = Credentials::from_pem(
            &issued.certificate_pem,
            &issued.key_pem,
            &issued.authority_pem,
        );
        let mut config = MeshConfig::new(credentials.unwrap(), id.get());
        config.listen = listens.then(|| "127.0.0.1:0".parse().unwrap());
        config.times.delivery_wait = Duration::from_millis(200);
        self.runtime.block_on(Mesh::start(config)).unwrap()
    }
}

impl Harness for Loopback {
    fn connect(&mut self, count: usize) -> Vec<Arc<dyn Transport>> {
        // The suite's first peer sends to its second; where only one listens, it is the first: so what is checked
        // leaves by the connection that the other side dialled.
        let listens = |at: usize| !self.clients || at == 0;
        let meshes: Vec<_> = peers(count)
            .enumerate()
            .map(|(at, id)| self.start(id, listens(at)))
            .collect();
        for from in &meshes {
            for to in meshes.iter().filter(|to| to.local() != from.local()) {
                if let Some(address) = to.local_addr() {
                    from.set_peer(to.local(), address).unwrap();
                }
            }
        }
        let dynamic = |mesh| Arc::new(mesh) as Arc<dyn Transport>;
        meshes.into_iter().map(dynamic).collect()
    }

    fn wait(&mut self) {
        self.runtime
            .block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
    }
}

#[test]
fn a_mesh_keeps_its_promises() {
    transport::all(&mut Loopback::new(false));
}

/// A server answers clients that have no listener by the connection that they dialled.
#[test]
fn a_server_keeps_its_promises_to_its_clients() {
    let harness = &mut Loopback::new(true);
    transport::payloads_arrive_as_they_were_sent(harness);
    transport::mailboxes_get_their_protocol_only(harness);
    transport::a_protocol_is_bound_once(harness);
    transport::what_cannot_be_sent_stays_in_the_batch(harness);
    transport::a_full_queue_refuses_and_recovers(harness);
    transport::a_long_transfer_holds_up_no_other_channel(harness);
    transport::a_stuck_mailbox_holds_up_no_other_protocol(harness);
    transport::any_thread_may_send(harness);
}

/// A memory transport with one fault, to see that the suite finds it.
struct Faulty {
    inner: Arc<dyn Transport>,
    fault: Fault,
}

#[derive(Clone, Copy)]
enum Fault {
    AltersBytes,
    MixesChannels,
    AcceptsEveryone,
    BindsTwice,
    TakesOversized,
    TakesEverything,
    LosesEverything,
    StarvesTheSmall,
}

impl Transport for Faulty {
    fn local(&self) -> PeerId {
        self.inner.local()
    }

    fn bind(
        &self,
        protocol: ProtocolId,
        accept: Peers,
        mailbox: Arc<Mailbox>,
    ) -> Result<(), TransportError> {
        match self.fault {
            Fault::AcceptsEveryone => self.inner.bind(protocol, Peers::Any, mailbox),
            Fault::BindsTwice => self.inner.bind(protocol, accept, mailbox).or(Ok(())),
            _ => self.inner.bind(protocol, accept, mailbox),
        }
    }

    fn send(&self, batch: &mut Vec<Outgoing>) {
        // Beside the good one, which is waited for, a bad one.
        let bad = batch.first().cloned().map(|message| match self.fault {
            Fault::AltersBytes => Outgoing {
                payload: Bytes::from(vec![1; message.payload.len()]),
                ..message
            },
            Fault::MixesChannels => Outgoing {
                channel: Channel::new(message.channel.protocol, message.channel.group + 1),
                ..message
            },
            _ => message,
        });
        if matches!(self.fault, Fault::AltersBytes | Fault::MixesChannels) {
            self.inner.send(&mut bad.into_iter().collect());
        }
        match self.fault {
            Fault::LosesEverything => batch.clear(),
            Fault::TakesOversized => {
                batch.retain(|message| message.payload.len() <= PAYLOAD_BYTES_MAX);
            }
            Fault::StarvesTheSmall => {
                batch.retain(|message| message.payload != "heartbeat");
            }
            _ => {}
        }
        self.inner.send(batch);
        if matches!(self.fault, Fault::TakesEverything) {
            batch.retain(|message| message.channel.group != 2);
        }
    }
}

impl Harness for Fault {
    fn connect(&mut self, count: usize) -> Vec<Arc<dyn Transport>> {
        let faulty = |inner| {
            let fault = *self;
            Arc::new(Faulty { inner, fault }) as Arc<dyn Transport>
        };
        Memory.connect(count).into_iter().map(faulty).collect()
    }

    fn wait(&mut self) {}

    fn waits_max(&self) -> usize {
        1000
    }
}

#[test]
#[should_panic(expected = "arrived with other bytes or on another channel")]
fn altered_bytes_are_found() {
    transport::payloads_arrive_as_they_were_sent(&mut Fault::AltersBytes);
}

#[test]
#[should_panic(expected = "arrived with other bytes or on another channel")]
fn mixed_channels_are_found() {
    transport::payloads_arrive_as_they_were_sent(&mut Fault::MixesChannels);
}

#[test]
#[should_panic(expected = "a message from a peer that is not accepted")]
fn a_transport_that_accepts_everyone_is_found() {
    transport::mailboxes_get_accepted_peers_only(&mut Fault::AcceptsEveryone);
}

#[test]
#[should_panic(expected = "a second mailbox was bound")]
fn a_second_binding_is_found() {
    transport::a_protocol_is_bound_once(&mut Fault::BindsTwice);
}

#[test]
#[should_panic(expected = "one was taken")]
fn a_transport_that_takes_what_it_cannot_send_is_found() {
    transport::what_cannot_be_sent_stays_in_the_batch(&mut Fault::TakesOversized);
}

#[test]
#[should_panic(expected = "and none refused")]
fn an_unbounded_queue_is_found() {
    transport::a_full_queue_refuses_and_recovers(&mut Fault::TakesEverything);
}

#[test]
#[should_panic(expected = "waited in vain")]
fn a_transport_that_loses_everything_is_found() {
    transport::any_thread_may_send(&mut Fault::LosesEverything);
}

#[test]
#[should_panic(expected = "on another channel")]
fn a_starved_channel_is_found() {
    transport::a_long_transfer_holds_up_no_other_channel(&mut Fault::StarvesTheSmall);
}

fn peers(count: usize) -> impl Iterator<Item = PeerId> {
    (1..).filter_map(PeerId::new).take(count)
}
