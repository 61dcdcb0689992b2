//! CoffeeToken beside OpenZeppelin's.

use std::error::Error;

use peaberry_chain::bindings::{CoffeeToken, SolCall, creation};
use peaberry_chain::contract::{Abi, Value};
use peaberry_chain::primitives::{Address, B256, U256, keccak256};
use peaberry_chain::{Payload, Signature, Signer};

use crate::Entry;
use crate::ground::Ground;

const OPEN_ZEPPELIN: &[u8] =
    include_bytes!("../../chain/contracts/comparison/OpenZeppelinToken.json");
const OURS: &[u8] = include_bytes!("../../chain/contracts/artifacts/CoffeeToken.json");
const PEER: &str = "OpenZeppelin 5.7";
const PAYMENT_GAS_MAX: u64 = 67_500;
const PAYMENT_TYPE: &str =
    "Payment(address from,address to,uint256 amount,bytes32 orderId,uint256 deadline)";

/// What mint and transfer cost, to accounts that had nothing and to others.
struct Costs {
    mint_new: u64,
    mint_existing: u64,
    transfer_new: u64,
    transfer_existing: u64,
}

pub(crate) async fn entries() -> Result<Vec<Entry>, Box<dyn Error>> {
    expect_one_compiler()?;
    let mut ground = Ground::new()?;
    let peer = open_zeppelin(&mut ground).await?;
    let peer = costs(&mut ground, peer).await?;
    let token = coffee(&mut ground).await?;
    let ours = costs(&mut ground, token).await?;
    let mut entries = vec![
        Entry::new("token_mint_new", ours.mint_new).within(peer.mint_new, PEER),
        Entry::new("token_mint_existing", ours.mint_existing).within(peer.mint_existing, PEER),
        Entry::new("token_transfer_new", ours.transfer_new).within(peer.transfer_new, PEER),
        Entry::new("token_transfer_existing", ours.transfer_existing)
            .within(peer.transfer_existing, PEER),
        Entry::new("openzeppelin_mint_new", peer.mint_new),
        Entry::new("openzeppelin_mint_existing", peer.mint_existing),
        Entry::new("openzeppelin_transfer_new", peer.transfer_new),
        Entry::new("openzeppelin_transfer_existing", peer.transfer_existing),
    ];
    entries.extend(payments(&mut ground, token).await?);
    Ok(entries)
}

/// Both artefacts are of one compiler with the same settings, and what is deployed of ours is its artefact.
fn expect_one_compiler() -> Result<(), Box<dyn Error>> {
    let [ours, theirs] = [OURS, OPEN_ZEPPELIN].map(serde_json::from_slice::<serde_json::Value>);
    let (ours, theirs) = (ours?, theirs?);
    let compilers = [&ours, &theirs].map(|artefact| artefact.get("compiler"));
    if compilers[0].is_none() || compilers[0] != compilers[1] {
        return Err(format!("made differently, and not to be compared: {compilers:?}").into());
    }
    if ours.get("bytecode") != Some(&CoffeeToken::BYTECODE.to_string().into()) {
        return Err("what is deployed is not the artefact".into());
    }
    Ok(())
}

async fn coffee(ground: &mut Ground) -> Result<Address, Box<dyn Error>> {
    let constructor = CoffeeToken::constructorCall {
        name_: "Coffee".into(),
        symbol_: "CFE".into(),
        cap_: U256::from(u128::MAX),
        pointsPerToken_: U256::from(10),
        admin: ground.owner(),
    };
    ground
        .deploy(creation(&CoffeeToken::BYTECODE, &constructor))
        .await
}

async fn open_zeppelin(ground: &mut Ground) -> Result<Address, Box<dyn Error>> {
    let abi = Abi::from_json(OPEN_ZEPPELIN)?;
    let [name, symbol] = ["Coffee", "CFE"].map(|text| Value::String(text.into()));
    let cap = Value::Uint(U256::from(u128::MAX), 256);
    let code = abi.creation_code(&[name, symbol, cap, ground.owner().into()])?;
    ground.deploy(code).await
}

