// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {IRecordBook} from "./interfaces/IRecordBook.sol";

/// @title Digests of rulings and reports
contract RecordBook is IRecordBook, AccessManaged {
    uint256 private _rulings;
    uint256 private _reports;

    constructor(address authority) AccessManaged(authority) {}

    /// @inheritdoc IRecordBook
    function recordRuling(uint32 slot, bytes32 digest) external restricted returns (uint256 number) {
        if (digest == bytes32(0)) revert RecordBookEmptyDigest();
        number = ++_rulings;
        emit RulingRecorded(number, slot, digest);
    }

    /// @inheritdoc IRecordBook
    function recordReport(uint16 supplier, uint32 fromSlot, uint32 toSlot, bytes32 digest)
        external
        restricted
        returns (uint256 number)
    {
        if (digest == bytes32(0)) revert RecordBookEmptyDigest();
        if (fromSlot > toSlot) revert RecordBookReversedSpan(fromSlot, toSlot);
        number = ++_reports;
        emit ReportRecorded(number, supplier, fromSlot, toSlot, digest);
    }

    /// @inheritdoc IRecordBook
    function rulings() external view returns (uint256) {
        return _rulings;
    }

    /// @inheritdoc IRecordBook
    function reports() external view returns (uint256) {
        return _reports;
    }
}
