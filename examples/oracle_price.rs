//! From what four oracles see to an answer that any contract can read.
//!
//! Each oracle makes one observation out of three markets. They agree on a report, sign it, and one of them puts it on a
//! chain in this process. You will see the observations with their signers, the median, how it was signed and what that
//! cost, and the answer as a web3 client reads it: through Chainlink's AggregatorV3Interface. One oracle's markets are
//! far off: the answer stays within the range of the others.
//!
//! ```text
//! cargo run --example oracle_price              # f+1 of 3f+1 sign, each by its own key
//! cargo run --example oracle_price -- --group   # one signature of the group, whose key nobody knows (FROST)
//! ```
//!
//! Tested as: `cargo run --example oracle_price`
//! Tested as: `cargo run --example oracle_price -- --group`
#![expect(clippy::print_stdout, reason = "an example tells its story on stdout")]

use std::error::Error;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use clap::Parser;
use comfy_table::Table;
use peaberry_chain::contract::{Abi, Value};
use peaberry_chain::dev::{DevChain, DevOptions};
use peaberry_chain::evm::{EvmClient, EvmRpc};
use peaberry_chain::primitives::{Bytes, U256, keccak256};
use peaberry_chain::wallet::EvmKey;
use peaberry_chain::{Amount, BlockAt, ChainClient, EvmAddress, Finality, Intent, TxId};
use peaberry_core::{MemoryNetwork, MemoryStorage, Node, NodeThread, PeerId, SystemClock};
use peaberry_oracle::source::{FixedSource, OnChainSource, Panel, PanelPolicy, Source};
use peaberry_oracle::{
    AttestedReport, Attestor, Config, ConfigForm, ContractTerms, EcdsaAttestation, EcdsaKey,
    EcdsaQuorum, Feed, FrostGroup, GroupShare, Keyring, Member, Oracle, OracleCommand, OracleEvent,
    Price, SignedObservation, Timing, configure_call, transmit_call,
};
use rand_core::OsRng;

type Failure = Box<dyn Error>;

const ARTEFACT: &[u8] = include_bytes!("../chain/contracts/artifacts/PriceOracle.json");
const ORACLES: u8 = 4;
/// In hundredths of a dollar.
const DECIMALS: u8 = 2;
/// What each oracle's three markets say. The last one's are wrong.
const MARKETS: [[&str; 3]; ORACLES as usize] = [
    ["21712.51", "21713.02", "21711.90"],
    ["21714.10", "21712.77", "21713.35"],
    ["21709.99", "21712.20", "21711.48"],
    ["43000.00", "43100.00", "43050.00"],
];
/// When the chain begins, in seconds since 1970: 2025-01-01.
const START_S: u64 = 1_735_689_600;
const PATIENCE: Duration = Duration::from_secs(60);
const REPORT_AGE_MAX_S: u32 = 3_600;

/// From what four oracles see to an answer that any contract can read.
#[derive(Parser)]
struct Arguments {
    /// Sign by one key of the group (FROST), not by a key of each member.
    #[arg(long)]
    group: bool,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let town = Town::open().await?;
    let config = Arc::new(config(town.contract)?);
    let (agreed, observations) = if arguments.group {
        let shares = GroupShare::deal(ORACLES, 2, &mut OsRng)?;
        let key = shares.first().ok_or("there are members")?.group_key();
        let terms = ContractTerms::group(key, REPORT_AGE_MAX_S);
        town.call(configure_call(&config, &terms)?.into()).await?;
        let members = shares.into_iter().map(FrostGroup::new);
        agree(&config, members.collect()).await?
    } else {
        let terms = ContractTerms::quorum(REPORT_AGE_MAX_S);
        town.call(configure_call(&config, &terms)?.into()).await?;
        let members = (0..ORACLES).map(|it| Ok(EcdsaQuorum::new(&config, key(it)?)));
        agree(&config, members.collect::<Result<_, Failure>>()?).await?
    };

