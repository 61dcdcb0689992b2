//! All figures as one table, and what they include beneath it: Markdown, so that what is read on a terminal can stand in
//! a document as it is.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use crate::results::Question;

/// The columns that hold figures, which align to the right.
const FIGURES: std::ops::RangeInclusive<usize> = 2..=3;
const RATIO: usize = 5;

/// The table of every question's measures.
pub(crate) fn of(questions: &[Question]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header([
        "question",
        "measure",
        "ours",
        "peer",
        "peer's name",
        "ratio",
        "unit",
    ]);
    for question in questions {
        for measure in &question.measures {
            table.add_row([
                question.name.clone(),
                measure.measure.clone(),
                figure(measure.ours),
                measure.peer.map_or_else(|| "not there".into(), figure),
                measure.peer_name.clone(),
                measure.ratio.map_or_else(|| "–".into(), ratio),
                measure.unit.clone(),
            ]);
        }
    }
    for column in FIGURES.chain([RATIO]) {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// One line for each question and peer: what is counted.
pub(crate) fn included(questions: &[Question]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for question in questions {
        for measure in &question.measures {
            let line = format!(
                "- `{}` against {}: {}.\n",
                question.name, measure.peer_name, measure.includes
            );
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    lines.concat()
}

/// Three digits that mean something, and a prefix for the rest: `1.23 M`.
pub(crate) fn figure(value: f64) -> String {
    let (scaled, prefix) = match value {
        value if value >= 1e9 => (value / 1e9, " G"),
        value if value >= 1e6 => (value / 1e6, " M"),
        value if value >= 1e4 => (value / 1e3, " k"),
        value => (value, ""),
    };
    let decimals = match scaled {
        scaled if scaled >= 100.0 || scaled == 0.0 => 0,
        scaled if scaled >= 10.0 => 1,
        scaled if scaled >= 1.0 => 2,
        _ => 4,
    };
    format!("{scaled:.decimals$}{prefix}")
}

/// How many times better we do: `3.00×`.
pub(crate) fn ratio(ratio: f64) -> String {
    format!("{ratio:.2}×")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Measure;

    #[test]
    fn figures_are_short_and_keep_their_size() {
        for (value, text) in [
            (0.0, "0"),
            (0.0123, "0.0123"),
            (1.5, "1.50"),
            (42.42, "42.4"),
            (9_999.0, "9999"),
            (12_345.0, "12.3 k"),
            (1_234_567.0, "1.23 M"),
            (2.5e9, "2.50 G"),
        ] {
            assert_eq!(figure(value), text);
        }
    }

    #[test]
    fn a_missing_peer_shows_as_missing() {
        let question = Question {
            name: "raft_durable".into(),
            measures: vec![Measure {
                measure: "committed proposals/s, 64 clients".into(),
                unit: "1/s".into(),
                ours: 76_000.0,
                peer: None,
                peer_name: "etcd".into(),
                ratio: None,
                includes: "one fdatasync for each commit".into(),
            }],
        };
        let text = of(std::slice::from_ref(&question)).to_string();
        assert!(
            text.contains("76.0 k") && text.contains("not there"),
            "{text}"
        );
        let included = included(&[question]);
        assert_eq!(
            included,
            "- `raft_durable` against etcd: one fdatasync for each commit.\n"
        );
    }
}
