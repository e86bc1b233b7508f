// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title The members of one neighbourhood, as the market knows them
/// @notice A household is a number, an owner, a signer, two limits, whether it is active, and the id of
/// the supplier that serves it. Nothing personal: no name, no address, no delivery point, no hash of one.
interface IHouseholdRegistry {
    /// @notice Whether a household may order. Unknown: the number was never given out. NoSigner: its owner
    /// has named none, or the operator revoked it.
    enum Standing {
        Unknown,
        Suspended,
        NoSigner,
        Good
    }

    event HouseholdAdmitted(
        uint32 indexed household, address indexed owner, uint32 importLimitWh, uint32 exportLimitWh, uint16 supplier
    );
    event HouseholdSuspended(uint32 indexed household);
    event HouseholdReinstated(uint32 indexed household);
    event LimitsChanged(uint32 indexed household, uint32 importLimitWh, uint32 exportLimitWh);
    event SupplierChanged(uint32 indexed household, uint16 supplier);
    /// @notice The owner named a signer.
    event SignerNamed(uint32 indexed household, address indexed signer);
    /// @notice The operator took the signer away; only the owner can name the next.
    event SignerRevoked(uint32 indexed household, address indexed signer);
    event OwnershipOffered(uint32 indexed household, address indexed owner, address indexed newOwner);
    event OwnershipTransferred(uint32 indexed household, address indexed owner, address indexed newOwner);
    /// @notice The operator says that the owner key is lost. The owner can object until `effectiveAt`.
    event RecoveryStarted(uint32 indexed household, address indexed newOwner, uint64 effectiveAt);
    event RecoveryStopped(uint32 indexed household, address indexed by);

    error HouseholdRegistryUnknown(uint32 household);
    error HouseholdRegistryFull();
    error HouseholdRegistryZeroAddress();
    error HouseholdRegistryLimitTooLarge(uint32 limitWh, uint32 maximumWh);
    error HouseholdRegistryNotOwner(uint32 household, address caller);
    error HouseholdRegistryNotOffered(uint32 household, address caller);
    error HouseholdRegistryNoRecovery(uint32 household);
    error HouseholdRegistryRecoveryPending(uint32 household, uint64 effectiveAt);
    error HouseholdRegistryExpired(uint256 deadline);
    error HouseholdRegistryWrongSignature(uint32 household);

    // Operator

    /// @notice Give out the next number. The owner names its signer itself.
    function admit(address owner, uint32 importLimitWh, uint32 exportLimitWh, uint16 supplier)
        external
        returns (uint32 household);
    /// @notice Refuse the household's new orders from now on; what it owns and is owed stays its own.
    function suspend(uint32 household) external;
    function reinstate(uint32 household) external;
    /// @notice Stop a stolen or misused key. There is no function by which the operator names another.
    function revokeSigner(uint32 household) external;
    function changeLimits(uint32 household, uint32 importLimitWh, uint32 exportLimitWh) external;
    function changeSupplier(uint32 household, uint16 supplier) external;
    /// @notice Begin to replace a lost owner key, in public and with a delay.
    function startRecovery(uint32 household, address newOwner) external;

    // Owner

    function nameSigner(uint32 household, address signer) external;
    /// @notice The same, carried by anybody who pays the gas, with the owner's EIP-712 signature.
    function nameSignerFor(uint32 household, address signer, uint256 deadline, bytes calldata signature) external;
    function offerOwnership(uint32 household, address newOwner) external;
    function acceptOwnership(uint32 household) external;
    /// @notice Stop a recovery: the old owner objects, or the operator withdraws it.
    function stopRecovery(uint32 household) external;

    // Anybody

    /// @notice Complete a recovery whose delay has passed without objection.
    function completeRecovery(uint32 household) external;
    /// @notice What the market asks before it takes an order.
    /// @param side 0 ask, 1 bid
    /// @return standing whether the household may order at all
    /// @return signer the key whose signature is an order of this household
    /// @return limitWh the most energy of one order of this side: an ask's from the inverter (0 for a home
    /// without one), a bid's from the subscribed power
    function standingOf(uint32 household, uint8 side)
        external
        view
        returns (Standing standing, address signer, uint256 limitWh);
    function limitsOf(uint32 household) external view returns (uint32 importLimitWh, uint32 exportLimitWh);
    function ownerOf(uint32 household) external view returns (address);
    function supplierOf(uint32 household) external view returns (uint16);
    function recoveryOf(uint32 household) external view returns (address newOwner, uint64 effectiveAt);
    function households() external view returns (uint32);
    /// @notice Counts an owner's signatures for nameSignerFor.
    function signerNonce(uint32 household) external view returns (uint256);
}
