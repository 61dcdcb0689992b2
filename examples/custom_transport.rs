//! Writing a transport of one's own, and proving that it keeps a transport's promises.
//!
//! You learn what a `Transport` must do, by one that is small enough to read: a post office within one process, where
//! each peer has a courier thread and each (sender, channel) a lane of its own, a bounded channel of the standard
//! library. Then the public conformance suite examines it, and finds the mistake in a careless variant of it.
//!
//! ```text
//! cargo run --release --example custom_transport
//! ```
//!
//! Tested as: `cargo run --example custom_transport`
//!
//! You will see how many messages and bytes the couriers carried for the suite, and what it says about the variant.

use std::collections::BTreeMap;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::task::{Context, Wake, Waker};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use bytes::Bytes;
use peaberry_core::conformance::transport::{self, Harness};
use peaberry_core::{
    Channel, Envelope, Mailbox, Outgoing, PAYLOAD_BYTES_MAX, PeerId, Peers, ProtocolId, Transport,
    TransportError,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut office = Examination::new(Variant::Careful);
    transport::all(&mut office);
    let (messages, bytes) = office.carried.totals();
    println!("the post office keeps every promise: {messages} messages, {bytes} bytes carried");
    assert!(messages > 500, "the suite sends more than that");

    // A careless courier delivers to everybody, whoever the protocol accepts.
    let mut careless = Examination::new(Variant::DeliversFromAnyone);
    let silent = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let examined = catch_unwind(AssertUnwindSafe(|| transport::all(&mut careless)));
    std::panic::set_hook(silent);
    let panic = examined.err().ok_or("the suite missed the mistake")?;
    let finding = panic.downcast::<String>().map_err(|_| "no finding")?;
    let first_line = finding.lines().next().unwrap_or_default();
    println!("the careless variant was found out: {first_line}");
    assert!(finding.contains("not accepted"));
    Ok(())
}

/// How many messages may wait in one lane.
const LANE_MESSAGES_MAX: usize = 64;

/// How many lanes may lead to one peer.
const LANES_MAX: usize = 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Variant {
    Careful,
    DeliversFromAnyone,
}

/// The peers that can reach each other.
type PostOffice = Arc<RwLock<BTreeMap<PeerId, Arc<Desk>>>>;

/// Where one peer's messages arrive.
struct Desk {
    variant: Variant,
    bindings: Mutex<BTreeMap<ProtocolId, (Peers, Weak<Mailbox>)>>,
    /// The near ends of the lanes that lead here.
    lanes: Mutex<BTreeMap<(PeerId, Channel), SyncSender<Bytes>>>,
    /// Takes the far ends to the courier.
    opened: Sender<Lane>,
    courier: Thread,
}

/// One peer's own transport. Dropping it sends the courier home.
struct Post {
    local: PeerId,
    office: PostOffice,
    desk: Arc<Desk>,
    open: Arc<AtomicBool>,
    courier: Option<JoinHandle<()>>,
}

impl Post {
    fn join(office: &PostOffice, local: PeerId, variant: Variant, carried: Arc<Carried>) -> Self {
        let (opened, lanes) = channel();
        let (hired, desk) = channel::<Arc<Desk>>();
        let open = Arc::new(AtomicBool::new(true));
        let courier = std::thread::spawn({
            let open = open.clone();
            move || {
                if let Ok(desk) = desk.recv() {
                    run(&desk, &lanes, &open, &carried);
                }
            }
        });
        let desk = Arc::new(Desk {
            variant,
            bindings: Mutex::default(),
            lanes: Mutex::default(),
            opened,
            courier: courier.thread().clone(),
        });
        // The courier waits for exactly this.
        let _ = hired.send(desk.clone());
        office
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(local, desk.clone());
        Self {
            local,
            office: office.clone(),
            desk,
            open,
            courier: Some(courier),
        }
    }
}

impl Transport for Post {
    fn local(&self) -> PeerId {
        self.local
    }

    fn bind(
        &self,
        protocol: ProtocolId,
        accept: Peers,
        mailbox: Arc<Mailbox>,
    ) -> Result<(), TransportError> {
        let mut bindings = lock(&self.desk.bindings);
        // Only a weak reference is kept: the binding ends when the mailbox's owners drop it.
        if let Some((_, bound)) = bindings.get(&protocol)
            && bound.strong_count() > 0
        {
            let local = self.local;
            return Err(TransportError::AlreadyBound { protocol, local });
        }
        bindings.insert(protocol, (accept, Arc::downgrade(&mailbox)));
        Ok(())
    }

