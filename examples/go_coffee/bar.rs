//! The bar: the machines as devices at the edge behind one gateway, the works that carry out their steps, the line to the
//! office.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use peaberry_core::{
    Channel, Clock as _, DiskOptions, DiskStorage, Handle, MemoryStorage, Node, NodeThread,
    ProtocolId, SystemClock,
};
use peaberry_edge::coffee::{BrewCommand, BrewReport, Brewer};
use peaberry_edge::fleet::{
    Fleet, FleetEvent, FleetHandle, FleetSettings, FleetStatus, FleetThread,
};
use peaberry_edge::uplink::Uplink;
use peaberry_edge::{DeviceId, EdgeError, SiteId};
use peaberry_examples::orders::Order;
use peaberry_lockd::fence::Token;
use rand_core::{OsRng, RngCore};
use serde::Serialize;

use crate::Failure;
use crate::arguments::Shop;
use crate::line::Line;
use crate::machine::{BrewError, CoffeeMachine};
use crate::office::Office;

/// The works' place on their node.
const WORKS: Channel = Channel::new(ProtocolId(3000), 0);

/// How long a step takes in life.
const STEP: Duration = Duration::from_secs(10);

/// How long the last records may take to arrive.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(5);

pub(crate) struct Bar {
    pub(crate) machines: Vec<Arc<CoffeeMachine>>,
    fleet: FleetThread<Box<dyn Uplink>>,
    /// Ends with it.
    _works: NodeThread,
    line: Line,
    office: Office,
    notes: Arc<Mutex<Notes>>,
    clock: SystemClock,
}

/// What the gateway saw.
#[derive(Default)]
struct Notes {
    violations: Vec<String>,
}

/// What is told of the machines.
#[derive(Default, Serialize)]
pub(crate) struct BarReport {
    devices: usize,
    records: u64,
    readings: u64,
    order_results_collected: usize,
    uplink_losses: u64,
    collected_during_outage: u64,
    collected_behind_outage: u64,
    quality_permille: u64,
}

/// What had been collected when the line was cut and when it was mended, and how many orders had ended when it was cut.
#[derive(Clone, Copy, Default)]
pub(crate) struct Outage {
    pub(crate) cut_at: u64,
    pub(crate) mended_at: u64,
    pub(crate) served_before: usize,
}

