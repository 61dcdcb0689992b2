//! Reports of the round protocol on a development chain: by a quorum and by a group, brought by staggered transmitters.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use peaberry_chain::contract::Abi;
use peaberry_chain::dev::{DevChain, DevOptions};
use peaberry_chain::evm::{EvmClient, EvmRpc};
use peaberry_chain::outbox::{ChainRules, OutboxConfig, OutboxHandle};
use peaberry_chain::primitives::{B256, Bytes, U256, keccak256};
use peaberry_chain::wallet::EvmKey;
use peaberry_chain::{Amount, BlockAt, CallRequest, ChainClient, EvmAddress, Finality, Intent};
use peaberry_core::{Handle, MemoryNetwork, MemoryStorage, Node, NodeThread, PeerId, SystemClock};
use peaberry_oracle::{
    AttestedReport, Attestor, Config, ConfigForm, ContractTerms, EcdsaKey, EcdsaQuorum, Feed,
    FrostGroup, Gathered, GroupShare, Keyring, Member, Oracle, OracleCommand, OracleEvent, Timing,
    Transmitter, configure_call, latest_round, latest_round_call, rotate_call, rotation_digest,
    slot_of, transmit_call,
};
use rand_core::OsRng;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

const ARTEFACT: &[u8] = include_bytes!("../../chain/contracts/artifacts/PriceOracle.json");
const START_S: u64 = 1_735_689_600;
const STAGE: Duration = Duration::from_millis(1500);
const PATIENCE: Duration = Duration::from_secs(30);
const MEMBERS: u8 = 4;

fn peer(member: u8) -> PeerId {
    PeerId::new(u64::from(member) + 1).unwrap()
}

fn key(member: u8) -> Arc<EcdsaKey> {
    Arc::new(EcdsaKey::from_bytes(&[member + 1; 32]).unwrap())
}

/// Who pays: the owner is number 0, the oracles the numbers behind.
fn payer(number: u8) -> EvmKey {
    EvmKey::from_bytes(&[0x20 + number; 32]).unwrap()
}

/// Two feeds, of which one report is due and no second one.
fn config(contract: EvmAddress) -> Arc<Config> {
    let member = |number: u8| Member {
        peer: peer(number),
        signer: key(number).address(),
        weight: 1000,
    };
    let feed = |name: &str| Feed {
        name: name.into(),
        decimals: 2,
        min: 100,
        max: 10_i128.pow(12),
        deviation_bps: 100,
        heartbeat_ms: 10_000_000_000,
        breaker_bps: Some(2_000),
    };
    let form = ConfigForm {
        chain_id: 31_337,
        contract,
        generation: 1,
        faulty: 1,
        threshold: 2,
        members: (0..MEMBERS).map(member).collect(),
        feeds: vec![feed("BTC/USD"), feed("ETH/USD")],
        timing: Timing {
            round: Duration::from_millis(200),
            grace: Duration::from_millis(20),
            progress: Duration::from_secs(2),
            beat: Duration::from_millis(100),
            stage: STAGE,
            ..Timing::default()
        },
    };
    Arc::new(Config::new(form).unwrap())
}

/// A chain with the contract on it, not configured yet.
struct Town {
    chain: DevChain,
    client: Arc<EvmClient>,
    owner: EvmAddress,
    contract: EvmAddress,
}

impl Town {
    async fn open() -> Self {
        let payers: Vec<EvmKey> = (0..=MEMBERS).map(payer).collect();
        let options = DevOptions {
            genesis_timestamp_s: START_S,
            ..DevOptions::default()
        };
        let options = payers
            .iter()
            .fold(options, |options, key| options.fund(key.evm_address()));
        let chain = DevChain::new(options);
        let mut client = EvmClient::connect(Arc::new(chain.clone()), chain.network())
            .await
            .unwrap();
        for key in payers {
            client = client.with_signer(Arc::new(key)).unwrap();
        }
        let owner = payer(0).evm_address();
        let town = Self {
            chain,
            client: Arc::new(client),
            owner,
            contract: owner.create(0),
        };
        let abi = Abi::from_json(ARTEFACT).unwrap();
        let history = peaberry_chain::contract::Value::Uint(U256::ZERO, 256);
        let code = abi.creation_code(&[history, owner.into()]).unwrap();
        town.settle(&Intent::Deploy {
            from: owner.into(),
            value: Amount::wei(0),
            code,
        })
        .await;
        let role = keccak256("CONFIGURER_ROLE");
        let grant = keccak256("grantRole(bytes32,address)");
        let grant = [&grant[..4], &*role, &*owner.into_word()].concat();
        town.call(grant.into()).await;
        town
    }

    /// Has the owner call the contract.
    async fn call(&self, data: Bytes) {
        self.settle(&Intent::Call {
            from: self.owner.into(),
            to: self.contract.into(),
            value: Amount::wei(0),
            data,
        })
        .await;
    }

