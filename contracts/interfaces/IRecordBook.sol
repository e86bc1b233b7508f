// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title Digests of what happens off chain, in public order
/// @notice The distribution operator's rulings and the suppliers' reports. A digest reveals nothing; who
/// holds the document can show that it is the one recorded here, and when.
interface IRecordBook {
    /// @param slot the first slot that the ruling touches
    event RulingRecorded(uint256 indexed number, uint32 indexed slot, bytes32 digest);
    /// @param supplier the supplier's id in the registry
    event ReportRecorded(
        uint256 indexed number, uint16 indexed supplier, uint32 fromSlot, uint32 toSlot, bytes32 digest
    );

    error RecordBookEmptyDigest();
    error RecordBookReversedSpan(uint32 fromSlot, uint32 toSlot);

    /// @notice Distribution operator only.
    function recordRuling(uint32 slot, bytes32 digest) external returns (uint256 number);
    /// @notice Supplier only.
    function recordReport(uint16 supplier, uint32 fromSlot, uint32 toSlot, bytes32 digest)
        external
        returns (uint256 number);
    function rulings() external view returns (uint256);
    function reports() external view returns (uint256);
}
