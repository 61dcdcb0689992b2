// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Roles} from "./Roles.sol";

interface IERC20 {
    function balanceOf(address account) external view returns (uint256);
    function transfer(address to, uint256 value) external returns (bool);
    function transferFrom(address from, address to, uint256 value) external returns (bool);
}

/// @title Invoices in any accepted token, with refunds.
///
/// A merchant's invoices are numbered by the merchant: nobody can take another's number. Money waits here until the
/// merchant withdraws it; a refund comes out of what waits. For each token, what this contract holds is at least what
/// it owes all merchants.
contract PaymentProcessor is Roles {
    enum State {
        Unknown,
        Open,
        Paid,
        Cancelled
    }

    struct Invoice {
        address token;
        uint64 expiresAt;
        State state;
        /// Who alone may pay; anyone if zero. Once paid, who did.
        address payer;
        uint256 amount;
        uint256 refunded;
    }

    mapping(address token => bool) public isAccepted;
    /// What waits for each merchant.
    mapping(address merchant => mapping(address token => uint256)) public owed;

    mapping(address merchant => mapping(bytes32 number => Invoice)) private invoices;
    bool private transient isEntered;

    event TokenAccepted(address indexed token, bool accepted);
    event InvoiceCreated(
        address indexed merchant, bytes32 indexed number, address indexed token, uint256 amount, uint64 expiresAt
    );
    event InvoiceCancelled(address indexed merchant, bytes32 indexed number);
    event InvoicePaid(address indexed merchant, bytes32 indexed number, address indexed payer, uint256 amount);
    event InvoiceRefunded(address indexed merchant, bytes32 indexed number, address indexed payer, uint256 amount);
    event Withdrawn(address indexed merchant, address indexed token, address indexed to, uint256 amount);
    event Deposited(address indexed merchant, address indexed token, uint256 amount);

    error TokenNotAccepted(address token);
    error InvoiceExists(address merchant, bytes32 number);
    error WrongState(address merchant, bytes32 number, State state);
    error Expired(address merchant, bytes32 number, uint64 expiresAt);
    error NotThePayer(address payer);
    error ZeroAmount();
    error ZeroAddress();
    error ZeroId();
    error WithdrawnToItself();
    error OtherAmount(uint256 asked, uint256 offered);
    error RefundTooHigh(uint256 available, uint256 wanted);
    error NotEnoughOwed(uint256 available, uint256 wanted);
    error TokenFailed(address token);
    error TokenKeptPart(address token, uint256 received, uint256 expected);
    error TokenTookMore(address token, uint256 taken, uint256 expected);
    error Reentered();

    /// A token may call back: nothing here may be entered while a call is under way.
    modifier once() {
        if (isEntered) revert Reentered();
        isEntered = true;
        _;
        isEntered = false;
    }

    constructor(address admin) Roles(admin) {}

    function invoice(address merchant, bytes32 number) external view returns (Invoice memory) {
        return invoices[merchant][number];
    }

    /// Open invoices of a token that is no longer accepted can be refunded and withdrawn, not paid. A token without code
    /// is not accepted; one that has lost it can still be given up.
    function setAccepted(address token, bool accepted) external onlyRole(DEFAULT_ADMIN_ROLE) {
        if (accepted && token.code.length == 0) revert TokenNotAccepted(token);
        isAccepted[token] = accepted;
        emit TokenAccepted(token, accepted);
    }

    /// The caller asks for `amount` of `token` until `expiresAt`, from `payer` or from anyone if that is zero. No
    /// invoice has the number zero.
    function createInvoice(bytes32 number, address token, uint256 amount, uint64 expiresAt, address payer) external {
        if (number == 0) revert ZeroId();
        Invoice storage made = invoices[msg.sender][number];
        if (made.state != State.Unknown) revert InvoiceExists(msg.sender, number);
        if (!isAccepted[token]) revert TokenNotAccepted(token);
        if (amount == 0) revert ZeroAmount();
        if (block.timestamp > expiresAt) revert Expired(msg.sender, number, expiresAt);
        made.token = token;
        made.expiresAt = expiresAt;
        made.state = State.Open;
        made.payer = payer;
        made.amount = amount;
        emit InvoiceCreated(msg.sender, number, token, amount, expiresAt);
    }

    function cancelInvoice(bytes32 number) external {
        Invoice storage made = inState(msg.sender, number, State.Open);
        made.state = State.Cancelled;
        emit InvoiceCancelled(msg.sender, number);
    }

    /// Pays an invoice with the caller's tokens, which must be approved for this contract. The payer says what he
    /// believes to pay: a merchant cannot exchange the invoice under his hands.
    function pay(address merchant, bytes32 number, address token, uint256 amount) external once {
        Invoice storage made = inState(merchant, number, State.Open);
        if (made.token != token || !isAccepted[token]) revert TokenNotAccepted(token);
        if (made.amount != amount) revert OtherAmount(made.amount, amount);
        if (block.timestamp > made.expiresAt) revert Expired(merchant, number, made.expiresAt);
        if (made.payer != address(0) && made.payer != msg.sender) revert NotThePayer(made.payer);
        made.state = State.Paid;
        made.payer = msg.sender;
        owed[merchant][token] += amount;
        pull(token, amount);
        emit InvoicePaid(merchant, number, msg.sender, amount);
    }

    /// Gives the payer of an invoice back `amount`, in one or several parts, out of what waits for the merchant.
    function refund(bytes32 number, uint256 amount) external once {
        Invoice storage made = inState(msg.sender, number, State.Paid);
        if (amount == 0) revert ZeroAmount();
        uint256 available = made.amount - made.refunded;
        if (amount > available) revert RefundTooHigh(available, amount);
        made.refunded += amount;
        take(msg.sender, made.token, amount);
        push(made.token, made.payer, amount);
        emit InvoiceRefunded(msg.sender, number, made.payer, amount);
    }

    /// Adds the merchant's own tokens, so that a refund can be paid after a withdrawal.
    function deposit(address token, uint256 amount) external once {
        if (!isAccepted[token]) revert TokenNotAccepted(token);
        if (amount == 0) revert ZeroAmount();
        owed[msg.sender][token] += amount;
        pull(token, amount);
        emit Deposited(msg.sender, token, amount);
    }

    /// Pays out what waits for the caller. What this contract sent to itself would wait for nobody.
    function withdraw(address token, address to, uint256 amount) external once {
        if (to == address(0)) revert ZeroAddress();
        if (to == address(this)) revert WithdrawnToItself();
        if (amount == 0) revert ZeroAmount();
        take(msg.sender, token, amount);
        push(token, to, amount);
        emit Withdrawn(msg.sender, token, to, amount);
    }

    function inState(address merchant, bytes32 number, State expected) private view returns (Invoice storage made) {
        made = invoices[merchant][number];
        if (made.state != expected) revert WrongState(merchant, number, made.state);
    }

    function take(address merchant, address token, uint256 amount) private {
        uint256 available = owed[merchant][token];
        if (amount > available) revert NotEnoughOwed(available, amount);
        owed[merchant][token] = available - amount;
    }

    /// Takes the caller's tokens. What counts is what arrived: a token may keep a fee.
    function pull(address token, uint256 amount) private {
        uint256 before = IERC20(token).balanceOf(address(this));
        send(token, abi.encodeCall(IERC20.transferFrom, (msg.sender, address(this), amount)));
        uint256 received = IERC20(token).balanceOf(address(this)) - before;
        if (received != amount) revert TokenKeptPart(token, received, amount);
    }

    /// Gives tokens away. What counts is what is left: a token may take a fee on top, which would be other merchants'.
    function push(address token, address to, uint256 amount) private {
        uint256 before = IERC20(token).balanceOf(address(this));
        send(token, abi.encodeCall(IERC20.transfer, (to, amount)));
        uint256 left = IERC20(token).balanceOf(address(this));
        if (before > left + amount) revert TokenTookMore(token, before - left, amount);
    }

    /// Some tokens answer nothing; none may answer no. What a token says when it fails is not looked into.
    function send(address token, bytes memory data) private {
        (bool success, bytes memory answer) = token.call(data);
        if (!success) revert TokenFailed(token);
        bool isYes =
            answer.length == 0 ? token.code.length > 0 : answer.length >= 32 && abi.decode(answer, (uint256)) == 1;
        if (!isYes) revert TokenFailed(token);
    }
}
