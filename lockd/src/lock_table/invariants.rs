use super::session::Place;
use super::{LockTable, Session};

impl LockTable {
    /// Panics when the indices of the table contradict each other.
    pub(crate) fn assert_consistent(&self) {
        for (&id, session) in &self.sessions {
            assert!(self.expiries.contains(&(session.expiry, id)));
            assert_eq!(self.by_nonce[&session.peer][&session.nonce], id);
            for (number, claim) in &session.claims {
                self.assert_claim(id, session, *number, claim.place, &claim.path);
            }
        }
        assert_eq!(self.expiries.len(), self.sessions.len());
        let nonces: usize = self.by_nonce.values().map(|own| own.len()).sum();
        assert_eq!(nonces, self.sessions.len());
        assert!(self.by_nonce.values().all(|own| !own.is_empty()));
        let claims: usize = self.sessions.values().map(|s| s.claims.len()).sum();
        let seats = self.locks.values().map(|l| l.holds.len() + l.waiters.len());
        assert_eq!(claims, seats.sum::<usize>());
        assert!(self.locks.values().all(|lock| !lock.holds.is_empty()));
    }

    fn assert_claim(
        &self,
        id: crate::request::SessionId,
        _session: &Session,
        number: u64,
        place: Place,
        path: &crate::path::LockPath,
    ) {
        let lock = &self.locks[path];
        match place {
            Place::Holding => {
                assert_eq!(lock.session, id);
                assert!(lock.holds.contains(&number));
            }
            Place::Waiting { ticket } => {
                let waiter = lock.waiters[&ticket];
                assert_eq!((waiter.session, waiter.claim), (id, number));
            }
        }
    }
}
