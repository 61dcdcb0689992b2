//! The checker of histories: what it must accept, what it must refuse, and when it must say that it does not know.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, also in its helpers"
)]

use peaberry_core::simulation::linearizability::{
    History, Model, OperationId, Verdict, check, check_by_key,
};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Read,
    Write(u64),
    /// Adds and answers the sum.
    Add(u64),
    /// From, to: answers the value before.
    Swap(u64, u64),
}

/// One number.
struct Register;

impl Model for Register {
    type State = u64;
    type Operation = Ask;
    type Response = u64;

    fn initial(&self) -> u64 {
        0
    }

    fn apply(&self, &state: &u64, operation: &Ask, response: Option<&u64>) -> Option<u64> {
        let (next, answer) = match *operation {
            Ask::Read => (state, state),
            Ask::Write(value) => (value, value),
            Ask::Add(more) => (state + more, state + more),
            Ask::Swap(from, to) => (if state == from { to } else { state }, state),
        };
        response.is_none_or(|&seen| seen == answer).then_some(next)
    }

    fn only_observes(&self, operation: &Ask) -> bool {
        *operation == Ask::Read
    }
}

const STEPS: u64 = 1_000_000;

/// A history written as text, one operation a row; columns are moments. `w5` begins at its first letter and ends at `|`;
/// without `|` nobody knows how it ended. `r`, `w`, `+`, and `=response` just before the bar.
fn history(rows: &[&str]) -> History<Ask, u64> {
    let mut history = History::new();
    let mut open: Vec<Option<OperationId>> = vec![None; rows.len()];
    let width = rows.iter().map(|row| row.len()).max().unwrap();
    for column in 0..width {
        for (at, row) in rows.iter().enumerate() {
            match row.as_bytes().get(column) {
                Some(b'r' | b'w' | b'+') => {
                    let rest = &row[column + 1..];
                    let end = rest.find([' ', '=', '|', '.']).unwrap_or(rest.len());
                    let operation = match row.as_bytes()[column] {
                        b'r' => Ask::Read,
                        b'w' => Ask::Write(rest[..end].parse().unwrap()),
                        _ => Ask::Add(rest[..end].parse().unwrap()),
                    };
                    open[at] = Some(history.invoke(at as u64, operation));
                }
                Some(b'|') => {
                    let before = &row[..column];
                    let answer = before[before.rfind('=').unwrap() + 1..].parse().unwrap();
                    history.complete(open[at].take().unwrap(), answer);
                }
                _ => {}
            }
        }
    }
    history
}

#[track_caller]
fn accepts(rows: &[&str]) {
    assert_eq!(
        check(&Register, &history(rows), STEPS),
        Verdict::Linearizable
    );
}

