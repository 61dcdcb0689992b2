//! Every test of this crate that asks an EVM node runs on both, or is in the lists of this test's documentation.

use std::path::Path;

use crate::node::expect_on_both_or_listed;

#[test]
fn each_test_runs_on_both_nodes_or_is_listed() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let on_both = expect_on_both_or_listed(&tests, include_str!("main.rs"), |_any| true);
    assert!(on_both > 100, "the tests are found: {on_both}");
}
