//! The machine's insides, as far as sensors see them.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::name::Name;
use crate::order::Step;
use crate::sensor::{Sensor, SensorError};

/// What a simulated machine measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CoffeeMetric {
    /// Of the boiler, in degrees Celsius; about 93.
    Temperature,
    /// Of the pump, in bar; about 9 while it extracts, 0 else.
    Pressure,
    /// In the tank, in millilitres.
    Water,
    /// In the hopper, in grams.
    Beans,
    /// In the jug, in millilitres.
    Milk,
    /// How much of the time to the next cleaning has passed, in percent; over 100 it is overdue.
    Cleaning,
}

impl CoffeeMetric {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Temperature,
        Self::Pressure,
        Self::Water,
        Self::Beans,
        Self::Milk,
        Self::Cleaning,
    ];

    /// What it is called in records.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Temperature => "boiler.temperature",
            Self::Pressure => "pump.pressure",
            Self::Water => "water",
            Self::Beans => "beans",
            Self::Milk => "milk",
            Self::Cleaning => "cleaning",
        }
    }

    /// What it is called in records, as a name.
    ///
    /// # Panics
    ///
    /// Never: every word is a name.
    #[must_use]
    pub fn name(self) -> Name {
        Name::new(self.word()).expect("a metric's word is a name")
    }
}

/// What is wrong with a sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It does not answer.
    Disconnected,
    /// It answers with what is no number.
    NotANumber,
    /// It answers with what cannot be.
    OffScale,
}

/// A machine whose state follows from a seed, the times it is read at, and what it is made to do. Clones are the same machine.
///
/// ```
/// use peaberry_edge::coffee::{CoffeeMachine, CoffeeMetric, Fault};
/// use peaberry_edge::sensor::Sensor;
///
/// let machine = CoffeeMachine::new(7);
/// let mut thermometer = machine.sensor(CoffeeMetric::Temperature);
/// assert!((thermometer.read(1_000).unwrap() - 93.0).abs() < 2.0);
/// machine.damage(CoffeeMetric::Temperature, Some(Fault::Disconnected));
/// assert!(thermometer.read(2_000).is_err());
/// machine.damage(CoffeeMetric::Temperature, None);
/// assert!(thermometer.read(3_000).is_ok());
/// ```
#[derive(Clone, Debug)]
pub struct CoffeeMachine(Arc<Mutex<Insides>>);

#[derive(Debug)]
struct Insides {
    rng: fastrand::Rng,
    at_ms: u64,
    temperature: f64,
    drift: f64,
    pressure: f64,
    extracts: bool,
    water_ml: f64,
    beans_g: f64,
    milk_ml: f64,
    cups_since_cleaning: u32,
    faults: BTreeMap<CoffeeMetric, Fault>,
}

const TANK_ML: f64 = 4_000.0;
const HOPPER_G: f64 = 1_000.0;
const JUG_ML: f64 = 2_000.0;
const CUPS_PER_CLEANING: u32 = 200;
const BREWING_C: f64 = 93.0;
const BREWING_BAR: f64 = 9.0;

/// In how long half of a difference to what the boiler is regulated to is gone.
const SETTLING_MS: f64 = 20_000.0;

