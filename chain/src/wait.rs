//! Waiting for a transaction.

use std::time::Duration;

use peaberry_core::Clock;

use crate::deadline::within;
use crate::{ChainClient, ChainError, Finality, Sent, TransactionStatus, TxId};

// A chain in the process, or one that makes a block for each transaction, has the answer at once.
const PAUSE_FIRST: Duration = Duration::from_millis(4);

/// Asks for a transaction's status until it is as certain as `until` says or settled otherwise; at first every few
/// milliseconds, then ever more rarely, at least every `pause_max`.
pub(crate) async fn wait_for(
    client: &dyn ChainClient,
    clock: &dyn Clock,
    pause_max: Duration,
    id: TxId,
    until: Finality,
    patience: Duration,
) -> Result<TransactionStatus, ChainError> {
    let reached = ask_for_ever(client, clock, pause_max, id, until);
    let in_time = within(clock, patience, reached).await;
    in_time.unwrap_or(Err(ChainError::TimedOut {
        doing: "the wait for a transaction",
        after: patience,
        sent: Sent::Maybe(Some(id)),
    }))
}

async fn ask_for_ever(
    client: &dyn ChainClient,
    clock: &dyn Clock,
    pause_max: Duration,
    id: TxId,
    until: Finality,
) -> Result<TransactionStatus, ChainError> {
    let mut pause = PAUSE_FIRST.min(pause_max);
    loop {
        let asked = clock.now();
        let not_before = match client.status(id).await {
            Ok(status) if is_reached(&status, until) => return Ok(status),
            Ok(_) => asked + pause,
            Err(ChainError::RateLimited { retry_after }) => clock.now() + retry_after,
            Err(error) if error.is_retryable() => clock.now() + pause_max,
            Err(error) => return Err(error),
        };
        clock.sleep_until(not_before).await;
        pause = (pause * 3 / 2).min(pause_max);
    }
}

fn is_reached(status: &TransactionStatus, until: Finality) -> bool {
    let depth_wanted = match until {
        Finality::Latest => 0,
        Finality::Depth(depth) => depth,
        Finality::Final => return status.is_settled(),
    };
    match status {
        TransactionStatus::Included { depth, .. } | TransactionStatus::Reverted { depth, .. } => {
            *depth >= depth_wanted || status.is_settled()
        }
        status => status.is_settled(),
    }
}
