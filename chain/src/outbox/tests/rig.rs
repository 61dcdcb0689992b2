//! An outbox driven by hand: every answer is the test's, and every turn is committed.

use std::time::Duration;

use alloy_primitives::{Address, Bytes};
use peaberry_core::{
    Channel, Durability, EffectsBuffer, Input, Instant, MemoryStorage, Protocol, Storage,
};

use crate::evm::{Fees, SignedTransaction};
use crate::outbox::{
    AccountView, Ask, ChainRules, Found, IdempotencyKey, OUTBOX, Outbox, OutboxCommand,
    OutboxConfig, OutboxEvent, Refusal, Request, Stage, Submission, Taken,
};
use crate::{Amount, Asset, ChainError, ChainId, Intent, Revert, SolanaAddress};

pub(super) const CHAIN: ChainId = ChainId::POLYGON;
/// What gas costs, always.
pub(super) const MARKET: u128 = 100;

pub(super) fn rules() -> ChainRules {
    ChainRules {
        fee_cap: 10_000,
        in_flight_max: 4,
        ..ChainRules::every(Duration::from_millis(100))
    }
}

pub(super) fn refused(message: &str) -> ChainError {
    let node = crate::evm::NodeError {
        code: -32000,
        message: message.into(),
        data: None,
    };
    let transaction = crate::TxId::Evm(alloy_primitives::B256::ZERO);
    node.into_chain_error(
        "eth_sendRawTransaction",
        crate::evm::Asked::Broadcast(transaction),
    )
}

/// Nobody is there.
pub(super) fn unreachable() -> ChainError {
    ChainError::Connection {
        doing: "a request",
        sent: crate::Sent::No,
        source: std::sync::Arc::new(std::io::Error::other("nobody is there")),
    }
}

/// A look at an account of which so many transactions are included and so many are with the node.
pub(super) fn view(latest_number: u64, latest_nonce: u64, pending_nonce: u64) -> AccountView {
    AccountView {
        final_number: Some(latest_number.saturating_sub(8)),
        latest_number,
        latest_nonce,
        pending_nonce,
        final_nonce: None,
        places: Vec::new(),
        sights: Vec::new(),
        failures: Vec::new(),
        lacking: Vec::new(),
    }
}

