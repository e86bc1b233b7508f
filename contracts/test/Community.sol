// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {AccessManager} from "@openzeppelin/contracts/access/manager/AccessManager.sol";
import {EnergyMarket} from "../EnergyMarket.sol";
import {HouseholdRegistry} from "../HouseholdRegistry.sol";
import {SettlementCredit} from "../SettlementCredit.sol";
import {IEnergyMarket} from "../interfaces/IEnergyMarket.sol";
import {CHEATS} from "./Cheats.sol";

/// @notice A small neighbourhood in which this contract is operator, treasurer and every owner.
abstract contract Community {
    uint32 internal constant SLOT_SECONDS = 1 days;
    uint32 internal constant GATE_SECONDS = 600;
    uint32 internal constant FLOOR = 100;
    uint32 internal constant TICK = 2;
    uint16 internal constant TICKS = 8;
    uint32 internal constant FEE = 3;
    uint32 internal constant LIMIT_WH = 500;
    uint32 internal constant MEMBERS = 6;
    address internal constant FEE_RECIPIENT = address(0xFEE);

    AccessManager internal access;
    HouseholdRegistry internal registry;
    SettlementCredit internal credit;
    EnergyMarket internal market;

    function found() internal {
        CHEATS.warp(20_000 days);
        access = new AccessManager(address(this));
        registry = new HouseholdRegistry(address(access), 7 days);
        credit = new SettlementCredit(address(access));
        market = new EnergyMarket(
            address(access),
            registry,
            credit,
            SLOT_SECONDS,
            IEnergyMarket.Rules(0, 0, GATE_SECONDS, FLOOR, TICK, TICKS, FEE, FEE_RECIPIENT)
        );
        credit.issue(address(this), 1e18);
        credit.approve(address(market), 1e18);
        for (uint32 household = 1; household <= MEMBERS; ++household) {
            registry.admit(address(this), LIMIT_WH, LIMIT_WH, 1);
            registry.nameSigner(household, CHEATS.addr(household));
        }
    }

    /// @notice Come into the gate of a slot.
    function openGate(uint32 slot) internal {
        CHEATS.warp((uint256(slot) + 1) * SLOT_SECONDS);
    }

    function closeGate(uint32 slot) internal {
        CHEATS.warp((uint256(slot) + 1) * SLOT_SECONDS + GATE_SECONDS);
    }

    function signed(uint32 household, uint32 slot, uint8 side, uint32 energyWh, uint32 limitPrice)
        internal
        view
        returns (IEnergyMarket.SignedOrder memory)
    {
        IEnergyMarket.Order memory order =
            IEnergyMarket.Order(household, slot, side, energyWh, limitPrice, bytes32(uint256(slot)));
        (uint8 v, bytes32 r, bytes32 s) = CHEATS.sign(household, market.orderDigest(order));
        bytes32 vs = bytes32(uint256(s) | (uint256(v - 27) << 255));
        return IEnergyMarket.SignedOrder(market.packOrder(order), order.evidence, r, vs);
    }
}
