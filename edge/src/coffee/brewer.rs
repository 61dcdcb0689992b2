//! What carries steps out, in simulated machines.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use peaberry_core::{Effects, Input, Instant, Protocol};

use crate::name::{DeviceId, Name};
use crate::order::{OrderCommand, OrderEvent, StepRun};
use crate::payload::Text;

use super::machine::CoffeeMachine;

/// An order's event, for the machine of this device; others than those that begin or abort a step are passed over.
pub type BrewCommand = (DeviceId, OrderEvent);

/// What the machine of this device says about a step.
pub type BrewReport = (DeviceId, OrderCommand);

/// The works of any number of [`CoffeeMachine`]s, as one protocol: it takes each step's time, tells when the step is half
/// done and done, and how well. Put it on the node of the devices, and have each of the two sinks submit to the other.
///
/// A step of a device whose machine it does not have fails.
#[derive(Debug, Default)]
pub struct Brewer {
    machines: BTreeMap<DeviceId, CoffeeMachine>,
    step_time: Duration,
    running: BTreeMap<DeviceId, Running>,
}

#[derive(Debug)]
struct Running {
    run: StepRun,
    step: Name,
    half_at: Option<Instant>,
    done_at: Instant,
}

impl Brewer {
    /// A brewer whose steps take `step_time` each.
    #[must_use]
    pub const fn new(step_time: Duration) -> Self {
        Self {
            machines: BTreeMap::new(),
            step_time,
            running: BTreeMap::new(),
        }
    }

    /// Adds the machine of `device`.
    pub fn add(&mut self, device: DeviceId, machine: CoffeeMachine) {
        self.machines.insert(device, machine);
    }

    fn begin(&mut self, now: Instant, device: DeviceId, event: OrderEvent) -> Option<BrewReport> {
        match event {
            OrderEvent::Begin { run, step, .. } => {
                let Some(machine) = self.machines.get(&device) else {
                    let reason = Text::new("there is no such machine");
                    return Some((device, OrderCommand::Failed { run, reason }));
                };
                machine.begin(&step);
                let running = Running {
                    run,
                    step: step.name,
                    half_at: Some(now + self.step_time / 2),
                    done_at: now + self.step_time,
                };
                self.running.insert(device, running);
            }
            OrderEvent::Abort { run } => {
                let is_it = self.running.get(&device).is_some_and(|it| it.run == run);
                if is_it && let Some(ended) = self.running.remove(&device) {
                    self.end(&device, &ended.step);
                }
            }
            _ => {}
        }
        None
    }

    fn end(&self, device: &DeviceId, step: &Name) {
        if let Some(machine) = self.machines.get(device) {
            machine.end(step);
        }
    }

    fn reports(&mut self, now: Instant) -> Vec<BrewReport> {
        let mut reports = Vec::new();
        for (device, running) in &mut self.running {
            let run = running.run;
            if running.half_at.take_if(|half_at| *half_at <= now).is_some() {
                let permille = 500;
                reports.push((device.clone(), OrderCommand::Progress { run, permille }));
            }
        }
        let done = self.running.extract_if(.., |_, it| it.done_at <= now);
        for (device, Running { run, step, .. }) in done.collect::<Vec<_>>() {
            let machine = self.machines.get(&device);
            let quality_permille = machine.map_or(0, CoffeeMachine::quality_permille);
            self.end(&device, &step);
            let done = OrderCommand::Done {
                run,
                quality_permille,
            };
            reports.push((device, done));
        }
        reports
    }
}

impl Protocol for Brewer {
    type Command = BrewCommand;
    type Event = BrewReport;
    type Error = Infallible;

    fn step(
        &mut self,
        now: Instant,
        input: Input<BrewCommand>,
        fx: &mut Effects<'_, BrewReport>,
    ) -> Result<(), Infallible> {
        if let Input::Command((device, event)) = input
            && let Some(report) = self.begin(now, device, event)
        {
            fx.emit(report);
        }
        for report in self.reports(now) {
            fx.emit(report);
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        let next = |running: &Running| running.half_at.unwrap_or(running.done_at);
        self.running.values().map(next).min()
    }
}
