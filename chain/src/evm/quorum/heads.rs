//! The newest and the final block: by the word of nodes that have come so far themselves.

use futures_util::future::{BoxFuture, join_all};
use peaberry_core::mutant;

use super::dissent::{Dissent, is_other, is_other_block};
use super::{QuorumRpc, is_ignorant, largest_group};
use crate::evm::{EvmRpc, EvmView};
use crate::{Block, BlockAt, ChainError, FinalityPolicy};

const DOING: &str = "the newest block";

/// Which block each node names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    Newest,
    /// By its tag.
    Final,
    /// So many blocks below its newest.
    Below(u64),
}

type Named = Result<Option<Block>, ChainError>;

impl Head {
    fn named_by(self, node: &dyn EvmView) -> BoxFuture<'_, Named> {
        match self {
            Self::Newest => node.block(BlockAt::Latest),
            Self::Final => node.block(BlockAt::Final),
            Self::Below(depth) => node.block_below(depth),
        }
    }

    /// Whether only a liar has another block there, or a node on a fork that was left.
    fn contradicts(self, agreed: Block, other: Block) -> bool {
        match self {
            // What is final is so on every node's chain, or the node's is none any more.
            Self::Final => is_other(Some(&agreed), Some(&other)),
            Self::Newest | Self::Below(_) => {
                is_other_block(BlockAt::Number(agreed.number), Some(&agreed), Some(&other))
            }
        }
    }
}

impl QuorumRpc {
    /// The newest block that enough nodes have come to, and agree on; `None` where enough of them know of none.
    ///
    /// A node has a vote on a block only if the one that it names itself is no lower. The number of a final block alone
    /// says little: one that is far behind may have, at that number, an orphan as its newest block, which is final for nobody; it
    /// and a liar who repeats it would be two. Where the nodes that have come to the highest credible number do not agree,
    /// one of them lies, and what a slower one names is next: no liar holds up those that are honest.
    pub(super) async fn head(&self, head: Head) -> Result<Option<Block>, ChainError> {
        let named = self.ask_all(|node| head.named_by(node)).await;
        let credible = self.credible_numbers(&named)?;
        if credible.is_empty() {
            return Ok(None);
        }
        let mut agreed_most = 0;
        for number in credible {
            match self.head_at(head, number, &named).await {
                Ok(block) => return Ok(Some(block)),
                Err(agreed) => agreed_most = agreed_most.max(agreed),
            }
        }
        Err(self.no_quorum(DOING, agreed_most))
    }

    /// What enough nodes find in the state of the newest such block of which enough know it. Where those that have come to the
    /// newest do not agree, one of them lies or knows nothing; it and a node that is behind, however far, hold nobody up.
    pub(super) async fn in_state_of_head<'a, T: PartialEq + Clone>(
        &'a self,
        head: Head,
        doing: &'static str,
        ask: impl Fn(&'a dyn EvmView, BlockAt) -> BoxFuture<'a, Result<T, ChainError>>,
    ) -> Result<T, ChainError> {
        let named = self.ask_all(|node| head.named_by(node)).await;
        let credible = self.credible_numbers(&named)?;
        if credible.is_empty() {
            return Err(ChainError::NotFound { what: DOING.into() });
        }
        let mut unknown = None;
        for number in credible {
            let Ok(block) = self.head_at(head, number, &named).await else {
                continue;
            };
            let at = BlockAt::Hash(block.hash);
            let answers = self.ask_all(|node| ask(node, at)).await;
            match self.agree_at(doing, at, &answers) {
                Err(error) if error.is_retryable() || is_ignorant(&error) => {
                    unknown = unknown.or(Some(error));
                }
                told => return told,
            }
        }
        Err(unknown.unwrap_or_else(|| self.no_quorum(DOING, 0)))
    }

