//! Reports of the round protocol on a chain: by a quorum and by a group, brought by staggered transmitters. On two nodes:
//! `peaberry-chain`'s development chain and Anvil, asked by the same JSON-RPC; where Anvil is not installed, its half says so
//! and skips itself. Of this crate's tests these alone ask an EVM node, and none needs a rule in which the two differ.
//!
//! | in | test | why not on both |
//! |---|---|---|
//! | `on_chain` | `each_test_runs_on_both_nodes_or_is_listed` | reads this list |
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod ground;
#[path = "../../chain/tests/node/mod.rs"]
mod node;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use alloy_provider::{Provider as _, ProviderBuilder};
use alloy_rpc_types_eth::TransactionRequest;
use alloy_sol_types::{SolCall as _, sol};
use futures_util::{StreamExt as _, stream};
use peaberry_chain::contract::Abi;
use peaberry_chain::dev::DevOptions;
use peaberry_chain::evm::{EvmClient, EvmRpc as _};
use peaberry_chain::outbox::{
    ChainRules, IdempotencyKey, OutboxConfig, OutboxHandle, Outcome, Submission,
};
use peaberry_chain::primitives::aliases::U80;
use peaberry_chain::primitives::{B256, Bytes, U256, keccak256};
use peaberry_chain::wallet::EvmKey;
use peaberry_chain::{Amount, BlockAt, CallRequest, ChainClient, EvmAddress, Finality, Intent};
use peaberry_core::{Handle, MemoryNetwork, MemoryStorage, Node, NodeThread, SystemClock};
use peaberry_oracle::{
    Aggregation, Answer, AttestedReport, Attestor, Config, ConfigForm, ContractState,
    ContractTerms, EcdsaAttestation, EcdsaQuorum, Feed, FrostGroup, Gathered, GroupShare, Keyring,
    Oracle, OracleCommand, OracleEvent, Report, RoundId, StoredAnswer, Timing, TransmitError,
    Transmitter, configure_call, contract_state, contract_state_call, halted, halted_call,
    latest_round, latest_round_call, reset_by_quorum_call, reset_call, reset_digest, rotate_call,
    rotation_digest, slot_of, stored_answer, stored_answer_call, transmit_call,
};
use rand_core::OsRng;
use tokio::runtime::Handle as Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::block_in_place;
use tokio::time::Instant;

use self::ground::{MEMBERS, key, peer};
use self::node::{NodeKind, expect_on_both_or_listed, on_both};

on_both! {
    threads: Town::open =>
    a_report_signed_by_a_quorum_lands
    a_web3_client_reads_what_ours_reads
    a_report_signed_by_a_group_lands_and_so_does_one_of_its_heirs
    a_report_is_paid_for_once
    a_silent_transmitter_costs_one_slot
    a_jump_lands_when_operators_have_believed_it_here_and_on_chain
    of_what_has_waited_the_newest_is_paid_for
    what_the_outbox_has_given_up_is_handed_over_anew
    what_landed_is_of_our_generation
}

const ARTEFACT: &[u8] = include_bytes!("../../chain/contracts/artifacts/PriceOracle.json");
const START_S: u64 = 1_735_689_600;
const STAGE: Duration = Duration::from_millis(1500);
const PATIENCE: Duration = Duration::from_secs(30);

/// Who pays: the owner is number 0, the oracles the numbers behind.
fn payer(number: u8) -> EvmKey {
    EvmKey::from_bytes(&[0x20 + number; 32]).unwrap()
}

/// Two feeds, of which one report is due and no second one.
fn config(contract: EvmAddress) -> Arc<Config> {
    let feed = |name| Feed {
        heartbeat_ms: 10_000_000_000,
        ..ground::feed(name, Some(2_000))
    };
    let form = ground::form(contract);
    let form = ConfigForm {
        feeds: vec![feed("BTC/USD"), feed("ETH/USD")],
        timing: Timing {
            progress: Duration::from_secs(2),
            stage: STAGE,
            ..form.timing
        },
        ..form
    };
    Arc::new(Config::new(form).unwrap())
}

