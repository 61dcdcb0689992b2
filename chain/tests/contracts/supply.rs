//! SupplyChain: custody from hand to hand, and origins that cannot be made up.

use peaberry_chain::bindings::{SolCall, SupplyChain as Supply, creation};
use peaberry_chain::primitives::{Address, B256, Bytes, U256, keccak256};

use crate::ground::{Ground, Outcome, agree, event, refused};

const STEPS: u64 = 24;
const LOTS: usize = 4;

/// A power of two, so that the tree has no leaf without a sibling.
const FACTS: [(&str, &str); 4] = [
    ("farm", "El Injerto"),
    ("variety", "Bourbon"),
    ("altitude", "1900 m"),
    ("process", "washed"),
];

// As the contract numbers them.
const UNKNOWN: u8 = 0;
const HELD: u8 = 1;
const OFFERED: u8 = 2;
const CLOSED: u8 = 3;

/// A lot as it should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lot {
    producer: Address,
    registered_at_s: u64,
    custodian: Address,
    hand_overs: u32,
    state: u8,
    offered_to: Address,
    origin: B256,
    trail: B256,
}

struct Game<'a> {
    ground: &'a mut Ground,
    contract: Address,
    lots: [Lot; LOTS],
}

pub(crate) fn play(ground: &mut Ground, code: &Bytes) -> Result<(), String> {
    let admin = ground.address(0);
    let contract = ground.deploy(0, creation(code, &Supply::constructorCall { admin }));
    for producer in 0..2 {
        let (role, account) = (producer_role(), ground.address(producer));
        ground.must(0, contract, &Supply::grantRoleCall { role, account })?;
    }
    let lots = [Lot::default(); LOTS];
    let mut game = Game {
        ground,
        contract,
        lots,
    };
    for _ in 0..STEPS {
        game.step()?;
    }
    for place in 0..LOTS {
        game.verify(place)?;
    }
    Ok(())
}

