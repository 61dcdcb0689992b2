//! One question's figures as bars, ours above the peer's.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::results::{Measure, Question};
use crate::table::{figure, ratio};

const WIDTH: f64 = 900.0;
const MARGIN: f64 = 20.0;
const BAR_HEIGHT: f64 = 16.0;
const ROW_HEIGHT: f64 = 72.0;
const HEAD_HEIGHT: f64 = 48.0;
/// The names stand left of the bars, …
const BARS_LEFT: f64 = 150.0;
/// … the values right of the longest.
const BARS_WIDTH: f64 = 560.0;

/// Figures of one unit that differ by more than this are drawn on a logarithmic scale: else the smallest would vanish.
const LINEAR_SPREAD_MAX: f64 = 30.0;

const OURS: &str = "#7b4a2b";
const PEER: &str = "#b9b4ad";
const BETTER: &str = "#2c7a3f";
const WORSE: &str = "#a8322a";

/// The picture as SVG.
pub(crate) fn of(question: &Question) -> String {
    let height = HEAD_HEIGHT + ROW_HEIGHT * question.measures.len() as f64 + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    text(
        &mut svg,
        MARGIN,
        28.0,
        "font-size=\"18\" font-weight=\"bold\"",
        &question.name,
    );
    let scales = scales(&question.measures);
    for (at, measure) in question.measures.iter().enumerate() {
        let top = HEAD_HEIGHT + ROW_HEIGHT * at as f64;
        let scale = scales
            .get(measure.unit.as_str())
            .copied()
            .unwrap_or_default();
        draw_measure(&mut svg, top, measure, scale);
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_measure(svg: &mut String, top: f64, measure: &Measure, scale: Scale) {
    let note = if scale.is_logarithmic() {
        ", logarithmic"
    } else {
        ""
    };
    let title = format!("{} ({}{note})", measure.measure, measure.unit);
    text(svg, MARGIN, top + 12.0, "fill=\"#333\"", &title);
    draw_bar(svg, top + 20.0, "peaberry", Some(measure.ours), scale, OURS);
    draw_bar(
        svg,
        top + 40.0,
        &measure.peer_name,
        measure.peer,
        scale,
        PEER,
    );
    if let Some(times) = measure.ratio {
        let colour = if times >= 1.0 { BETTER } else { WORSE };
        let style = format!("fill=\"{colour}\" font-weight=\"bold\" text-anchor=\"end\"");
        text(svg, WIDTH - MARGIN, top + 42.0, &style, &ratio(times));
    }
}

fn draw_bar(
    svg: &mut String,
    top: f64,
    name: &str,
    value: Option<f64>,
    scale: Scale,
    colour: &str,
) {
    let baseline = top + BAR_HEIGHT - 4.0;
    text(svg, BARS_LEFT - 8.0, baseline, "text-anchor=\"end\"", name);
    let width = value.map_or(0.0, |value| scale.place(value) * BARS_WIDTH);
    let label = value.map_or_else(|| "not there".into(), figure);
    let _infallible = writeln!(
        svg,
        "<rect x=\"{BARS_LEFT}\" y=\"{top}\" width=\"{width:.1}\" height=\"{BAR_HEIGHT}\" fill=\"{colour}\"/>"
    );
    text(
        svg,
        BARS_LEFT + width + 6.0,
        baseline,
        "fill=\"#333\"",
        &label,
    );
}

fn text(svg: &mut String, x: f64, y: f64, style: &str, text: &str) {
    let text = escape(text);
    let _infallible = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{text}</text>");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Where a value lies between nothing and the longest bar.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Scale {
    largest: f64,
    /// The power of ten at which a logarithmic scale begins.
    begins: Option<f64>,
}

/// One scale for each unit, so that bars of one unit compare.
fn scales(measures: &[Measure]) -> BTreeMap<&str, Scale> {
    let mut figures = BTreeMap::<&str, Vec<f64>>::new();
    for measure in measures {
        let of_unit = figures.entry(&measure.unit).or_default();
        of_unit.extend([Some(measure.ours), measure.peer].into_iter().flatten());
    }
    figures
        .into_iter()
        .map(|(unit, figures)| (unit, Scale::of(&figures)))
        .collect()
}

impl Scale {
    fn of(figures: &[f64]) -> Self {
        let largest = figures.iter().copied().fold(0.0, f64::max);
        let smallest = figures
            .iter()
            .copied()
            .filter(|&figure| figure > 0.0)
            .fold(largest, f64::min);
        let begins = (largest > smallest * LINEAR_SPREAD_MAX)
            // Half a decade to the left, so that the smallest has a bar too.
            .then(|| 10_f64.powf((smallest.log10() - 0.5).floor()));
        Self { largest, begins }
    }

    const fn is_logarithmic(self) -> bool {
        self.begins.is_some()
    }

    /// Between 0 and 1.
    fn place(self, value: f64) -> f64 {
        let place = match self.begins {
            _ if value <= 0.0 || self.largest <= 0.0 => 0.0,
            None => value / self.largest,
            Some(begins) => (value / begins).log10() / (self.largest / begins).log10(),
        };
        place.clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(unit: &str, ours: f64, peer: Option<f64>) -> Measure {
        Measure {
            measure: "a < b & c".into(),
            unit: unit.into(),
            ours,
            peer,
            peer_name: "openraft".into(),
            ratio: peer.map(|peer| ours / peer),
            includes: String::new(),
        }
    }

    #[test]
    fn close_figures_are_linear_and_distant_ones_logarithmic() {
        let linear = Scale::of(&[10.0, 20.0]);
        assert!(!linear.is_logarithmic());
        assert!((linear.place(10.0) - 0.5).abs() < 1e-9);

        let logarithmic = Scale::of(&[10.0, 1e6]);
        assert!(logarithmic.is_logarithmic());
        assert!(
            logarithmic.place(10.0) > 0.05,
            "the smallest is still to be seen"
        );
        assert!((logarithmic.place(1e6) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn zero_and_nothing_have_no_bar_and_break_nothing() {
        for figures in [vec![], vec![0.0], vec![0.0, 5.0]] {
            let scale = Scale::of(&figures);
            assert_eq!(scale.place(0.0), 0.0);
            assert!(scale.place(5.0).is_finite());
        }
    }

    #[test]
    fn units_do_not_share_a_scale() {
        let measures = [
            measure("1/s", 1e6, Some(2e6)),
            measure("µs", 3.0, Some(2.0)),
        ];
        let scales = scales(&measures);
        assert_eq!(scales["µs"].largest, 3.0);
        assert!(!scales["µs"].is_logarithmic());
    }

    #[test]
    fn a_picture_has_two_bars_for_a_measure_and_escaped_words() {
        let question = Question {
            name: "raft_commit".into(),
            measures: vec![measure("1/s", 3.0, Some(1.0)), measure("1/s", 3.0, None)],
        };
        let svg = of(&question);
        assert_eq!(svg.matches("<rect x=").count(), 4);
        assert!(svg.contains("a &lt; b &amp; c"));
        assert!(svg.contains("3.00×") && svg.contains("not there"));
        assert!(svg.ends_with("</svg>\n"));
    }
}
