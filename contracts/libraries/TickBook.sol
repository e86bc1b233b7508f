// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title One slot's book: energy by side and price tick
/// @notice A book is used again for a later slot, so nothing in it is trusted without the slot tag, and no
/// tick's energy without its bit.
/// @dev bitmap[side] = | 32 bits slot | 224 bits: tick k occupied |
///      energies[side][k / 6] = 6 fields of 42 bits; sums stay below 2^42 [1].
library TickBook {
    uint256 internal constant MAX_TICKS = 224;
    uint256 private constant TICK_BITS = 42;
    uint256 private constant TICKS_PER_WORD = 6;
    uint256 private constant TICK_MASK = 2 ** TICK_BITS - 1;
    uint256 private constant WORDS = 38;
    uint256 private constant SLOT_SHIFT = 224;

    struct Book {
        uint256[2] bitmap;
        uint256[WORDS][2] energies;
    }

    /// @notice The slot that the book holds; 0 if it was never used.
    function slotOf(Book storage book) internal view returns (uint32) {
        return uint32(book.bitmap[0] >> SLOT_SHIFT);
    }

    /// @notice Hand an old book to a slot. Stale energies stay where they are: their bits are gone.
    function reset(Book storage book, uint32 slot) internal {
        uint256 tag = uint256(slot) << SLOT_SHIFT;
        book.bitmap[0] = tag;
        book.bitmap[1] = tag;
    }

    /// @notice Add an order's energy to its tick.
    /// @return prefixWh the tick's energy before
    function add(Book storage book, uint256 side, uint256 tick, uint256 energyWh) internal returns (uint256 prefixWh) {
        // tick < 224, so neither the index nor the shifts can overflow; sums cannot [1].
        unchecked {
            uint256 bit = 1 << tick;
            uint256 shift = (tick % TICKS_PER_WORD) * TICK_BITS;
            uint256[WORDS] storage energies = book.energies[side];
            uint256 word = energies[tick / TICKS_PER_WORD];
            uint256 occupied = book.bitmap[side];
            if (occupied & bit == 0) {
                book.bitmap[side] = occupied | bit;
            } else {
                prefixWh = (word >> shift) & TICK_MASK;
            }
            energies[tick / TICKS_PER_WORD] = (word & ~(TICK_MASK << shift)) | ((prefixWh + energyWh) << shift);
        }
    }

    /// @notice One side's energy by tick; reads only the words with an occupied tick.
    function load(Book storage book, uint256 side, uint256 ticks) internal view returns (uint256[] memory energyWh) {
        energyWh = new uint256[](ticks);
        uint256 occupied = book.bitmap[side] & (2 ** SLOT_SHIFT - 1);
        for (uint256 first = 0; first < ticks; first += TICKS_PER_WORD) {
            if ((occupied >> first) & (2 ** TICKS_PER_WORD - 1) == 0) continue;
            uint256 word = book.energies[side][first / TICKS_PER_WORD];
            for (uint256 tick = first; tick < first + TICKS_PER_WORD && tick < ticks; ++tick) {
                if ((occupied >> tick) & 1 == 1) energyWh[tick] = word & TICK_MASK;
                word >>= TICK_BITS;
            }
        }
    }
}
