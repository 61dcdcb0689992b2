//! Filters by their names: what has come since somebody asked last.

use alloy_primitives::U64;
use serde_json::{Value, json};

use super::super::execution::refused;
use super::super::ledger::{Ledger, News, Watched};
use super::methods::{Answer, unknown};
use super::params::Params;
use super::shapes;

pub(super) fn filter(ledger: &mut Ledger, method: &str, params: Params<'_>) -> Answer {
    let number = || params.get::<U64>(0).map(|number| number.to::<u64>());
    match method {
        "eth_newBlockFilter" => Ok(made(ledger, Watched::Blocks)),
        "eth_newPendingTransactionFilter" => Ok(made(ledger, Watched::Waiting)),
        "eth_newFilter" => {
            let (filter, from, to) = params.logs(0)?.read_open(|at| ledger.number(at))?;
            if from.zip(to).is_some_and(|(from, to)| from > to) {
                return Err(refused("invalid block range params"));
            }
            Ok(made(ledger, Watched::Logs { filter, from, to }))
        }
        "eth_getFilterChanges" => Ok(match ledger.news(number()?)? {
            News::Hashes(hashes) => json!(hashes),
            News::Logs(logs) => logs
                .iter()
                .map(|(log, is_undone)| told(log, *is_undone))
                .collect(),
        }),
        "eth_getFilterLogs" => {
            let logs = ledger.watched_logs(number()?)?;
            Ok(logs.iter().map(shapes::log).collect())
        }
        "eth_uninstallFilter" => Ok(json!(ledger.unwatch(number()?))),
        _ => Err(unknown(method)),
    }
}

fn made(ledger: &mut Ledger, watched: Watched) -> Value {
    json!(U64::from(ledger.watch_for(watched)))
}

fn told(log: &crate::Log, is_undone: bool) -> Value {
    let mut told = shapes::log(log);
    if let Some(fields) = told.as_object_mut() {
        fields.insert("removed".into(), json!(is_undone));
    }
    told
}