    /// Numbers that not only liars have come to, by those whom these `named`, from the highest down; none where enough know
    /// of none.
    fn credible_numbers(&self, named: &[Named]) -> Result<Vec<u64>, ChainError> {
        let mut numbers: Vec<u64> = named
            .iter()
            .flatten()
            .flatten()
            .map(|one| one.number)
            .collect();
        numbers.sort_unstable_by(|one, other| other.cmp(one));
        let nothing = named.iter().filter(|one| matches!(one, Ok(None)));
        let Some(credible) = numbers
            .get(self.wanted - 1..)
            .filter(|some| !some.is_empty())
        else {
            if nothing.count() >= self.wanted {
                return Ok(Vec::new());
            }
            // A chain that has just begun has no final block; that, too, takes more than one node's word.
            let refusal = self.refusal(named.iter().filter_map(|one| one.as_ref().err()));
            return Err(refusal.unwrap_or_else(|| self.no_quorum(DOING, numbers.len())));
        };
        let mut credible = credible.to_vec();
        credible.dedup();
        Ok(credible)
    }

    /// The block of this number on which enough of those agree that name it or a higher one; or how many do.
    async fn head_at(&self, head: Head, number: u64, named: &[Named]) -> Result<Block, usize> {
        let asked = self.nodes.iter().zip(named);
        let answers = join_all(asked.map(async |((_, node), own)| match own {
            Ok(Some(own)) if own.number == number => Ok(Some(*own)),
            _ => node.block(BlockAt::Number(number)).await,
        }))
        .await;
        let has_come = |own: &Named| {
            matches!(own, Ok(Some(own)) if own.number >= number)
                || mutant::is_planted("evm_final_block_of_who_is_behind")
        };
        let voting = named.iter().zip(&answers).filter(|(own, _)| has_come(own));
        let votes = voting.filter_map(|(_, answer)| answer.as_ref().ok()?.as_ref());
        let votes = votes.filter(|block| block.number == number);
        let (agreed, most) = largest_group(votes, |one, other| one == other);
        let Some(block) = most.filter(|_| agreed >= self.wanted).copied() else {
            return Err(agreed);
        };
        self.name_others(DOING, &answers, |other| head.contradicts(block, other));
        Ok(block)
    }

    /// The block of this number, of those nodes to which it is final.
    pub(super) async fn agreed_final_block(
        &self,
        number: u64,
        policy: FinalityPolicy,
    ) -> Result<Option<Block>, ChainError> {
        const DOING: &str = "a final block";
        if mutant::is_planted("evm_final_block_by_two_questions") {
            let head = match policy {
                FinalityPolicy::Finalized => Head::Final,
                FinalityPolicy::Depth(depth) => Head::Below(depth),
            };
            let head = self.head(head).await?;
            return match head.filter(|head| head.number >= number) {
                Some(_) => self.block(BlockAt::Number(number)).await,
                None => Ok(None),
            };
        }
        let answers = self.ask_all(|node| node.final_block(number, policy)).await;
        let found = answers.iter().flatten().flatten();
        let (agreed, most) = largest_group(found, |one, other| one == other);
        if let Some(block) = most.filter(|_| agreed >= self.wanted).copied() {
            self.name_others(DOING, &answers, |other| match policy {
                FinalityPolicy::Finalized => other != block,
                FinalityPolicy::Depth(_) => Head::Below(0).contradicts(block, other),
            });
            return Ok(Some(block));
        }
        let failed = answers.iter().filter(|answer| answer.is_err()).count();
        if agreed + failed >= self.wanted {
            return Err(self.no_quorum(DOING, agreed));
        }
        Ok(None)
    }

    /// Names those whose block contradicts what was agreed on.
    fn name_others(
        &self,
        doing: &'static str,
        answers: &[Named],
        contradicts: impl Fn(Block) -> bool,
    ) {
        for ((name, _), answer) in self.nodes.iter().zip(answers) {
            if matches!(answer, Ok(Some(other)) if contradicts(*other)) {
                (self.report)(&Dissent {
                    node: name.clone(),
                    doing,
                });
            }
        }
    }
}
