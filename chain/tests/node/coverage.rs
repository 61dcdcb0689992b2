//! Every test that asks an EVM node runs on both, or is in the list of those that do not, in the documentation of a test.

use std::collections::BTreeSet;
use std::path::Path;

/// A test: its file below the folder, without the ending, and its name.
type Test = (String, String);

/// Holds `lists` against the tests below `folder`, in the files whose text `asks` a node; answers how many run on both. The
/// lists' first column names a file, the second its tests, the third says why they do not.
pub(crate) fn expect_on_both_or_listed(
    folder: &Path,
    lists: &str,
    asks: impl Fn(&str) -> bool,
) -> usize {
    let mut alone = BTreeSet::new();
    let mut on_both = 0;
    each_file(folder, folder, &mut |file, text| {
        if asks(text) {
            on_both += names_on_both(text).len();
            let names = names_alone(text).into_iter();
            alone.extend(names.map(|name| (file.to_owned(), name)));
        }
    });
    let listed = listed(lists);
    let unlisted: Vec<_> = alone.difference(&listed).collect();
    assert!(
        unlisted.is_empty(),
        "run these on both nodes by `on_both!`, or list them with the rule of Anvil that differs: {unlisted:?}"
    );
    let stale: Vec<_> = listed.difference(&alone).collect();
    assert!(stale.is_empty(), "listed, and not there: {stale:?}");
    on_both
}

fn listed(lists: &str) -> BTreeSet<Test> {
    let rows = lists
        .lines()
        .filter_map(|line| line.strip_prefix("//! | `"));
    let mut listed = BTreeSet::new();
    for row in rows {
        let (file, rest) = row.split_once("` | ").expect("a file and its tests");
        let (names, rule) = rest.split_once(" | ").expect("tests and a rule");
        assert!(rule.len() > 5, "{row}: why");
        for name in names.split(", ") {
            let name = name.trim_matches('`').to_owned();
            let is_new = listed.insert((file.to_owned(), name));
            assert!(is_new, "{row}: listed twice");
        }
    }
    listed
}

fn each_file(root: &Path, folder: &Path, see: &mut impl FnMut(&str, &str)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            each_file(root, &path, see);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let file = path.strip_prefix(root).unwrap().with_extension("");
            let text = std::fs::read_to_string(&path).unwrap();
            see(file.to_str().unwrap(), &text);
        }
    }
}

/// The names in `on_both! { … }`.
fn names_on_both(text: &str) -> Vec<String> {
    let blocks = text.split("\non_both! {").skip(1);
    let blocks = blocks.filter_map(|block| block.split("\n}").next());
    let lines = blocks.flat_map(str::lines).map(str::trim);
    let is_name = |line: &&str| {
        !line.is_empty() && line.chars().all(|one| one == '_' || one.is_alphanumeric())
    };
    lines.filter(is_name).map(str::to_owned).collect()
}

/// The functions behind an attribute that makes them tests. Those that a macro names are none.
fn names_alone(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
        let signature = line
            .strip_prefix("async fn ")
            .or_else(|| line.strip_prefix("fn "));
        if let Some(signature) = signature.filter(|_| is_test) {
            is_test = false;
            let name = signature.split('(').next().unwrap_or_default();
            if !name.starts_with('$') {
                names.push(name.to_owned());
            }
        }
    }
    names
}
