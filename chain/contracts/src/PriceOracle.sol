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
    /// seconds before 22, and whether the breaker lets anything pass 1, and nothing 1.
    uint256[FEEDS_MAX] private latest;
    mapping(uint256 place => uint256 answer) private history;

    uint256 private constant HALTED = 1;
    uint256 private constant DISARMED = 2;

    /// A report was taken; `sequence` is the epoch times 2^32 plus the round, `observations` the hash of what it is
    /// made of. The answers stand in the call's data.
    event Transmitted(uint64 sequence, bytes32 observations);
    /// The feed keeps its last answer, and takes none until it is reset.
    event FeedHalted(uint256 indexed feed, int256 last, int256 refused);
    event FeedReset(uint256 indexed feed);
    /// The rest of its report was taken.
    event AnswerOutOfBounds(uint256 indexed feed, int256 answer);

    error RoundZero();
    error NoAnswers();
    error MalformedAnswer(uint256 index);
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

    /// Takes a signed report. Feeds that already have an answer of this round or a later one, halted ones, and answers
    /// out of bounds are passed over; a report of which nothing is left is refused, with the reason of its first answer.
    /// Each of `answers` is a word: feed 16 bits, how it was aggregated 8 (1 to 3), zeros 104, value 128. Feeds ascend.
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
            uint256 feedMin = 0;
            for (uint256 index = 0; index < answers.length; index++) {
                uint256 word = uint256(answers[index]);
                if (word >> 240 < feedMin || (word >> 128) << 152 != 0 || uint8(word >> 232) - 1 > 2) {
                    revert MalformedAnswer(index);
                }
                feedMin = (word >> 240) + 1;
                if (take(blob, word, sequence, times)) isNew = true;
            }
            // They ascend, so the last one speaks for all; what was written for it is undone.
            if (feedMin > uint8(headerOf(blob) >> 224)) revert UnknownFeed(feedMin - 1);
        }
        if (!isNew) refuse(blob, answers, sequence);
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
        return latest[feed] & HALTED != 0;
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
        if (stored & HALTED != 0) revert Halted(feed);
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
        return decimalsOf(0);
    }

    function description() external view returns (string memory) {
        return descriptionOf(0);
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

    /// Takes one answer, or passes it over. Whether there is such a feed, the caller checks afterwards.
    function take(uint256 blob, uint256 word, uint256 sequence, uint256 times) private returns (bool) {
        unchecked {
            uint256 feed = word >> 240;
            uint256 before;
            uint256 least;
            uint256 most;
            assembly ("memory-safe") {
                before := sload(add(latest.slot, feed))
                let record := add(add(blob, FEEDS), mul(feed, FEED_BYTES))
                least := shr(128, mload(add(record, 5)))
                most := shr(128, mload(add(record, 21)))
            }
            if (before & HALTED != 0 || sequence <= uint64(before >> 88)) return false;
            // Below zero is above 2^127 here, and so above every bound.
            uint256 value = uint128(word);
            if (value < least || value > most) {
                emit AnswerOutOfBounds(feed, int128(uint128(word)));
                return false;
            }
            if (trips(before, int256(value), uint32(feedRecord(blob, feed) >> 216))) {
                latest[feed] = before | HALTED;
                emit FeedHalted(feed, int256(before) >> 152, int256(value));
                return true;
            }
            uint256 count = uint32(before >> 56) + 1;
            uint256 stored = value << 152 | sequence << 88 | count << 56 | times;
            assembly ("memory-safe") {
                sstore(add(latest.slot, feed), stored)
            }
            if (historyLength != 0) history[placeOf(feed, count)] = stored;
            return true;
        }
    }

    /// Why a report's first answer was passed over.
    function refuse(uint256 blob, bytes32[] calldata answers, uint256 sequence) private view {
        if (answers.length == 0) revert NoAnswers();
        uint256 feed = uint256(answers[0]) >> 240;
        int256 answer = int128(uint128(uint256(answers[0])));
        if (latest[feed] & HALTED != 0) revert Halted(feed);
        if (sequence > uint64(latest[feed] >> 88) && !isWithinBounds(blob, feed, answer)) {
            revert OutOfBounds(feed, answer);
        }
        revert StaleReport(uint32(sequence >> 32), uint32(sequence));
    }

    /// The least bound is above zero and the greatest below 2^100, so that what lies within fits its 104 bits.
    function isWithinBounds(uint256 blob, uint256 feed, int256 answer) private pure returns (bool) {
        return answer >= int256(uint256(uint128(feedRecord(blob, feed) >> 88))) && answer <= greatest(blob, feed);
    }

    /// The first answer has nothing to be far from. A breaker of zero never trips, and neither does one that was reset.
    function trips(uint256 before, int256 answer, uint256 breakerBps) private pure returns (bool) {
        unchecked {
            int256 last = int256(before) >> 152;
            if (breakerBps == 0 || last == 0 || before & DISARMED != 0) return false;
            // Both are positive and below 2^100.
            uint256 apart = uint256(last > answer ? last - answer : answer - last);
            return apart * 10_000 > uint256(last) * breakerBps;
        }
    }

    function unhalt(uint256 feed) private {
        if (feed >= feedCount()) revert UnknownFeed(feed);
        uint256 before = latest[feed];
        if (before & HALTED == 0) revert NotHalted(feed);
        latest[feed] = before & ~HALTED | DISARMED;
        emit FeedReset(feed);
    }

    /// When it was stored (32 bits), how long after it was observed (22), and two zeros for the breaker.
    function timesOf(uint256 blob, uint64 observedAt) private view returns (uint256) {
        unchecked {
            uint256 observed = observedAt / 1000;
            uint256 age = block.timestamp > observed ? block.timestamp - observed : 0;
            if (age > uint24(headerOf(blob) >> 200)) revert ReportTooOld(observedAt);
            // Oracles' clocks may be ahead of the block's.
            if (observed > block.timestamp + uint24(headerOf(blob) >> 200)) revert ReportFromTheFuture(observedAt);
            return uint256(uint32(block.timestamp)) << 24 | age << 2;
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
            answer := shr(128, mload(add(add(blob, add(FEEDS, 21)), mul(feed, FEED_BYTES))))
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
            return (count, int256(stored) >> 152, updatedAt - uint256(uint24(stored) >> 2), updatedAt, count);
        }
    }
}
