//! Random calls, true and false ones, against a model of what the contract should make of them.

use peaberry_chain::primitives::{B256, U256};

use super::dice::Dice;
use super::members::{Members, attestation};
use super::{BLOCK_S, ORACLE, REPORT_AGE_MAX_S, Report, World, answer, configuration, oracle};
use crate::node::{NodeKind, on_both};

on_both! {
    price_oracle_is_its_model
    each_planted_bug_is_told_apart
}

const FEEDS: usize = 2;
const CALLS: usize = 40;

/// What the contract should know of a feed.
#[derive(Clone, Copy, Debug, Default)]
struct Feed {
    last: i128,
    /// Generation, epoch, round: of the last answer, or of the one that halted it.
    round: (u32, u32, u32),
    is_halted: bool,
    /// When it was reset, if no answer has come since.
    reset_at_s: Option<u64>,
}

struct Play {
    world: World,
    dice: Dice,
    feeds: [Feed; FEEDS],
    generation: u32,
    /// What signed for each generation, from the first.
    configurations: Vec<B256>,
    /// What members have signed, whether or not it was brought: whoever has it may bring it, at any time and again.
    signed: Vec<(Report, oracle::transmitCall)>,
}

/// How a call is spoiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoiled {
    No,
    /// By one member twice, or with a scalar of the group's that is none.
    Signature,
    /// By others.
    Stranger,
    /// By the members of now, under a configuration of before.
    Generation,
}

impl Play {
    fn new(kind: NodeKind, artefact: &[u8], seed: u64) -> Self {
        let members = if seed.is_multiple_of(2) {
            Members::quorum(4, 1)
        } else {
            Members::group(4, 1)
        };
        let world = World::of(kind, artefact, members, 2, 0);
        let configurations = vec![world.configuration.digest];
        Self {
            world,
            dice: Dice(seed),
            feeds: [Feed::default(); FEEDS],
            generation: 1,
            configurations,
            signed: Vec::new(),
        }
    }

    fn transmit(&mut self) -> Result<(), String> {
        let spoiled = match self.dice.roll(8) {
            0 => Spoiled::Signature,
            1 => Spoiled::Stranger,
            2 if self.generation > 1 => Spoiled::Generation,
            _ => Spoiled::No,
        };
        let (epoch, round) = (1 + self.dice.roll(3), 1 + self.dice.roll(12));
        let (epoch, round) = (epoch.try_into().unwrap(), round.try_into().unwrap());
        let mut report = self.world.report(epoch, round, 0);
        if self.dice.roll(8) == 0 {
            // Clocks that are ahead of the chain's.
            report.observed_at_ms += 100_000;
        }
        report.answers.clear();
        for feed in 0..FEEDS {
            if feed == 0 || self.dice.roll(2) == 0 {
                let value = self.value(feed);
                report.answers.push(answer(feed.try_into().unwrap(), value));
            }
        }
        if spoiled == Spoiled::Generation {
            report.generation -= 1;
            let at = usize::try_from(report.generation).unwrap() - 1;
            report.config = self.configurations[at];
        }
        let call = report.call(self.attestation(&report, spoiled));
        if spoiled == Spoiled::No {
            self.signed.push((report.clone(), call.clone()));
            if self.dice.roll(4) == 0 {
                // It is held back.
                return Ok(());
            }
        }
        self.bring(&report, &call, spoiled)
    }

    /// Brings one of the newest reports that were signed, a first time or again.
    fn bring_late(&mut self) -> Result<(), String> {
        let newest = self.signed.len().min(6);
        if newest == 0 {
            return Ok(());
        }
        let back = usize::try_from(self.dice.roll(newest.try_into().unwrap())).unwrap();
        let (report, call) = self.signed[self.signed.len() - 1 - back].clone();
        self.bring(&report, &call, Spoiled::No)
    }

    fn bring(
        &mut self,
        report: &Report,
        call: &oracle::transmitCall,
        spoiled: Spoiled,
    ) -> Result<(), String> {
        let expected = self.expected(report, spoiled);
        let is_done = self.world.done(call);
        self.compare(is_done, expected.is_some(), spoiled)?;
        self.feeds = expected.unwrap_or(self.feeds);
        Ok(())
    }

    /// Mostly near the last one, sometimes far away, sometimes nothing that a feed may be.
    fn value(&mut self, feed: usize) -> i128 {
        let last = self.feeds[feed].last.max(10_000);
        match self.dice.roll(10) {
            0 => last * 2,
            1 => 99,
            2 => 10_i128.pow(18) + 1,
            3 => -last,
            _ => last + i128::from(self.dice.roll(200)),
        }
    }

    fn attestation(&self, report: &Report, spoiled: Spoiled) -> Vec<B256> {
        let digest = self.world.digest(report.struct_hash());
        let members = &self.world.members;
        match (spoiled, members) {
            (Spoiled::No | Spoiled::Generation, _) => members.attest(digest),
            (Spoiled::Signature, Members::Quorum(_)) => {
                let signature = members.signature(1, digest);
                attestation(0b11, [signature, signature])
            }
            (Spoiled::Signature, Members::Group { .. }) => {
                let mut words = members.attest(digest);
                words[2].0[31] ^= 1;
                words
            }
            (Spoiled::Stranger, Members::Quorum(_)) => Members::quorum(4, 9).attest(digest),
            (Spoiled::Stranger, Members::Group { .. }) => Members::group(4, 9).attest(digest),
        }
    }

