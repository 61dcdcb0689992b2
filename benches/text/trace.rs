//! Keystrokes of real documents, from `PEABERRY_DATA`; seeded ones of as many edits where it is unset.

use std::io::Read as _;
use std::path::PathBuf;

use peaberry_crdt::testkit::Dice;
use serde_json::Value;

use crate::Failure;

/// Where, counted in characters; how many removed; what inserted.
pub(crate) type Patch = (usize, usize, String);

/// What one agent did, having seen what `parents` had left.
pub(crate) struct Transaction {
    pub(crate) agent: usize,
    pub(crate) parents: Vec<usize>,
    pub(crate) patches: Vec<Patch>,
}

pub(crate) struct Trace {
    pub(crate) name: String,
    pub(crate) agents: usize,
    pub(crate) transactions: Vec<Transaction>,
    /// What it ends as.
    pub(crate) end: String,
}

impl Trace {
    pub(crate) fn load(name: &str) -> Result<Self, Failure> {
        let Some(folder) = std::env::var_os("PEABERRY_DATA") else {
            println!("PEABERRY_DATA is unset: {name} is made from a seed");
            return Ok(Self::seeded(name));
        };
        let path = PathBuf::from(folder)
            .join("editing-traces")
            .join(format!("{name}.json.gz"));
        let mut json = String::new();
        let file =
            std::fs::File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        flate2::read::GzDecoder::new(file).read_to_string(&mut json)?;
        Self::parse(name, &serde_json::from_str(&json)?)
            .ok_or_else(|| format!("{} is no trace", path.display()).into())
    }

    fn parse(name: &str, json: &Value) -> Option<Self> {
        let number = |value: &Value| usize::try_from(value.as_u64()?).ok();
        let patch = |value: &Value| {
            let inserted = value.get(2)?.as_str()?.to_owned();
            Some((number(value.get(0)?)?, number(value.get(1)?)?, inserted))
        };
        let transaction = |value: &Value| {
            let parents = value.get("parents").and_then(Value::as_array);
            Some(Transaction {
                agent: value.get("agent").and_then(number).unwrap_or_default(),
                parents: parents.into_iter().flatten().filter_map(number).collect(),
                patches: value
                    .get("patches")?
                    .as_array()?
                    .iter()
                    .map(patch)
                    .collect::<Option<_>>()?,
            })
        };
        let transactions = json.get("txns")?.as_array()?.iter().map(transaction);
        Some(Self {
            name: name.to_owned(),
            agents: json.get("numAgents").and_then(number).unwrap_or(1),
            transactions: transactions.collect::<Option<_>>()?,
            end: json.get("endContent")?.as_str()?.to_owned(),
        })
    }

    /// One writer who types, goes back and jumps.
    fn seeded(name: &str) -> Self {
        const EDITS: usize = 100_000;
        let mut dice = Dice::new(11);
        let (mut transactions, mut end) = (Vec::with_capacity(EDITS), Vec::<char>::new());
        let mut at = 0;
        for _ in 0..EDITS {
            if dice.one_in(30) {
                at = dice.index(end.len() + 1);
            }
            let patch = if dice.one_in(4) && at > 0 {
                at -= 1;
                end.remove(at);
                (at, 1, String::new())
            } else {
                let letter = ["e", "t", "a", " "][dice.index(4)];
                end.splice(at..at, letter.chars());
                at += 1;
                (at - 1, 0, letter.to_owned())
            };
            transactions.push(Transaction {
                agent: 0,
                parents: Vec::new(),
                patches: vec![patch],
            });
        }
        Self {
            name: name.to_owned(),
            agents: 1,
            transactions,
            end: end.into_iter().collect(),
        }
    }

    pub(crate) fn edits(&self) -> impl Iterator<Item = &Patch> {
        let transactions = self.transactions.iter();
        transactions.flat_map(|transaction| &transaction.patches)
    }

    /// The first `count` edits, and what they end as.
    pub(crate) fn head(&self, count: usize) -> Self {
        let mut end: Vec<char> = Vec::new();
        let mut patches = Vec::new();
        for (at, removed, inserted) in self.edits().take(count) {
            end.splice(*at..at + removed, inserted.chars());
            patches.push((*at, *removed, inserted.clone()));
        }
        Self {
            name: format!("{}, first {count} edits", self.name),
            agents: 1,
            transactions: vec![Transaction {
                agent: 0,
                parents: Vec::new(),
                patches,
            }],
            end: end.into_iter().collect(),
        }
    }
}
