// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Roles} from "./Roles.sol";

/// @title Who holds which lot, and where it comes from.
///
/// A producer registers a lot with the Merkle root of what is known of its origin. Custody changes when both sides have
/// said so: the holder offers, the receiver accepts. The trail is a chain of hashes: whoever has its documents can prove
/// that none is missing and none was exchanged.
contract SupplyChain is Roles {
    enum State {
        Unknown,
        Held,
        Offered,
        Closed
    }

    struct Lot {
        address producer;
        uint64 registeredAt;
        address custodian;
        uint32 handOvers;
        State state;
        address offeredTo;
        bytes32 originRoot;
        /// Over every step so far; see `step`.
        bytes32 trail;
    }

    bytes32 public constant PRODUCER_ROLE = keccak256("PRODUCER_ROLE");

    mapping(bytes32 lotId => Lot) private lots;

    event LotRegistered(bytes32 indexed lotId, address indexed producer, bytes32 originRoot, string uri);
    event HandOverOffered(bytes32 indexed lotId, address indexed from, address indexed to);
    event HandOverWithdrawn(bytes32 indexed lotId, address indexed from, address indexed to);
    event HandedOver(
        bytes32 indexed lotId, address indexed from, address indexed to, bytes32 document, bytes32 trail
    );
    event LotClosed(bytes32 indexed lotId, address indexed custodian, bytes32 document, bytes32 trail);

    error LotExists(bytes32 lotId);
    error WrongState(bytes32 lotId, State state);
    error NotCustodian(bytes32 lotId, address custodian);
    error NotOffered(bytes32 lotId, address offeredTo);
    error NoOrigin();
    error NoReceiver();
    error ZeroId();

    constructor(address admin) Roles(admin) {}

    /// A lot as it stands; all zeros if there is none.
    function lot(bytes32 lotId) external view returns (Lot memory) {
        return lots[lotId];
    }

    /// Registers a lot under a number that nobody has used and that is not zero. `originRoot` is the root of the leaves of `originLeaf`;
    /// `uri` says where they can be read.
    function registerLot(bytes32 lotId, bytes32 originRoot, string calldata uri) external onlyRole(PRODUCER_ROLE) {
        if (lotId == 0) revert ZeroId();
        Lot storage held = lots[lotId];
        if (held.state != State.Unknown) revert LotExists(lotId);
        if (originRoot == 0) revert NoOrigin();
        held.producer = msg.sender;
        held.registeredAt = uint64(block.timestamp);
        held.custodian = msg.sender;
        held.state = State.Held;
        held.originRoot = originRoot;
        held.trail = step(originRoot, address(0), msg.sender, lotId);
        emit LotRegistered(lotId, msg.sender, originRoot, uri);
    }

    /// Offers custody to `to`; the holder keeps it until `to` accepts.
    function offer(bytes32 lotId, address to) external {
        Lot storage held = custodyOf(lotId, State.Held);
        if (to == address(0) || to == msg.sender) revert NoReceiver();
        held.offeredTo = to;
        held.state = State.Offered;
        emit HandOverOffered(lotId, msg.sender, to);
    }

    /// Takes an offer back.
    function withdrawOffer(bytes32 lotId) external {
        Lot storage held = custodyOf(lotId, State.Offered);
        emit HandOverWithdrawn(lotId, msg.sender, held.offeredTo);
        held.offeredTo = address(0);
        held.state = State.Held;
    }

    /// Accepts custody. `document` is the hash of what came along: delivery note, temperatures, inspection.
    function accept(bytes32 lotId, bytes32 document) external {
        Lot storage held = lots[lotId];
        if (held.state != State.Offered) revert WrongState(lotId, held.state);
        if (held.offeredTo != msg.sender) revert NotOffered(lotId, held.offeredTo);
        address from = held.custodian;
        held.custodian = msg.sender;
        held.offeredTo = address(0);
        held.state = State.Held;
        held.handOvers += 1;
        held.trail = step(held.trail, from, msg.sender, document);
        emit HandedOver(lotId, from, msg.sender, document, held.trail);
    }

    /// Ends a lot: roasted, sold or destroyed. Nothing follows.
    function close(bytes32 lotId, bytes32 document) external {
        Lot storage held = custodyOf(lotId, State.Held);
        held.state = State.Closed;
        held.trail = step(held.trail, msg.sender, address(0), document);
        emit LotClosed(lotId, msg.sender, document, held.trail);
    }

    /// Whether the fact that `key` is `value` is one of those the lot was registered with. `proof` holds the siblings of
    /// its leaf from there upwards; each pair is hashed with the smaller first. The leaf is made here, so nothing but a
    /// fact can be proved.
    function verifyFact(bytes32 lotId, string calldata key, string calldata value, bytes32[] calldata proof)
        external
        view
        returns (bool)
    {
        return leadsToRoot(lotId, originLeaf(key, value), proof);
    }

    /// The same of a fact of which only the hash is told: `factHash` is keccak256(abi.encode(key, value)). That is
    /// hashed once more here, so that neither an inner node of the tree nor its root passes for a fact: those are
    /// hashes of 64 bytes.
    function verifyOrigin(bytes32 lotId, bytes32 factHash, bytes32[] calldata proof) external view returns (bool) {
        return leadsToRoot(lotId, hashedAgain(factHash), proof);
    }

    /// The leaf of a fact about the origin. Hashed twice: an inner node is the hash of 64 bytes, a leaf that of 32, so
    /// no fact has an inner node for its leaf.
    function originLeaf(string calldata key, string calldata value) public pure returns (bytes32) {
        return hashedAgain(keccak256(abi.encode(key, value)));
    }

    function hashedAgain(bytes32 fact) private pure returns (bytes32) {
        return keccak256(bytes.concat(fact));
    }

    function leadsToRoot(bytes32 lotId, bytes32 leaf, bytes32[] calldata proof) private view returns (bool) {
        bytes32 root = lots[lotId].originRoot;
        bytes32 node = leaf;
        for (uint256 i = 0; i < proof.length; ++i) {
            bytes32 sibling = proof[i];
            node = node < sibling
                ? keccak256(abi.encodePacked(node, sibling))
                : keccak256(abi.encodePacked(sibling, node));
        }
        return root != 0 && node == root;
    }

    function custodyOf(bytes32 lotId, State expected) private view returns (Lot storage held) {
        held = lots[lotId];
        if (held.state != expected) revert WrongState(lotId, held.state);
        if (held.custodian != msg.sender) revert NotCustodian(lotId, held.custodian);
    }

    function step(bytes32 trail, address from, address to, bytes32 document) private view returns (bytes32) {
        return keccak256(abi.encode(trail, from, to, block.timestamp, document));
    }
}
