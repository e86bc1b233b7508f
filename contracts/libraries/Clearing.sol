// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Level} from "./TickBook.sol";

/// @title Uniform price, maximum volume, midpoint
/// @notice The twin of `node/market/clearing.py`, over the ticks of one slot's book. Below, S(<=p) is the
/// ask energy with limit at most p, D(>=p) the bid energy with limit at least p, and so on.
library Clearing {
    /// @param matchedWh max over p of min(S(<=p), D(>=p)); if 0 nothing trades and the rest is 0
    /// @param doubledTick lo + hi: twice the clearing price in ticks above the floor
    /// @param rationed side that is only partly filled at the price (valid if totalWh > 0)
    /// @param leftWh energy of that side and tick that is filled
    /// @param totalWh energy of that side and tick
    struct Outcome {
        uint256 askWh;
        uint256 bidWh;
        uint256 matchedWh;
        uint256 doubledTick;
        uint256 rationed;
        uint256 leftWh;
        uint256 totalWh;
    }

    uint256 internal constant ASK = 0;
    uint256 internal constant BID = 1;

    /// @param levels the prices that occur in the book, ascending, in the first `count` places
    function clear(Level[] memory levels, uint256 count) internal pure returns (Outcome memory outcome) {
        // Sums stay below 2^42 [1] and ticks below 2^8: nothing here can overflow.
        unchecked {
            (uint256 askWh, uint256 bidWh) = (0, 0);
            for (uint256 i = 0; i < count; ++i) {
                askWh += levels[i].askWh();
                bidWh += levels[i].bidWh();
            }
            (outcome.askWh, outcome.bidWh) = (askWh, bidWh);
            if (askWh == 0 || bidWh == 0) return outcome;
            uint256 matchedWh = 0;
            uint256 lo = type(uint256).max;
            uint256 hi = 0;
            uint256 asksBelow = 0; // S(<p)
            uint256 bidsFrom = bidWh; // D(>=p)
            for (uint256 i = 0; i < count; ++i) {
                Level level = levels[i];
                uint256 asksUpTo = asksBelow + level.askWh(); // S(<=p)
                uint256 bidsAbove = bidsFrom - level.bidWh(); // D(>p)
                uint256 tradable = asksUpTo < bidsFrom ? asksUpTo : bidsFrom;
                if (tradable > matchedWh) matchedWh = tradable;
                if (lo == type(uint256).max && asksUpTo >= bidsAbove) lo = level.tick();
                if (bidsFrom >= asksBelow) hi = level.tick();
                (asksBelow, bidsFrom) = (asksUpTo, bidsAbove);
            }
            if (matchedWh == 0) return outcome;
            (outcome.matchedWh, outcome.doubledTick) = (matchedWh, lo + hi);
            if (outcome.doubledTick % 2 == 0) _ration(levels, count, outcome);
        }
    }

    /// @dev At most one side is rationed, and only at the price [5].
    function _ration(Level[] memory levels, uint256 count, Outcome memory outcome) private pure {
        unchecked {
            uint256 price = outcome.doubledTick / 2;
            uint256 askLeft = outcome.matchedWh; // less S(<price), what is left for the asks at it
            uint256 bidLeft = outcome.matchedWh; // less D(>price)
            Level marginal = Level.wrap(0); // stays empty if no order stands at the price
            for (uint256 i = 0; i < count; ++i) {
                Level level = levels[i];
                if (level.tick() < price) askLeft -= level.askWh();
                else if (level.tick() > price) bidLeft -= level.bidWh();
                else marginal = level;
            }
            if (askLeft < marginal.askWh()) {
                (outcome.rationed, outcome.leftWh, outcome.totalWh) = (ASK, askLeft, marginal.askWh());
            } else if (bidLeft < marginal.bidWh()) {
                (outcome.rationed, outcome.leftWh, outcome.totalWh) = (BID, bidLeft, marginal.bidWh());
            }
        }
    }

    /// @notice An order's share of a rationed tick. Over all orders of the tick, in acceptance order, the
    /// shares telescope to exactly `leftWh`, each within 1 Wh of its pro rata [6].
    /// @param prefixWh energy of the tick that was accepted before the order
    function share(uint256 prefixWh, uint256 energyWh, uint256 leftWh, uint256 totalWh)
        internal
        pure
        returns (uint256)
    {
        // Sums stay below 2^42 [1], and floors of a growing number do not fall.
        unchecked {
            return ((prefixWh + energyWh) * leftWh) / totalWh - (prefixWh * leftWh) / totalWh;
        }
    }
}
