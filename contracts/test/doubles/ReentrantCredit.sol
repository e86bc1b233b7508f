// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title A credit that strikes back
/// @notice Whenever it is moved it calls its target again, once, and remembers what came of it. It can own
/// a household, so that nothing but the market's own guard stands between it and a second withdrawal.
contract ReentrantCredit is ERC20 {
    address private _target;
    bytes private _armed;
    bool private _struck;
    bool private _succeeded;

    /// @param authority as the settlement credit takes it; of no use here
    // solhint-disable-next-line no-unused-vars
    constructor(address authority) ERC20("credit that strikes back", "CSB") {
        _target = authority;
    }

    function issue(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function redeem(address holder, uint256 amount) external {
        _burn(holder, amount);
    }

    /// @notice What to call when the credit is moved the next time.
    function arm(address target, bytes calldata data) external {
        (_target, _armed, _struck, _succeeded) = (target, data, false, false);
    }

    /// @notice Call a contract as the owner that this credit is.
    function act(address target, bytes calldata data) external {
        (bool done, bytes memory answer) = target.call(data);
        if (!done) {
            assembly ("memory-safe") { // hands on the target's own error
                revert(add(answer, 32), mload(answer))
            }
        }
    }

    /// @notice Whether it called again, and whether it got through.
    function outcome() external view returns (bool struck, bool succeeded) {
        return (_struck, _succeeded);
    }

    function _update(address from, address to, uint256 amount) internal override {
        super._update(from, to, amount);
        if (_armed.length == 0 || _struck) return;
        _struck = true;
        (_succeeded,) = _target.call(_armed);
    }
}
