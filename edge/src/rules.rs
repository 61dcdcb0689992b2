//! Rules: when a metric leaves its bounds long enough, act here, at once, and tell about it.
//!
//! A rule decides on samples as they are made. What is sent later (a backlog after an outage, a batch that is read back from
//! the spool) never comes past it: each rule remembers the time of the last sample it judged and passes over any that is
//! not later, or of another start of the device, so that replaying a backlog fires nothing a second time.
//!
//! A rule that is not latched begins each start of its device silent, and its minimum duration counts from the first sample of
//! that start: if its metric is still out of bounds it fires again, and if not, nothing is told. Whoever keeps a list of what is
//! raised takes off it, when a device says that it has started, what earlier starts raised without a latch. One that is latched
//! stays raised ([`Rules::restore_raised`]).

use peaberry_core::mutant::is_planted;

use crate::error::EdgeError;
use crate::name::Name;
use crate::ops::Sample;
use crate::payload::{Alert, Level};
use crate::time::DeviceTime;

/// How many rules one device may have: each sample is compared with those of its metric.
pub const RULES_MAX: usize = 256;

/// Which values break a rule.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Condition {
    /// Values above this.
    Above(f64),
    /// Values below this.
    Below(f64),
    /// Values below the first or above the second.
    Outside(f64, f64),
}

impl Condition {
    fn is_broken(self, value: f64) -> bool {
        match self {
            Self::Above(high) => value > high,
            Self::Below(low) => value < low,
            Self::Outside(low, high) => value < low || value > high,
        }
    }

    /// Whether the value is back inside by at least `hysteresis`.
    fn is_healed(self, value: f64, hysteresis: f64) -> bool {
        match self {
            Self::Above(high) => value <= high - hysteresis,
            Self::Below(low) => value >= low + hysteresis,
            Self::Outside(low, high) => value >= low + hysteresis && value <= high - hysteresis,
        }
    }
}

/// What a rule looks at, when it fires, and what it then does.
///
/// `A` is whatever the application does at once when the rule fires: close a valve, stop an order.
#[derive(Clone, Debug)]
pub struct Rule<A> {
    /// Its name, told with each alert; no two rules of a device share one.
    pub name: Name,
    /// The metric it looks at.
    pub metric: Name,
    /// Which values break it.
    pub condition: Condition,
    /// How far a value must be back inside before the rule is silent again: at least 0.
    pub hysteresis: f64,
    /// How long it must be broken without pause before it fires; 0 for at once.
    pub broken_ms_min: u64,
    /// Whether it stays raised until somebody acknowledges it.
    pub is_latched: bool,
    /// How much it matters.
    pub level: Level,
    /// What to do at once.
    pub action: Option<A>,
}

/// The rules of a device and where each stands.
///
/// ```
/// use peaberry_edge::ops::Sample;
/// use peaberry_edge::payload::Level;
/// use peaberry_edge::rules::{Condition, Rule, Rules};
/// use peaberry_edge::{BootEpoch, Name};
///
/// #[derive(Debug, PartialEq)]
/// enum Action { HeaterOff }
///
/// let metric = Name::new("boiler.temperature").unwrap();
/// let mut rules = Rules::new(BootEpoch::FIRST);
/// rules.add(Rule {
///     name: Name::new("overheat").unwrap(),
///     metric: metric.clone(),
///     condition: Condition::Above(110.0),
///     hysteresis: 5.0,
///     broken_ms_min: 2_000,
///     is_latched: false,
///     level: Level::Critical,
///     action: Some(Action::HeaterOff),
/// }).unwrap();
///
/// let mut at = |second: u64, value| {
///     let fired: Vec<_> = rules.judge(&metric, BootEpoch::FIRST, Sample::new(second * 1000, value))
///         .map(|fired| (fired.alert.is_raised, fired.action.is_some())).collect();
///     fired
/// };
/// assert!(at(1, 112.0).is_empty());
/// assert_eq!(at(3, 113.0), [(true, true)]);
/// assert!(at(3, 113.0).is_empty()); // the backlog is replayed
/// assert!(at(4, 107.0).is_empty()); // inside, but not by the hysteresis
/// assert_eq!(at(5, 104.0), [(false, false)]);
/// ```
#[derive(Debug)]
pub struct Rules<A> {
    boot: crate::BootEpoch,
    rules: Vec<Standing<A>>,
}

