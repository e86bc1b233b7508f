// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";

/// @title The neighbourhood's settlement credit: 1 credit = 1 EUR = 10^8 units
/// @notice Issued against euros that the treasurer received, redeemed against euros that it pays out.
interface ISettlementCredit is IERC20, IERC20Permit {
    event CreditIssued(address indexed to, uint256 amount);
    event CreditRedeemed(address indexed holder, uint256 amount);

    error SettlementCreditSupplyCap(uint256 supply, uint256 cap);

    function issue(address to, uint256 amount) external;
    /// @notice Take back credit that its holder has allowed the treasurer to take. Nobody's credit can be
    /// redeemed without that allowance.
    function redeem(address holder, uint256 amount) external;
}
