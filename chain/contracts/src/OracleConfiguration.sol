// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Eip712} from "./Eip712.sol";
import {Roles} from "./Roles.sol";
import {Schnorr} from "./Schnorr.sol";

/// How a quorum of oracles vouches for something.
enum Scheme {
    None,
    /// A signature of each of threshold members: a word with a set of members, bit i for member i, then two words for
    /// each of them in ascending order, by EIP-2098: r, and s with the parity above it.
    EcdsaQuorum,
    /// One Schnorr signature by the group's key (RFC 9591), which takes threshold members to make: the nonce's point as
    /// x and y, then the scalar: three words.
    FrostKey
}

/// @title Who may sign what an oracle contract stores, and how that changes.
///
/// A configuration lies in the code of a contract of its own (SSTORE2): reading all of it costs one cold account,
/// whatever the number of members. Its layout, in bytes:
///
///     0   0x00, so that it cannot be called
///     1   digest of the oracles' whole configuration, 32
///     33  scheme
///     34  threshold: members that it takes to sign a report
///     35  number of members
///     36  number of feeds
///     37  greatest age of a report in seconds, 3
///     40  a word for each feed: decimals 1, zero 1, breaker in basis points 4 (0: none), least answer 13, greatest 13
///         then the keys: 20 bytes for each member, or one compressed point of 33 bytes
abstract contract OracleConfiguration is Roles, Eip712 {
    bytes32 public constant CONFIGURER_ROLE = keccak256("CONFIGURER_ROLE");

    bytes32 private constant ROTATION_TYPEHASH = keccak256("Rotation(bytes32 from,uint32 generation,bytes32 to)");

    uint256 internal constant DIGEST = 1;
    uint256 internal constant HEADER = 33;
    uint256 internal constant FEEDS = 40;
    uint256 internal constant FEED_BYTES = 32;
    uint256 internal constant FEEDS_MAX = 64;
    uint256 private constant MEMBERS_MAX = 64;
    /// The ages that a stored answer has room for.
    uint256 private constant AGE_MAX = (1 << 18) - 1;
    /// The generations that a report has room for.
    uint256 private constant GENERATION_MAX = type(uint16).max;

    struct FeedParameters {
        /// What for what: "BTC/USD". A feed keeps its number, its description and its decimals for ever.
        string description;
        uint8 decimals;
        /// A step of more than so many hundredths of a percent halts the feed; zero for no breaker.
        uint32 breakerBps;
        /// The answers that can be believed, in units of 10^-decimals.
        uint128 least;
        uint128 greatest;
    }

    struct Configuration {
        /// The digest of all that the oracles have agreed on. Reports are bound to it.
        bytes32 digest;
        Scheme scheme;
        uint8 threshold;
        /// 20 bytes for each member, or one compressed point for the group.
        bytes keys;
        uint8 members;
        /// Reports observed longer ago are refused, in seconds.
        uint24 reportAgeMax;
        FeedParameters[] feeds;
    }

    /// Where the configuration lies (160 bits), its length (24), and which one it is (32).
    uint256 private place;
    string[] private descriptions;
    /// No digest comes twice: a report signed under an earlier configuration would count again.
    mapping(bytes32 digest => bool) private isUsed;

    event Configured(uint32 indexed generation, bytes32 indexed digest, address blob);

    error NotConfigured();
    error ZeroDigest();
    error DigestUsed(bytes32 digest);
    error WrongThreshold(uint256 threshold, uint256 members);
    error WrongKeys(uint256 bytes_);
    error WrongKey(uint256 member);
    error WrongAge(uint256 age);
    error WrongFeedCount(uint256 count, uint256 before);
    error WrongFeed(uint256 feed);
    error BlobFailed();
    error NoGenerationLeft();
    error MalformedAttestation();
    error NotAMember(uint256 member);
    error WrongSigner(uint256 member);
    error WrongGroupSignature();

    /// Which configuration holds, from 1; zero before the first.
    function generation() public view returns (uint32) {
        return uint32(place >> 184);
    }

    /// The digest of the configuration that holds.
    function configDigest() public view returns (bytes32 digest) {
        uint256 blob = load();
        assembly ("memory-safe") {
            digest := mload(add(blob, DIGEST))
        }
    }

    /// Where the configuration lies, byte for byte as the contract's head describes it, and from the first byte on.
    function configBlob() external view returns (address) {
        return address(uint160(place));
    }

    /// How many feeds there are.
    function feedCount() public view returns (uint256) {
        return descriptions.length;
    }

    /// What a feed prices.
    function descriptionOf(uint256 feed) public view returns (string memory) {
        if (feed >= descriptions.length) revert WrongFeed(feed);
        return descriptions[feed];
    }

    /// A feed's decimals.
    function decimalsOf(uint256 feed) public view returns (uint8) {
        uint256 blob = load();
        if (feed >= descriptions.length) revert WrongFeed(feed);
        return uint8(feedRecord(blob, feed) >> 248);
    }

    /// The administration's way to configure: for the first time, and where the old members can no longer sign.
    function configure(Configuration calldata next) external onlyRole(CONFIGURER_ROLE) {
        install(next);
    }

    /// The members' way: the old ones hand over to the new. In an ECDSA quorum it takes 2f+1 of them, so that most of
    /// those who sign are honest; a group key signs as it signs reports.
    function rotate(Configuration calldata next, bytes32[] calldata attestation) external {
        uint256 blob = load();
        bytes32 from;
        assembly ("memory-safe") {
            from := mload(add(blob, DIGEST))
        }
        bytes32 to = keccak256(abi.encode(next));
        bytes32 structHash = keccak256(abi.encode(ROTATION_TYPEHASH, from, generation() + 1, to));
        requireMajority(blob, typedDigest(structHash), attestation);
        install(next);
    }

    /// What a new configuration means for what is stored.
    function configured(uint256 nth, uint256 feedsBefore) internal virtual;

    function install(Configuration calldata next) private {
        uint256 before = descriptions.length;
        checkMembers(next);
        if (next.digest == 0) revert ZeroDigest();
        if (isUsed[next.digest]) revert DigestUsed(next.digest);
        isUsed[next.digest] = true;
        if (next.reportAgeMax == 0 || next.reportAgeMax > AGE_MAX) revert WrongAge(next.reportAgeMax);
        if (next.feeds.length < before || next.feeds.length == 0 || next.feeds.length > FEEDS_MAX) {
            revert WrongFeedCount(next.feeds.length, before);
        }
        bytes memory feeds;
        for (uint256 feed = 0; feed < next.feeds.length; feed++) {
            feeds = bytes.concat(feeds, checkedFeed(next.feeds[feed], feed, before));
        }
        bytes memory content = bytes.concat(
            abi.encodePacked(
                bytes1(0), next.digest, uint8(next.scheme), next.threshold, next.members, uint8(next.feeds.length),
                next.reportAgeMax
            ),
            feeds,
            next.keys
        );
        uint32 number = generation() + 1;
        if (number > GENERATION_MAX) revert NoGenerationLeft();
        address blob = store(content);
        // Reports find it by its generation.
        if (blob != blobOf(number)) revert BlobFailed();
        place = uint256(uint160(blob)) | content.length << 160 | uint256(number) << 184;
        configured(number, before);
        emit Configured(number, next.digest, blob);
    }

    /// Zero of anything, and whoever counts twice, is refused.
    function checkMembers(Configuration calldata next) private view {
        uint256 members = next.members;
        uint256 faulty = members / 3;
        // One alone is no quorum: f is at least one.
        if (faulty == 0 || members > MEMBERS_MAX || members != 3 * faulty + 1 || next.threshold != faulty + 1) {
            revert WrongThreshold(next.threshold, members);
        }
        if (next.scheme == Scheme.EcdsaQuorum) {
            if (next.keys.length != members * 20) revert WrongKeys(next.keys.length);
            for (uint256 member = 0; member < members; member++) {
                bytes20 key = bytes20(next.keys[member * 20:]);
                if (key == 0) revert WrongKey(member);
                for (uint256 other = 0; other < member; other++) {
                    if (bytes20(next.keys[other * 20:]) == key) revert WrongKey(member);
                }
            }
        } else {
            if (next.scheme != Scheme.FrostKey || next.keys.length != 33) revert WrongKeys(next.keys.length);
            if (!Schnorr.isKey(uint8(next.keys[0]), uint256(bytes32(next.keys[1:])))) revert WrongKey(0);
        }
    }

    function checkedFeed(FeedParameters calldata feed, uint256 number, uint256 before) private returns (bytes memory) {
        bool isSane = feed.least != 0 && feed.least <= feed.greatest && feed.greatest < 1 << 100 && feed.decimals <= 38;
        if (!isSane || bytes(feed.description).length == 0) revert WrongFeed(number);
        if (number < before) {
            bool isSame = keccak256(bytes(feed.description)) == keccak256(bytes(descriptions[number]))
                && feed.decimals == decimalsOf(number);
            if (!isSame) revert WrongFeed(number);
        } else {
            descriptions.push(feed.description);
        }
        return abi.encodePacked(feed.decimals, bytes1(0), feed.breakerBps, uint104(feed.least), uint104(feed.greatest));
    }

    /// Makes a contract whose code is `content`.
    function store(bytes memory content) private returns (address blob) {
        // Copies all that stands behind these eleven bytes, and answers it: PUSH2 size, DUP1, PUSH1 10, PUSH0,
        // CODECOPY, PUSH0, RETURN.
        bytes memory creation = abi.encodePacked(hex"61", uint16(content.length), hex"80600a5f395ff3", content);
        assembly ("memory-safe") {
            blob := create(0, add(creation, 32), mload(creation))
        }
        if (blob == address(0)) revert BlobFailed();
    }

    /// Where the configuration of a generation lies, or would. This contract creates nothing else, so its n-th creation,
    /// whose address the hash of (creator, n) is, is that of generation n.
    function blobOf(uint256 nth) internal view returns (address blob) {
        assembly ("memory-safe") {
            // RLP: a list of 22 bytes, 20 of which are the address; a number below 128 is its own byte.
            let list := or(shl(240, 0xd694), or(shl(80, address()), shl(72, nth)))
            let size := 23
            if gt(nth, 0x7f) {
                let bytes_ := add(1, gt(nth, 0xff))
                list := or(shl(72, add(0x80, bytes_)), shl(sub(72, shl(3, bytes_)), nth))
                list := or(or(shl(248, add(0xd6, bytes_)), shl(240, 0x94)), or(shl(80, address()), list))
                size := add(23, bytes_)
            }
            mstore(0, list)
            blob := and(keccak256(0, size), 0xffffffffffffffffffffffffffffffffffffffff)
        }
    }

    /// The configuration that holds, in memory.
    function load() internal view returns (uint256) {
        uint256 where = place;
        if (where == 0) revert NotConfigured();
        return loadFrom(address(uint160(where)));
    }

    /// A configuration, in memory; bytes behind its end are zero or garbage. Where there is none, all are zero.
    function loadFrom(address where) internal view returns (uint256 blob) {
        assembly ("memory-safe") {
            let size := extcodesize(where)
            blob := mload(0x40)
            // A word more: the last feed and key are read as whole words.
            mstore(0x40, add(blob, and(add(size, 63), not(31))))
            extcodecopy(where, blob, 0, size)
        }
    }

    /// The scheme, threshold, and so on up to the greatest age, from the top.
    function headerOf(uint256 blob) internal pure returns (uint256 header) {
        assembly ("memory-safe") {
            header := mload(add(blob, HEADER))
        }
    }

    /// A feed's record: from the top, decimals 8 bits, zeros 8, breaker 32, least 104, greatest 104.
    function feedRecord(uint256 blob, uint256 feed) internal pure returns (uint256 record) {
        assembly ("memory-safe") {
            record := mload(add(add(blob, FEEDS), mul(feed, FEED_BYTES)))
        }
    }

    function typedDigest(bytes32 structHash) internal view returns (bytes32 digest) {
        bytes32 domain = DOMAIN_SEPARATOR();
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, hex"1901")
            mstore(add(free, 2), domain)
            mstore(add(free, 34), structHash)
            digest := keccak256(free, 66)
        }
    }

    /// How many words an attestation of `count` members has.
    function attestationWords(uint256 header, uint256 count) internal pure returns (uint256) {
        unchecked {
            return header >> 248 == uint256(Scheme.FrostKey) ? 3 : 1 + 2 * count;
        }
    }

    /// Reverts unless those have signed `digest` who decide about the members: 2f+1, or the group.
    function requireMajority(uint256 blob, bytes32 digest, bytes32[] calldata attestation) internal view {
        uint256 header = headerOf(blob);
        uint256 count = 2 * uint8(header >> 240) - 1;
        if (attestation.length != attestationWords(header, count)) revert MalformedAttestation();
        uint256 offset;
        assembly ("memory-safe") {
            offset := attestation.offset
        }
        requireAttested(blob, header, digest, offset, count);
    }

    /// Reverts unless `count` distinct members, or the group, have signed `digest`. The attestation lies in the call's
    /// data at `offset`, as many words as `attestationWords` says.
    function requireAttested(uint256 blob, uint256 header, bytes32 digest, uint256 offset, uint256 count)
        internal
        view
    {
        unchecked {
            uint256 keys = blob + FEEDS + (header << 24 >> 248 << 5);
            if (header >> 248 == uint256(Scheme.FrostKey)) {
                if (!Schnorr.verify(keys, digest, offset)) revert WrongGroupSignature();
            } else {
                requireQuorum(keys, uint8(header >> 232), digest, offset, count);
            }
        }
    }

    /// Each signature stands for the member whose bit is set, so no signer counts twice; `count` bits, all of members.
    function requireQuorum(uint256 keys, uint256 members, bytes32 digest, uint256 offset, uint256 count) private view {
        uint256 signers;
        uint256 wrong = type(uint256).max;
        assembly ("memory-safe") {
            signers := calldataload(offset)
        }
        if (signers >> members != 0) revert NotAMember(members);
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, digest)
            let next := add(offset, 32)
            let end := add(next, shl(6, count))
            let key := keys
            for {} signers {} {
                if and(signers, 1) {
                    // EIP-2098: the uppermost bit of the second word is the parity.
                    let s := calldataload(add(next, 32))
                    mstore(add(free, 32), add(27, shr(255, s)))
                    s := shr(1, shl(1, s))
                    mstore(add(free, 64), calldataload(next))
                    mstore(add(free, 96), s)
                    // The result is read only if there is one: no result, no signer.
                    mstore(0, 0)
                    pop(staticcall(gas(), 1, free, 128, 0, 32))
                    let signer := mload(0)
                    if or(
                        or(iszero(signer), gt(s, 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0)),
                        or(iszero(eq(signer, shr(96, mload(key)))), iszero(lt(next, end)))
                    ) {
                        wrong := div(sub(key, keys), 20)
                        break
                    }
                    next := add(next, 64)
                }
                key := add(key, 20)
                signers := shr(1, signers)
            }
            // Fewer bits than signatures.
            if and(eq(wrong, not(0)), iszero(eq(next, end))) { wrong := sub(not(0), 1) }
        }
        if (wrong == type(uint256).max) return;
        if (wrong == type(uint256).max - 1) revert MalformedAttestation();
        revert WrongSigner(wrong);
    }
}
