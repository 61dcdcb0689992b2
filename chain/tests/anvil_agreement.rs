//! The same transactions on this crate's development chain and on Anvil give the same gas, receipts, logs and balances.
//!
//! Anvil is looked for at `PEABERRY_ANVIL`, then on the path. Its rules differ where they are laxer than geth's, and
//! what depends on these is not asked of it: it takes replacements that pay only 5 % more, it forgets the transactions
//! of blocks that `anvil_reorg` undoes, and it takes tips of zero.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test's helpers fail as loudly as the test"
)]

#[path = "anvil/node.rs"]
mod node;

use std::sync::Arc;

use peaberry_chain::bindings::{CoffeeToken, SolCall, creation};
use peaberry_chain::dev::{DevChain, DevOptions, Mining};
use peaberry_chain::evm::{EvmRpc, Fees, SignedTransaction, Transaction};
use peaberry_chain::primitives::{Address, B256, Bytes, U256, keccak256};
use peaberry_chain::wallet::EvmKey;
use peaberry_chain::{BlockAt, ChainId, LogFilter, LogRange};
use serde_json::json;

use self::node::{GENESIS_S, start};

const TRANSACTIONS: u64 = 200;
const BLOCK_TIME_S: u64 = 12;
const GWEI: u128 = 1_000_000_000;
const ACCOUNTS: usize = 4;

/// A seeded stream of numbers (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

struct Player {
    keys: Vec<EvmKey>,
    nonces: Vec<u64>,
    dice: Dice,
    tokens: Vec<Address>,
}

impl Player {
    fn address(&self, who: usize) -> Address {
        self.keys[who].evm_address()
    }

    /// A transaction that nobody expects anything of: some pay, some deploy, some fail in every way.
    async fn next(&mut self) -> SignedTransaction {
        let who = usize::try_from(self.dice.roll(ACCOUNTS as u64)).unwrap();
        let other = usize::try_from(self.dice.roll(ACCOUNTS as u64)).unwrap();
        let other = self.address(other);
        let amount = U256::from(self.dice.roll(1000));
        let order = B256::from(U256::from(self.dice.roll(8)));
        let mut transaction = Transaction {
            chain: ChainId::evm(31_337),
            nonce: self.nonces[who],
            gas_limit: 400_000,
            fees: match self.dice.roll(3) {
                0 => Fees::Legacy {
                    gas_price: 20 * GWEI,
                },
                _ => Fees::Eip1559 {
                    fee_max: 30 * GWEI,
                    tip_max: GWEI * u128::from(1 + self.dice.roll(4)),
                },
            },
            to: Some(other),
            value: U256::ZERO,
            data: Bytes::new(),
        };
        let token = self.tokens.last().copied();
        match (self.dice.roll(12), token) {
            (0, _) | (_, None) => {
                let constructor = CoffeeToken::constructorCall {
                    name_: "Coffee".into(),
                    symbol_: "CFE".into(),
                    cap_: U256::from(1_000_000),
                    pointsPerToken_: U256::from(10).pow(U256::from(18)),
                    admin: self.address(who),
                };
                transaction.to = None;
                transaction.data = creation(&CoffeeToken::BYTECODE, &constructor);
                transaction.gas_limit = 3_000_000;
                self.tokens.push(self.address(who).create(self.nonces[who]));
            }
            (1..=2, _) => {
                transaction.value = amount;
                transaction.gas_limit = 21_000;
            }
            // Too little gas to finish.
            (3, Some(token)) => {
                transaction.to = Some(token);
                transaction.gas_limit = 25_000 + self.dice.roll(30_000);
                transaction.data = CoffeeToken::transferCall {
                    to: other,
                    value: amount,
                }
                .abi_encode()
                .into();
            }
            // An invalid instruction, in a constructor.
            (4, _) => {
                transaction.to = None;
                transaction.data = vec![0xfe].into();
            }
            (5..=6, Some(token)) => {
                transaction.to = Some(token);
                let role = keccak256("MINTER_ROLE");
                transaction.data = CoffeeToken::grantRoleCall {
                    role,
                    account: other,
                }
                .abi_encode()
                .into();
            }
            (7..=8, Some(token)) => {
                transaction.to = Some(token);
                transaction.data = CoffeeToken::mintCall { to: other, amount }
                    .abi_encode()
                    .into();
            }
            (9, Some(token)) => {
                transaction.to = Some(token);
                transaction.data = CoffeeToken::burnCall {
                    amount: amount / U256::from(9),
                }
                .abi_encode()
                .into();
            }
            (_, Some(token)) => {
                transaction.to = Some(token);
                transaction.data = CoffeeToken::processPaymentCall {
                    from: self.address(who),
                    to: other,
                    amount: amount / U256::from(5),
                    orderId: order,
                }
                .abi_encode()
                .into();
            }
        }
        self.nonces[who] += 1;
        transaction.sign(&self.keys[who]).await.unwrap()
    }
}

