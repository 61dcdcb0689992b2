//! How far can f of 3f+1 oracles move a price? Nowhere.
//!
//! Four, seven and thirty-one oracles price Bitcoin, with real signatures on a simulated network. A third of them lie: at
//! first they shout a price ten times too high, then they sit on the very edge of what the honest see, then they say
//! nothing, and in the end each says two things at once, makes up what others said, and tries to lead every epoch. You
//! will see, for each, the range of the honest, the liars' word, and the answer, which never leaves the range; and whom
//! the others have caught, by name.
//!
//! Tested as: `cargo run --release --example oracle_liars`

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use comfy_table::Table;
use parking_lot::Mutex;
use peaberry_chain::EvmAddress;
use peaberry_core::simulation::World;
use peaberry_core::{Handle, MemoryStorage, PeerId};
use peaberry_examples::simulation::oracle::{Liar, Tactics};
use peaberry_oracle::{
    Config, ConfigForm, EcdsaKey, EcdsaQuorum, Feed, Keyring, Member, Oracle, OracleCommand,
    OracleEvent, Price, RoundId, Timing, WEIGHT_MAX, oracle_channel,
};

/// A price in cents.
const DECIMALS: u8 = 2;
const TRUTH: i128 = 2_100_000;
/// How many answers the honest must give to each lie.
const ANSWERS: usize = 2;

/// How far f of 3f+1 liars can move a price.
#[derive(Parser)]
struct Arguments {
    /// How many oracles; 3f+1. May be given more than once.
    #[arg(long = "oracles", default_values_t = [4, 7, 31])]
    oracles: Vec<usize>,
    /// Where the noise in the prices comes from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, Debug)]
enum Lie {
    TenTimes,
    Edge,
    Silence,
    Everything,
}

const LIES: [(Lie, &str); 4] = [
    (Lie::TenTimes, "ten times the price"),
    (Lie::Edge, "the edge of the honest range"),
    (Lie::Silence, "silence"),
    (Lie::Everything, "two words, forgeries, replays"),
];

impl Lie {
    fn value(self, honest: &[i128]) -> Option<i128> {
        match self {
            Self::TenTimes | Self::Everything => Some(TRUTH * 10),
            Self::Edge => honest.iter().max().copied(),
            Self::Silence => None,
        }
    }

