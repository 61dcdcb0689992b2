// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Eip712} from "./Eip712.sol";
import {OracleConfiguration} from "./OracleConfiguration.sol";
import {Roles} from "./Roles.sol";

/// @title Prices that a quorum of oracles has signed.
///
/// A report holds the answers of one round for any number of feeds, and whoever has it may bring it: it speaks for
/// itself. A feed takes an answer only if its (epoch, round) is above that of the last one taken, so of two reports of
/// one round at most one counts for a feed.
///
/// The last answer of a feed is one slot. Feed 0 is read by Chainlink's AggregatorV3Interface here; `PriceFeed` gives
/// the others a contract each. Rounds that readers see are numbered from 1 for each feed, without gaps.
contract PriceOracle is OracleConfiguration {
    bytes32 public constant RESETTER_ROLE = keccak256("RESETTER_ROLE");

    bytes32 private constant REPORT_TYPEHASH = keccak256(
        "Report(bytes32 configDigest,uint32 epoch,uint32 round,uint64 observedAt,bytes32 observations,bytes32[] answers)"
    );
    bytes32 private constant RESET_TYPEHASH = keccak256("Reset(bytes32 configDigest,uint256 feed,uint32 count)");

    uint256 public constant version = 1;

    /// How many answers of each feed can be read back, the last one among them; zero or one keeps the last alone.
    uint256 public immutable historyLength;

    /// From the top: answer 104 bits (signed), epoch 32, round 32, count 32, stored at 32 (seconds), observed so many
    /// seconds before 23, halted 1.
    uint256[FEEDS_MAX] private latest;
    mapping(uint256 place => uint256 answer) private history;

    /// A report was taken; `sequence` is the epoch times 2^32 plus the round, `observations` the hash of what it is
    /// made of. The answers stand in the call's data.
    event Transmitted(uint64 sequence, bytes32 observations);
    event FeedHalted(uint256 indexed feed, int256 last, int256 refused);
    event FeedReset(uint256 indexed feed);

    error RoundZero();
    error StaleReport(uint32 epoch, uint32 round);
    error ReportTooOld(uint64 observedAt);
    error ReportFromTheFuture(uint64 observedAt);
    error UnknownFeed(uint256 feed);
    error OutOfBounds(uint256 feed, int256 answer);
    error NoData(uint256 feed, uint256 roundId);
    error Stale(uint256 feed, uint256 updatedAt);
    error Halted(uint256 feed);
    error NotHalted(uint256 feed);

    constructor(uint256 historyLength_, address admin) Roles(admin) Eip712("PriceOracle", "1") {
        historyLength = historyLength_ < 2 ? 0 : historyLength_;
    }

    /// Takes a signed report. Feeds that already have an answer of this round or a later one, and halted ones, are
    /// passed over; a report that is new to none is refused. Each of `answers` is a word: feed 16 bits, how it was
    /// aggregated 8, zeros 104, value 128.
    function transmit(
        uint32 epoch,
        uint32 round,
        uint64 observedAt,
        bytes32 observations,
        bytes32[] calldata answers,
        bytes calldata attestation
    ) external {
        uint256 blob = load();
        requireAttested(blob, reportDigest(blob, answers), attestation, uint8(headerOf(blob) >> 240));
        if (epoch == 0 || round == 0) revert RoundZero();
        uint256 sequence = uint256(epoch) << 32 | round;
        uint256 times = timesOf(blob, observedAt);
        bool isNew;
        unchecked {
            for (uint256 index = 0; index < answers.length; index++) {
                if (take(blob, uint256(answers[index]), sequence, times)) isNew = true;
            }
        }
        if (!isNew) revert StaleReport(epoch, round);
        emit Transmitted(uint64(sequence), observations);
    }

    /// Lets a halted feed take answers again; the next one may be anything within its bounds.
    function reset(uint256 feed) external onlyRole(RESETTER_ROLE) {
        unhalt(feed);
    }

    /// As `reset`, by the signatures of 2f+1 members, or the group's. A feed's count says which halt is meant: an old
    /// attestation resets no later one.
    function resetByQuorum(uint256 feed, bytes calldata attestation) external {
        if (feed >= feedCount()) revert UnknownFeed(feed);
        uint256 blob = load();
        uint256 count = uint32(latest[feed] >> 56);
        bytes32 structHash = keccak256(abi.encode(RESET_TYPEHASH, configDigest(), feed, count));
        requireAttested(blob, typedDigest(structHash), attestation, majority(blob));
        unhalt(feed);
    }

    /// Whether a feed's breaker has tripped: it keeps its last answer and takes no new ones.
    function isHalted(uint256 feed) external view returns (bool) {
        if (feed >= feedCount()) revert UnknownFeed(feed);
        return latest[feed] & 1 == 1;
    }

    /// The epoch and round of the last answer that a feed took; zeros before the first of a configuration.
    function latestRound(uint256 feed) external view returns (uint32 epoch, uint32 round) {
        if (feed >= feedCount()) revert UnknownFeed(feed);
        return (uint32(latest[feed] >> 120), uint32(latest[feed] >> 88));
    }

    /// The last answer, if it was observed within the last `ageMax` seconds and the feed is not halted: what a contract
    /// that moves money should ask.
    function freshAnswer(uint256 feed, uint256 ageMax) external view returns (int256) {
        uint256 stored = newest(feed);
        if (stored & 1 == 1) revert Halted(feed);
        (, int256 answer, uint256 observedAt,,) = unpack(stored);
        if (block.timestamp > observedAt + ageMax) revert Stale(feed, observedAt);
        return answer;
    }

    /// Chainlink's AggregatorV3Interface, for feed 0. `startedAt` is when the answer was observed. As there, nothing
    /// reverts because an answer is old: look at `updatedAt`, or ask `freshAnswer`.
    function latestRoundData()
        external
        view
        returns (uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound)
    {
        return unpack(newest(0));
    }

    function getRoundData(uint80 roundId) external view returns (uint80, int256, uint256, uint256, uint80) {
        return unpack(past(0, roundId));
    }

    function decimals() external view returns (uint8) {
        return decimals(0);
    }

    function description() external view returns (string memory) {
        return description(0);
    }

    /// The same for any feed.
    function latestRoundDataOf(uint256 feed)
        external
        view
        returns (uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound)
    {
        return unpack(newest(feed));
    }

    function getRoundDataOf(uint256 feed, uint80 roundId)
        external
        view
        returns (uint80, int256, uint256, uint256, uint80)
    {
        return unpack(past(feed, roundId));
    }

    /// Rounds of a new configuration begin anew; its digest keeps reports of the old one out.
    function configured(uint256 feedsBefore) internal override {
        for (uint256 feed = 0; feed < feedsBefore; feed++) {
            latest[feed] &= ~(uint256(type(uint64).max) << 88);
        }
    }

    /// Takes one answer, or passes it over.
    function take(uint256 blob, uint256 word, uint256 sequence, uint256 times) private returns (bool) {
        unchecked {
            uint256 feed = word >> 240;
            if (feed >= uint8(headerOf(blob) >> 224)) revert UnknownFeed(feed);
            uint256 before = latest[feed];
            if (before & 1 == 1 || sequence <= uint64(before >> 88)) return false;
            int256 answer = int128(uint128(word));
            int256 last = int256(before) >> 152;
            uint256 record = feedRecord(blob, feed);
            if (answer < int256(uint256(uint128(record >> 88))) || answer > greatest(blob, feed)) {
                revert OutOfBounds(feed, answer);
            }
            uint256 count = uint32(before >> 56);
            if (count != 0 && trips(last, answer, uint32(record >> 216))) {
                latest[feed] = before | 1;
                emit FeedHalted(feed, last, answer);
                return true;
            }
            uint256 stored = uint256(answer) << 152 | sequence << 88 | (count + 1) << 56 | times;
            latest[feed] = stored;
            if (historyLength != 0) history[placeOf(feed, count + 1)] = stored;
            return true;
        }
    }

    /// A breaker of zero never trips; one that was reset lets the next answer through.
    function trips(int256 last, int256 answer, uint256 breakerBps) private pure returns (bool) {
        unchecked {
            // Both are positive and below 2^100.
            uint256 apart = uint256(last > answer ? last - answer : answer - last);
            return breakerBps != 0 && last != 0 && apart * 10_000 > uint256(last) * breakerBps;
        }
    }

    function unhalt(uint256 feed) private {
        if (feed >= feedCount()) revert UnknownFeed(feed);
        uint256 before = latest[feed];
        if (before & 1 == 0) revert NotHalted(feed);
        if (historyLength == 0) {
            // The next answer has nothing to be far from.
            history[feed] = before >> 152;
        }
        latest[feed] = before & ~uint256(1);
        emit FeedReset(feed);
    }

    /// When it was stored (32 bits), how long after it was observed (23), and a zero for halted.
    function timesOf(uint256 blob, uint64 observedAt) private view returns (uint256) {
        unchecked {
            uint256 observed = observedAt / 1000;
            uint256 age = block.timestamp > observed ? block.timestamp - observed : 0;
            if (age > uint24(headerOf(blob) >> 200)) revert ReportTooOld(observedAt);
            // Oracles' clocks may be ahead of the block's.
            if (observed > block.timestamp + uint24(headerOf(blob) >> 200)) revert ReportFromTheFuture(observedAt);
            return uint256(uint32(block.timestamp)) << 24 | age << 1;
        }
    }

    /// The digest that the oracles signed: of what the call's data holds, and of the configuration that holds.
    function reportDigest(uint256 blob, bytes32[] calldata answers) private view returns (bytes32) {
        bytes32 typehash = REPORT_TYPEHASH;
        bytes32 structHash;
        assembly ("memory-safe") {
            let free := mload(0x40)
            let bytes_ := shl(5, answers.length)
            calldatacopy(free, answers.offset, bytes_)
            let answersHash := keccak256(free, bytes_)
            mstore(free, typehash)
            mstore(add(free, 32), mload(add(blob, 1)))
            // Epoch, round, time and observations are the call's first four words.
            calldatacopy(add(free, 64), 4, 128)
            mstore(add(free, 192), answersHash)
            structHash := keccak256(free, 224)
        }
        return typedDigest(structHash);
    }

    function headerOf(uint256 blob) private pure returns (uint256 header) {
        assembly ("memory-safe") {
            header := mload(add(blob, 33))
        }
    }

    function greatest(uint256 blob, uint256 feed) private pure returns (int256 answer) {
        assembly ("memory-safe") {
            answer := shr(128, mload(add(add(blob, 61), mul(feed, 37))))
        }
    }

    function newest(uint256 feed) private view returns (uint256 stored) {
        if (feed >= FEEDS_MAX) revert UnknownFeed(feed);
        stored = latest[feed];
        if (uint32(stored >> 56) == 0) revert NoData(feed, 0);
    }

    /// An answer that is still within the window.
    function past(uint256 feed, uint256 roundId) private view returns (uint256 stored) {
        stored = newest(feed);
        uint256 count = uint32(stored >> 56);
        if (roundId == count) return stored;
        if (roundId == 0 || roundId > count || count - roundId >= historyLength) revert NoData(feed, roundId);
        return history[placeOf(feed, roundId)];
    }

    function placeOf(uint256 feed, uint256 count) private view returns (uint256) {
        return feed << 128 | count % historyLength;
    }

    function unpack(uint256 stored) private pure returns (uint80, int256, uint256, uint256, uint80) {
        unchecked {
            uint80 count = uint32(stored >> 56);
            uint256 updatedAt = uint32(stored >> 24);
            return (count, int256(stored) >> 152, updatedAt - uint256(uint24(stored) >> 1), updatedAt, count);
        }
    }
}
