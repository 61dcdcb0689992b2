//! A side of the comparison in a process of its own: ten thousand connections are ten thousand files, and a process may hold
//! twenty thousand.

use std::process::Command;
use std::time::Duration;

use crate::rate::{Run, cpu_time};
use crate::{ALLOCATOR, Failure, clients, devices};

/// Says what this process is to be, when it is a child: see [`Task`].
const CHILD: &str = "PEABERRY_EDGE_UPLINK_CHILD";

/// All devices have their turn once in so long.
pub(crate) const PERIOD: Duration = Duration::from_secs(5);

/// Every so many readings a heartbeat.
pub(crate) const HEARTBEAT: u32 = 6;

/// What a child does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task {
    pub(crate) is_ours: bool,
    pub(crate) port: u16,
    pub(crate) devices: usize,
    pub(crate) connections: usize,
    /// How many periods are measured, behind one that is not.
    pub(crate) periods: u32,
}

impl Task {
    fn to_words(self) -> String {
        let Self {
            is_ours,
            port,
            devices,
            connections,
            periods,
        } = self;
        format!("{is_ours} {port} {devices} {connections} {periods}")
    }

    fn from_words(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        Some(Self {
            is_ours: words.next()?.parse().ok()?,
            port: words.next()?.parse().ok()?,
            devices: words.next()?.parse().ok()?,
            connections: words.next()?.parse().ok()?,
            periods: words.next()?.parse().ok()?,
        })
    }

    /// Runs a child, and reads what it says.
    pub(crate) fn run(self) -> Run {
        let this = std::env::current_exe().expect("a bench has a program");
        let output = Command::new("sh")
            .args(["-c", "ulimit -n 20000; exec \"$0\""])
            .arg(this)
            .env(CHILD, self.to_words())
            .output()
            .expect("a child starts");
        let text = String::from_utf8_lossy(&output.stdout);
        let words = text.split_whitespace();
        let figures: Vec<f64> = words.filter_map(|word| word.parse().ok()).collect();
        let (&[resident, heap, cpu, wall], true) = (figures.as_slice(), output.status.success())
        else {
            let why = String::from_utf8_lossy(&output.stderr);
            panic!("the child failed: {text} {why}");
        };
        Run {
            count: self.devices as f64,
            wall: Duration::from_secs_f64(wall),
            cpu: Duration::from_secs_f64(cpu),
            resident_bytes: resident / self.devices as f64,
            heap_bytes: heap / self.devices as f64,
        }
    }
}

/// What this process does as a child; `None` if it is none.
pub(crate) fn outcome() -> Option<Result<(), Failure>> {
    let words = std::env::var(CHILD).ok()?;
    let Some(task) = Task::from_words(&words) else {
        return Some(Err("a child was told nonsense".into()));
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    Some(runtime.map_err(Failure::from).and_then(|runtime| {
        runtime.block_on(async {
            if task.is_ours {
                devices::run(task).await
            } else {
                clients::run(task).await
            }
        })
    }))
}

/// What a side takes, from before there was anything of it.
pub(crate) struct Watch {
    resident: f64,
    heap: f64,
    cpu: Duration,
}

impl Watch {
    pub(crate) fn start() -> Self {
        Self {
            resident: resident_bytes(),
            heap: heap_bytes(),
            cpu: Duration::ZERO,
        }
    }

    /// What came before is not measured.
    pub(crate) fn restart_cpu(&mut self) {
        self.cpu = cpu_time();
    }

    /// Says to the parent what was taken.
    pub(crate) fn tell(&self, wall: Duration) {
        let cpu = cpu_time().saturating_sub(self.cpu);
        println!(
            "{} {} {} {}",
            resident_bytes() - self.resident,
            heap_bytes() - self.heap,
            cpu.as_secs_f64(),
            wall.as_secs_f64()
        );
    }
}

fn resident_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kib.unwrap_or(0.0) * 1_024.0
}

fn heap_bytes() -> f64 {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated as f64 - stats.bytes_deallocated as f64
}
