//! A fleet from what its store holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use peaberry_core::{Batch, Channel, EffectsBuffer, Instant, Storage, StorageError, Subspace};

use crate::courier::Courier;
use crate::device::{DeviceBuilder, Outlet};
use crate::error::EdgeError;
use crate::name::{DeviceId, SiteId};
use crate::spool::{SPOOL, Spool};
use crate::uplink::Uplink;
use crate::wheel::Wheel;

use super::held::Held;
use super::{FLEET, Fleet, FleetSettings, Hosted};

impl<U: Uplink, A: Clone> Fleet<U, A> {
    /// Starts `devices` of `site` at the time `now`, on what `storage` holds of them: all their boot epochs with one sync.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Storage`], [`EdgeError::Stored`], what [`DeviceBuilder::start`] says, or [`EdgeError::Malformed`] for two
    /// devices of one name. Whether starts were counted is unknown; nothing else changed.
    pub fn open(
        uplink: U,
        site: SiteId,
        storage: Arc<dyn Storage>,
        devices: impl IntoIterator<Item = DeviceBuilder<A>>,
        settings: FleetSettings,
        now: Instant,
    ) -> Result<Self, EdgeError> {
        Self::open_over(vec![uplink], site, storage, devices, settings, now)
    }

    /// The same over several uplinks: the device at index `i` goes by the uplink at index `i` modulo their number. As many
    /// uplinks as devices are a connection for each. Still there is one driver, one timer wheel and one commit for all.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::task::{Context, Waker};
    /// use peaberry_core::{Instant, MemoryStorage};
    /// use peaberry_edge::Name;
    /// use peaberry_edge::device::Device;
    /// use peaberry_edge::fleet::{Fleet, FleetSettings};
    /// use peaberry_edge::uplink::MemoryBroker;
    ///
    /// let broker = MemoryBroker::new(1);
    /// let names = ["m-1", "m-2", "m-3"];
    /// let uplinks = names.map(|name| broker.connect(name)).into();
    /// let devices = names.map(|name| Device::builder(Name::new(name).unwrap()));
    /// let (site, store) = (Name::new("site").unwrap(), Arc::new(MemoryStorage::new()));
    /// let (settings, now) = (FleetSettings::default(), Instant::default());
    /// let mut fleet: Fleet<_> = Fleet::open_over(uplinks, site, store, devices, settings, now).unwrap();
    /// fleet.turn(&mut Context::from_waker(Waker::noop()), now, &mut Vec::new()).unwrap();
    /// assert_eq!(fleet.status().uplinks_up, 3);
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), and [`EdgeError::Malformed`] where there is no uplink.
    pub fn open_over(
        uplinks: Vec<U>,
        site: SiteId,
        storage: Arc<dyn Storage>,
        devices: impl IntoIterator<Item = DeviceBuilder<A>>,
        settings: FleetSettings,
        now: Instant,
    ) -> Result<Self, EdgeError> {
        if uplinks.is_empty() {
            return Err(EdgeError::malformed("fleet", "it has no uplink"));
        }
        let mut batch = Batch::new();
        let mut numbers = Numbers::open(storage.as_ref())?;
        let spool_settings = Arc::new(settings.spool);
        let devices = devices.into_iter();
        let count = devices.size_hint().0;
        let (mut hosted, mut spools) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut known = BTreeSet::new();
        for builder in devices {
            let id = builder.id().clone();
            if !known.insert(id.clone()) {
                let reason = format!("{id} is there twice");
                return Err(EdgeError::malformed("fleet", reason));
            }
            let number = numbers.of(&id, &mut batch);
            let owner = Channel::new(SPOOL, number);
            let (store, settings) = (storage.as_ref(), spool_settings.clone());
            let spool = Spool::open(store, owner, site.clone(), id, settings, &mut batch)?;
            let space = Subspace::of(Channel::new(FLEET, number));
            let mut device = builder.start(store, &space, spool.boot(), now)?;
            if let Some(twin) = device.twin_mut() {
                twin.rest();
            }
            hosted.push(Hosted {
                device,
                wake_ms: None,
                said: None,
                answered: 0,
                refused: Vec::new(),
                has_wishes: false,
            });
            spools.push(spool);
        }
        hosted.shrink_to_fit();
        spools.shrink_to_fit();
        let courier = Courier::over(uplinks, &site, spools, &batch, now, storage.as_ref())?;
        Ok(Self {
            courier,
            site,
            storage,
            hosted,
            origin: now,
            wheel: Wheel::new(0),
            state: EffectsBuffer::new(Channel::new(FLEET, 0)),
            state_bytes_max: 0,
            held: Held::default(),
            syncing: Held::default(),
            held_count: 0,
            told: Vec::new(),
            untold: BTreeSet::new(),
            outlet: Outlet::default(),
            awake: BTreeSet::new(),
            owing: BTreeMap::new(),
            to_spool: Vec::new(),
            twins_say: BTreeMap::new(),
            due: Vec::new(),
            has_begun: false,
            is_full: false,
            is_stuck: false,
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
