// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice The few of forge's cheat codes that these tests need.
interface Cheats {
    function warp(uint256 unixSeconds) external;
    function prank(address sender) external;
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function addr(uint256 key) external pure returns (address);
    function expectRevert(bytes calldata data) external;
    function assume(bool condition) external pure;
}

Cheats constant CHEATS = Cheats(address(uint160(uint256(keccak256("hevm cheat code")))));
