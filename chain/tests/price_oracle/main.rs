//! What `PriceOracle` stores and refuses, and the gas that it takes: on a development chain, and on Anvil.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test's helpers fail as loudly as the test, and say what they skip"
)]

mod breaker;
mod configurations;
#[path = "../dice/mod.rs"]
#[allow(dead_code, reason = "other tests roll for places in lists")]
mod dice;
mod gas;
mod members;
mod model;
#[path = "../node/mod.rs"]
mod node;
mod reads;
mod reports;

use std::sync::Arc;

use alloy_sol_types::{SolCall, sol};
use peaberry_chain::contract::Abi;
use peaberry_chain::dev::DevOptions;
use peaberry_chain::evm::{EvmView, Fees, Receipt, Transaction};
use peaberry_chain::primitives::{B256, Bytes, U256, aliases::U136, keccak256};
use peaberry_chain::wallet::EvmKey;
use peaberry_chain::{BlockAt, CallRequest, ChainError, EvmAddress, Revert};

use tokio::runtime::Runtime;

use self::members::Members;
use self::node::{Node, NodeKind};
use self::oracle::{Configuration, FeedParameters};

const ORACLE: &[u8] = include_bytes!("../../contracts/artifacts/PriceOracle.json");
const FEED: &[u8] = include_bytes!("../../contracts/artifacts/PriceFeed.json");
/// When the tests' chains begin, in seconds.
const START_S: u64 = 1_735_689_600;
const REPORT_AGE_MAX_S: u64 = 600;
/// From one block to the next.
const BLOCK_S: u64 = 12;

#[allow(
    missing_debug_implementations,
    clippy::all,
    clippy::indexing_slicing,
    reason = "the macro's code, named as the contracts name things"
)]
mod oracle {
    super::sol! {
        struct FeedParameters {
            string description;
            uint8 decimals;
            uint32 breakerBps;
            uint128 least;
            uint128 greatest;
        }

        struct Configuration {
            bytes32 digest;
            uint8 scheme;
            uint8 threshold;
            bytes keys;
            uint8 members;
            uint24 reportAgeMax;
            FeedParameters[] feeds;
        }

        function grantRole(bytes32 role, address account);
        function configure(Configuration next);
        function rotate(Configuration next, bytes32[] attestation);
        function transmit(
            uint136 head,
            bytes32 observations,
            bytes32[] words
        );
        function reset(uint256 feed);
        function resetByQuorum(uint256 feed, bytes32[] attestation);
        struct FeedState {
            uint32 epoch;
            uint32 round;
            bool isHalted;
            uint64 opensAt;
        }

        function isHalted(uint256 feed) returns (bool);
        function feedStates() returns (uint32 generation, FeedState[] states);
        function latestRound(uint256 feed) returns (uint32 epoch, uint32 round);
        function freshAnswer(uint256 feed, uint256 ageMax) returns (int256);
        function generation() returns (uint32);
        function latestRoundData() returns (uint80, int256, uint256, uint256, uint80);
        function getRoundData(uint80 roundId) returns (uint80, int256, uint256, uint256, uint80);
        function latestRoundDataOf(uint256 feed) returns (uint80, int256, uint256, uint256, uint80);
        function getRoundDataOf(uint256 feed, uint80 roundId) returns (uint80, int256, uint256, uint256, uint80);
        function decimals() returns (uint8);
        function description() returns (string);
        function version() returns (uint256);
    }
}

/// An oracle contract, whoever may configure it, and its members.
struct World {
    node: Node,
    rpc: Arc<dyn EvmView>,
    /// The connection to the node lives in it.
    runtime: Runtime,
    owner: EvmKey,
    address: EvmAddress,
    abi: Abi,
    nonce: u64,
    /// The time of the next block.
    now_s: u64,
    members: Members,
    configuration: Configuration,
}

/// What is signed, field by field.
#[derive(Clone, Debug)]
struct Report {
    generation: u32,
    config: B256,
    epoch: u32,
    round: u32,
    observed_at_ms: u64,
    observations: B256,
    answers: Vec<B256>,
}

impl World {
    /// With `feeds` feeds whose breaker trips at a tenth, keeping `history` answers of each.
    fn new(kind: NodeKind, members: Members, feeds: u8, history: u16) -> Self {
        Self::of(kind, ORACLE, members, feeds, history)
    }

    /// The rules of its chain, on which `owner` can pay.
    fn options(owner: EvmAddress) -> DevOptions {
        let options = DevOptions {
            genesis_timestamp_s: START_S,
            ..DevOptions::default()
        };
        options.fund(owner)
    }

