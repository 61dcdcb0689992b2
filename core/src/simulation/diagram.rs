use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use bytes::Bytes;

use super::trace::{DropCause, Trace, TraceEvent, TraceKind};
use crate::clock::Instant;
use crate::peer::{Channel, PeerId};

/// The picture's measures, in its own units.
const MARGIN_LEFT: u64 = 110;
const MARGIN_TOP: u64 = 70;
const LANE_WIDTH: u64 = 230;
const ROW_HEIGHT: u64 = 18;
/// How much is drawn of a way whose end is not in the picture.
const STUB: u64 = 90;
const FONT: &str = "font-family=\"ui-monospace, Menlo, DejaVu Sans Mono, monospace\"";

/// How many events a diagram draws unless told otherwise: more no longer fit on a page that one can read.
pub const DIAGRAM_EVENTS_MAX: usize = 300;

type Labeller<'a> = Box<dyn Fn(Channel, &Bytes) -> String + 'a>;

/// Draws a trace as a sequence diagram: a line for each machine, an arrow for each message, time downwards.
///
/// Every event has a row of its own, so that a busy microsecond is as readable as a quiet second; the axis says when.
///
/// ```
/// use std::time::Duration;
/// use peaberry_core::PeerId;
/// use peaberry_core::simulation::{Diagram, World};
///
/// let mut world = World::new(1).keep_events();
/// world.add(PeerId::new(1).unwrap(), |boot| Ok(boot.node()));
/// world.run_for(Duration::from_secs(1));
/// let svg = Diagram::new().title("one machine").draw(&world.trace());
/// assert!(svg.starts_with("<svg") && svg.contains("peer-1"));
/// ```
pub struct Diagram<'a> {
    title: String,
    from: Instant,
    to: Instant,
    events_max: usize,
    shows_commits: bool,
    label: Labeller<'a>,
}

impl std::fmt::Debug for Diagram<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Diagram")
            .field("title", &self.title)
            .field("from", &self.from)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

impl Default for Diagram<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> Diagram<'a> {
    /// Draws all of a trace, up to [`DIAGRAM_EVENTS_MAX`] of its last events, and labels messages with their length.
    #[must_use]
    pub fn new() -> Self {
        Self {
            title: String::new(),
            from: Instant::default(),
            to: Instant::from_nanos(u64::MAX),
            events_max: DIAGRAM_EVENTS_MAX,
            shows_commits: true,
            label: Box::new(|_, payload| format!("{} bytes", payload.len())),
        }
    }

    /// What stands above it.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Draws only what happened from `from` to `to`.
    #[must_use]
    pub const fn window(mut self, from: Instant, to: Instant) -> Self {
        self.from = from;
        self.to = to;
        self
    }

    /// Draws at most so many events, the last ones.
    #[must_use]
    pub const fn events_max(mut self, events_max: usize) -> Self {
        self.events_max = events_max;
        self
    }

    /// Leaves out commits.
    #[must_use]
    pub const fn without_commits(mut self) -> Self {
        self.shows_commits = false;
        self
    }

    /// Labels messages by what they say.
    #[must_use]
    pub fn label(mut self, label: impl Fn(Channel, &Bytes) -> String + 'a) -> Self {
        self.label = Box::new(label);
        self
    }

    /// The diagram as the text of a self-contained SVG file.
    #[must_use]
    pub fn draw(&self, trace: &Trace) -> String {
        let (events, left_out) = self.select(trace);
        let mut drawing = Drawing::new(lanes(trace), &events, &self.label);
        for event in &events {
            drawing.row(event);
        }
        drawing.finish(&self.title, left_out)
    }

    /// The events of the window, and how many of them are too many.
    fn select<'t>(&self, trace: &'t Trace) -> (Vec<&'t TraceEvent>, usize) {
        let is_shown = |event: &&TraceEvent| {
            let is_commit = matches!(event.kind, TraceKind::Committed { .. });
            (self.from..=self.to).contains(&event.at) && (self.shows_commits || !is_commit)
        };
        let mut events: Vec<_> = trace.events().filter(is_shown).collect();
        let left_out = events.len().saturating_sub(self.events_max);
        events.drain(..left_out);
        (events, left_out)
    }
}

/// Every machine of the trace, from left to right.
fn lanes(trace: &Trace) -> Vec<PeerId> {
    let peers: BTreeSet<_> = trace
        .events()
        .flat_map(|event| event.kind.peers())
        .flatten()
        .collect();
    peers.into_iter().collect()
}

/// Where a message left, and what it says.
struct Departure {
    from: PeerId,
    to: PeerId,
    y: u64,
    label: String,
    ends: u32,
}

