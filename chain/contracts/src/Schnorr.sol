// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Schnorr signatures on secp256k1 as FROST makes them (RFC 9591, ciphersuite FROST-secp256k1-KECCAK256-v1).
///
/// A signature of message m by key P is a point R and a scalar z with z·G = R + e·P, where the challenge e is the hash of
/// R, P and m. The EVM has no multiplication of points, but ecrecover(h, v, r, s) answers the address of
/// r⁻¹(s·X − h·G), X being the point whose coordinate x is r. With X = P, h = −z·x and s = −e·x (x being the
/// coordinate of P) that is z·G − e·P: it must have the address of R.
library Schnorr {
    /// The order of the group.
    uint256 private constant ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
    /// The order of the field.
    uint256 private constant FIELD = 0xfffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f;

    /// Whether a compressed point can be a key here: it is on the curve, and its x is below the group's order, so that
    /// it can stand for r.
    function isKey(uint8 prefix, uint256 x) internal view returns (bool) {
        if ((prefix != 2 && prefix != 3) || x == 0 || x >= ORDER) return false;
        // x³ + 7 has a square root exactly if its ((p−1)/2)-th power is one (Euler).
        uint256 square = addmod(mulmod(mulmod(x, x, FIELD), x, FIELD), 7, FIELD);
        bytes memory input = abi.encode(32, 32, 32, square, (FIELD - 1) / 2, FIELD);
        (bool ok, bytes memory power) = address(5).staticcall(input);
        return ok && power.length == 32 && abi.decode(power, (uint256)) == 1;
    }

    /// Whether the signature in the call's data at `offset` (R as x and y, then z) is by the key whose 33 bytes lie in
    /// memory at `key`.
    function verify(uint256 key, bytes32 message, uint256 offset) internal view returns (bool isSigned) {
        uint256 e = challenge(key, message, offset);
        assembly ("memory-safe") {
            let x := mload(add(key, 1))
            let z := calldataload(add(offset, 64))
            let free := mload(0x40)
            mstore(free, sub(ORDER, mulmod(z, x, ORDER)))
            mstore(add(free, 32), add(25, byte(0, mload(key)))) // the prefix is 2 or 3, v is 27 or 28
            mstore(add(free, 64), x)
            mstore(add(free, 96), sub(ORDER, mulmod(e, x, ORDER)))
            mstore(0, 0)
            pop(staticcall(gas(), 1, free, 128, 0, 32))
            let recovered := mload(0)
            calldatacopy(free, offset, 64)
            let nonce := and(keccak256(free, 64), 0xffffffffffffffffffffffffffffffffffffffff)
            // A scalar has one form; and nothing recovered is nobody's address.
            isSigned := and(and(lt(z, ORDER), gt(recovered, 0)), eq(recovered, nonce))
        }
    }

    /// H2 of RFC 9591 over R, P and m: hash_to_field with expand_message_xmd (RFC 9380, section 5) on Keccak-256, whose
    /// block has 136 bytes. 48 bytes are wanted: two rounds.
    function challenge(uint256 key, bytes32 message, uint256 offset) private pure returns (uint256 e) {
        // "FROST-secp256k1-KECCAK256-v1chal" and its length.
        bytes32 suffix = "FROST-secp256k1-KECCAK256-v1chal";
        assembly ("memory-safe") {
            let free := mload(0x40)
            // A block of zeros: 136 bytes.
            calldatacopy(free, calldatasize(), 136)
            // R, compressed: 33 bytes from 136.
            mstore8(add(free, 136), add(2, and(calldataload(add(offset, 32)), 1)))
            mstore(add(free, 137), calldataload(offset))
            // P: 33 bytes from 169, and the message: 32 from 202.
            mcopy(add(free, 169), key, 33)
            mstore(add(free, 202), message)
            // 48 as two bytes, a zero, the suffix and its length: 36 bytes from 234.
            mstore(add(free, 234), shl(224, 0x00300000))
            mstore(add(free, 237), suffix)
            mstore8(add(free, 269), 32)
            let b0 := keccak256(free, 270)
            // b1 = H(b0, 1, suffix)
            let start := add(free, 64)
            mstore(start, b0)
            mstore8(add(start, 32), 1)
            mstore(add(start, 33), suffix)
            mstore8(add(start, 65), 32)
            let b1 := keccak256(start, 66)
            // b2 = H(b0 xor b1, 2, suffix)
            mstore(start, xor(b0, b1))
            mstore8(add(start, 32), 2)
            let b2 := keccak256(start, 66)
            // 48 bytes as a number: b1 and the upper half of b2.
            e := addmod(mulmod(b1, shl(128, 1), ORDER), shr(128, b2), ORDER)
        }
    }
}