#[derive(Debug)]
struct Standing<A> {
    rule: Rule<A>,
    phase: Phase,
    /// The time of the last sample judged.
    judged_ms: Option<u64>,
    /// The value with which a latched rule healed.
    healed_at: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Silent,
    Broken {
        since_ms: u64,
    },
    Raised,
    /// Raised, and healed since; silent once acknowledged.
    Latched,
    /// Raised, and acknowledged since; silent once healed.
    Acknowledged,
}

/// A rule that was raised or fell silent.
#[derive(Debug)]
pub struct Fired<'a, A> {
    /// What to tell.
    pub alert: Alert,
    /// What to do now; only when raised.
    pub action: Option<&'a A>,
    /// Whether it stays raised until somebody acknowledges it.
    pub is_latched: bool,
}

/// What became of an acknowledgement.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Acknowledged {
    /// No such rule is raised; nothing changed.
    NotRaised,
    /// The metric is still out of bounds; the rule falls silent when it is back.
    StillBroken,
    /// The rule fell silent: tell this.
    Cleared(Alert),
}

impl<A> Rules<A> {
    /// No rules yet, in the start `boot` of the device.
    #[must_use]
    pub const fn new(boot: crate::BootEpoch) -> Self {
        Self {
            boot,
            rules: Vec::new(),
        }
    }

    /// Adds a rule, silent.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Setting`] for a bound that is no number, bounds the wrong way round or too close for the hysteresis, or
    /// a negative hysteresis; [`EdgeError::TooLong`] for more than [`RULES_MAX`]; [`EdgeError::Malformed`] for a name that
    /// is taken.
    pub fn add(&mut self, rule: Rule<A>) -> Result<(), EdgeError> {
        check(&rule)?;
        if self.rules.len() >= RULES_MAX {
            return Err(EdgeError::TooLong {
                what: "rules",
                length: self.rules.len() as u64 + 1,
                length_max: RULES_MAX as u64,
            });
        }
        if self.find(&rule.name).is_some() {
            return Err(EdgeError::malformed(
                "rule",
                format!("the name {} is taken", rule.name),
            ));
        }
        self.rules.reserve_exact(1);
        self.rules.push(Standing {
            rule,
            phase: Phase::Silent,
            judged_ms: None,
            healed_at: 0.0,
        });
        Ok(())
    }

    /// Judges a sample of `metric` made in the start `boot`; returns the rules that changed. Must be read to its end.
    pub fn judge<'a>(
        &'a mut self,
        metric: &'a Name,
        boot: crate::BootEpoch,
        sample: Sample,
    ) -> impl Iterator<Item = Fired<'a, A>> + 'a {
        let is_live = boot == self.boot && sample.is_number();
        let concerned = self
            .rules
            .iter_mut()
            .filter(move |standing| is_live && standing.rule.metric == *metric);
        concerned.filter_map(move |standing| standing.judge(sample))
    }

    /// Lets a latched rule fall silent: now if its metric is back inside, else as soon as it is.
    pub fn acknowledge(&mut self, rule: &Name) -> Acknowledged {
        let Some(standing) = self.find(rule) else {
            return Acknowledged::NotRaised;
        };
        match standing.phase {
            Phase::Latched => {
                standing.phase = Phase::Silent;
                Acknowledged::Cleared(standing.alert(standing.healed_at))
            }
            Phase::Raised | Phase::Acknowledged => {
                standing.phase = Phase::Acknowledged;
                Acknowledged::StillBroken
            }
            Phase::Silent | Phase::Broken { .. } => Acknowledged::NotRaised,
        }
    }

    /// The rules that are raised.
    pub fn raised(&self) -> impl Iterator<Item = &Name> + '_ {
        let is_raised = |standing: &&Standing<A>| standing.is_raised();
        self.rules
            .iter()
            .filter(is_raised)
            .map(|standing| &standing.rule.name)
    }

    /// The latched rules that are raised, each with whether somebody has acknowledged it: what must survive a restart.
    pub(crate) fn latched(&self) -> impl Iterator<Item = (&Name, bool)> + '_ {
        let latched = self.rules.iter().filter(|it| it.rule.is_latched);
        let raised = latched.filter(|standing| standing.is_raised());
        raised.map(|it| (&it.rule.name, it.phase == Phase::Acknowledged))
    }

    /// Marks a latched rule as raised without firing it: after a restart, for each that was raised when the device went
    /// down. Returns whether there is such a rule.
    pub fn restore_raised(&mut self, rule: &Name) -> bool {
        let Some(standing) = self.find(rule) else {
            return false;
        };
        if standing.rule.is_latched {
            standing.phase = Phase::Raised;
        }
        standing.rule.is_latched
    }

    /// When the last sample was judged by any rule.
    #[must_use]
    pub fn judged(&self) -> Option<DeviceTime> {
        let since_boot_ms = self.rules.iter().filter_map(|rule| rule.judged_ms).max()?;
        Some(DeviceTime {
            boot: self.boot,
            since_boot_ms,
        })
    }

    fn find(&mut self, name: &Name) -> Option<&mut Standing<A>> {
        self.rules
            .iter_mut()
            .find(|standing| standing.rule.name == *name)
    }
}