    async fn settle(&self, intent: &Intent) {
        let id = self.client.submit(intent).await.unwrap();
        let status = self.client.wait(id, Finality::Latest, PATIENCE).await;
        assert!(status.unwrap().block().is_some());
    }

    async fn ask(&self, data: Bytes) -> Bytes {
        let request = CallRequest::new(self.contract, data);
        self.client.call(&request, BlockAt::Latest).await.unwrap()
    }

    /// The round of the feed's answer, once there is one.
    async fn round(&self, feed: u8) -> Option<peaberry_oracle::RoundId> {
        latest_round(&self.ask(latest_round_call(feed).into()).await)
    }

    /// The feed's answer and its round.
    async fn answer(&self, feed: u8) -> (U256, Option<peaberry_oracle::RoundId>) {
        let selector = keccak256("latestRoundDataOf(uint256)");
        let data = [&selector[..4], &U256::from(feed).to_be_bytes::<32>()].concat();
        let read = self.ask(data.into()).await;
        (U256::from_be_slice(&read[32..64]), self.round(feed).await)
    }

    /// How many transactions each oracle has paid for.
    async fn paid(&self) -> Vec<u64> {
        let mut paid = Vec::new();
        for member in 0..MEMBERS {
            let account = payer(member + 1).evm_address();
            let nonce = EvmRpc::nonce(&self.chain, account, BlockAt::Latest).await;
            paid.push(nonce.unwrap());
        }
        paid
    }
}

type Told = (u8, OracleEvent);

/// Oracles on threads, all of which see the same prices.
struct Oracles {
    handles: BTreeMap<u8, Handle<OracleCommand>>,
    told: UnboundedReceiver<Told>,
    /// They end with it.
    _nodes: Vec<NodeThread>,
}

fn start<A: Attestor>(config: &Arc<Config>, attestor: impl Fn(u8) -> A) -> Oracles {
    let network = MemoryNetwork::new();
    let (tell, told): (UnboundedSender<Told>, _) = unbounded_channel();
    let (mut handles, mut nodes) = (BTreeMap::new(), Vec::new());
    for member in 0..MEMBERS {
        let storage = Arc::new(MemoryStorage::new());
        let oracle = Oracle::open(
            config.clone(),
            key(member),
            attestor(member),
            0,
            storage.as_ref(),
        )
        .unwrap();
        let transport = Arc::new(network.join(peer(member)));
        let mut node = Node::new(transport, storage, Arc::new(SystemClock::new()));
        let tell = tell.clone();
        let handle = oracle
            .add_to(&mut node, move |event| drop(tell.send((member, event))))
            .unwrap();
        handle
            .submit(OracleCommand::Observe {
                values: vec![Some(2_100_000 + i128::from(member)), Some(180_000)],
                observed_at_ms: START_S * 1000,
            })
            .unwrap();
        handles.insert(member, handle);
        nodes.push(node.spawn("oracle").unwrap());
    }
    Oracles {
        handles,
        told,
        _nodes: nodes,
    }
}

impl Oracles {
    async fn first_report(&mut self) -> AttestedReport {
        loop {
            if let (_, OracleEvent::Agreed { report, .. }) = self.told.recv().await.unwrap() {
                return report;
            }
        }
    }
}

