//! How a device is put together.

use std::time::Duration;

use peaberry_core::{Instant, Storage, Subspace};

use crate::error::EdgeError;
use crate::identity::BootEpoch;
use crate::name::{DeviceId, Name};
use crate::order::{Orders, OrdersSettings, Recipes};
use crate::payload::{Status, Text};
use crate::rules::{Rule, Rules};
use crate::time::{BootClock, WallClock};
use crate::twin::{Side, Twin};

use super::lane::{BATCH_READINGS_MAX, Metric};
use super::latches;
use super::{Device, METRICS_MAX};

/// Puts a [`Device`] together. Everything is optional.
///
/// ```
/// use peaberry_core::{Channel, Instant, MemoryStorage, ProtocolId, Subspace};
/// use peaberry_edge::{BootEpoch, Name};
/// use peaberry_edge::coffee::{self, CoffeeMachine, CoffeeMetric};
/// use peaberry_edge::device::{Device, Metric, Outlet, Surroundings};
/// use peaberry_edge::payload::Payload;
///
/// let machine = CoffeeMachine::new(1);
/// let storage = MemoryStorage::new();
/// let space = Subspace::of(Channel::new(ProtocolId(2000), 1));
/// let boot = BootEpoch::begin(&storage, &space).unwrap();
/// let mut device: Device = Device::builder(Name::new("m-1").unwrap())
///     .location("by the window")
///     .metric(Metric::of(machine.sensor(CoffeeMetric::Temperature)))
///     .takes_orders(coffee::recipes(), coffee::capabilities())
///     .has_twin()
///     .start(&storage, &space, boot, Instant::default())
///     .unwrap();
///
/// let mut outlet = Outlet::default();
/// device.poll(0, Surroundings::default(), &mut outlet);
/// assert!(matches!(&outlet.payloads[0], Payload::Health(health) if health.location.as_str() == "by the window"));
/// ```
#[derive(Debug)]
pub struct DeviceBuilder<A = Name> {
    id: DeviceId,
    location: Text,
    capabilities: Vec<Name>,
    firmware: Text,
    metrics: Vec<Metric>,
    rules: Vec<Rule<A>>,
    orders: Option<BuiltOrders>,
    has_twin: bool,
    heartbeat: Duration,
    batch: Duration,
    batch_readings_max: usize,
    phase: Duration,
}

/// What orders are made of.
#[derive(Debug)]
struct BuiltOrders {
    recipes: Recipes,
    settings: OrdersSettings,
}

