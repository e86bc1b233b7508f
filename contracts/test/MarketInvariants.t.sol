// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IEnergyMarket} from "../interfaces/IEnergyMarket.sol";
import {CHEATS} from "./Cheats.sol";
import {Community} from "./Community.sol";

/// @notice Lives random days of a neighbourhood and remembers what was ordered, so that the invariants
/// can be told from what the market says alone.
contract Days is Community {
    struct Ordered {
        uint32 household;
        uint32 slot;
        uint8 side;
        uint32 energyWh;
        uint32 limitPrice;
    }

    uint32 public today;
    uint256 public deposited;
    uint256 public withdrawn;
    uint32[] public slots;
    Ordered[] private _orders;
    mapping(uint32 slot => bool) private _known;

    constructor() {
        found();
        today = uint32(block.timestamp / SLOT_SECONDS);
        for (uint32 household = 1; household <= MEMBERS; ++household) {
            _deposit(household, 1e9);
        }
    }

    /// @notice One slot: everybody orders by lot, some twice; sometimes it is cleared, sometimes settled.
    function day(uint256 lot, uint32 jump, bool clears) external {
        // Often to the same place of the ring, sometimes to the edge of the window, mostly to a next day.
        if (jump % 4 == 0) today += market.ringSlots();
        else if (jump % 4 == 1) today += 120 + jump % 16;
        else today += 1 + jump % 3;
        openGate(today);
        uint256 before = _orders.length;
        for (uint32 i = 0; i < 2 * MEMBERS; ++i) {
            uint256 draw = uint256(keccak256(abi.encode(lot, i)));
            if (draw % 4 != 0) _order(1 + (i % MEMBERS), uint8(draw >> 8 & 1), draw);
        }
        if (_orders.length > before && !_known[today]) {
            _known[today] = true;
            slots.push(today);
        }
        if (clears && _known[today]) {
            closeGate(today);
            market.clear(today);
        }
    }

    /// @notice Settle an earlier slot for everybody, strangers and repetitions included.
    function settle(uint256 which) external {
        if (slots.length == 0) return;
        uint32 slot = slots[which % slots.length];
        (bool cleared,,) = market.resultOf(slot);
        if (!cleared && slot == today) return; // its gate may still be open
        uint32[] memory households = new uint32[](MEMBERS + 3);
        for (uint32 i = 0; i < MEMBERS + 2; ++i) {
            households[i] = i;
        }
        households[MEMBERS + 2] = 1;
        market.settle(slot, households);
    }

    function deposit(uint32 household, uint32 amount) external {
        _deposit(1 + household % MEMBERS, amount);
    }

    /// @notice Whatever happened before, an owner gets its whole balance.
    function withdraw(uint32 household) external {
        household = 1 + household % MEMBERS;
        uint256 balance = market.balanceOf(household);
        market.withdraw(household, balance, address(0xCA5));
        withdrawn += balance;
    }

    function suspend(uint32 household, bool back) external {
        if (back) registry.reinstate(1 + household % MEMBERS);
        else registry.suspend(1 + household % MEMBERS);
    }

    function pause(bool on) external {
        if (on && !market.paused()) market.pause();
        else if (!on && market.paused()) market.unpause();
    }

    /// @notice Clearing what is cleared reverts.
    function clearAgain(uint256 which) external {
        if (slots.length == 0) return;
        uint32 slot = slots[which % slots.length];
        (bool cleared,,) = market.resultOf(slot);
        if (!cleared) return;
        CHEATS.expectRevert(abi.encodeWithSelector(IEnergyMarket.EnergyMarketAlreadyCleared.selector, slot));
        market.clear(slot);
    }

    /// @notice Balances, the fee account, and what is escrowed or owed for orders that did not settle.
    function accountedFor() external view returns (uint256 sum) {
        sum = market.feesOf(FEE_RECIPIENT);
        for (uint32 household = 1; household <= MEMBERS; ++household) {
            sum += market.balanceOf(household);
        }
        for (uint256 i = 0; i < _orders.length; ++i) {
            Ordered storage order = _orders[i];
            (bool standing, IEnergyMarket.Allocation memory answer) = _allocation(order);
            if (!standing || (answer.cleared && answer.settled)) continue; // recycled only once settled
            if (order.side == 1) sum += uint256(order.energyWh) * (order.limitPrice + FEE);
            if (!answer.cleared) continue;
            if (order.side == 0) sum += answer.earned;
            else sum -= uint256(answer.boughtWh) * answer.price; // the sellers' lines have it
        }
    }

    function holdings() external view returns (uint256) {
        return credit.balanceOf(address(market));
    }

    /// @notice Every standing allocation keeps its order's terms, and a slot's asks and bids are equal.
    function checkAllocations() external view {
        for (uint256 i = 0; i < _orders.length; ++i) {
            Ordered storage order = _orders[i];
            (bool standing, IEnergyMarket.Allocation memory answer) = _allocation(order);
            if (!standing) continue;
            uint32 energyWh = order.side == 0 ? answer.askWh : answer.bidWh;
            require(energyWh == order.energyWh, "an order is not what was accepted");
            if (!answer.cleared) continue;
            uint32 filledWh = order.side == 0 ? answer.soldWh : answer.boughtWh;
            require(filledWh <= energyWh, "filled beyond the order");
            if (filledWh == 0) continue;
            if (order.side == 0) require(answer.price >= order.limitPrice, "sold below the limit");
            else require(answer.price <= order.limitPrice, "bought above the limit");
        }
        for (uint256 i = 0; i < slots.length; ++i) {
            _checkSum(slots[i]);
        }
    }

    function _checkSum(uint32 slot) private view {
        if (slot + market.ringSlots() <= today) return;
        (bool cleared,, uint64 matchedWh) = market.resultOf(slot);
        if (!cleared) return;
        (uint256 soldWh, uint256 boughtWh) = (0, 0);
        for (uint32 household = 1; household <= MEMBERS; ++household) {
            IEnergyMarket.Allocation memory answer = market.allocation(slot, household);
            soldWh += answer.soldWh;
            boughtWh += answer.boughtWh;
        }
        require(soldWh == matchedWh && boughtWh == matchedWh, "asks are not bids");
    }

    function _allocation(Ordered storage order)
        private
        view
        returns (bool standing, IEnergyMarket.Allocation memory answer)
    {
        try market.allocation(order.slot, order.household) returns (IEnergyMarket.Allocation memory found) {
            return (true, found);
        } catch {
            return (false, answer);
        }
    }

    function _order(uint32 household, uint8 side, uint256 draw) private {
        uint32 energyWh = 1 + uint32(draw >> 16) % LIMIT_WH;
        uint32 limitPrice = FLOOR + TICK * (uint32(draw >> 48) % TICKS);
        IEnergyMarket.SignedOrder memory order = signed(household, today, side, energyWh, limitPrice);
        IEnergyMarket.Allocation memory before = market.allocation(today, household);
        bool duplicate = (side == 0 ? before.askWh : before.bidWh) != 0;
        try market.submitOrder(order) {
            require(!duplicate, "two orders of one household, slot and side");
            _orders.push(Ordered(household, today, side, energyWh, limitPrice));
        } catch {}
    }

    function _deposit(uint32 household, uint256 amount) private {
        market.deposit(household, amount);
        deposited += amount;
    }
}

contract MarketInvariants {
    Days private _days;

    function setUp() external {
        _days = new Days();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_days);
    }

    /// @notice Money is conserved to the unit, whatever is settled and in which order; nothing unsettled is
    /// overwritten, or its money would be missing here.
    function invariant_moneyIsConserved() external view {
        uint256 expected = _days.deposited() - _days.withdrawn();
        require(_days.accountedFor() == expected, "money is lost or made");
        require(_days.holdings() == expected, "the market does not hold what it owes");
    }

    function invariant_allocationsKeepTheOrders() external view {
        _days.checkAllocations();
    }
}