#[track_caller]
fn refuses(rows: &[&str]) -> (usize, usize) {
    match check(&Register, &history(rows), STEPS) {
        Verdict::Violation(violation) => (violation.explained, violation.blocked.index()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn reads_that_overlap_a_write_see_either_side_of_it() {
    accepts(&["w5.........=5|", "  r=0|  r=5|"]);
    accepts(&["w5.........=5|", "  r=5|  r=5|"]);
    accepts(&["w5.........=5|", "  r=0|  r=0|"]);
}

#[test]
fn a_value_once_read_is_not_unread() {
    assert_eq!(refuses(&["w5.........=5|", "  r=5|  r=0|"]).1, 2);
}

#[test]
fn a_stale_read_is_refused() {
    assert_eq!(refuses(&["w5=5|", "      r=0|"]), (1, 1));
}

#[test]
fn a_lost_update_is_refused() {
    refuses(&["+1=1|       r=1|", "     +1=1|"]);
    refuses(&["+1..=1|", " +1.=1|"]);
    accepts(&["+1..=1|", " +1.=2|"]);
}

#[test]
fn a_double_execution_is_refused() {
    refuses(&["+1=1|", "      r=2|"]);
}

#[test]
fn a_read_of_what_nobody_wrote_is_refused() {
    refuses(&["w5...=5|", " r=7|"]);
}

#[test]
fn an_open_write_may_take_effect_at_any_later_moment_or_never() {
    accepts(&["w5", "   r=0|  r=5|  r=5|"]);
    accepts(&["w5", "   r=0|  r=0|  r=0|"]);
    refuses(&["w5", "   r=5|  r=0|"]);
    refuses(&["       w5", "r=5|"]);
}

#[test]
fn an_open_write_takes_effect_once() {
    refuses(&["w5", "   r=5|  w6=6|  r=5|"]);
    accepts(&["w5", "         w6=6|  r=5|"]);
    refuses(&["+3", "   r=3|  r=6|"]);
}

#[test]
fn a_retracted_write_took_no_effect() {
    let mut history = History::new();
    let write = history.invoke(1, Ask::Write(5));
    let read = history.invoke(2, Ask::Read);
    history.complete(read, 5);
    assert_eq!(check(&Register, &history, STEPS), Verdict::Linearizable);
    history.retract(write);
    assert!(matches!(
        check(&Register, &history, STEPS),
        Verdict::Violation(_)
    ));
}

#[test]
fn a_history_of_nothing_is_linearizable() {
    assert_eq!(check(&Register, &History::new(), 0), Verdict::Linearizable);
}

#[test]
fn a_search_that_gives_up_is_unknown_and_not_a_pass() {
    let history = history(&["w5=5|", "      r=5|"]);
    assert_eq!(check(&Register, &history, 1), Verdict::Unknown);
    assert!(check(&Register, &history, 1).into_result().is_err());
    assert_eq!(check(&Register, &history, 2), Verdict::Linearizable);
}

#[test]
fn keys_are_judged_apart_and_a_violation_outweighs_an_unknown() {
    struct Cells;
    impl Model for Cells {
        type State = u64;
        type Operation = (u8, Ask);
        type Response = u64;
        fn initial(&self) -> u64 {
            0
        }
        fn apply(&self, state: &u64, operation: &(u8, Ask), response: Option<&u64>) -> Option<u64> {
            Register.apply(state, &operation.1, response)
        }
    }
    let mut history = History::new();
    let one = history.invoke(1, (b'a', Ask::Write(1)));
    let two = history.invoke(2, (b'b', Ask::Read));
    history.complete(one, 1);
    history.complete(two, 0);
    let verdict = check_by_key(&Cells, &history, |operation| operation.0, STEPS);
    assert_eq!(verdict, Verdict::Linearizable);
    for _ in 0..20 {
        let many = history.invoke(3, (b'a', Ask::Read));
        history.complete(many, 1);
    }
    let stale = history.invoke(3, (b'b', Ask::Read));
    history.complete(stale, 9);
    let verdict = check_by_key(&Cells, &history, |operation| operation.0, 10);
    assert!(matches!(verdict, Verdict::Violation(_)), "{verdict:?}");
}

/// A history that a correct register could have produced: every operation takes effect at a moment between its ends.
fn plausible(rng: &mut fastrand::Rng, operations: usize, clients: usize) -> History<Ask, u64> {
    let mut history = History::new();
    let mut state = 0;
    // What each client has open: the operation, and its answer once it has taken effect.
    let mut open: Vec<Option<(OperationId, Ask, Option<u64>)>> = vec![None; clients];
    let mut invoked = 0;
    while invoked < operations || open.iter().any(Option::is_some) {
        let client = rng.usize(..clients);
        match open[client].take() {
            None if invoked < operations => {
                let operation = match rng.u8(..4) {
                    0 | 1 => Ask::Read,
                    2 => Ask::Write(rng.u64(..5)),
                    _ => Ask::Swap(rng.u64(..5), rng.u64(..5)),
                };
                invoked += 1;
                open[client] = Some((history.invoke(client as u64, operation), operation, None));
            }
            None => {}
            Some((id, operation, None)) => {
                let answer = match operation {
                    Ask::Swap(..) | Ask::Read => state,
                    Ask::Write(value) => value,
                    Ask::Add(more) => state + more,
                };
                state = Register.apply(&state, &operation, None).unwrap();
                open[client] = Some((id, operation, Some(answer)));
            }
            Some((id, _, Some(answer))) => history.complete(id, answer),
        }
    }
    history
}

#[test]
fn long_histories_are_decided() {
    let mut rng = fastrand::Rng::with_seed(1);
    for clients in [4, 16] {
        let history = plausible(&mut rng, 10_000, clients);
        assert_eq!(
            check(&Register, &history, 100 * STEPS),
            Verdict::Linearizable
        );
    }
}

#[test]
fn one_wrong_answer_in_a_long_history_is_found() {
    let mut rng = fastrand::Rng::with_seed(2);
    let mut history = plausible(&mut rng, 5_000, 8);
    let never_written = history.invoke(9, Ask::Read);
    history.complete(never_written, 77);
    let more = history.invoke(9, Ask::Write(1));
    history.complete(more, 1);
    match check(&Register, &history, 100 * STEPS) {
        Verdict::Violation(violation) => assert_eq!(violation.blocked, never_written),
        other => panic!("{other:?}"),
    }
}

/// Tries every order, as the definition says.
fn brute_force(history: &History<Ask, u64>) -> bool {
    fn go(history: &History<Ask, u64>, ends: &[(u64, u64)], left: u32, state: u64) -> bool {
        let ids: Vec<_> = history.ids().collect();
        let is_left = |at: usize| left & (1 << at) != 0;
        let is_open = |at: usize| history.get(ids[at]).response.is_none();
        if (0..ids.len()).all(|at| !is_left(at) || is_open(at)) {
            return true;
        }
        (0..ids.len()).filter(|&at| is_left(at)).any(|at| {
            let comes_too_late =
                (0..ids.len()).any(|other| is_left(other) && ends[other].1 < ends[at].0);
            let recorded = history.get(ids[at]);
            !comes_too_late
                && Register
                    .apply(&state, &recorded.operation, recorded.response.as_ref())
                    .is_some_and(|next| go(history, ends, left & !(1 << at), next))
        })
    }
    let ends: Vec<_> = history.ids().map(|id| history.get(id).moments()).collect();
    let all = (1_u32 << history.ids().count()) - 1;
    go(history, &ends, all, 0)
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        Just(Ask::Read),
        (0..3_u64).prop_map(Ask::Write),
        (1..3_u64).prop_map(Ask::Add),
        (0..3_u64, 0..3_u64).prop_map(|(from, to)| Ask::Swap(from, to)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn the_search_agrees_with_trying_every_order(
        steps in prop::collection::vec((0..3_usize, ask(), 0..4_u64), 1..14),
    ) {
        let mut history = History::new();
        let mut open: [Option<OperationId>; 3] = [None; 3];
        for (client, operation, answer) in steps {
            match open[client].take() {
                None => open[client] = Some(history.invoke(client as u64, operation)),
                // Some clients never hear: their operation stays open and they go on.
                Some(_) if answer == 3 => {}
                Some(id) => history.complete(id, answer),
            }
        }
        let is_linearizable = check(&Register, &history, STEPS) == Verdict::Linearizable;
        prop_assert_eq!(is_linearizable, brute_force(&history), "{:?}", history);
    }
}
