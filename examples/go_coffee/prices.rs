//! What a token is worth: four oracles, one of them a liar, agree on it round by round and post it on the chain, where the
//! till reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use parking_lot::Mutex;
use peaberry_chain::bindings::{CoffeeToken, SolCall as _};
use peaberry_chain::contract::{Abi, Contract, Value};
use peaberry_chain::evm::EvmClient;
use peaberry_chain::outbox::OutboxHandle;
use peaberry_chain::primitives::{U256, keccak256};
use peaberry_chain::{ChainClient as _, EvmAddress, Finality};
use peaberry_core::{Handle, MemoryNetwork, MemoryStorage, Node, NodeThread, PeerId, SystemClock};
use peaberry_oracle::{
    AttestedReport, Config, ConfigForm, ContractTerms, EcdsaKey, EcdsaQuorum, Feed, Keyring as _,
    Member, Oracle, OracleCommand, OracleEvent, RoundId, Timing, Transmitter, WEIGHT_MAX,
    configure_call,
};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::Failure;
use crate::town::{Town, call_of};

const ORACLE: &[u8] = include_bytes!("../../chain/contracts/artifacts/PriceOracle.json");

/// Three tell the truth, as they see it.
const ORACLES: usize = 4;
const FAULTY: usize = 1;

/// Their accounts: numbers in the town.
const FIRST_ACCOUNT: usize = 5;

/// Places of a price.
const DECIMALS: u8 = 8;
/// What a token is worth in the morning, and how much it moves from one look to the next and from one honest oracle's
/// sources to another's, in ten-thousandths.
const MORNING: i128 = 25_000_000;
const DRIFT_BPS: i64 = 20;
const NOISE_BPS: i64 = 10;

/// How often the oracles look at their sources.
const LOOK: Duration = Duration::from_millis(50);

/// How old a report may be that the contract takes, by the chain's clock, which may run ahead of ours.
const REPORT_AGE_MAX_S: u32 = 86_400;

/// How old a price may be that somebody pays by: an hour of the chain's clock, which may run ahead of ours.
const PRICE_AGE_MAX_S: u32 = 3_600;

/// How long the first price may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The oracles at work, and where their price is.
pub(crate) struct Prices {
    contract: Contract,
    /// Asks what has landed.
    watch: Transmitter,
    scale: U256,
    seen: Arc<Mutex<Seen>>,
    /// Prices that orders were paid by.
    used: Mutex<BTreeSet<i128>>,
    /// Ends with it.
    _work: JoinSet<()>,
}

/// What the oracles told.
#[derive(Default)]
struct Seen {
    /// What the honest observed, by round.
    honest: BTreeMap<RoundId, Vec<i128>>,
    agreed: BTreeMap<RoundId, BTreeSet<i128>>,
    lie: i128,
    problems: Vec<String>,
}

/// What is told of the price.
#[derive(Default, Serialize)]
pub(crate) struct PricesReport {
    rounds_agreed: usize,
    reports_posted: u64,
    price_lowest: String,
    price_highest: String,
    liar_says: String,
    within_honest_range: bool,
}

impl Prices {
    /// Deploys the contract and starts the oracles, who post through `outbox`.
    pub(crate) async fn open(
        town: &Town,
        outbox: OutboxHandle,
        clock: SystemClock,
        rng: fastrand::Rng,
    ) -> Result<Self, Failure> {
        let admin = town.account(0)?;
        let abi = Abi::from_json(ORACLE)?;
        let address = town
            .deploy(abi.creation_code(&[Value::Uint(U256::ZERO, 256), admin.into()])?)
            .await?;
        let grant = CoffeeToken::grantRoleCall {
            role: keccak256("CONFIGURER_ROLE"),
            account: admin,
        };
        town.settle(&call_of(admin, address, grant.abi_encode()))
            .await?;
        let keys = keys()?;
        let config = Arc::new(config(town, address, &keys)?);
        let configure = configure_call(&config, &ContractTerms::quorum(REPORT_AGE_MAX_S))?;
        town.settle(&call_of(admin, address, configure)).await?;

        let mut crew = Crew::start(&config, keys, &clock, rng)?;
        let seen = crew.seen.clone();
        let mut work = JoinSet::new();
        for (at, reports) in std::mem::take(&mut crew.reports).into_iter().enumerate() {
            let account = town.account(FIRST_ACCOUNT + at)?;
            let client = town.client.clone();
            let transmitter = Transmitter::new(config.clone(), client, outbox.clone(), account);
            let oracle = crew.oracles.get(at).ok_or("each oracle has reports")?;
            // What goes wrong with a report is tried again.
            let transmitting = transmitter.run(
                Arc::new(clock.clone()),
                LOOK,
                Box::pin(stream_of(reports)),
                oracle.clone(),
                |_error| {},
            );
            work.spawn(transmitting);
        }
        work.spawn(crew.look(town.client.clone()));
        Ok(Self {
            contract: Contract::new(town.client.clone(), address, abi),
            watch: Transmitter::new(config, town.client.clone(), outbox, admin),
            scale: U256::from(10).pow(U256::from(18 - 2 + DECIMALS)),
            seen,
            used: Mutex::default(),
            _work: work,
        })
    }

