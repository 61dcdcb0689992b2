//! How long does a text take to be typed, to be heard from another, and to be loaded, and how many bytes is it?
//!
//! Unit: milliseconds of one thread, and bytes. The texts are keystrokes of real documents (`PEABERRY_DATA`), or seeded
//! ones where that is unset; what each crate ends with is compared with the trace's end. "replay" is one call for each
//! edit, by one writer, into a new text. "merge in runs of 100 edits" is what another replica does with the updates of
//! that writer, decoding included, each joined by itself. "load" is from the bytes of a file to a text that can be edited, and
//! that has been read once, for some are not made before; in the concurrent traces it replays what the writers did apart, for who keeps history. A file is ours in
//! the compressing container, and else what the peer calls its whole: diamond-types' full encoding, loro's snapshot,
//! automerge's save, yrs' update v2. yrs and automerge, which take seconds for the whole trace, are given the beginning of
//! it. "heap" is what is live at most, looked at every 1,000 edits, by an allocator that counts, under which all times are
//! taken too.

#[path = "text/apart.rs"]
mod apart;
#[path = "text/editors.rs"]
mod editors;
#[path = "text/trace.rs"]
mod trace;

use std::alloc::System;

use peaberry_benches::versus::{Better, Effort, Measure, fastest, interleave, report, write};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use self::editors::{Automerge, Diamond, Editor, Loro, Ours, OursPlain, Yrs};
use self::trace::Trace;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

type Failure = Box<dyn std::error::Error>;

/// How many edits an update tells.
const RUN_EDITS: usize = 100;
/// How much of a trace the slow are given.
const HEAD_EDITS: usize = 10_000;
const SAMPLE_EDITS: usize = 1_000;

fn main() -> Result<(), Failure> {
    let mut bench = Bench {
        effort: Effort::from_environment(),
        measures: Vec::new(),
    };
    for name in ["automerge-paper", "rustcode", "sveltecomponent"] {
        let trace = Trace::load(name)?;
        bench.versus::<Diamond>(&trace);
        bench.versus::<Loro>(&trace);
        if name == "automerge-paper" {
            let head = trace.head(HEAD_EDITS);
            bench.versus::<Automerge>(&head);
            bench.versus::<Yrs>(&head);
        }
    }
    for name in ["friendsforever.concurrent", "clownschool.concurrent"] {
        bench.apart(&Trace::load(name)?);
    }
    for count in [1_000, 4_000] {
        bench.at_one_place(count);
    }
    write("crdt_text", bench.effort, &bench.measures)?;
    Ok(())
}

struct Bench {
    effort: Effort,
    measures: Vec<Measure>,
}

impl Bench {
    fn versus<Peer: Editor>(&mut self, trace: &Trace) {
        let name = &trace.name;
        self.time::<Peer>(
            &format!("replay {name}"),
            "one call for each edit, into a new text",
            || time_of_replay::<Ours>(trace),
            || time_of_replay::<Peer>(trace),
        );
        let (mine, theirs) = (runs_of::<Ours>(trace), runs_of::<Peer>(trace));
        self.time::<Peer>(
            &format!("merge {name} in runs of {RUN_EDITS} edits"),
            "decoding, and joining each update by itself",
            || time_of_merge::<Ours>(&mine),
            || time_of_merge::<Peer>(&theirs),
        );
        let (mut whole, mut theirs) = (replayed::<Ours>(trace), replayed::<Peer>(trace));
        let (file, their_file) = (whole.save(), theirs.save());
        self.time::<Peer>(
            &format!("load {name}"),
            "from the bytes of a file, ours in the container, to a text",
            || time_of_load::<Ours>(&file, trace),
            || time_of_load::<Peer>(&their_file, trace),
        );
        let mut plain = replayed::<OursPlain>(trace);
        let plain = plain.save();
        self.time::<Peer>(
            &format!("load {name}, no container"),
            "from the bytes of a file to a text; ours without the container",
            || time_of_load::<OursPlain>(&plain, trace),
            || time_of_load::<Peer>(&their_file, trace),
        );
        self.count::<Peer>(
            &format!("encoded {name}"),
            file.len(),
            their_file.len(),
            "the file; ours in the container",
        );
        self.count::<Peer>(
            &format!("heap of replay {name}"),
            heap_of::<Ours>(trace),
            heap_of::<Peer>(trace),
            "what is live at most, looked at every 1000 edits",
        );
    }

