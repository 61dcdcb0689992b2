// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Eip712} from "./Eip712.sol";
import {OracleConfiguration} from "./OracleConfiguration.sol";
import {Roles} from "./Roles.sol";

/// @title Prices that a quorum of oracles has signed.
///
/// A report holds the answers of one round for any number of feeds, and whoever has it may bring it: it speaks for
/// itself. A feed takes an answer only if its (epoch, round) is above that of the last one taken, so of two reports of
/// one round at most one counts for a feed. Where they are about different feeds both count: a round that holds for all
/// feeds would take a slot more, 5,000 gas of every report, and would turn away the one feed of an older report that a
/// newer one leaves out.
///
/// An answer that jumps halts its feed. What was observed up to its reset is never taken, however late it is brought:
/// neither the answer that jumped nor any other of that time. When that was is said by the oracles' clocks.
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

    /// From the top: answer 100 bits, generation 16, epoch 32, round 24, count 32, stored at 32 (seconds), observed so
    /// many seconds before 18, and whether the breaker lets anything pass 1, and nothing 1. Epoch and round are of the
    /// last answer that was taken, or of the one that halted the feed: it was looked at, and comes no second time.
    ///
    /// Generation, epoch and round are compared as one number, and no feed's is below its configuration's first: that
    /// keeps out the reports of earlier configurations, without a look at which one holds.
    uint256[FEEDS_MAX] private latest;
    mapping(uint256 place => uint256 answer) private history;
    /// From which second on the first answer after a feed's reset must have been observed. Of use while the breaker lets
    /// anything pass: who has it may bring any report, also one that was signed before the reset.
    mapping(uint256 feed => uint256 time) private reopening;

    /// Where in a slot generation, epoch and round are.
    uint256 private constant ROUNDS = uint256(type(uint72).max) << 84;
    uint256 private constant HALTED = 1;
    uint256 private constant DISARMED = 2;
    /// Where the head lies in the data of a call of `transmit`.
    uint256 private constant HEAD = 4;
    /// The bits of a report's answer that mean nothing.
    uint256 private constant ANSWER_ZEROS = ((1 << 104) - 1) << 128;

    /// What is found about an answer.
    uint256 private constant MALFORMED = 1;
    uint256 private constant STALE_OR_HALTED = 2;
    uint256 private constant REOPENING = 4;
    uint256 private constant OUT_OF_BOUNDS = 8;

    /// What a feed would take.
    struct FeedState {
        /// Those of the last answer it took, or of the one that halted it; zeros before the first of a configuration.
        uint32 epoch;
        uint32 round;
        bool isHalted;
        /// Answers observed before this second are not taken; zero unless the feed was reset and has had none since.
        uint64 opensAt;
    }

    enum Verdict {
        Take,
        PassOver,
        Halt
    }

    /// A report was taken; `sequence` is the generation (16 bits), the epoch (32) and the round (24), `observations` the
    /// hash of what it is made of. The answers stand in the call's data.
    event Transmitted(uint72 sequence, bytes32 observations);
    /// The feed keeps its last answer, and takes none until it is reset.
    event FeedHalted(uint256 indexed feed, int256 last, int256 refused);
    event FeedReset(uint256 indexed feed);
    /// The rest of its report was taken.
    event AnswerOutOfBounds(uint256 indexed feed, int256 answer);

    error RoundZero();
    error NoAnswers();
    error MalformedAnswer(bytes32 answer);
    error StaleReport(uint32 epoch, uint24 round);
    error ReportTooOld(uint64 observedAt);
    error ReportFromTheFuture(uint64 observedAt);
    error ObservedBeforeReset(uint256 feed, uint64 observedAt, uint256 opensAt);
    error UnknownFeed(uint256 feed);
    error OutOfBounds(uint256 feed, int256 answer);
    error NoData(uint256 feed, uint256 roundId);
    error Stale(uint256 feed, uint256 updatedAt);
    error Halted(uint256 feed);
    error NotHalted(uint256 feed);

    constructor(uint256 historyLength_, address admin) Roles(admin) Eip712("PriceOracle", "1") {
        historyLength = historyLength_ < 2 ? 0 : historyLength_;
    }

    /// Takes a signed report. Feeds that already have an answer of this round or a later one, halted ones, those that were
    /// reset after it was observed, and answers out of bounds are passed over; a report of which nothing is left is
    /// refused, with the reason of its first answer.
    ///
    /// `head` is, from the top: the configuration's generation 16 bits, epoch 32, round 24, and when it was observed
    /// (milliseconds) 64. `words` are the answers and behind them the attestation (`Scheme` says how many words that
    /// takes). An answer is, from the top: feed 16 bits, how it was aggregated 8 (1 to 3), zeros 104, value 128. Feeds
    /// ascend.
    function transmit(uint136 head, bytes32 observations, bytes32[] calldata words) external {
        unchecked {
            uint256 blob = loadFrom(blobOf(head >> 120));
            uint256 header = headerOf(blob);
            // Where there is no configuration all is zero.
            if (header == 0) revert NotConfigured();
            uint256 threshold = uint8(header >> 240);
            (uint256 answers, uint256 end) = split(words, attestationWords(header, threshold));
            requireAttested(blob, header, reportDigest(blob, head, observations, answers, end), end, threshold);
            uint256 sequence = head >> 64;
            if (uint24(sequence) == 0 || uint32(sequence >> 24) == 0) revert RoundZero();
            uint256 stamp = sequence << 84 | timesOf(header, uint64(head));
            if (!takeAll(blob + FEEDS, uint8(header >> 224), answers, end, stamp)) refuse(blob, answers, head);
            emit Transmitted(uint72(sequence), observations);
        }
    }

    /// Lets a halted feed take answers again; the next one may be anything within its bounds, if it was observed in a
    /// later second than this block's, by the oracles' clocks. So reset when the sources have been right for a while: where
    /// a quorum's clocks are ahead by some seconds, what was signed so many seconds before can still be brought.
    function reset(uint256 feed) external onlyRole(RESETTER_ROLE) {
        unhalt(feed);
    }

    /// As `reset`, by the signatures of 2f+1 members, or the group's. A feed's count says which halt is meant: an old
    /// attestation resets no later one.
    function resetByQuorum(uint256 feed, bytes32[] calldata attestation) external {
        if (feed >= feedCount()) revert UnknownFeed(feed);
        uint256 blob = load();
        uint256 count = uint32(latest[feed] >> 52);
        bytes32 structHash = keccak256(abi.encode(RESET_TYPEHASH, configDigest(), feed, count));
        requireMajority(blob, typedDigest(structHash), attestation);
        unhalt(feed);
    }

    /// Whether a feed's breaker has tripped: it keeps its last answer and takes no new ones.
    function isHalted(uint256 feed) external view returns (bool) {
        if (feed >= feedCount()) revert UnknownFeed(feed);
        return latest[feed] & HALTED != 0;
    }

    /// The epoch and round of the last answer that a feed took, or of the one that halted it; zeros before the first of a
    /// configuration.
    function latestRound(uint256 feed) external view returns (uint32 epoch, uint32 round) {
        FeedState memory state = stateOf(feed);
        return (state.epoch, state.round);
    }

    /// What who brings reports asks before it pays: the generation that holds, and what each feed would take, all as of
    /// one block.
    function feedStates() external view returns (uint32 generation_, FeedState[] memory states) {
        states = new FeedState[](feedCount());
        for (uint256 feed = 0; feed < states.length; feed++) {
            states[feed] = stateOf(feed);
        }
        return (generation(), states);
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

    /// Rounds of a new configuration begin anew, above all that an earlier one can sign.
    function configured(uint256 nth, uint256 feedsBefore) internal override {
        for (uint256 feed = 0; feed < feedsBefore; feed++) {
            latest[feed] = latest[feed] & ~ROUNDS | nth << 140;
        }
    }

    /// Where in the call's data the answers begin, and where they end and the attestation begins.
    function split(bytes32[] calldata words, uint256 attestation) private pure returns (uint256 answers, uint256 end) {
        unchecked {
            if (words.length < attestation) revert MalformedAttestation();
            if (words.length == attestation) revert NoAnswers();
            assembly ("memory-safe") {
                answers := words.offset
            }
            end = answers + (words.length - attestation << 5);
        }
    }

    /// Takes the answers that lie from `answers` to `end`, or passes them over. Whether any of them changed something.
    /// What nearly every answer comes to is computed here without a branch; the rest is for `isTaken` to say.
    function takeAll(uint256 records, uint256 feeds, uint256 answers, uint256 end, uint256 stamp)
        private
        returns (bool isNew)
    {
        unchecked {
            // Feeds ascend, so the last one speaks for all.
            uint256 word = wordAt(end - 32);
            if (word >> 240 >= feeds) revert UnknownFeed(word >> 240);
            uint256 feedMin = 0;
            for (; answers != end; answers += 32) {
                uint256 before;
                uint256 findings;
                assembly ("memory-safe") {
                    word := calldataload(answers)
                    before := sload(add(latest.slot, shr(240, word)))
                    let record := mload(add(records, shl(5, shr(240, word))))
                    // Below zero is above 2^127 here, and so above every bound.
                    let value := and(word, 0xffffffffffffffffffffffffffffffff)
                    let last := shr(156, before)
                    let apart := sub(value, last)
                    if gt(last, value) { apart := sub(last, value) }
                    // What lies within the bounds is below 2^100, and a word's value below 2^128: nothing overflows.
                    findings := shl(4, gt(mul(apart, 10000), mul(last, and(shr(208, record), 0xffffffff))))
                    findings := or(findings, shl(3, lt(value, and(shr(104, record), 0xffffffffffffffffffffffffff))))
                    findings := or(findings, shl(3, gt(value, and(record, 0xffffffffffffffffffffffffff))))
                    // Both bits of the breaker: halted, and reopening.
                    findings := or(findings, shl(1, and(before, 3)))
                    // Below the rounds stands the count, which is zero in the stamp: an equal round is not above.
                    findings := or(findings, shl(1, iszero(gt(shl(100, stamp), shl(100, before)))))
                    findings := or(findings, lt(shr(240, word), feedMin))
                    findings := or(findings, gt(sub(byte(2, word), 1), 2))
                    findings := or(findings, gt(and(word, ANSWER_ZEROS), 0))
                    feedMin := add(shr(240, word), 1)
                }
                if (findings != 0) {
                    Verdict verdict = judge(findings, word, before, records, stamp);
                    if (verdict != Verdict.PassOver) isNew = true;
                    if (verdict != Verdict.Take) continue;
                }
                isNew = true;
                uint256 stored = word << 156 | stamp | (before >> 52) + 1 << 224 >> 172;
                assembly ("memory-safe") {
                    sstore(add(latest.slot, shr(240, word)), stored)
                }
                if (historyLength != 0) history[placeOf(word >> 240, uint32(stored >> 52))] = stored;
            }
        }
    }

    /// What becomes of an answer that is not as nearly all are.
    function judge(uint256 findings, uint256 word, uint256 before, uint256 records, uint256 stamp)
        private
        returns (Verdict)
    {
        unchecked {
            uint256 feed = word >> 240;
            if (findings & MALFORMED != 0) revert MalformedAnswer(bytes32(word));
            if (findings & STALE_OR_HALTED != 0) return Verdict.PassOver;
            // By the report's own word: the stamp's is cut off at the block's time, which in an estimate is the last block's.
            bool isEarly = findings & REOPENING != 0 && uint64(wordAt(HEAD)) / 1000 < reopening[feed];
            if (isEarly) return Verdict.PassOver;
            if (findings & OUT_OF_BOUNDS != 0) {
                emit AnswerOutOfBounds(feed, int128(uint128(word)));
                return Verdict.PassOver;
            }
            // The first answer has nothing to be far from. A breaker of zero never trips, nor does one that was reset.
            uint256 last = before >> 156;
            bool isArmed = uint32(feedRecord(records - FEEDS, feed) >> 208) != 0 && last != 0 && before & DISARMED == 0;
            if (!isArmed) return Verdict.Take;
            // Its round is used up: after the reset it does not come again.
            latest[feed] = before & ~ROUNDS | stamp & ROUNDS | HALTED;
            emit FeedHalted(feed, int256(last), int128(uint128(word)));
            return Verdict.Halt;
        }
    }

    /// Why a report's first answer was passed over.
    function refuse(uint256 blob, uint256 answers, uint256 head) private view {
        uint256 word = wordAt(answers);
        uint256 feed = word >> 240;
        int256 answer = int128(uint128(word));
        uint256 sequence = head >> 64;
        if (latest[feed] & HALTED != 0) revert Halted(feed);
        if (sequence > uint72(latest[feed] >> 84)) {
            if (!isWithinBounds(feedRecord(blob, feed), answer)) revert OutOfBounds(feed, answer);
            revert ObservedBeforeReset(feed, uint64(head), reopening[feed]);
        }
        revert StaleReport(uint32(sequence >> 24), uint24(sequence));
    }

    /// The least bound is above zero and the greatest below 2^100, so that what lies within fits its 100 bits.
    function isWithinBounds(uint256 record, int256 answer) private pure returns (bool) {
        return answer >= int256(uint256(uint104(record >> 104))) && answer <= int256(uint256(uint104(record)));
    }

    function unhalt(uint256 feed) private {
        if (feed >= feedCount()) revert UnknownFeed(feed);
        uint256 before = latest[feed];
        if (before & HALTED == 0) revert NotHalted(feed);
        latest[feed] = before & ~HALTED | DISARMED;
        reopening[feed] = block.timestamp + 1;
        emit FeedReset(feed);
    }

    function stateOf(uint256 feed) private view returns (FeedState memory) {
        if (feed >= feedCount()) revert UnknownFeed(feed);
        uint256 stored = latest[feed];
        return FeedState({
            epoch: uint32(stored >> 108),
            round: uint24(stored >> 84),
            isHalted: stored & HALTED != 0,
            opensAt: stored & DISARMED != 0 ? uint64(reopening[feed]) : 0
        });
    }

    /// When a report was observed, in seconds, of a slot or a stamp.
    function observedAtOf(uint256 stored) private pure returns (uint256) {
        unchecked {
            return uint32(stored >> 20) - (stored << 236 >> 238);
        }
    }

    /// When it was stored (32 bits), how long after it was observed (18), and two zeros for the breaker.
    function timesOf(uint256 header, uint256 observedAt) private view returns (uint256) {
        unchecked {
            // Beyond every age where it is of the future.
            uint256 age = block.timestamp - observedAt / 1000;
            uint256 ageMax = uint24(header >> 200);
            if (age > ageMax) {
                if (age <= block.timestamp) revert ReportTooOld(uint64(observedAt));
                // Oracles' clocks may be ahead of the block's.
                if (0 - age > ageMax) revert ReportFromTheFuture(uint64(observedAt));
                age = 0;
            }
            return block.timestamp << 224 >> 204 | age << 2;
        }
    }

    /// The digest that the oracles signed: of what the call's data holds, and of the configuration that holds.
    function reportDigest(uint256 blob, uint256 head, bytes32 observations, uint256 answers, uint256 end)
        private
        view
        returns (bytes32 digest)
    {
        (bytes32 typehash, bytes32 domain) = (REPORT_TYPEHASH, DOMAIN_SEPARATOR());
        assembly ("memory-safe") {
            let free := mload(0x40)
            let size := sub(end, answers)
            calldatacopy(free, answers, size)
            let answersHash := keccak256(free, size)
            mstore(free, typehash)
            mstore(add(free, 32), mload(add(blob, DIGEST)))
            mstore(add(free, 64), and(shr(88, head), 0xffffffff))
            mstore(add(free, 96), and(shr(64, head), 0xffffff))
            mstore(add(free, 128), and(head, 0xffffffffffffffff))
            mstore(add(free, 160), observations)
            mstore(add(free, 192), answersHash)
            mstore(add(free, 34), keccak256(free, 224))
            mstore(free, hex"1901")
            mstore(add(free, 2), domain)
            digest := keccak256(free, 66)
        }
    }

    function wordAt(uint256 offset) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(offset)
        }
    }

    function newest(uint256 feed) private view returns (uint256 stored) {
        if (feed >= FEEDS_MAX) revert UnknownFeed(feed);
        stored = latest[feed];
        if (uint32(stored >> 52) == 0) revert NoData(feed, 0);
    }

    /// An answer that is still within the window.
    function past(uint256 feed, uint256 roundId) private view returns (uint256 stored) {
        stored = newest(feed);
        uint256 count = uint32(stored >> 52);
        if (roundId == count) return stored;
        if (roundId == 0 || roundId > count || count - roundId >= historyLength) revert NoData(feed, roundId);
        return history[placeOf(feed, roundId)];
    }

    function placeOf(uint256 feed, uint256 count) private view returns (uint256) {
        return feed << 128 | count % historyLength;
    }

    function unpack(uint256 stored) private pure returns (uint80, int256, uint256, uint256, uint80) {
        unchecked {
            uint80 count = uint32(stored >> 52);
            return (count, int256(stored >> 156), observedAtOf(stored), uint32(stored >> 20), count);
        }
    }
}
