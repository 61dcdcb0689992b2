//! Which latched rules of a device are raised: kept across a restart, or an alarm that nobody has seen would be gone with the
//! power.

use peaberry_core::{Batch, Storage, Subspace};

use super::Device;
use crate::error::EdgeError;
use crate::name::Name;
use crate::rules::Rules;

const LATCHES: &[u8] = b"l";

/// Stands before the name of a rule that somebody has acknowledged; no name begins with it.
const ACKNOWLEDGED: char = '!';

impl<A> Device<A> {
    /// Writes down which latched rules are raised, in the `space` that the device was started on. Call it when an
    /// [`Outlet`](super::Outlet) says so.
    pub fn save_latches(&self, space: &Subspace, batch: &mut Batch) {
        let mut text = String::new();
        for (name, is_acknowledged) in self.rules.latched() {
            if is_acknowledged {
                text.push(ACKNOWLEDGED);
            }
            text.push_str(name.as_str());
            text.push('\n');
        }
        if text.is_empty() {
            space.delete(batch, LATCHES);
        } else {
            space.put(batch, LATCHES, text.as_bytes());
        }
    }
}

/// Raises what was raised, and fires nothing. Rules that are gone since are passed over.
pub(super) fn restore<A>(
    rules: &mut Rules<A>,
    storage: &dyn Storage,
    space: &Subspace,
) -> Result<(), EdgeError> {
    let stored = space.get(storage, LATCHES).map_err(|source| {
        let doing = "read which rules are latched";
        EdgeError::Storage { doing, source }
    })?;
    let Some(stored) = stored else { return Ok(()) };
    let text = std::str::from_utf8(&stored)
        .map_err(|error| EdgeError::malformed("stored latches", error.to_string()))?;
    for line in text.lines() {
        let acknowledged = line.strip_prefix(ACKNOWLEDGED);
        let name = Name::new(acknowledged.unwrap_or(line))?;
        if rules.restore_raised(&name) && acknowledged.is_some() {
            let _ = rules.acknowledge(&name);
        }
    }
    Ok(())
}