    fn tactics(self) -> Tactics {
        match self {
            Self::TenTimes | Self::Edge => Tactics::default(),
            Self::Silence => Tactics {
                withhold: 100,
                ..Tactics::default()
            },
            Self::Everything => Tactics {
                withhold: 0,
                equivocate: true,
                forge: true,
                replay: true,
                grind: true,
                // Whom it proposes to whom is another lie in each round.
                shut_out: false,
            },
        }
    }
}

/// What the honest have told.
#[derive(Default)]
struct Told {
    /// By round, each oracle's own observation.
    observed: BTreeMap<RoundId, Vec<i128>>,
    agreed: BTreeMap<RoundId, BTreeSet<i128>>,
    /// Who was caught at what.
    caught: BTreeMap<PeerId, BTreeSet<String>>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let mut table = Table::new();
    table.set_header([
        "oracles",
        "liars",
        "what they say",
        "honest range",
        "answers",
        "liars caught",
    ]);
    for &count in &arguments.oracles {
        if count < 4 || count % 3 != 1 {
            return Err(format!("{count} oracles: take 3f+1, such as 4, 7, 10 or 31").into());
        }
        for (lie, words) in LIES {
            let (config, told) = run(count, lie, arguments.seed)?;
            let row = judge(&config, &told, words)?;
            table.add_row(row);
        }
    }
    println!("{table}");
    println!(
        "Every answer lies within what the honest saw for its round, and nobody honest was blamed."
    );
    Ok(())
}

fn run(
    count: usize,
    lie: Lie,
    seed: u64,
) -> Result<(Arc<Config>, Told), Box<dyn std::error::Error>> {
    let faulty = (count - 1) / 3;
    let keys: Vec<_> = (1..=u8::try_from(count)?)
        .map(|id| Arc::new(EcdsaKey::from_bytes(&[id; 32]).expect("a small number is a key")))
        .collect();
    let config = Arc::new(config(faulty, &keys)?);
    let mut world = World::new(seed);
    let mut rng = world.fork_rng();
    let told: Arc<Mutex<Told>> = Arc::default();
    let handles: Arc<Mutex<BTreeMap<PeerId, Handle<OracleCommand>>>> = Arc::default();
    let liars: BTreeSet<PeerId> = config
        .members()
        .iter()
        .take(faulty)
        .map(|it| it.peer)
        .collect();
    for (member, key) in config.members().iter().zip(keys) {
        let (config, told, handles) = (config.clone(), told.clone(), handles.clone());
        let (peer, lies) = (member.peer, liars.contains(&member.peer));
        world.add(peer, move |boot| {
            let attestor = EcdsaQuorum::new(&config, key.clone());
            let mut node = boot.node();
            let handle = if lies {
                let inner = Oracle::open(
                    config.clone(),
                    key.clone(),
                    attestor,
                    0,
                    &MemoryStorage::new(),
                )?;
                let rng = fastrand::Rng::with_seed(boot.seed());
                let liar = Liar::new(inner, config.clone(), key.clone(), lie.tactics(), rng);
                node.add(oracle_channel(0), liar, |events: &mut Vec<_>| {
                    events.clear()
                })?
            } else {
                let oracle = Oracle::open(
                    config.clone(),
                    key.clone(),
                    attestor,
                    0,
                    boot.storage().as_ref(),
                )?;
                let told = told.clone();
                oracle.add_to(&mut node, move |event| hear(&told, event))?
            };
            handles.lock().insert(peer, handle);
            Ok(node)
        });
    }
    let limit = world.now() + Duration::from_secs(120);
    while told.lock().agreed.len() < ANSWERS && world.now() < limit {
        let honest: Vec<i128> = (0..count)
            .map(|_| TRUTH + i128::from(rng.i64(-2_000..=2_000)))
            .collect();
        for (at, (peer, handle)) in handles.lock().iter().enumerate() {
            let honest_value = honest.get(at).copied();
            let value = if liars.contains(peer) {
                lie.value(&honest)
            } else {
                honest_value
            };
            let observed_at_ms = 1_678_492_800_000 + world.now().as_nanos() / 1_000_000;
            handle.submit(OracleCommand::Observe {
                values: vec![value],
                observed_at_ms,
            })?;
        }
        world.run_for(Duration::from_millis(500));
    }
    let told = std::mem::take(&mut *told.lock());
    Ok((config, told))
}

fn hear(told: &Mutex<Told>, event: OracleEvent) {
    let mut told = told.lock();
    match event {
        OracleEvent::Observed(signed) => {
            let value = signed.observation.values.first().copied().flatten();
            told.observed
                .entry(signed.observation.round)
                .or_default()
                .extend(value);
        }
        OracleEvent::Agreed { report, .. } => {
            let value = report.report.answers.first().map(|it| it.value);
            told.agreed
                .entry(report.report.round)
                .or_default()
                .extend(value);
        }
        OracleEvent::Misbehaviour { peer, what } => {
            told.caught
                .entry(peer)
                .or_default()
                .insert(what.to_string());
        }
        OracleEvent::Evidence { offender, .. } => {
            let peer = PeerId::new(u64::from(offender) + 1).expect("members count from zero");
            told.caught
                .entry(peer)
                .or_default()
                .insert("signed a contradiction".to_owned());
        }
        _ => {}
    }
}

/// The row of the table, if all holds.
fn judge(config: &Config, told: &Told, words: &str) -> Result<Vec<String>, String> {
    let faulty = config.faulty();
    if told.agreed.len() < ANSWERS {
        return Err(format!(
            "{words}: {} answers only, the liars stopped the others",
            told.agreed.len()
        ));
    }
    let (mut lowest, mut highest) = (i128::MAX, i128::MIN);
    let mut answers = BTreeSet::new();
    for (round, agreed) in &told.agreed {
        let observed = told
            .observed
            .get(round)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let (low, high) = (observed.iter().min(), observed.iter().max());
        for answer in agreed {
            if low.is_none_or(|low| answer < low) || high.is_none_or(|high| answer > high) {
                return Err(format!(
                    "round {round}: {answer} is not within {low:?} to {high:?}"
                ));
            }
            answers.insert(price(*answer));
        }
        lowest = lowest.min(*low.unwrap_or(&lowest));
        highest = highest.max(*high.unwrap_or(&highest));
    }
    let liars: BTreeSet<_> = config
        .members()
        .iter()
        .take(faulty)
        .map(|it| it.peer)
        .collect();
    if let Some((peer, why)) = told.caught.iter().find(|(peer, _)| !liars.contains(peer)) {
        return Err(format!("the honest {peer} was blamed: {why:?}"));
    }
    Ok(vec![
        config.members().len().to_string(),
        faulty.to_string(),
        words.to_owned(),
        format!("{} to {}", price(lowest), price(highest)),
        answers.into_iter().take(3).collect::<Vec<_>>().join(", "),
        format!("{} of {faulty}", told.caught.len()),
    ])
}

fn price(value: i128) -> String {
    Price {
        value,
        decimals: DECIMALS,
    }
    .to_string()
}

fn config(faulty: usize, keys: &[Arc<EcdsaKey>]) -> Result<Config, Box<dyn std::error::Error>> {
    let members = keys.iter().zip(1..).map(|(key, id)| Member {
        peer: PeerId::new(id).expect("not zero"),
        signer: key.address(),
        weight: WEIGHT_MAX,
    });
    let feed = Feed {
        name: "BTC/USD".into(),
        decimals: DECIMALS,
        min: 1,
        max: TRUTH * 1_000,
        deviation_bps: 1,
        heartbeat_ms: 100,
        breaker_bps: None,
    };
    Ok(Config::new(ConfigForm {
        chain_id: 31_337,
        contract: EvmAddress::repeat_byte(0xcc),
        generation: 1,
        faulty,
        threshold: faulty + 1,
        members: members.collect(),
        feeds: vec![feed],
        timing: Timing {
            round: Duration::from_millis(500),
            grace: Duration::from_millis(100),
            progress: Duration::from_secs(2),
            beat: Duration::from_millis(500),
            rounds_per_epoch: 2,
            ..Timing::default()
        },
    })?)
}