impl CoffeeMachine {
    /// A machine, full and clean.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Insides {
            rng: fastrand::Rng::with_seed(seed),
            at_ms: 0,
            temperature: BREWING_C,
            drift: 0.0,
            pressure: 0.0,
            extracts: false,
            water_ml: TANK_ML,
            beans_g: HOPPER_G,
            milk_ml: JUG_ML,
            cups_since_cleaning: 0,
            faults: BTreeMap::new(),
        })))
    }

    /// A sensor of it. All of them may be taken, each as often as you like.
    #[must_use]
    pub fn sensor(&self, metric: CoffeeMetric) -> MachineSensor {
        MachineSensor {
            metric,
            name: metric.name(),
            machine: self.clone(),
        }
    }

    /// Has a sensor fail from now on, or work again.
    pub fn damage(&self, metric: CoffeeMetric, fault: Option<Fault>) {
        let mut insides = self.0.lock();
        match fault {
            Some(fault) => insides.faults.insert(metric, fault),
            None => insides.faults.remove(&metric),
        };
    }

    /// Has the boiler be regulated to so much more than it should.
    pub fn overheat(&self, by_c: f64) {
        self.0.lock().drift = by_c;
    }

    /// Fills tank, hopper and jug.
    pub fn refill(&self) {
        let mut insides = self.0.lock();
        (insides.water_ml, insides.beans_g, insides.milk_ml) = (TANK_ML, HOPPER_G, JUG_ML);
    }

    /// Cleans it.
    pub fn clean(&self) {
        self.0.lock().cups_since_cleaning = 0;
    }

    /// What a step uses up, and that it begins.
    pub fn begin(&self, step: &Step) {
        let mut insides = self.0.lock();
        for need in &step.needs {
            #[expect(clippy::cast_precision_loss, reason = "a portion is small")]
            let units = need.units as f64;
            match need.resource.as_str() {
                "water" => insides.water_ml = (insides.water_ml - units).max(0.0),
                "beans" => insides.beans_g = (insides.beans_g - units).max(0.0),
                "milk" => insides.milk_ml = (insides.milk_ml - units).max(0.0),
                _ => {}
            }
        }
        insides.extracts = step.name.as_str() == "extract";
    }

    /// That a step ended, done or not.
    pub fn end(&self, step: &Name) {
        let mut insides = self.0.lock();
        insides.extracts = false;
        if step.as_str() == "finalise" {
            insides.cups_since_cleaning = insides.cups_since_cleaning.saturating_add(1);
        }
    }

    /// How good a step done now would be, in thousandths: worse the further the boiler is from what coffee wants, and on an
    /// unclean machine.
    #[must_use]
    pub fn quality_permille(&self) -> u16 {
        let insides = self.0.lock();
        let off = (insides.temperature - BREWING_C).abs();
        let overdue = insides.cups_since_cleaning > CUPS_PER_CLEANING;
        let quality = 990.0 - off * 30.0 - if overdue { 150.0 } else { 0.0 };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it was put into its range"
        )]
        let permille = quality.clamp(100.0, 1000.0) as u16;
        permille
    }
}

impl Insides {
    /// Lets time pass.
    fn advance(&mut self, at_ms: u64) {
        #[expect(clippy::cast_precision_loss, reason = "exact for 285,000 years")]
        let passed = at_ms.saturating_sub(self.at_ms) as f64;
        if passed == 0.0 {
            return;
        }
        self.at_ms = at_ms;
        let target = BREWING_C + self.drift - if self.extracts { 1.5 } else { 0.0 };
        let left = (-passed / SETTLING_MS).exp2();
        self.temperature = target + (self.temperature - target) * left;
        self.pressure = if self.extracts { BREWING_BAR } else { 0.0 };
    }

    fn measure(&mut self, metric: CoffeeMetric) -> f64 {
        let noise = self.rng.f64() - 0.5;
        let value = match metric {
            CoffeeMetric::Temperature => self.temperature + noise * 0.2,
            CoffeeMetric::Pressure if self.pressure > 0.0 => self.pressure + noise * 0.3,
            CoffeeMetric::Pressure => 0.0,
            CoffeeMetric::Water => self.water_ml,
            CoffeeMetric::Beans => self.beans_g,
            CoffeeMetric::Milk => self.milk_ml,
            CoffeeMetric::Cleaning => {
                f64::from(self.cups_since_cleaning) * 100.0 / f64::from(CUPS_PER_CLEANING)
            }
        };
        // What sensors of the kind resolve.
        (value * 100.0).round() / 100.0
    }
}

/// One sensor of a [`CoffeeMachine`].
#[derive(Clone, Debug)]
pub struct MachineSensor {
    metric: CoffeeMetric,
    name: Name,
    machine: CoffeeMachine,
}

impl Sensor for MachineSensor {
    fn metric(&self) -> &Name {
        &self.name
    }

    fn read(&mut self, at_ms: u64) -> Result<f64, SensorError> {
        let mut insides = self.machine.0.lock();
        insides.advance(at_ms);
        match insides.faults.get(&self.metric) {
            None => Ok(insides.measure(self.metric)),
            Some(Fault::Disconnected) => Err(SensorError::Disconnected),
            Some(Fault::NotANumber) => Ok(f64::NAN),
            Some(Fault::OffScale) => Ok(1e300),
        }
    }
}
