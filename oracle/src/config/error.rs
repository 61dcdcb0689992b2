use std::collections::BTreeSet;
use std::time::Duration;

use peaberry_chain::EvmAddress;
use peaberry_core::PeerId;

use super::{
    ConfigForm, FEEDS_MAX, GENERATION_MAX, MEMBERS_MAX, ROUNDS_PER_EPOCH_MAX, Timing, WEIGHT_MAX,
    WEIGHT_MIN,
};
use crate::feed::FeedError;

/// No interval of a configuration is longer.
const TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// Why oracles cannot be configured like this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A field whose zero would switch a check off.
    #[error("{0} is zero: every check would hold or fail for all")]
    Zero(&'static str),
    /// Not 3f+1 members.
    #[error("{members} members with {faulty} faulty ones: 3f+1 are needed, which is {needed}")]
    Members {
        /// How many there are.
        members: usize,
        /// f.
        faulty: usize,
        /// 3f+1.
        needed: usize,
    },
    /// More members than there may be.
    #[error("{0} members: at most {MEMBERS_MAX}")]
    TooManyMembers(usize),
    /// Not f+1 signatures.
    #[error(
        "a threshold of {threshold} with {faulty} faulty members: f+1 are needed, which is {needed}: fewer could all lie, more could be withheld"
    )]
    Threshold {
        /// As configured.
        threshold: usize,
        /// f.
        faulty: usize,
        /// f+1.
        needed: usize,
    },
    /// Two members are one machine.
    #[error("{0} is a member twice")]
    RepeatedPeer(PeerId),
    /// Two members have one key: one of them would count as two.
    #[error("two members sign as {0}")]
    RepeatedSigner(EvmAddress),
    /// A member of the address zero, which is what a failed recovery answers on chain.
    #[error("{0} signs as the address zero")]
    ZeroSigner(PeerId),
    /// A weight out of bounds.
    #[error("{peer} weighs {weight}: weights go from {WEIGHT_MIN} to {WEIGHT_MAX}")]
    Weight {
        /// Whose.
        peer: PeerId,
        /// How much.
        weight: u16,
    },
    /// Not one weight for each member.
    #[error("{count} weights for {members} members")]
    Weights {
        /// How many were given.
        count: usize,
        /// How many are needed.
        members: usize,
    },
    /// More feeds than there may be.
    #[error("{0} feeds: at most {FEEDS_MAX} fit one report")]
    TooManyFeeds(usize),
    /// Two feeds of one name.
    #[error("two feeds are called {0}")]
    RepeatedFeed(String),
    /// A feed that cannot be.
    #[error("feed {name}")]
    Feed {
        /// Its name.
        name: String,
        /// What is wrong with it.
        #[source]
        source: FeedError,
    },
    /// A generation that contracts have no room for.
    #[error("generation {0}: contracts have room for {GENERATION_MAX}")]
    Generation(u64),
    /// Epochs that contracts have no room for.
    #[error("{0} rounds in an epoch: contracts have room for {ROUNDS_PER_EPOCH_MAX}")]
    Rounds(u32),
    /// Intervals that do not fit each other.
    #[error("{0}")]
    Timing(&'static str),
}

pub(super) fn check(form: &ConfigForm) -> Result<(), ConfigError> {
    for (name, is_zero) in [
        ("the chain id", form.chain_id == 0),
        ("the contract's address", form.contract == EvmAddress::ZERO),
        ("the generation", form.generation == 0),
        ("the number of faulty members", form.faulty == 0),
        ("the threshold", form.threshold == 0),
        ("the number of feeds", form.feeds.is_empty()),
    ] {
        if is_zero {
            return Err(ConfigError::Zero(name));
        }
    }
    if form.generation > GENERATION_MAX {
        return Err(ConfigError::Generation(form.generation));
    }
    check_members(form)?;
    check_feeds(form)?;
    check_timing(&form.timing)
}

fn check_members(form: &ConfigForm) -> Result<(), ConfigError> {
    let (members, faulty) = (form.members.len(), form.faulty);
    if members > MEMBERS_MAX {
        return Err(ConfigError::TooManyMembers(members));
    }
    let needed = faulty.saturating_mul(3).saturating_add(1);
    if members != needed {
        return Err(ConfigError::Members {
            members,
            faulty,
            needed,
        });
    }
    if form.threshold != faulty + 1 {
        return Err(ConfigError::Threshold {
            threshold: form.threshold,
            faulty,
            needed: faulty + 1,
        });
    }
    let (mut peers, mut signers) = (BTreeSet::new(), BTreeSet::new());
    for member in &form.members {
        if !peers.insert(member.peer) {
            return Err(ConfigError::RepeatedPeer(member.peer));
        }
        if member.signer == EvmAddress::ZERO {
            return Err(ConfigError::ZeroSigner(member.peer));
        }
        if !signers.insert(member.signer) {
            return Err(ConfigError::RepeatedSigner(member.signer));
        }
        if !(WEIGHT_MIN..=WEIGHT_MAX).contains(&member.weight) {
            return Err(ConfigError::Weight {
                peer: member.peer,
                weight: member.weight,
            });
        }
    }
    Ok(())
}