    /// The feeds after the report, if it is taken.
    fn expected(&self, report: &Report, spoiled: Spoiled) -> Option<[Feed; FEEDS]> {
        let block_s = self.world.now_s + BLOCK_S;
        let observed_at_s = report.observed_at_ms / 1000;
        let is_old = observed_at_s + REPORT_AGE_MAX_S < block_s;
        if is_old || matches!(spoiled, Spoiled::Signature | Spoiled::Stranger) {
            return None;
        }
        let mut after = self.feeds;
        let mut is_news = false;
        for word in &report.answers {
            let feed = &mut after[usize::from(word[1])];
            let value = i128::from_be_bytes(word[16..].try_into().unwrap());
            let round = (report.generation, report.epoch, report.round);
            if feed.is_halted || round <= feed.round || !(100..=10_i128.pow(18)).contains(&value) {
                continue;
            }
            if feed.reset_at_s.is_some_and(|at| observed_at_s <= at) {
                continue;
            }
            is_news = true;
            feed.round = round;
            let is_far = (value - feed.last).abs() * 10_000 > feed.last * 1000;
            if feed.last != 0 && feed.reset_at_s.is_none() && is_far {
                feed.is_halted = true;
            } else {
                (feed.last, feed.reset_at_s) = (value, None);
            }
        }
        is_news.then_some(after)
    }

    fn reset(&mut self) -> Result<(), String> {
        let feed = usize::try_from(self.dice.roll(2)).unwrap();
        let call = oracle::resetCall {
            feed: U256::from(feed),
        };
        let is_halted = self.feeds[feed].is_halted;
        let is_done = self.world.done(&call);
        self.compare(is_done, is_halted, Spoiled::No)?;
        if is_halted {
            self.feeds[feed].is_halted = false;
            self.feeds[feed].reset_at_s = Some(self.world.now_s);
        }
        Ok(())
    }

    fn configure(&mut self) {
        self.generation += 1;
        let mut next = configuration(&self.world.members, 2);
        next.digest = B256::from(U256::from(self.generation));
        self.world
            .accepted(&oracle::configureCall { next: next.clone() });
        self.configurations.push(next.digest);
        self.world.configuration = next;
        for feed in &mut self.feeds {
            feed.round = (self.generation, 0, 0);
        }
    }

    fn compare(&self, is_done: bool, is_right: bool, spoiled: Spoiled) -> Result<(), String> {
        if is_done == is_right {
            return Ok(());
        }
        Err(format!(
            "{spoiled:?}: done {is_done}, and should be {is_right}, with {:?}",
            self.feeds
        ))
    }

    /// What the contract says of each feed.
    fn compare_feeds(&self) -> Result<(), String> {
        let told = self.world.ask(&oracle::feedStatesCall {});
        if told.generation != self.generation || told.states.len() != FEEDS {
            return Err(format!("generation {}", told.generation));
        }
        for (number, (feed, state)) in (0..).zip(self.feeds.iter().zip(told.states)) {
            let last = self.world.last_or_none(number).unwrap_or(0);
            let opens_at = feed.reset_at_s.map_or(0, |at| at + 1);
            let expected = (feed.last, feed.round.1, feed.round.2, feed.is_halted);
            let is_right = (last, state.epoch, state.round, state.isHalted) == expected
                && state.opensAt == opens_at;
            if !is_right {
                return Err(format!(
                    "feed {number} is {last}, {}/{}, halted {}, opens at {}: {feed:?}",
                    state.epoch, state.round, state.isHalted, state.opensAt
                ));
            }
        }
        Ok(())
    }
}

fn play(kind: NodeKind, artefact: &[u8], seed: u64) -> Result<(), String> {
    let mut play = Play::new(kind, artefact, seed);
    for _ in 0..CALLS {
        match play.dice.roll(12) {
            0 | 1 => play.reset()?,
            2 => play.configure(),
            3..6 => play.bring_late()?,
            _ => play.transmit()?,
        }
        play.compare_feeds()?;
    }
    Ok(())
}

fn price_oracle_is_its_model(kind: NodeKind) {
    let seeds = match kind {
        NodeKind::DevChain => 20,
        NodeKind::Anvil => 2,
    };
    for seed in 0..seeds {
        if let Err(error) = play(kind, ORACLE, seed) {
            panic!("seed {seed}: {error}");
        }
    }
}

fn each_planted_bug_is_told_apart(kind: NodeKind) {
    for (name, artefact) in [
        (
            "counts a signer twice",
            &include_bytes!("../../contracts/mutants/PriceOracleCountsAnyone.json")[..],
        ),
        (
            "takes a round again",
            include_bytes!("../../contracts/mutants/PriceOracleTakesOldRounds.json"),
        ),
        (
            "hears earlier members",
            include_bytes!("../../contracts/mutants/PriceOracleHearsEarlierMembers.json"),
        ),
        (
            "takes any price",
            include_bytes!("../../contracts/mutants/PriceOracleTakesAnyPrice.json"),
        ),
        (
            "never halts",
            include_bytes!("../../contracts/mutants/PriceOracleNeverHalts.json"),
        ),
        (
            "takes what halted it",
            include_bytes!("../../contracts/mutants/PriceOracleTakesWhatItRefused.json"),
        ),
        (
            "takes what is of before the reset",
            include_bytes!("../../contracts/mutants/PriceOracleTakesWhatIsOfBeforeTheReset.json"),
        ),
        (
            "takes any scalar",
            include_bytes!("../../contracts/mutants/PriceOracleTakesAnyScalar.json"),
        ),
    ] {
        let is_caught = |kind, seed: &u64| play(kind, artefact, *seed).is_err();
        let caught = (0..40).find(|seed| is_caught(NodeKind::DevChain, seed));
        let seed = caught.unwrap_or_else(|| panic!("{name}: nobody noticed"));
        // The same game shows it on the other node.
        assert!(is_caught(kind, &seed), "{name}: not by seed {seed}");
    }
}
