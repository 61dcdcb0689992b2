//! A real process, really killed.
//!
//! The test starts itself again as a replica that acknowledges writes on its output, ends it with SIGKILL between two
//! acknowledgements, and lets the next life say what it has recovered.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail as tests do")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use peaberry_consensus::{Outcome, RaftCommand, RaftConfig, RaftEvent, RaftGroup};
use peaberry_core::{DiskOptions, DiskStorage, MemoryNetwork, Node, PeerId, SystemClock};
use support::{Sum, number};

/// Names the folder of a process that is to be killed.
const FOLDER: &str = "PEABERRY_KILLED_FOLDER";

const KILLS: u32 = 100;

/// Writes under way at once.
const WINDOW: u64 = 16;

/// Nothing by itself; in the child process, a replica that writes until it is killed.
#[test]
fn replica_to_be_killed() {
    if let Ok(folder) = std::env::var(FOLDER) {
        write_until_killed(Path::new(&folder));
    }
}

/// Recovers, says what it has, then adds 1 again and again and says each sum once it is acknowledged.
fn write_until_killed(folder: &Path) {
    let local = PeerId::new(1).unwrap();
    let storage = Arc::new(DiskStorage::open(folder, DiskOptions::new("kill", local)).unwrap());
    let mut config = RaftConfig::new(0, local, [local], 1);
    config.tick = Duration::from_millis(1);
    config.snapshot_log_bytes = 64 << 10;
    config.log_cache_bytes = 16 << 10;
    let channel = config.channel();
    let group = RaftGroup::open(config, storage.as_ref(), Sum::default()).unwrap();
    let transport = Arc::new(MemoryNetwork::new().join(local));
    let mut node = Node::new(transport, storage, Arc::new(SystemClock::new()));
    let (sender, events) = mpsc::channel();
    let sink = move |batch: &mut Vec<RaftEvent<()>>| {
        batch.drain(..).for_each(|event| drop(sender.send(event)))
    };
    let commands = node.add(channel, group, sink).unwrap();
    let _node = node.spawn("replica").unwrap();
    while !matches!(
        events.recv().unwrap(),
        RaftEvent::Leader {
            leader: Some(_),
            ..
        }
    ) {}

    let write = |add: u64| {
        let command = Bytes::copy_from_slice(&add.to_be_bytes());
        commands
            .submit(RaftCommand::Propose { command, token: () })
            .unwrap();
    };
    let mut output = std::io::stdout().lock();
    // Adding nothing tells the sum that was recovered.
    write(0);
    let mut word = "recovered";
    loop {
        let RaftEvent::Completed { outcome, .. } = events.recv().unwrap() else {
            continue;
        };
        let Outcome::Committed { response, .. } = outcome else {
            panic!("{outcome:?}")
        };
        writeln!(output, "\n{word} {}", number(&response)).unwrap();
        output.flush().unwrap();
        if word == "recovered" {
            word = "acknowledged";
            (1..WINDOW).for_each(|_| write(1));
        }
        write(1);
    }
}

fn start(folder: &Path) -> (Child, impl Iterator<Item = (String, u64)>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "replica_to_be_killed",
            "--nocapture",
            "--test-threads",
            "1",
        ])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let words = lines.filter_map(|line| {
        let (word, sum) = line.split_once(' ')?;
        Some((word.to_owned(), sum.parse().ok()?))
    });
    (
        child,
        words.filter(|(word, _)| word == "recovered" || word == "acknowledged"),
    )
}

#[test]
fn nothing_acknowledged_is_lost_by_sigkill() {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = fastrand::Rng::with_seed(3);
    let mut acknowledged = 0;
    for life in 0..=KILLS {
        let (mut child, mut words) = start(folder.path());
        let (word, recovered) = words.next().unwrap();
        assert_eq!(word, "recovered");
        assert!(
            recovered >= acknowledged,
            "life {life}: {acknowledged} were acknowledged, {recovered} are left"
        );
        assert!(
            recovered <= acknowledged + WINDOW,
            "life {life}: {recovered} is more than was ever proposed"
        );
        acknowledged = recovered;
        for _ in 0..rng.u32(1..200) {
            acknowledged = words.next().unwrap().1;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had still written to the pipe was acknowledged too.
        acknowledged = words.last().map_or(acknowledged, |(_, sum)| sum);
    }
    assert!(
        acknowledged > u64::from(KILLS),
        "the lives were too short to prove anything"
    );
}