fn check_feeds(form: &ConfigForm) -> Result<(), ConfigError> {
    if form.feeds.len() > FEEDS_MAX {
        return Err(ConfigError::TooManyFeeds(form.feeds.len()));
    }
    let mut names = BTreeSet::new();
    for feed in &form.feeds {
        feed.check().map_err(|source| ConfigError::Feed {
            name: feed.name.clone(),
            source,
        })?;
        if !names.insert(feed.name.as_str()) {
            return Err(ConfigError::RepeatedFeed(feed.name.clone()));
        }
    }
    Ok(())
}

fn check_timing(timing: &Timing) -> Result<(), ConfigError> {
    for (name, interval) in [
        ("the time of a round", timing.round),
        ("the grace period", timing.grace),
        ("the progress time-out", timing.progress),
        ("the time of a beat", timing.beat),
        ("the time of a stage", timing.stage),
        ("the greatest age of values", timing.observation_age_max),
    ] {
        if interval.is_zero() {
            return Err(ConfigError::Zero(name));
        }
        if interval > TIME_MAX {
            return Err(ConfigError::Timing("an interval is longer than a day"));
        }
    }
    if timing.latency_max_ms == 0 {
        return Err(ConfigError::Zero("the greatest latency"));
    }
    if timing.rounds_per_epoch == 0 {
        return Err(ConfigError::Zero("the number of rounds in an epoch"));
    }
    if timing.rounds_per_epoch > ROUNDS_PER_EPOCH_MAX {
        return Err(ConfigError::Rounds(timing.rounds_per_epoch));
    }
    if timing.grace >= timing.round {
        return Err(ConfigError::Timing(
            "the grace period must end within its round: make it shorter",
        ));
    }
    if timing.progress <= timing.round {
        return Err(ConfigError::Timing(
            "the progress time-out must be longer than a round, or every epoch is given up",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::form;

    /// One mistake of each kind, with the error that names it.
    #[test]
    fn what_is_misconfigured_is_refused_with_the_reason() {
        let refuse = |change: &dyn Fn(&mut ConfigForm), reason: &str| {
            let mut form = form(1);
            change(&mut form);
            let said = check(&form).unwrap_err().to_string();
            assert!(said.contains(reason), "{said:?} does not say {reason:?}");
        };
        assert_eq!(check(&form(1)), Ok(()));
        refuse(&|it| it.faulty = 0, "faulty members is zero");
        refuse(&|it| it.faulty = 2, "which is 7");
        refuse(&|it| it.faulty = usize::MAX, "3f+1");
        refuse(&|it| it.members.truncate(3), "3 members with 1");
        refuse(&|it| it.threshold = 1, "f+1 are needed, which is 2");
        refuse(&|it| it.threshold = 0, "threshold is zero");
        refuse(&|it| it.threshold = 3, "more could be withheld");
        refuse(&|it| it.chain_id = 0, "chain id is zero");
        refuse(
            &|it| it.contract = EvmAddress::ZERO,
            "contract's address is zero",
        );
        refuse(&|it| it.generation = 0, "generation is zero");
        refuse(&|it| it.members[1] = it.members[0], "a member twice");
        refuse(
            &|it| it.members[1].signer = it.members[0].signer,
            "two members sign",
        );
        refuse(
            &|it| it.members[1].signer = EvmAddress::ZERO,
            "address zero",
        );
        refuse(&|it| it.members[1].weight = 0, "weights go from");
        refuse(
            &|it| it.members[1].weight = WEIGHT_MAX + 1,
            "weights go from",
        );
        refuse(&|it| it.feeds.clear(), "feeds is zero");
        refuse(&|it| it.feeds.push(it.feeds[0].clone()), "two feeds");
        refuse(&|it| it.timing.round = Duration::ZERO, "round is zero");
        refuse(&|it| it.timing.grace = it.timing.round, "grace period");
        refuse(
            &|it| it.timing.progress = it.timing.round,
            "progress time-out",
        );
        refuse(
            &|it| it.timing.rounds_per_epoch = 0,
            "rounds in an epoch is zero",
        );
        refuse(&|it| it.generation = 1 << 16, "room for 65535");
        refuse(
            &|it| it.timing.rounds_per_epoch = 1 << 24,
            "room for 16777215",
        );
        let refuse_feed = |change: &dyn Fn(&mut crate::Feed), reason: FeedError| {
            let mut form = form(1);
            change(&mut form.feeds[0]);
            let error = check(&form).unwrap_err();
            let name = form.feeds[0].name.clone();
            assert_eq!(
                error,
                ConfigError::Feed {
                    name,
                    source: reason
                }
            );
        };
        refuse_feed(
            &|it| it.min = 0,
            FeedError::Bounds {
                min: 0,
                max: 10_i128.pow(12),
            },
        );
        refuse_feed(&|it| it.decimals = 19, FeedError::Decimals(19));
        refuse_feed(&|it| it.name.clear(), FeedError::Name(0));
        refuse_feed(&|it| it.deviation_bps = 0, FeedError::Zero("deviation"));
        refuse_feed(&|it| it.heartbeat_ms = 0, FeedError::Zero("heartbeat"));
        refuse_feed(&|it| it.breaker_bps = Some(0), FeedError::Zero("breaker"));
    }
}