impl<A> Standing<A> {
    const fn is_raised(&self) -> bool {
        matches!(
            self.phase,
            Phase::Raised | Phase::Latched | Phase::Acknowledged
        )
    }

    fn alert(&self, value: f64) -> Alert {
        Alert {
            rule: self.rule.name.clone(),
            metric: self.rule.metric.clone(),
            level: self.rule.level,
            is_raised: self.is_raised(),
            value,
        }
    }

    fn judge(&mut self, sample: Sample) -> Option<Fired<'_, A>> {
        let is_later = self.judged_ms.is_none_or(|judged| sample.at_ms > judged);
        if !is_later && !is_planted("edge_backlog_refires") {
            return None;
        }
        self.judged_ms = Some(sample.at_ms);
        let was_raised = self.is_raised();
        self.phase = self.next(sample);
        if self.phase == Phase::Latched {
            self.healed_at = sample.value;
        }
        let is_raised = self.is_raised();
        if was_raised == is_raised {
            return None;
        }
        Some(Fired {
            alert: self.alert(sample.value),
            action: self.rule.action.as_ref().filter(|_| is_raised),
            is_latched: self.rule.is_latched,
        })
    }

    fn next(&self, Sample { at_ms, value }: Sample) -> Phase {
        let rule = &self.rule;
        let is_broken = rule.condition.is_broken(value);
        match self.phase {
            Phase::Silent | Phase::Broken { .. } if !is_broken => Phase::Silent,
            Phase::Silent if rule.broken_ms_min == 0 => Phase::Raised,
            Phase::Silent => Phase::Broken { since_ms: at_ms },
            Phase::Broken { since_ms } if at_ms.saturating_sub(since_ms) >= rule.broken_ms_min => {
                Phase::Raised
            }
            Phase::Latched if is_broken => Phase::Raised,
            Phase::Raised | Phase::Acknowledged
                if rule.condition.is_healed(value, rule.hysteresis) =>
            {
                if rule.is_latched && self.phase == Phase::Raised {
                    Phase::Latched
                } else {
                    Phase::Silent
                }
            }
            phase => phase,
        }
    }
}