struct Drawing<'d> {
    lanes: Vec<PeerId>,
    label: &'d Labeller<'d>,
    departures: BTreeMap<u64, Departure>,
    /// Where each machine's present line of life began; `None` while it is down.
    alive_since: BTreeMap<PeerId, Option<u64>>,
    y: u64,
    last_at: Option<Instant>,
    lives: String,
    arrows: String,
    marks: String,
}

impl<'d> Drawing<'d> {
    fn new(lanes: Vec<PeerId>, events: &[&TraceEvent], label: &'d Labeller<'d>) -> Self {
        // A machine is up at first unless the window shows it start or fail to.
        let mut alive_since: BTreeMap<_, _> =
            lanes.iter().map(|&peer| (peer, Some(MARGIN_TOP))).collect();
        let mut seen = BTreeSet::new();
        for event in events {
            match event.kind {
                TraceKind::Started { peer, .. } if seen.insert(peer) => {
                    alive_since.insert(peer, None);
                }
                TraceKind::Crashed { peer }
                | TraceKind::Killed { peer }
                | TraceKind::Stopped { peer } => {
                    seen.insert(peer);
                }
                _ => {}
            }
        }
        Self {
            lanes,
            label,
            departures: BTreeMap::new(),
            alive_since,
            y: MARGIN_TOP,
            last_at: None,
            lives: String::new(),
            arrows: String::new(),
            marks: String::new(),
        }
    }

    fn x(&self, peer: PeerId) -> u64 {
        let lane = self.lanes.iter().position(|&lane| lane == peer);
        MARGIN_LEFT + lane.unwrap_or(0) as u64 * LANE_WIDTH + LANE_WIDTH / 2
    }

    fn width(&self) -> u64 {
        MARGIN_LEFT + self.lanes.len().max(2) as u64 * LANE_WIDTH + 60
    }

    fn row(&mut self, event: &TraceEvent) {
        self.y += ROW_HEIGHT;
        self.axis(event.at);
        match &event.kind {
            TraceKind::Sent {
                message,
                from,
                to,
                channel,
                payload,
            } => {
                let label = (self.label)(*channel, payload);
                self.departures.insert(
                    *message,
                    Departure {
                        from: *from,
                        to: *to,
                        y: self.y,
                        label,
                        ends: 0,
                    },
                );
                self.dot(*from, "#1f4e8c", 2);
            }
            TraceKind::Delivered { message, to } => self.arrow(*message, *to, None),
            TraceKind::Dropped { message, to, cause } => self.arrow(*message, *to, Some(*cause)),
            TraceKind::Committed { peer, bytes, .. } => {
                self.dot(*peer, "#2c7a3f", 3);
                self.words(*peer, &format!("commit {bytes} B"), "#2c7a3f");
            }
            TraceKind::CommitFailed { peer } => {
                self.dot(*peer, "#b3261e", 3);
                self.words(*peer, "commit failed", "#b3261e");
            }
            TraceKind::Started { peer, incarnation } => {
                self.alive_since.insert(*peer, Some(self.y));
                self.dot(*peer, "#1b1b1b", 4);
                self.words(*peer, &format!("starts, life {incarnation}"), "#1b1b1b");
            }
            TraceKind::BootFailed { peer } => self.fall(*peer, "boot failed"),
            TraceKind::Crashed { peer } => self.fall(*peer, "crash"),
            TraceKind::Killed { peer } => self.fall(*peer, "killed"),
            TraceKind::Stopped { peer } => self.fall(*peer, "store failed"),
            TraceKind::Paused { peer } => self.words(*peer, "pause", "#8a5a00"),
            TraceKind::Resumed { peer } => self.words(*peer, "goes on", "#8a5a00"),
            TraceKind::ClockRate { peer, rate } => {
                self.words(*peer, &format!("clock {rate} ppm"), "#8a5a00");
            }
            TraceKind::CalendarJump { peer, .. } => {
                self.words(*peer, "calendar jumps", "#8a5a00");
            }
            TraceKind::Cut { from, to } => self.link(*from, *to, true),
            TraceKind::Mended { from, to } => self.link(*from, *to, false),
            TraceKind::Note { peer, text } => match peer {
                Some(peer) => self.words(*peer, text, "#6b2fa0"),
                None => self.banner(text),
            },
        }
    }

