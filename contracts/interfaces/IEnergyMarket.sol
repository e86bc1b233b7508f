// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title A neighbourhood's double auction for metered energy
/// @notice Energy in Wh, money in credit units, prices in units per Wh, times in seconds, slots numbered
/// floor(unix time / slotSeconds). An allocation is an accounting fact about a shared network: nobody's
/// electrons are steered to a neighbour.
interface IEnergyMarket {
    /// @notice Why an order was not accepted. Checked in this order; the first that fails is reported.
    enum Refusal {
        None,
        Paused,
        MalformedSide,
        GateNotOpen,
        UnknownHousehold,
        Suspended,
        NoSigner,
        EnergyOutOfLimit,
        PriceOffGrid,
        Duplicate,
        WrongSignature,
        InsufficientCredit
    }

    /// @notice What a household's signer signs (EIP-712).
    /// @param side 0 ask (sell), 1 bid (buy)
    /// @param evidence a salted commitment to what backs the order; reveals nothing by itself
    struct Order {
        uint32 household;
        uint32 slot;
        uint8 side;
        uint32 energyWh;
        uint32 limitPrice;
        bytes32 evidence;
    }

    /// @notice An order with its compact signature (EIP-2098), as it travels.
    /// @param order its numbers in one word, as packOrder gives it, to save calldata:
    /// | side | 32 limitPrice | 32 energyWh | 32 slot | 32 household |
    struct SignedOrder {
        uint256 order;
        bytes32 evidence;
        bytes32 r;
        bytes32 vs;
    }

    /// @notice The parameters of the slots from `fromSlot` on. The gate of slot s is
    /// [end of s + gateOffset, end of s + gateOffset + gateSeconds); prices are floorPrice + k * tickSize
    /// with k < ticks; a buyer pays networkFee per Wh to feeRecipient.
    struct Rules {
        uint32 fromSlot;
        int32 gateOffset;
        uint32 gateSeconds;
        uint32 floorPrice;
        uint32 tickSize;
        uint16 ticks;
        uint32 networkFee;
        address feeRecipient;
    }

    /// @notice Both sides of a household in a slot. Sold, bought, earned and paid are 0 until it is cleared.
    struct Allocation {
        bool cleared;
        bool settled;
        uint32 price;
        uint32 askWh;
        uint32 soldWh;
        uint256 earned;
        uint32 bidWh;
        uint32 boughtWh;
        uint256 paid;
    }

    /// @notice `prefixWh` is the energy of the same slot, side and price that was accepted before.
    event OrderAccepted(
        uint32 indexed slot,
        uint32 indexed household,
        uint8 side,
        uint32 energyWh,
        uint32 limitPrice,
        uint64 prefixWh,
        bytes32 evidence
    );
    /// @notice A batch skipped an order. Direct submissions revert instead.
    event OrderRefused(uint32 indexed slot, uint32 indexed household, uint8 side, Refusal reason);
    event SlotCleared(uint32 indexed slot, bool hasPrice, uint32 price, uint64 matchedWh, uint64 askWh, uint64 bidWh);
    /// @notice Money moved for one order; `amount` from the household's view, network fee included.
    event OrderSettled(
        uint32 indexed slot, uint32 indexed household, uint8 side, uint32 filledWh, uint32 price, int256 amount
    );
    event Deposited(uint32 indexed household, address indexed from, uint256 amount);
    event Withdrawn(uint32 indexed household, address indexed to, uint256 amount);
    event FeesWithdrawn(address indexed feeRecipient, address indexed to, uint256 amount);
    event RulesScheduled(uint256 indexed version, Rules rules);

    error EnergyMarketOrderRefused(Refusal reason);
    error EnergyMarketGateStillOpen(uint32 slot, uint256 closesAt);
    error EnergyMarketAlreadyCleared(uint32 slot);
    error EnergyMarketNoOrders(uint32 slot);
    error EnergyMarketRowRecycled(uint32 slot, uint32 household);
    error EnergyMarketNotOwner(uint32 household, address caller);
    error EnergyMarketInsufficientBalance(uint256 balance, uint256 wanted);
    error EnergyMarketBadRules(string what);
    error EnergyMarketNotFuture(uint32 fromSlot);
    error EnergyMarketZeroAddress();

    // Orders

    /// @notice Submit one signed order; anybody may carry it. Reverts with the reason if it is refused.
    function submitOrder(SignedOrder calldata signedOrder) external;
    /// @notice Submit many. A bad one is skipped and reported by OrderRefused and never blocks the others.
    function submitBatch(SignedOrder[] calldata signedOrders) external;

    // Clearing and settlement: open to anybody, while paused too

    /// @notice Clear a slot whose gate has closed. Slots may be cleared in any order.
    function clear(uint32 slot) external;
    /// @notice Settle what these households ordered in a slot, clearing it first if need be. Households
    /// with nothing to settle are passed over; none can stop the others.
    function settle(uint32 slot, uint32[] calldata households) external;

    // Money

    function deposit(uint32 household, uint256 amount) external;
    function depositWithPermit(uint32 household, uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external;
    /// @notice Owner only.
    function withdraw(uint32 household, uint256 amount, address to) external;
    /// @notice The fee recipient's own account.
    function withdrawFees(uint256 amount, address to) external;

    // Governance and guardian

    /// @notice Set the rules from a future slot on: one whose gate has not opened under old or new rules.
    function scheduleRules(Rules calldata rules) external;
    /// @notice Stop new orders at once. Clearing, settlement and withdrawal go on.
    function pause() external;
    function unpause() external;

    // Views

    function slotSeconds() external view returns (uint32);
    /// @notice Slots after which books and order rows are used again: at least 30 days.
    function ringSlots() external view returns (uint32);
    function rulesAt(uint32 slot) external view returns (Rules memory);
    function gateOf(uint32 slot) external view returns (uint256 opensAt, uint256 closesAt);
    function balanceOf(uint32 household) external view returns (uint256);
    function feesOf(address feeRecipient) external view returns (uint256);
    function allocation(uint32 slot, uint32 household) external view returns (Allocation memory);
    /// @notice Kept for ever. `price` is 0 when nothing traded.
    function resultOf(uint32 slot) external view returns (bool cleared, uint32 price, uint64 matchedWh);
    /// @notice Energy by tick of a slot whose book still stands; empty arrays once it is recycled.
    function bookOf(uint32 slot) external view returns (uint64[] memory askWh, uint64[] memory bidWh);
    /// @notice The digest that a signer signs.
    function orderDigest(Order calldata order) external view returns (bytes32);
    /// @notice The word in which an order's numbers travel.
    function packOrder(Order calldata order) external pure returns (uint256);
}
