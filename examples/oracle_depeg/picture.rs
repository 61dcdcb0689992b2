//! The day as a picture: sources, answer and reputation, without the check on the left and with it on the right.

use std::fmt::Write as _;

use crate::replayed::Run;
use crate::{CARELESS, ORACLES, price};

const CHART_WIDTH: usize = 560;
const CHART_HEIGHT: usize = 300;
/// Room for a chart's labels: on its left, above and below.
const LEFT: usize = 80;
const ABOVE: usize = 40;
const BELOW: usize = 60;
const LINES_OF_LEGEND: usize = 8;
const LEGEND_LINE: usize = 18;
const COLOURS: [&str; 8] = [
    "#1f77b4", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#17becf", "#bcbd22", "#7f7f7f",
];
const ANSWER: &str = "#000000";
const CARELESS_COLOUR: &str = "#d62728";
const TICKS: usize = 5;

/// One line of a chart.
struct Curve {
    name: String,
    colour: &'static str,
    width: usize,
    values: Vec<Option<i128>>,
}

struct Chart<'a> {
    title: String,
    times_ms: &'a [u64],
    curves: Vec<Curve>,
    label: fn(i128) -> String,
}

/// Two columns of two charts each; charts of one kind have one scale.
pub(crate) fn picture(names: &[String], without: &Run, with: &Run) -> String {
    let legend = LEGEND_LINE * LINES_OF_LEGEND.max(names.len() + 1);
    let chart_height = ABOVE + CHART_HEIGHT + BELOW + legend;
    let (width, height) = (2 * (LEFT + CHART_WIDTH + 30), 2 * chart_height + 10);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    let runs = [
        (without, "without the peg check"),
        (with, "with the peg check"),
    ];
    let times = runs.map(|(run, _)| run.rounds.iter().map(|it| it.at_ms).collect::<Vec<_>>());
    for (row, kind) in [prices_of, records_of].into_iter().enumerate() {
        let charts: Vec<Chart<'_>> = runs
            .iter()
            .zip(&times)
            .map(|((run, words), times_ms)| kind(names, run, words, times_ms))
            .collect();
        let values = || {
            let curves = charts.iter().flat_map(|it| &it.curves);
            curves.flat_map(|it| it.values.iter().flatten().copied())
        };
        let scale = (values().min().unwrap_or(0), values().max().unwrap_or(1));
        for (column, chart) in charts.iter().enumerate() {
            let left = LEFT + column * (LEFT + CHART_WIDTH + 30);
            chart.draw(&mut svg, left, ABOVE + row * chart_height, scale);
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn prices_of<'a>(names: &[String], run: &Run, words: &str, times_ms: &'a [u64]) -> Chart<'a> {
    let colours = COLOURS.into_iter().cycle();
    let mut curves: Vec<Curve> = names
        .iter()
        .zip(colours)
        .enumerate()
        .map(|(at, (name, colour))| Curve {
            name: name.clone(),
            colour,
            width: 1,
            values: run
                .rounds
                .iter()
                .map(|it| it.sources.get(at).copied().flatten())
                .collect(),
        })
        .collect();
    curves.push(Curve {
        name: "what the oracles agree on".into(),
        colour: ANSWER,
        width: 2,
        values: run.rounds.iter().map(|it| Some(it.answer)).collect(),
    });
    Chart {
        title: format!("BTC/USD, {words}"),
        times_ms,
        curves,
        label: price,
    }
}

fn records_of<'a>(_: &[String], run: &Run, words: &str, times_ms: &'a [u64]) -> Chart<'a> {
    let curve = |(oracle, colour): (usize, &'static str)| Curve {
        name: if oracle == CARELESS {
            format!("oracle {}, checks in neither run", oracle + 1)
        } else {
            format!("oracle {}", oracle + 1)
        },
        colour: if oracle == CARELESS {
            CARELESS_COLOUR
        } else {
            colour
        },
        width: 1,
        values: run
            .rounds
            .iter()
            .map(|it| it.penalties.get(oracle).map(|it| i128::from(*it)))
            .collect(),
    };
    let oracles = (0..usize::from(ORACLES)).zip(COLOURS.into_iter().cycle());
    Chart {
        title: format!("Average penalty of each oracle (less is better), {words}"),
        times_ms,
        curves: oracles.map(curve).collect(),
        // In millionths.
        label: |ppm| format!("{}.{} %", ppm / 10_000, ppm % 10_000 / 1_000),
    }
}

