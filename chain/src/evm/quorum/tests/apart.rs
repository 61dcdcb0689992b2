//! Honest nodes are a block or a short fork apart, and some are far behind.

use futures_util::FutureExt;
use parking_lot::Mutex;

use super::super::*;
use crate::evm::scripted::{Scripted, chain};

const PAID: B256 = B256::repeat_byte(7);
const PAYER: Address = Address::repeat_byte(1);
/// The newest block, of which two forks have each their own.
const TIP: u64 = 10;

/// The block in which a node has the payment; `None` while it waits.
fn seen(block: Option<Block>) -> SeenTransaction {
    SeenTransaction {
        hash: PAID,
        from: PAYER,
        nonce: 3,
        block_hash: block.map(|block| block.hash),
    }
}

/// On another fork it costs another price.
fn receipt(block: Block, gas_price: u64) -> Receipt {
    Receipt {
        transaction: PAID,
        is_success: true,
        block_number: block.number,
        block_hash: block.hash,
        index: 0,
        from: PAYER,
        to: Some(Address::repeat_byte(2)),
        contract: None,
        gas_used: 21_000,
        gas_price: U256::from(gas_price),
        logs: Vec::new(),
    }
}

fn log(block: Block) -> Log {
    Log {
        address: Address::repeat_byte(2).into(),
        topics: Vec::new(),
        data: Bytes::new(),
        block_number: block.number,
        block_hash: block.hash,
        transaction: TxId::Evm(PAID),
        transaction_index: 0,
        index: 0,
    }
}

/// A node whose newest block is this fork's, with the payment in it.
fn on_fork(fork: u8) -> Scripted {
    let blocks = chain(TIP, fork, TIP);
    let tip = *blocks.last().unwrap();
    Scripted {
        blocks,
        final_number: 4,
        nonce: 4,
        transactions: [(PAID, seen(Some(tip)))].into(),
        receipts: [(PAID, receipt(tip, 100 + u64::from(fork)))].into(),
        logs: vec![log(tip)],
        ..Scripted::default()
    }
}

/// A node that lacks the newest block.
fn behind() -> Scripted {
    Scripted {
        blocks: chain(TIP - 1, 0, TIP),
        final_number: 3,
        nonce: 4,
        transactions: [(PAID, seen(None))].into(),
        ..Scripted::default()
    }
}

/// A quorum of two of these three, and who is named.
fn quorum(nodes: [Scripted; 3]) -> (QuorumRpc, Arc<Mutex<Vec<Dissent>>>) {
    let named = Arc::new(Mutex::new(Vec::new()));
    let own = named.clone();
    let nodes = nodes.into_iter().enumerate().map(|(index, node)| {
        let node: Arc<dyn EvmView> = Arc::new(node);
        (index.to_string(), node)
    });
    let rpc = QuorumRpc::new(nodes.collect(), 2)
        .with_report(move |dissent| own.lock().push(dissent.clone()));
    (rpc, named)
}

fn now<T>(asked: impl Future<Output = T>) -> T {
    asked.now_or_never().expect("nothing here waits")
}

/// Asks everything that there is to ask; that there may be no quorum is nobody's fault.
fn ask_everything(rpc: &QuorumRpc) {
    let newest = [TIP - 1, TIP].map(BlockAt::Number);
    let ats = [BlockAt::Latest, BlockAt::Final, BlockAt::Pending];
    let request = CallRequest::new(PAYER, []);
    for at in ats.into_iter().chain(newest) {
        drop(now(rpc.block(at)));
        drop(now(rpc.balance(PAYER, at)));
        drop(now(rpc.nonce(PAYER, at)));
        drop(now(rpc.code(PAYER, at)));
        drop(now(rpc.call(&request, at)));
    }
    drop(now(rpc.transaction(PAID)));
    drop(now(rpc.receipt(PAID)));
    for range in [0..=TIP, TIP..=TIP] {
        let range = LogRange::Numbers(range);
        drop(now(rpc.logs(&LogFilter::default(), &range)));
    }
    for fork in [1, 2] {
        let tip = chain(TIP, fork, TIP).last().unwrap().hash;
        let range = LogRange::Block(tip);
        drop(now(rpc.logs(&LogFilter::default(), &range)));
        drop(now(rpc.balance(PAYER, BlockAt::Hash(tip))));
    }
}

