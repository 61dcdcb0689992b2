//! A coffee machine whose broker is gone for an hour, and whose power fails amid that: nothing is lost.
//!
//! You will learn how a `Spool` keeps what a device has to say, how a `Courier` carries it to an uplink, how a `Collector`
//! takes each record once and acknowledges what it has made durable, and why a broker's acknowledgement is not enough: this
//! broker has accepted records that it then dies with.
//!
//! Tested as: `cargo run --example edge_outage`
//!
//! You will see the spool grow and drain, in an hour of virtual time that takes a second. Stores are folders on the disk.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use peaberry_core::{Batch, Channel, DiskOptions, DiskStorage, Instant};
use peaberry_edge::collector::{COLLECTOR, Collector, CollectorSettings, Intake};
use peaberry_edge::courier::Courier;
use peaberry_edge::payload::{Alert, Column, Level, Payload, Readings};
use peaberry_edge::spool::{SPOOL, Spool, SpoolSettings};
use peaberry_edge::uplink::memory::Faults;
use peaberry_edge::uplink::{MemoryBroker, MemoryUplink};
use peaberry_edge::{DeviceId, Name, RecordId, SiteId};

type Failure = Box<dyn Error>;

/// A machine reports its boiler so often.
const PERIOD: Duration = Duration::from_secs(5);

fn main() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let mut cafe = Cafe::open(folder.path())?;
    println!(
        "{:>9}  {:>7}  {:>9}  {:>9}",
        "time", "uplink", "spooled", "collected"
    );

    cafe.run(Duration::from_secs(300))?;
    cafe.show();
    // The broker accepts a minute of records and dies with them.
    cafe.broker.set_faults(Faults {
        forgotten: 1_000,
        ..Faults::default()
    });
    cafe.run(Duration::from_secs(60))?;
    cafe.broker.set_faults(Faults::default());
    cafe.broker.kill();
    for _ in 0..3 {
        cafe.run(Duration::from_secs(600))?;
        cafe.show();
    }
    println!("           the machine loses its power");
    cafe.restart_machine(folder.path())?;
    for _ in 0..3 {
        cafe.run(Duration::from_secs(600))?;
        cafe.show();
    }
    let spooled = cafe.spooled();
    cafe.broker.start();
    println!("           the broker is back");
    for _ in 0..4 {
        cafe.run(Duration::from_secs(15))?;
        cafe.show();
    }

    let collected = cafe.collected()?;
    let missing = cafe.made.difference(&collected).count();
    println!(
        "{} records made, {} waited at most, {} collected, {missing} lost",
        cafe.made.len(),
        spooled,
        collected.len()
    );
    if missing > 0 || spooled < 700 || cafe.spooled() > 3 {
        return Err(format!("{missing} records are lost, {} still wait", cafe.spooled()).into());
    }
    Ok(())
}

/// One machine, one broker, one collector, and the time.
struct Cafe {
    broker: MemoryBroker,
    machine: Option<Machine>,
    collector_disk: DiskStorage,
    intake: Intake<MemoryUplink>,
    now: Instant,
    made: BTreeSet<RecordId>,
}

struct Machine {
    disk: DiskStorage,
    courier: Courier<MemoryUplink>,
}

impl Machine {
    fn open(folder: &Path, broker: &MemoryBroker, now: Instant) -> Result<Self, Failure> {
        let disk = DiskStorage::open(folder.join("machine"), DiskOptions::owned_by("m-17"))?;
        let (site, device) = (SiteId::new("berlin")?, DeviceId::new("m-17")?);
        let mut batch = Batch::new();
        let owner = Channel::new(SPOOL, 17);
        let settings = Arc::new(SpoolSettings::default());
        let spool = Spool::open(&disk, owner, site.clone(), device, settings, &mut batch)?;
        let uplink = broker.connect("m-17");
        let courier = Courier::new(uplink, &site, vec![spool], &batch, now, &disk)?;
        Ok(Self { disk, courier })
    }
}