impl Game<'_> {
    fn step(&mut self) -> Result<(), String> {
        let ground = &mut *self.ground;
        let (place, who, other) = (ground.dice.place(LOTS), ground.account(), ground.account());
        let (id, document) = (lot_id(place), keccak256(ground.roll(8).to_be_bytes()));
        match ground.roll(6) {
            0 => {
                // Now and then without an origin.
                let origin = if ground.roll(4) == 0 {
                    B256::ZERO
                } else {
                    root(place)
                };
                self.register(who, place, origin)
            }
            1 => {
                let to = match ground.roll(8) {
                    0 => Address::ZERO,
                    _ => ground.address(other),
                };
                let call = Supply::offerCall { lotId: id, to };
                self.play(who, place, &call, |lot, by, contract, _| {
                    held_by(lot, id, by, HELD)?;
                    if to == Address::ZERO || to == by {
                        return refused(&Supply::NoReceiver {});
                    }
                    (lot.state, lot.offered_to) = (OFFERED, to);
                    let (lotId, from) = (id, by);
                    Ok(vec![event(
                        contract,
                        &Supply::HandOverOffered { lotId, from, to },
                    )])
                })
            }
            2 => {
                let call = Supply::withdrawOfferCall { lotId: id };
                self.play(who, place, &call, |lot, by, contract, _| {
                    held_by(lot, id, by, OFFERED)?;
                    let (lotId, from, to) = (id, by, lot.offered_to);
                    (lot.state, lot.offered_to) = (HELD, Address::ZERO);
                    Ok(vec![event(
                        contract,
                        &Supply::HandOverWithdrawn { lotId, from, to },
                    )])
                })
            }
            3 if ground.roll(4) == 0 => {
                let call = Supply::closeCall {
                    lotId: id,
                    document,
                };
                self.play(who, place, &call, |lot, by, contract, time_s| {
                    held_by(lot, id, by, HELD)?;
                    lot.state = CLOSED;
                    lot.trail = trail(lot.trail, [by, Address::ZERO], time_s, document);
                    let closed = Supply::LotClosed {
                        lotId: id,
                        custodian: by,
                        document,
                        trail: lot.trail,
                    };
                    Ok(vec![event(contract, &closed)])
                })
            }
            _ => {
                let call = Supply::acceptCall {
                    lotId: id,
                    document,
                };
                self.play(who, place, &call, |lot, by, contract, time_s| {
                    if lot.state != OFFERED {
                        return wrong_state(lot, id);
                    }
                    if lot.offered_to != by {
                        let (lotId, offeredTo) = (id, lot.offered_to);
                        return refused(&Supply::NotOffered { lotId, offeredTo });
                    }
                    let from = lot.custodian;
                    (lot.state, lot.offered_to, lot.custodian) = (HELD, Address::ZERO, by);
                    lot.hand_overs += 1;
                    lot.trail = trail(lot.trail, [from, by], time_s, document);
                    let handed = Supply::HandedOver {
                        lotId: id,
                        from,
                        to: by,
                        document,
                        trail: lot.trail,
                    };
                    Ok(vec![event(contract, &handed)])
                })
            }
        }
    }

    fn register(&mut self, who: usize, place: usize, origin: B256) -> Result<(), String> {
        let id = lot_id(place);
        let uri = "https://example.org/lots".to_owned();
        let call = Supply::registerLotCall {
            lotId: id,
            originRoot: origin,
            uri: uri.clone(),
        };
        self.play(who, place, &call, |lot, by, contract, time_s| {
            if who >= 2 {
                let (account, role) = (by, producer_role());
                return refused(&Supply::MissingRole { account, role });
            }
            if id == B256::ZERO {
                return refused(&Supply::ZeroId {});
            }
            if lot.state != UNKNOWN {
                return refused(&Supply::LotExists { lotId: id });
            }
            if origin == B256::ZERO {
                return refused(&Supply::NoOrigin {});
            }
            *lot = Lot {
                producer: by,
                registered_at_s: time_s,
                custodian: by,
                state: HELD,
                origin,
                trail: trail(origin, [Address::ZERO, by], time_s, id),
                ..Lot::default()
            };
            let registered = Supply::LotRegistered {
                lotId: id,
                producer: by,
                originRoot: origin,
                uri,
            };
            Ok(vec![event(contract, &registered)])
        })
    }

    /// A call, what the model makes of it, and the lot afterwards. The model is given the lot, the caller, the contract
    /// and the time.
    fn play<C: SolCall>(
        &mut self,
        who: usize,
        place: usize,
        call: &C,
        model: impl FnOnce(&mut Lot, Address, Address, u64) -> Outcome,
    ) -> Result<(), String> {
        let found = self.ground.send(who, self.contract, call);
        let (by, time_s) = (self.ground.address(who), self.ground.time_s());
        let lot = &mut self.lots[place];
        agree::<C>(&found, &model(lot, by, self.contract, time_s))?;
        let lotId = lot_id(place);
        let held = self.ground.ask(self.contract, &Supply::lotCall { lotId });
        let held = Lot {
            producer: held.producer,
            registered_at_s: held.registeredAt,
            custodian: held.custodian,
            hand_overs: held.handOvers,
            state: held.state,
            offered_to: held.offeredTo,
            origin: held.originRoot,
            trail: held.trail,
        };
        if held != *lot {
            return Err(format!("lot {place} is {held:?}, not {lot:?}"));
        }
        Ok(())
    }

    /// The facts prove themselves, each by its own proof, and so do their hashes; nothing else does, and of a lot that is
    /// not there nothing is true.
    fn verify(&self, place: usize) -> Result<(), String> {
        let is_there = self.lots[place].state != UNKNOWN;
        let (hashes, leaves, nodes) = (hashes(place), leaves(place), nodes(place));
        for at in 0..FACTS.len() {
            let proof = vec![leaves[at ^ 1], nodes[1 - at / 2]];
            let others = vec![leaves[at ^ 1], nodes[at / 2]];
            let (key, value) = fact(place, at);
            self.expect_fact(place, [key, &value], &proof, is_there)?;
            self.expect_fact(place, [key, "made up"], &proof, false)?;
            self.expect_fact(place, [key, &value], &others, false)?;
            // A proof of none, of some and of too many siblings.
            for proof in [&[][..], &proof[..1], &proof[1..], &[proof[0]; 3]] {
                self.expect_fact(place, [key, &value], proof, false)?;
            }
            self.expect_hash(place, hashes[at], &proof, is_there)?;
            self.expect_hash(place, leaves[at], &proof, false)?;
        }
        // An inner node lies in the tree, and so does its root: no fact is either of them.
        self.expect_hash(place, root(place), &[], false)?;
        for (node, sibling) in [(0, 1), (1, 0)] {
            self.expect_hash(place, nodes[node], &[nodes[sibling]], false)?;
            for [key, value] in [["", ""], ["farm", ""]] {
                self.expect_fact(place, [key, value], &[nodes[sibling]], false)?;
            }
        }
        self.expect_fact(place, ["", ""], &[], false)?;
        self.expect_hash(place, B256::ZERO, &[], false)
    }

    fn expect_fact(
        &self,
        place: usize,
        [key, value]: [&str; 2],
        proof: &[B256],
        is_true: bool,
    ) -> Result<(), String> {
        let call = Supply::verifyFactCall {
            lotId: lot_id(place),
            key: key.to_owned(),
            value: value.to_owned(),
            proof: proof.to_vec(),
        };
        if self.ground.ask(self.contract, &call) == is_true {
            return Ok(());
        }
        let siblings = proof.len();
        Err(format!(
            "that the {key} of lot {place} is {value} is not {is_true} by {siblings} siblings"
        ))
    }

    fn expect_hash(
        &self,
        place: usize,
        fact: B256,
        proof: &[B256],
        is_true: bool,
    ) -> Result<(), String> {
        let call = Supply::verifyOriginCall {
            lotId: lot_id(place),
            factHash: fact,
            proof: proof.to_vec(),
        };
        match self.ground.ask(self.contract, &call) == is_true {
            true => Ok(()),
            false => Err(format!("the origin of lot {place} proves {fact} wrongly")),
        }
    }
}