#[tokio::test]
async fn the_same_transactions_do_the_same_on_anvil() {
    let Some((_anvil, anvil)) = start().await else {
        return;
    };
    let keys: Vec<EvmKey> = (1..=ACCOUNTS)
        .map(|seed| EvmKey::from_bytes(&[u8::try_from(seed).unwrap(); 32]).unwrap())
        .collect();
    let options = DevOptions {
        mining: Mining::OnDemand,
        ..DevOptions::default()
    };
    let options = keys
        .iter()
        .fold(options, |options, key| options.fund(key.evm_address()));
    for (account, balance) in &options.accounts {
        let () = anvil
            .client()
            .request("anvil_setBalance", (*account, *balance))
            .await
            .unwrap();
    }
    let () = anvil
        .client()
        .request("anvil_setCoinbase", (options.coinbase,))
        .await
        .unwrap();
    // Anvil gives its second block the base fee of the first; from there on both follow EIP-1559.
    let second = U256::from(options.base_fee / 8 * 7);
    let _: serde_json::Value = anvil
        .client()
        .request("anvil_setNextBlockBaseFeePerGas", (second,))
        .await
        .unwrap();
    let dev = DevChain::new(options);
    let dev_rpc: Arc<dyn EvmRpc> = Arc::new(dev.clone());
    let mut player = Player {
        keys,
        nonces: vec![0; ACCOUNTS],
        dice: Dice(4),
        tokens: Vec::new(),
    };

    let mut sent = Vec::new();
    let mut number = 0;
    while (sent.len() as u64) < TRANSACTIONS {
        // One in a block: which comes first of several is each node's own taste.
        let signed = player.next().await;
        anvil.broadcast(signed.raw()).await.unwrap();
        dev_rpc.broadcast(signed.raw()).await.unwrap();
        sent.push(signed.hash());
        number += 1;
        dev.mine();
        let at = json!(GENESIS_S + number * BLOCK_TIME_S);
        let _: serde_json::Value = anvil
            .client()
            .request("evm_setNextBlockTimestamp", (at,))
            .await
            .unwrap();
        let _: serde_json::Value = anvil.client().request("evm_mine", ()).await.unwrap();
    }

    let (mut failed, mut created, mut logged) = (0, 0, 0);
    for hash in &sent {
        let ours = dev_rpc.receipt(*hash).await.unwrap().unwrap();
        let mut theirs = anvil.receipt(*hash).await.unwrap().unwrap();
        // Their headers differ from ours (what is random, what is extra): hashes of blocks name different blocks.
        theirs.block_hash = ours.block_hash;
        for log in &mut theirs.logs {
            log.block_hash = ours.block_hash;
        }
        assert_eq!(ours, theirs);
        failed += u64::from(!ours.is_success);
        created += u64::from(ours.contract.is_some());
        logged += ours.logs.len();
    }
    println!(
        "{} transactions in {number} blocks: {failed} failed, {created} creations, {logged} logs",
        sent.len()
    );
    assert!(
        failed > 20 && created > 10 && logged > 20,
        "the dice were one-sided"
    );

    let everyone = player
        .keys
        .iter()
        .map(EvmKey::evm_address)
        .chain(player.tokens.iter().copied());
    for account in everyone.chain([Address::ZERO]) {
        for at in [BlockAt::Number(number / 2), BlockAt::Latest] {
            assert_eq!(
                dev_rpc.balance(account, at).await.unwrap(),
                anvil.balance(account, at).await.unwrap()
            );
            assert_eq!(
                dev_rpc.nonce(account, at).await.unwrap(),
                anvil.nonce(account, at).await.unwrap()
            );
            assert_eq!(
                dev_rpc.code(account, at).await.unwrap(),
                anvil.code(account, at).await.unwrap()
            );
        }
    }
    let history = |history: peaberry_chain::evm::FeeHistory| history.base_fees;
    assert_eq!(
        history(dev_rpc.fee_history(20, &[]).await.unwrap()),
        history(anvil.fee_history(20, &[]).await.unwrap())
    );
    let all = (LogFilter::default(), LogRange::Numbers(0..=number));
    let ours = dev_rpc.logs(&all.0, &all.1).await.unwrap();
    let theirs = anvil.logs(&all.0, &all.1).await.unwrap();
    assert_eq!(ours.len(), theirs.len());
}
