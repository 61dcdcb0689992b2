//! SupplyChain: custody from hand to hand, and origins that cannot be made up.

use peaberry_chain::bindings::{SupplyChain as Supply, creation};
use peaberry_chain::primitives::{Address, B256, Bytes, U256, keccak256};

use crate::ground::Ground;

const STEPS: u64 = 24;
const LOTS: usize = 3;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Unknown,
    Held(usize),
    /// By the first, to the second.
    Offered(usize, usize),
    Closed(usize),
}

pub(crate) fn play(ground: &mut Ground, code: &Bytes) -> Result<(), String> {
    let constructor = Supply::constructorCall {
        admin: ground.address(0),
    };
    let contract = ground.deploy(0, creation(code, &constructor));
    let role = keccak256("PRODUCER_ROLE");
    for producer in 0..2 {
        let account = ground.address(producer);
        ground.expect(0, contract, &Supply::grantRoleCall { role, account }, true)?;
    }
    let mut states = [State::default(); LOTS];
    let mut hand_overs = [0; LOTS];
    let mut trails = [B256::ZERO; LOTS];
    for _ in 0..STEPS {
        let place = usize::try_from(ground.roll(LOTS as u64)).unwrap();
        let before = states[place];
        states[place] = step(ground, contract, place, before)?;
        trails[place] = trail(ground, place, trails[place], [before, states[place]]);
        if let State::Offered(_, to) = before
            && states[place] == State::Held(to)
        {
            hand_overs[place] += 1;
        }
    }
    for place in 0..states.len() {
        let held = ground.ask(
            contract,
            &Supply::lotCall {
                lotId: lot_id(place),
            },
        );
        let custodian = match states[place] {
            State::Unknown => Address::ZERO,
            State::Held(who) | State::Offered(who, _) | State::Closed(who) => ground.address(who),
        };
        if (held.custodian, held.handOvers) != (custodian, hand_overs[place]) {
            return Err(format!(
                "lot {place} is {:?} of {}",
                states[place], held.custodian
            ));
        }
        if held.trail != trails[place] {
            return Err(format!("the trail of lot {place} leaves out a step"));
        }
        verify(ground, contract, place, states[place] != State::Unknown)?;
    }
    Ok(())
}

fn step(
    ground: &mut Ground,
    contract: Address,
    place: usize,
    state: State,
) -> Result<State, String> {
    let [who, other] = [(); 2].map(|()| ground.account());
    let (lot, document) = (lot_id(place), document());
    if ground.roll(8) == 0 {
        refuse(ground, contract, who, lot)?;
    }
    let (next, is_allowed) = match ground.roll(6) {
        0 => {
            let is_allowed = who < 2 && state == State::Unknown;
            let call = Supply::registerLotCall {
                lotId: lot,
                originRoot: root(place),
                uri: String::new(),
            };
            ground.expect(who, contract, &call, is_allowed)?;
            (State::Held(who), is_allowed)
        }
        1 => {
            let is_allowed = state == State::Held(who) && other != who;
            let call = Supply::offerCall {
                lotId: lot,
                to: ground.address(other),
            };
            ground.expect(who, contract, &call, is_allowed)?;
            (State::Offered(who, other), is_allowed)
        }
        2 => {
            let is_allowed = matches!(state, State::Offered(holder, _) if holder == who);
            ground.expect(
                who,
                contract,
                &Supply::withdrawOfferCall { lotId: lot },
                is_allowed,
            )?;
            (State::Held(who), is_allowed)
        }
        3 if ground.roll(4) == 0 => {
            let is_allowed = state == State::Held(who);
            ground.expect(
                who,
                contract,
                &Supply::closeCall {
                    lotId: lot,
                    document,
                },
                is_allowed,
            )?;
            (State::Closed(who), is_allowed)
        }
        _ => {
            let is_allowed = matches!(state, State::Offered(_, to) if to == who);
            ground.expect(
                who,
                contract,
                &Supply::acceptCall {
                    lotId: lot,
                    document,
                },
                is_allowed,
            )?;
            (State::Held(who), is_allowed)
        }
    };
    Ok(if is_allowed { next } else { state })
}

/// A lot without an origin, and custody for nobody, are refused in every state.
fn refuse(ground: &mut Ground, contract: Address, who: usize, lot: B256) -> Result<(), String> {
    let register = Supply::registerLotCall {
        lotId: lot,
        originRoot: B256::ZERO,
        uri: String::new(),
    };
    ground.expect(who, contract, &register, false)?;
    for to in [Address::ZERO, ground.address(who)] {
        ground.expect(who, contract, &Supply::offerCall { lotId: lot, to }, false)?;
    }
    Ok(())
}

/// The trail behind a step: a hash of all hand-overs so far, each with its time and document.
fn trail(ground: &Ground, place: usize, trail: B256, states: [State; 2]) -> B256 {
    let (trail, from, to, document) = match states {
        [State::Unknown, State::Held(to)] => (
            root(place),
            Address::ZERO,
            ground.address(to),
            lot_id(place),
        ),
        [State::Offered(from, _), State::Held(to)] if from != to => {
            (trail, ground.address(from), ground.address(to), document())
        }
        [State::Held(from), State::Closed(_)] => {
            (trail, ground.address(from), Address::ZERO, document())
        }
        // Nothing was handed over.
        _ => return trail,
    };
    let time = B256::from(U256::from(ground.time_s()));
    let words = [trail, from.into_word(), to.into_word(), time, document];
    keccak256(words.concat())
}

fn document() -> B256 {
    keccak256("a document")
}

/// Both leaves prove themselves; nothing else does, and of a lot that is not there nothing is true.
fn verify(ground: &Ground, contract: Address, place: usize, is_there: bool) -> Result<(), String> {
    let [first, second] = leaves(place);
    for (leaf, sibling, is_true) in [
        (first, second, true),
        (second, first, true),
        (first, first, false),
    ] {
        let call = Supply::verifyOriginCall {
            lotId: lot_id(place),
            leaf,
            proof: vec![sibling],
        };
        if ground.ask(contract, &call) != (is_true && is_there) {
            return Err(format!("the origin of lot {place} proves wrongly"));
        }
    }
    Ok(())
}

fn lot_id(place: usize) -> B256 {
    B256::from(U256::from(place + 1))
}

fn leaves(place: usize) -> [B256; 2] {
    ["farm", "variety"].map(|fact| {
        keccak256(keccak256(
            [fact.as_bytes(), lot_id(place).as_slice()].concat(),
        ))
    })
}

fn root(place: usize) -> B256 {
    let [a, b] = leaves(place);
    keccak256([a.min(b), a.max(b)].concat())
}