    /// Waits for the first price on the chain.
    pub(crate) async fn first(&self) -> Result<(), Failure> {
        let posted = async {
            let mut looks = tokio::time::interval(LOOK);
            while self.watch.landed().await?.is_none() {
                looks.tick().await;
            }
            Ok(())
        };
        match tokio::time::timeout(PATIENCE, posted).await {
            Ok(posted) => posted,
            Err(_) => Err("the oracles post no price".into()),
        }
    }

    /// How many of the token's smallest units so many cents are, by the price on the chain.
    pub(crate) async fn tokens(&self, cents: u32) -> Result<U256, Failure> {
        let price = self.fresh().await?;
        self.used.lock().insert(price);
        Ok(U256::from(cents) * self.scale / U256::try_from(price)?)
    }

    /// The last price, if it is young enough to pay by and nothing has halted the feed.
    async fn fresh(&self) -> Result<i128, Failure> {
        let arguments = [
            Value::Uint(U256::ZERO, 256),
            Value::Uint(U256::from(PRICE_AGE_MAX_S), 256),
        ];
        match self
            .contract
            .call("freshAnswer", &arguments)
            .await?
            .as_slice()
        {
            [Value::Int(price, _)] => Ok(i128::try_from(*price)?),
            _ => Err("a price is a number".into()),
        }
    }

    /// How many prices the contract has taken, and the last one.
    async fn latest(&self) -> Result<(u64, i128), Failure> {
        match self.contract.call("latestRoundData", &[]).await?.as_slice() {
            [Value::Uint(round, _), Value::Int(price, _), ..] => {
                Ok((u64::try_from(*round)?, i128::try_from(*price)?))
            }
            _ => Err("a price is a number".into()),
        }
    }

    /// Compares every price that was agreed on or paid by with what the honest saw.
    pub(crate) async fn close(self, violations: &mut Vec<String>) -> Result<PricesReport, Failure> {
        let (reports_posted, _) = self.latest().await?;
        let seen = std::mem::take(&mut *self.seen.lock());
        let before = violations.len();
        violations.extend(seen.problems);
        let mut agreed = BTreeSet::new();
        for (round, answers) in &seen.agreed {
            let honest = seen.honest.get(round).into_iter().flatten();
            let range = honest.clone().min().zip(honest.max());
            for answer in answers {
                agreed.insert(*answer);
                if !range.is_some_and(|(low, high)| low <= answer && answer <= high) {
                    violations.push(format!(
                        "round {round}: {answer} is out of the honest range {range:?}"
                    ));
                }
            }
        }
        let used = self.used.lock();
        for price in used.difference(&agreed) {
            violations.push(format!(
                "orders were paid by {price}, which nobody agreed on"
            ));
        }
        Ok(PricesReport {
            rounds_agreed: seen.agreed.len(),
            reports_posted,
            price_lowest: used.first().copied().map(words).unwrap_or_default(),
            price_highest: used.last().copied().map(words).unwrap_or_default(),
            liar_says: words(seen.lie),
            within_honest_range: violations.len() == before,
        })
    }
}