/// That the lot is in a state, and in the hands of `by`.
fn held_by(lot: &Lot, lotId: B256, by: Address, state: u8) -> Result<(), Bytes> {
    if lot.state != state {
        return wrong_state(lot, lotId);
    }
    if lot.custodian != by {
        let custodian = lot.custodian;
        return refused(&Supply::NotCustodian { lotId, custodian });
    }
    Ok(())
}

fn wrong_state<T>(lot: &Lot, lotId: B256) -> Result<T, Bytes> {
    let state = lot.state;
    refused(&Supply::WrongState { lotId, state })
}

/// The trail behind a step: a hash of all hand-overs so far, each with its time and document.
fn trail(trail: B256, [from, to]: [Address; 2], time_s: u64, document: B256) -> B256 {
    let time = B256::from(U256::from(time_s));
    keccak256([trail, from.into_word(), to.into_word(), time, document].concat())
}

fn producer_role() -> B256 {
    keccak256("PRODUCER_ROLE")
}

/// The first is none: no lot has the number zero.
fn lot_id(place: usize) -> B256 {
    B256::from(U256::from(place))
}

fn fact(place: usize, at: usize) -> (&'static str, String) {
    let (key, value) = FACTS[at];
    (key, format!("{value}, lot {place}"))
}

/// The hash of each fact's ABI encoding.
fn hashes(place: usize) -> [B256; 4] {
    [0, 1, 2, 3].map(|at| {
        let (key, value) = fact(place, at);
        let key = key.to_owned();
        let encoded = Supply::originLeafCall { key, value }.abi_encode();
        keccak256(&encoded[4..])
    })
}

/// The hash of the hash of each.
fn leaves(place: usize) -> [B256; 4] {
    hashes(place).map(keccak256)
}

fn nodes(place: usize) -> [B256; 2] {
    let [a, b, c, d] = leaves(place);
    [pair(a, b), pair(c, d)]
}

fn root(place: usize) -> B256 {
    let [left, right] = nodes(place);
    pair(left, right)
}

fn pair(a: B256, b: B256) -> B256 {
    keccak256([a.min(b), a.max(b)].concat())
}
