// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice What a household ordered in one slot, both sides, in one storage word:
/// | 1 carried | 42 bid prefix | 32 bid limit | 24 bid Wh | 42 ask prefix | 32 ask limit | 24 ask Wh | 32 slot |
type Row is uint256;

/// @notice A household's money and what it has to settle, in one storage word:
/// | 128 pending | 32 newest | 96 balance |
/// Bit i of `pending` says: the household's orders of slot `newest - i` are not settled yet.
type Account is uint256;

/// @notice How a slot cleared, in one storage word, kept for ever:
/// | 1 cleared | 16 rules version | 42 matched | 1 rationed side | 42 left | 42 total | 32 fee | 32 price |
type Result is uint256;

/// @notice The numbers of a version of the rules that orders are checked against, as small as they come:
/// | 32 fee | 16 ticks | 32 tick size | 32 floor price | 32 gate | 32 gate offset, signed | 32 first slot |
type Numbers is uint232;

using Rows for Row global;
using Accounts for Account global;
using Results for Result global;
using RuleNumbers for Numbers global;

/// @notice An order's numbers in one word of calldata: an order costs 0.5k gas less than with a word each.
/// | side | 32 limitPrice | 32 energyWh | 32 slot | 32 household |
/// The side takes all that is left, so that a word with anything beyond the fields has no valid side.
library Orders {
    function pack(
        uint256 household_,
        uint256 slot_,
        uint256 energyWh_,
        uint256 limitPrice_,
        uint256 side_
    ) internal pure returns (uint256) {
        return household_ | (slot_ << 32) | (energyWh_ << 64) | (limitPrice_ << 96) | (side_ << 128);
    }

    function household(uint256 order) internal pure returns (uint32) {
        return uint32(order);
    }

    function slot(uint256 order) internal pure returns (uint32) {
        return uint32(order >> 32);
    }

    function energyWh(uint256 order) internal pure returns (uint256) {
        return uint32(order >> 64);
    }

    function limitPrice(uint256 order) internal pure returns (uint256) {
        return uint32(order >> 96);
    }

    function side(uint256 order) internal pure returns (uint256) {
        return order >> 128;
    }
}

library Rows {
    uint256 private constant ASK_SHIFT = 32;
    uint256 private constant SIDE_BITS = 98;
    uint256 private constant CARRIED = 1 << 228;

    function forSlot(uint256 slot_) internal pure returns (Row) {
        return Row.wrap(slot_);
    }

    function slot(Row row) internal pure returns (uint32) {
        return uint32(Row.unwrap(row));
    }

    /// @dev 0 when the household has no order on this side: an order has at least 1 Wh.
    function energyWh(Row row, uint256 side) internal pure returns (uint256) {
        return (Row.unwrap(row) >> _shift(side)) & (2 ** 24 - 1);
    }

    function limitPrice(Row row, uint256 side) internal pure returns (uint256) {
        return (Row.unwrap(row) >> _shift(side) >> 24) & (2 ** 32 - 1);
    }

    function prefixWh(Row row, uint256 side) internal pure returns (uint256) {
        return (Row.unwrap(row) >> _shift(side) >> 56) & (2 ** 42 - 1);
    }

    /// @dev Left the account's window of pending slots before it was settled.
    function carried(Row row) internal pure returns (bool) {
        return Row.unwrap(row) & CARRIED != 0;
    }

    function withOrder(Row row, uint256 side, uint256 energy, uint256 limit, uint256 prefix)
        internal
        pure
        returns (Row)
    {
        uint256 fields = energy | (limit << 24) | (prefix << 56);
        return Row.wrap(Row.unwrap(row) | (fields << _shift(side)));
    }

    function withCarried(Row row, bool value) internal pure returns (Row) {
        uint256 word = Row.unwrap(row);
        return Row.wrap(value ? word | CARRIED : word & ~CARRIED);
    }

    function _shift(uint256 side) private pure returns (uint256) {
        unchecked {
            return ASK_SHIFT + side * SIDE_BITS; // side is 0 or 1
        }
    }
}

