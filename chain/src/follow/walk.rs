//! Asking: from the newest block back to one that is known.

use std::ops::RangeInclusive;

use alloy_primitives::B256;
use peaberry_core::mutant;

use crate::{Block, BlockAt, ChainClient, ChainError, Finality, Log, LogFilter, LogRange, Sent};

/// Blocks that one walk goes back at most; farther ones are approached in several.
const WALK_MAX: u64 = 64;

/// A question of a follower: how does the chain go on from what is known?
#[derive(Clone, Debug)]
pub struct Walk {
    /// Goes back with the answer.
    pub number: u64,
    /// Which logs are wanted.
    pub filter: LogFilter,
    /// What is known.
    pub known: Known,
    /// Final blocks to read at once at most.
    pub range_max: u64,
}

/// What a follower knows of the chain.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a follower knows nothing or a ring"
)]
pub enum Known {
    /// Nothing yet: begin at the block of this number, or at the newest final one.
    Nothing(Option<u64>),
    /// These blocks by number and hash, each the next one's parent; the first is final, or the first ever followed.
    Ring(Vec<(u64, B256)>),
}

/// What a walk has found.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a follower must handle each")]
pub enum Step {
    /// The chain goes on from a known block.
    Path(Path),
    /// Many final blocks at once.
    Range {
        /// The first block's parent, which must be the tip.
        parent: B256,
        /// The blocks.
        numbers: RangeInclusive<u64>,
        /// The last of them.
        last: Block,
        /// Their logs.
        logs: Vec<Log>,
    },
    /// The chain does not have the first block that is known, although it should.
    Broken {
        /// Its number.
        number: u64,
        /// What the chain has there.
        found: Option<B256>,
        /// The number of the newest final block.
        final_number: u64,
    },
    /// Nothing new, or a node that lags.
    Nothing,
}

/// How the chain goes on.
#[derive(Clone, Debug)]
pub struct Path {
    /// The newest final block; `None` while there is none. Read before everything else.
    pub final_block: Option<Block>,
    /// The known block from which it goes on; `None` if nothing was known.
    pub ancestor: Option<(u64, B256)>,
    /// The blocks behind it in order, each with its logs.
    pub blocks: Vec<(Block, Vec<Log>)>,
}

/// Asks `client` how the chain goes on from what `walk` knows. Blocks are read by hash from the newest back, and logs by
/// their block's hash: two forks are never mixed, whatever node answers.
///
/// # Errors
///
/// Those of `client`. Blocks that are gone by the time their logs are asked for end the path before them;
/// [`ChainError::RangeTooWide`] wants a smaller `range_max`.
pub async fn step_along(client: &dyn ChainClient, walk: &Walk) -> Result<Step, ChainError> {
    let final_block = match client.head(Finality::Final).await {
        Ok(block) => Some(block),
        Err(ChainError::NotFound { .. }) => None,
        Err(error) => return Err(error),
    };
    let latest = client.head(Finality::Latest).await?;
    match &walk.known {
        Known::Nothing(start) => begin(client, walk, *start, final_block, latest).await,
        Known::Ring(ring) => go_on(client, walk, ring, final_block, latest).await,
    }
}

async fn begin(
    client: &dyn ChainClient,
    walk: &Walk,
    start: Option<u64>,
    final_block: Option<Block>,
    latest: Block,
) -> Result<Step, ChainError> {
    let block = match (start, final_block) {
        // That very block: what is found at its number may be another's, and would be left behind for a newer final one.
        (None, final_block) => final_block,
        (Some(start), _) if start > latest.number => None,
        (Some(start), _) => at_number(client, start, final_block).await?,
    };
    let Some(block) = block else {
        return Ok(Step::Nothing);
    };
    let Some(logs) = logs_of(client, &walk.filter, block).await? else {
        return Err(unknown("the logs of", block));
    };
    Ok(Step::Path(Path {
        final_block,
        ancestor: None,
        blocks: vec![(block, logs)],
    }))
}

