// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Typed signatures (EIP-712), bound to one chain and one contract, and described by EIP-5267.
abstract contract Eip712 {
    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    /// Half the order of secp256k1: for each signature there is a second one above it (EIP-2).
    uint256 private constant HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    bytes32 private immutable nameHash;
    bytes32 private immutable versionHash;
    uint256 private immutable chainAtStart;
    bytes32 private immutable separatorAtStart;
    string private domainName;
    string private domainVersion;

    error DeadlinePassed(uint256 deadline, uint256 now_);
    error WrongSignature(address signer, address expected);

    constructor(string memory name_, string memory version_) {
        domainName = name_;
        domainVersion = version_;
        nameHash = keccak256(bytes(name_));
        versionHash = keccak256(bytes(version_));
        chainAtStart = block.chainid;
        separatorAtStart = separator();
    }

    function DOMAIN_SEPARATOR() public view returns (bytes32) {
        // A chain may fork and change its id.
        return block.chainid == chainAtStart ? separatorAtStart : separator();
    }

    function eip712Domain()
        external
        view
        returns (
            bytes1 fields,
            string memory name,
            string memory version,
            uint256 chainId,
            address verifyingContract,
            bytes32 salt,
            uint256[] memory extensions
        )
    {
        return (0x0f, domainName, domainVersion, block.chainid, address(this), bytes32(0), new uint256[](0));
    }

    function requireInTime(uint256 deadline) internal view {
        if (block.timestamp > deadline) revert DeadlinePassed(deadline, block.timestamp);
    }

    /// Reverts unless `expected` has signed. Each signature has one form.
    function requireSigned(address expected, bytes32 structHash, uint8 v, bytes32 r, bytes32 s) internal view {
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", DOMAIN_SEPARATOR(), structHash));
        address signer = uint256(s) > HALF_ORDER ? address(0) : ecrecover(digest, v, r, s);
        if (signer == address(0) || signer != expected) revert WrongSignature(signer, expected);
    }

    function separator() private view returns (bytes32) {
        return keccak256(abi.encode(DOMAIN_TYPEHASH, nameHash, versionHash, block.chainid, address(this)));
    }
}
