//! A node that keeps what it was asked, text by text.

use std::time::Duration;

use futures_util::future::{join, join_all};
use serde_json::{Value, json};

use super::answer::Said;
use super::*;
use crate::hostile::each_spoiled;

/// What a node answers to a batch, of its requests.
type Says = fn(Vec<Value>) -> Result<Value, TransportFailure>;

struct Node {
    says: Says,
    asked: Mutex<Vec<Bytes>>,
}

#[async_trait]
impl RpcTransport for Node {
    async fn exchange(&self, request: Bytes) -> Result<Bytes, TransportFailure> {
        self.asked.lock().push(request.clone());
        let answer = match serde_json::from_slice(&request).unwrap() {
            Value::Array(requests) => (self.says)(requests)?,
            request => answer_to(&request),
        };
        Ok(answer.to_string().into_bytes().into())
    }
}

impl Node {
    /// How many requests each of its exchanges has had since the last time.
    fn sizes(&self) -> Vec<usize> {
        let size = |text: &Bytes| match serde_json::from_slice(text).unwrap() {
            Value::Array(requests) => requests.len(),
            _ => 1,
        };
        let asked = std::mem::take(&mut *self.asked.lock());
        asked.iter().map(size).collect()
    }
}

fn behind(requests_max: usize, says: Says) -> (Batching, Arc<Node>) {
    let asked = Mutex::default();
    let node = Arc::new(Node { says, asked });
    (Batching::new(node.clone(), requests_max), node)
}

fn answer_to(request: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": request["id"], "result": request["params"]})
}

fn error_to(id: &Value, code: i64, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}

fn all_answered(requests: Vec<Value>) -> Result<Value, TransportFailure> {
    // In whatever order: section 6 leaves it to the node.
    Ok(requests.iter().rev().map(answer_to).collect())
}

fn status<T>(status: u16, body: impl ToString) -> Result<T, TransportFailure> {
    let body = body.to_string().into_bytes().into();
    Err(TransportFailure::Status { status, body })
}

fn request(id: u64, method: &str) -> Bytes {
    let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": [id]});
    request.to_string().into_bytes().into()
}

fn nonce(id: u64) -> Bytes {
    request(id, "eth_getTransactionCount")
}

