//! A day replayed: every minute what the markets say, and one round of four oracles that look at them.

use std::sync::Arc;

use futures_util::FutureExt as _;
use peaberry_chain::EvmAddress;
use peaberry_core::PeerId;
use peaberry_oracle::source::{
    CsvReplay, CsvSource, PanelPolicy, PegCheck, Quote, Source, SourceError, judge,
};
use peaberry_oracle::{
    Config, ConfigForm, EcdsaKey, Feed, Keyring, Member, Observation, Reputation, RoundId,
    SignedObservation, Timing, WEIGHT_MAX, aggregate, agreed_weights, verify_set,
};

use crate::{CARELESS, DECIMALS, Failure, ORACLES};

/// After so many rounds the weights follow the record.
const ROUNDS_PER_GENERATION: u32 = 360;

/// All markets of a table.
pub(crate) struct Markets {
    replay: CsvReplay,
    sources: Vec<CsvSource>,
}

/// What the markets say in one minute.
pub(crate) struct Minute<'a> {
    now_ms: u64,
    sources: &'a [CsvSource],
    quotes: Vec<Result<Quote, SourceError>>,
    /// What the first market in dollars says.
    pub(crate) dollar: Option<i128>,
}

impl Markets {
    pub(crate) fn of(replay: CsvReplay) -> Result<Self, Failure> {
        let sources = replay
            .markets()
            .map(|name| replay.source(name, unit_of(name)))
            .collect::<Result<Vec<_>, _>>()?;
        if !sources.iter().any(|it| it.unit() == "USD") {
            return Err("no market is in dollars: name one so that it ends in _usd".into());
        }
        Ok(Self { replay, sources })
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let names = self.sources.iter().map(|it| it.name().to_owned());
        names.collect()
    }

    pub(crate) fn times_ms(&self) -> Vec<u64> {
        self.replay.times_ms().to_vec()
    }

    pub(crate) fn at(&self, now_ms: u64) -> Result<Minute<'_>, Failure> {
        self.replay.set_time_ms(now_ms);
        let asked = self
            .sources
            .iter()
            .map(|it| it.quote(DECIMALS).now_or_never());
        let quotes: Option<Vec<_>> = asked.collect();
        let quotes = quotes.ok_or("a table answers at once")?;
        let mut pairs = self.sources.iter().zip(&quotes);
        let dollar = pairs.find_map(|(source, quote)| {
            let quote = quote.as_ref().ok().filter(|_| source.unit() == "USD")?;
            Some(quote.value)
        });
        Ok(Minute {
            now_ms,
            sources: &self.sources,
            quotes,
            dollar,
        })
    }
}

impl Minute<'_> {
    /// What a panel makes of it that does not reach the market of number `missed`.
    fn judged(&self, checks: bool, missed: Option<usize>) -> Option<i128> {
        let said = self.sources.iter().zip(&self.quotes).enumerate();
        let said = said.map(|(at, (source, quote))| {
            let quote = match missed {
                Some(missed) if missed == at => Err(SourceError::NoValue),
                _ => quote.clone(),
            };
            (source.name(), source.unit(), quote)
        });
        judge(&policy(checks), self.now_ms, said.collect())
            .value
            .ok()
    }

    /// The median of all markets, whatever they quote in.
    pub(crate) fn median_of_all(&self) -> Option<i128> {
        self.judged(false, None)
    }

    fn says(&self, market: usize) -> Option<i128> {
        let quote = self.quotes.get(market)?.as_ref();
        quote.ok().map(|it| it.value)
    }
}

/// A day of rounds.
pub(crate) struct Run {
    pub(crate) rounds: Vec<Round>,
    /// What the oracles agree on for the next generation.
    pub(crate) weights: Vec<u16>,
}

pub(crate) struct Round {
    pub(crate) at_ms: u64,
    pub(crate) sources: Vec<Option<i128>>,
    pub(crate) dollar: i128,
    /// The median of all markets, whatever they quote in.
    pub(crate) median: i128,
    pub(crate) answer: i128,
    /// By oracle, what the record holds against it.
    pub(crate) penalties: Vec<u32>,
}