async fn go_on(
    client: &dyn ChainClient,
    walk: &Walk,
    ring: &[(u64, B256)],
    final_block: Option<Block>,
    latest: Block,
) -> Result<Step, ChainError> {
    let (Some(&tip), Some(&first)) = (ring.last(), ring.first()) else {
        return Ok(Step::Nothing);
    };
    let final_number = final_block.map_or(0, |block| block.number);
    if final_number > tip.0.saturating_add(WALK_MAX)
        && let Some(step) = range(client, walk, tip, final_number).await?
    {
        return Ok(step);
    }
    let near = match latest.number.checked_sub(tip.0) {
        // Either in several walks, or back first from where the tip should be.
        Some(gap) if gap > WALK_MAX && final_number > tip.0 => Some(tip.0),
        Some(gap) if gap > WALK_MAX => Some(tip.0 + WALK_MAX),
        _ => None,
    };
    let mut block = latest;
    if let Some(number) = near {
        let Some(near) = at_number(client, number, final_block).await? else {
            return Ok(Step::Nothing);
        };
        block = near;
        if block.hash == tip.1
            && let Some(farther) = at_number(client, tip.0 + WALK_MAX, final_block).await?
        {
            block = farther;
        }
    }
    let mut back = walk_back(client, ring, block).await?;
    // Too few know what lies between: of what follows the tip more may.
    if matches!(back, Back::Gap(_))
        && block.number > tip.0 + 1
        && let Some(next) = at_number(client, tip.0 + 1, final_block).await?
    {
        back = walk_back(client, ring, next).await?;
    }
    let (ancestor, path) = match back {
        Back::To(ancestor, path) => (ancestor, path),
        Back::Below => return broken(client, first, final_block).await,
        Back::Gap(child) => return Err(unknown("the parent of", child)),
    };
    // A node that is behind, on our own fork: that its chain is shorter does not mean that ours is gone.
    if path.is_empty() {
        return Ok(Step::Path(Path {
            final_block,
            ancestor: Some(tip),
            blocks: Vec::new(),
        }));
    }
    let first = path.last().copied();
    let mut blocks = Vec::with_capacity(path.len());
    for block in path.into_iter().rev() {
        match logs_of(client, &walk.filter, block).await? {
            Some(logs) => blocks.push((block, logs)),
            None => break,
        }
    }
    // A block that was just left is gone at the next look. What lasts is to be told.
    if let Some(first) = first.filter(|_| blocks.is_empty()) {
        return Err(unknown("the logs of", first));
    }
    Ok(Step::Path(Path {
        final_block,
        ancestor: Some(ancestor),
        blocks,
    }))
}

/// Where a walk back by hash has led.
enum Back {
    /// To this block of the ring, over these, the newest first.
    To((u64, B256), Vec<Block>),
    /// Past the ring's first block.
    Below,
    /// To this block, whose parent nobody knows.
    Gap(Block),
}

async fn walk_back(
    client: &dyn ChainClient,
    ring: &[(u64, B256)],
    mut block: Block,
) -> Result<Back, ChainError> {
    let known = |number: u64, hash: B256| ring.binary_search(&(number, hash)).is_ok();
    let lowest = ring.first().map_or(0, |first| first.0);
    let mut path = Vec::new();
    loop {
        if known(block.number, block.hash) {
            return Ok(Back::To((block.number, block.hash), path));
        }
        if block.number <= lowest {
            return Ok(Back::Below);
        }
        path.push(block);
        // Often the parent is in the ring, and need not be asked for.
        if known(block.number - 1, block.parent) {
            return Ok(Back::To((block.number - 1, block.parent), path));
        }
        match parent_of(client, block).await? {
            Some(parent) => block = parent,
            None => return Ok(Back::Gap(block)),
        }
    }
}

