//! A fleet from what its store holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use peaberry_core::{
    Batch, Channel, Durability, EffectsBuffer, Instant, Storage, StorageError, Subspace,
};

use crate::device::{DeviceBuilder, Outlet};
use crate::error::EdgeError;
use crate::name::{DeviceId, SiteId};
use crate::spool::{SPOOL, Spool};
use crate::topic::Topic;
use crate::uplink::Uplink;
use crate::wheel::Wheel;

use super::{FLEET, Fleet, FleetSettings, Hosted};

impl<U: Uplink, A: Clone> Fleet<U, A> {
    /// Starts `devices` of `site` at the time `now`, on what `storage` holds of them: all their boot epochs with one sync.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Storage`], [`EdgeError::Stored`], what [`DeviceBuilder::start`] says, or [`EdgeError::Malformed`] for two
    /// devices of one name. Whether starts were counted is unknown; nothing else changed.
    pub fn open(
        mut uplink: U,
        site: SiteId,
        storage: Arc<dyn Storage>,
        devices: impl IntoIterator<Item = DeviceBuilder<A>>,
        settings: FleetSettings,
        now: Instant,
    ) -> Result<Self, EdgeError> {
        let mut batch = Batch::new();
        let mut numbers = Numbers::open(storage.as_ref())?;
        let spool_settings = Arc::new(settings.spool);
        let mut hosted = Vec::new();
        let mut by_id = BTreeMap::new();
        for (at, builder) in devices.into_iter().enumerate() {
            let id = builder.id().clone();
            if by_id.insert(id.clone(), at).is_some() {
                return Err(EdgeError::malformed(
                    "fleet",
                    format!("{id} is there twice"),
                ));
            }
            let number = numbers.of(&id, &mut batch);
            let owner = Channel::new(SPOOL, number);
            let settings = spool_settings.clone();
            let mut spool = Spool::open(
                storage.as_ref(),
                owner,
                site.clone(),
                id,
                settings,
                &mut batch,
            )?;
            spool.set_tag(u32::try_from(at).unwrap_or(u32::MAX));
            let space = Subspace::of(Channel::new(FLEET, number));
            let device = builder.start(storage.as_ref(), &space, spool.boot(), now)?;
            hosted.push(Hosted {
                device,
                spool,
                wake_ms: None,
            });
        }
        storage.commit(&batch, Durability::Synced).map_err(failed)?;
        for one in &mut hosted {
            one.spool.committed();
        }
        match hosted.as_slice() {
            [one] => uplink.subscribe(&Topic::down_filter(&site, one.device.id())),
            _ => uplink.subscribe(&Topic::site_down_filter(&site)),
        }
        Ok(Self {
            uplink,
            site,
            storage,
            hosted,
            by_id,
            origin: now,
            wheel: Wheel::new(0),
            records: Batch::new(),
            state: EffectsBuffer::new(Channel::new(FLEET, 0)),
            staged: BTreeSet::new(),
            ready: BTreeSet::new(),
            held: Vec::new(),
            tokens: Vec::new(),
            told: Vec::new(),
            outlet: Outlet::default(),
            due: Vec::new(),
            uplink_events: Vec::new(),
            is_up: false,
            has_begun: false,
            is_stuck: false,
            losses: 0,
        })
    }
}

/// Which number each device has in the store: from 1, never given twice.
struct Numbers {
    space: Subspace,
    known: BTreeMap<Bytes, u64>,
    next: u64,
}

impl Numbers {
    fn open(storage: &dyn Storage) -> Result<Self, EdgeError> {
        let space = Subspace::of(Channel::new(FLEET, 0)).within(b"number/");
        let mut known = BTreeMap::new();
        for entry in space.entries(storage) {
            let (name, value) = entry.map_err(failed)?;
            let number = <[u8; 8]>::try_from(value.as_ref()).ok();
            let number = number.map(u64::from_be_bytes);
            let damaged = || EdgeError::malformed("stored number of a device", "its length");
            known.insert(name, number.ok_or_else(damaged)?);
        }
        let next = known.values().max().map_or(1, |highest| highest + 1);
        Ok(Self { space, known, next })
    }

    fn of(&mut self, device: &DeviceId, batch: &mut Batch) -> u64 {
        let name = device.as_str().as_bytes();
        if let Some(&number) = self.known.get(name) {
            return number;
        }
        let number = self.next;
        self.next += 1;
        self.space.put(batch, name, &number.to_be_bytes());
        self.known.insert(Bytes::copy_from_slice(name), number);
        number
    }
}

const fn failed(source: StorageError) -> EdgeError {
    EdgeError::Storage {
        doing: "start the devices",
        source,
    }
}