    /// The same of another artefact.
    fn of(kind: NodeKind, artefact: &[u8], members: Members, feeds: u8, history: u16) -> Self {
        let owner = EvmKey::from_bytes(&[7; 32]).unwrap();
        let account = owner.evm_address();
        let configuration = configuration(&members, feeds);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        let node = runtime.block_on(Node::of(kind, Self::options(account)));
        let mut world = Self {
            rpc: node.direct(),
            node,
            runtime,
            address: account.create(0),
            owner,
            abi: Abi::from_json(ORACLE).unwrap(),
            nonce: 0,
            now_s: START_S,
            members,
            configuration: configuration.clone(),
        };
        let artefact: serde_json::Value = serde_json::from_slice(artefact).unwrap();
        let code: Bytes = artefact["bytecode"].as_str().unwrap().parse().unwrap();
        let history = B256::from(U256::from(history));
        let words = [history.as_slice(), account.into_word().as_slice()].concat();
        world.create([&code[..], &words].concat().into());
        for role in ["CONFIGURER_ROLE", "RESETTER_ROLE"] {
            let role = keccak256(role);
            world.accepted(&oracle::grantRoleCall { role, account });
        }
        world.accepted(&oracle::configureCall {
            next: configuration,
        });
        world
    }

    /// Deploys a contract, and says where it is.
    fn create(&mut self, code: Bytes) -> EvmAddress {
        let address = self.owner.evm_address().create(self.nonce);
        let hash = self.send(None, code);
        assert!(self.receipt(hash).is_success);
        address
    }

    /// Carries out a call, and returns its receipt.
    fn accepted(&mut self, call: &impl SolCall) -> Receipt {
        let hash = self.send(Some(self.address), call.abi_encode().into());
        let receipt = self.receipt(hash);
        assert!(receipt.is_success, "{:?}", self.reason(hash));
        receipt
    }

    /// Whether a call was carried out.
    fn done(&mut self, call: &impl SolCall) -> bool {
        let hash = self.send(Some(self.address), call.abi_encode().into());
        self.receipt(hash).is_success
    }

    /// Carries out a call that must be undone, and returns the name of the error.
    fn refused(&mut self, call: &impl SolCall) -> String {
        let hash = self.send(Some(self.address), call.abi_encode().into());
        assert!(!self.receipt(hash).is_success, "it was accepted");
        self.reason(hash)
    }

    fn send(&mut self, to: Option<EvmAddress>, data: Bytes) -> B256 {
        let transaction = Transaction {
            chain: self.node.network().chain,
            nonce: self.nonce,
            gas_limit: 8_000_000,
            fees: Fees::Eip1559 {
                fee_max: 10_000_000_000,
                tip_max: 1,
            },
            to,
            value: U256::ZERO,
            data,
        };
        self.nonce += 1;
        let signing = transaction.sign(&self.owner);
        let signed = self.runtime.block_on(signing).unwrap();
        let offering = self.rpc.broadcast(signed.raw());
        let hash = self.runtime.block_on(offering).unwrap();
        self.now_s += BLOCK_S;
        self.mine_at_now();
        hash
    }

    fn mine_at_now(&self) {
        let block = self.runtime.block_on(async {
            self.node.mine_at(self.now_s).await;
            self.node.head().await
        });
        assert_eq!(block.timestamp_s, self.now_s);
    }

    fn receipt(&self, hash: B256) -> Receipt {
        let receipt = self.runtime.block_on(self.rpc.receipt(hash));
        receipt.unwrap().expect("it is in the block")
    }

    fn reason(&self, hash: B256) -> String {
        let reason = self.runtime.block_on(self.rpc.revert_reason(hash));
        error_name(&self.abi, reason.unwrap().expect("it was undone"))
    }

    /// What the contract answers now.
    fn ask<C: SolCall>(&self, call: &C) -> C::Return {
        self.try_ask(call).unwrap()
    }

    /// The same, or the name of the error.
    fn try_ask<C: SolCall>(&self, call: &C) -> Result<C::Return, String> {
        match self.read(self.address, call.abi_encode().into()) {
            Ok(answer) => Ok(C::abi_decode_returns(&answer).unwrap()),
            Err(ChainError::Reverted(revert)) => Err(error_name(&self.abi, revert)),
            Err(error) => panic!("{error}"),
        }
    }

    fn read(&self, to: EvmAddress, data: Bytes) -> Result<Bytes, ChainError> {
        let request = CallRequest::new(to, data);
        let answer = self.rpc.call(&request, BlockAt::Latest);
        self.runtime.block_on(answer)
    }

    /// A report of this round, made now, with `value` for feed 0.
    fn report(&self, epoch: u32, round: u32, value: i128) -> Report {
        Report {
            generation: self.ask(&oracle::generationCall {}),
            config: self.configuration.digest,
            epoch,
            round,
            observed_at_ms: (self.now_s + 2) * 1000,
            observations: keccak256([epoch.to_be_bytes(), round.to_be_bytes()].concat()),
            answers: vec![answer(0, value)],
        }
    }

