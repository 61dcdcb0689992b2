//! What must hold in the end, when all has been well for a while.

use std::collections::{BTreeMap, BTreeSet};

use peaberry_edge::payload::{Gap, GapReason, OrderPhase, Payload, Record};
use peaberry_edge::spool::AckLevel;
use peaberry_edge::topic::Stream;
use peaberry_edge::{BootEpoch, DeviceId, Name, Position, RecordId};

use super::findings::Findings;
use super::fog::Fog;
use super::gateway::Gateway;
use super::ledger::Ledger;
use super::{name, reached};

pub(super) fn check(gateway: &Gateway, fog: &Fog, findings: &mut Findings) {
    let mut records: Vec<_> = fog.records().collect();
    check_each_once(&records, findings);
    // Where the broker's acknowledgement is enough, the device answers for what the broker has, and for no more.
    let accepted = match gateway.keep_until() {
        AckLevel::Sink => Vec::new(),
        AckLevel::Broker => gateway.accepted(),
    };
    if !accepted.is_empty() {
        findings.reach(reached::BROKER_IS_ENOUGH);
        records.extend(&accepted);
    }
    let lives = Lives {
        gateway,
        fog,
        ledger: gateway.disk.ledger(),
    };
    let without_orders = check_nothing_is_missing(&lives, &records, findings);
    check_orders(&lives, &records, &without_orders, findings);
    if !lives.ledger.has_lost() {
        check_twins(gateway, fog, findings);
    }
}

fn check_each_once(records: &[&Record], findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for record in records {
        if !seen.insert(&record.id) {
            findings.complain(format!("{} is in the inbox twice", record.id));
        }
    }
}

/// What disks have held, and who has said what of starts that others had overtaken.
struct Lives<'a> {
    gateway: &'a Gateway,
    fog: &'a Fog,
    ledger: Ledger,
}

impl Lives<'_> {
    /// Whether what is made in a start may be taken for repeated: it began on a disk that was replaced or restored, its sink
    /// knows a later one, and the device or the collector has said so of this very start.
    fn is_overtaken_and_named(&self, device: &DeviceId, boot: BootEpoch) -> bool {
        let is_named =
            self.gateway.is_known_overtaken(device, boot) || self.fog.has_named(device, boot);
        is_named && self.ledger.is_overtaken(device, boot)
    }
}

/// Whatever a disk has held durably has come, or a gap tells of it, or it is spooled still; and nobody numbers a record that
/// is none of these. What a disk held that is gone is gone with it, but not what it had let go of as acknowledged. Answers the
/// orders whose ends were lost in starts that were overtaken.
fn check_nothing_is_missing(
    lives: &Lives<'_>,
    records: &[&Record],
    findings: &mut Findings,
) -> BTreeSet<(DeviceId, Name)> {
    let mut without_orders = BTreeSet::new();
    let Lives {
        gateway, ledger, ..
    } = lives;
    let come: BTreeSet<_> = records.iter().map(|record| &record.id).collect();
    let gaps = gaps_of(records, findings);
    let under_way = UnderWay::of(gateway, ledger);
    let mut missing: BTreeMap<(&DeviceId, Stream), u64> = BTreeMap::new();
    for id in ledger.acknowledged() {
        if !come.contains(id) && !is_told(&gaps, id, None) {
            findings.complain(format!(
                "{id} was let go of as acknowledged, and nobody has it"
            ));
        }
    }
    for (id, held) in ledger.iter() {
        let stream = held.stream;
        if ledger.has_lost() && !ledger.is_overtaken(&id.device, id.boot) {
            findings.reach(reached::GONE_ABOVE);
        }
        if come.contains(id) || under_way.includes(id) {
            continue;
        }
        if lives.is_overtaken_and_named(&id.device, id.boot) {
            findings.reach(reached::OVERTAKEN_AND_LOST);
            let end = held.end_of.clone().map(|key| (id.device.clone(), key));
            without_orders.extend(end);
            continue;
        }
        *missing.entry((&id.device, stream)).or_default() += 1;
        if !is_told(&gaps, id, Some(stream)) {
            findings.complain(format!("{id} was durable, is lost, and no gap tells of it"));
        }
    }
    for ((device, stream), missing) in missing {
        let of_stream = gaps.get(device).into_iter().flatten();
        let told: u64 = of_stream
            .filter(|gap| gap.stream == stream)
            .map(|gap| gap.count)
            .sum();
        if told < missing {
            let stream = stream.word();
            findings.complain(format!(
                "{device} lost {missing} records of {stream} and tells of {told}"
            ));
        }
    }
    check_numbers(ledger, &under_way, &come, &gaps, findings);
    without_orders
}

/// Every number below one that has come has come too, or a gap tells of it.
fn check_numbers(
    ledger: &Ledger,
    under_way: &UnderWay,
    come: &BTreeSet<&RecordId>,
    gaps: &BTreeMap<DeviceId, Vec<Gap>>,
    findings: &mut Findings,
) {
    let mut last: BTreeMap<(&DeviceId, BootEpoch), u64> = BTreeMap::new();
    for id in come {
        let last = last.entry((&id.device, id.boot)).or_default();
        *last = id.sequence.max(*last);
    }
    for ((device, boot), last) in last {
        // What such a start made and nobody has may be gone with its disk.
        if ledger.is_overtaken(device, boot) {
            continue;
        }
        for sequence in 1..last {
            let id = RecordId {
                device: device.clone(),
                boot,
                sequence,
            };
            if !come.contains(&id) && !under_way.includes(&id) && !is_told(gaps, &id, None) {
                findings.complain(format!("{id} was made, is lost, and no gap tells of it"));
            }
        }
    }
}

