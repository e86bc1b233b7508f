// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice What a slot's book holds at one tick, both sides: | 8 tick | 42 ask Wh | 42 bid Wh |
type Level is uint256;

using Levels for Level global;

library Levels {
    function pack(uint256 tick_, uint256 askWh_, uint256 bidWh_) internal pure returns (Level) {
        return Level.wrap((tick_ << 84) | (askWh_ << 42) | bidWh_);
    }

    function tick(Level level) internal pure returns (uint256) {
        return Level.unwrap(level) >> 84;
    }

    function askWh(Level level) internal pure returns (uint256) {
        return (Level.unwrap(level) >> 42) & (2 ** 42 - 1);
    }

    function bidWh(Level level) internal pure returns (uint256) {
        return Level.unwrap(level) & (2 ** 42 - 1);
    }
}

/// @title One slot's book: energy by side and price tick
/// @notice A book is used again for a later slot, so nothing in it is trusted without the slot tag, and no
/// tick's energy without its bit.
/// @dev marks = | 32 bits slot | 224 bits: tick k occupied |
///      energies[k / 6] = 6 fields of 42 bits; sums stay below 2^42 [1].
/// The sides carry the slot each for itself: a side goes over to a later slot with that slot's first order.
library TickBook {
    uint256 internal constant MAX_TICKS = 224;
    uint256 private constant TICK_BITS = 42;
    uint256 private constant TICKS_PER_WORD = 6;
    uint256 private constant TICK_MASK = 2 ** TICK_BITS - 1;
    uint256 private constant TICKS_OF_WORD = 2 ** TICKS_PER_WORD - 1;
    uint256 private constant WORDS = 38;
    uint256 private constant SLOT_SHIFT = 224;

    type Marks is uint256;

    struct Word {
        uint256 fields;
    }

    struct Side {
        Marks marks;
        Word[WORDS] energies;
    }

    /// @notice The slot that a side holds; 0 if it was never used.
    function slot(Marks marks) internal pure returns (uint32) {
        return uint32(Marks.unwrap(marks) >> SLOT_SHIFT);
    }

    /// @notice The marks of an empty side. Stale energies stay where they are: their bits are gone.
    function blank(uint256 slot_) internal pure returns (Marks) {
        return Marks.wrap(slot_ << SLOT_SHIFT);
    }

    /// @notice Add an order's energy to its tick.
    /// @param marks the side's marks: those that are stored or, for a new slot, blank ones
    /// @return prefixWh the tick's energy before
    function add(Side storage side, Marks marks, uint256 tick, uint256 energyWh) internal returns (uint256 prefixWh) {
        // tick < 224, so neither the index nor the shifts can overflow; sums cannot [1].
        unchecked {
            uint256 bit = 1 << tick;
            uint256 shift = (tick % TICKS_PER_WORD) * TICK_BITS;
            Word storage word = side.energies[tick / TICKS_PER_WORD];
            uint256 fields = word.fields;
            if (Marks.unwrap(marks) & bit == 0) {
                side.marks = Marks.wrap(Marks.unwrap(marks) | bit);
            } else {
                prefixWh = (fields >> shift) & TICK_MASK;
            }
            word.fields = (fields & ~(TICK_MASK << shift)) | ((prefixWh + energyWh) << shift);
        }
    }

    /// @notice The occupied ticks of a slot, ascending; reads only the words that hold one.
    /// @return found the levels, in the first `count` places
    function levels(Side storage asks, Side storage bids, uint32 slot_)
        internal
        view
        returns (Level[] memory found, uint256 count)
    {
        uint256 askBits = _occupied(asks, slot_);
        uint256 bidBits = _occupied(bids, slot_);
        found = new Level[](MAX_TICKS);
        // At most 224 bits: the index stays below 38, the count at most 224.
        unchecked {
            for (uint256 index = 0; askBits | bidBits != 0; ++index) {
                if ((askBits | bidBits) & TICKS_OF_WORD != 0) {
                    uint256 askFields = askBits & TICKS_OF_WORD == 0 ? 0 : asks.energies[index].fields;
                    uint256 bidFields = bidBits & TICKS_OF_WORD == 0 ? 0 : bids.energies[index].fields;
                    for (uint256 i = 0; i < TICKS_PER_WORD; ++i) {
                        uint256 askWh = (askBits >> i) & 1 == 0 ? 0 : (askFields >> (i * TICK_BITS)) & TICK_MASK;
                        uint256 bidWh = (bidBits >> i) & 1 == 0 ? 0 : (bidFields >> (i * TICK_BITS)) & TICK_MASK;
                        if (askWh | bidWh == 0) continue;
                        found[count++] = Levels.pack(index * TICKS_PER_WORD + i, askWh, bidWh);
                    }
                }
                askBits >>= TICKS_PER_WORD;
                bidBits >>= TICKS_PER_WORD;
            }
        }
    }

    /// @dev A side's occupied ticks as bits; none if it holds another slot.
    function _occupied(Side storage side, uint32 slot_) private view returns (uint256) {
        Marks marks = side.marks;
        return slot(marks) == slot_ ? Marks.unwrap(marks) & (2 ** SLOT_SHIFT - 1) : 0;
    }
}