fn payment(id: u64) -> Bytes {
    request(id, BROADCAST)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

type Answer = Result<Bytes, TransportFailure>;

/// Asks all of them at once.
fn at_once(batching: &Batching, requests: impl IntoIterator<Item = Bytes>) -> Vec<Answer> {
    let asked = requests.into_iter().map(|one| batching.exchange(one));
    run(join_all(asked))
}

/// What was answered: to each method here it is the request's own id. `None` where the request failed, or was told of an error.
fn said(answer: &Answer) -> Option<u64> {
    let answer: Value = serde_json::from_slice(answer.as_ref().ok()?).unwrap();
    answer["result"][0].as_u64()
}

fn all_said(answers: &[Answer]) -> Vec<Option<u64>> {
    answers.iter().map(said).collect()
}

fn nonces(batching: &Batching, count: u64) -> Vec<Option<u64>> {
    all_said(&at_once(batching, (0..count).map(nonce)))
}

fn payments(batching: &Batching, count: u64) -> Vec<Answer> {
    at_once(batching, (0..count).map(payment))
}

fn each(count: u64) -> Vec<Option<u64>> {
    (0..count).map(Some).collect()
}

/// What is asked at once goes as one, and everybody gets his own answer.
#[test]
fn what_is_asked_at_once_goes_together() {
    let (batching, node) = behind(16, all_answered);
    assert_eq!(nonces(&batching, 5), each(5));
    assert_eq!(node.sizes(), [5]);
    assert_eq!(nonces(&batching, 40), each(40));
    assert_eq!(node.sizes(), [16, 16, 8]);
    let mixed = [nonce(0), payment(1), nonce(2), payment(3)];
    assert_eq!(all_said(&at_once(&batching, mixed)), each(4));
    assert_eq!(
        node.sizes(),
        [2, 2],
        "a slow transaction holds up no question"
    );
}

/// A request that nothing goes with is sent as it was given, and its failure is its own.
#[test]
fn what_is_asked_alone_goes_as_it_is() {
    let (batching, node) = behind(16, all_answered);
    assert_eq!(all_said(&at_once(&batching, [nonce(7)])), [Some(7)]);
    assert_eq!(*node.asked.lock(), [nonce(7)]);
}

/// What may take long, bring much or do twice what shall be done once goes with nothing else.
#[test]
fn what_may_do_harm_goes_by_itself() {
    let (batching, node) = behind(16, all_answered);
    for method in ["eth_call", "eth_getLogs", "eth_sendTransaction"] {
        let answers = at_once(&batching, (0..3).map(|id| request(id, method)));
        assert_eq!(all_said(&answers), each(3));
        assert_eq!(node.sizes(), [1, 1, 1], "{method}");
    }
    let named = json!({"jsonrpc": "2.0", "id": "a", "method": "eth_chainId", "params": [1]});
    let named = Bytes::from(named.to_string().into_bytes());
    for unknown in [named, Bytes::from_static(b"null")] {
        let answers = at_once(&batching, [unknown.clone(), nonce(1), nonce(2)]);
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(node.sizes(), [1, 2]);
    }
}

/// Two requests of one id cannot be told apart in one batch, and do not break up the batch of the others.
#[test]
fn one_id_is_in_a_batch_once() {
    let (batching, node) = behind(16, all_answered);
    let answers = at_once(&batching, [nonce(1), nonce(2), nonce(1), nonce(3)]);
    assert_eq!(all_said(&answers), [1, 2, 1, 3].map(Some));
    assert_eq!(node.sizes(), [1, 3]);
}

/// Ways to say that a batch is not looked into.
const REFUSALS: [Says; 5] = [
    |_| {
        Ok(error_to(
            &Value::Null,
            INVALID,
            "batch request limit exceeded",
        ))
    },
    |_| Ok(error_to(&Value::Null, -32700, "parse error")),
    // geth's: a list, and the first request's id.
    |requests| {
        Ok(json!([error_to(
            &requests[0]["id"],
            INVALID,
            "batch too large"
        )]))
    },
    |_| Ok(json!([error_to(&Value::Null, INVALID, "batch too large")])),
    |_| {
        status(
            403,
            error_to(&Value::Null, INVALID, "batches are not allowed"),
        )
    },
];
const INVALID: i64 = -32600;

/// A node that takes no batches, or none so large, is asked one by one, transactions too, and gets smaller ones.
#[test]
fn what_a_node_does_not_look_into_is_asked_again_one_by_one() {
    for says in REFUSALS {
        let (batching, node) = behind(8, says);
        assert_eq!(nonces(&batching, 8), each(8));
        assert_eq!(node.sizes(), [8, 1, 1, 1, 1, 1, 1, 1, 1]);
        assert_eq!(all_said(&payments(&batching, 4)), each(4));
        assert_eq!(node.sizes(), [4, 1, 1, 1, 1]);
        assert_eq!(nonces(&batching, 2), each(2));
        assert_eq!(node.sizes(), [2, 1, 1]);
        assert_eq!(nonces(&batching, 8), each(8));
        assert_eq!(node.sizes(), [1; 8]);
    }
}

/// Ways in which a batch comes back without answers although it may have been carried out.
const RIDDLES: [Says; 17] = [
    // Gateways say so also of what they have passed on.
    |_| Ok(error_to(&Value::Null, -32000, "batch limit exceeded")),
    |_| status(504, error_to(&Value::Null, -32015, "gateway timeout")),
    |_| status(404, "there is no such page"),
    |_| status(402, "batches are for who pays"),
    // More than was asked.
    |_| {
        Ok((0..9)
            .map(|id| answer_to(&json!({"id": id, "params": [id]})))
            .collect())
    },
    |_| Err(TransportFailure::TooLarge(9)),
    |_| Ok(json!([])),
    |_| Ok(json!({})),
    |_| Ok(json!({"jsonrpc": "2.0", "id": 0, "result": {"beans": []}})),
    |_| Ok(json!("a web page")),
    |_| Ok(json!([{"id": null, "error": {"code": -32000, "message": "too many"}}])),
    |_| Ok(json!([null, [7], 7])),
    // A provider that puts its own ids.
    |requests| {
        let own = |request: &Value| json!({"id": format!("x:{}", request["id"]), "result": [9]});
        Ok(requests.iter().map(own).collect())
    },
    |_| status(400, "bad request"),
    |_| status(413, "too large"),
    |_| status(500, ""),
    |_| status(500, json!([])),
];

/// Questions are asked again wherever it is not known what became of them. Of transactions it is said that they may have been
/// sent, whatever the next try might bring.
#[test]
fn what_came_back_without_an_answer_is_only_asked_again_if_it_is_a_question() {
    for (at, says) in RIDDLES.into_iter().enumerate() {
        let (batching, node) = behind(8, says);
        assert_eq!(nonces(&batching, 3), each(3), "{at}");
        assert_eq!(node.sizes(), [3, 1, 1, 1], "{at}");
        let (batching, node) = behind(8, says);
        for answer in payments(&batching, 3) {
            assert!(matches!(answer, Err(TransportFailure::Broken(_))), "{at}");
        }
        assert_eq!(node.sizes(), [3], "{at}");
        assert_eq!(all_said(&payments(&batching, 3)), each(3), "{at}");
        assert_eq!(node.sizes(), [1, 1, 1], "{at}");
    }
}

/// What breaks a batch says the same of each of its requests, and nothing is sent again: the node may be in need of rest.
#[test]
fn a_failure_is_everybodys() {
    type Fits = fn(&TransportFailure) -> bool;
    fn cut() -> TransportFailure {
        TransportFailure::Broken(Arc::from(Box::from("cut")))
    }
    let failures: [(Says, Fits); 4] = [
        (
            |_| Err(cut()),
            |it| matches!(it, TransportFailure::Broken(_)),
        ),
        (
            |_| Err(TransportFailure::Connect(Arc::new(cut()))),
            |it| matches!(it, TransportFailure::Connect(_)),
        ),
        (
            |_| status(502, ""),
            |it| matches!(it, TransportFailure::Status { status: 502, .. }),
        ),
        (
            |_| status(401, "who are you"),
            |it| matches!(it, TransportFailure::Status { status: 401, .. }),
        ),
    ];
    for (says, fits) in failures {
        let (batching, node) = behind(8, says);
        for requests in [[0, 1, 2].map(nonce), [0, 1, 2].map(payment)] {
            for answer in at_once(&batching, requests) {
                assert!(fits(&answer.unwrap_err()));
            }
            assert_eq!(node.sizes().iter().sum::<usize>(), 3);
            batching.inner.size.recover();
        }
    }
}

/// Who is to leave a node alone does not ask again at once. A transaction may be among those that were taken before it was
/// too many, unless the node says that it has looked at none.
#[test]
fn a_limit_is_kept() {
    let by_status: Says = |_| Err(TransportFailure::RateLimited(Duration::from_secs(7)));
    let by_one: Says = |requests| {
        let limit = error_to(&requests[1]["id"], 429, "slow down");
        Ok(json!([answer_to(&requests[0]), limit]))
    };
    let as_a_whole: Says = |_| Ok(error_to(&Value::Null, 429, "slow down"));

    let (batching, node) = behind(8, by_status);
    for answer in at_once(&batching, (0..3).map(nonce)) {
        let limited = answer.unwrap_err();
        assert!(matches!(limited, TransportFailure::RateLimited(after) if after.as_secs() == 7));
    }
    assert_eq!(node.sizes(), [3]);
    let (batching, node) = behind(8, by_status);
    for answer in payments(&batching, 3) {
        assert!(matches!(answer, Err(TransportFailure::Broken(_))));
    }
    assert_eq!(node.sizes(), [3]);

    let (batching, node) = behind(8, by_one);
    let answers = at_once(&batching, (0..3).map(nonce));
    assert_eq!(said(&answers[0]), Some(0));
    for limited in &answers[1..] {
        assert!(matches!(limited, Err(TransportFailure::RateLimited(_))));
    }
    assert_eq!(node.sizes(), [3]);
    let (batching, _) = behind(8, by_one);
    assert!(matches!(
        payments(&batching, 3)[2],
        Err(TransportFailure::Broken(_))
    ));

    let (batching, node) = behind(8, as_a_whole);
    for answer in at_once(&batching, (0..3).map(nonce)) {
        assert!(matches!(answer, Err(TransportFailure::RateLimited(_))));
    }
    let (batching, _) = behind(8, as_a_whole);
    for answer in payments(&batching, 3) {
        assert!(matches!(answer, Err(TransportFailure::Broken(_))));
    }
    assert_eq!(node.sizes(), [3]);
}

/// Providers also refuse a batch by an error to each of its requests. So an error in a batch is no answer to a question; a
/// transaction keeps the node's word, and goes by itself the next time.
#[test]
fn one_error_to_each_may_be_the_batchs_own() {
    fn refused(requests: Vec<Value>) -> Value {
        let each = requests
            .iter()
            .map(|one| error_to(&one["id"], 31, "three are enough"));
        each.collect()
    }
    let refusals: [Says; 2] = [
        |requests| Ok(refused(requests)),
        |requests| status(500, refused(requests)),
    ];
    for says in refusals {
        let (batching, node) = behind(8, says);
        assert_eq!(nonces(&batching, 4), each(4));
        assert_eq!(node.sizes(), [4, 1, 1, 1, 1]);
        assert_eq!(nonces(&batching, 2), each(2));
        assert_eq!(node.sizes(), [2, 1, 1]);
        let (batching, node) = behind(8, says);
        assert!(payments(&batching, 2).iter().all(Result::is_ok));
        assert_eq!(node.sizes(), [2]);
        assert_eq!(all_said(&payments(&batching, 2)), each(2));
        assert_eq!(node.sizes(), [1, 1]);
    }
}

/// What geth did not come to, as the batch took too long or brought too much, is asked for by itself. A transaction keeps the
/// node's word: others say the same of what they do not take.
#[test]
fn what_was_cut_short_is_no_answer_to_a_question() {
    let says: Says = |requests| {
        let too_large = error_to(&requests[1]["id"], -32003, "response too large");
        let too_late = error_to(&requests[2]["id"], -32002, "request timed out");
        Ok(json!([answer_to(&requests[0]), too_large, too_late]))
    };
    let (batching, node) = behind(8, says);
    assert_eq!(nonces(&batching, 3), each(3));
    assert_eq!(node.sizes(), [3, 1, 1]);
    let (batching, node) = behind(8, says);
    let answers = payments(&batching, 3);
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(all_said(&answers), [Some(0), None, None]);
    assert_eq!(node.sizes(), [3]);
}

/// Nodes give errors other statuses than 200: what came with it may be the answer.
#[test]
fn answers_come_with_any_status() {
    let (batching, node) = behind(8, |requests| {
        status(502, requests.iter().map(answer_to).collect::<Value>())
    });
    assert_eq!(nonces(&batching, 3), each(3));
    assert_eq!(node.sizes(), [3]);
}

/// Batches grow again when much has gone well, by batches as by single requests, and no further than is wanted.
#[test]
fn batches_grow_back() {
    let (batching, node) = behind(8, all_answered);
    drop(batching.inner.size.trial(2));
    let mut largest = Vec::new();
    for _ in 0..300 {
        assert_eq!(nonces(&batching, 20), each(20));
        largest.extend(node.sizes().into_iter().max());
    }
    largest.dedup();
    assert_eq!(largest, [1, 2, 4, 8]);
}

/// What nobody answers is no reason for larger batches.
#[test]
fn an_outage_is_no_calm() {
    struct Down;
    #[async_trait]
    impl RpcTransport for Down {
        async fn exchange(&self, _: Bytes) -> Result<Bytes, TransportFailure> {
            Err(unanswered())
        }
    }
    let batching = Batching::new(Arc::new(Down), 8);
    drop(batching.inner.size.trial(2));
    for id in 0..1_000 {
        assert_eq!(all_said(&at_once(&batching, [nonce(id)])), [None]);
    }
    assert_eq!(batching.inner.size.now(), 1);
}

/// A node that takes no batches is tried ever more rarely, and one that takes them all again is forgiven.
#[test]
fn what_goes_wrong_again_is_tried_more_rarely() {
    let size = Size::new(2);
    let calm_until_larger = || {
        (1..1_000_000).find(|_| {
            size.went_well();
            size.now() > 1
        })
    };
    for calm in [256, 512, 1_024] {
        drop(size.trial(2));
        assert_eq!(calm_until_larger(), Some(calm));
    }
    for _ in 0..20 {
        drop(size.trial(2));
    }
    assert_eq!(calm_until_larger(), Some(1 << 16));
    for _ in 0..1 << 16 {
        size.trial(2).went_well();
    }
    drop(size.trial(2));
    assert_eq!(calm_until_larger(), Some(256));
}

/// A node that never answers batches must not be asked by them for ever.
#[test]
fn patience_that_ends_is_a_failure_too() {
    let (batching, _) = behind(8, all_answered);
    drop(batching.inner.size.trial(8));
    assert_eq!(batching.inner.size.now(), 4);
    struct Silent;
    #[async_trait]
    impl RpcTransport for Silent {
        async fn exchange(&self, _: Bytes) -> Result<Bytes, TransportFailure> {
            std::future::pending().await
        }
    }
    let batching = Batching::new(Arc::new(Silent), 8);
    run(async {
        let mut asked = Box::pin(join_all((0..4).map(|id| batching.exchange(nonce(id)))));
        while batching.inner.questions.lock().as_ref().is_none_or(|open| {
            let requests = open.requests.lock();
            requests.is_some()
        }) {
            assert!((&mut asked).now_or_never().is_none());
        }
        assert!((&mut asked).now_or_never().is_none());
    });
    assert_eq!(batching.inner.size.now(), 2);
}

/// Who asks first and loses patience, or is not looked after for a while, takes nothing from the others. What was given up
/// before the batch left is not sent.
#[test]
fn a_batch_goes_without_who_opened_it() {
    let (batching, node) = behind(8, all_answered);
    let mut first = batching.exchange(nonce(0));
    assert!((&mut first).now_or_never().is_none());
    let others = at_once(&batching, [nonce(1), nonce(2)]);
    assert_eq!(all_said(&others), [Some(1), Some(2)]);
    assert_eq!(node.sizes(), [3], "who is not looked after is still there");
    assert_eq!(said(&run(first)), Some(0));
    assert_eq!(node.sizes(), [] as [usize; 0]);

    let mut given_up = batching.exchange(payment(3));
    assert!((&mut given_up).now_or_never().is_none());
    let mut kept = batching.exchange(payment(4));
    assert!((&mut kept).now_or_never().is_none());
    drop(given_up);
    assert_eq!(said(&run(kept)), Some(4));
    assert_eq!(*node.asked.lock(), [payment(4)]);
}

/// What is asked when a batch has left goes with the next.
#[test]
fn a_batch_that_has_left_takes_nobody() {
    let (batching, node) = behind(8, all_answered);
    let later = async {
        others_turn().await;
        others_turn().await;
        batching.exchange(nonce(9)).await
    };
    let (first, (second, third)) = run(join(
        batching.exchange(nonce(0)),
        join(batching.exchange(nonce(1)), later),
    ));
    assert_eq!(all_said(&[first, second, third]), [0, 1, 9].map(Some));
    assert_eq!(node.sizes(), [2, 1]);
}

/// Whatever a node says, nobody panics, and nobody gets what is not his.
#[test]
fn any_answer_is_read() {
    let batch = br#"[{"jsonrpc":"2.0","id":1,"result":"0x7"},{"id":2,"error":{"code":-3,"message":"[{\"id\":5}]"}}]"#;
    assert_eq!(read_any_batch(batch), 2);
    for (answer, count) in [
        ("", 0),
        ("[", 0),
        ("{\"id\":1}", 0),
        ("[{\"id\":1}{\"id\":2}]", 0),
        ("[]", 0),
        (
            "[[],[7],[7,null],null,1,\"a\",{\"id\":-1},{\"id\":1.5},{\"id\":18446744073709551616}]",
            0,
        ),
        ("[{\"id\":1,\"result\":2},{\"id\":1,\"result\":3}]", 1),
        (
            "[{\"id\":1,\"result\":\"\\ud800\"},{\"id\":2,\"result\":1e999}]",
            2,
        ),
        ("[{\"id\":1,\"error\":null},{\"id\":2,\"error\":7}]", 1),
    ] {
        assert_eq!(read_any_batch(answer.as_bytes()), count, "{answer}");
    }
    let deep = format!(
        "[{{\"id\":1,\"result\":{}{}}}]",
        "[".repeat(200),
        "]".repeat(200)
    );
    assert!(read_any_batch(deep.as_bytes()) <= 1);
    each_spoiled(&[batch], |answer| {
        read_any_batch(answer);
    });
    let none = Bytes::from_static(b"\xff");
    let requests = BTreeMap::from([(1, nonce(1)), (2, nonce(2))]);
    assert_eq!(read(&none, Kind::Question, &requests), Said::Nothing);
    let foreign = Bytes::from_static(b"[{\"id\":3,\"result\":1}]");
    let said = read(&foreign, Kind::Broadcast, &requests);
    assert_eq!(said, Said::Each(Answers::default()));
}
