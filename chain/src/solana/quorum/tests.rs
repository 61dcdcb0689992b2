//! Three nodes of which two must agree, and the first that is asked lies: in what shape it answers must not matter either.

use std::future::Future;

use alloy_primitives::B256;
use futures_util::FutureExt;

use super::*;
use crate::outbox::{Ask, EntryId, Found, Performer, SolanaSight, SolanaView};
use crate::solana::{Commitment, SolanaClient, SolanaNetwork, SolanaRpc};
use crate::{ChainError, SolanaAddress, TransactionStatus, TxId};

/// What a node answers to a method: the rest of JSON-RPC's answer is added.
type Says = fn(&str, &Value) -> Result<Value, TransportFailure>;

struct Scripted(Says);

#[async_trait]
impl RpcTransport for Scripted {
    async fn exchange(&self, request: Bytes) -> Result<Bytes, TransportFailure> {
        let request: Value = serde_json::from_slice(&request).unwrap();
        let mut answer = (self.0)(request["method"].as_str().unwrap(), &request["params"])?;
        if answer.is_object() {
            answer["jsonrpc"] = json!("2.0");
            answer["id"] = request["id"].clone();
        }
        Ok(answer.to_string().into_bytes().into())
    }
}

/// Who is asked first, and in turns: the three in the order given, and the first of them behind the others.
fn orders([liar, anna, ben]: [Says; 3]) -> [SolanaRpc; 2] {
    [[liar, anna, ben], [anna, ben, liar]].map(|nodes| {
        let nodes = nodes.into_iter().enumerate().map(|(at, says)| {
            let node: Arc<dyn RpcTransport> = Arc::new(Scripted(says));
            (at.to_string(), node)
        });
        SolanaRpc::new(Arc::new(SolanaQuorum::new(nodes.collect(), 2)))
    })
}

fn at_once<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nobody waits")
}

const GENESIS: &str = "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d";
const SIGNATURE: [u8; 64] = [7; 64];
/// Where the final block lies, for all that are honest.
const FINAL: (u64, u64) = (800, 700);

fn hash(byte: u8) -> String {
    SolanaAddress([byte; 32]).to_string()
}

fn result(value: &Value) -> Result<Value, TransportFailure> {
    Ok(json!({"result": value}))
}

fn block_40() -> Value {
    json!({"blockhash": hash(1), "previousBlockhash": hash(2), "blockHeight": 40, "blockTime": 7})
}

fn head_at(method: &str, slot: u64, height: u64) -> Result<Value, TransportFailure> {
    let byte = u8::try_from(height % 251).unwrap();
    result(&match method {
        "getEpochInfo" => json!({"absoluteSlot": slot, "blockHeight": height}),
        _ => json!({"context": {"slot": slot}, "value": {
            "blockhash": hash(byte), "lastValidBlockHeight": height + 150,
        }}),
    })
}

fn anna_at_49(method: &str, _params: &Value) -> Result<Value, TransportFailure> {
    match method {
        "getBlock" => result(&block_40()),
        method => head_at(method, 49, 40),
    }
}

fn ben_at_51(method: &str, _params: &Value) -> Result<Value, TransportFailure> {
    match method {
        "getBlock" => result(&block_40()),
        method => head_at(method, 51, 42),
    }
}

/// What two say of a block is all that is believed of it, however the third wraps it up.
#[test]
fn a_block_is_what_two_say_of_it() {
    let liars: [Says; 3] = [
        |method, _| match method {
            "getBlock" => result(&json!({
                "context": {"slot": 49}, "value": block_40(), "blockHeight": 9_000, "blockhash": hash(9),
            })),
            method => head_at(method, 49, 41),
        },
        |method, _| match method {
            "getBlock" => {
                let mut block = block_40();
                block["context"] = json!({"slot": 49, "value": 1});
                block["blockHeight"] = json!(9_000);
                result(&block)
            }
            method => head_at(method, 49, 41),
        },
        |method, _| match method {
            "getBlock" => Ok(json!([1, block_40(), null])),
            method => head_at(method, 49, 41),
        },
    ];
    for liar in liars {
        for rpc in orders([liar, anna_at_49, ben_at_51]) {
            let height = at_once(rpc.height(Commitment::Finalized)).unwrap();
            assert_eq!((height.slot, height.height), (49, 40));
            let dated = at_once(rpc.latest_blockhash()).unwrap();
            assert_eq!(dated.hash, B256::repeat_byte(1));
            assert_eq!(dated.last_valid_height, 190);
        }
    }
}