    fn send(&self, batch: &mut Vec<Outgoing>) {
        let office = self.office.read().unwrap_or_else(PoisonError::into_inner);
        batch.retain(|message| {
            let desk = office.get(&message.to).filter(|_| message.to != self.local);
            let taken = desk.is_some_and(|desk| {
                message.payload.len() <= PAYLOAD_BYTES_MAX && desk.take(self.local, message)
            });
            // What stays in the batch was refused.
            !taken
        });
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        self.open.store(false, Ordering::SeqCst);
        self.desk.courier.unpark();
        if let Some(courier) = self.courier.take() {
            // A courier that panicked has said so.
            let _ = courier.join();
        }
    }
}

impl Desk {
    /// Puts a message into its lane, if there is room. Never waits.
    fn take(&self, from: PeerId, message: &Outgoing) -> bool {
        let mut lanes = lock(&self.lanes);
        if lanes.len() >= LANES_MAX && !lanes.contains_key(&(from, message.channel)) {
            return false;
        }
        let lane = lanes.entry((from, message.channel)).or_insert_with(|| {
            let (near, far) = sync_channel(LANE_MESSAGES_MAX);
            // It fails only when the courier is gone, and then the lane's near end fails too.
            let _ = self.opened.send(Lane {
                from,
                channel: message.channel,
                queue: far,
                held: None,
            });
            near
        });
        let taken = lane.try_send(message.payload.clone()).is_ok();
        drop(lanes);
        self.courier.unpark();
        taken
    }

    fn mailbox(&self, lane: &Lane) -> Option<Arc<Mailbox>> {
        let bindings = lock(&self.bindings);
        let (accept, mailbox) = bindings.get(&lane.channel.protocol)?;
        let heard = accept.contains(lane.from) || self.variant == Variant::DeliversFromAnyone;
        mailbox.upgrade().filter(|_| heard)
    }
}

/// The far end of a lane.
struct Lane {
    from: PeerId,
    channel: Channel,
    queue: Receiver<Bytes>,
    /// A message that its mailbox had no room for.
    held: Option<Bytes>,
}

/// A courier's day: one message from each lane by turns, so that none holds up the others.
fn run(desk: &Desk, opened: &Receiver<Lane>, open: &AtomicBool, carried: &Carried) {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut lanes = Vec::new();
    while open.load(Ordering::SeqCst) {
        lanes.extend(opened.try_iter());
        let mut moved = false;
        for lane in &mut lanes {
            moved |= lane.deliver(desk, carried, &mut Context::from_waker(&waker));
        }
        if !moved {
            // A new message unparks, and so does a full mailbox once it has room.
            std::thread::park();
        }
    }
}

impl Lane {
    /// Delivers one message; `false` when there is none, or no room for it.
    fn deliver(&mut self, desk: &Desk, carried: &Carried, cx: &mut Context<'_>) -> bool {
        let Some(payload) = self.held.take().or_else(|| self.queue.try_recv().ok()) else {
            return false;
        };
        let Some(mailbox) = desk.mailbox(self) else {
            // Nobody listens: best effort ends here.
            return true;
        };
        let bytes = payload.len();
        let mut batch = vec![Envelope {
            from: self.from,
            channel: self.channel,
            payload,
        }];
        mailbox.deliver(&mut batch);
        match batch.pop() {
            None => {
                carried.count(bytes);
                true
            }
            Some(refused) => {
                self.held = Some(refused.payload);
                mailbox.poll_room(self.from, cx).is_ready()
            }
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[derive(Default)]
struct Carried {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

impl Carried {
    fn count(&self, bytes: usize) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn totals(&self) -> (usize, usize) {
        let load = |total: &AtomicUsize| total.load(Ordering::Relaxed);
        (load(&self.messages), load(&self.bytes))
    }
}

/// What the suite needs to know: how to make connected peers, and how to let them work.
struct Examination {
    variant: Variant,
    carried: Arc<Carried>,
}

impl Examination {
    fn new(variant: Variant) -> Self {
        let carried = Arc::default();
        Self { variant, carried }
    }
}

impl Harness for Examination {
    fn connect(&mut self, count: usize) -> Vec<Arc<dyn Transport>> {
        let office = PostOffice::default();
        let ids = (1..).filter_map(PeerId::new).take(count);
        let join = |id| Post::join(&office, id, self.variant, self.carried.clone());
        ids.map(|id| Arc::new(join(id)) as Arc<dyn Transport>)
            .collect()
    }

    fn wait(&mut self) {
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
