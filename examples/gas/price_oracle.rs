//! A report of the oracles on its way into the contract: by a quorum of members, by a group, and of many feeds.

use std::error::Error;
use std::sync::Arc;

use peaberry_chain::contract::{Abi, Value};
use peaberry_chain::primitives::{Address, B256, U256, keccak256};
use peaberry_core::PeerId;
use peaberry_oracle::{
    Aggregation, Answer, AttestedReport, Attestor, Config, ConfigForm, ContractTerms, EcdsaKey,
    EcdsaQuorum, Feed, FrostGroup, Gathered, GroupShare, Keyring, Member, Report, RoundId, Timing,
    configure_call, transmit_call,
};
use rand_core::OsRng;

use crate::Entry;
use crate::ground::Ground;

const ARTEFACT: &[u8] = include_bytes!("../../chain/contracts/artifacts/PriceOracle.json");
const REPORT_AGE_MAX_S: u32 = 86_400;
/// A window of as many answers as other aggregators keep for ever.
const WINDOW: u64 = 256;

/// What is measured.
struct Case {
    name: &'static str,
    faulty: u8,
    is_group: bool,
    feeds: u8,
    window: u64,
    most: Option<u64>,
}

const fn case(name: &'static str, faulty: u8, is_group: bool, feeds: u8, most: u64) -> Case {
    Case {
        name,
        faulty,
        is_group,
        feeds,
        window: 0,
        most: Some(most),
    }
}

const fn with_window(name: &'static str, of: &Case) -> Case {
    Case {
        name,
        faulty: of.faulty,
        is_group: of.is_group,
        feeds: of.feeds,
        window: WINDOW,
        most: None,
    }
}

const ECDSA_4: Case = case("transmit_ecdsa_n4", 1, false, 1, 50_000);
const ECDSA_31: Case = case("transmit_ecdsa_n31", 10, false, 1, 90_000);
const FROST_31: Case = case("transmit_frost_n31", 10, true, 1, 40_000);
const TEN_FEEDS: Case = case("transmit_per_feed_k10", 1, false, 10, 10_000);
const CASES: [Case; 9] = [
    ECDSA_4,
    ECDSA_31,
    case("transmit_frost_n4", 1, true, 1, 40_000),
    FROST_31,
    TEN_FEEDS,
    with_window("transmit_ecdsa_n4_w256", &ECDSA_4),
    with_window("transmit_ecdsa_n31_w256", &ECDSA_31),
    with_window("transmit_frost_n31_w256", &FROST_31),
    with_window("transmit_per_feed_k10_w256", &TEN_FEEDS),
];

pub(crate) async fn entries() -> Result<Vec<Entry>, Box<dyn Error>> {
    let mut entries = Vec::new();
    for case in &CASES {
        let gas = measure(case).await? / u64::from(case.feeds);
        let entry = Entry::new(case.name, gas);
        entries.push(match case.most {
            Some(most) => entry.within(most, "promised"),
            None => entry,
        });
    }
    Ok(entries)
}

/// The gas of a report once every slot has been written before.
async fn measure(case: &Case) -> Result<u64, Box<dyn Error>> {
    let mut ground = Ground::new()?;
    let history = Value::Uint(U256::from(case.window), 256);
    let code = Abi::from_json(ARTEFACT)?.creation_code(&[history, ground.owner().into()])?;
    let contract = ground.deploy(code).await?;
    let grant = [
        &keccak256("grantRole(bytes32,address)")[..4],
        &*keccak256("CONFIGURER_ROLE"),
        &*ground.owner().into_word(),
    ];
    ground.gas(contract, grant.concat()).await?;
    let config = config(case, contract)?;
    let mut members = Members::new(case, &config)?;
    let terms = members.terms();
    let configure = configure_call(&config, &terms)?;
    ground.gas(contract, configure.into()).await?;
    let mut gas = 0;
    for round in 1..=u32::try_from(case.window)? + 3 {
        let report = report(case, &config, round, &ground)?;
        let attestation = members.attest(&report.digest(&config))?;
        let attested = AttestedReport {
            report,
            attestation: attestation.into(),
        };
        let call = transmit_call(&config, &attested)?;
        gas = ground.gas(contract, call.into()).await?;
    }
    Ok(gas)
}