async fn assert_it_lands(town: &Town, config: &Config, report: &AttestedReport) {
    let call = transmit_call(config, report).unwrap();
    town.call(call.into()).await;
    let (value, round) = town.answer(0).await;
    assert_eq!(round, Some(report.report.round));
    assert!((2_100_000..=2_100_003).contains(&value.to::<u64>()));
    assert_eq!(town.answer(1).await.0, U256::from(180_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_signed_by_a_quorum_lands() {
    let town = Town::open().await;
    let config = config(town.contract);
    let terms = ContractTerms::quorum(86_400);
    town.call(configure_call(&config, &terms).unwrap().into())
        .await;
    let mut oracles = start(&config, |member| EcdsaQuorum::new(&config, key(member)));
    let report = oracles.first_report().await;
    assert_it_lands(&town, &config, &report).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_signed_by_a_group_lands_and_so_does_one_of_its_heirs() {
    let town = Town::open().await;
    let config = config(town.contract);
    let shares = GroupShare::deal(MEMBERS, 2, &mut OsRng).unwrap();
    let terms = ContractTerms::group(shares[0].group_key(), 86_400);
    town.call(configure_call(&config, &terms).unwrap().into())
        .await;
    let of = |shares: Vec<GroupShare>| {
        move |member: u8| FrostGroup::new(shares[usize::from(member)].clone())
    };
    let mut oracles = start(&config, of(shares.clone()));
    let report = oracles.first_report().await;
    assert_it_lands(&town, &config, &report).await;
    drop(oracles);

    // Another group, to which the first one hands over: nobody configures.
    let heirs = GroupShare::deal(MEMBERS, 2, &mut OsRng).unwrap();
    let next = Arc::new(config.succeed(&[1000, 900, 800, 700]).unwrap());
    let terms = ContractTerms::group(heirs[0].group_key(), 86_400);
    let digest = rotation_digest(&config, &next, &terms).unwrap();
    let attestation = sign(&shares, &digest);
    town.call(rotate_call(&next, &terms, &attestation).unwrap().into())
        .await;
    let mut oracles = start(&next, of(heirs));
    let report = oracles.first_report().await;
    assert_it_lands(&town, &next, &report).await;
}

/// By the first two members.
fn sign(shares: &[GroupShare], digest: &B256) -> Vec<u8> {
    let mut members: Vec<_> = shares.iter().cloned().map(FrostGroup::new).collect();
    members[0].begin(digest);
    let mut asked = Vec::new();
    for member in [0_u8, 1] {
        let part = members[usize::from(member)]
            .contribute(digest, None)
            .unwrap();
        if let Gathered::Ask(requests) = members[0].gather(digest, member, &part).unwrap() {
            asked = requests;
        }
    }
    for (member, request) in asked {
        let at = usize::from(member);
        let part = members[at].contribute(digest, Some(&request)).unwrap();
        if let Gathered::Done(done) = members[0].gather(digest, member, &part).unwrap() {
            return done.to_vec();
        }
    }
    panic!("two of four sign");
}

/// Each oracle but the silent one puts reports on chain through an outbox of its own. Answers how many transactions each
/// has paid for in the end, by its slot, and how long it took.
async fn transmitted(is_silent: impl Fn(u32) -> bool) -> (Vec<u64>, Duration) {
    let town = Town::open().await;
    let config = config(town.contract);
    let terms = ContractTerms::quorum(86_400);
    town.call(configure_call(&config, &terms).unwrap().into())
        .await;
    let mut oracles = start(&config, |member| EcdsaQuorum::new(&config, key(member)));
    let mut outboxes = Vec::new();
    let mut senders = BTreeMap::new();
    for member in 0..MEMBERS {
        let storage = Arc::new(MemoryStorage::new());
        let mut node = Node::alone(storage.clone(), Arc::new(SystemClock::new()));
        let rules = ChainRules::every(Duration::from_millis(50));
        let outbox = OutboxConfig::new().chain(town.client.chain_id(), rules);
        let (outbox, driver) = OutboxHandle::install(
            &mut node,
            0,
            outbox,
            storage.as_ref(),
            [town.client.clone() as _],
        )
        .unwrap();
        outboxes.push(node.spawn("outbox").unwrap());
        tokio::spawn(driver);
        let from = payer(member + 1).evm_address();
        let transmitter = Transmitter::new(config.clone(), town.client.clone(), outbox, from);
        let (sender, mut reports) = unbounded_channel();
        senders.insert(member, sender);
        let reports = stream::poll_fn(move |cx| reports.poll_recv(cx));
        let handle = oracles.handles[&member].clone();
        let clock = Arc::new(SystemClock::new());
        tokio::spawn(
            transmitter.run(clock, Duration::from_millis(50), reports, handle, |error| {
                panic!("{error:?}")
            }),
        );
    }
    let mut agreed = None;
    let mut landed = None;
    let mut round = None;
    // Until the turn of the last but one is over.
    while agreed.is_none_or(|at: Instant| at.elapsed() < STAGE * 2 + STAGE / 2) {
        let next = tokio::time::timeout(Duration::from_millis(50), oracles.told.recv()).await;
        match next {
            Ok(Some((_, OracleEvent::Agreed { report, .. }))) => {
                round = Some(report.report.round);
                agreed.get_or_insert_with(Instant::now);
            }
            Ok(Some((member, OracleEvent::Transmit { slot, report }))) if !is_silent(slot) => {
                senders[&member].send(report).unwrap();
            }
            _ => {}
        }
        if landed.is_none() && town.round(0).await.is_some() {
            landed = Some(agreed.unwrap().elapsed());
        }
    }
    let paid = town.paid().await;
    let mut by_slot = vec![0; paid.len()];
    for member in 0..MEMBERS {
        let slot = slot_of(&config, round.unwrap(), member);
        by_slot[usize::try_from(slot).unwrap()] = paid[usize::from(member)];
    }
    (by_slot, landed.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_paid_for_once() {
    let (paid, _) = transmitted(|_| false).await;
    assert_eq!(paid, [1, 0, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_transmitter_costs_one_slot() {
    let (paid, landed) = transmitted(|slot| slot == 0).await;
    assert_eq!(paid, [0, 1, 0, 0]);
    assert!(landed >= STAGE - STAGE / 10, "one stage later: {landed:?}");
}
