//! Flags: enable-wins and disable-wins, both off at first.

use crate::{DotFun, DotSet, DotStore, Edit, Mint, dot_store};

/// A flag that is on if an enable is concurrent with a disable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnableWinsFlag {
    store: DotSet,
}

/// A flag that is off if a disable is concurrent with an enable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DisableWinsFlag {
    /// `true` under the dot of an enable, `false` under the dot of a disable.
    store: DotFun<bool>,
}

impl EnableWinsFlag {
    /// Turns the flag on.
    pub fn enable(&self, mint: Mint) -> Edit<Self> {
        let store = DotSet::one(mint.dot());
        Edit::put(Self { store }).removing(&self.store)
    }

    /// Turns the flag off, as far as it is known to be on.
    pub fn disable(&self) -> Edit<Self> {
        Edit::nothing().removing(&self.store)
    }

    /// Whether the flag is on.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        !self.store.is_empty()
    }
}

impl DisableWinsFlag {
    /// Turns the flag on, undoing the disables known here.
    pub fn enable(&self, mint: Mint) -> Edit<Self> {
        Edit::put(Self {
            store: DotFun::one(mint.dot(), true),
        })
        .removing(&self.store)
    }

    /// Turns the flag off, also against enables not known here.
    pub fn disable(&self, mint: Mint) -> Edit<Self> {
        Edit::put(Self {
            store: DotFun::one(mint.dot(), false),
        })
        .removing(&self.store)
    }

    /// Whether the flag is on.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        !self.store.is_empty() && self.store.iter().all(|(_, on)| *on)
    }
}

dot_store!(EnableWinsFlag { store: DotSet });
dot_store!(DisableWinsFlag { store: DotFun<bool> });
