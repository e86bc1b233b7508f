// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {IERC20, SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {ReentrancyGuard} from "@openzeppelin/contracts/utils/ReentrancyGuard.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {IEnergyMarket} from "./interfaces/IEnergyMarket.sol";
import {IHouseholdRegistry} from "./interfaces/IHouseholdRegistry.sol";
import {Clearing} from "./libraries/Clearing.sol";
import {Level, TickBook} from "./libraries/TickBook.sol";
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
} from "./libraries/Words.sol";

/// @title A neighbourhood's double auction for metered energy
/// @notice A slot's life: orders are accepted while its gate is open (O(1) each, the bidder's worst case
/// escrowed); then anybody clears it (O(occupied ticks)); then each order settles, lazily on the household's
/// next order or when anybody asks. Markers [n] refer to docs/rounding.md.
contract EnergyMarket is IEnergyMarket, AccessManaged, EIP712, ReentrancyGuard, Pausable {
    using SafeERC20 for IERC20;
    using TickBook for TickBook.Book;
    using TickBook for TickBook.Marks;

    uint256 private constant ASK = 0;
    uint256 private constant BID = 1;

    bytes32 private constant ORDER_TYPEHASH = keccak256(
        "Order(uint32 household,uint32 slot,uint8 side,uint32 energyWh,uint32 limitPrice,bytes32 evidence)"
    );

    IHouseholdRegistry public immutable REGISTRY;
    IERC20 public immutable CREDIT;
    uint32 private immutable SLOT_SECONDS;
    uint256 private immutable RING_SLOTS;

    /// @dev Holds 30 days of slots of one second.
    uint256 private constant RING_MAX = 2 ** 22;

    /// @dev These two share a word with Pausable's flag, because an order reads all three: hence the order
    /// of the bases, and the newest rules' numbers once more.
    uint16 private _newestVersion;
    Numbers private _newestNumbers;
    // Arrays, not mappings: their types bound every index, and adding an index is cheaper than hashing it.
    Rules[2 ** 16] private _rules;
    TickBook.Book[RING_MAX] private _books;
    Household[2 ** 32] private _households;
    Result[2 ** 32] private _results;
    mapping(address feeRecipient => uint256 balance) private _fees;

    struct Household {
        Account account;
        RowCell[RING_MAX] rows;
    }

    /// @dev A word in a struct can be pointed at.
    struct RowCell {
        Row row;
    }

    /// @dev What an order of one slot is checked against: read once for all orders of a slot in a batch.
    struct Terms {
        bytes32 domain;
        uint256 slot;
        uint256 ringIndex;
        bool open; // and not paused
        Numbers numbers;
    }

    constructor(
        address authority,
        IHouseholdRegistry registry,
        IERC20 credit,
        uint32 slotSeconds_,
        Rules memory firstRules
    ) AccessManaged(authority) EIP712("daisee market", "1") {
        if (address(registry) == address(0) || address(credit) == address(0)) revert EnergyMarketZeroAddress();
        if (slotSeconds_ == 0 || slotSeconds_ > 1 days) revert EnergyMarketBadRules("slot length");
        REGISTRY = registry;
        CREDIT = credit;
        SLOT_SECONDS = slotSeconds_;
        uint256 month = (30 days + slotSeconds_ - 1) / slotSeconds_;
        RING_SLOTS = month < 2 * Accounts.WINDOW ? 2 * Accounts.WINDOW : month;
        firstRules.fromSlot = 0;
        _setRules(0, firstRules);
    }

    // Orders

    /// @inheritdoc IEnergyMarket
    function submitOrder(SignedOrder calldata signedOrder) external {
        Refusal refusal = _accept(signedOrder, _termsOf(Orders.slot(signedOrder.order)));
        if (refusal != Refusal.None) revert EnergyMarketOrderRefused(refusal);
    }

    /// @inheritdoc IEnergyMarket
    function submitBatch(SignedOrder[] calldata signedOrders) external {
        // slither-disable-next-line uninitialized-local
        Terms memory terms; // of slot 0, whose gate is never open
        for (uint256 i = 0; i < signedOrders.length; ++i) {
            SignedOrder calldata signedOrder = signedOrders[i];
            uint256 order = signedOrder.order;
            if (Orders.slot(order) != terms.slot) terms = _termsOf(Orders.slot(order));
            Refusal refusal = _accept(signedOrder, terms);
            if (refusal != Refusal.None) {
                emit OrderRefused(Orders.slot(order), Orders.household(order), uint8(Orders.side(order)), refusal);
            }
        }
    }

    /// @dev Checks an order, settles what the household has waiting, takes the escrow, enters the order.
    /// @param terms those of the order's slot
    function _accept(SignedOrder calldata signedOrder, Terms memory terms) private returns (Refusal) {
        uint256 order = signedOrder.order;
        Household storage member = _households[Orders.household(order)];
        RowCell storage cell = member.rows[terms.ringIndex];
        Row row = cell.row;
        (Refusal refusal, uint256 tick) = _check(signedOrder, terms, row);
        if (refusal != Refusal.None) return refusal;

        // The household's earlier orders settle first: their proceeds may pay for this one.
        (uint256 balance, uint256 newest, uint256 pending) = _settleNewest(Orders.household(order), member);
        // Energy, price and fee have at most 24, 32 and 32 bits, a balance 96 [2].
        unchecked {
            if (Orders.side(order) == BID) {
                uint256 escrow = Orders.energyWh(order) * (Orders.limitPrice(order) + terms.numbers.networkFee()); // [3]
                if (escrow > balance) {
                    member.account = Accounts.pack(balance, newest, pending);
                    return Refusal.InsufficientCredit;
                }
                balance -= escrow;
            }
            bool carried = false;
            if (terms.slot > newest) {
                if (pending != 0) {
                    (balance, pending) =
                        _moveWindow(Orders.household(order), member, balance, newest, pending, terms.slot - newest);
                    row = cell.row;
                }
                newest = terms.slot;
                pending |= 1;
            } else if (newest - terms.slot < Accounts.WINDOW) {
                pending |= 1 << (newest - terms.slot);
            } else {
                carried = true;
            }
            if (row.slot() != terms.slot) {
                if (row.carried()) balance += _payCarried(Orders.household(order), row); // [8]
                row = Rows.forSlot(terms.slot);
            }
            if (carried) row = row.withCarried(true);
            member.account = Accounts.pack(balance, newest, pending);
        }
        uint256 prefixWh = _enter(terms, Orders.side(order), tick, Orders.energyWh(order));
        cell.row = row.withOrder(Orders.side(order), Orders.energyWh(order), Orders.limitPrice(order), prefixWh);
        emit OrderAccepted(
            Orders.slot(order),
            Orders.household(order),
            uint8(Orders.side(order)),
            uint32(Orders.energyWh(order)),
            uint32(Orders.limitPrice(order)),
            uint64(prefixWh),
            signedOrder.evidence
        );
        return Refusal.None;
    }

    /// @dev Everything that an order can be refused for, but its escrow.
    /// @param row the household's row in the ring, of this slot or an older one
    /// @return refusal the first reason, in the order of the enumeration
    /// @return tick the order's price in ticks above the floor
    function _check(SignedOrder calldata signedOrder, Terms memory terms, Row row)
        private
        view
        returns (Refusal refusal, uint256 tick)
    {
        uint256 order = signedOrder.order;
        uint256 side = Orders.side(order);
        if (side > BID || !terms.open) {
            return (paused() ? Refusal.Paused : side > BID ? Refusal.MalformedSide : Refusal.GateNotOpen, 0);
        }
        // One question per order of a batch, to the neighbourhood's own registry, which only looks it up.
        // slither-disable-next-line calls-loop
        (IHouseholdRegistry.Standing standing, address signer, uint256 limitWh) =
            REGISTRY.standingOf(Orders.household(order), uint8(side));
        if (standing != IHouseholdRegistry.Standing.Good) return (_refusalOf(standing), 0);
        uint256 energyWh = Orders.energyWh(order);
        if (energyWh == 0 || energyWh > limitWh) return (Refusal.EnergyOutOfLimit, 0);
        unchecked {
            // A price below the floor wraps round to a tick far beyond the grid.
            uint256 aboveFloor = Orders.limitPrice(order) - terms.numbers.floorPrice();
            uint256 tickSize = terms.numbers.tickSize();
            // Multiplying back shows whether the division was exact.
            // slither-disable-next-line divide-before-multiply
            tick = aboveFloor / tickSize;
            if (tick >= terms.numbers.ticks() || tick * tickSize != aboveFloor) return (Refusal.PriceOffGrid, 0);
        }
        if (row.slot() == terms.slot && row.energyWh(side) != 0) return (Refusal.Duplicate, 0);
        // Address 0 stands for a failed recovery, so its reason need not be looked at: a standing is good
        // only with another signer.
        // slither-disable-next-line unused-return
        (address recovered,,) =
            ECDSA.tryRecover(_digest(terms.domain, signedOrder), signedOrder.r, signedOrder.vs);
        if (recovered != signer) refusal = Refusal.WrongSignature;
    }

    function _refusalOf(IHouseholdRegistry.Standing standing) private pure returns (Refusal) {
        if (standing == IHouseholdRegistry.Standing.Unknown) return Refusal.UnknownHousehold;
        if (standing == IHouseholdRegistry.Standing.Suspended) return Refusal.Suspended;
        return Refusal.NoSigner;
    }

    function _termsOf(uint32 slot) private view returns (Terms memory terms) {
        bool isPaused = paused();
        Numbers numbers = _newestNumbers;
        if (numbers.fromSlot() > slot) numbers = _numbersOf(_rules[_versionAt(slot)]);
        (uint256 opensAt, uint256 closesAt) = _gate(slot, numbers.gateOffset(), numbers.gateSeconds());
        terms.domain = _domainSeparatorV4();
        terms.slot = slot;
        terms.ringIndex = slot % RING_SLOTS;
        terms.open = !isPaused && opensAt <= block.timestamp && block.timestamp < closesAt;
        terms.numbers = numbers;
    }

    function _numbersOf(Rules memory rules) private pure returns (Numbers) {
        return RuleNumbers.pack(
            rules.fromSlot,
            rules.gateOffset,
            rules.gateSeconds,
            rules.floorPrice,
            rules.tickSize,
            rules.ticks,
            rules.networkFee
        );
    }

    /// @dev A book is used again only after the slot that it held was cleared. Its gate has long closed: the
    /// rules keep all gates that can be open at one time within 3/4 of the ring [7].
    function _enter(Terms memory terms, uint256 side, uint256 tick, uint256 energyWh) private returns (uint256) {
        TickBook.Book storage book = _books[terms.ringIndex];
        TickBook.Marks marks = book.marks;
        uint32 held = marks.slot();
        if (held != terms.slot) {
            if (held != 0 && !marks.cleared()) _clear(held);
            marks = TickBook.blank(terms.slot);
        }
        return book.add(marks, side, tick, energyWh);
    }

    // Clearing

    /// @inheritdoc IEnergyMarket
    function clear(uint32 slot) external {
        if (_results[slot].cleared()) revert EnergyMarketAlreadyCleared(slot);
        _requireClearable(slot);
        _clear(slot);
    }

    /// @dev Reverts unless the slot holds orders and its gate has closed.
    function _requireClearable(uint32 slot) private view {
        if (!_holds(slot)) revert EnergyMarketNoOrders(slot);
        (, uint256 closesAt) = gateOf(slot);
        if (block.timestamp < closesAt) revert EnergyMarketGateStillOpen(slot, closesAt);
    }

    /// @dev Whether its book holds orders of a slot.
    function _holds(uint32 slot) private view returns (bool) {
        return slot != 0 && _books[slot % RING_SLOTS].marks.slot() == slot;
    }

    /// @dev Only for a slot that its book holds, which is every slot with orders until it is cleared [7].
    function _clear(uint32 slot) private {
        uint256 version = _versionAt(slot);
        Rules storage rules = _rules[version];
        TickBook.Book storage book = _books[slot % RING_SLOTS];
        (Level[] memory levels, uint256 count) = book.levels();
        book.close();
        Clearing.Outcome memory outcome = Clearing.clear(levels, count);
        // Exact, because the tick size is even [4].
        // slither-disable-next-line divide-before-multiply
        uint256 price = outcome.matchedWh == 0
            ? 0
            : rules.floorPrice + outcome.doubledTick * (uint256(rules.tickSize) / 2);
        _results[slot] = Results.pack(
            price,
            rules.networkFee,
            outcome.totalWh,
            outcome.leftWh,
            outcome.rationed,
            outcome.matchedWh,
            version
        );
        emit SlotCleared(
            slot, price != 0, uint32(price), uint64(outcome.matchedWh), uint64(outcome.askWh), uint64(outcome.bidWh)
        );
    }

    // Settlement

    /// @inheritdoc IEnergyMarket
    function settle(uint32 slot, uint32[] calldata households) external {
        if (!_results[slot].cleared()) {
            _requireClearable(slot);
            _clear(slot);
        }
        for (uint256 i = 0; i < households.length; ++i) {
            _settleOne(slot, households[i]);
        }
    }

    /// @dev Passes over a household with nothing to settle. Nothing in here can revert [9].
    function _settleOne(uint32 slot, uint32 household) private {
        Row row = _households[household].rows[slot % RING_SLOTS].row;
        if (row.slot() != slot) return;
        Account account = _households[household].account;
        uint256 pending = account.pending();
        if (row.carried()) {
            _households[household].rows[slot % RING_SLOTS].row = row.withCarried(false);
        } else {
            uint256 bit = _pendingBit(account.newest(), slot);
            if (pending & bit == 0) return;
            pending ^= bit;
        }
        uint256 balance = account.balance() + _pay(household, row, _results[slot]);
        _households[household].account = Accounts.pack(balance, account.newest(), pending);
    }

    /// @dev Settles a household's two newest pending slots, if they are cleared: no more, to keep an order
    /// O(1). The caller stores the account.
    function _settleNewest(uint256 household, Household storage member)
        private
        returns (uint256 balance, uint256 newest, uint256 pending)
    {
        Account account = member.account;
        (balance, newest, pending) = (account.balance(), account.newest(), account.pending());
        // A pending bit's position is at most `newest` and at most 127; balances fit 96 bits [2].
        unchecked {
            // The lowest bit is the newest slot: the two lowest of them.
            uint256 older = pending & (pending - 1);
            uint256 unseen = pending ^ (older & (older - 1));
            while (unseen != 0) {
                uint256 bit = unseen & (~unseen + 1);
                unseen ^= bit;
                uint256 slot = newest - _log2(bit);
                Result result = _results[slot];
                if (result.cleared()) {
                    balance += _pay(household, member.rows[slot % RING_SLOTS].row, result);
                    pending ^= bit;
                }
            }
        }
    }

    /// @dev Makes room for a newer slot. A pending slot that falls out of the window settles if it is
    /// cleared; if not, its row is marked and settles when somebody asks or when it is used again.
    function _moveWindow(
        uint256 household,
        Household storage member,
        uint256 balance,
        uint256 newest,
        uint256 pending,
        uint256 by
    ) private returns (uint256, uint256) {
        uint256 kept = by < Accounts.WINDOW ? pending & (2 ** (Accounts.WINDOW - by) - 1) : 0;
        uint256 leaving = pending ^ kept;
        while (leaving != 0) {
            uint256 bit = leaving & (~leaving + 1);
            leaving ^= bit;
            uint256 slot = newest - _log2(bit);
            RowCell storage cell = member.rows[slot % RING_SLOTS];
            Result result = _results[slot];
            if (result.cleared()) balance += _pay(household, cell.row, result);
            else cell.row = cell.row.withCarried(true);
        }
        return (balance, by < Accounts.WINDOW ? kept << by : 0);
    }

    /// @dev Settles what an old row still holds before it is used again. Only a marked row can hold
    /// anything: the ring is longer than the window.
    function _payCarried(uint256 household, Row row) private returns (uint256) {
        uint32 slot = row.slot();
        if (!_results[slot].cleared()) _clear(slot);
        return _pay(household, row, _results[slot]);
    }

    /// @dev Pays out both sides of a row of a cleared slot. The caller credits the sum to the household
    /// and sees to it that this happens once.
    function _pay(uint256 household, Row row, Result result) private returns (uint256 credited) {
        uint256 price = result.price();
        // Energies, prices and fees have at most 24, 32 and 32 bits; a buyer pays at most its escrow [3].
        unchecked {
            if (row.energyWh(ASK) != 0) {
                uint256 soldWh = _filled(row, ASK, result);
                credited = soldWh * price;
                emit OrderSettled(row.slot(), uint32(household), uint8(ASK), uint32(soldWh), uint32(price), int256(credited));
            }
            uint256 bidWh = row.energyWh(BID);
            if (bidWh != 0) {
                uint256 boughtWh = _filled(row, BID, result);
                uint256 fee = result.fee();
                uint256 paid = boughtWh * (price + fee);
                credited += bidWh * (row.limitPrice(BID) + fee) - paid; // [3]
                if (fee != 0 && boughtWh != 0) _fees[_rules[result.version()].feeRecipient] += boughtWh * fee;
                emit OrderSettled(row.slot(), uint32(household), uint8(BID), uint32(boughtWh), uint32(price), -int256(paid));
            }
        }
    }

    /// @dev What an order gets: all beyond the price, its share at the price, nothing short of it.
    function _filled(Row row, uint256 side, Result result) private pure returns (uint256) {
        uint256 price = result.price();
        if (price == 0) return 0;
        uint256 energyWh = row.energyWh(side);
        uint256 limitPrice = row.limitPrice(side);
        if (limitPrice != price) return (side == ASK) == (limitPrice < price) ? energyWh : 0;
        uint256 totalWh = result.totalWh();
        if (totalWh == 0 || result.rationed() != side) return energyWh;
        return Clearing.share(row.prefixWh(side), energyWh, result.leftWh(), totalWh);
    }

    // Money

    /// @inheritdoc IEnergyMarket
    function deposit(uint32 household, uint256 amount) external nonReentrant {
        _deposit(household, amount);
    }

    /// @inheritdoc IEnergyMarket
    /// @dev A permit that somebody else carried first must not stop the deposit: the allowance decides.
    // The credit is one of ours, and nonReentrant bars the way back besides.
    // slither-disable-next-line reentrancy-benign
    function depositWithPermit(uint32 household, uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
        nonReentrant
    {
        // solhint-disable-next-line no-empty-blocks
        try IERC20Permit(address(CREDIT)).permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}
        _deposit(household, amount);
    }

    /// @inheritdoc IEnergyMarket
    function withdraw(uint32 household, uint256 amount, address to) external nonReentrant {
        if (msg.sender != REGISTRY.ownerOf(household)) revert EnergyMarketNotOwner(household, msg.sender);
        (uint256 balance, uint256 newest, uint256 pending) = 
            _settleNewest(household, _households[household]);
        if (amount > balance) revert EnergyMarketInsufficientBalance(balance, amount);
        _households[household].account = Accounts.pack(balance - amount, newest, pending);
        emit Withdrawn(household, to, amount);
        CREDIT.safeTransfer(to, amount);
    }

    /// @inheritdoc IEnergyMarket
    function withdrawFees(uint256 amount, address to) external nonReentrant {
        uint256 balance = _fees[msg.sender];
        if (amount > balance) revert EnergyMarketInsufficientBalance(balance, amount);
        _fees[msg.sender] = balance - amount;
        emit FeesWithdrawn(msg.sender, to, amount);
        CREDIT.safeTransfer(to, amount);
    }

    /// @dev Balances fit 96 bits because the credit's whole supply does [2].
    function _deposit(uint32 household, uint256 amount) private {
        // slither-disable-next-line unused-return
        REGISTRY.ownerOf(household); // reverts for a number that was not given out
        CREDIT.safeTransferFrom(msg.sender, address(this), amount);
        Account account = _households[household].account;
        uint256 balance = account.balance() + amount;
        if (balance > type(uint96).max) revert EnergyMarketInsufficientBalance(type(uint96).max, balance);
        _households[household].account = Accounts.pack(balance, account.newest(), account.pending());
        emit Deposited(household, msg.sender, amount);
    }

    // Governance and guardian

    /// @inheritdoc IEnergyMarket
    function scheduleRules(Rules calldata rules) external restricted {
        Rules storage last = _rules[_newestVersion];
        (uint256 opensBefore,) = _gate(rules.fromSlot, last.gateOffset, 0);
        (uint256 opensAfter,) = _gate(rules.fromSlot, rules.gateOffset, 0);
        uint256 start = uint256(rules.fromSlot) * SLOT_SECONDS;
        if (
            rules.fromSlot <= last.fromSlot || start <= block.timestamp || opensBefore <= block.timestamp
                || opensAfter <= block.timestamp
        ) revert EnergyMarketNotFuture(rules.fromSlot);
        if (_newestVersion == type(uint16).max) revert EnergyMarketBadRules("too many versions");
        _setRules(++_newestVersion, rules);
    }

    /// @inheritdoc IEnergyMarket
    function pause() external restricted {
        _pause();
    }

    /// @inheritdoc IEnergyMarket
    function unpause() external restricted {
        _unpause();
    }

    function _setRules(uint256 version, Rules memory rules) private {
        if (rules.floorPrice == 0) revert EnergyMarketBadRules("floor price");
        if (rules.tickSize == 0 || rules.tickSize % 2 != 0) revert EnergyMarketBadRules("tick size");
        if (rules.ticks == 0 || rules.ticks > TickBook.MAX_TICKS) revert EnergyMarketBadRules("ticks");
        uint256 cap = uint256(rules.floorPrice) + (uint256(rules.ticks) - 1) * rules.tickSize;
        if (cap > type(uint32).max) revert EnergyMarketBadRules("cap price");
        if (rules.networkFee != 0 && rules.feeRecipient == address(0)) revert EnergyMarketBadRules("fee recipient");
        // Rounded down on purpose: quarters of the ring in whole slots [7].
        // slither-disable-next-line divide-before-multiply
        int256 quarter = int256((RING_SLOTS / 4) * SLOT_SECONDS);
        if (rules.gateOffset < -quarter || rules.gateOffset > quarter) revert EnergyMarketBadRules("gate offset");
        if (rules.gateSeconds == 0 || int256(uint256(rules.gateSeconds)) > quarter) {
            revert EnergyMarketBadRules("gate length");
        }
        _rules[version] = rules;
        _newestNumbers = _numbersOf(rules);
        emit RulesScheduled(version, rules);
    }

    // Views

    /// @inheritdoc IEnergyMarket
    function slotSeconds() external view returns (uint32) {
        return SLOT_SECONDS;
    }

    /// @inheritdoc IEnergyMarket
    function ringSlots() external view returns (uint32) {
        return uint32(RING_SLOTS);
    }

    /// @inheritdoc IEnergyMarket
    function rulesAt(uint32 slot) external view returns (Rules memory) {
        return _rulesAt(slot);
    }

    /// @inheritdoc IEnergyMarket
    function gateOf(uint32 slot) public view returns (uint256 opensAt, uint256 closesAt) {
        Rules storage rules = _rulesAt(slot);
        return _gate(slot, rules.gateOffset, rules.gateSeconds);
    }

    /// @inheritdoc IEnergyMarket
    function balanceOf(uint32 household) external view returns (uint256) {
        return _households[household].account.balance();
    }

    /// @inheritdoc IEnergyMarket
    function feesOf(address feeRecipient) external view returns (uint256) {
        return _fees[feeRecipient];
    }

    /// @inheritdoc IEnergyMarket
    function allocation(uint32 slot, uint32 household) external view returns (Allocation memory answer) {
        Row row = _households[household].rows[slot % RING_SLOTS].row;
        if (row.slot() > slot) revert EnergyMarketRowRecycled(slot, household);
        if (row.slot() < slot) return answer;
        (answer.askWh, answer.bidWh) = (uint32(row.energyWh(ASK)), uint32(row.energyWh(BID)));
        Result result = _results[slot];
        if (!result.cleared()) return answer;
        answer.cleared = true;
        answer.price = uint32(result.price());
        answer.soldWh = uint32(_filled(row, ASK, result));
        answer.boughtWh = uint32(_filled(row, BID, result));
        answer.earned = answer.soldWh * result.price();
        answer.paid = answer.boughtWh * (result.price() + result.fee());
        Account account = _households[household].account;
        answer.settled = !row.carried() && account.pending() & _pendingBit(account.newest(), slot) == 0;
    }

    /// @inheritdoc IEnergyMarket
    function resultOf(uint32 slot) external view returns (bool cleared, uint32 price, uint64 matchedWh) {
        Result result = _results[slot];
        return (result.cleared(), uint32(result.price()), uint64(result.matchedWh()));
    }

    /// @inheritdoc IEnergyMarket
    function bookOf(uint32 slot) external view returns (uint64[] memory askWh, uint64[] memory bidWh) {
        if (!_holds(slot)) return (askWh, bidWh);
        uint256 ticks = _rulesAt(slot).ticks;
        askWh = new uint64[](ticks);
        bidWh = new uint64[](ticks);
        (Level[] memory levels, uint256 count) = _books[slot % RING_SLOTS].levels();
        for (uint256 i = 0; i < count; ++i) {
            uint256 tick = levels[i].tick();
            (askWh[tick], bidWh[tick]) = (uint64(levels[i].askWh()), uint64(levels[i].bidWh()));
        }
    }

    /// @inheritdoc IEnergyMarket
    function orderDigest(Order calldata order) external view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(ORDER_TYPEHASH, order)));
    }

    /// @inheritdoc IEnergyMarket
    function packOrder(Order calldata order) external pure returns (uint256) {
        return Orders.pack(order.household, order.slot, order.energyWh, order.limitPrice, order.side);
    }

    function _digest(bytes32 domain, SignedOrder calldata signedOrder) private pure returns (bytes32) {
        uint256 order = signedOrder.order;
        bytes32 structHash = keccak256(
            abi.encode(
                ORDER_TYPEHASH,
                Orders.household(order),
                Orders.slot(order),
                Orders.side(order),
                Orders.energyWh(order),
                Orders.limitPrice(order),
                signedOrder.evidence
            )
        );
        return MessageHashUtils.toTypedDataHash(domain, structHash);
    }

    function _rulesAt(uint32 slot) private view returns (Rules storage rules) {
        rules = _rules[_newestVersion];
        if (rules.fromSlot > slot) rules = _rules[_versionAt(slot)];
    }

    /// @dev The newest version whose first slot is not after the given one.
    function _versionAt(uint32 slot) private view returns (uint256) {
        uint256 high = _newestVersion;
        if (_rules[high].fromSlot <= slot) return high;
        uint256 low = 0; // _rules[low].fromSlot <= slot < _rules[high].fromSlot
        while (high - low > 1) {
            uint256 middle = (low + high) / 2;
            if (_rules[middle].fromSlot <= slot) low = middle;
            else high = middle;
        }
        return low;
    }

    function _gate(uint32 slot, int256 gateOffset, uint256 gateSeconds)
        private
        view
        returns (uint256 opensAt, uint256 closesAt)
    {
        // Slot and lengths have 32 bits each: far from overflow.
        unchecked {
            int256 opens = int256((uint256(slot) + 1) * SLOT_SECONDS) + gateOffset;
            opensAt = opens < 0 ? 0 : uint256(opens);
            closesAt = opensAt + gateSeconds;
        }
    }

    /// @dev The bit of a slot in an account's window; 0 if it lies outside.
    function _pendingBit(uint256 newest, uint256 slot) private pure returns (uint256) {
        if (slot > newest || newest - slot >= Accounts.WINDOW) return 0;
        return 1 << (newest - slot);
    }

    /// @dev The position of a single bit among the 128 of a window.
    function _log2(uint256 bit) private pure returns (uint256 position) {
        if (bit == 1) return 0; // nearly always: the newest slot
        if (bit >> 64 != 0) (bit, position) = (bit >> 64, 64);
        if (bit >> 32 != 0) (bit, position) = (bit >> 32, position + 32);
        if (bit >> 16 != 0) (bit, position) = (bit >> 16, position + 16);
        if (bit >> 8 != 0) (bit, position) = (bit >> 8, position + 8);
        if (bit >> 4 != 0) (bit, position) = (bit >> 4, position + 4);
        if (bit >> 2 != 0) (bit, position) = (bit >> 2, position + 2);
        if (bit > 1) ++position;
    }
}
