// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Roles} from "./Roles.sol";
import {Eip712} from "./Eip712.sol";

/// @title A capped ERC-20 that pays for orders and earns loyalty points.
///
/// An order is paid once: a payment is recorded under (payer, payee, order), and the payer agrees to each by sending
/// it, by an allowance, or by a signature. So nobody can spend another's tokens, and nobody can use up the number of
/// another's order.
///
/// Balance and points of an account share one storage slot: paying costs no more slots than transferring.
contract CoffeeToken is Roles, Eip712 {
    bytes32 public constant MINTER_ROLE = keccak256("MINTER_ROLE");

    bytes32 private constant PERMIT_TYPEHASH =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
    bytes32 private constant PAYMENT_TYPEHASH =
        keccak256("Payment(address from,address to,uint256 amount,bytes32 orderId,uint256 deadline)");

    uint8 public constant decimals = 18;

    string public name;
    string public symbol;

    /// The most tokens there can ever be at once, in units of 10^-18.
    uint256 public immutable cap;
    /// How many points a payment of one whole token earns; within 128 bits, so that no payment's points overflow.
    uint256 public immutable pointsPerToken;

    uint256 public totalSupply;
    mapping(address owner => mapping(address spender => uint256)) public allowance;
    /// The next nonce of each owner's permits (EIP-2612).
    mapping(address owner => uint256) public nonces;

    /// Of each account its balance in the lower half, its points in the upper. The cap keeps all balances together
    /// within a half, so adding to one never carries into the points.
    mapping(address => uint256) private accounts;
    mapping(bytes32 payment => bool) private paid;

    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);
    event PaymentProcessed(
        address indexed from, address indexed to, bytes32 indexed orderId, uint256 amount, uint256 points
    );
    event PointsRedeemed(address indexed account, bytes32 indexed reward, uint256 points);

    error CapOutOfRange(uint256 cap);
    error PointsOutOfRange(uint256 pointsPerToken);
    error CapExceeded(uint256 available, uint256 wanted);
    error InsufficientBalance(address account, uint256 available, uint256 wanted);
    error InsufficientAllowance(address owner, address spender, uint256 available, uint256 wanted);
    error InsufficientPoints(address account, uint256 available, uint256 wanted);
    error TooManyPoints(address account);
    error ZeroAddress();
    error ZeroAmount();
    error ZeroId();
    error PaidToPayer(address account);
    error AlreadyPaid(address from, address to, bytes32 orderId);

    /// `admin` grants roles, that of minting among them.
    constructor(string memory name_, string memory symbol_, uint256 cap_, uint256 pointsPerToken_, address admin)
        Roles(admin)
        Eip712(name_, "1")
    {
        if (cap_ == 0 || cap_ > type(uint128).max) revert CapOutOfRange(cap_);
        if (pointsPerToken_ > type(uint128).max) revert PointsOutOfRange(pointsPerToken_);
        name = name_;
        symbol = symbol_;
        cap = cap_;
        pointsPerToken = pointsPerToken_;
    }

    function balanceOf(address account) external view returns (uint256) {
        return balanceIn(accounts[account]);
    }

    function getLoyaltyPoints(address account) external view returns (uint256) {
        return accounts[account] >> 128;
    }

    /// Whether `from` has paid this order of `to`.
    function isPaid(address from, address to, bytes32 orderId) external view returns (bool) {
        return paid[paymentKey(from, to, orderId)];
    }

    function transfer(address to, uint256 value) external returns (bool) {
        move(msg.sender, to, value);
        return true;
    }

    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        spendAllowance(from, value);
        move(from, to, value);
        return true;
    }

    function approve(address spender, uint256 value) external returns (bool) {
        setAllowance(msg.sender, spender, value);
        return true;
    }

    /// An approval by signature (EIP-2612).
    function permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
    {
        requireInTime(deadline);
        uint256 nonce = nonces[owner]++;
        bytes32 structHash = keccak256(abi.encode(PERMIT_TYPEHASH, owner, spender, value, nonce, deadline));
        requireSigned(owner, structHash, v, r, s);
        setAllowance(owner, spender, value);
    }

    function mint(address to, uint256 amount) external onlyRole(MINTER_ROLE) {
        if (to == address(0)) revert ZeroAddress();
        uint256 supply = totalSupply;
        uint256 available = cap - supply;
        if (amount > available) revert CapExceeded(available, amount);
        unchecked {
            // Within the cap, which fits 128 bits.
            totalSupply = supply + amount;
            accounts[to] += amount;
        }
        emit Transfer(address(0), to, amount);
    }

    function burn(uint256 amount) external {
        accounts[msg.sender] = debited(msg.sender, amount);
        unchecked {
            totalSupply -= amount;
        }
        emit Transfer(msg.sender, address(0), amount);
    }

    /// Pays an order, once; none has the number zero. The caller is `from`, or spends an allowance of `from`.
    function processPayment(address from, address to, uint256 amount, bytes32 orderId) external {
        if (msg.sender != from) spendAllowance(from, amount);
        pay(from, to, amount, orderId);
    }

    /// Pays an order, once, by the signature of `from` over (from, to, amount, orderId, deadline). Whoever brings it
    /// can change none of these.
    function processSignedPayment(
        address from,
        address to,
        uint256 amount,
        bytes32 orderId,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        requireInTime(deadline);
        bytes32 structHash = keccak256(abi.encode(PAYMENT_TYPEHASH, from, to, amount, orderId, deadline));
        requireSigned(from, structHash, v, r, s);
        pay(from, to, amount, orderId);
    }

    /// Gives up the caller's own points for a reward.
    function redeemPoints(uint256 points, bytes32 reward) external {
        if (points == 0) revert ZeroAmount();
        uint256 account = accounts[msg.sender];
        uint256 available = account >> 128;
        if (points > available) revert InsufficientPoints(msg.sender, available, points);
        unchecked {
            accounts[msg.sender] = account - (points << 128);
        }
        emit PointsRedeemed(msg.sender, reward, points);
    }

    function pay(address from, address to, uint256 amount, bytes32 orderId) private {
        if (orderId == 0) revert ZeroId();
        // A payment of nothing needs no allowance: anyone could use up an order's number with it.
        if (amount == 0) revert ZeroAmount();
        // It would earn points for nothing.
        if (from == to) revert PaidToPayer(from);
        bytes32 key = paymentKey(from, to, orderId);
        if (paid[key]) revert AlreadyPaid(from, to, orderId);
        paid[key] = true;
        if (to == address(0)) revert ZeroAddress();
        uint256 payer = debited(from, amount);
        uint256 points = amount * pointsPerToken / 1e18;
        uint256 pointsAfter = (payer >> 128) + points;
        if (pointsAfter > type(uint128).max) revert TooManyPoints(from);
        unchecked {
            accounts[from] = payer + (points << 128);
            accounts[to] += amount;
        }
        emit Transfer(from, to, amount);
        emit PaymentProcessed(from, to, orderId, amount, points);
    }

    function move(address from, address to, uint256 value) private {
        if (to == address(0)) revert ZeroAddress();
        accounts[from] = debited(from, value);
        unchecked {
            accounts[to] += value;
        }
        emit Transfer(from, to, value);
    }

    /// The account of `from` without `value` of its balance; not written yet.
    function debited(address from, uint256 value) private view returns (uint256) {
        uint256 account = accounts[from];
        uint256 balance = balanceIn(account);
        if (value > balance) revert InsufficientBalance(from, balance, value);
        unchecked {
            return account - value;
        }
    }

    function balanceIn(uint256 account) private pure returns (uint256) {
        return account & type(uint128).max;
    }

    /// An allowance of 2^256 - 1 is without end and is not written.
    function spendAllowance(address owner, uint256 value) private {
        uint256 available = allowance[owner][msg.sender];
        if (available == type(uint256).max) return;
        if (value > available) revert InsufficientAllowance(owner, msg.sender, available, value);
        unchecked {
            allowance[owner][msg.sender] = available - value;
        }
    }

    function setAllowance(address owner, address spender, uint256 value) private {
        if (spender == address(0)) revert ZeroAddress();
        allowance[owner][spender] = value;
        emit Approval(owner, spender, value);
    }

    function paymentKey(address from, address to, bytes32 orderId) private pure returns (bytes32) {
        return keccak256(abi.encode(from, to, orderId));
    }
}