impl Chart<'_> {
    fn draw(&self, svg: &mut String, left: usize, top: usize, scale: (i128, i128)) {
        let (right, bottom) = (left + CHART_WIDTH, top + CHART_HEIGHT);
        text(svg, left, top - 12, "start", "#000000", &self.title);
        let _ = writeln!(
            svg,
            "<path d=\"M{left} {top}V{bottom}H{right}\" fill=\"none\" stroke=\"#444444\"/>"
        );
        let span = (scale.1 - scale.0).max(1);
        for tick in 0..=TICKS {
            let value = scale.0 + span * tick as i128 / TICKS as i128;
            let y = bottom - CHART_HEIGHT * tick / TICKS;
            line(svg, (left, y), (right, y));
            text(svg, left - 6, y + 4, "end", "#444444", &(self.label)(value));
        }
        let (first, last) = (self.first_ms(), self.times_ms.last().copied().unwrap_or(0));
        for tick in 0..=TICKS {
            let at_ms = first + (last - first) * tick as u64 / TICKS as u64;
            let x = left + CHART_WIDTH * tick / TICKS;
            line(svg, (x, bottom), (x, bottom + 5));
            text(svg, x, bottom + 18, "middle", "#444444", &hour(at_ms));
        }
        text(svg, right, bottom + 34, "end", "#444444", "time, UTC");
        for curve in &self.curves {
            self.draw_curve(svg, curve, (left, bottom), scale.0, span);
        }
        for (at, curve) in self.curves.iter().enumerate() {
            let y = bottom + BELOW + LEGEND_LINE * at;
            let _ = writeln!(
                svg,
                "<rect x=\"{left}\" y=\"{}\" width=\"14\" height=\"4\" fill=\"{}\"/>",
                y - 6,
                curve.colour
            );
            text(svg, left + 20, y, "start", "#000000", &curve.name);
        }
    }

    fn first_ms(&self) -> u64 {
        self.times_ms.first().copied().unwrap_or(0)
    }

    fn draw_curve(
        &self,
        svg: &mut String,
        curve: &Curve,
        (left, bottom): (usize, usize),
        low: i128,
        span: i128,
    ) {
        let first = self.first_ms();
        let all = self.times_ms.last().map_or(1, |last| (last - first).max(1));
        let mut points = String::new();
        for (at_ms, value) in self.times_ms.iter().zip(&curve.values) {
            let Some(value) = value else {
                continue;
            };
            // Tenths of a unit: a day has more minutes than the chart is wide.
            let x = (at_ms - first) * CHART_WIDTH as u64 * 10 / all + left as u64 * 10;
            let y = bottom as i128 * 10 - (value - low) * CHART_HEIGHT as i128 * 10 / span;
            let _ = write!(points, "{}.{},{}.{} ", x / 10, x % 10, y / 10, y % 10);
        }
        let _ = writeln!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\"/>",
            curve.colour, curve.width
        );
    }
}

fn line(svg: &mut String, from: (usize, usize), to: (usize, usize)) {
    let _ = writeln!(
        svg,
        "<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke=\"#dddddd\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(svg: &mut String, x: usize, y: usize, anchor: &str, colour: &str, words: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{}</text>",
        escaped(words)
    );
}

/// A name from a file may hold anything.
fn escaped(words: &str) -> String {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    words.replace('>', "&gt;")
}

fn hour(at_ms: u64) -> String {
    let minutes = at_ms / 60_000;
    format!("{:02}:{:02}", minutes / 60 % 24, minutes % 60)
}