fn gaps_of(records: &[&Record], findings: &mut Findings) -> BTreeMap<DeviceId, Vec<Gap>> {
    let mut gaps: BTreeMap<DeviceId, Vec<Gap>> = BTreeMap::new();
    for record in records {
        if let Payload::Gap(gap) = record.payload {
            findings.reach(match gap.reason {
                GapReason::Decimated => reached::GAP_DECIMATED,
                GapReason::Rejected => reached::GAP_REJECTED,
                _ => reached::GAP_DROPPED,
            });
            if gap.stream == Stream::Alerts && gap.reason == GapReason::Dropped {
                findings.reach(reached::GAP_REPEATED);
            }
            gaps.entry(record.id.device.clone()).or_default().push(gap);
        }
    }
    gaps
}

fn is_told(gaps: &BTreeMap<DeviceId, Vec<Gap>>, id: &RecordId, stream: Option<Stream>) -> bool {
    let at = Position::new(id.boot, id.sequence);
    gaps.get(&id.device).into_iter().flatten().any(|gap| {
        let is_of_stream = stream.is_none_or(|stream| stream == gap.stream);
        is_of_stream && gap.first <= at && at <= gap.last
    })
}

/// The records that spools hold, which may be under way. None where it became quiet.
struct UnderWay(BTreeSet<RecordId>);

impl UnderWay {
    fn of(gateway: &Gateway, ledger: &Ledger) -> Self {
        let is_spooled = |device: &DeviceId| {
            let spool = gateway.fleet().and_then(|fleet| fleet.spool(device));
            spool.is_some_and(|spool| spool.records > 0)
        };
        let held = ledger.held().filter(|id| is_spooled(&id.device));
        Self(held.cloned().collect())
    }

    fn includes(&self, id: &RecordId) -> bool {
        self.0.contains(id)
    }
}

/// Every order that was accepted or begun has come to one end, which the collector knows; a completed one has had every step.
fn check_orders(
    lives: &Lives<'_>,
    records: &[&Record],
    without: &BTreeSet<(DeviceId, Name)>,
    findings: &mut Findings,
) {
    let works = &lives.gateway.works;
    let mut owed = works.owed();
    let mut ends: BTreeMap<(DeviceId, Name), BTreeSet<OrderPhase>> = BTreeMap::new();
    for record in records {
        if let Payload::Notification(notification) = &record.payload
            && notification.text.as_str().contains("is refused")
        {
            findings.reach(reached::SETTING_REFUSED);
        }
        let Payload::Order(update) = &record.payload else {
            continue;
        };
        let order = (record.id.device.clone(), update.key.clone());
        if update.phase == OrderPhase::Accepted {
            // The machine may have died before it could say so on the spot; or its disk may be gone, with the order.
            if !lives.ledger.is_overtaken(&order.0, record.id.boot) {
                owed.insert(order);
            }
        } else if update.phase == OrderPhase::Rejected {
            let reason = update.reason.as_ref().map_or("", |reason| reason.as_str());
            for (words, branch) in [
                ("not enough", reached::ORDER_REJECTED),
                ("unknown", reached::RECIPE_UNKNOWN),
                ("the key was used", reached::KEY_REUSED),
                ("not retained", reached::RETAINED_REJECTED),
            ] {
                if reason.contains(words) {
                    findings.reach(branch);
                }
            }
        } else if update.phase.is_final() {
            ends.entry(order).or_default().insert(update.phase);
        }
    }
    for (order, phases) in &ends {
        for phase in phases {
            findings.reach(match phase {
                OrderPhase::Completed => reached::ORDER_COMPLETED,
                OrderPhase::Cancelled => reached::ORDER_CANCELLED,
                OrderPhase::Failed => reached::ORDER_FAILED,
                OrderPhase::Stopped => reached::ORDER_STOPPED,
                _ => reached::ORDER_UNKNOWN,
            });
        }
        if works.is_forgotten(order) {
            continue;
        }
        if phases.len() > 1 {
            findings.complain(format!(
                "{} ended in more than one way: {phases:?}",
                order.1
            ));
        }
        let steps = works.steps(order);
        let has_all = ["grind", "heat", "extract", "finalise"]
            .iter()
            .all(|step| steps.contains_key(&name(step)));
        if phases.contains(&OrderPhase::Completed) && !has_all {
            findings.complain(format!("{} was completed without all its steps", order.1));
        }
    }
    for order in &owed {
        let (device, key) = order;
        if !ends.contains_key(order) && !without.contains(order) {
            findings.complain(format!("nobody knows what became of {key} at {device}"));
        }
    }
}

/// Both sides of a twin say the same.
fn check_twins(gateway: &Gateway, fog: &Fog, findings: &mut Findings) {
    for device in gateway.machines() {
        let here = gateway
            .fleet()
            .and_then(|fleet| fleet.device(&device)?.twin());
        let Some((here, there)) = here.zip(fog.twin(&device)) else {
            findings.complain(format!("{device} has no twin"));
            continue;
        };
        if !here.all_desired().eq(there.all_desired())
            || !here.all_reported().eq(there.all_reported())
        {
            findings.complain(format!("the twin of {device} did not converge"));
        }
    }
}
