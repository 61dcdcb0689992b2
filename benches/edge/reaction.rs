//! How late a rule acts among ten thousand devices on one disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, Instant as Stopwatch};

use parking_lot::Mutex;
use peaberry_benches::versus::{Effort, Measure};
use peaberry_core::{Clock, DiskOptions, DiskStorage, Instant, SystemClock};
use peaberry_edge::coffee::{CoffeeMachine, CoffeeMetric};
use peaberry_edge::device::{Device, DeviceBuilder, Metric};
use peaberry_edge::fleet::{Fleet, FleetEvent, FleetSettings, FleetThread};
use peaberry_edge::payload::Level;
use peaberry_edge::rules::{Condition, Rule};
use peaberry_edge::sensor::{Sensor, SensorError};
use peaberry_edge::uplink::{MemoryBroker, MemoryUplink};
use peaberry_edge::{EdgeError, Name};

use crate::Failure;

const DEVICES: usize = 10_000;

/// So long from when a reading is due an action is in time.
const IN_TIME: Duration = Duration::from_millis(50);

/// When the sensor of each device was read last, in nanoseconds of the clock.
type ReadAt = Arc<[AtomicU64]>;

/// A sensor that says when it was read.
struct Stamped<S> {
    sensor: S,
    device: usize,
    read_at: ReadAt,
    clock: Arc<SystemClock>,
}

impl<S: Sensor> Sensor for Stamped<S> {
    fn metric(&self) -> &Name {
        self.sensor.metric()
    }

    fn read(&mut self, at_ms: u64) -> Result<f64, SensorError> {
        if let Some(read_at) = self.read_at.get(self.device) {
            read_at.store(nanos(self.clock.now()), Ordering::Relaxed);
        }
        self.sensor.read(at_ms)
    }
}

fn nanos(at: Instant) -> u64 {
    u64::try_from(at.since(Instant::default()).as_nanos()).unwrap_or(u64::MAX)
}

fn id(device: usize) -> Result<Name, EdgeError> {
    Name::new(&format!("m-{device}"))
}

/// A reading a second, spread evenly over it, and a rule that fires now and then.
fn device(
    number: usize,
    read_at: &ReadAt,
    clock: &Arc<SystemClock>,
) -> Result<DeviceBuilder, EdgeError> {
    let machine = CoffeeMachine::new(number as u64);
    let rule = Rule {
        name: Name::new("warm")?,
        metric: CoffeeMetric::Temperature.name(),
        condition: Condition::Above(93.09),
        hysteresis: 0.05,
        broken_ms_min: 0,
        is_latched: false,
        level: Level::Info,
        action: Some(Name::new("log")?),
    };
    let sensor = Stamped {
        sensor: machine.sensor(CoffeeMetric::Temperature),
        device: number,
        read_at: read_at.clone(),
        clock: clock.clone(),
    };
    Ok(Device::builder(id(number)?)
        .metric(Metric::of(sensor).keep_history())
        .rule(rule)
        .phase(Duration::from_millis(number as u64 % 1_000)))
}

/// A fleet on a disk of its own, with no way to a broker.
struct Site {
    fleet: Fleet<MemoryUplink>,
    read_at: ReadAt,
    _folder: tempfile::TempDir,
}

impl Site {
    fn open(now: Instant, clock: &Arc<SystemClock>) -> Result<Self, Failure> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let options = DiskOptions::owned_by("bench");
        let storage = Arc::new(DiskStorage::open(folder.path(), options)?);
        let broker = MemoryBroker::new(1);
        broker.kill();
        let read_at: ReadAt = (0..DEVICES).map(|_| AtomicU64::new(0)).collect();
        let devices = (0..DEVICES).map(|number| device(number, &read_at, clock));
        let devices = devices.collect::<Result<Vec<_>, _>>()?;
        let (uplink, site) = (broker.connect("gateway"), Name::new("site")?);
        let settings = FleetSettings::default();
        let fleet = Fleet::open(uplink, site, storage, devices, settings, now)?;
        Ok(Self {
            fleet,
            read_at,
            _folder: folder,
        })
    }
}

/// # Errors
///
/// A deadline was missed by a whole period, or no rule has fired.
pub(crate) fn measure(effort: Effort) -> Result<[Measure; 2], Failure> {
    count_misses(effort)?;
    time_actions(effort)
}

