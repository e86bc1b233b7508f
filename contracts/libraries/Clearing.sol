// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

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

    /// @param asks ask energy by tick
    /// @param bids bid energy by tick, as long as `asks`
    function clear(uint256[] memory asks, uint256[] memory bids) internal pure returns (Outcome memory outcome) {
        // Sums stay below 2^42 [1] and ticks below 2^8: nothing here can overflow.
        unchecked {
            uint256 ticks = asks.length;
            for (uint256 tick = 0; tick < ticks; ++tick) {
                outcome.askWh += asks[tick];
                outcome.bidWh += bids[tick];
            }
            if (outcome.askWh == 0 || outcome.bidWh == 0) return outcome;
            uint256 lo = type(uint256).max;
            uint256 hi = 0;
            uint256 asksBelow = 0; // S(<p)
            uint256 bidsFrom = outcome.bidWh; // D(>=p)
            for (uint256 tick = 0; tick < ticks; ++tick) {
                uint256 ask = asks[tick];
                uint256 bid = bids[tick];
                if (ask | bid == 0) continue; // only prices that occur in the book
                uint256 asksUpTo = asksBelow + ask;
                uint256 bidsAbove = bidsFrom - bid;
                uint256 tradable = asksUpTo < bidsFrom ? asksUpTo : bidsFrom;
                if (tradable > outcome.matchedWh) outcome.matchedWh = tradable;
                if (lo == type(uint256).max && asksUpTo >= bidsAbove) lo = tick;
                if (bidsFrom >= asksBelow) hi = tick;
                asksBelow = asksUpTo;
                bidsFrom = bidsAbove;
            }
            if (outcome.matchedWh == 0) return outcome;
            outcome.doubledTick = lo + hi;
            if (outcome.doubledTick % 2 == 0) _ration(asks, bids, outcome);
        }
    }

    /// @dev At most one side is rationed, and only at the price [5].
    function _ration(uint256[] memory asks, uint256[] memory bids, Outcome memory outcome) private pure {
        unchecked {
            uint256 marginal = outcome.doubledTick / 2;
            uint256 asksBelow = 0;
            for (uint256 tick = 0; tick < marginal; ++tick) {
                asksBelow += asks[tick];
            }
            uint256 bidsAbove = 0;
            for (uint256 tick = marginal + 1; tick < bids.length; ++tick) {
                bidsAbove += bids[tick];
            }
            if (outcome.matchedWh - asksBelow < asks[marginal]) {
                (outcome.rationed, outcome.leftWh, outcome.totalWh) = (ASK, outcome.matchedWh - asksBelow, asks[marginal]);
            } else if (outcome.matchedWh - bidsAbove < bids[marginal]) {
                (outcome.rationed, outcome.leftWh, outcome.totalWh) = (BID, outcome.matchedWh - bidsAbove, bids[marginal]);
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