fn check<A>(rule: &Rule<A>) -> Result<(), EdgeError> {
    let refuse = |setting, value, reason| {
        Err(EdgeError::Setting {
            setting,
            value,
            reason,
        })
    };
    if rule.hysteresis.is_nan() || rule.hysteresis < 0.0 {
        return refuse("hysteresis", rule.hysteresis, "it must not be negative");
    }
    match rule.condition {
        Condition::Above(bound) | Condition::Below(bound) if !bound.is_finite() => {
            refuse("bound", bound, "it must be a number")
        }
        Condition::Outside(low, high)
            if !((high - low).is_finite() && high - low >= 2.0 * rule.hysteresis) =>
        {
            refuse(
                "upper bound",
                high,
                "it must lie above the lower one by twice the hysteresis",
            )
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BootEpoch;

    fn metric() -> Name {
        Name::new("pressure").unwrap()
    }

    fn rules(is_latched: bool, broken_ms_min: u64) -> Rules<()> {
        let mut rules = Rules::new(BootEpoch::new(7).unwrap());
        let rule = Rule {
            name: Name::new("burst").unwrap(),
            metric: metric(),
            condition: Condition::Outside(2.0, 10.0),
            hysteresis: 1.0,
            broken_ms_min,
            is_latched,
            level: Level::Critical,
            action: Some(()),
        };
        rules.add(rule).unwrap();
        rules
    }

    /// What happens at each sample: `!` raised, `.` fell silent, `-` nothing.
    fn transcript(rules: &mut Rules<()>, boot: u64, samples: &[(u64, f64)]) -> String {
        let boot = BootEpoch::new(boot).unwrap();
        let mut told = String::new();
        for (at_ms, value) in samples {
            let fired: Vec<_> = rules
                .judge(&metric(), boot, Sample::new(*at_ms, *value))
                .map(|fired| {
                    assert_eq!(fired.action.is_some(), fired.alert.is_raised);
                    fired.alert.is_raised
                })
                .collect();
            told.push(match fired.as_slice() {
                [] => '-',
                [true] => '!',
                _ => '.',
            });
        }
        told
    }

    const STORY: [(u64, f64); 8] = [
        (1, 5.0),
        (2, 11.0),
        (3, 9.5),
        (4, 10.5),
        (5, 8.9),
        (6, 1.0),
        (7, f64::NAN),
        (8, 3.0),
    ];

    #[test]
    fn a_rule_fires_once_until_it_has_healed_beyond_its_hysteresis() {
        assert_eq!(transcript(&mut rules(false, 0), 7, &STORY), "-!--.!-.");
    }

    #[test]
    fn a_short_break_fires_nothing() {
        let story = [(0, 11.0), (90, 9.9), (100, 11.0), (150, 11.0), (200, 11.0)];
        assert_eq!(transcript(&mut rules(false, 100), 7, &story), "----!");
    }

    #[test]
    fn a_latched_rule_waits_for_its_acknowledgement() {
        let mut rules = rules(true, 0);
        let name = Name::new("burst").unwrap();
        assert_eq!(transcript(&mut rules, 7, &STORY), "-!------");
        assert_eq!(rules.raised().count(), 1);
        let cleared = rules.acknowledge(&name);
        assert!(matches!(cleared, Acknowledged::Cleared(alert) if !alert.is_raised));
        assert_eq!(rules.acknowledge(&name), Acknowledged::NotRaised);
        assert_eq!(transcript(&mut rules, 7, &[(9, 11.0)]), "!");
        // Acknowledged before it heals, it falls silent by itself, and latches again the next time.
        assert_eq!(rules.acknowledge(&name), Acknowledged::StillBroken);
        assert_eq!(
            transcript(&mut rules, 7, &[(10, 5.0), (11, 11.0), (12, 5.0)]),
            ".!-"
        );
    }

    #[test]
    fn a_replayed_backlog_fires_nothing_again() {
        let mut rules = rules(false, 0);
        assert_eq!(transcript(&mut rules, 7, &STORY), "-!--.!-.");
        assert_eq!(transcript(&mut rules, 7, &STORY), "--------");
        // Nor does one of an earlier start, whatever its times.
        assert_eq!(transcript(&mut rules, 6, &[(1_000_000, 99.0)]), "-");
    }

    #[test]
    fn a_rule_restored_as_raised_does_not_fire_again() {
        let mut rules = rules(true, 0);
        assert!(rules.restore_raised(&Name::new("burst").unwrap()));
        assert_eq!(transcript(&mut rules, 7, &[(1, 11.0), (2, 5.0)]), "--");
        assert_eq!(rules.raised().count(), 1);
    }

    #[test]
    fn contradictory_rules_are_refused() {
        let mut rules = rules(false, 0);
        let mut rule = Rule {
            name: Name::new("burst").unwrap(),
            metric: metric(),
            condition: Condition::Outside(2.0, 3.0),
            hysteresis: 1.0,
            broken_ms_min: 0,
            is_latched: false,
            level: Level::Info,
            action: None,
        };
        assert!(matches!(
            rules.add(rule.clone()),
            Err(EdgeError::Setting { .. })
        ));
        rule.condition = Condition::Above(f64::NAN);
        assert!(matches!(
            rules.add(rule.clone()),
            Err(EdgeError::Setting { .. })
        ));
        rule.condition = Condition::Above(3.0);
        let error = rules.add(rule).unwrap_err();
        assert_eq!(
            error.to_string(),
            "rule is malformed: the name burst is taken"
        );
    }
}