impl<A: Clone> DeviceBuilder<A> {
    pub(super) fn new(id: DeviceId) -> Self {
        Self {
            id,
            location: Text::default(),
            capabilities: Vec::new(),
            firmware: Text::default(),
            metrics: Vec::new(),
            rules: Vec::new(),
            orders: None,
            has_twin: false,
            heartbeat: Duration::from_secs(30),
            batch: Duration::from_secs(10),
            batch_readings_max: 100,
            phase: Duration::ZERO,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn id(&self) -> &DeviceId {
        &self.id
    }

    /// Where it stands; told in its first health report.
    #[must_use]
    pub fn location(mut self, location: &str) -> Self {
        self.location = Text::new(location);
        self
    }

    /// What it runs; told in each health report.
    #[must_use]
    pub fn firmware(mut self, firmware: &str) -> Self {
        self.firmware = Text::new(firmware);
        self
    }

    /// Adds a metric.
    #[must_use]
    pub fn metric(mut self, metric: Metric) -> Self {
        self.metrics.push(metric);
        self
    }

    /// Adds a rule.
    #[must_use]
    pub fn rule(mut self, rule: Rule<A>) -> Self {
        self.rules.push(rule);
        self
    }

    /// Has it take orders by these recipes, as far as its capabilities go, which are told in its first health report.
    #[must_use]
    pub fn takes_orders(
        self,
        recipes: impl Into<Recipes>,
        capabilities: impl IntoIterator<Item = Name>,
    ) -> Self {
        self.takes_orders_within(recipes, capabilities, OrdersSettings::default())
    }

    /// As [`takes_orders`](Self::takes_orders), within other bounds.
    #[must_use]
    pub fn takes_orders_within(
        mut self,
        recipes: impl Into<Recipes>,
        capabilities: impl IntoIterator<Item = Name>,
        settings: OrdersSettings,
    ) -> Self {
        self.capabilities = capabilities.into_iter().collect();
        self.orders = Some(BuiltOrders {
            recipes: recipes.into(),
            settings,
        });
        self
    }

    /// Gives it a twin, and with it remote configuration: see [`Device::configure`].
    #[must_use]
    pub const fn has_twin(mut self) -> Self {
        self.has_twin = true;
        self
    }

    /// Tells its health once in `period`: 30 s by default.
    #[must_use]
    pub const fn heartbeat_every(mut self, period: Duration) -> Self {
        self.heartbeat = period;
        self
    }

    /// Tells readings at most `wait` after they were made, and once there are `readings_max`: 10 s and 100 by default.
    /// No wait at all is one record for each reading.
    #[must_use]
    pub const fn batch(mut self, wait: Duration, readings_max: usize) -> Self {
        self.batch = wait;
        self.batch_readings_max = readings_max;
        self
    }

    /// When it does anything for the first time, counted from its start: so that the devices of a fleet do not all do it at
    /// once.
    #[must_use]
    pub const fn phase(mut self, phase: Duration) -> Self {
        self.phase = phase;
        self
    }

    /// Starts the device at `now`, in the start `boot`, which must be durable. What it keeps is in `space`.
    ///
    /// # Errors
    ///
    /// [`EdgeError::TooLong`] for too many metrics, [`EdgeError::Malformed`] for two of one name, what
    /// [`Probe::new`](crate::sensor::Probe::new), [`Rules::add`], [`Orders::open`] and [`Twin::open`] say, and
    /// [`EdgeError::Setting`] for a batch of none. Nothing changed.
    pub fn start(
        self,
        storage: &dyn Storage,
        space: &Subspace,
        boot: BootEpoch,
        now: Instant,
    ) -> Result<Device<A>, EdgeError> {
        self.check()?;
        let phase_ms = millis(self.phase);
        let mut rules = Rules::new(boot);
        for rule in self.rules {
            rules.add(rule)?;
        }
        latches::restore(&mut rules, storage, space)?;
        let orders = match self.orders {
            Some(BuiltOrders { recipes, settings }) => {
                let capabilities = self.capabilities.iter().cloned();
                let space = space.within(b"o");
                let orders = Orders::open(storage, &space, recipes, capabilities, settings)?;
                Some(Box::new(orders))
            }
            None => None,
        };
        let twin = match self.has_twin {
            true => Some(Box::new(Twin::open(
                storage,
                &space.within(b"t"),
                Side::Device,
            )?)),
            false => None,
        };
        let lanes = self
            .metrics
            .into_iter()
            .map(|metric| metric.into_lane(phase_ms));
        let mut device = Device {
            id: self.id,
            clock: BootClock::new(boot, now),
            wall: WallClock::new(),
            status: Status::Online,
            location: self.location,
            tells_profile: true,
            firmware: self.firmware,
            lanes: lanes.collect::<Result<_, EdgeError>>()?,
            rules,
            orders,
            twin,
            heartbeat_ms: millis(self.heartbeat).max(1),
            heartbeat_due_ms: phase_ms,
            batch_ms: millis(self.batch),
            batch_readings_max: self.batch_readings_max,
            waiting_since_ms: None,
            readings: 0,
            late_readings: 0,
        };
        device.configure_again();
        Ok(device)
    }

    fn check(&self) -> Result<(), EdgeError> {
        let count = self.metrics.len();
        if count > METRICS_MAX {
            return Err(EdgeError::TooLong {
                what: "metrics of a device",
                length: count as u64,
                length_max: METRICS_MAX as u64,
            });
        }
        let mut names: Vec<_> = self.metrics.iter().map(Metric::name).collect();
        names.sort_unstable();
        if let Some([twice, _]) = names.array_windows().find(|[one, next]| one == next) {
            let reason = format!("{} measures {twice} twice", self.id);
            return Err(EdgeError::malformed("device", reason));
        }
        if self.batch_readings_max == 0 || self.batch_readings_max > BATCH_READINGS_MAX {
            #[expect(clippy::cast_precision_loss, reason = "shown to people")]
            let value = self.batch_readings_max as f64;
            return Err(EdgeError::Setting {
                setting: "readings of a batch",
                value,
                reason: "it must be 1 to 4096",
            });
        }
        Ok(())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