impl Cafe {
    fn open(folder: &Path) -> Result<Self, Failure> {
        let broker = MemoryBroker::new(1);
        let now = Instant::default();
        let collector_disk = DiskStorage::open(folder.join("fog"), DiskOptions::owned_by("fog"))?;
        let owner = Channel::new(COLLECTOR, 0);
        let site = SiteId::new("berlin")?;
        let settings = CollectorSettings::default();
        let collector = Collector::open(&collector_disk, owner, site, settings)?;
        Ok(Self {
            machine: Some(Machine::open(folder, &broker, now)?),
            intake: Intake::new(collector, broker.connect("fog")),
            broker,
            collector_disk,
            now,
            made: BTreeSet::new(),
        })
    }

    /// All that is left of the machine is what its disk holds.
    fn restart_machine(&mut self, folder: &Path) -> Result<(), Failure> {
        self.machine = None;
        self.machine = Some(Machine::open(folder, &self.broker, self.now)?);
        Ok(())
    }

    fn run(&mut self, duration: Duration) -> Result<(), Failure> {
        let end = self.now + duration;
        while self.now < end {
            self.now += PERIOD;
            let seconds = self.now.as_nanos() / 1_000_000_000;
            self.make(boiler(seconds)?)?;
            if seconds.is_multiple_of(300) {
                self.make(low_water()?)?;
            }
            self.turn()?;
        }
        Ok(())
    }

    fn make(&mut self, payload: Payload) -> Result<(), Failure> {
        let Some(Machine { disk, courier }) = &mut self.machine else {
            return Ok(());
        };
        let id = courier.append(0, self.now, disk, payload)?;
        self.made.insert(id);
        Ok(())
    }

    /// Until nobody has anything more to do at this time.
    fn turn(&mut self) -> Result<(), Failure> {
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            let Some(Machine { disk, courier }) = &mut self.machine else {
                return Ok(());
            };
            let sent = courier.turn(&mut cx, self.now, disk)?;
            let taken = self.intake.turn(&mut cx, self.now, &self.collector_disk)?;
            if sent.is_pending() && taken.is_pending() {
                return Ok(());
            }
        }
    }

    fn spooled(&self) -> u64 {
        let spool = self
            .machine
            .as_ref()
            .and_then(|machine| machine.courier.spool(0));
        spool.map_or(0, |spool| spool.status().records)
    }

    fn show(&mut self) {
        let seconds = self.now.as_nanos() / 1_000_000_000;
        let is_up = self
            .machine
            .as_ref()
            .is_some_and(|machine| machine.courier.is_up());
        let link = if is_up { "up" } else { "down" };
        let collected = self.intake.collector().inbox().end;
        println!(
            "{seconds:>8}s  {link:>7}  {:>9}  {collected:>9}",
            self.spooled()
        );
    }

    fn collected(&mut self) -> Result<BTreeSet<RecordId>, Failure> {
        let mut ids = BTreeSet::new();
        let collector = self.intake.collector();
        let mut from = collector.inbox().start;
        while from < collector.inbox().end {
            for record in collector.records(&self.collector_disk, from, 1 << 20)? {
                let text = record.id.to_string();
                if !ids.insert(record.id) {
                    return Err(format!("{text} was collected twice").into());
                }
                from += 1;
            }
        }
        Ok(ids)
    }
}

fn boiler(seconds: u64) -> Result<Payload, Failure> {
    let mut column = Column::new(Name::new("boiler.temperature")?);
    let tenths = u32::try_from(930 + seconds % 7)?;
    column.push(seconds * 1_000, f64::from(tenths) / 10.0)?;
    let columns = vec![column];
    Ok(Payload::Readings(Readings { columns }))
}

fn low_water() -> Result<Payload, Failure> {
    Ok(Payload::Alert(Alert {
        rule: Name::new("low-water")?,
        metric: Name::new("water.level")?,
        level: Level::Warning,
        is_raised: true,
        value: 0.1,
    }))
}
