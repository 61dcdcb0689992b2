// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {PriceOracle} from "./PriceOracle.sol";

/// @title One feed of a PriceOracle, as a contract of its own: Chainlink's AggregatorV3Interface.
///
/// It holds nothing and nobody owns it. A read costs one call more than asking the oracle itself.
contract PriceFeed {
    PriceOracle public immutable oracle;
    uint256 public immutable feed;

    constructor(PriceOracle oracle_, uint256 feed_) {
        oracle = oracle_;
        feed = feed_;
        // Reverts unless there is such a feed.
        oracle_.decimalsOf(feed_);
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        return oracle.latestRoundDataOf(feed);
    }

    function getRoundData(uint80 roundId) external view returns (uint80, int256, uint256, uint256, uint80) {
        return oracle.getRoundDataOf(feed, roundId);
    }

    function decimals() external view returns (uint8) {
        return oracle.decimalsOf(feed);
    }

    function description() external view returns (string memory) {
        return oracle.descriptionOf(feed);
    }

    function version() external view returns (uint256) {
        return oracle.version();
    }
}
