// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {IERC20, SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {ReentrancyGuard} from "@openzeppelin/contracts/utils/ReentrancyGuard.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {IEnergyMarket} from "./interfaces/IEnergyMarket.sol";
import {IHouseholdRegistry} from "./interfaces/IHouseholdRegistry.sol";
import {Clearing} from "./libraries/Clearing.sol";
import {TickBook} from "./libraries/TickBook.sol";
import {Account, Accounts, Result, Results, Row, Rows} from "./libraries/Words.sol";

/// @title A neighbourhood's double auction for metered energy
/// @notice A slot's life: orders are accepted while its gate is open (O(1) each, the bidder's worst case
/// escrowed); then anybody clears it (O(occupied ticks)); then each order settles, lazily on the household's
/// next order or when anybody asks. Markers [n] refer to docs/rounding.md.
contract EnergyMarket is IEnergyMarket, AccessManaged, EIP712, Pausable, ReentrancyGuard {
    using SafeERC20 for IERC20;
    using TickBook for TickBook.Book;

    uint256 private constant ASK = 0;
    uint256 private constant BID = 1;

    /// @dev How many of the newest pending slots an order looks at to settle them: keeps an order O(1).
    uint256 private constant LAZY_SETTLEMENTS = 2;

    bytes32 private constant ORDER_TYPEHASH = keccak256(
        "Order(uint32 household,uint32 slot,uint8 side,uint32 energyWh,uint32 limitPrice,bytes32 evidence)"
    );

    IHouseholdRegistry public immutable REGISTRY;
    IERC20 public immutable CREDIT;
    uint32 private immutable SLOT_SECONDS;
    uint32 private immutable RING_SLOTS;

    Rules[] private _rules;
    mapping(uint256 ringIndex => TickBook.Book) private _books;
    mapping(uint32 household => mapping(uint256 ringIndex => Row)) private _rows;
    mapping(uint32 household => Account) private _accounts;
    mapping(uint32 slot => Result) private _results;
    mapping(address feeRecipient => uint256 balance) private _fees;

    /// @dev What an order of one slot is checked against: read once for all orders of a slot in a batch.
    struct Terms {
        uint32 slot;
        uint256 ringIndex;
        bool open;
        bool bookReady;
        uint256 floorPrice;
        uint256 tickSize;
        uint256 ticks;
        uint256 networkFee;
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
        uint32 month = (30 days + slotSeconds_ - 1) / slotSeconds_;
        RING_SLOTS = month < 2 * Accounts.WINDOW ? uint32(2 * Accounts.WINDOW) : month;
        firstRules.fromSlot = 0;
        _addRules(firstRules);
    }

    // Orders

    /// @inheritdoc IEnergyMarket
    function submit(SignedOrder calldata signedOrder) external {
        if (paused()) revert EnergyMarketOrderRefused(Refusal.Paused);
        Refusal refusal = _accept(signedOrder, _termsOf(signedOrder.order.slot));
        if (refusal != Refusal.None) revert EnergyMarketOrderRefused(refusal);
    }

    /// @inheritdoc IEnergyMarket
    function submitBatch(SignedOrder[] calldata signedOrders) external {
        bool isPaused = paused();
        Terms memory terms;
        for (uint256 i = 0; i < signedOrders.length; ++i) {
            Order calldata order = signedOrders[i].order;
            if (i == 0 || terms.slot != order.slot) terms = _termsOf(order.slot);
            Refusal refusal = isPaused ? Refusal.Paused : _accept(signedOrders[i], terms);
            if (refusal != Refusal.None) emit OrderRefused(order.slot, order.household, order.side, refusal);
        }
    }

    function _accept(SignedOrder calldata signedOrder, Terms memory terms) private returns (Refusal) {
        Order calldata order = signedOrder.order;
        uint32 household = order.household;
        uint256 side = order.side;
        uint256 energyWh = order.energyWh;
        uint256 limitPrice = order.limitPrice;
        if (side > BID) return Refusal.MalformedSide;
        if (!terms.open) return Refusal.GateNotOpen;

        (IHouseholdRegistry.Standing standing, address signer, uint256 limitWh) = REGISTRY.standingOf(household, side);
        if (standing != IHouseholdRegistry.Standing.Good) {
            if (standing == IHouseholdRegistry.Standing.Unknown) return Refusal.UnknownHousehold;
            if (standing == IHouseholdRegistry.Standing.Suspended) return Refusal.Suspended;
            return Refusal.NoSigner;
        }
        if (energyWh == 0 || energyWh > limitWh) return Refusal.EnergyOutOfLimit;
        if (limitPrice < terms.floorPrice) return Refusal.PriceOffGrid;
        // Not below the floor; energy, price and fee have at most 24, 32 and 32 bits, a balance 96.
        unchecked {
            uint256 tick = (limitPrice - terms.floorPrice) / terms.tickSize;
            if (tick >= terms.ticks || terms.floorPrice + tick * terms.tickSize != limitPrice) {
                return Refusal.PriceOffGrid;
            }
            mapping(uint256 => Row) storage rows = _rows[household];
            Row row = rows[terms.ringIndex];
            bool fresh = row.slot() != terms.slot;
            if (!fresh) {
                (uint256 alreadyWh,,) = row.order(side);
                if (alreadyWh != 0) return Refusal.Duplicate;
            }
            if (!_isSignedBy(signer, signedOrder)) return Refusal.WrongSignature;

            // The household's earlier orders settle first: their proceeds may pay for this one.
            (uint256 balance, uint256 newest, uint256 pending) = _settleNewest(household, rows);
            uint256 escrow = side == BID ? energyWh * (limitPrice + terms.networkFee) : 0; // [3]
            if (escrow > balance) {
                _accounts[household] = Accounts.pack(balance, newest, pending);
                return Refusal.InsufficientCredit;
            }
            balance -= escrow;
            if (terms.slot > newest) {
                (balance, pending) = _moveWindow(household, balance, newest, pending, terms.slot - newest);
                newest = terms.slot;
            }
            if (fresh) {
                balance += _recycleRow(household, rows[terms.ringIndex]); // [8]
                row = Rows.forSlot(terms.slot);
            }
            uint256 bit = _pendingBit(newest, terms.slot);
            if (bit == 0) row = row.withCarried(true);
            _accounts[household] = Accounts.pack(balance, newest, pending | bit);

            if (!terms.bookReady) {
                _openBook(terms.slot);
                terms.bookReady = true;
            }
            uint256 prefixWh = _books[terms.ringIndex].add(side, tick, energyWh);
            rows[terms.ringIndex] = row.withOrder(side, energyWh, limitPrice, prefixWh);
            emit OrderAccepted(
                terms.slot,
                household,
                uint8(side),
                uint32(energyWh),
                uint32(limitPrice),
                uint64(prefixWh),
                order.evidence
            );
        }
        return Refusal.None;
    }

    function _isSignedBy(address signer, SignedOrder calldata signedOrder) private view returns (bool) {
        (address recovered, ECDSA.RecoverError failure,) =
            ECDSA.tryRecover(_orderDigest(signedOrder.order), signedOrder.r, signedOrder.vs);
        return failure == ECDSA.RecoverError.NoError && recovered == signer;
    }

    function _termsOf(uint32 slot) private view returns (Terms memory terms) {
        Rules memory rules = _rules[_versionAt(slot)];
        (uint256 opensAt, uint256 closesAt) = _gate(slot, rules);
        terms.slot = slot;
        terms.ringIndex = slot % RING_SLOTS;
        terms.open = opensAt <= block.timestamp && block.timestamp < closesAt;
        terms.floorPrice = rules.floorPrice;
        terms.tickSize = rules.tickSize;
        terms.ticks = rules.ticks;
        terms.networkFee = rules.networkFee;
    }

    /// @dev A book is used again only after the slot that it held was cleared. Its gate has long closed:
    /// the rules keep all gates that can be open at one time within 3/4 of the ring [7].
    function _openBook(uint32 slot) private {
        TickBook.Book storage book = _books[slot % RING_SLOTS];
        uint32 held = book.slotOf();
        if (held == slot) return;
        if (held != 0 && !_results[held].cleared()) _clear(held);
        book.reset(slot);
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
        if (slot == 0 || _books[slot % RING_SLOTS].slotOf() != slot) revert EnergyMarketNoOrders(slot);
        uint256 version = _versionAt(slot);
        (, uint256 closesAt) = _gate(slot, _rules[version]);
        if (block.timestamp < closesAt) revert EnergyMarketGateStillOpen(slot, closesAt);
    }

    function _clear(uint32 slot) private {
        uint256 version = _versionAt(slot);
        Rules memory rules = _rules[version];
        TickBook.Book storage book = _books[slot % RING_SLOTS];
        Clearing.Outcome memory outcome = Clearing.clear(book.load(ASK, rules.ticks), book.load(BID, rules.ticks));
        // Exact, because the tick size is even [4].
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
        Row row = _rows[household][slot % RING_SLOTS];
        if (row.slot() != slot) return;
        Account account = _accounts[household];
        uint256 pending = account.pending();
        if (row.carried()) {
            _rows[household][slot % RING_SLOTS] = row.withCarried(false);
        } else {
            uint256 bit = _pendingBit(account.newest(), slot);
            if (pending & bit == 0) return;
            pending ^= bit;
        }
        uint256 balance = account.balance() + _pay(household, row, _results[slot]);
        _accounts[household] = Accounts.pack(balance, account.newest(), pending);
    }

    /// @dev Settles a household's newest pending slots that are cleared. The caller stores the account.
    function _settleNewest(uint32 household, mapping(uint256 => Row) storage rows)
        private
        returns (uint256 balance, uint256 newest, uint256 pending)
    {
        Account account = _accounts[household];
        (balance, newest, pending) = (account.balance(), account.newest(), account.pending());
        // A pending bit's position is at most `newest` and at most 127; balances fit 96 bits [2].
        unchecked {
            uint256 unseen = pending;
            for (uint256 i = 0; i < LAZY_SETTLEMENTS && unseen != 0; ++i) {
                uint256 bit = unseen & (~unseen + 1); // the lowest bit is the newest slot
                unseen ^= bit;
                uint32 slot = uint32(newest - _log2(bit));
                Result result = _results[slot];
                if (!result.cleared()) continue;
                balance += _pay(household, rows[slot % RING_SLOTS], result);
                pending ^= bit;
            }
        }
    }

    /// @dev Makes room for a newer slot. A pending slot that falls out of the window settles if it is
    /// cleared; if not, its row is marked and settles when somebody asks or when it is used again.
    function _moveWindow(uint32 household, uint256 balance, uint256 newest, uint256 pending, uint256 by)
        private
        returns (uint256, uint256)
    {
        if (pending == 0) return (balance, 0);
        uint256 kept = by < Accounts.WINDOW ? pending & (2 ** (Accounts.WINDOW - by) - 1) : 0;
        uint256 leaving = pending ^ kept;
        while (leaving != 0) {
            uint256 bit = leaving & (~leaving + 1);
            leaving ^= bit;
            uint32 slot = uint32(newest - _log2(bit));
            Row row = _rows[household][slot % RING_SLOTS];
            Result result = _results[slot];
            if (result.cleared()) {
                balance += _pay(household, row, result);
            } else {
                _rows[household][slot % RING_SLOTS] = row.withCarried(true);
            }
        }
        return (balance, by < Accounts.WINDOW ? kept << by : 0);
    }

    /// @dev Settles what an old row still holds before it is used again. Only a marked row can hold
    /// anything: the ring is longer than the window.
    function _recycleRow(uint32 household, Row row) private returns (uint256) {
        if (!row.carried()) return 0;
        if (!_results[row.slot()].cleared()) _clear(row.slot());
        return _pay(household, row, _results[row.slot()]);
    }

    /// @dev Pays out both sides of a row of a cleared slot. The caller credits the sum to the household
    /// and sees to it that this happens once.
    function _pay(uint32 household, Row row, Result result) private returns (uint256 credited) {
        uint32 slot = row.slot();
        uint256 price = result.price();
        (uint256 askWh, uint256 askLimit, uint256 askPrefixWh) = row.order(ASK);
        (uint256 bidWh, uint256 bidLimit, uint256 bidPrefixWh) = row.order(BID);
        // Energies, prices and fees have at most 24, 32 and 32 bits; a buyer pays at most its escrow [3].
        unchecked {
            if (askWh != 0) {
                uint256 soldWh = _filled(ASK, askWh, askLimit, askPrefixWh, result);
                credited = soldWh * price;
                emit OrderSettled(slot, household, uint8(ASK), uint32(soldWh), uint32(price), int256(credited));
            }
            if (bidWh != 0) {
                uint256 boughtWh = _filled(BID, bidWh, bidLimit, bidPrefixWh, result);
                uint256 fee = result.fee();
                uint256 paid = boughtWh * (price + fee);
                credited += bidWh * (bidLimit + fee) - paid; // [3]
                if (fee != 0 && boughtWh != 0) _fees[_rules[result.version()].feeRecipient] += boughtWh * fee;
                emit OrderSettled(slot, household, uint8(BID), uint32(boughtWh), uint32(price), -int256(paid));
            }
        }
    }

    /// @dev What an order gets: all beyond the price, its share at the price, nothing short of it.
    function _filled(uint256 side, uint256 energyWh, uint256 limitPrice, uint256 prefixWh, Result result)
        private
        pure
        returns (uint256)
    {
        uint256 price = result.price();
        if (price == 0) return 0;
        if (limitPrice != price) return (side == ASK) == (limitPrice < price) ? energyWh : 0;
        uint256 totalWh = result.totalWh();
        if (totalWh == 0 || result.rationed() != side) return energyWh;
        return Clearing.share(prefixWh, energyWh, result.leftWh(), totalWh);
    }

    // Money

    /// @inheritdoc IEnergyMarket
    function deposit(uint32 household, uint256 amount) external nonReentrant {
        _deposit(household, amount);
    }

    /// @inheritdoc IEnergyMarket
    /// @dev A permit that somebody else carried first must not stop the deposit: the allowance decides.
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
        (uint256 balance, uint256 newest, uint256 pending) = _settleNewest(household, _rows[household]);
        if (amount > balance) revert EnergyMarketInsufficientBalance(balance, amount);
        _accounts[household] = Accounts.pack(balance - amount, newest, pending);
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
        REGISTRY.ownerOf(household); // reverts for a number that was not given out
        CREDIT.safeTransferFrom(msg.sender, address(this), amount);
        Account account = _accounts[household];
        uint256 balance = account.balance() + amount;
        if (balance > type(uint96).max) revert EnergyMarketInsufficientBalance(type(uint96).max, balance);
        _accounts[household] = Accounts.pack(balance, account.newest(), account.pending());
        emit Deposited(household, msg.sender, amount);
    }

    // Governance and guardian

    /// @inheritdoc IEnergyMarket
    function scheduleRules(Rules calldata rules) external restricted {
        Rules memory last = _rules[_rules.length - 1];
        (uint256 opensBefore,) = _gate(rules.fromSlot, last);
        (uint256 opensAfter,) = _gate(rules.fromSlot, rules);
        uint256 start = uint256(rules.fromSlot) * SLOT_SECONDS;
        if (
            rules.fromSlot <= last.fromSlot || start <= block.timestamp || opensBefore <= block.timestamp
                || opensAfter <= block.timestamp
        ) revert EnergyMarketNotFuture(rules.fromSlot);
        _addRules(rules);
    }

    /// @inheritdoc IEnergyMarket
    function pause() external restricted {
        _pause();
    }

    /// @inheritdoc IEnergyMarket
    function unpause() external restricted {
        _unpause();
    }

    function _addRules(Rules memory rules) private {
        if (rules.floorPrice == 0) revert EnergyMarketBadRules("floor price");
        if (rules.tickSize == 0 || rules.tickSize % 2 != 0) revert EnergyMarketBadRules("tick size");
        if (rules.ticks == 0 || rules.ticks > TickBook.MAX_TICKS) revert EnergyMarketBadRules("ticks");
        uint256 cap = uint256(rules.floorPrice) + (uint256(rules.ticks) - 1) * rules.tickSize;
        if (cap > type(uint32).max) revert EnergyMarketBadRules("cap price");
        if (rules.networkFee != 0 && rules.feeRecipient == address(0)) revert EnergyMarketBadRules("fee recipient");
        int256 quarter = int256(uint256(RING_SLOTS / 4) * SLOT_SECONDS);
        if (rules.gateOffset < -quarter || rules.gateOffset > quarter) revert EnergyMarketBadRules("gate offset");
        if (rules.gateSeconds == 0 || int256(uint256(rules.gateSeconds)) > quarter) {
            revert EnergyMarketBadRules("gate length");
        }
        if (_rules.length > type(uint16).max) revert EnergyMarketBadRules("too many versions");
        _rules.push(rules);
        emit RulesScheduled(_rules.length - 1, rules);
    }

    // Views

    /// @inheritdoc IEnergyMarket
    function slotSeconds() external view returns (uint32) {
        return SLOT_SECONDS;
    }

    /// @inheritdoc IEnergyMarket
    function ringSlots() external view returns (uint32) {
        return RING_SLOTS;
    }

    /// @inheritdoc IEnergyMarket
    function rulesAt(uint32 slot) external view returns (Rules memory) {
        uint256 version = _versionAt(slot);
        return _rules[version];
    }

    /// @inheritdoc IEnergyMarket
    function gateOf(uint32 slot) external view returns (uint256 opensAt, uint256 closesAt) {
        uint256 version = _versionAt(slot);
        return _gate(slot, _rules[version]);
    }

    /// @inheritdoc IEnergyMarket
    function balanceOf(uint32 household) external view returns (uint256) {
        return _accounts[household].balance();
    }

    /// @inheritdoc IEnergyMarket
    function feesOf(address feeRecipient) external view returns (uint256) {
        return _fees[feeRecipient];
    }

    /// @inheritdoc IEnergyMarket
    function allocation(uint32 slot, uint32 household) external view returns (Allocation memory answer) {
        Row row = _rows[household][slot % RING_SLOTS];
        if (row.slot() > slot) revert EnergyMarketRowRecycled(slot, household);
        if (row.slot() < slot) return answer;
        (uint256 askWh, uint256 askLimit, uint256 askPrefixWh) = row.order(ASK);
        (uint256 bidWh, uint256 bidLimit, uint256 bidPrefixWh) = row.order(BID);
        (answer.askWh, answer.bidWh) = (uint32(askWh), uint32(bidWh));
        Result result = _results[slot];
        if (!result.cleared()) return answer;
        answer.cleared = true;
        answer.price = uint32(result.price());
        answer.soldWh = uint32(_filled(ASK, askWh, askLimit, askPrefixWh, result));
        answer.boughtWh = uint32(_filled(BID, bidWh, bidLimit, bidPrefixWh, result));
        answer.earned = answer.soldWh * result.price();
        answer.paid = answer.boughtWh * (result.price() + result.fee());
        Account account = _accounts[household];
        answer.settled = !row.carried() && account.pending() & _pendingBit(account.newest(), slot) == 0;
    }

    /// @inheritdoc IEnergyMarket
    function resultOf(uint32 slot) external view returns (bool cleared, uint32 price, uint64 matchedWh) {
        Result result = _results[slot];
        return (result.cleared(), uint32(result.price()), uint64(result.matchedWh()));
    }

    /// @inheritdoc IEnergyMarket
    function bookOf(uint32 slot) external view returns (uint64[] memory askWh, uint64[] memory bidWh) {
        TickBook.Book storage book = _books[slot % RING_SLOTS];
        if (slot == 0 || book.slotOf() != slot) return (askWh, bidWh);
        uint256 version = _versionAt(slot);
        uint256 ticks = _rules[version].ticks;
        askWh = new uint64[](ticks);
        bidWh = new uint64[](ticks);
        uint256[] memory asks = book.load(ASK, ticks);
        uint256[] memory bids = book.load(BID, ticks);
        for (uint256 tick = 0; tick < ticks; ++tick) {
            (askWh[tick], bidWh[tick]) = (uint64(asks[tick]), uint64(bids[tick]));
        }
    }

    /// @inheritdoc IEnergyMarket
    function orderDigest(Order calldata order) external view returns (bytes32) {
        return _orderDigest(order);
    }

    function _orderDigest(Order calldata order) private view returns (bytes32) {
        return _hashTypedDataV4(
            keccak256(
                abi.encode(
                    ORDER_TYPEHASH,
                    order.household,
                    order.slot,
                    order.side,
                    order.energyWh,
                    order.limitPrice,
                    order.evidence
                )
            )
        );
    }

    /// @dev The newest version whose first slot is not after the given one; the last one nearly always.
    function _versionAt(uint32 slot) private view returns (uint256) {
        uint256 high = _rules.length - 1;
        if (_rules[high].fromSlot <= slot) return high;
        uint256 low = 0; // _rules[low].fromSlot <= slot < _rules[high].fromSlot
        while (high - low > 1) {
            uint256 middle = (low + high) / 2;
            if (_rules[middle].fromSlot <= slot) low = middle;
            else high = middle;
        }
        return low;
    }

    function _gate(uint32 slot, Rules memory rules) private view returns (uint256 opensAt, uint256 closesAt) {
        int256 opens = int256((uint256(slot) + 1) * SLOT_SECONDS) + rules.gateOffset;
        opensAt = opens < 0 ? 0 : uint256(opens);
        closesAt = opensAt + rules.gateSeconds;
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