pub(super) struct Rig {
    pub(super) outbox: Outbox,
    pub(super) storage: MemoryStorage,
    pub(super) config: OutboxConfig,
    now: Instant,
    requests: Vec<Request>,
    pub(super) taken: Vec<Result<Taken, Refusal>>,
    pub(super) stages: Vec<Stage>,
    /// What was signed, in order: the transactions of an EVM chain.
    pub(super) signed: Vec<crate::evm::Transaction>,
    /// To this nobody answers, of what is served otherwise.
    pub(super) silence: fn(&Ask) -> bool,
    /// What is estimated would be reverted.
    pub(super) would_revert: bool,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(
            OutboxConfig::new()
                .chain(CHAIN, rules())
                .chain(ChainId::SOLANA, rules()),
        )
    }

    pub(super) fn with(config: OutboxConfig) -> Self {
        let storage = MemoryStorage::new();
        let outbox = Outbox::open(Channel::new(OUTBOX, 0), config.clone(), &storage).unwrap();
        Self {
            outbox,
            storage,
            config,
            now: Instant::default(),
            requests: Vec::new(),
            taken: Vec::new(),
            stages: Vec::new(),
            signed: Vec::new(),
            silence: |_| false,
            would_revert: false,
        }
    }

    /// The process dies, and another begins.
    pub(super) fn restart(&mut self) {
        let channel = Channel::new(OUTBOX, 0);
        self.outbox = Outbox::open(channel, self.config.clone(), &self.storage).unwrap();
        self.requests.clear();
        self.stages.clear();
        self.turn(Vec::new());
    }

    pub(super) fn turn(&mut self, inputs: Vec<Input<OutboxCommand>>) {
        let mut buffer = EffectsBuffer::new(Channel::new(OUTBOX, 0));
        for input in inputs {
            let Ok(()) = self.outbox.step(self.now, input, &mut buffer.effects());
        }
        let Ok(()) = self.outbox.settle(self.now, &mut buffer.effects());
        self.storage
            .commit(buffer.batch(), Durability::Synced)
            .unwrap();
        for event in buffer.events().iter().chain(buffer.events_after_commit()) {
            match event {
                OutboxEvent::Perform(request) => self.requests.push(request.clone()),
                OutboxEvent::Taken { result, .. } => self.taken.push(result.clone()),
                OutboxEvent::Moved(update) => self.stages.push(update.stage.clone()),
            }
        }
    }

    pub(super) fn submit(&mut self, submission: Submission) -> Taken {
        self.offer(submission).expect("it fits")
    }

    pub(super) fn offer(&mut self, submission: Submission) -> Result<Taken, Refusal> {
        let submission = Box::new(submission);
        let command = OutboxCommand::Submit {
            ticket: 0,
            submission,
        };
        self.turn(vec![Input::Command(command)]);
        self.taken.last().expect("it was answered").clone()
    }

    pub(super) fn cancel(&mut self, taken: &Taken) {
        self.turn(vec![Input::Command(OutboxCommand::Cancel(taken.entry))]);
    }

    pub(super) fn answer(&mut self, request: &Request, result: Result<Found, ChainError>) {
        let number = request.number;
        let result = Box::new(result);
        self.turn(vec![Input::Command(OutboxCommand::Answer {
            number,
            result,
        })]);
    }

    /// The first request of a kind that waits, if there is one.
    pub(super) fn find(&mut self, is_it: impl Fn(&Ask) -> bool) -> Option<Request> {
        let at = self.requests.iter().position(|one| is_it(&one.ask))?;
        Some(self.requests.remove(at))
    }

    /// Prices, estimates and signatures are given at once; broadcasts and looks are the test's.
    pub(super) fn serve(&mut self) {
        while let Some(request) =
            self.find(|ask| matches!(ask, Ask::Fees | Ask::Gas(_) | Ask::Sign { .. }))
        {
            if (self.silence)(&request.ask) {
                self.answer(&request, Err(unreachable()));
                continue;
            }
            if self.would_revert && matches!(request.ask, Ask::Gas(_)) {
                let reason = Revert::Message("no beans".into());
                self.answer(&request, Err(ChainError::Reverted(reason)));
                continue;
            }
            let found = match &request.ask {
                Ask::Fees => Found::Fees(Fees::Legacy { gas_price: MARKET }),
                Ask::Sign { transaction, .. } => {
                    self.signed.push(transaction.clone());
                    let raw = format!("{:?} {}", transaction, self.signed.len());
                    Found::Signed(SignedTransaction::from_raw(Bytes::from(raw.into_bytes())))
                }
                _ => Found::Gas(30_000),
            };
            self.answer(&request, Ok(found));
        }
    }

    /// The answer to the next broadcast; what leads to it is served.
    pub(super) fn broadcast(&mut self, result: Result<(), ChainError>) -> Option<Request> {
        self.serve();
        let request = self.find(|ask| matches!(ask, Ask::Broadcast { .. }))?;
        self.answer(&request, result.map(|()| Found::Broadcast));
        self.serve();
        Some(request)
    }

    /// Time goes by, until something is due.
    pub(super) fn wait(&mut self) {
        self.now += Duration::from_secs(5);
        self.turn(vec![Input::Timeout]);
        self.serve();
    }

    /// The next look at an EVM account, answered by `view`; time goes by until there is one.
    pub(super) fn look(&mut self, view: impl FnOnce(&Request) -> AccountView) -> Request {
        for _ in 0..3 {
            self.serve();
            if let Some(request) = self.find(|ask| matches!(ask, Ask::Look { .. })) {
                let found = Found::Account(view(&request));
                self.answer(&request, Ok(found));
                self.serve();
                return request;
            }
            self.wait();
        }
        panic!("nobody looks");
    }
}

pub(super) fn account() -> Address {
    Address::repeat_byte(1)
}

pub(super) fn payment(name: &str) -> Submission {
    payment_from(account(), name)
}

pub(super) fn payment_from(from: Address, name: &str) -> Submission {
    let intent = Intent::Transfer {
        from: from.into(),
        to: Address::repeat_byte(2).into(),
        asset: Asset::Native,
        amount: Amount::wei(7),
    };
    Submission::new(IdempotencyKey::new(name).unwrap(), CHAIN, intent).with_gas_limit(21_000)
}

pub(super) fn payment_on_solana(name: &str) -> Submission {
    let intent = Intent::Transfer {
        from: SolanaAddress([1; 32]).into(),
        to: SolanaAddress([2; 32]).into(),
        asset: Asset::Native,
        amount: Amount::lamports(7),
    };
    Submission::new(IdempotencyKey::new(name).unwrap(), ChainId::SOLANA, intent)
}
