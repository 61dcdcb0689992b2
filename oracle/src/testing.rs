//! What the crate's own tests share.

use std::sync::Arc;
use std::time::Duration;

use peaberry_chain::EvmAddress;
use peaberry_core::PeerId;

use crate::{Config, ConfigForm, EcdsaKey, Feed, Keyring, Member, Timing, WEIGHT_MAX};

/// The key of the member numbered `number`.
pub(crate) fn key(number: u8) -> Arc<EcdsaKey> {
    Arc::new(EcdsaKey::from_bytes(&[number + 1; 32]).unwrap())
}

pub(crate) fn form(faulty: usize) -> ConfigForm {
    let count = u8::try_from(3 * faulty + 1).unwrap();
    let member = |number| Member {
        peer: PeerId::new(u64::from(number) + 1).unwrap(),
        signer: key(number).address(),
        weight: WEIGHT_MAX,
    };
    ConfigForm {
        chain_id: 31_337,
        contract: EvmAddress::repeat_byte(0xcc),
        generation: 1,
        faulty,
        threshold: faulty + 1,
        members: (0..count).map(member).collect(),
        feeds: vec![Feed {
            name: "BTC/USD".into(),
            decimals: 2,
            min: 1,
            max: 10_i128.pow(12),
            deviation_bps: 50,
            heartbeat_ms: 60_000,
            breaker_bps: Some(3_000),
        }],
        timing: Timing {
            round: Duration::from_millis(500),
            grace: Duration::from_millis(100),
            progress: Duration::from_secs(2),
            beat: Duration::from_millis(500),
            stage: Duration::from_secs(1),
            ..Timing::default()
        },
    }
}

pub(crate) fn config(faulty: usize) -> Arc<Config> {
    Arc::new(Config::new(form(faulty)).unwrap())
}