/// A chain with the contract on it, not configured yet.
struct Town {
    node: node::Node,
    client: Arc<EvmClient>,
    owner: EvmAddress,
    contract: EvmAddress,
}

impl Town {
    async fn open(kind: NodeKind) -> Self {
        let payers: Vec<EvmKey> = (0..=MEMBERS).map(payer).collect();
        let options = DevOptions {
            genesis_timestamp_s: START_S,
            ..DevOptions::default()
        };
        let options = payers
            .iter()
            .fold(options, |options, key| options.fund(key.evm_address()));
        let node = node::Node::of(kind, options).await;
        node.mine_each(true).await;
        let mut client = EvmClient::connect(Arc::new(node.rpc.clone()), node.network())
            .await
            .unwrap();
        for key in payers {
            client = client.with_signer(Arc::new(key)).unwrap();
        }
        let owner = payer(0).evm_address();
        let town = Self {
            node,
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
        town.grant("CONFIGURER_ROLE").await;
        town
    }

    /// Gives the owner a role of the contract's.
    async fn grant(&self, role: &str) {
        let grant = keccak256("grantRole(bytes32,address)");
        let grant = [&grant[..4], &*keccak256(role), &*self.owner.into_word()].concat();
        self.call(grant.into()).await;
    }

    async fn is_halted(&self) -> bool {
        halted(&self.ask(halted_call(0).into()).await).unwrap()
    }

    async fn state(&self) -> ContractState {
        contract_state(&self.ask(contract_state_call().into()).await).unwrap()
    }

    /// The time of the newest block, in seconds.
    async fn now_s(&self) -> u64 {
        let head = self.client.head(Finality::Latest).await.unwrap();
        head.timestamp_s
    }

    async fn stored(&self) -> Option<StoredAnswer> {
        let request = CallRequest::new(self.contract, stored_answer_call(0));
        let answer = self.client.call(&request, BlockAt::Latest).await.ok()?;
        stored_answer(&answer)
    }

    /// Whether the contract refuses what anybody calls it with.
    async fn refuses(&self, data: bytes::Bytes) -> bool {
        let request = CallRequest::new(self.contract, data);
        self.client.call(&request, BlockAt::Latest).await.is_err()
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
    async fn round(&self, feed: u8) -> Option<RoundId> {
        latest_round(&self.ask(latest_round_call(feed).into()).await)
    }

    /// The feed's answer and its round.
    async fn answer(&self, feed: u8) -> (U256, Option<RoundId>) {
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
            let nonce = self.node.rpc.nonce(account, BlockAt::Latest).await;
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
    /// All see this price in the first feed, at this time.
    fn see(&self, price: i128, observed_at_ms: u64) {
        for handle in self.handles.values() {
            let values = vec![Some(price), Some(180_000)];
            handle
                .submit(OracleCommand::Observe {
                    values,
                    observed_at_ms,
                })
                .unwrap();
        }
    }

    /// Lets time go on, and what is to be transmitted be, until what was told from now on, or the world, is as it should.
    async fn until(
        &mut self,
        transmitters: &Transmitters,
        mut is_over: impl AsyncFnMut(&[Told]) -> bool,
    ) {
        let begun = Instant::now();
        let mut told = Vec::new();
        while !is_over(&told).await {
            assert!(begun.elapsed() < PATIENCE, "{told:?}");
            let next = tokio::time::timeout(Duration::from_millis(50), self.told.recv()).await;
            let Ok(Some((member, event))) = next else {
                continue;
            };
            if let OracleEvent::Transmit { report, .. } = &event {
                transmitters.transmit(member, report.clone());
            }
            told.push((member, event));
        }
    }

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

async fn a_report_signed_by_a_quorum_lands(town: Town) {
    let config = config(town.contract);
    let terms = ContractTerms::quorum(86_400);
    town.call(configure_call(&config, &terms).unwrap().into())
        .await;
    let mut oracles = start(&config, |member| EcdsaQuorum::new(&config, key(member)));
    let report = oracles.first_report().await;
    assert_it_lands(&town, &config, &report).await;
}

sol! {
    interface AggregatorV3Interface {
        function decimals() external view returns (uint8);
        function description() external view returns (string memory);
        function latestRoundData() external view
            returns (uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound);
        function getRoundData(uint80 id) external view
            returns (uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound);
    }
}

/// Over HTTP, by alloy's provider and Chainlink's interface alone: what any consumer off chain does.
async fn a_web3_client_reads_what_ours_reads(town: Town) {
    // Another crate's features may leave the choice of a provider to the program; a second choice changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = config(town.contract);
    let terms = ContractTerms::quorum(86_400);
    town.call(configure_call(&config, &terms).unwrap().into())
        .await;
    let mut oracles = start(&config, |member| EcdsaQuorum::new(&config, key(member)));
    let report = oracles.first_report().await;
    assert_it_lands(&town, &config, &report).await;
    let ours = town.stored().await.unwrap();

    let url = town.node.url().await;
    let provider = ProviderBuilder::new().connect_http(url.parse().unwrap());
    let read = async |data: Vec<u8>| {
        let call = TransactionRequest::default()
            .to(town.contract)
            .input(Bytes::from(data).into());
        provider.call(call).await
    };
    let theirs = read(AggregatorV3Interface::latestRoundDataCall {}.abi_encode()).await;
    let theirs =
        AggregatorV3Interface::latestRoundDataCall::abi_decode_returns(&theirs.unwrap()).unwrap();
    let told = (
        theirs.roundId.to::<u32>(),
        i128::try_from(theirs.answer).unwrap(),
        theirs.startedAt.to::<u64>(),
        theirs.updatedAt.to::<u64>(),
    );
    let ours = (ours.count, ours.value, ours.observed_at_s, ours.stored_at_s);
    assert_eq!(told, ours);
    assert_eq!(theirs.answeredInRound, theirs.roundId);
    let decimals = read(AggregatorV3Interface::decimalsCall {}.abi_encode()).await;
    let decimals = AggregatorV3Interface::decimalsCall::abi_decode_returns(&decimals.unwrap());
    assert_eq!(decimals, Ok(2));
    let name = read(AggregatorV3Interface::descriptionCall {}.abi_encode()).await;
    let name = AggregatorV3Interface::descriptionCall::abi_decode_returns(&name.unwrap());
    assert_eq!(name.unwrap(), "BTC/USD");
    // A round that there is none of is refused, to alloy as to us.
    let id = U80::from(9);
    let none = read(AggregatorV3Interface::getRoundDataCall { id }.abi_encode()).await;
    assert!(none.unwrap_err().to_string().contains("revert"));
}

async fn a_report_signed_by_a_group_lands_and_so_does_one_of_its_heirs(town: Town) {
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

/// An outbox, which ends with its node.
fn outbox(town: &Town) -> (OutboxHandle, NodeThread) {
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
    tokio::spawn(driver);
    (outbox, node.spawn("outbox").unwrap())
}

/// What brings the oracles' reports to the contract: by member, where to put them.
struct Transmitters {
    senders: BTreeMap<u8, UnboundedSender<AttestedReport>>,
    /// They end with it.
    _outboxes: Vec<NodeThread>,
}

impl Transmitters {
    /// Each oracle has an outbox and an account of its own.
    fn start(town: &Town, config: &Arc<Config>, oracles: &Oracles) -> Self {
        let mut outboxes = Vec::new();
        let mut senders = BTreeMap::new();
        for member in 0..MEMBERS {
            let (outbox, node) = outbox(town);
            outboxes.push(node);
            let from = payer_of(member);
            let transmitter = Transmitter::new(config.clone(), town.client.clone(), outbox, from);
            let (sender, mut reports) = unbounded_channel();
            senders.insert(member, sender);
            let reports = stream::poll_fn(move |cx| reports.poll_recv(cx));
            let handle = oracles.handles[&member].clone();
            let clock = Arc::new(SystemClock::new());
            tokio::spawn(transmitter.run(
                clock,
                Duration::from_millis(50),
                reports,
                handle,
                |error| panic!("{error:?}"),
            ));
        }
        Self {
            senders,
            _outboxes: outboxes,
        }
    }

    fn transmit(&self, member: u8, report: AttestedReport) {
        self.senders[&member].send(report).unwrap();
    }
}

/// Each oracle but the silent one puts reports on chain through an outbox of its own. Answers how many transactions each
/// has paid for in the end, by its slot, and how long it took.
async fn transmitted(town: Town, is_silent: impl Fn(u32) -> bool) -> (Vec<u64>, Duration) {
    let config = config(town.contract);
    let terms = ContractTerms::quorum(86_400);
    town.call(configure_call(&config, &terms).unwrap().into())
        .await;
    let mut oracles = start(&config, |member| EcdsaQuorum::new(&config, key(member)));
    let transmitters = Transmitters::start(&town, &config, &oracles);
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
                transmitters.transmit(member, report);
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

async fn a_report_is_paid_for_once(town: Town) {
    let (paid, _) = transmitted(town, |_| false).await;
    assert_eq!(paid, [1, 0, 0, 0]);
}

async fn a_silent_transmitter_costs_one_slot(town: Town) {
    let (paid, landed) = transmitted(town, |slot| slot == 0).await;
    assert_eq!(paid, [0, 1, 0, 0]);
    assert!(landed >= STAGE - STAGE / 10, "one stage later: {landed:?}");
}

/// The market jumps. The oracles' own breakers trip, and their operators believe it; the contract's breaker halts the feed,
/// which costs one transaction and not one of each oracle; a quorum resets it, and the answer lands. At the next jump the
/// resetter does.
async fn a_jump_lands_when_operators_have_believed_it_here_and_on_chain(town: Town) {
    town.grant("RESETTER_ROLE").await;
    let config = config(town.contract);
    let form = ConfigForm {
        feeds: config.feeds()[..1].to_vec(),
        ..config.form().clone()
    };
    let config = Arc::new(Config::new(form).unwrap());
    let terms = ContractTerms::quorum(86_400);
    town.call(configure_call(&config, &terms).unwrap().into())
        .await;
    let mut oracles = start(&config, |member| EcdsaQuorum::new(&config, key(member)));
    let transmitters = Transmitters::start(&town, &config, &oracles);
    oracles
        .until(&transmitters, async |_| town.stored().await.is_some())
        .await;
    let first = town.stored().await.unwrap();
    assert_eq!(first.count, 1);
    assert!((2_100_000..=2_100_003).contains(&first.value));
    assert!(town.refuses(reset_call(0)).await, "nothing is halted");

    let refused = jump(&town, &mut oracles, &transmitters, 3_000_000).await;
    let refused = transmit_call(&config, &refused).unwrap();
    assert_eq!(town.stored().await, Some(first), "it keeps its last answer");
    let by_quorum = |count, members: &[u8]| {
        let digest = reset_digest(&config, 0, count);
        let signatures = members.iter().map(|it| (*it, key(*it).sign(&digest)));
        let signatures = signatures.collect();
        let attestation = EcdsaAttestation { signatures }.to_bytes();
        reset_by_quorum_call(0, &attestation).unwrap()
    };
    assert!(town.refuses(by_quorum(1, &[0, 1])).await, "f+1 are too few");
    town.call(by_quorum(1, &[0, 1, 3]).into()).await;
    // What was observed before is never taken; a fresh answer comes by itself.
    assert!(town.refuses(refused).await);
    let opens_at_s = town.state().await.feeds[0].opens_at_s.unwrap();
    oracles.see(3_000_000, opens_at_s * 1000);
    oracles
        .until(&transmitters, async |_| {
            town.stored().await.is_some_and(|it| it.value == 3_000_000)
        })
        .await;

    jump(&town, &mut oracles, &transmitters, 4_500_000).await;
    assert!(
        town.refuses(by_quorum(1, &[0, 1, 3])).await,
        "what was signed for one halt resets no other"
    );
    town.call(reset_call(0).into()).await;
    let opens_at_s = town.state().await.feeds[0].opens_at_s.unwrap();
    oracles.see(4_500_000, opens_at_s * 1000);
    oracles
        .until(&transmitters, async |_| {
            town.stored().await.is_some_and(|it| it.value == 4_500_000)
        })
        .await;
    assert!(!town.is_halted().await);
}

/// All see the new price, two operators believe it, and the report halts the feed: for the price of one transaction,
/// although everybody's turn to transmit comes. Answers that report.
async fn jump(
    town: &Town,
    oracles: &mut Oracles,
    transmitters: &Transmitters,
    price: i128,
) -> AttestedReport {
    let paid = async || town.paid().await.into_iter().sum::<u64>();
    let before = paid().await;
    let observed_at_ms = town.now_s().await * 1000;
    oracles.see(price, observed_at_ms);
    let trips = |told: &[Told]| {
        let trips = told.iter().map(|(_, event)| event);
        trips
            .filter(|event| matches!(event, OracleEvent::Tripped { .. }))
            .count()
    };
    oracles
        .until(transmitters, async |told| {
            trips(told) == usize::from(MEMBERS)
        })
        .await;
    for member in [1, 2] {
        let reset = OracleCommand::Reset { feed: 0 };
        oracles.handles[&member].submit(reset).unwrap();
    }
    let mut halting = None;
    oracles
        .until(transmitters, async |told| {
            halting = told.iter().find_map(|(_, event)| match event {
                OracleEvent::Transmit { report, .. } if report.report.answers[0].value == price => {
                    Some(report.clone())
                }
                _ => None,
            });
            halting.is_some() && town.is_halted().await
        })
        .await;
    // Until the turn of the last in the order is over, who might pay.
    let halted_at = Instant::now();
    oracles
        .until(transmitters, async |_| {
            halted_at.elapsed() > STAGE * u32::from(MEMBERS - 1) + STAGE / 4
        })
        .await;
    assert!(town.is_halted().await);
    assert_eq!(paid().await, before + 1);
    halting.unwrap()
}

/// A report of both feeds, as two members sign it.
fn report(config: &Config, round: u32, value: i128) -> AttestedReport {
    let answer = |feed| Answer {
        feed,
        aggregation: Aggregation::Median,
        value,
    };
    let report = Report {
        config: config.digest(),
        round: RoundId::new(1, round).unwrap(),
        observed_at_ms: START_S * 1000,
        observations: keccak256(round.to_be_bytes()),
        answers: vec![answer(0), answer(1)],
    };
    ground::attest(config, report)
}

/// The chain was away, or the contract not configured yet, while oracles agreed on several reports: the newest one is paid
/// for, and the others, which it would have undone, are not; not even where the contract is configured just after the newest
/// one was turned away.
async fn of_what_has_waited_the_newest_is_paid_for(town: Town) {
    let town = Arc::new(town);
    let config = config(town.contract);
    let oracles = start(&config, |member| EcdsaQuorum::new(&config, key(member)));
    let (outbox, _node) = outbox(&town);
    let transmitter = Transmitter::new(config.clone(), town.client.clone(), outbox, payer_of(0));
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = taken.clone();
    let (sender, mut reports) = unbounded_channel();
    let reports = stream::poll_fn(move |cx| reports.poll_recv(cx)).inspect(move |_| {
        counted.fetch_add(1, Relaxed);
    });
    let (owner, terms) = (town.clone(), ContractTerms::quorum(86_400));
    let mut configure = Some(configure_call(&config, &terms).unwrap());
    tokio::spawn(transmitter.run(
        Arc::new(SystemClock::new()),
        Duration::from_millis(50),
        reports,
        oracles.handles[&0].clone(),
        move |error| {
            assert!(
                matches!(error, TransmitError::NotInstalled { generation: 1 }),
                "{error:?}"
            );
            if let Some(call) = configure.take_if(|_| taken.load(Relaxed) == 4) {
                block_in_place(|| Runtime::current().block_on(owner.call(call.into())));
            }
        },
    ));
    // Turns do not come in the order of rounds.
    for round in [2, 4, 1, 3] {
        let report = report(&config, round, 200_000 + i128::from(round));
        sender.send(report).unwrap();
    }
    eventually(async || town.paid().await[0] > 0).await;
    assert_eq!(town.round(0).await, RoundId::new(1, 4));
    // One whose turn comes behind a newer one is not paid for either.
    sender.send(report(&config, 3, 200_003)).unwrap();
    sender.send(report(&config, 5, 200_005)).unwrap();
    eventually(async || town.round(0).await == RoundId::new(1, 5)).await;
    assert_eq!(town.paid().await, [2, 0, 0, 0]);
}

/// The outbox has given a report up, since the contract was not configured yet; by now the contract would store it.
async fn what_the_outbox_has_given_up_is_handed_over_anew(town: Town) {
    let config = config(town.contract);
    let (outbox, _node) = outbox(&town);
    let report = report(&config, 1, 200_000);
    let transmitter = Transmitter::new(
        config.clone(),
        town.client.clone(),
        outbox.clone(),
        payer_of(0),
    );
    let early = transmitter.transmit(&report).await;
    assert!(
        matches!(early, Err(TransmitError::NotInstalled { generation: 1 })),
        "{early:?}"
    );
    let digest = report.report.digest(&config);
    let name = [digest.as_slice(), payer_of(0).as_slice()].concat();
    let intent = Intent::Call {
        from: payer_of(0).into(),
        to: town.contract.into(),
        value: Amount::wei(0),
        data: transmit_call(&config, &report).unwrap().into(),
    };
    let key = IdempotencyKey::new(name).unwrap();
    let submission = Submission::new(key, town.client.chain_id(), intent);
    let mut stages = outbox.submit(submission).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, stages.ended()).await;
    assert!(matches!(ended, Ok(Some(Outcome::Rejected { .. }))));

    let terms = ContractTerms::quorum(86_400);
    town.call(configure_call(&config, &terms).unwrap().into())
        .await;
    assert!(transmitter.transmit(&report).await.unwrap());
    eventually(async || town.round(1).await.is_some()).await;
    assert_eq!(town.round(1).await, Some(report.report.round));
    assert!(
        !transmitter.transmit(&report).await.unwrap(),
        "it has landed"
    );
}

/// Rounds of the generation before say nothing of ours: an oracle that was started before the hand-over has landed nothing.
async fn what_landed_is_of_our_generation(town: Town) {
    let first = config(town.contract);
    let terms = ContractTerms::quorum(86_400);
    town.call(configure_call(&first, &terms).unwrap().into())
        .await;
    let last = report(&first, 7, 200_000);
    town.call(transmit_call(&first, &last).unwrap().into())
        .await;
    let (outbox, _node) = outbox(&town);
    let of = |config: &Arc<Config>| {
        Transmitter::new(
            config.clone(),
            town.client.clone(),
            outbox.clone(),
            payer_of(0),
        )
    };
    let next = Arc::new(first.succeed(&[1000, 900, 800, 700]).unwrap());
    assert_eq!(of(&first).landed().await.unwrap(), Some(last.report.round));
    assert_eq!(of(&next).landed().await.unwrap(), None);
    town.call(configure_call(&next, &terms).unwrap().into())
        .await;
    assert_eq!(of(&next).landed().await.unwrap(), None);
    let first_of_next = report(&next, 1, 200_001);
    town.call(transmit_call(&next, &first_of_next).unwrap().into())
        .await;
    assert_eq!(of(&next).landed().await.unwrap(), RoundId::new(1, 1));
    assert_eq!(of(&first).landed().await.unwrap(), None);
    let late = report(&first, 9, 200_002);
    let is_sent = of(&first).transmit(&late).await.unwrap();
    assert!(!is_sent, "a later generation holds");
}

/// Looks again and again until it is so.
async fn eventually(is_so: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn payer_of(member: u8) -> EvmAddress {
    payer(member + 1).evm_address()
}

#[test]
fn each_test_runs_on_both_nodes_or_is_listed() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let asks = |text: &str| text.contains("tests/node/") || text.contains("peaberry_chain::dev");
    let on_both = expect_on_both_or_listed(&tests, include_str!("on_chain.rs"), asks);
    assert!(on_both >= 9, "the tests are found: {on_both}");
}
