// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title A token that behaves as it is told: as some that are in use, or as an attacker would write one.
///
/// Anyone may mint, and anyone may move anything: whoever uses it in a test holds nothing else back.
contract HostileToken {
    enum Manner {
        /// As ERC-20 has it.
        Plain,
        /// Moves, and answers nothing at all.
        AnswersNothing,
        /// Moves, and answers 31 bytes.
        AnswersShort,
        /// Moves, and answers no.
        AnswersNo,
        /// Moves, and answers two, which is neither.
        AnswersTwo,
        /// Keeps one unit of what it moves, and answers yes.
        KeepsPart,
        /// Answers yes, and moves nothing.
        MovesNothing,
        /// Reverts.
        Reverts,
        /// Calls somebody else before it moves anything.
        CallsBack,
        /// Takes one unit on top from whom it moves from, and answers yes.
        TakesMore
    }

    Manner public manner;
    mapping(address => uint256) public balanceOf;

    address private calls;
    bytes private with;
    bool private isCalling;
    /// Whether a call of `CallsBack` was carried out.
    bool public wentThrough;
    /// How it was refused the last time.
    bytes4 public refusal;

    error NotNow();

    function behave(Manner manner_) external {
        manner = manner_;
    }

    /// What `CallsBack` calls.
    function callBack(address calls_, bytes calldata with_) external {
        (calls, with) = (calls_, with_);
    }

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function transfer(address to, uint256 value) external returns (bool) {
        move(msg.sender, to, value);
        return answer();
    }

    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        move(from, to, value);
        return answer();
    }

    function move(address from, address to, uint256 value) private {
        if (manner == Manner.Reverts) revert NotNow();
        if (manner == Manner.MovesNothing) return;
        if (manner == Manner.CallsBack && !isCalling) {
            isCalling = true;
            (bool success, bytes memory said) = calls.call(with);
            isCalling = false;
            if (success) wentThrough = true;
            else refusal = bytes4(said);
        }
        balanceOf[from] -= manner == Manner.TakesMore ? value + 1 : value;
        balanceOf[to] += manner == Manner.KeepsPart ? value - 1 : value;
    }

    /// Ends the call with what this manner answers.
    function answer() private view returns (bool) {
        uint256 said = manner == Manner.AnswersNo ? 0 : manner == Manner.AnswersTwo ? 2 : 1;
        uint256 size = manner == Manner.AnswersNothing ? 0 : manner == Manner.AnswersShort ? 31 : 32;
        assembly ("memory-safe") {
            mstore(0, said)
            return(0, size)
        }
    }
}