impl Bar {
    pub(crate) async fn open(
        folder: &Path,
        shop: &Shop,
        clock: SystemClock,
    ) -> Result<Self, Failure> {
        let machines = (1..=shop.machines)
            .map(|number| CoffeeMachine::new(number, shop.seed ^ u64::from(number)).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let site = SiteId::new(&format!("shop-{}", std::process::id()))?;
        let line = Line::lay(shop.mqtt.as_deref(), shop.seed).await?;
        let office = Office::open(folder, site.clone(), line.office(), clock.clone())?;
        let storage = DiskStorage::open(folder.join("gateway"), DiskOptions::owned_by("gateway"))?;
        let fleet = Fleet::open(
            line.gateway(),
            site,
            Arc::new(storage),
            machines.iter().map(|machine| machine.device()),
            FleetSettings::salted(OsRng.next_u64()),
            clock.now(),
        )?;
        let notes = Arc::<Mutex<Notes>>::default();
        let (fleet, works) = start(fleet, &machines, STEP / shop.speed, &clock, notes.clone())?;
        Ok(Self {
            machines,
            fleet,
            _works: works,
            line,
            office,
            notes,
            clock,
        })
    }

    /// Brews `order` at the machine `at`.
    pub(crate) async fn brew(
        &self,
        at: &CoffeeMachine,
        order: &Order,
        token: Token,
        floor: Token,
    ) -> Result<Token, BrewError> {
        at.brew(self.fleet.handle(), order, token, floor).await
    }

    /// Cuts the machines off from the office; answers what that has by now.
    pub(crate) fn cut(&self) -> u64 {
        self.line.cut();
        self.office.collected()
    }

    /// Mends the line; answers what the office has by now.
    pub(crate) fn mend(&self) -> u64 {
        let collected = self.office.collected();
        self.line.mend();
        collected
    }

    /// Waits for the last record to arrive, and compares what the office has with what the machines told.
    pub(crate) async fn close(
        self,
        orders: &[u64],
        baristas: u32,
        outage: Outage,
        violations: &mut Vec<String>,
    ) -> Result<BarReport, Failure> {
        let fleet = self.fleet.stop()?;
        let drained = tokio::task::spawn_blocking(move || drain(fleet, &self.clock)).await?;
        let FleetStatus {
            readings,
            waiting_readings,
            spooled_records,
            losses,
            ..
        } = drained?;
        if spooled_records > 0 {
            violations.push(format!(
                "{spooled_records} records never reached the office"
            ));
        }
        let mut collection = self.office.close().await?;
        let notes = std::mem::take(&mut *self.notes.lock());
        violations.extend(notes.violations);
        if self.line.is_heard() && losses == 0 {
            violations.push("the line was to be cut and never was".to_owned());
        }
        violations.append(&mut collection.violations);
        let told = readings - waiting_readings;
        if collection.readings != told {
            let collected = collection.readings;
            violations.push(format!("{collected} of {told} readings were collected"));
        }
        for order in orders {
            let times = collection.completed.get(order).map_or(0, Vec::len);
            if times != 1 {
                violations.push(format!(
                    "the office heard {times} times of the end of order {order}"
                ));
            }
        }
        if self.line.is_heard() {
            let early = collection.completed_within(outage.mended_at);
            // Each barista may have had one that was told before the cut and counted behind it.
            let told = early.saturating_sub(outage.served_before + usize::try_from(baristas)?);
            if told > 0 {
                violations.push(format!(
                    "{told} orders were told through a line that was cut"
                ));
            }
        }
        let qualities = self.machines.iter().flat_map(|it| it.qualities());
        let qualities: Vec<u64> = qualities.map(u64::from).collect();
        let count = u64::try_from(qualities.len())?.max(1);
        Ok(BarReport {
            devices: self.machines.len(),
            records: collection.records,
            readings: collection.readings,
            order_results_collected: collection.completed.len(),
            uplink_losses: losses,
            collected_during_outage: outage.mended_at - outage.cut_at,
            collected_behind_outage: collection.records.saturating_sub(outage.mended_at),
            quality_permille: qualities.iter().sum::<u64>() / count,
        })
    }
}

impl BarReport {
    pub(crate) fn rows(&self) -> [(&'static str, String); 4] {
        [
            (
                "records and readings collected",
                format!("{}, {}", self.records, self.readings),
            ),
            (
                "order results collected",
                self.order_results_collected.to_string(),
            ),
            (
                "collected with the line cut, and later",
                format!(
                    "{}, {}",
                    self.collected_during_outage, self.collected_behind_outage
                ),
            ),
            ("quality", format!("{} ‰", self.quality_permille)),
        ]
    }
}

/// Starts the devices and the works, each of which tells the other.
fn start(
    fleet: Fleet<Box<dyn Uplink>>,
    machines: &[Arc<CoffeeMachine>],
    step: Duration,
    clock: &SystemClock,
    notes: Arc<Mutex<Notes>>,
) -> Result<(FleetThread<Box<dyn Uplink>>, NodeThread), Failure> {
    let by_id: Arc<BTreeMap<DeviceId, Arc<CoffeeMachine>>> = Arc::new(
        machines
            .iter()
            .map(|machine| (machine.id.clone(), machine.clone()))
            .collect(),
    );
    let device = Arc::<OnceLock<FleetHandle>>::default();
    let mut brewer = Brewer::new(step);
    for machine in machines {
        brewer.add(machine.id.clone(), machine.works.clone());
    }
    let mut node = Node::alone(Arc::new(MemoryStorage::new()), Arc::new(clock.clone()));
    let works = node.add(WORKS, brewer, {
        let (device, by_id) = (device.clone(), by_id.clone());
        move |reports: &mut Vec<BrewReport>| {
            for (id, command) in reports.drain(..) {
                if let (Some(machine), Some(device)) = (by_id.get(&id), device.get()) {
                    machine.report(&command);
                    // Without room the step takes too long, and the order fails: that is seen.
                    let _ = device.order(&id, command);
                }
            }
        }
    })?;
    let gateway = Gateway {
        works,
        by_id,
        notes,
    };
    let fleet = FleetThread::start(fleet, Arc::new(clock.clone()), move |event, device| {
        gateway.hear(event, device);
    })?;
    let _ = device.set(fleet.handle().clone());
    let works = node.spawn("works")?;
    for machine in machines {
        if !machine.refill(fleet.handle()) {
            return Err("the machines have no room for their first stock".into());
        }
    }
    Ok((fleet, works))
}

/// What hears of the devices.
struct Gateway {
    works: Handle<BrewCommand>,
    by_id: Arc<BTreeMap<DeviceId, Arc<CoffeeMachine>>>,
    notes: Arc<Mutex<Notes>>,
}

impl Gateway {
    fn hear(&self, event: FleetEvent<peaberry_edge::Name>, device: &FleetHandle) {
        if let Some((id, step)) = event.as_step() {
            // As above: a step that does not begin is seen.
            let _ = self.works.submit((id.clone(), step.clone()));
        }
        let mut notes = self.notes.lock();
        match event {
            FleetEvent::Order { device: id, event } => {
                if let Some(machine) = self.by_id.get(&id) {
                    machine.hear(&event, device);
                }
            }
            FleetEvent::Refused { error, .. } => notes.violations.push(error.to_string()),
            FleetEvent::Lost { records } => notes
                .violations
                .push(format!("{records} records were lost to a full disk")),
            _ => {}
        }
    }
}

/// Goes on until nothing waits in any spool, or patience ends: what was told so far and does not wait is durable in the
/// office.
fn drain(mut fleet: Fleet<Box<dyn Uplink>>, clock: &SystemClock) -> Result<FleetStatus, EdgeError> {
    let deadline = clock.now() + PATIENCE;
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        fleet.turn(&mut cx, clock.now(), &mut Vec::new())?;
        let status = fleet.status();
        if status.spooled_records == 0 || clock.now() >= deadline {
            return Ok(status);
        }
        std::thread::park_timeout(LOOK);
    }
}
