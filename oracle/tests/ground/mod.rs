//! What the stories stand on: four oracles with keys, and a configuration that each story makes its own.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "each story takes what it needs, and a test fails by panicking"
)]

pub(crate) mod alone;

use std::sync::Arc;
use std::time::Duration;

use peaberry_chain::EvmAddress;
use peaberry_core::PeerId;
use peaberry_oracle::{
    AttestedReport, Config, ConfigForm, EcdsaAttestation, EcdsaKey, Feed, Keyring, Member, Report,
    Timing, WEIGHT_MAX,
};

pub(crate) const MEMBERS: u8 = 4;

/// The peer that is member `number`.
pub(crate) fn peer(number: u8) -> PeerId {
    PeerId::new(u64::from(number) + 1).unwrap()
}

pub(crate) fn key(number: u8) -> Arc<EcdsaKey> {
    Arc::new(EcdsaKey::from_bytes(&[number + 1; 32]).unwrap())
}

/// A feed in cents that is worth a report when it deviates by a percent.
pub(crate) fn feed(name: &str, breaker_bps: Option<u32>) -> Feed {
    Feed {
        name: name.into(),
        decimals: 2,
        min: 100,
        max: 10_i128.pow(12),
        deviation_bps: 100,
        heartbeat_ms: 60_000,
        breaker_bps,
    }
}

/// Four members of equal weight, one of whom may lie, who price two feeds.
pub(crate) fn form(contract: EvmAddress) -> ConfigForm {
    let member = |number: u8| Member {
        peer: peer(number),
        signer: key(number).address(),
        weight: WEIGHT_MAX,
    };
    ConfigForm {
        chain_id: 31_337,
        contract,
        generation: 1,
        faulty: 1,
        threshold: 2,
        members: (0..MEMBERS).map(member).collect(),
        feeds: vec![feed("BTC/USD", Some(2_000)), feed("ETH/USD", None)],
        timing: Timing {
            round: Duration::from_millis(200),
            grace: Duration::from_millis(20),
            progress: Duration::from_millis(1_000),
            beat: Duration::from_millis(100),
            ..Timing::default()
        },
    }
}

/// The same, with these stages between transmitters, and observations that are good for long.
pub(crate) fn config(stage: Duration) -> Arc<Config> {
    let form = ConfigForm {
        timing: Timing {
            round: Duration::from_millis(400),
            grace: Duration::from_millis(50),
            progress: Duration::from_millis(1_500),
            beat: Duration::from_millis(200),
            stage,
            observation_age_max: Duration::from_secs(600),
            ..Timing::default()
        },
        ..form(EvmAddress::repeat_byte(0xcc))
    };
    Arc::new(Config::new(form).unwrap())
}

/// The report as the first two members sign it.
pub(crate) fn attest(config: &Config, report: Report) -> AttestedReport {
    let digest = report.digest(config);
    let signatures = [0, 1].map(|member| (member, key(member).sign(&digest)));
    let signatures = signatures.into_iter().collect();
    AttestedReport {
        report,
        attestation: EcdsaAttestation { signatures }.to_bytes().into(),
    }
}
