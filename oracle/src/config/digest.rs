use std::time::Duration;

use peaberry_chain::EvmAddress;
use peaberry_chain::primitives::{B256, keccak256};
use peaberry_core::mutant::is_planted;
use peaberry_core::wire;

use super::ConfigForm;
use crate::wire::put_value;

const VERSION: u8 = 1;

/// Keccak-256 of every field in order; lengths stand before what varies, so that no two forms share their bytes.
pub(super) fn of_config(form: &ConfigForm) -> B256 {
    let mut out = b"peaberry oracle configuration".to_vec();
    out.push(VERSION);
    wire::put_varint(&mut out, form.chain_id);
    out.extend_from_slice(form.contract.as_slice());
    wire::put_varint(&mut out, form.generation);
    for count in [form.faulty, form.threshold, form.members.len()] {
        wire::put_varint(&mut out, count as u64);
    }
    for member in &form.members {
        wire::put_varint(&mut out, member.peer.get());
        out.extend_from_slice(member.signer.as_slice());
        if !is_planted("weights_not_in_digest") {
            wire::put_varint(&mut out, u64::from(member.weight));
        }
    }
    wire::put_varint(&mut out, form.feeds.len() as u64);
    for feed in &form.feeds {
        wire::put_bytes(&mut out, feed.name.as_bytes());
        out.push(feed.decimals);
        put_value(&mut out, feed.min);
        put_value(&mut out, feed.max);
        wire::put_varint(&mut out, u64::from(feed.deviation_bps));
        wire::put_varint(&mut out, feed.heartbeat_ms);
        wire::put_varint(&mut out, u64::from(feed.breaker_bps.unwrap_or(0)));
    }
    let timing = &form.timing;
    for interval in [
        timing.round,
        timing.grace,
        timing.progress,
        timing.beat,
        timing.stage,
        timing.observation_age_max,
    ] {
        wire::put_varint(&mut out, nanos(interval));
    }
    wire::put_varint(&mut out, timing.latency_max_ms);
    wire::put_varint(&mut out, u64::from(timing.rounds_per_epoch));
    keccak256(out)
}

fn nanos(interval: Duration) -> u64 {
    u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX)
}

/// The domain separator of EIP-712 for the contract that stores the answers.
pub(super) fn domain(chain_id: u64, contract: EvmAddress) -> B256 {
    let fields =
        "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
    let mut out = Vec::with_capacity(160);
    out.extend_from_slice(keccak256(fields).as_slice());
    out.extend_from_slice(keccak256("PriceOracle").as_slice());
    out.extend_from_slice(keccak256("1").as_slice());
    out.extend_from_slice(&[0; 24]);
    out.extend_from_slice(&chain_id.to_be_bytes());
    out.extend_from_slice(&[0; 12]);
    out.extend_from_slice(contract.as_slice());
    keccak256(out)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::testing::form;
    use crate::{Config, WEIGHT_MIN};

    /// Whatever differs, the digest differs; so nothing signed under one configuration means anything under another.
    #[test]
    fn every_field_is_in_the_digest() {
        let changes: [&dyn Fn(&mut ConfigForm); 18] = [
            &|_| {},
            &|it| it.chain_id += 1,
            &|it| it.contract = EvmAddress::repeat_byte(9),
            &|it| it.generation += 1,
            &|it| it.members.swap(0, 1),
            &|it| it.members[2].peer = peaberry_core::PeerId::new(99).unwrap(),
            &|it| it.members[2].signer = EvmAddress::repeat_byte(99),
            &|it| it.members[2].weight = WEIGHT_MIN,
            &|it| it.feeds[0].name.push('x'),
            &|it| it.feeds[0].decimals += 1,
            &|it| it.feeds[0].min += 1,
            &|it| it.feeds[0].max += 1,
            &|it| it.feeds[0].deviation_bps += 1,
            &|it| it.feeds[0].heartbeat_ms += 1,
            &|it| it.feeds[0].breaker_bps = None,
            &|it| it.timing.grace *= 2,
            &|it| it.timing.latency_max_ms += 1,
            &|it| it.timing.rounds_per_epoch += 1,
        ];
        let digests: BTreeSet<_> = changes
            .iter()
            .map(|change| {
                let mut form = form(1);
                change(&mut form);
                Config::new(form).unwrap().digest()
            })
            .collect();
        assert_eq!(digests.len(), changes.len());
    }
}
