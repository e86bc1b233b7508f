// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {IAccessManager} from "@openzeppelin/contracts/access/manager/IAccessManager.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {IHouseholdRegistry} from "./interfaces/IHouseholdRegistry.sol";

/// @title The members of one neighbourhood
contract HouseholdRegistry is IHouseholdRegistry, AccessManaged, EIP712 {
    /// @dev With MAX_LIMIT_WH this keeps every sum of one slot below 2^42 Wh, so that the market's packed
    /// tick energies cannot overflow [1].
    uint32 public constant MAX_HOUSEHOLDS = 2 ** 18 - 1;
    uint32 public constant MAX_LIMIT_WH = 2 ** 24 - 1;

    bytes32 private constant NAME_SIGNER_TYPEHASH =
        keccak256("NameSigner(uint32 household,address signer,uint256 nonce,uint256 deadline)");

    /// @dev One word, because the market reads it for every order.
    struct Member {
        address signer;
        uint32 importLimitWh;
        uint32 exportLimitWh;
        uint16 supplier;
        bool active;
        bool known;
    }

    struct Recovery {
        address newOwner;
        uint64 effectiveAt;
    }

    /// @notice How long an owner has to object to a recovery, in seconds.
    uint64 public immutable RECOVERY_DELAY;

    uint32 private _count;
    /// @dev An array, not a mapping: adding an index is cheaper than hashing it.
    Member[2 ** 32] private _members;
    mapping(uint32 household => address) private _owners;
    mapping(uint32 household => address) private _offers;
    mapping(uint32 household => Recovery) private _recoveries;
    mapping(uint32 household => uint256) private _signerNonces;

    constructor(address authority, uint64 recoveryDelay) AccessManaged(authority) EIP712("daisee registry", "1") {
        RECOVERY_DELAY = recoveryDelay;
    }

    modifier onlyOwnerOf(uint32 household) {
        _requireKnown(household);
        if (msg.sender != _owners[household]) revert HouseholdRegistryNotOwner(household, msg.sender);
        _;
    }

    modifier onlyKnown(uint32 household) {
        _requireKnown(household);
        _;
    }

    // Operator

    /// @inheritdoc IHouseholdRegistry
    function admit(address owner, uint32 importLimitWh, uint32 exportLimitWh, uint16 supplier)
        external
        restricted
        returns (uint32 household)
    {
        if (owner == address(0)) revert HouseholdRegistryZeroAddress();
        if (_count == MAX_HOUSEHOLDS) revert HouseholdRegistryFull();
        _requireLimit(importLimitWh);
        _requireLimit(exportLimitWh);
        household = ++_count;
        _owners[household] = owner;
        _members[household] = Member(address(0), importLimitWh, exportLimitWh, supplier, true, true);
        emit HouseholdAdmitted(household, owner, importLimitWh, exportLimitWh, supplier);
    }

    /// @inheritdoc IHouseholdRegistry
    function suspend(uint32 household) external restricted onlyKnown(household) {
        _members[household].active = false;
        emit HouseholdSuspended(household);
    }

    /// @inheritdoc IHouseholdRegistry
    function reinstate(uint32 household) external restricted onlyKnown(household) {
        _members[household].active = true;
        emit HouseholdReinstated(household);
    }

    /// @inheritdoc IHouseholdRegistry
    function revokeSigner(uint32 household) external restricted onlyKnown(household) {
        address signer = _members[household].signer;
        _members[household].signer = address(0);
        ++_signerNonces[household]; // a signature that the owner gave earlier cannot bring the key back
        emit SignerRevoked(household, signer);
    }

    /// @inheritdoc IHouseholdRegistry
    function changeLimits(uint32 household, uint32 importLimitWh, uint32 exportLimitWh)
        external
        restricted
        onlyKnown(household)
    {
        _requireLimit(importLimitWh);
        _requireLimit(exportLimitWh);
        Member storage member = _members[household];
        member.importLimitWh = importLimitWh;
        member.exportLimitWh = exportLimitWh;
        emit LimitsChanged(household, importLimitWh, exportLimitWh);
    }

    /// @inheritdoc IHouseholdRegistry
    function changeSupplier(uint32 household, uint16 supplier) external restricted onlyKnown(household) {
        _members[household].supplier = supplier;
        emit SupplierChanged(household, supplier);
    }

    /// @inheritdoc IHouseholdRegistry
    function startRecovery(uint32 household, address newOwner) external restricted onlyKnown(household) {
        if (newOwner == address(0)) revert HouseholdRegistryZeroAddress();
        uint64 effectiveAt = uint64(block.timestamp) + RECOVERY_DELAY;
        _recoveries[household] = Recovery(newOwner, effectiveAt);
        emit RecoveryStarted(household, newOwner, effectiveAt);
    }

    // Owner

    /// @inheritdoc IHouseholdRegistry
    function nameSigner(uint32 household, address signer) external onlyOwnerOf(household) {
        _nameSigner(household, signer);
    }

    /// @inheritdoc IHouseholdRegistry
    function nameSignerFor(uint32 household, address signer, uint256 deadline, bytes calldata signature)
        external
        onlyKnown(household)
    {
        if (block.timestamp > deadline) revert HouseholdRegistryExpired(deadline);
        bytes32 digest = _hashTypedDataV4(
            keccak256(abi.encode(NAME_SIGNER_TYPEHASH, household, signer, _signerNonces[household], deadline))
        );
        if (!SignatureChecker.isValidSignatureNow(_owners[household], digest, signature)) {
            revert HouseholdRegistryWrongSignature(household);
        }
        _nameSigner(household, signer);
    }

    /// @inheritdoc IHouseholdRegistry
    function offerOwnership(uint32 household, address newOwner) external onlyOwnerOf(household) {
        _offers[household] = newOwner;
        emit OwnershipOffered(household, msg.sender, newOwner);
    }

    /// @inheritdoc IHouseholdRegistry
    function acceptOwnership(uint32 household) external {
        if (msg.sender == address(0) || msg.sender != _offers[household]) {
            revert HouseholdRegistryNotOffered(household, msg.sender);
        }
        _transferOwnership(household, msg.sender);
    }

    /// @inheritdoc IHouseholdRegistry
    /// @dev The owner objects, or whoever may start a recovery withdraws it.
    function stopRecovery(uint32 household) external onlyKnown(household) {
        if (_recoveries[household].newOwner == address(0)) revert HouseholdRegistryNoRecovery(household);
        if (msg.sender != _owners[household]) {
            // The delay that follows is of no interest: an operator with a delayed role is not allowed now.
            // slither-disable-next-line unused-return
            (bool allowed,) =
                IAccessManager(authority()).canCall(msg.sender, address(this), this.startRecovery.selector);
            if (!allowed) revert HouseholdRegistryNotOwner(household, msg.sender);
        }
        delete _recoveries[household];
        emit RecoveryStopped(household, msg.sender);
    }

    // Anybody

    /// @inheritdoc IHouseholdRegistry
    function completeRecovery(uint32 household) external {
        Recovery memory recovery = _recoveries[household];
        if (recovery.newOwner == address(0)) revert HouseholdRegistryNoRecovery(household);
        if (block.timestamp < recovery.effectiveAt) {
            revert HouseholdRegistryRecoveryPending(household, recovery.effectiveAt);
        }
        _transferOwnership(household, recovery.newOwner);
    }

    /// @inheritdoc IHouseholdRegistry
    function standingOf(uint32 household, uint8 side)
        external
        view
        returns (Standing standing, address signer, uint256 limitWh)
    {
        Member storage member = _members[household];
        signer = member.signer;
        limitWh = side == 0 ? member.exportLimitWh : member.importLimitWh;
        if (member.active) standing = signer == address(0) ? Standing.NoSigner : Standing.Good;
        else standing = member.known ? Standing.Suspended : Standing.Unknown;
    }

    /// @inheritdoc IHouseholdRegistry
    function limitsOf(uint32 household) external view returns (uint32 importLimitWh, uint32 exportLimitWh) {
        Member storage member = _members[household];
        return (member.importLimitWh, member.exportLimitWh);
    }

    /// @inheritdoc IHouseholdRegistry
    function ownerOf(uint32 household) external view onlyKnown(household) returns (address) {
        return _owners[household];
    }

    /// @inheritdoc IHouseholdRegistry
    function supplierOf(uint32 household) external view onlyKnown(household) returns (uint16) {
        return _members[household].supplier;
    }

    /// @inheritdoc IHouseholdRegistry
    function recoveryOf(uint32 household) external view returns (address newOwner, uint64 effectiveAt) {
        Recovery memory recovery = _recoveries[household];
        return (recovery.newOwner, recovery.effectiveAt);
    }

    /// @inheritdoc IHouseholdRegistry
    function households() external view returns (uint32) {
        return _count;
    }

    /// @inheritdoc IHouseholdRegistry
    function signerNonce(uint32 household) external view returns (uint256) {
        return _signerNonces[household];
    }

    function _nameSigner(uint32 household, address signer) private {
        if (signer == address(0)) revert HouseholdRegistryZeroAddress();
        _members[household].signer = signer;
        ++_signerNonces[household]; // whatever was signed before is spent, carried or not
        emit SignerNamed(household, signer);
    }

    /// @dev Offers and recoveries of the former owner end with it, and so do its signatures.
    function _transferOwnership(uint32 household, address newOwner) private {
        address owner = _owners[household];
        _owners[household] = newOwner;
        delete _offers[household];
        delete _recoveries[household];
        ++_signerNonces[household];
        emit OwnershipTransferred(household, owner, newOwner);
    }

    function _requireKnown(uint32 household) private view {
        if (!_members[household].known) revert HouseholdRegistryUnknown(household);
    }

    function _requireLimit(uint32 limitWh) private pure {
        if (limitWh > MAX_LIMIT_WH) revert HouseholdRegistryLimitTooLarge(limitWh, MAX_LIMIT_WH);
    }
}
