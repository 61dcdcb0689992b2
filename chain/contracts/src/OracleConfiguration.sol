// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Eip712} from "./Eip712.sol";
import {Roles} from "./Roles.sol";
import {Schnorr} from "./Schnorr.sol";

/// How a quorum of oracles vouches for something.
enum Scheme {
    None,
    /// A signature of each of threshold members: a set of members in eight bytes, bit i for member i, then 65 bytes
    /// (r, s, v) for each of them, in ascending order.
    EcdsaQuorum,
    /// One Schnorr signature by the group's key (RFC 9591), which takes threshold members to make: the nonce's point as
    /// x and y, then the scalar, 32 bytes each.
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
///     40  for each feed: decimals 1, breaker in basis points 4 (0: none), least answer 16, greatest answer 16
///         then the keys: 20 bytes for each member, or one compressed point of 33 bytes
abstract contract OracleConfiguration is Roles, Eip712 {
    bytes32 public constant CONFIGURER_ROLE = keccak256("CONFIGURER_ROLE");

    bytes32 private constant ROTATION_TYPEHASH = keccak256("Rotation(bytes32 from,uint32 generation,bytes32 to)");

    uint256 internal constant DIGEST = 1;
    uint256 internal constant HEADER = 33;
    uint256 internal constant FEEDS = 40;
    uint256 internal constant FEED_BYTES = 37;
    uint256 internal constant FEEDS_MAX = 64;
    uint256 private constant MEMBERS_MAX = 64;
    /// The ages that a stored answer has room for.
    uint256 private constant AGE_MAX = (1 << 22) - 1;

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
    function rotate(Configuration calldata next, bytes calldata attestation) external {
        uint256 blob = load();
        bytes32 from;
        assembly ("memory-safe") {
            from := mload(add(blob, DIGEST))
        }
        bytes32 to = keccak256(abi.encode(next));
        bytes32 structHash = keccak256(abi.encode(ROTATION_TYPEHASH, from, generation() + 1, to));
        requireAttested(blob, typedDigest(structHash), attestation, majority(blob));
        install(next);
    }

    /// What a new configuration means for what is stored.
    function configured(uint256 feedsBefore) internal virtual;

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
        address blob = store(content);
        uint32 number = generation() + 1;
        place = uint256(uint160(blob)) | content.length << 160 | uint256(number) << 184;
        configured(before);
        emit Configured(number, next.digest, blob);
    }

    /// Zero of anything, and whoever counts twice, is refused.
    function checkMembers(Configuration calldata next) private view {
        uint256 members = next.members;
        uint256 faulty = members / 3;
        if (members > MEMBERS_MAX || members != 3 * faulty + 1 || next.threshold != faulty + 1) {
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
        return abi.encodePacked(feed.decimals, feed.breakerBps, feed.least, feed.greatest);
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

    /// The configuration, in memory; bytes behind its end are zero or garbage.
    function load() internal view returns (uint256 blob) {
        uint256 where = place;
        if (where == 0) revert NotConfigured();
        assembly ("memory-safe") {
            let size := and(shr(160, where), 0xffffff)
            blob := mload(0x40)
            // A word more: the last feed and key are read as whole words.
            mstore(0x40, add(blob, and(add(size, 63), not(31))))
            extcodecopy(and(where, 0xffffffffffffffffffffffffffffffffffffffff), blob, 0, size)
        }
    }

    /// The first word of a feed's record: decimals 8 bits, breaker 32, least 128, and 88 of the greatest.
    function feedRecord(uint256 blob, uint256 feed) internal pure returns (uint256 record) {
        assembly ("memory-safe") {
            record := mload(add(add(blob, FEEDS), mul(feed, FEED_BYTES)))
        }
    }

    /// How many members it takes to decide about the members: 2f+1, or a group key's threshold.
    function majority(uint256 blob) internal pure returns (uint256) {
        uint256 header;
        assembly ("memory-safe") {
            header := mload(add(blob, HEADER))
        }
        uint256 threshold = uint8(header >> 240);
        return header >> 248 == uint256(Scheme.EcdsaQuorum) ? 2 * threshold - 1 : threshold;
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

    /// Reverts unless `count` distinct members, or the group, have signed `digest`.
    function requireAttested(uint256 blob, bytes32 digest, bytes calldata attestation, uint256 count) internal view {
        uint256 header;
        assembly ("memory-safe") {
            header := mload(add(blob, HEADER))
        }
        uint256 keys = blob + FEEDS + uint8(header >> 224) * FEED_BYTES;
        if (header >> 248 == uint256(Scheme.EcdsaQuorum)) {
            requireQuorum(keys, uint8(header >> 232), digest, attestation, count);
        } else {
            if (attestation.length != 96) revert MalformedAttestation();
            if (!Schnorr.verify(keys, digest, attestation)) revert WrongGroupSignature();
        }
    }

    /// Each signature stands for the member whose bit is set, so no signer counts twice; `count` bits, all of members.
    function requireQuorum(uint256 keys, uint256 members, bytes32 digest, bytes calldata attestation, uint256 count)
        private
        view
    {
        if (attestation.length != 8 + 65 * count) revert MalformedAttestation();
        uint256 signers = uint64(bytes8(attestation));
        if (signers >> members != 0) revert NotAMember(members);
        uint256 wrong = type(uint256).max;
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, digest)
            let at := add(attestation.offset, 8)
            let end := add(attestation.offset, attestation.length)
            let key := keys
            for {} signers {} {
                if and(signers, 1) {
                    // r and s stand before v; ecrecover wants v first.
                    mstore(add(free, 32), byte(0, calldataload(add(at, 64))))
                    calldatacopy(add(free, 64), at, 64)
                    let s := mload(add(free, 96))
                    // The result is read only if there is one: no result, no signer.
                    mstore(0, 0)
                    pop(staticcall(gas(), 1, free, 128, 0, 32))
                    let signer := mload(0)
                    if or(
                        or(iszero(signer), gt(s, 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0)),
                        or(iszero(eq(signer, shr(96, mload(key)))), iszero(lt(at, end)))
                    ) {
                        wrong := div(sub(key, keys), 20)
                        break
                    }
                    at := add(at, 65)
                }
                key := add(key, 20)
                signers := shr(1, signers)
            }
            // Fewer bits than signatures.
            if and(eq(wrong, not(0)), iszero(eq(at, end))) { wrong := sub(not(0), 1) }
        }
        if (wrong == type(uint256).max) return;
        if (wrong == type(uint256).max - 1) revert MalformedAttestation();
        revert WrongSigner(wrong);
    }
}