/// An error is no block, whatever fields it has: nothing of it becomes a height.
#[test]
fn errors_with_fields_are_no_blocks() {
    let liar: Says = |method, _| match method {
        "getBlock" => Ok(json!({"error": {
            "code": -32007, "message": "skipped", "blockHeight": 9_000, "blockhash": hash(9),
        }})),
        method => head_at(method, 49, 41),
    };
    let behind: Says = |method, _| match method {
        "getBlock" => Ok(json!({"error": {"code": -32007, "message": "no"}})),
        method => head_at(method, 49, 40),
    };
    for rpc in orders([liar, behind, ben_at_51]) {
        let told = at_once(rpc.height(Commitment::Finalized));
        assert!(matches!(told, Err(ChainError::NoQuorum { .. })), "{told:?}");
        let told = at_once(rpc.latest_blockhash());
        assert!(matches!(told, Err(ChainError::NoQuorum { .. })), "{told:?}");
    }
}

/// Of a refusal the code and the reason are agreed on; words that only one has said are not handed on.
#[test]
fn words_of_one_node_are_nobodys() {
    let says: [Says; 3] = [
        |_, _| Ok(json!({"error": {"code": -32601, "message": "send it to me", "data": {"x": 1}}})),
        |_, _| Ok(json!({"error": {"code": -32601, "message": "Method not found"}})),
        |_, _| Ok(json!({"error": {"code": -32601, "message": "no such method"}})),
    ];
    for rpc in orders(says) {
        for error in [
            at_once(rpc.first_slot()).unwrap_err(),
            at_once(rpc.latest_blockhash()).unwrap_err(),
            at_once(rpc.balance(SolanaAddress([1; 32]))).unwrap_err(),
        ] {
            let is_refused = matches!(error, ChainError::Refused { code: -32601, .. });
            assert!(
                is_refused && !error.to_string().contains("send it"),
                "{error}"
            );
        }
    }
}