    /// Writes the time beside the row when it differs visibly from the row before.
    fn axis(&mut self, at: Instant) {
        let shown = at.as_nanos() / 1_000;
        if self
            .last_at
            .is_some_and(|last| last.as_nanos() / 1_000 == shown)
        {
            return;
        }
        self.last_at = Some(at);
        let (seconds, micros) = (shown / 1_000_000, shown % 1_000_000);
        let y = self.y + 4;
        let _ = writeln!(
            self.marks,
            "<text x=\"{}\" y=\"{y}\" text-anchor=\"end\" fill=\"#777\">{seconds}.{micros:06} s</text>",
            MARGIN_LEFT - 12
        );
    }

    fn dot(&mut self, peer: PeerId, colour: &str, radius: u64) {
        let (x, y) = (self.x(peer), self.y);
        let _ = writeln!(
            self.marks,
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"{radius}\" fill=\"{colour}\"/>"
        );
    }

    fn words(&mut self, peer: PeerId, words: &str, colour: &str) {
        let place = (self.x(peer) + 9, self.y + 4);
        write_words(&mut self.marks, place, "start", colour, words);
    }

    fn banner(&mut self, words: &str) {
        let (width, y) = (self.width() - MARGIN_LEFT, self.y);
        let _ = writeln!(
            self.marks,
            "<rect x=\"{MARGIN_LEFT}\" y=\"{}\" width=\"{width}\" height=\"{ROW_HEIGHT}\" fill=\"#6b2fa0\" opacity=\"0.10\"/>\n\
             <text x=\"{}\" y=\"{}\" fill=\"#6b2fa0\">{}</text>",
            y - ROW_HEIGHT / 2,
            MARGIN_LEFT + 8,
            y + 4,
            escape(words)
        );
    }

    fn fall(&mut self, peer: PeerId, words: &str) {
        self.end_life(peer);
        let (x, y) = (self.x(peer), self.y);
        let _ = writeln!(
            self.marks,
            "<path d=\"M{} {} l10 10 m0 -10 l-10 10\" stroke=\"#b3261e\" stroke-width=\"2.5\" fill=\"none\"/>",
            x - 5,
            y - 5
        );
        self.words(peer, words, "#b3261e");
    }

    fn end_life(&mut self, peer: PeerId) {
        if let Some(since) = self.alive_since.insert(peer, None).flatten() {
            let (x, y) = (self.x(peer), self.y);
            let _ = writeln!(
                self.lives,
                "<line x1=\"{x}\" y1=\"{since}\" x2=\"{x}\" y2=\"{y}\" stroke=\"#555\" stroke-width=\"1.6\"/>"
            );
        }
    }

    fn link(&mut self, from: PeerId, to: PeerId, is_cut: bool) {
        let (from, to, y) = (self.x(from), self.x(to), self.y);
        let (colour, words) = if is_cut {
            ("#b3261e", "cut")
        } else {
            ("#2c7a3f", "mended")
        };
        let (left, right) = (from.min(to), from.max(to));
        let middle = left.midpoint(right);
        let arrow = if from < to { "\u{2192}" } else { "\u{2190}" };
        let _ = writeln!(
            self.arrows,
            "<line x1=\"{left}\" y1=\"{y}\" x2=\"{right}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"5\" opacity=\"0.18\"/>"
        );
        let words = format!("{words} {arrow}");
        write_words(&mut self.marks, (middle, y + 4), "middle", colour, &words);
    }

    /// Draws a message's way, to its end or to where it was lost.
    fn arrow(&mut self, message: u64, to: PeerId, lost: Option<DropCause>) {
        let (x2, y2) = (self.x(to), self.y);
        let Some(departure) = self.departures.get_mut(&message) else {
            return self.arrival_from_before(to, lost);
        };
        departure.ends += 1;
        let is_copy = departure.ends > 1;
        let (from, y1) = (departure.from, departure.y);
        let label = if is_copy {
            format!("{} (copy)", departure.label)
        } else {
            departure.label.clone()
        };
        let x1 = self.x(from);
        match lost {
            None => self.whole_arrow((x1, y1), (x2, y2), &label),
            Some(cause) => self.broken_arrow((x1, y1), (x2, y2), &label, cause),
        }
    }

    fn arrival_from_before(&mut self, to: PeerId, lost: Option<DropCause>) {
        let words = lost.map_or_else(
            || "(sent earlier)".to_owned(),
            |cause| format!("(sent earlier: {cause})"),
        );
        self.words(to, &words, "#777");
    }

    fn whole_arrow(&mut self, (x1, y1): (u64, u64), (x2, y2): (u64, u64), label: &str) {
        let _ = writeln!(
            self.arrows,
            "<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" stroke=\"#1f4e8c\" stroke-width=\"1.2\" marker-end=\"url(#tip)\"/>"
        );
        self.arrow_label((x1, y1), (x2, y2), label, "#1f4e8c");
    }

