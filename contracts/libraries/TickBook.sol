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
/// word of energies without its bit: a word is wiped by the slot's first order in it.
/// @dev marks = | 1 cleared | 38 bits: word of the bids in use | 38 bits: word of the asks in use | 32 slot |
///      energies[38 * side + k / 6] = 6 fields of 42 bits; sums stay below 2^42 [1].
/// One word of marks serves both sides, and most orders fall in a word that is in use: they do not write it.
library TickBook {
    uint256 internal constant MAX_TICKS = 224;
    uint256 private constant TICK_BITS = 42;
    uint256 private constant TICKS_PER_WORD = 6;
    uint256 private constant TICK_MASK = 2 ** TICK_BITS - 1;
    uint256 private constant WORDS = 38;
    uint256 private constant WORDS_SHIFT = 32;
    uint256 private constant CLEARED = 1 << 108;

    type Marks is uint256;

    struct Word {
        uint256 fields;
    }

    struct Book {
        Marks marks;
        Word[2 * WORDS] energies;
    }

    /// @notice The slot that a book holds; 0 if it was never used.
    function slot(Marks marks) internal pure returns (uint32) {
        return uint32(Marks.unwrap(marks));
    }

    /// @notice Whether that slot was cleared.
    function cleared(Marks marks) internal pure returns (bool) {
        return Marks.unwrap(marks) & CLEARED != 0;
    }

    /// @notice The marks of a slot's empty book. Stale energies stay where they are: their bits are gone.
    function blank(uint256 slot_) internal pure returns (Marks) {
        return Marks.wrap(slot_);
    }

    /// @notice Remember that a book's slot was cleared: its next order need not look for the result.
    function close(Book storage book) internal {
        book.marks = Marks.wrap(Marks.unwrap(book.marks) | CLEARED);
    }

    /// @notice Add an order's energy to its side and tick.
    /// @param marks the book's marks: those that are stored or, for a new slot, blank ones
    /// @return prefixWh the tick's energy before
    function add(Book storage book, Marks marks, uint256 side, uint256 tick, uint256 energyWh)
        internal
        returns (uint256 prefixWh)
    {
        // side < 2 and tick < 224, so neither the index nor the shifts can overflow; sums cannot [1].
        unchecked {
            uint256 index = side * WORDS + tick / TICKS_PER_WORD;
            uint256 bit = 1 << (WORDS_SHIFT + index);
            uint256 shift = (tick % TICKS_PER_WORD) * TICK_BITS;
            Word storage word = book.energies[index];
            uint256 fields = 0;
            if (Marks.unwrap(marks) & bit == 0) {
                book.marks = Marks.wrap(Marks.unwrap(marks) | bit);
            } else {
                fields = word.fields;
                prefixWh = (fields >> shift) & TICK_MASK;
            }
            word.fields = fields + (energyWh << shift);
        }
    }

    /// @notice The occupied ticks of the slot that a book holds, ascending; reads only the words in use.
    /// @return found the levels, in the first `count` places
    function levels(Book storage book) internal view returns (Level[] memory found, uint256 count) {
        found = new Level[](MAX_TICKS);
        uint256 used = Marks.unwrap(book.marks) >> WORDS_SHIFT;
        // 38 words of 6 ticks, of which 224 exist: indices and count stay within their arrays.
        unchecked {
            for (uint256 index = 0; index < WORDS; ++index) {
                uint256 askFields = (used >> index) & 1 == 0 ? 0 : book.energies[index].fields;
                uint256 bidFields = (used >> (WORDS + index)) & 1 == 0 ? 0 : book.energies[WORDS + index].fields;
                for (uint256 tick = index * TICKS_PER_WORD; askFields | bidFields != 0; ++tick) {
                    uint256 askWh = askFields & TICK_MASK;
                    uint256 bidWh = bidFields & TICK_MASK;
                    if (askWh | bidWh != 0) found[count++] = Levels.pack(tick, askWh, bidWh);
                    askFields >>= TICK_BITS;
                    bidFields >>= TICK_BITS;
                }
            }
        }
    }
}