    fn digest(&self, struct_hash: B256) -> B256 {
        let fields = [
            keccak256(
                "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)",
            ),
            keccak256("PriceOracle"),
            keccak256("1"),
            U256::from(self.node.network().chain.evm_number().unwrap()).into(),
            self.address.into_word(),
        ];
        let separator = keccak256(fields.concat());
        keccak256([b"\x19\x01".as_slice(), &*separator, &*struct_hash].concat())
    }

    /// The call that brings `report`, signed by f+1 members.
    fn signed(&self, report: &Report) -> oracle::transmitCall {
        report.call(self.members.attest(self.digest(report.struct_hash())))
    }

    fn transmit(&mut self, report: &Report) -> Receipt {
        let call = self.signed(report);
        self.accepted(&call)
    }

    fn transmit_refused(&mut self, report: &Report) -> String {
        let call = self.signed(report);
        self.refused(&call)
    }

    /// The last answer of a feed, if it has any.
    fn last_or_none(&self, feed: u64) -> Option<i128> {
        let feed = U256::from(feed);
        let data = self.try_ask(&oracle::latestRoundDataOfCall { feed }).ok()?;
        Some(fields(data).1)
    }

    /// The last answer of a feed.
    fn latest(&self, feed: u64) -> i128 {
        let feed = U256::from(feed);
        let (_, answer, ..) = fields(self.ask(&oracle::latestRoundDataOfCall { feed }));
        answer
    }

    fn is_halted(&self, feed: u64) -> bool {
        let feed = U256::from(feed);
        self.ask(&oracle::isHaltedCall { feed })
    }
}

impl Report {
    fn struct_hash(&self) -> B256 {
        let words = self.answers.concat();
        let fields = [
            keccak256(
                "Report(bytes32 configDigest,uint32 epoch,uint32 round,uint64 observedAt,bytes32 observations,bytes32[] answers)",
            ),
            self.config,
            U256::from(self.epoch).into(),
            U256::from(self.round).into(),
            U256::from(self.observed_at_ms).into(),
            self.observations,
            keccak256(words),
        ];
        keccak256(fields.concat())
    }

    fn call(&self, attestation: Vec<B256>) -> oracle::transmitCall {
        oracle::transmitCall {
            head: U136::from(self.generation) << 120
                | U136::from(self.epoch) << 88
                | U136::from(self.round) << 64
                | U136::from(self.observed_at_ms),
            observations: self.observations,
            words: [self.answers.clone(), attestation].concat(),
        }
    }
}

/// Feed 0 within 1 and 10^18, as all others; the breaker trips at more than a tenth.
fn configuration(members: &Members, feeds: u8) -> Configuration {
    let feed = |number: u8| FeedParameters {
        description: format!("FEED{number}/USD"),
        decimals: 8,
        breakerBps: 1000,
        least: 100,
        greatest: 10_u128.pow(18),
    };
    Configuration {
        digest: keccak256("a configuration"),
        scheme: members.scheme(),
        threshold: members.threshold(),
        keys: members.keys().into(),
        members: members.count(),
        reportAgeMax: REPORT_AGE_MAX_S.try_into().unwrap(),
        feeds: (0..feeds).map(feed).collect(),
    }
}

/// A word of a report: feed, the plain median, value.
fn answer(feed: u8, value: i128) -> B256 {
    let mut word = [0; 32];
    word[..3].copy_from_slice(&[0, feed, 1]);
    word[16..].copy_from_slice(&value.to_be_bytes());
    word.into()
}

/// What the readers of a feed get: round, answer, observed at, stored at.
fn fields<R: Into<RoundData>>(data: R) -> (u64, i128, u64, u64) {
    let RoundData(round, answer, observed_at, stored_at) = data.into();
    (round, answer, observed_at, stored_at)
}

struct RoundData(u64, i128, u64, u64);

macro_rules! round_data {
    ($($name:ident),*) => {$(
        impl From<oracle::$name> for RoundData {
            fn from(data: oracle::$name) -> Self {
                assert_eq!(data._0, data._4, "answered in another round");
                Self(data._0.to(), data._1.try_into().unwrap(), data._2.to(), data._3.to())
            }
        }
    )*};
}
round_data!(
    latestRoundDataReturn,
    latestRoundDataOfReturn,
    getRoundDataReturn,
    getRoundDataOfReturn
);

fn error_name(abi: &Abi, revert: Revert) -> String {
    match abi.decode_revert(revert) {
        Revert::Decoded { name, .. } => name,
        other => format!("{other:?}"),
    }
}