    /// The history of several writers, loaded.
    fn apart(&mut self, trace: &Trace) {
        let (file, their_file) = (apart::ours(trace), apart::diamond(trace));
        let name = &trace.name;
        self.time::<Diamond>(
            &format!("load {name}"),
            "from the bytes of a file, ours in the container, to a text; replays what was concurrent",
            || time_of_load::<Ours>(&file, trace),
            || time_of_load::<Diamond>(&their_file, trace),
        );
        self.count::<Diamond>(
            &format!("encoded {name}"),
            file.len(),
            their_file.len(),
            "the file; ours in the container",
        );
    }

    /// What costs the product of both, for none can tell how the others' stand to each other without a look.
    fn at_one_place(&mut self, count: usize) {
        self.time::<Diamond>(
            &format!("merge {count} and {count} inserts at one place"),
            "one character each, in front of all before; theirs is in memory",
            || apart::ours_at_one_place(count) / 1000.0,
            || apart::diamond_at_one_place(count) / 1000.0,
        );
    }

    fn time<Peer: Editor>(
        &mut self,
        words: &str,
        includes: &str,
        ours: impl FnMut() -> f64,
        peer: impl FnMut() -> f64,
    ) {
        let comparison = interleave(self.effort.pairs(), Better::Less, ours, peer);
        let measure = Measure::new(words, "ms", Peer::NAME, includes, &comparison);
        report(&measure, &comparison);
        println!("  ours {:.3} ms, peer {:.3} ms", measure.ours, measure.peer);
        self.measures.push(measure);
    }

    fn count<Peer: Editor>(&mut self, words: &str, ours: usize, peer: usize, includes: &str) {
        let comparison = interleave(1, Better::Less, || ours as f64, || peer as f64);
        let measure = Measure::new(words, "B", Peer::NAME, includes, &comparison);
        report(&measure, &comparison);
        self.measures.push(measure);
    }
}

fn replayed<E: Editor>(trace: &Trace) -> E {
    let mut editor = E::new();
    trace.edits().for_each(|patch| editor.edit(patch));
    check(&editor, trace);
    editor
}

fn check<E: Editor>(editor: &E, trace: &Trace) {
    assert!(
        editor.text() == trace.end,
        "{} does not end {} as it ended",
        E::NAME,
        trace.name
    );
}

fn time_of_replay<E: Editor>(trace: &Trace) -> f64 {
    fastest(E::new, |editor| {
        trace.edits().for_each(|patch| editor.edit(patch));
    }) / 1000.0
}

/// The updates of who types the trace.
fn runs_of<E: Editor>(trace: &Trace) -> Vec<Vec<u8>> {
    let mut editor = E::new();
    let patches: Vec<_> = trace.edits().collect();
    let mut runs = Vec::new();
    for run in patches.chunks(RUN_EDITS) {
        let before = editor.version();
        run.iter().for_each(|patch| editor.edit(patch));
        runs.push(editor.since(&before));
    }
    let mut heard = E::new();
    runs.iter().for_each(|run| heard.receive(run));
    check(&heard, trace);
    runs
}

fn time_of_merge<E: Editor>(runs: &[Vec<u8>]) -> f64 {
    fastest(E::new, |editor| {
        runs.iter().for_each(|run| editor.receive(run));
    }) / 1000.0
}

fn time_of_load<E: Editor>(file: &[u8], trace: &Trace) -> f64 {
    check(&E::load(file), trace);
    let load = |read: &mut Option<(E, String)>| {
        let loaded = E::load(file);
        let text = loaded.text();
        *read = Some((loaded, text));
    };
    fastest(|| None, load) / 1000.0
}

fn heap_of<E: Editor>(trace: &Trace) -> usize {
    let region = Region::new(ALLOCATOR);
    let mut editor = E::new();
    let mut most = 0;
    let live = || {
        let change = region.change();
        change
            .bytes_allocated
            .saturating_sub(change.bytes_deallocated)
    };
    for (number, patch) in trace.edits().enumerate() {
        editor.edit(patch);
        if number % SAMPLE_EDITS == 0 {
            most = live().max(most);
        }
    }
    live().max(most).max(1)
}
