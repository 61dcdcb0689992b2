// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Who may do what. The functions are those of OpenZeppelin's IAccessControl, with one admin role for all; the
/// errors are its own.
abstract contract Roles {
    bytes32 public constant DEFAULT_ADMIN_ROLE = 0;

    mapping(bytes32 role => mapping(address => bool)) public hasRole;

    event RoleGranted(bytes32 indexed role, address indexed account, address indexed sender);
    event RoleRevoked(bytes32 indexed role, address indexed account, address indexed sender);

    error MissingRole(address account, bytes32 role);
    error NotYourself();
    error NoAdmin();

    modifier onlyRole(bytes32 role) {
        if (!hasRole[role][msg.sender]) revert MissingRole(msg.sender, role);
        _;
    }

    constructor(address admin) {
        if (admin == address(0)) revert NoAdmin();
        setRole(DEFAULT_ADMIN_ROLE, admin, true);
    }

    /// The role that grants and revokes a role: the same for each.
    function getRoleAdmin(bytes32) external pure returns (bytes32) {
        return DEFAULT_ADMIN_ROLE;
    }

    function grantRole(bytes32 role, address account) external onlyRole(DEFAULT_ADMIN_ROLE) {
        setRole(role, account, true);
    }

    function revokeRole(bytes32 role, address account) external onlyRole(DEFAULT_ADMIN_ROLE) {
        setRole(role, account, false);
    }

    /// Gives up one's own role; the account is named so that nobody does it by mistake.
    function renounceRole(bytes32 role, address account) external {
        if (account != msg.sender) revert NotYourself();
        setRole(role, account, false);
    }

    function setRole(bytes32 role, address account, bool has) private {
        if (hasRole[role][account] == has) return;
        hasRole[role][account] = has;
        if (has) emit RoleGranted(role, account, msg.sender);
        else emit RoleRevoked(role, account, msg.sender);
    }
}
