//! The scoring of the Numenta Anomaly Benchmark v1.1, from its description: Lavin and Ahmad, *Evaluating Real-time Anomaly
//! Detection Algorithms – the Numenta Anomaly Benchmark* (2015), and the notes on version 1.1.
//!
//! Within each window of an anomaly only the best detection counts, and earlier is better. Detections outside of windows
//! cost more the farther they lie behind the last window. The first part of each series is for learning and not scored.
//! One threshold holds for all series: the one with the best sum. The sum is scaled so that a detector that says nothing
//! gets 0 and a perfect one 100.

pub(crate) mod gaussian;

/// What right and wrong detections are worth: the standard profile.
const FALSE_POSITIVE: f64 = 0.11;
const MISSED_WINDOW: f64 = 1.0;

/// The part of a series that is for learning, and the length beyond which it grows no more.
const PROBATION: f64 = 0.15;
const PROBATION_ROWS: usize = 5000;

/// A series, the score a detector gave each row, and the rows of its windows, both ends included.
pub(crate) struct Scored {
    pub(crate) scores: Vec<f64>,
    pub(crate) windows: Vec<(usize, usize)>,
}

/// What was found at a threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) raw: f64,
    pub(crate) windows: usize,
    pub(crate) false_positives: usize,
}

/// The best score over all thresholds, and that threshold: one sweep from the highest score down.
pub(crate) fn best(series: &[Scored]) -> (f64, f64) {
    let mut rows: Vec<(f64, usize, usize)> = Vec::new();
    for (number, one) in series.iter().enumerate() {
        let scored = one.scores.iter().enumerate().skip(one.probation());
        rows.extend(
            scored
                .filter(|(_, score)| **score > 0.0)
                .map(|(row, score)| (*score, number, row)),
        );
    }
    rows.sort_by(|one, other| other.0.total_cmp(&one.0));
    let mut credits: Vec<Vec<f64>> = series
        .iter()
        .map(|one| vec![-MISSED_WINDOW; one.windows.len()])
        .collect();
    let mut raw: f64 = credits.iter().flatten().sum();
    // Above every score: nothing is found.
    let mut best = (raw, f64::INFINITY);
    for equal in rows.chunk_by(|one, other| one.0 == other.0) {
        for &(_, number, row) in equal {
            let one = &series[number];
            match one.window_of(row) {
                Some(window) => {
                    let held = &mut credits[number][window];
                    let credit = one.credit(window, row).max(*held);
                    raw += credit - *held;
                    *held = credit;
                }
                None => raw += one.penalty(row),
            }
        }
        if raw > best.0 {
            best = (raw, equal[0].0);
        }
    }
    (scaled(series, best.0), best.1)
}

/// The score of all series together at a threshold, 0 to 100 and below.
pub(crate) fn at_threshold(series: &[Scored], threshold: f64) -> f64 {
    scaled(
        series,
        series.iter().map(|one| one.found(threshold).raw).sum(),
    )
}

fn scaled(series: &[Scored], raw: f64) -> f64 {
    let windows = series.iter().map(|one| one.windows.len()).sum::<usize>() as f64;
    let nothing = -MISSED_WINDOW * windows;
    100.0 * (raw - nothing) / (windows - nothing)
}

impl Scored {
    /// How many rows are for learning.
    fn probation(&self) -> usize {
        (PROBATION * self.scores.len().min(PROBATION_ROWS) as f64).floor() as usize
    }

    fn window_of(&self, row: usize) -> Option<usize> {
        let inside = |(first, last): &(usize, usize)| (*first..=*last).contains(&row);
        self.windows.iter().position(inside)
    }

    pub(crate) fn found(&self, threshold: f64) -> Found {
        let mut best = vec![None::<f64>; self.windows.len()];
        let mut penalty = 0.0;
        let mut false_positives = 0;
        for (row, score) in self.scores.iter().enumerate() {
            if row < self.probation() || *score < threshold {
                continue;
            }
            if let Some(window) = self.window_of(row) {
                let credit = self.credit(window, row);
                let slot = &mut best[window];
                *slot = Some(slot.map_or(credit, |held| held.max(credit)));
            } else {
                penalty += self.penalty(row);
                false_positives += 1;
            }
        }
        let credits: f64 = best
            .iter()
            .map(|credit| credit.unwrap_or(-MISSED_WINDOW))
            .sum();
        Found {
            raw: credits + penalty,
            windows: best.iter().flatten().count(),
            false_positives,
        }
    }

    /// Near 1 at the window's begin, falling to 0 behind its end.
    fn credit(&self, window: usize, row: usize) -> f64 {
        let (first, last) = self.windows[window];
        let width = (last - first + 1) as f64;
        let position = -((last - row + 1) as f64) / width;
        sigmoid(position) / sigmoid(-1.0)
    }

    /// Near 0 right behind a window, falling to the full cost.
    fn penalty(&self, row: usize) -> f64 {
        let before = self.windows.iter().rfind(|(_, last)| *last < row);
        let Some((first, last)) = before else {
            return -FALSE_POSITIVE;
        };
        let position = (row - last) as f64 / (last - first) as f64;
        FALSE_POSITIVE * sigmoid(position)
    }
}

/// The paper's scaled sigmoid: 1 far ahead, 0 at a window's end, -1 far behind.
fn sigmoid(position: f64) -> f64 {
    if position > 3.0 {
        return -1.0;
    }
    2.0 / (1.0 + (5.0 * position).exp()) - 1.0
}

#[test]
fn nothing_found_is_zero_and_the_first_row_of_each_window_is_a_hundred() {
    let mut series = Scored {
        scores: vec![0.0; 1000],
        windows: vec![(300, 399), (700, 799)],
    };
    assert_eq!(best(std::slice::from_ref(&series)), (0.0, f64::INFINITY));
    series.scores[300] = 1.0;
    series.scores[700] = 1.0;
    assert!((best(std::slice::from_ref(&series)).0 - 100.0).abs() < 1e-9);
    // A false alarm in the time for learning costs nothing; one before any window the full cost.
    series.scores[149] = 1.0;
    assert!((at_threshold(std::slice::from_ref(&series), 1.0) - 100.0).abs() < 1e-9);
    series.scores[150] = 1.0;
    let score = at_threshold(std::slice::from_ref(&series), 1.0);
    assert!((score - (100.0 - 100.0 * FALSE_POSITIVE / 4.0)).abs() < 1e-9);
}

#[test]
fn later_in_a_window_is_worth_less_and_far_behind_one_costs_all() {
    let series = |row: usize| {
        let mut scores = vec![0.0; 1000];
        scores[row] = 1.0;
        let windows = vec![(300, 399)];
        Scored { scores, windows }.found(1.0).raw
    };
    assert!(series(300) > series(350) && series(350) > series(399) && series(399) > 0.0);
    assert!(series(400) < -1.0 && series(400) > series(450) && series(450) > series(900));
    assert!((series(900) + 1.0 + FALSE_POSITIVE).abs() < 1e-9);
}

#[test]
fn the_sweep_finds_what_trying_every_threshold_finds() {
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..50 {
        let scores: Vec<f64> = (0..300).map(|_| f64::from(random.u8(0..20))).collect();
        let windows = vec![(60, 80), (200, 230)];
        let series = [Scored { scores, windows }];
        let tried = (1..20).map(|threshold| at_threshold(&series, f64::from(threshold)));
        let tried = tried.fold(0.0, f64::max);
        assert!((best(&series).0 - tried).abs() < 1e-9);
    }
}