/// Where all fail alike, that is what the caller is told: he must know how long to leave them alone.
#[test]
fn nodes_that_all_fail_alike_are_no_missing_quorum() {
    let limits: Says = |_, _| Err(TransportFailure::RateLimited(Duration::from_secs(3)));
    for rpc in orders([limits; 3]) {
        let wait = Duration::from_secs(3);
        for error in [
            at_once(rpc.height(Commitment::Finalized)).unwrap_err(),
            at_once(rpc.latest_blockhash()).unwrap_err(),
            at_once(rpc.balance(SolanaAddress([1; 32]))).unwrap_err(),
        ] {
            assert!(
                matches!(error, ChainError::RateLimited { retry_after } if retry_after == wait),
                "{error:?}"
            );
        }
    }
    let absent: Says = |_, _| Err(TransportFailure::Connect(Arc::new(Silent)));
    for rpc in orders([absent; 3]) {
        let error = at_once(rpc.height(Commitment::Finalized)).unwrap_err();
        let ChainError::Connection { source, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(source.to_string(), "could not connect");
    }
}

fn common(method: &str, first_slot: u64) -> Result<Value, TransportFailure> {
    match method {
        "getGenesisHash" => result(&json!(GENESIS)),
        "getEpochInfo" => head_at(method, FINAL.0, FINAL.1),
        "getFirstAvailableBlock" => result(&json!(first_slot)),
        "getBlock" => result(&block_40()),
        other => panic!("{other} is not asked"),
    }
}

fn unknown_at(slot: u64) -> Result<Value, TransportFailure> {
    result(&json!({"context": {"slot": slot, "apiVersion": "2"}, "value": [null]}))
}

fn status() -> Value {
    json!({"slot": 750, "err": null, "confirmationStatus": "finalized"})
}

/// Since when those would be known that are missing.
fn since(view: &SolanaView) -> Vec<u64> {
    let sights = view.sights.iter();
    let since = sights.filter_map(|(_, sight)| match sight {
        SolanaSight::Missing { since, .. } => Some(*since),
        SolanaSight::Included { .. } => None,
    });
    since.collect()
}

/// What the outbox sees of one signature.
fn look(rpc: SolanaRpc) -> Result<SolanaView, ChainError> {
    look_for(rpc, &[SIGNATURE])
}

/// What the outbox sees of signatures, the first of which is entry 1's.
fn look_for(rpc: SolanaRpc, signatures: &[[u8; 64]]) -> Result<SolanaView, ChainError> {
    let client = at_once(SolanaClient::connect(rpc, SolanaNetwork::mainnet())).unwrap();
    let ask = Ask::LookSolana {
        account: SolanaAddress([1; 32]),
        wanted: (1..).map(EntryId).zip(signatures.iter().copied()).collect(),
    };
    match at_once(client.perform(ask))? {
        Found::Solana(view) => Ok(view),
        other => panic!("{other:?}"),
    }
}

/// Anna's ledger begins late, Ben has the transaction: no shape of an answer makes a liar's word that of one who knew.
#[test]
fn since_when_a_transaction_is_unknown_no_liar_says() {
    let liars: [Says; 5] = [
        |method, _| match method {
            "getSignatureStatuses" => {
                result(&json!({"context": {"slot": 900, "peaberryKnownSince": 0}, "value": [null]}))
            }
            method => common(method, 0),
        },
        |method, _| match method {
            "getSignatureStatuses" => result(&json!({"context": [900, 0], "value": [null]})),
            method => common(method, 0),
        },
        |method, _| match method {
            "getSignatureStatuses" => result(&json!([[900, 0], [null]])),
            method => common(method, 0),
        },
        |method, _| match method {
            "getSignatureStatuses" => {
                result(&json!({"context": [900, [[900, 0]]], "value": [null]}))
            }
            method => common(method, 0),
        },
        |method, _| match method {
            "getSignatureStatuses" => result(&json!({"value": [null], "context": {
                "slot": 900, "peaberryKnownSince": [[900, 0]],
            }})),
            method => common(method, 0),
        },
    ];
    let young: Says = |method, _| match method {
        "getSignatureStatuses" => unknown_at(900),
        method => common(method, 500),
    };
    let knows: Says = |method, _| match method {
        "getSignatureStatuses" => result(&json!({"context": {"slot": 900}, "value": [status()]})),
        method => common(method, 0),
    };
    for liar in liars {
        for rpc in orders([liar, young, knows]) {
            // To be told nothing is no harm.
            if let Ok(view) = look(rpc) {
                assert!(since(&view).iter().all(|at| *at >= 500), "{view:?}");
            }
        }
    }
}

/// One node is behind the final block, the other's ledger begins after the transaction: between them they know nothing, and
/// with a liar they are a quorum of ignorance in no single thing.
#[test]
fn who_is_behind_and_who_is_young_prove_nothing_together() {
    let liar: Says = |method, _| match method {
        "getSignatureStatuses" => unknown_at(u64::MAX),
        method => common(method, 0),
    };
    let behind: Says = |method, _| match method {
        "getSignatureStatuses" => unknown_at(FINAL.0 - 1),
        method => common(method, 0),
    };
    let young: Says = |method, _| match method {
        "getSignatureStatuses" => unknown_at(900),
        method => common(method, 790),
    };
    for rpc in orders([liar, behind, young]) {
        let view = look(rpc).unwrap();
        assert!(since(&view).iter().all(|at| *at >= 790), "{view:?}");
    }
}

/// Of one signature only who says nothing of its ledger knows nothing, beside Anna: what is known of the other does not
/// suffer for that.
#[test]
fn one_signature_of_which_nothing_is_proven_spoils_no_other() {
    const OTHER: [u8; 64] = [8; 64];
    fn is_first(asked: &Value) -> bool {
        asked.pointer("/0/0") == Some(&json!(TxId::Solana(SIGNATURE).to_string()))
    }
    let liar: Says = |method, asked| match method {
        "getSignatureStatuses" if is_first(asked) => unknown_at(900),
        "getSignatureStatuses" | "getFirstAvailableBlock" => Err(TransportFailure::TooLarge(1)),
        method => common(method, 0),
    };
    let anna: Says = |method, _| match method {
        "getSignatureStatuses" => unknown_at(900),
        method => common(method, 40),
    };
    let ben: Says = |method, asked| match method {
        "getSignatureStatuses" if is_first(asked) => Err(TransportFailure::TooLarge(1)),
        "getSignatureStatuses" => unknown_at(900),
        method => common(method, 30),
    };
    for rpc in orders([liar, anna, ben]) {
        let view = look_for(rpc, &[SIGNATURE, OTHER]).unwrap();
        let missing = SolanaSight::Missing {
            as_of: 900,
            since: 40,
        };
        assert_eq!(view.sights, [(EntryId(2), missing)]);
    }
}

/// Of one signature only young nodes are heard, of another only old ones: each is as old as those that spoke of it.
#[test]
fn each_signature_is_unknown_since_who_spoke_of_it() {
    const OTHER: [u8; 64] = [8; 64];
    fn is_first(asked: &Value) -> bool {
        asked.pointer("/0/0") == Some(&json!(TxId::Solana(SIGNATURE).to_string()))
    }
    let silent_of_first: Says = |method, asked| match method {
        "getSignatureStatuses" if is_first(asked) => Err(TransportFailure::TooLarge(1)),
        "getSignatureStatuses" => unknown_at(900),
        method => common(method, 0),
    };
    let young: Says = |method, _| match method {
        "getSignatureStatuses" => unknown_at(900),
        method => common(method, 500),
    };
    let old: Says = |method, _| match method {
        "getSignatureStatuses" => unknown_at(900),
        method => common(method, 0),
    };
    for rpc in orders([silent_of_first, young, old]) {
        let view = look_for(rpc, &[SIGNATURE, OTHER]).unwrap();
        let missing = |since| SolanaSight::Missing { as_of: 900, since };
        assert_eq!(
            view.sights,
            [(EntryId(1), missing(500)), (EntryId(2), missing(0))]
        );
    }
}

/// Two know it, or two know nothing of it and have all of the past: a third that claims to be far behind or to keep nothing
/// holds nothing up.
#[test]
fn a_liar_holds_no_sight_up() {
    let liars: [Says; 4] = [
        |method, _| match method {
            "getSignatureStatuses" => result(&json!({"context": {"slot": 0}, "value": [status()]})),
            method => common(method, 0),
        },
        |method, _| match method {
            "getSignatureStatuses" => result(&json!({"value": [status()], "context": {
                "slot": 900, "peaberryKnownSince": u64::MAX,
            }})),
            method => common(method, u64::MAX),
        },
        |method, _| match method {
            "getSignatureStatuses" => unknown_at(0),
            method => common(method, 0),
        },
        |method, _| match method {
            "getSignatureStatuses" => unknown_at(u64::MAX),
            method => common(method, u64::MAX),
        },
    ];
    let knows: Says = |method, _| match method {
        "getSignatureStatuses" => result(&json!({"context": {"slot": 900}, "value": [status()]})),
        method => common(method, 3),
    };
    let ignorant: Says = |method, _| match method {
        "getSignatureStatuses" => unknown_at(900),
        method => common(method, 3),
    };
    for liar in liars {
        for says in [knows, ignorant] {
            for rpc in orders([liar, says, says]) {
                let view = look(rpc).unwrap();
                assert_eq!(view.sights.len(), 1, "{view:?}");
                assert!(since(&view).iter().all(|at| *at <= 3), "{view:?}");
                assert!((900..u64::MAX).contains(&view.latest_slot), "{view:?}");
            }
        }
    }
}

/// A transaction's name is in its bytes: who names another has not taken this one, and is not heard.
#[test]
fn a_transaction_is_named_by_its_bytes() {
    let taken: Says = |_, _| result(&json!(TxId::Solana(SIGNATURE).to_string()));
    let liar: Says = |_, _| result(&json!(TxId::Solana([9; 64]).to_string()));
    let has_it: Says = |_, _| {
        Ok(json!({"error": {"code": -32002, "message": "", "data": {"err": "AlreadyProcessed"}}}))
    };
    let mut raw = vec![1];
    raw.extend(SIGNATURE);
    raw.push(1);
    let signed = crate::solana::SignedTransaction::from_raw(raw.into(), 0).unwrap();
    for nodes in [
        [liar, taken, has_it],
        [has_it, liar, taken],
        [taken, has_it, liar],
    ] {
        for rpc in orders(nodes) {
            at_once(rpc.send(&signed)).unwrap();
        }
    }
    let error = at_once(orders([liar, liar, taken])[0].send(&signed)).unwrap_err();
    assert!(error.may_have_been_sent(), "{error:?}");
    assert_ne!(error.transaction(), Some(TxId::Solana([9; 64])));
}

/// Where the others fail, what one node has written into an HTTP error is no answer, and how long it wants to be left alone is
/// not how long the caller waits.
#[test]
fn where_others_fail_one_node_is_not_heard() {
    let absent: Says = |_, _| Err(TransportFailure::Connect(Arc::new(Silent)));
    let refuses: Says = |_, _| {
        let reason =
            json!({"code": -32007, "message": "skipped", "data": {"err": "AlreadyProcessed"}});
        let body = json!([1, null, reason]).to_string().into_bytes().into();
        Err(TransportFailure::Status { status: 500, body })
    };
    let limits: Says = |_, _| Err(TransportFailure::RateLimited(Duration::MAX));
    let signed = crate::solana::SignedTransaction::from_raw(vec![1; 66].into(), 0).unwrap();
    for liar in [refuses, limits] {
        for rpc in orders([liar, absent, absent]) {
            let told = at_once(rpc.block(7));
            assert!(
                matches!(told, Err(ChainError::Connection { .. })),
                "{told:?}"
            );
            let told = at_once(rpc.send(&signed));
            assert!(
                matches!(told, Err(ChainError::Connection { .. })),
                "{told:?}"
            );
        }
    }
}

/// A transaction is over when who knows nothing of it goes back to the block that dates it, one node or several.
#[test]
fn who_does_not_go_back_far_enough_finds_nothing_dropped() {
    let young: Says = |method, _| match method {
        "getSignatureStatuses" => unknown_at(900),
        method => common(method, 500),
    };
    let alone = || SolanaRpc::new(Arc::new(Scripted(young)));
    for (dated, is_over) in [(39, false), (40, true)] {
        let raw = vec![1; 66];
        let signed = crate::solana::SignedTransaction::from_raw(raw.into(), dated + 150).unwrap();
        for rpc in [alone(), orders([young; 3])[0].clone()] {
            let client = at_once(SolanaClient::connect(rpc, SolanaNetwork::mainnet())).unwrap();
            let status = at_once(client.status_of(&signed)).unwrap();
            assert_eq!(status == TransactionStatus::Dropped, is_over, "{status:?}");
        }
    }
}