/// Both tokens take the same calls.
async fn costs(ground: &mut Ground, token: Address) -> Result<Costs, Box<dyn Error>> {
    let (owner, one) = (ground.owner(), U256::from(10).pow(U256::from(18)));
    let role = keccak256("MINTER_ROLE");
    let grant = CoffeeToken::grantRoleCall {
        role,
        account: owner,
    };
    ground.gas(token, grant.abi_encode()).await?;
    let mint = |to| CoffeeToken::mintCall { to, amount: one }.abi_encode();
    let transfer = |to| {
        CoffeeToken::transferCall {
            to,
            value: one / U256::from(4),
        }
        .abi_encode()
    };
    // The first mint of all also writes the supply's slot: not what is asked here.
    ground.gas(token, mint(Address::repeat_byte(0xee))).await?;
    Ok(Costs {
        mint_new: ground.gas(token, mint(owner)).await?,
        mint_existing: ground.gas(token, mint(owner)).await?,
        transfer_new: ground
            .gas(token, transfer(Address::repeat_byte(0xa1)))
            .await?,
        transfer_existing: ground
            .gas(token, transfer(Address::repeat_byte(0xa1)))
            .await?,
    })
}

async fn payments(ground: &mut Ground, token: Address) -> Result<Vec<Entry>, Box<dyn Error>> {
    let (from, to) = (ground.owner(), Address::repeat_byte(0xb1));
    let amount = U256::from(10).pow(U256::from(17));
    let pay = |order: &str| {
        let order_id = keccak256(order);
        CoffeeToken::processPaymentCall {
            from,
            to,
            amount,
            orderId: order_id,
        }
        .abi_encode()
    };
    let first = ground.gas(token, pay("first")).await?;
    let steady = ground.gas(token, pay("second")).await?;
    let signed = signed_payment(ground, token, to, amount).await?;
    let signed = ground.gas(token, signed).await?;
    Ok(vec![
        Entry::new("process_payment_first", first),
        Entry::new("process_payment_steady", steady).within(PAYMENT_GAS_MAX, "the limit"),
        Entry::new("process_signed_payment_steady", signed),
    ])
}

/// A payment that the payer has signed, for anyone to bring.
async fn signed_payment(
    ground: &Ground,
    token: Address,
    to: Address,
    amount: U256,
) -> Result<Vec<u8>, Box<dyn Error>> {
    let (from, order, deadline) = (ground.owner(), keccak256("third"), U256::from(u64::MAX));
    let words: [B256; 6] = [
        keccak256(PAYMENT_TYPE),
        from.into_word(),
        to.into_word(),
        amount.into(),
        order,
        deadline.into(),
    ];
    let domain = domain_of(ground, token).await?;
    let payload = Payload::EvmTypedData {
        domain,
        value: keccak256(words.concat()),
    };
    let Signature::Evm(signature) = ground.key.sign(payload).await? else {
        return Err("an EVM key signs as one".into());
    };
    let call = CoffeeToken::processSignedPaymentCall {
        from,
        to,
        amount,
        orderId: order,
        deadline,
        v: 27 + u8::from(signature.v()),
        r: signature.r().into(),
        s: signature.s().into(),
    };
    Ok(call.abi_encode())
}

async fn domain_of(ground: &Ground, token: Address) -> Result<B256, Box<dyn Error>> {
    use peaberry_chain::evm::EvmRpc;
    let question = CoffeeToken::DOMAIN_SEPARATORCall {}.abi_encode();
    let request = peaberry_chain::CallRequest::new(token, question);
    let answer = ground
        .chain
        .call(&request, peaberry_chain::BlockAt::Latest)
        .await?;
    Ok(CoffeeToken::DOMAIN_SEPARATORCall::abi_decode_returns(
        &answer,
    )?)
}