/// A minute in which time goes on by what each turn takes, and from there to when the next is due. A reading that falls due within
/// a turn is taken in the next one, and acted on by its end: where the two together are longer than [`IN_TIME`] it may have come
/// too late. A turn that takes a second is a reading of each device that comes a whole period too late.
///
/// # Errors
///
/// A reading came a whole period too late.
#[expect(
    clippy::disallowed_methods,
    reason = "a bench measures the machine's own time"
)]
fn count_misses(effort: Effort) -> Result<(), Failure> {
    let seconds = if effort == Effort::Check { 2 } else { 60 };
    let mut now = Instant::default();
    let end = now + Duration::from_secs(seconds);
    let mut site = Site::open(now, &Arc::new(SystemClock::new()))?;
    let (mut events, mut acts) = (Vec::new(), 0);
    let (mut turns, mut late_turns, mut last, mut longest) = (0, 0, Duration::ZERO, Duration::ZERO);
    while now < end {
        let watch = Stopwatch::now();
        let mut cx = Context::from_waker(Waker::noop());
        site.fleet.turn(&mut cx, now, &mut events)?;
        let took = watch.elapsed();
        let is_act = |event: &FleetEvent<_>| matches!(event, FleetEvent::Act { .. });
        acts += events.drain(..).filter(is_act).count();
        (turns, longest) = (turns + 1, longest.max(took));
        late_turns += u64::from(last + took > IN_TIME);
        last = took;
        now += took;
        now = now.max(site.fleet.deadline().unwrap_or(end));
    }
    let status = site.fleet.status();
    let (readings, late) = (status.readings, status.late_readings);
    println!(
        "{seconds} virtual seconds of {DEVICES} devices, in which turns take as long as they take, syncs included: {readings} readings and {acts} actions in {turns} turns, {longest:?} the longest; {late} readings a period late, {late_turns} turns in which one may have been acted on later than {IN_TIME:?} after it was due"
    );
    if acts == 0 {
        return Err("no rule has fired".into());
    }
    if late > 0 && effort > Effort::Check {
        return Err(format!("{late} readings came a period too late").into());
    }
    Ok(())
}

/// From the moment at which a sensor is read until whoever acts is told to.
fn time_actions(effort: Effort) -> Result<[Measure; 2], Failure> {
    let seconds = match effort {
        Effort::Check => 2,
        Effort::Quick => 15,
        Effort::Normal | Effort::Full => 60,
    };
    let clock = Arc::new(SystemClock::new());
    let site = Site::open(clock.now(), &clock)?;
    let waits = Arc::new(Mutex::new(Vec::new()));
    let act = {
        let (clock, waits, read_at) = (clock.clone(), waits.clone(), site.read_at.clone());
        move |event: FleetEvent<Name>, _: &_| {
            let FleetEvent::Act { device, .. } = event else {
                return;
            };
            let number = device.as_str().strip_prefix("m-");
            let number = number.and_then(|number| number.parse::<usize>().ok());
            if let Some(read_at) = number.and_then(|number| read_at.get(number)) {
                let read_at = read_at.load(Ordering::Relaxed);
                waits.lock().push(nanos(clock.now()) - read_at);
            }
        }
    };
    let thread = FleetThread::start(site.fleet, clock.clone(), act)?;
    let end = clock.now() + Duration::from_secs(seconds);
    let waiting = tokio::runtime::Builder::new_current_thread().build()?;
    waiting.block_on(clock.sleep_until(end));
    let status = thread.stop()?.status();
    let mut waits = std::mem::take(&mut *waits.lock());
    waits.sort_unstable();
    let part = |permille: usize| {
        let nanos = waits.get(waits.len() * permille / 1_000);
        Duration::from_nanos(nanos.copied().unwrap_or_default())
    };
    println!(
        "{} readings of {DEVICES} devices in {seconds} s on a disk: {} actions, from the reading to the action {:?} (median), {:?} (p99); {} readings a second late",
        status.readings,
        waits.len(),
        part(500),
        part(990),
        status.late_readings
    );
    if waits.is_empty() {
        return Err("no rule has fired".into());
    }
    Ok([("median", 500), ("p99", 990)].map(|(name, permille)| in_time(name, part(permille))))
}

/// How often `wait` fits into the time in which an action is in time.
fn in_time(name: &str, wait: Duration) -> Measure {
    let [ours, peer] = [wait, IN_TIME].map(|wait| wait.as_secs_f64() * 1_000.0);
    Measure {
        measure: format!("reading to local action, {DEVICES} devices, {name}"),
        unit: "ms".to_owned(),
        ours,
        peer,
        peer_name: "in time".to_owned(),
        ratio: peer / ours,
        includes:
            "a reading a second of each, a rule, records synced to one disk; on the fleet's thread"
                .to_owned(),
    }
}