/// Every minute one round, by the functions that the round protocol itself calls. With the check all oracles but one make
/// it; without, none does.
pub(crate) fn run(markets: &Markets, with_check: bool, seed: u64) -> Result<Run, Failure> {
    let keys: Vec<_> = (1..=ORACLES)
        .filter_map(|id| EcdsaKey::from_bytes(&[id; 32]))
        .map(Arc::new)
        .collect();
    let mut config = config(&keys)?;
    let mut reputation = Reputation::new(keys.len());
    let mut set: Vec<SignedObservation> = Vec::new();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut rounds = Vec::new();
    for (number, now_ms) in (1..).zip(markets.times_ms()) {
        let minute = markets.at(now_ms)?;
        let round = RoundId::new(1, number).ok_or("rounds count from one")?;
        set.clear();
        for (member, key) in (0..ORACLES).zip(&keys) {
            // An oracle does not reach every market in every minute.
            let missed = rng.usize(..markets.sources.len() * 4);
            let checks = with_check && usize::from(member) != CARELESS;
            let observation = Observation {
                config: config.digest(),
                round,
                observed_at_ms: now_ms,
                values: vec![minute.judged(checks, Some(missed))],
                standing: reputation.weights(),
            };
            set.push(observation.sign(&config, member, key.as_ref()));
        }
        if number % 60 == 1 {
            let first = keys.first().ok_or("there are oracles")?;
            verify_set(&config, first.as_ref(), round, &set)?;
        }
        let report = aggregate(&config, round, &set);
        let answer = report.answers.first().map(|it| it.value);
        let median = minute.median_of_all();
        if let (Some(dollar), Some(median), Some(answer)) = (minute.dollar, median, answer) {
            reputation.record(&config, &report, &set);
            let markets = 0..markets.sources.len();
            rounds.push(Round {
                at_ms: now_ms,
                sources: markets.map(|it| minute.says(it)).collect(),
                dollar,
                median,
                answer,
                penalties: reputation.penalties(),
            });
        }
        if number % ROUNDS_PER_GENERATION == 0
            && let Some(weights) = agreed_weights(&config, &set)
        {
            config = config.succeed(&weights)?;
        }
    }
    if rounds.is_empty() {
        return Err("in no minute do three oracles find a price".into());
    }
    let weights = agreed_weights(&config, &set).ok_or("too few opinions")?;
    Ok(Run { rounds, weights })
}

fn policy(checks: bool) -> PanelPolicy {
    PanelPolicy {
        sources_min: 1,
        // A market may be silent for some minutes.
        age_max_ms: 15 * 60_000,
        peg: if checks {
            PegCheck::Band { bps: 100 }
        } else {
            PegCheck::Off
        },
        ..PanelPolicy::new("USD")
    }
}

/// What stands behind the last underscore of a market's name.
fn unit_of(market: &str) -> String {
    market.rsplit('_').next().unwrap_or_default().to_uppercase()
}

fn config(keys: &[Arc<EcdsaKey>]) -> Result<Config, Failure> {
    let members = keys.iter().zip(1..).map(|(key, id)| Member {
        peer: PeerId::new(id).expect("not zero"),
        signer: key.address(),
        weight: WEIGHT_MAX,
    });
    let feed = Feed {
        name: "BTC/USD".into(),
        decimals: DECIMALS,
        min: 1,
        max: 100_000_000_000,
        deviation_bps: 50,
        heartbeat_ms: 3_600_000,
        breaker_bps: None,
    };
    Ok(Config::new(ConfigForm {
        chain_id: 31_337,
        contract: EvmAddress::repeat_byte(0xcc),
        generation: 1,
        faulty: 1,
        threshold: 2,
        members: members.collect(),
        feeds: vec![feed],
        timing: Timing::default(),
    })?)
}
