use std::future::Future;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};

use super::bindings::Bindings;
use super::config::{MeshLimits, MeshTimes, Reporter};
use super::drops::Drops;
use super::event::DropReason;
use super::peers::PeerTable;
use super::rejections::Rejections;
use super::tls::Tls;
use crate::peer::{Channel, PeerId};
use crate::transport::identity::PeerIdentity;

/// What a mesh's tasks have in common.
pub(super) struct Shared {
    pub(super) local: PeerIdentity,
    pub(super) tls: RwLock<Tls>,
    pub(super) limits: MeshLimits,
    pub(super) times: MeshTimes,
    pub(super) seed: u64,
    pub(super) peers: PeerTable,
    pub(super) bindings: Bindings,
    pub(super) report: Reporter,
    pub(super) rejections: Rejections,
    pub(super) runtime: Handle,
    /// `None` once the mesh stops: nothing is started any more.
    pub(super) tasks: Mutex<Option<JoinSet<()>>>,
}

impl Shared {
    /// Starts a task that ends with the mesh. `None`: the mesh is stopping.
    pub(super) fn spawn(
        self: &Arc<Self>,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Option<AbortHandle> {
        let mut tasks = self.tasks.lock();
        let tasks = tasks.as_mut()?;
        while tasks.try_join_next().is_some() {}
        Some(tasks.spawn_on(task, &self.runtime))
    }

    /// Tells the operator and the protocols that what waited for a peer was dropped.
    pub(super) fn report_buried(&self, peer: PeerId, buried: Vec<(Channel, usize)>) {
        let drops = Drops::default();
        for &(channel, messages) in &buried {
            drops.count(channel.protocol, DropReason::PeerGone, messages);
        }
        drops.report(peer, &self.report);
        let channels = buried.into_iter().map(|(channel, _)| channel);
        self.bindings.report_unreachable(peer, channels);
    }
}