impl PricesReport {
    pub(crate) fn rows(&self) -> [(&'static str, String); 3] {
        [
            (
                "price of a token, lowest and highest",
                format!("{}, {}", self.price_lowest, self.price_highest),
            ),
            ("the liar said", self.liar_says.clone()),
            (
                "prices agreed on, and posted",
                format!("{}, {}", self.rounds_agreed, self.reports_posted),
            ),
        ]
    }
}

fn keys() -> Result<Vec<Arc<EcdsaKey>>, Failure> {
    let key = |number| {
        let key = EcdsaKey::from_bytes(&[number; 32]);
        Ok(Arc::new(key.ok_or("a small number is a key")?))
    };
    (1..=u8::try_from(ORACLES)?).map(key).collect()
}

fn config(town: &Town, contract: EvmAddress, keys: &[Arc<EcdsaKey>]) -> Result<Config, Failure> {
    let member = |(key, id): (&Arc<EcdsaKey>, u64)| {
        Some(Member {
            peer: PeerId::new(id)?,
            signer: key.address(),
            weight: WEIGHT_MAX,
        })
    };
    let feed = Feed {
        name: "CFE/USD".into(),
        decimals: DECIMALS,
        min: 1,
        max: 100 * MORNING,
        deviation_bps: 30,
        heartbeat_ms: 60_000,
        breaker_bps: None,
    };
    Ok(Config::new(ConfigForm {
        chain_id: town.chain_id,
        contract,
        generation: 1,
        faulty: FAULTY,
        threshold: FAULTY + 1,
        members: keys.iter().zip(1..).filter_map(member).collect(),
        feeds: vec![feed],
        timing: Timing {
            round: Duration::from_millis(200),
            grace: Duration::from_millis(50),
            progress: Duration::from_secs(1),
            beat: Duration::from_millis(200),
            stage: Duration::from_secs(1),
            observation_age_max: Duration::from_secs(10),
            latency_max_ms: 600_000,
            rounds_per_epoch: 100,
        },
    })?)
}

type Reports = mpsc::UnboundedReceiver<AttestedReport>;

fn stream_of(reports: Reports) -> impl Stream<Item = AttestedReport> {
    stream::unfold(reports, |mut reports| async {
        let report = reports.recv().await?;
        Some((report, reports))
    })
}

/// The four oracles on their nodes.
struct Crew {
    oracles: Vec<Handle<OracleCommand>>,
    _nodes: Vec<NodeThread>,
    seen: Arc<Mutex<Seen>>,
    /// What each of them is to post.
    reports: Vec<Reports>,
    liar: usize,
    rng: fastrand::Rng,
}

impl Crew {
    fn start(
        config: &Arc<Config>,
        keys: Vec<Arc<EcdsaKey>>,
        clock: &SystemClock,
        mut rng: fastrand::Rng,
    ) -> Result<Self, Failure> {
        let network = MemoryNetwork::new();
        let seen = Arc::<Mutex<Seen>>::default();
        let liar = rng.usize(..ORACLES);
        let (mut oracles, mut nodes, mut reports) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (key, member)) in keys.into_iter().zip(config.members()).enumerate() {
            let storage = Arc::new(MemoryStorage::new());
            let attestor = EcdsaQuorum::new(config, key.clone());
            let oracle = Oracle::open(config.clone(), key, attestor, 0, storage.as_ref())?;
            let transport = Arc::new(network.join(member.peer));
            let mut node = Node::new(transport, storage, Arc::new(clock.clone()));
            let seen = seen.clone();
            let (sender, own_reports) = mpsc::unbounded_channel();
            reports.push(own_reports);
            oracles.push(oracle.add_to(&mut node, move |event| match event {
                // The story may be over.
                OracleEvent::Transmit { report, .. } => drop(sender.send(report)),
                event if at != liar => seen.lock().hear(event),
                _ => {}
            })?);
            nodes.push(node.spawn(&format!("oracle-{}", at + 1))?);
        }
        Ok(Self {
            oracles,
            _nodes: nodes,
            seen,
            reports,
            liar,
            rng,
        })
    }

    /// Looks at the market again and again. The liar says ten times what it sees.
    async fn look(mut self, client: Arc<EvmClient>) {
        let mut fair = MORNING;
        let mut ticks = tokio::time::interval(LOOK);
        loop {
            ticks.tick().await;
            // A node that does not answer now does so at another look.
            let Ok(head) = client.head(Finality::Latest).await else {
                continue;
            };
            let observed_at_ms = head.timestamp_s * 1_000;
            fair = off_by(fair, self.rng.i64(-DRIFT_BPS..=DRIFT_BPS));
            for (at, oracle) in self.oracles.iter().enumerate() {
                let mut value = off_by(fair, self.rng.i64(-NOISE_BPS..=NOISE_BPS));
                if at == self.liar {
                    value *= 10;
                    self.seen.lock().lie = value;
                }
                let values = vec![Some(value)];
                let observe = OracleCommand::Observe {
                    values,
                    observed_at_ms,
                };
                // A busy oracle looks again soon.
                let _ = oracle.submit(observe);
            }
        }
    }
}

impl Seen {
    fn hear(&mut self, event: OracleEvent) {
        match event {
            OracleEvent::Observed(signed) => {
                let value = signed.observation.values.first().copied().flatten();
                let honest = self.honest.entry(signed.observation.round).or_default();
                honest.extend(value);
            }
            OracleEvent::Agreed { report, .. } => {
                let answer = report.report.answers.first().map(|answer| answer.value);
                let agreed = self.agreed.entry(report.report.round).or_default();
                agreed.extend(answer);
            }
            OracleEvent::Misbehaviour { peer, what } => {
                self.problems.push(format!(
                    "{peer} is blamed for {what:?}, and nobody did that"
                ));
            }
            _ => {}
        }
    }
}

fn off_by(price: i128, bps: i64) -> i128 {
    price + price * i128::from(bps) / 10_000
}

/// A price for people.
fn words(price: i128) -> String {
    let unit = 10_i128.pow(u32::from(DECIMALS));
    format!("{}.{:08}", price / unit, price % unit)
}
