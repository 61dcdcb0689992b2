// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// Chainlink's interface, as its users write it down.
interface AggregatorV3Interface {
    function decimals() external view returns (uint8);
    function description() external view returns (string memory);
    function version() external view returns (uint256);
    function getRoundData(uint80 roundId)
        external
        view
        returns (uint80 roundId_, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound);
    function latestRoundData()
        external
        view
        returns (uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound);
}

/// @title A shop that asks prices in cents and is paid in a token: what it costs by the feed's last answer.
///
/// It knows nothing of the oracle but the interface, and does what users of a feed must: it refuses an answer that is
/// not above zero, or older than it can live with.
contract PriceConsumer {
    AggregatorV3Interface public immutable feed;
    uint256 public immutable ageMax;

    error NoPrice(int256 answer);
    error OldPrice(uint256 updatedAt);

    constructor(AggregatorV3Interface feed_, uint256 ageMax_) {
        feed = feed_;
        ageMax = ageMax_;
    }

    /// How many of the token's units, of which 10^18 are one, `cents` of a dollar are; rounded up.
    function unitsFor(uint256 cents) external view returns (uint256) {
        (, int256 answer,, uint256 updatedAt,) = feed.latestRoundData();
        if (answer <= 0) revert NoPrice(answer);
        if (block.timestamp > updatedAt + ageMax) revert OldPrice(updatedAt);
        uint256 dollars = 10 ** feed.decimals();
        return (cents * 1e18 * dollars + 100 * uint256(answer) - 1) / (100 * uint256(answer));
    }
}
