// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {ISettlementCredit} from "./interfaces/ISettlementCredit.sol";

/// @title The neighbourhood's settlement credit
contract SettlementCredit is ISettlementCredit, ERC20Permit, AccessManaged {
    /// @dev The market keeps balances in 96 bits; a supply that fits keeps every sum of them in [2].
    uint256 public constant SUPPLY_CAP = type(uint96).max;

    constructor(address authority)
        ERC20("daisee settlement credit", "DSC")
        ERC20Permit("daisee settlement credit")
        AccessManaged(authority)
    {}

    /// @inheritdoc ISettlementCredit
    function issue(address to, uint256 amount) external restricted {
        _mint(to, amount);
        if (totalSupply() > SUPPLY_CAP) revert SettlementCreditSupplyCap(totalSupply(), SUPPLY_CAP);
        emit CreditIssued(to, amount);
    }

    /// @inheritdoc ISettlementCredit
    function redeem(address holder, uint256 amount) external restricted {
        if (holder != msg.sender) _spendAllowance(holder, msg.sender, amount);
        _burn(holder, amount);
        emit CreditRedeemed(holder, amount);
    }

    function decimals() public pure override returns (uint8) {
        return 8;
    }

    function nonces(address owner) public view override(ERC20Permit, IERC20Permit) returns (uint256) {
        return super.nonces(owner);
    }
}
