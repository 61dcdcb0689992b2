//! A chain, four accounts and dice.

use futures_util::FutureExt as _;
use peaberry_chain::bindings::SolCall;
use peaberry_chain::dev::{DevChain, DevOptions};
use peaberry_chain::evm::{EvmRpc, Fees, Transaction};
use peaberry_chain::primitives::{Address, B256, Bytes, U256};
use peaberry_chain::wallet::EvmKey;
use peaberry_chain::{BlockAt, CallRequest, Payload, Signature, Signer};

pub(crate) const ACCOUNTS: usize = 4;

pub(crate) struct Ground {
    pub(crate) chain: DevChain,
    keys: Vec<EvmKey>,
    nonces: Vec<u64>,
    dice: u64,
}

/// What a future answers that waits for nothing.
fn now<T>(future: impl Future<Output = T>) -> T {
    future
        .now_or_never()
        .expect("a chain in the process answers at once")
}

/// The creation code in an artefact.
pub(crate) fn bytecode(artefact: &str) -> Bytes {
    let artefact: serde_json::Value = serde_json::from_str(artefact).unwrap();
    artefact["bytecode"].as_str().unwrap().parse().unwrap()
}

impl Ground {
    pub(crate) fn new(seed: u64) -> Self {
        let keys: Vec<EvmKey> = (1..=ACCOUNTS)
            .map(|key| EvmKey::from_bytes(&[u8::try_from(key).unwrap(); 32]).unwrap())
            .collect();
        let options = keys
            .iter()
            .fold(DevOptions::default(), |o, key| o.fund(key.evm_address()));
        Self {
            chain: DevChain::new(options),
            keys,
            nonces: vec![0; ACCOUNTS],
            dice: seed,
        }
    }

    /// A number below `sides` (SplitMix64).
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.dice ^ (self.dice >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    pub(crate) fn account(&mut self) -> usize {
        usize::try_from(self.roll(ACCOUNTS as u64)).unwrap()
    }

    pub(crate) fn address(&self, who: usize) -> Address {
        self.keys[who].evm_address()
    }

    /// The contract that `who` makes of `code`.
    pub(crate) fn deploy(&mut self, who: usize, code: Bytes) -> Address {
        let address = self.address(who).create(self.nonces[who]);
        assert!(self.transact(who, None, code), "the contract is created");
        address
    }

    /// Whether the call was carried out.
    pub(crate) fn send(&mut self, who: usize, to: Address, call: &impl SolCall) -> bool {
        self.transact(who, Some(to), call.abi_encode().into())
    }

    /// As [`send`](Self::send), in one line for a model's verdict.
    pub(crate) fn expect(
        &mut self,
        who: usize,
        to: Address,
        call: &impl SolCall,
        is_allowed: bool,
    ) -> Result<(), String> {
        let is_done = self.send(who, to, call);
        if is_done == is_allowed {
            return Ok(());
        }
        Err(format!(
            "{who} calls {}: allowed {is_allowed}, done {is_done}",
            signature(call)
        ))
    }

    pub(crate) fn ask<C: SolCall>(&self, to: Address, call: &C) -> C::Return {
        let request = CallRequest::new(to, call.abi_encode());
        let answer = now(self.chain.call(&request, BlockAt::Latest)).unwrap();
        C::abi_decode_returns(&answer).unwrap()
    }

    /// The time of the newest block, in seconds.
    pub(crate) fn time_s(&self) -> u64 {
        self.chain.head().timestamp_s
    }

    /// A typed signature of `who` (EIP-712): v, r, s.
    pub(crate) fn sign(&self, who: usize, domain: B256, value: B256) -> (u8, U256, U256) {
        let payload = Payload::EvmTypedData { domain, value };
        let Signature::Evm(signature) = now(self.keys[who].sign(payload)).unwrap() else {
            panic!("an EVM key signs as one");
        };
        (27 + u8::from(signature.v()), signature.r(), signature.s())
    }

    fn transact(&mut self, who: usize, to: Option<Address>, data: Bytes) -> bool {
        let transaction = Transaction {
            chain: self.chain.network().chain,
            nonce: self.nonces[who],
            gas_limit: 5_000_000,
            fees: Fees::Eip1559 {
                fee_max: 2_000_000_000,
                tip_max: 1,
            },
            to,
            value: U256::ZERO,
            data,
        };
        let signed = now(transaction.sign(&self.keys[who])).unwrap();
        self.chain.submit(signed.raw()).unwrap();
        self.nonces[who] += 1;
        now(self.chain.receipt(signed.hash()))
            .unwrap()
            .unwrap()
            .is_success
    }
}

fn signature<C: SolCall>(_call: &C) -> &'static str {
    C::SIGNATURE
}
