// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

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

    /// @notice A slot's energy by tick; reads only the words with an occupied tick.
    function load(Side storage side, uint32 slot_, uint256 ticks) internal view returns (uint256[] memory energyWh) {
        energyWh = new uint256[](ticks);
        Marks marks = side.marks;
        if (slot(marks) != slot_) return energyWh;
        uint256 occupied = Marks.unwrap(marks) & (2 ** SLOT_SHIFT - 1);
        for (uint256 first = 0; first < ticks; first += TICKS_PER_WORD) {
            if ((occupied >> first) & (2 ** TICKS_PER_WORD - 1) == 0) continue;
            uint256 fields = side.energies[first / TICKS_PER_WORD].fields;
            for (uint256 tick = first; tick < first + TICKS_PER_WORD && tick < ticks; ++tick) {
                if ((occupied >> tick) & 1 == 1) energyWh[tick] = fields & TICK_MASK;
                fields >>= TICK_BITS;
            }
        }
    }
}
