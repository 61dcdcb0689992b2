//! What brews: takes the steps that its orders begin, and knows what was begun how often.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use peaberry_core::Instant;
use peaberry_edge::fleet::FleetCommand;
use peaberry_edge::order::{AfterCrash, OrderCommand, OrderEvent, StepRun};
use peaberry_edge::payload::{OrderPhase, Text};
use peaberry_edge::{DeviceId, Name};

use super::findings::Findings;
use super::reached;

pub(super) struct Works {
    rng: fastrand::Rng,
    /// Steps under way: gone with the power.
    running: Vec<Running>,
    /// By device, order and step: how often it was begun, and in which life of the gateway last.
    begun: BTreeMap<(DeviceId, Name), BTreeMap<Name, (u32, u32)>>,
    /// Orders of which it was told that they are accepted.
    accepted: BTreeSet<(DeviceId, Name)>,
    /// Orders that were accepted or begun or had ended before the gateway's disk was lost, with it all memory of them.
    forgotten: BTreeSet<(DeviceId, Name)>,
    /// Orders that are known to have ended.
    ended: BTreeSet<(DeviceId, Name)>,
    /// A report that has been given before.
    old_report: Option<FleetCommand>,
}

struct Running {
    device: DeviceId,
    run: StepRun,
    until: Instant,
    halfway: Instant,
    ending: Ending,
}

#[derive(Clone, Copy)]
enum Ending {
    Done,
    Fails,
    /// Nothing is heard of it.
    Hangs,
}

impl Works {
    pub(super) const fn new(rng: fastrand::Rng) -> Self {
        Self {
            rng,
            running: Vec::new(),
            begun: BTreeMap::new(),
            accepted: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            ended: BTreeSet::new(),
            old_report: None,
        }
    }

    pub(super) const fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Every order that must come to an end: it was told that it is accepted, or a step of it was begun.
    pub(super) fn owed(&self) -> BTreeSet<(DeviceId, Name)> {
        let owed = self.accepted.iter().chain(self.begun.keys());
        owed.cloned().collect()
    }

    /// How often the steps of an order were begun.
    pub(super) fn steps(&self, order: &(DeviceId, Name)) -> BTreeMap<&Name, u32> {
        let steps = self.begun.get(order).into_iter().flatten();
        steps.map(|(step, (count, _))| (step, *count)).collect()
    }

    pub(super) fn lose_power(&mut self, findings: &mut Findings) {
        if !self.is_idle() {
            findings.reach(reached::STEP_CUT_SHORT);
        }
        self.running.clear();
    }

    /// The gateway's disk is lost: an order that it had may be brewed again, and nobody may hear of its end.
    pub(super) fn forget(&mut self) {
        self.forgotten
            .extend(std::mem::take(&mut self.begun).into_keys());
        self.forgotten.extend(std::mem::take(&mut self.accepted));
        self.forgotten.extend(std::mem::take(&mut self.ended));
        self.old_report = None;
    }

    /// Whether a disk that is gone knew of an order.
    pub(super) fn is_forgotten(&self, order: &(DeviceId, Name)) -> bool {
        self.forgotten.contains(order)
    }

    pub(super) fn take(
        &mut self,
        now: Instant,
        life: u32,
        device: DeviceId,
        event: OrderEvent,
        findings: &mut Findings,
    ) {
        match event {
            OrderEvent::Begin { run, key, step } => {
                let order = (device.clone(), key);
                if self.ended.contains(&order) {
                    findings.complain(format!("{} begins behind its end", order.1));
                }
                let steps = self.begun.entry(order.clone()).or_default();
                let (count, last_life) = steps.entry(step.name.clone()).or_default();
                *count += 1;
                let may_repeat = step.after_crash == AfterCrash::Repeat && *last_life != life;
                if *count > 1 && may_repeat {
                    findings.reach(reached::STEP_REPEATED);
                } else if *count > 1 {
                    findings.complain(format!("{device} does {} of {} twice", step.name, order.1));
                }
                *last_life = life;
                self.run(now, device, run);
            }
            OrderEvent::Abort { run } => {
                let mut running = self.running.iter();
                if running.any(|it| it.run == run && matches!(it.ending, Ending::Hangs)) {
                    findings.reach(reached::STEP_OVERDUE);
                }
                let is_other = |it: &Running| it.run != run || it.device != device;
                self.running.retain(is_other);
            }
            OrderEvent::Update(update) if update.phase == OrderPhase::Accepted => {
                self.accepted.insert((device, update.key));
            }
            OrderEvent::Update(update)
                if update.phase.is_final() && update.phase != OrderPhase::Rejected =>
            {
                let is_new = self.ended.insert((device, update.key));
                if !is_new {
                    findings.reach(reached::END_TOLD_AGAIN);
                }
            }
            _ => {}
        }
    }

    fn run(&mut self, now: Instant, device: DeviceId, run: StepRun) {
        let takes = Duration::from_millis(self.rng.u64(200..1500));
        let ending = match self.rng.u32(..100) {
            0..3 => Ending::Hangs,
            3..8 => Ending::Fails,
            _ => Ending::Done,
        };
        self.running.push(Running {
            device,
            run,
            until: now + takes,
            halfway: now + takes / 2,
            ending,
        });
    }

    /// What there is to report.
    pub(super) fn reports(&mut self, now: Instant) -> Vec<FleetCommand> {
        let mut reports = Vec::new();
        let report = |device: &DeviceId, command| FleetCommand::Order {
            device: device.clone(),
            command,
        };
        // Late and once more: it must be passed over.
        if self.rng.u32(..20) == 0 {
            reports.extend(self.old_report.clone());
        }
        for it in &self.running {
            if it.halfway <= now && now < it.until {
                let (run, permille) = (it.run, 500);
                reports.push(report(&it.device, OrderCommand::Progress { run, permille }));
            }
        }
        let is_over = |it: &mut Running| it.until <= now && !matches!(it.ending, Ending::Hangs);
        for it in self.running.extract_if(.., is_over) {
            let run = it.run;
            let command = match it.ending {
                Ending::Fails => OrderCommand::Failed {
                    run,
                    reason: Text::new("it is stuck"),
                },
                _ => OrderCommand::Done {
                    run,
                    quality_permille: 900,
                },
            };
            let report = report(&it.device, command);
            self.old_report = Some(report.clone());
            reports.push(report);
        }
        reports
    }
}