/// Nor does any of them lie who has another newest block, or none, whatever is asked.
#[test]
fn honest_nodes_a_block_apart_are_never_named() {
    let all = [on_fork(1), on_fork(2), behind()];
    for first in &all {
        for second in &all {
            for third in &all {
                let (rpc, named) = quorum([first.clone(), second.clone(), third.clone()]);
                ask_everything(&rpc);
                assert!(named.lock().is_empty(), "{:?}", named.lock());
            }
        }
    }
}

/// That a transaction is known does not wait for two nodes to see it in one block.
#[test]
fn a_transaction_is_known_wherever_it_is() {
    for (nodes, place) in [
        (
            [on_fork(1), on_fork(1), behind()],
            seen(chain(TIP, 1, TIP).last().copied()),
        ),
        ([on_fork(1), on_fork(2), behind()], seen(None)),
        ([on_fork(1), behind(), Scripted::default()], seen(None)),
    ] {
        let (rpc, _) = quorum(nodes);
        assert_eq!(now(rpc.transaction(PAID)).unwrap(), Some(place));
    }
}

/// What a hash fixes has one answer, and what is final, too: who gives another is named, alone.
#[test]
fn who_says_otherwise_of_what_is_fixed_is_named() {
    let tip = *on_fork(1).blocks.last().unwrap();
    let mut undone = on_fork(1);
    undone.receipts.get_mut(&PAID).unwrap().is_success = false;
    let mut anothers = on_fork(1);
    anothers.receipts.get_mut(&PAID).unwrap().from = Address::ZERO;
    let mut renamed = on_fork(1);
    renamed.transactions.get_mut(&PAID).unwrap().nonce = 9;
    let mut grown = on_fork(1);
    grown.blocks.last_mut().unwrap().parent = B256::ZERO;
    let mut counting = on_fork(1);
    counting.blocks.last_mut().unwrap().number = 77;
    let mut left = on_fork(1);
    left.blocks = chain(TIP, 3, 4);
    let mut emptied = on_fork(1);
    emptied.logs.clear();
    let mut poor = on_fork(1);
    poor.nonce = 0;
    type Question = fn(&QuorumRpc, Block);
    let questions: [(Scripted, Question); 8] = [
        (undone, |rpc, _| drop(now(rpc.receipt(PAID)))),
        (anothers, |rpc, _| drop(now(rpc.receipt(PAID)))),
        (renamed, |rpc, _| drop(now(rpc.transaction(PAID)))),
        (grown, |rpc, _| drop(now(rpc.block(BlockAt::Latest)))),
        (counting, |rpc, _| {
            drop(now(rpc.block(BlockAt::Number(TIP))));
        }),
        (left, |rpc, _| drop(now(rpc.block(BlockAt::Final)))),
        (emptied, |rpc, tip| {
            let range = LogRange::Block(tip.hash);
            drop(now(rpc.logs(&LogFilter::default(), &range)));
        }),
        (poor, |rpc, _| {
            drop(now(rpc.nonce(PAYER, BlockAt::Number(TIP))));
        }),
    ];
    for (index, (liar, ask)) in questions.into_iter().enumerate() {
        let (rpc, named) = quorum([on_fork(1), liar, on_fork(1)]);
        ask(&rpc, tip);
        let names: Vec<String> = named.lock().iter().map(|one| one.node.clone()).collect();
        assert_eq!(names, ["1"], "question {index}");
    }
}

/// A liar and a node that has not come to a block can together not say that there is no receipt up to it.
#[test]
fn only_who_has_come_to_a_block_says_that_no_receipt_is_there() {
    let knows = on_fork(1);
    let at = *knows.blocks.last().unwrap();
    let mut liar = on_fork(1);
    liar.receipts.clear();
    let mut ignorant = on_fork(1);
    ignorant.receipts.clear();
    let mut elsewhere = on_fork(2);
    elsewhere.receipts.clear();
    for (other, is_lacking) in [(behind(), false), (elsewhere, false), (ignorant, true)] {
        for turned in 0..3 {
            let mut nodes = [knows.clone(), liar.clone(), other.clone()];
            nodes.rotate_left(turned);
            let (rpc, named) = quorum(nodes);
            // So it would be taken for missing.
            assert_eq!(now(rpc.receipt(PAID)).unwrap(), None);
            let told = now(rpc.lacks_receipts(&[PAID], at, u64::MAX));
            assert!(
                matches!(told[..], [Ok(told)] if told == is_lacking),
                "{told:?}"
            );
            assert!(named.lock().is_empty(), "{:?}", named.lock());
        }
    }
}