library Accounts {
    uint256 internal constant WINDOW = 128;
    uint256 private constant BALANCE_BITS = 96;
    uint256 private constant PENDING_SHIFT = 128;

    function pack(uint256 balanceUnits, uint256 newestSlot, uint256 pendingBits) internal pure returns (Account) {
        return Account.wrap(balanceUnits | (newestSlot << BALANCE_BITS) | (pendingBits << PENDING_SHIFT));
    }

    function balance(Account account) internal pure returns (uint256) {
        return uint96(Account.unwrap(account));
    }

    function newest(Account account) internal pure returns (uint256) {
        return uint32(Account.unwrap(account) >> BALANCE_BITS);
    }

    function pending(Account account) internal pure returns (uint256) {
        return Account.unwrap(account) >> PENDING_SHIFT;
    }
}

library Results {
    function pack(
        uint256 price_,
        uint256 fee_,
        uint256 total,
        uint256 left,
        uint256 rationedSide,
        uint256 matched,
        uint256 version_
    ) internal pure returns (Result) {
        uint256 word = price_ | (fee_ << 32) | (total << 64) | (left << 106) | (rationedSide << 148);
        return Result.wrap(word | (matched << 149) | (version_ << 191) | (1 << 207));
    }

    function cleared(Result result) internal pure returns (bool) {
        return Result.unwrap(result) != 0;
    }

    /// @dev 0 when nothing traded: the floor of every price grid is above 0.
    function price(Result result) internal pure returns (uint256) {
        return uint32(Result.unwrap(result));
    }

    function fee(Result result) internal pure returns (uint256) {
        return uint32(Result.unwrap(result) >> 32);
    }

    /// @dev 0 when no side was rationed.
    function totalWh(Result result) internal pure returns (uint256) {
        return (Result.unwrap(result) >> 64) & (2 ** 42 - 1);
    }

    function leftWh(Result result) internal pure returns (uint256) {
        return (Result.unwrap(result) >> 106) & (2 ** 42 - 1);
    }

    function rationed(Result result) internal pure returns (uint256) {
        return (Result.unwrap(result) >> 148) & 1;
    }

    function matchedWh(Result result) internal pure returns (uint256) {
        return (Result.unwrap(result) >> 149) & (2 ** 42 - 1);
    }

    function version(Result result) internal pure returns (uint256) {
        return uint16(Result.unwrap(result) >> 191);
    }
}

library RuleNumbers {
    function pack(
        uint32 fromSlot_,
        int32 gateOffset_,
        uint32 gateSeconds_,
        uint32 floorPrice_,
        uint32 tickSize_,
        uint16 ticks_,
        uint32 networkFee_
    ) internal pure returns (Numbers) {
        uint232 gate = uint232(fromSlot_) | (uint232(uint32(gateOffset_)) << 32) | (uint232(gateSeconds_) << 64);
        uint232 grid = (uint232(floorPrice_) << 96) | (uint232(tickSize_) << 128) | (uint232(ticks_) << 160);
        return Numbers.wrap(gate | grid | (uint232(networkFee_) << 176));
    }

    function fromSlot(Numbers numbers) internal pure returns (uint256) {
        return uint32(Numbers.unwrap(numbers));
    }

    function gateOffset(Numbers numbers) internal pure returns (int256) {
        return int32(uint32(Numbers.unwrap(numbers) >> 32));
    }

    function gateSeconds(Numbers numbers) internal pure returns (uint256) {
        return uint32(Numbers.unwrap(numbers) >> 64);
    }

    function floorPrice(Numbers numbers) internal pure returns (uint256) {
        return uint32(Numbers.unwrap(numbers) >> 96);
    }

    function tickSize(Numbers numbers) internal pure returns (uint256) {
        return uint32(Numbers.unwrap(numbers) >> 128);
    }

    function ticks(Numbers numbers) internal pure returns (uint256) {
        return uint16(Numbers.unwrap(numbers) >> 160);
    }

    function networkFee(Numbers numbers) internal pure returns (uint256) {
        return uint32(Numbers.unwrap(numbers) >> 176);
    }
}
