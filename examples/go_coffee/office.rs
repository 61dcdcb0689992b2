//! The office: its collector takes each record that the machines tell once, and says what has come.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use peaberry_core::{Channel, Clock, DiskOptions, DiskStorage, SystemClock};
use peaberry_edge::collector::{COLLECTOR, Collector, CollectorSettings, Intake};
use peaberry_edge::payload::{OrderPhase, Payload};
use peaberry_edge::uplink::Uplink;
use peaberry_edge::{DeviceId, SiteId};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::Failure;
use crate::machine::number_of;

/// Acknowledgements go at most so often.
const ACK_INTERVAL: Duration = Duration::from_millis(20);

/// How much of the inbox is read at once, in bytes.
const READ_MAX: usize = 1 << 20;

/// The collector at work.
pub(crate) struct Office {
    collected: Arc<AtomicU64>,
    close: oneshot::Sender<()>,
    work: JoinHandle<Result<Books, Failure>>,
}

/// What the collector has.
struct Books {
    intake: Intake<Box<dyn Uplink>>,
    disk: DiskStorage,
    refusals: Vec<String>,
}

impl Office {
    pub(crate) fn open(
        folder: &Path,
        site: SiteId,
        uplink: Box<dyn Uplink>,
        clock: SystemClock,
    ) -> Result<Self, Failure> {
        let disk = DiskStorage::open(folder.join("office"), DiskOptions::owned_by("office"))?;
        let settings = CollectorSettings {
            ack_interval: ACK_INTERVAL,
            ..CollectorSettings::default()
        };
        let collector = Collector::open(&disk, Channel::new(COLLECTOR, 0), site, settings)?;
        let intake = Intake::new(collector, uplink);
        let collected = Arc::<AtomicU64>::default();
        let (close, closed) = oneshot::channel();
        let (runtime, progress) = (tokio::runtime::Handle::current(), collected.clone());
        // It waits for its disk, which nobody else should do with it.
        let work = tokio::task::spawn_blocking(move || {
            runtime.block_on(collect(intake, disk, clock, progress, closed))
        });
        Ok(Self {
            collected,
            close,
            work,
        })
    }

    /// Records that are durable here.
    pub(crate) fn collected(&self) -> u64 {
        self.collected.load(Ordering::SeqCst)
    }

    /// Closes, and counts what has come.
    pub(crate) async fn close(self) -> Result<Collection, Failure> {
        // It may have ended by itself, and then says why.
        let _ = self.close.send(());
        self.work.await??.count()
    }
}

async fn collect(
    mut intake: Intake<Box<dyn Uplink>>,
    disk: DiskStorage,
    clock: SystemClock,
    progress: Arc<AtomicU64>,
    mut closed: oneshot::Receiver<()>,
) -> Result<Books, Failure> {
    let mut refusals = Vec::new();
    loop {
        let deadline = intake.collector().deadline();
        let wait = deadline.map(|at| at.since(clock.now()));
        let turn = poll_fn(|cx| match intake.turn(cx, clock.now(), &disk) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(report)) => Poll::Ready(Ok(report)),
            Err(error) => Poll::Ready(Err(error)),
        });
        tokio::select! {
            report = turn => {
                let named = report?.refusals.into_iter();
                refusals.extend(named.map(|(topic, error)| format!("{topic}: {error}")));
            }
            () = tokio::time::sleep(wait.unwrap_or(Duration::MAX)), if wait.is_some() => {}
            _ = &mut closed => break,
        }
        progress.store(intake.collector().inbox().end, Ordering::SeqCst);
    }
    Ok(Books {
        intake,
        disk,
        refusals,
    })
}

/// What has come.
#[derive(Default)]
pub(crate) struct Collection {
    pub(crate) records: u64,
    pub(crate) readings: u64,
    /// Behind how many other records each order was told to be completed: once, where all is well.
    pub(crate) completed: BTreeMap<u64, Vec<u64>>,
    pub(crate) violations: Vec<String>,
}

impl Collection {
    /// How many orders were told to be completed within the first `records` that were collected.
    pub(crate) fn completed_within(&self, records: u64) -> usize {
        let places = self.completed.values().flatten();
        places.filter(|&&place| place < records).count()
    }
}

impl Books {
    fn count(mut self) -> Result<Collection, Failure> {
        let collector = self.intake.collector();
        let mut collection = Collection {
            violations: self.refusals,
            ..Collection::default()
        };
        let mut sequences = BTreeMap::<DeviceId, Vec<u64>>::new();
        let inbox = collector.inbox();
        let mut from = inbox.start;
        while from < inbox.end {
            for record in collector.records(&self.disk, from, READ_MAX)? {
                from += 1;
                collection.records += 1;
                sequences
                    .entry(record.id.device)
                    .or_default()
                    .push(record.id.sequence);
                match record.payload {
                    Payload::Readings(readings) => {
                        let columns = readings.columns.iter();
                        let count: usize = columns.map(peaberry_edge::payload::Column::len).sum();
                        collection.readings += u64::try_from(count)?;
                    }
                    Payload::Order(update) if update.phase == OrderPhase::Completed => {
                        let number = number_of(&update.key).ok_or("an order has a number")?;
                        collection
                            .completed
                            .entry(number)
                            .or_default()
                            .push(from - 1);
                    }
                    Payload::Gap(gap) => collection
                        .violations
                        .push(format!("records were given up: {gap:?}")),
                    _ => {}
                }
            }
        }
        for (device, mut sequence) in sequences {
            sequence.sort_unstable();
            let whole = (1..).zip(&sequence).all(|(want, &have)| want == have);
            if !whole {
                collection
                    .violations
                    .push(format!("records of {device} are missing or double"));
            }
        }
        Ok(collection)
    }
}
