use std::net::SocketAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::config::Reporter;
use super::event::{MeshEvent, RejectReason, Side};

/// How many rejections are told one by one in each window.
const TOLD_MAX: u64 = 32;

const WINDOW: Duration = Duration::from_secs(1);

/// Tells of rejected connections, at a bounded rate: anybody can open a connection.
#[derive(Debug, Default)]
pub(super) struct Rejections(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    since: Option<Instant>,
    told: u64,
    untold: u64,
}

impl Rejections {
    pub(super) fn report(
        &self,
        report: &Reporter,
        remote: SocketAddr,
        side: Side,
        reason: RejectReason,
    ) {
        let (tell, more) = self.0.lock().admit(Instant::now());
        if more > 0 {
            report(MeshEvent::RejectedMore { count: more });
        }
        if tell {
            report(MeshEvent::Rejected {
                remote,
                side,
                reason,
            });
        }
    }
}

impl Window {
    /// Whether to tell of one more, and of how many untold ones before.
    fn admit(&mut self, now: Instant) -> (bool, u64) {
        let mut more = 0;
        if self.since.is_none_or(|since| now - since >= WINDOW) {
            more = std::mem::take(&mut self.untold);
            self.since = Some(now);
            self.told = 0;
        }
        let tell = self.told < TOLD_MAX;
        if tell {
            self.told += 1;
        } else {
            self.untold += 1;
        }
        (tell, more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_in_part_and_counted_whole() {
        let mut window = Window::default();
        let start = Instant::now();
        let told = (0..1000).filter(|_| window.admit(start).0).count() as u64;
        assert_eq!(told, TOLD_MAX);
        assert_eq!(window.admit(start + WINDOW), (true, 1000 - TOLD_MAX));
        assert_eq!(window.admit(start + WINDOW), (true, 0));
    }
}