    println!("{}", observed(&config, &observations));
    let answer = agreed.report.answer(0).ok_or("an answer")?.value;
    println!("median of {}: {}", observations.len(), price(answer));
    println!("{}", signed(&agreed, arguments.group)?);
    let gas = town.call(transmit_call(&config, &agreed)?.into()).await?;
    println!("on chain for {gas} gas, first round of its feed");

    // As any consumer does: by the interface alone.
    let feed = OnChainSource::new(
        "PriceOracle",
        "USD",
        town.client.clone(),
        town.contract,
        BlockAt::Latest,
    );
    let read = feed.quote(DECIMALS).await?;
    println!("AggregatorV3Interface answers {}", price(read.value));

    let honest = observations.iter().filter(|it| it.member != ORACLES - 1);
    let honest = honest.filter_map(|it| it.observation.values.first().copied().flatten());
    let honest: Vec<i128> = honest.collect();
    let (low, high) = (honest.iter().min(), honest.iter().max());
    assert!(
        Some(&answer) >= low && Some(&answer) <= high,
        "the liar has moved it"
    );
    assert_eq!(read.value, answer, "what was stored is what was agreed");
    Ok(())
}

const fn price(value: i128) -> Price {
    Price {
        value,
        decimals: DECIMALS,
    }
}

fn key(member: u8) -> Result<Arc<EcdsaKey>, Failure> {
    let key = EcdsaKey::from_bytes(&[member + 1; 32]);
    Ok(Arc::new(key.ok_or("a small number is a key")?))
}

fn config(contract: EvmAddress) -> Result<Config, Failure> {
    let members = (0..ORACLES).map(|number| {
        Ok(Member {
            peer: peer(number)?,
            signer: key(number)?.address(),
            weight: 1000,
        })
    });
    let feed = Feed {
        name: "BTC/USD".into(),
        decimals: DECIMALS,
        min: 100,
        max: 10_i128.pow(12),
        deviation_bps: 50,
        heartbeat_ms: 3_600_000,
        breaker_bps: Some(2_000),
    };
    Ok(Config::new(ConfigForm {
        chain_id: 31_337,
        contract,
        generation: 1,
        faulty: 1,
        threshold: 2,
        members: members.collect::<Result<_, Failure>>()?,
        feeds: vec![feed],
        timing: Timing::default(),
    })?)
}

fn peer(number: u8) -> Result<PeerId, Failure> {
    Ok(PeerId::new(u64::from(number) + 1).ok_or("not zero")?)
}

/// Runs the oracles, each on a thread, until they have agreed on a report.
async fn agree<A: Attestor>(
    config: &Arc<Config>,
    attestors: Vec<A>,
) -> Result<(AttestedReport, Vec<SignedObservation>), Failure> {
    let network = MemoryNetwork::new();
    let clock = Arc::new(SystemClock::new());
    let (tell, told) = mpsc::channel();
    let mut threads: Vec<NodeThread> = Vec::new();
    for (number, (attestor, markets)) in (0..).zip(attestors.into_iter().zip(MARKETS)) {
        let storage = Arc::new(MemoryStorage::new());
        let oracle = Oracle::open(config.clone(), key(number)?, attestor, 0, storage.as_ref())?;
        let transport = Arc::new(network.join(peer(number)?));
        let mut node = Node::new(transport, storage, clock.clone());
        let tell = tell.clone();
        let handle = oracle.add_to(&mut node, move |event| drop(tell.send(event)))?;
        handle.submit(OracleCommand::Observe {
            values: vec![Some(look(markets, clock.clone()).await?)],
            observed_at_ms: START_S * 1000,
        })?;
        threads.push(node.spawn("oracle")?);
    }
    loop {
        if let OracleEvent::Agreed {
            report,
            observations: Some(observations),
        } = told.recv()?
        {
            return Ok((report, observations));
        }
    }
}