async fn range(
    client: &dyn ChainClient,
    walk: &Walk,
    tip: (u64, B256),
    final_number: u64,
) -> Result<Option<Step>, ChainError> {
    let first = tip.0 + 1;
    // Logs by number are bound to no fork. So far below the final block every node is, or has no vote; what is newer is
    // walked along by hash.
    let settled = final_number - WALK_MAX;
    let last = settled.min(tip.0.saturating_add(walk.range_max.max(1)));
    let (Some(first_block), Some(last_block)) = (
        client.final_block(first).await?,
        client.final_block(last).await?,
    ) else {
        return Ok(None);
    };
    // What was followed last is gone: back to where the chain still has it.
    if first_block.parent != tip.1 {
        return Ok(None);
    }
    let numbers = first..=last;
    let logs = match client.logs_upto(&walk.filter, first, last_block).await {
        Ok(logs) => logs,
        // Too few have come to it: nearer by hash.
        Err(ChainError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(Step::Range {
        parent: first_block.parent,
        numbers,
        last: last_block,
        logs,
    }))
}

/// The block of this number. Up to the final one only nodes have a vote to which it is final: one that is behind may have an
/// orphan there. That too few of them answer is told as a failure, since it may last.
async fn at_number(
    client: &dyn ChainClient,
    number: u64,
    final_block: Option<Block>,
) -> Result<Option<Block>, ChainError> {
    if final_block.is_none_or(|last| number > last.number) {
        return client.block(BlockAt::Number(number)).await;
    }
    let there = client.final_block(number).await?;
    let missing = || ChainError::NotFound {
        what: format!("the final block {number}"),
    };
    there.map(Some).ok_or_else(missing)
}

/// What the chain has where the first known block is. From the final block back by hash, where that is not too far, and
/// farther below of nodes to which it is final: an alarm stands on nothing that one liar and a node on an orphan say.
async fn broken(
    client: &dyn ChainClient,
    first: (u64, B256),
    final_block: Option<Block>,
) -> Result<Step, ChainError> {
    let from = final_block.filter(|block| {
        let distance = block.number.checked_sub(first.0);
        distance.is_some_and(|distance| distance <= WALK_MAX)
    });
    let by_number = mutant::is_planted("follow_alarm_by_number");
    let found = match from.filter(|_| !by_number) {
        Some(block) => ancestor(client, block, first.0).await?,
        None if by_number => client.block(BlockAt::Number(first.0)).await?,
        None => at_number(client, first.0, final_block).await?,
    };
    let found = found.map(|block| block.hash);
    if found == Some(first.1) {
        return Ok(Step::Nothing);
    }
    Ok(Step::Broken {
        number: first.0,
        found,
        final_number: final_block.map_or(0, |block| block.number),
    })
}

/// The block of this number on the branch of `block`; `None` if the nodes have not all of it.
async fn ancestor(
    client: &dyn ChainClient,
    mut block: Block,
    number: u64,
) -> Result<Option<Block>, ChainError> {
    while block.number > number {
        let Some(parent) = parent_of(client, block).await? else {
            return Ok(None);
        };
        block = parent;
    }
    Ok(Some(block))
}

async fn parent_of(client: &dyn ChainClient, block: Block) -> Result<Option<Block>, ChainError> {
    let parent = client.block(BlockAt::Hash(block.parent)).await?;
    if parent.is_some_and(|parent| parent.number.checked_add(1) != Some(block.number)) {
        return Err(malformed("a parent whose number is not one less"));
    }
    Ok(parent)
}

async fn logs_of(
    client: &dyn ChainClient,
    filter: &LogFilter,
    block: Block,
) -> Result<Option<Vec<Log>>, ChainError> {
    match client.logs(filter, &LogRange::Block(block.hash)).await {
        Ok(logs) => Ok(Some(logs)),
        Err(ChainError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn unknown(what: &str, block: Block) -> ChainError {
    ChainError::NotFound {
        what: format!("{what} block {block}"),
    }
}

fn malformed(reason: &str) -> ChainError {
    ChainError::Malformed {
        doing: "a walk along the chain",
        reason: reason.to_owned(),
        sent: Sent::No,
    }
}
