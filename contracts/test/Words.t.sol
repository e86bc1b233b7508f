// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Level, Levels, TickBook} from "../libraries/TickBook.sol";
import {
    Account,
    Accounts,
    Numbers,
    Orders,
    Result,
    Results,
    Row,
    Rows,
    RuleNumbers
} from "../libraries/Words.sol";

/// @notice Words give back what was put into them, and a field never touches its neighbours. forge tries
/// these with random values; halmos proves them for all (scripts/contracts-static).
contract WordsTest {
    uint256 private constant WH = 2 ** 42 - 1;

    function testProve_orderKeepsItsFields(uint32 household, uint32 slot, uint32 energyWh, uint32 price, uint8 side)
        external
        pure
    {
        uint256 order = Orders.pack(household, slot, energyWh, price, side);
        assert(Orders.household(order) == household && Orders.slot(order) == slot);
        assert(Orders.energyWh(order) == energyWh && Orders.limitPrice(order) == price);
        assert(Orders.side(order) == side);
    }

    /// @dev Whatever word a relayer sends: only the fields of the order that it unpacks to can be in it.
    function testProve_noWordHasHiddenBits(uint256 order) external pure {
        if (Orders.side(order) > 1) return; // refused as malformed
        assert(
            order
                == Orders.pack(
                    Orders.household(order),
                    Orders.slot(order),
                    Orders.energyWh(order),
                    Orders.limitPrice(order),
                    Orders.side(order)
                )
        );
    }

    function testProve_rowKeepsBothSides(uint32 slot, uint24[2] memory energyWh, uint32[2] memory price, Prefixes memory p)
        external
        pure
    {
        uint256 askPrefix = p.ask & WH;
        uint256 bidPrefix = p.bid & WH;
        Row row = Rows.forSlot(slot).withOrder(0, energyWh[0], price[0], askPrefix);
        assert(row.energyWh(1) == 0 && !row.carried());
        row = row.withCarried(true).withOrder(1, energyWh[1], price[1], bidPrefix);
        assert(row.slot() == slot && row.carried());
        assert(row.energyWh(0) == energyWh[0] && row.limitPrice(0) == price[0] && row.prefixWh(0) == askPrefix);
        assert(row.energyWh(1) == energyWh[1] && row.limitPrice(1) == price[1] && row.prefixWh(1) == bidPrefix);
        row = row.withCarried(false);
        assert(!row.carried() && row.slot() == slot && row.prefixWh(1) == bidPrefix);
    }

    struct Prefixes {
        uint64 ask;
        uint64 bid;
    }

    function testProve_accountKeepsItsFields(uint96 balance, uint32 newest, uint128 pending) external pure {
        Account account = Accounts.pack(balance, newest, pending);
        assert(account.balance() == balance && account.newest() == newest && account.pending() == pending);
    }

    function testProve_resultKeepsItsFields(
        uint32 price,
        uint32 fee,
        uint64 totalWh,
        uint64 leftWh,
        bool bids,
        uint64 matchedWh,
        uint16 version
    ) external pure {
        Result result =
            Results.pack(price, fee, totalWh & WH, leftWh & WH, bids ? 1 : 0, matchedWh & WH, version);
        assert(result.cleared() && result.price() == price && result.fee() == fee);
        assert(result.totalWh() == totalWh & WH && result.leftWh() == leftWh & WH);
        assert(result.rationed() == (bids ? 1 : 0) && result.matchedWh() == matchedWh & WH);
        assert(result.version() == version);
    }

    function testProve_rulesKeepTheirNumbers(
        uint32 fromSlot,
        int32 gateOffset,
        uint32 gateSeconds,
        uint32 floorPrice,
        uint32 tickSize,
        uint16 ticks,
        uint32 networkFee
    ) external pure {
        Numbers numbers =
            RuleNumbers.pack(fromSlot, gateOffset, gateSeconds, floorPrice, tickSize, ticks, networkFee);
        assert(numbers.fromSlot() == fromSlot && numbers.gateOffset() == gateOffset);
        assert(numbers.gateSeconds() == gateSeconds && numbers.floorPrice() == floorPrice);
        assert(numbers.tickSize() == tickSize && numbers.ticks() == ticks);
        assert(numbers.networkFee() == networkFee);
    }

    function testProve_levelKeepsItsFields(uint8 tick, uint64 askWh, uint64 bidWh) external pure {
        Level level = Levels.pack(tick, askWh & WH, bidWh & WH);
        assert(level.tick() == tick && level.askWh() == askWh & WH && level.bidWh() == bidWh & WH);
    }
}

/// @notice The walk along the ticks, and books that are used again.
contract TickBookTest {
    using TickBook for TickBook.Book;
    using TickBook for TickBook.Marks;

    uint256 private constant WORD = 6;
    uint256 private constant SIDE = 38;

    TickBook.Book private _book;

    /// @dev An order enters its own tick and no other, and nothing stale in a recycled word counts.
    function testProve_addTouchesOneTick(uint256 stale, bool bids, uint24 first, uint24 second) external {
        uint256 side = bids ? 1 : 0;
        for (uint256 tick = 219; tick < 224; ++tick) {
            TickBook.Word storage word = _book.energies[SIDE * side + tick / WORD];
            word.fields = stale;
            uint256 other = tick % WORD == 0 ? tick + 1 : tick - 1; // of the same word
            assert(_book.add(TickBook.blank(7), side, tick, first) == 0);
            assert(_book.add(_book.marks, side, other, second) == 0);
            assert(_book.add(_book.marks, side, tick, second) == first);
            uint256 expected = (uint256(first) + second) << (tick % WORD * 42);
            assert(word.fields == expected | (uint256(second) << (other % WORD * 42)));
            assert(_book.marks.slot() == 7 && !_book.marks.cleared());
        }
        _book.close();
        assert(_book.marks.slot() == 7 && _book.marks.cleared());
    }

    /// @dev The walk meets the occupied ticks of this slot in ascending order, each once, and no others.
    function testProve_walkMeetsEveryTickOnce(uint8 asks, uint8 bids, uint24 energyWh) external {
        if (energyWh == 0) return;
        uint256[4] memory places = [uint256(0), 5, 6, 223];
        _book.marks = TickBook.blank(9);
        uint256 expected = 0;
        for (uint256 i = 0; i < 4; ++i) {
            bool ask = (asks >> i) & 1 == 1;
            bool bid = (bids >> i) & 1 == 1;
            if (ask) _book.add(_book.marks, 0, places[i], energyWh);
            if (bid) _book.add(_book.marks, 1, places[i], energyWh);
            if (ask || bid) ++expected;
        }
        (Level[] memory found, uint256 count) = _book.levels();
        assert(count == expected);
        uint256 met = 0;
        for (uint256 i = 0; i < 4; ++i) {
            uint256 askWh = (asks >> i) & 1 == 1 ? energyWh : 0;
            uint256 bidWh = (bids >> i) & 1 == 1 ? energyWh : 0;
            if (askWh | bidWh == 0) continue;
            assert(found[met].tick() == places[i]);
            assert(found[met].askWh() == askWh && found[met].bidWh() == bidWh);
            ++met;
        }
    }
}