/// One value out of three markets.
async fn look(markets: [&str; 3], clock: Arc<SystemClock>) -> Result<i128, Failure> {
    let now_ms = peaberry_core::Clock::timestamp(clock.as_ref()).as_unix_nanos() / 1_000_000;
    let sources = markets.iter().zip(["east", "west", "north"]);
    let sources = sources.map(|(price, name)| -> Arc<dyn Source> {
        Arc::new(FixedSource::new(name, "USD", *price, now_ms))
    });
    let policy = PanelPolicy::new("USD");
    let patience = Duration::from_secs(5);
    let panel = Panel::new(sources.collect(), policy, DECIMALS, patience, clock)?;
    Ok(panel.read().await.value?)
}

fn observed(config: &Config, observations: &[SignedObservation]) -> Table {
    let mut table = Table::new();
    table.set_header(["oracle", "signs as", "sees"]);
    for signed in observations {
        let signer = config.member(signed.member).map(|it| it.signer.to_string());
        let value = signed.observation.values.first().copied().flatten();
        table.add_row([
            signed.member.to_string(),
            signer.unwrap_or_default(),
            value.map(|it| price(it).to_string()).unwrap_or_default(),
        ]);
    }
    table
}

fn signed(agreed: &AttestedReport, by_group: bool) -> Result<String, Failure> {
    let bytes = agreed.attestation.len();
    if by_group {
        return Ok(format!(
            "signed by the group: {bytes} bytes, whoever took part"
        ));
    }
    let attestation = EcdsaAttestation::from_bytes(&agreed.attestation)?;
    let signers = attestation.signatures.iter().map(|(member, _)| member);
    let signers: Vec<String> = signers.map(u8::to_string).collect();
    Ok(format!(
        "signed by oracles {}: {bytes} bytes",
        signers.join(" and ")
    ))
}

/// A chain in this process, with the contract on it.
struct Town {
    chain: DevChain,
    client: Arc<EvmClient>,
    owner: EvmAddress,
    contract: EvmAddress,
}

impl Town {
    async fn open() -> Result<Self, Failure> {
        let key = EvmKey::from_bytes(&[7; 32])?;
        let owner = key.evm_address();
        let options = DevOptions {
            genesis_timestamp_s: START_S,
            ..DevOptions::default()
        };
        let chain = DevChain::new(options.fund(owner));
        let client = EvmClient::connect(Arc::new(chain.clone()), chain.network()).await?;
        let town = Self {
            client: Arc::new(client.with_signer(Arc::new(key))?),
            chain,
            owner,
            contract: owner.create(0),
        };
        let history = Value::Uint(U256::ZERO, 256);
        town.settle(Intent::Deploy {
            from: owner.into(),
            value: Amount::wei(0),
            code: Abi::from_json(ARTEFACT)?.creation_code(&[history, owner.into()])?,
        })
        .await?;
        let grant = [
            &keccak256("grantRole(bytes32,address)")[..4],
            &*keccak256("CONFIGURER_ROLE"),
            &*owner.into_word(),
        ];
        town.call(grant.concat().into()).await?;
        Ok(town)
    }

    /// Calls the contract; answers the gas.
    async fn call(&self, data: Bytes) -> Result<u64, Failure> {
        self.settle(Intent::Call {
            from: self.owner.into(),
            to: self.contract.into(),
            value: Amount::wei(0),
            data,
        })
        .await
    }

    async fn settle(&self, intent: Intent) -> Result<u64, Failure> {
        let id = self.client.submit(&intent).await?;
        self.client.wait(id, Finality::Latest, PATIENCE).await?;
        let TxId::Evm(hash) = id else {
            return Err("it is an EVM chain".into());
        };
        let receipt = self.chain.receipt(hash).await?.ok_or("it was included")?;
        if !receipt.is_success {
            return Err(format!("undone: {:?}", self.chain.revert_reason(hash)).into());
        }
        Ok(receipt.gas_used)
    }
}
