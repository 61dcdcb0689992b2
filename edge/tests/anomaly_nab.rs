//! The anomaly detector on labelled series of real and made-up sensors, scored as the Numenta Anomaly Benchmark does.
//!
//! Needs the files, in the folder `sensors` of the one that `PEABERRY_DATA` names; without it, the test says so and passes.
//! One setting for all series, no look-ahead: each score is made from the samples up to its own. See the table with
//! `cargo test -p peaberry-edge --test anomaly_nab -- --nocapture`.

#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "a test fails by panicking, also in its helpers; it prints its table; days are far below 2^53 ms"
)]

mod nab;

use std::collections::BTreeMap;
use std::path::Path;

use peaberry_edge::anomaly::{AnomalyDetector, AnomalySettings};
use peaberry_edge::ops::{Operator, Sample};

use nab::Scored;

/// What the detector is meant to reach on these files, at the threshold that suits them best, as the benchmark has it, and at the
/// one that it has by default. Published for the whole corpus: HTM about 70, windowed Gaussian about 40.
const SCORE_MIN: f64 = 65.0;

#[test]
fn one_setting_finds_the_anomalies_of_all_series() {
    let Some(folder) = std::env::var_os("PEABERRY_DATA") else {
        println!("skipped: PEABERRY_DATA names no folder with sensors/combined_windows.json");
        return;
    };
    let series = read(&Path::new(&folder).join("sensors"));
    let settings = AnomalySettings::default();
    let scored: Vec<_> = series.iter().map(|one| one.judge(settings)).collect();
    let (score, threshold) = nab::best(&scored);
    println!(
        "{:<55} {:>7} {:>6} {:>6}",
        "series", "raw", "found", "false"
    );
    for (one, scored) in series.iter().zip(&scored) {
        let found = scored.found(threshold);
        let windows = format!("{}/{}", found.windows, scored.windows.len());
        println!(
            "{:<55} {:>7.2} {windows:>6} {:>6}",
            one.name, found.raw, found.false_positives
        );
    }
    println!("NAB standard profile: {score:.1} at threshold {threshold:.2}");
    let shipped = nab::at_threshold(&scored, settings.threshold);
    println!(
        "at the default threshold of {}: {shipped:.1}",
        settings.threshold
    );
    for (what, settings) in neighbours(settings) {
        let scored: Vec<_> = series.iter().map(|one| one.judge(settings)).collect();
        println!("with {what}: {:.1}", nab::best(&scored).0);
    }
    let gaussian = gaussian(&series);
    assert!(score >= SCORE_MIN, "{score:.1} is below {SCORE_MIN}");
    assert!(shipped >= SCORE_MIN, "{shipped:.1} is below {SCORE_MIN}");
    assert!(
        score > gaussian,
        "{score:.1} is below a Gaussian's {gaussian:.1}"
    );
}

/// The best score that a windowed Gaussian gets on the same files, over windows around the published one.
fn gaussian(series: &[Series]) -> f64 {
    let mut best = f64::NEG_INFINITY;
    for window in [200, 800, 1600, 3200, nab::gaussian::WINDOW] {
        let scored: Vec<_> = series
            .iter()
            .map(|one| Scored {
                scores: nab::gaussian::scores(&one.samples, window),
                windows: one.windows.clone(),
            })
            .collect();
        let (score, _) = nab::best(&scored);
        println!("windowed Gaussian, {window} samples: {score:.1}");
        best = best.max(score);
    }
    best
}

/// How much the score hangs on each setting.
fn neighbours(base: AnomalySettings) -> Vec<(String, AnomalySettings)> {
    let mut all = Vec::new();
    for (words, factor) in [("half", 0.5), ("double", 2.0)] {
        let scale = |ms: u64| (ms as f64 * factor) as u64;
        let mut add = |what: &str, change: &dyn Fn(&mut AnomalySettings)| {
            let mut settings = base;
            change(&mut settings);
            all.push((format!("{words} the {what}"), settings));
        };
        add("smoothing", &|s| s.smoothing_ms = scale(s.smoothing_ms));
        add("memory", &|s| s.memory_ms = scale(s.memory_ms));
        add("quiet", &|s| s.quiet_ms = scale(s.quiet_ms));
        add("learning", &|s| s.learning *= factor);
        add("growth above 1", &|s| {
            s.growth = 1.0 + (s.growth - 1.0) * factor
        });
    }
    all
}

struct Series {
    name: String,
    samples: Vec<Sample>,
    windows: Vec<(usize, usize)>,
}

impl Series {
    fn judge(&self, settings: AnomalySettings) -> Scored {
        let settings = {
            let mut all = settings;
            all.threshold = 0.0;
            all
        };
        let mut detector = AnomalyDetector::new(settings).expect("the settings are in range");
        let score = |sample: &Sample| detector.push(*sample).map_or(0.0, |anomaly| anomaly.score);
        Scored {
            scores: self.samples.iter().map(score).collect(),
            windows: self.windows.clone(),
        }
    }
}

fn read(folder: &Path) -> Vec<Series> {
    let windows =
        std::fs::read(folder.join("combined_windows.json")).expect("the windows are there");
    let windows: BTreeMap<String, Vec<[String; 2]>> =
        serde_json::from_slice(&windows).expect("they are pairs of times by file");
    let present = windows
        .into_iter()
        .filter(|(name, _)| folder.join(name).is_file());
    present
        .map(|(name, windows)| read_one(folder, name, &windows))
        .collect()
}

fn read_one(folder: &Path, name: String, windows: &[[String; 2]]) -> Series {
    let text = std::fs::read_to_string(folder.join(&name)).expect("the series is there");
    let rows = text
        .lines()
        .skip(1)
        .map(|line| line.split_once(',').expect("time and value"));
    let rows: Vec<(i64, f64)> = rows
        .map(|(time, value)| (seconds(time), value.parse().expect("a number")))
        .collect();
    let begin = rows[0].0;
    let window = |[from, to]: &[String; 2]| {
        let first = rows.partition_point(|row| row.0 < seconds(from));
        let last = rows.partition_point(|row| row.0 <= seconds(to)) - 1;
        (first, last)
    };
    let sample = |&(time, value): &(i64, f64)| {
        Sample::new(
            u64::try_from(time - begin).expect("times ascend") * 1000,
            value,
        )
    };
    Series {
        name,
        windows: windows.iter().map(window).collect(),
        samples: rows.iter().map(sample).collect(),
    }
}

/// Seconds since 1970 of `2014-04-10 07:15:00`.
fn seconds(time: &str) -> i64 {
    let number = |from: usize, to: usize| time[from..to].parse::<i64>().expect("digits");
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    let begun = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let is_leap = year % 4 == 0 && month > 2;
    let days = begun[usize::try_from(month - 1).expect("a month")] + day - 1 + i64::from(is_leap);
    let days = (year - 1970) * 365 + (year - 1969) / 4 + days;
    days * 86_400 + number(11, 13) * 3600 + number(14, 16) * 60 + number(17, 19)
}