    fn broken_arrow(
        &mut self,
        (x1, y1): (u64, u64),
        (x2, y2): (u64, u64),
        label: &str,
        cause: DropCause,
    ) {
        // It ends in the middle of nowhere.
        let (x, y) = (x1.midpoint(x2), y1.midpoint(y2));
        let _ = writeln!(
            self.arrows,
            "<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x}\" y2=\"{y}\" stroke=\"#b3261e\" stroke-width=\"1.2\" stroke-dasharray=\"4 3\"/>\n\
             <path d=\"M{} {} l8 8 m0 -8 l-8 8\" stroke=\"#b3261e\" stroke-width=\"1.6\" fill=\"none\"/>",
            x - 4,
            y - 4
        );
        self.arrow_label((x1, y1), (x, y), &format!("{label}: {cause}"), "#b3261e");
    }

    /// Writes beside the tail of an arrow, on the side to which it goes, where its own row has room.
    fn arrow_label(
        &mut self,
        (x1, y1): (u64, u64),
        (x2, _): (u64, u64),
        label: &str,
        colour: &str,
    ) {
        let (x, anchor) = if x2 >= x1 {
            (x1 + 9, "start")
        } else {
            (x1.saturating_sub(9), "end")
        };
        write_words(&mut self.marks, (x, y1 + 4), anchor, colour, label);
    }

    /// Draws the beginning of a way whose end the window does not show.
    fn stub(&mut self, departure: &Departure) {
        let (x1, x2, y) = (self.x(departure.from), self.x(departure.to), departure.y);
        let tip = if x2 >= x1 { x1 + STUB } else { x1 - STUB };
        let _ = writeln!(
            self.arrows,
            "<line x1=\"{x1}\" y1=\"{y}\" x2=\"{tip}\" y2=\"{y}\" stroke=\"#1f4e8c\" stroke-dasharray=\"1 3\"/>"
        );
        let label = format!("{} (on its way)", departure.label);
        self.arrow_label((x1, y), (x2, y), &label, "#1f4e8c");
    }

    fn finish(mut self, title: &str, left_out: usize) -> String {
        self.y += ROW_HEIGHT;
        for departure in std::mem::take(&mut self.departures).values() {
            if departure.ends == 0 {
                self.stub(departure);
            }
        }
        for peer in self.lanes.clone() {
            self.end_life(peer);
        }
        let (width, height) = (self.width(), self.y + 20);
        let mut heads = String::new();
        for &peer in &self.lanes {
            let x = self.x(peer);
            let _ = writeln!(
                heads,
                "<line x1=\"{x}\" y1=\"{MARGIN_TOP}\" x2=\"{x}\" y2=\"{}\" stroke=\"#ddd\" stroke-dasharray=\"2 4\"/>\n\
                 <rect x=\"{}\" y=\"40\" width=\"84\" height=\"22\" rx=\"4\" fill=\"#f1efe9\" stroke=\"#bbb\"/>\n\
                 <text x=\"{x}\" y=\"55\" text-anchor=\"middle\" fill=\"#1b1b1b\" font-weight=\"bold\">{peer}</text>",
                self.y,
                x - 42
            );
        }
        let note = if left_out > 0 {
            format!("{title} (without {left_out} earlier events)")
        } else {
            title.to_owned()
        };
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" {FONT} font-size=\"11\">\n\
             <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0 L8 4 L0 8 z\" fill=\"#1f4e8c\"/></marker></defs>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"16\" y=\"24\" font-size=\"14\" font-weight=\"bold\" fill=\"#1b1b1b\">{}</text>\n\
             {heads}{}{}{}</svg>\n",
            escape(&note),
            self.lives,
            self.arrows,
            self.marks
        )
    }
}

/// Adds words that stay readable above lines: once in thick white, once in `colour`. (Not every program knows
/// `paint-order`.)
fn write_words(to: &mut String, (x, y): (u64, u64), anchor: &str, colour: &str, words: &str) {
    let words = escape(words);
    for style in [
        "stroke=\"white\" stroke-width=\"3\" stroke-linejoin=\"round\" fill=\"white\"".to_owned(),
        format!("fill=\"{colour}\""),
    ] {
        let _ = writeln!(
            to,
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\" {style}>{words}</text>"
        );
    }
}

/// `text` as XML has it; what XML cannot have becomes a question mark.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            control if control.is_control() => escaped.push('?'),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_strangers_do_not_break_the_picture() {
        assert_eq!(escape("a<b>&\"\u{0}c"), "a&lt;b&gt;&amp;&quot;?c");
    }
}