fn key(member: u8) -> Result<Arc<EcdsaKey>, Box<dyn Error>> {
    let key = EcdsaKey::from_bytes(&[member + 1; 32]);
    Ok(Arc::new(key.ok_or("a small number is a key")?))
}

fn config(case: &Case, contract: Address) -> Result<Config, Box<dyn Error>> {
    let count = 3 * case.faulty + 1;
    let members = (0..count).map(|number| {
        Ok(Member {
            peer: PeerId::new(u64::from(number) + 1).ok_or("not zero")?,
            signer: key(number)?.address(),
            weight: 1000,
        })
    });
    let feed = |number: u8| Feed {
        name: format!("FEED{number}/USD"),
        decimals: 8,
        min: 100,
        max: 10_i128.pow(18),
        deviation_bps: 50,
        heartbeat_ms: 60_000,
        breaker_bps: Some(1_000),
    };
    Ok(Config::new(ConfigForm {
        chain_id: 31_337,
        contract,
        generation: 1,
        faulty: case.faulty.into(),
        threshold: usize::from(case.faulty) + 1,
        members: members.collect::<Result<_, Box<dyn Error>>>()?,
        feeds: (0..case.feeds).map(feed).collect(),
        timing: Timing::default(),
    })?)
}

fn report(
    case: &Case,
    config: &Config,
    round: u32,
    ground: &Ground,
) -> Result<Report, Box<dyn Error>> {
    let value = 10_000_000 + i128::from(round % 7) * 1000;
    let answers = (0..case.feeds).map(|feed| Answer {
        feed,
        aggregation: Aggregation::Median,
        value,
    });
    Ok(Report {
        config: config.digest(),
        round: RoundId::new(1, round).ok_or("rounds count from one")?,
        observed_at_ms: ground.chain.head().timestamp_s * 1000,
        observations: keccak256(round.to_be_bytes()),
        answers: answers.collect(),
    })
}

/// Who signs: f+1 of them.
enum Members {
    Quorum(Vec<EcdsaQuorum>),
    Group(Vec<FrostGroup>),
}

impl Members {
    fn new(case: &Case, config: &Config) -> Result<Self, Box<dyn Error>> {
        let (count, threshold) = (3 * case.faulty + 1, case.faulty + 1);
        if case.is_group {
            let shares = GroupShare::deal(count, threshold, &mut OsRng)?;
            return Ok(Self::Group(
                shares.into_iter().map(FrostGroup::new).collect(),
            ));
        }
        let quorum = (0..count).map(|member| Ok(EcdsaQuorum::new(config, key(member)?)));
        Ok(Self::Quorum(quorum.collect::<Result<_, Box<dyn Error>>>()?))
    }

    fn terms(&self) -> ContractTerms {
        let group = match self {
            Self::Group(members) => members.first(),
            Self::Quorum(_) => None,
        };
        match group {
            Some(first) => ContractTerms::group(first.group().key(), REPORT_AGE_MAX_S),
            None => ContractTerms::quorum(REPORT_AGE_MAX_S),
        }
    }

    fn attest(&mut self, digest: &B256) -> Result<Vec<u8>, Box<dyn Error>> {
        match self {
            Self::Quorum(members) => attest(members, digest),
            Self::Group(members) => attest(members, digest),
        }
    }
}

/// The first gathers what all give, until it is enough.
fn attest(members: &mut [impl Attestor], digest: &B256) -> Result<Vec<u8>, Box<dyn Error>> {
    let at = members.len().checked_sub(1).ok_or("nobody signs")?;
    members.get_mut(at).ok_or("nobody signs")?.begin(digest);
    let mut asked: Vec<(u8, Option<bytes::Bytes>)> = (0..=u8::MAX)
        .take(members.len())
        .map(|it| (it, None))
        .collect();
    while !asked.is_empty() {
        for (member, request) in std::mem::take(&mut asked) {
            let signer = members
                .get_mut(usize::from(member))
                .ok_or("no such member")?;
            let part = signer.contribute(digest, request.as_deref())?;
            let gatherer = members.get_mut(at).ok_or("nobody signs")?;
            match gatherer.gather(digest, member, &part)? {
                Gathered::More => {}
                Gathered::Done(attestation) => return Ok(attestation.to_vec()),
                Gathered::Ask(requests) => {
                    asked = requests
                        .into_iter()
                        .map(|(it, bytes)| (it, Some(bytes)))
                        .collect();
                    break;
                }
            }
        }
    }
    Err("too few have signed".into())
}
