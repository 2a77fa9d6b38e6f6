//! A source's grant: worked on under a lease, read, and saved before anything else happens with an answer.
//!
//! The lease protocol itself, and why it is as it is, stands at [`crate::domain::lease`].

use std::cell::{Cell, RefCell};
use std::time::Duration;

use backon::Retryable as _;
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use tracing::warn;

use super::at_work::AtWork;
use super::ports::{
    Clock as _, GrantStore as _, LeaseStore as _, Ports, Random as _, StoreError, Tagged, WRITE_ATTEMPTS, World,
};
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::grant::GrantState;
use crate::domain::lease::Lease;
use crate::domain::retry::{self, Deadline, Repeat, RetryPolicy};
use crate::domain::source::{Root, SourceName};

/// How long a lease outlasts the run that takes it.
const LEASE_GRACE: TimeDelta = TimeDelta::seconds(5);

/// The grant of one source, as one run works with it.
pub struct Grants<'a, P: Ports> {
    world: &'a World<P>,
    at_work: &'a AtWork,
    deadline: &'a Deadline,
    /// Kept here and not in the work's future, so that it is given back also where the work was broken off.
    lease: RefCell<Option<Tagged<Lease>>>,
    overtaken: Cell<Option<Overtaken>>,
}

/// A lease whose holder crashed, perhaps with an answer that it had no time to save.
#[derive(Debug, Clone, Copy)]
struct Overtaken {
    /// `None`: it was taken by an older version, which did not say.
    taken_at: Option<DateTime<Utc>>,
    /// When its holder's run ended at the latest.
    ended_at: DateTime<Utc>,
}

/// A grant as it was read.
pub struct CurrentGrant {
    /// What to refresh with.
    pub state: GrantState,
    /// Entity tag of what is stored; `None`: nothing is, and the state is the definition's own credential.
    pub etag: Option<String>,
}

/// Whose grant is stored after a save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// The one that was saved.
    Ours,
    /// A newer one that somebody else has saved meanwhile.
    Theirs,
    /// None: it was removed meanwhile.
    Gone,
}

impl<'a, P: Ports> Grants<'a, P> {
    /// One that holds no lease yet.
    pub fn new(world: &'a World<P>, at_work: &'a AtWork, deadline: &'a Deadline) -> Self {
        Self { world, at_work, deadline, lease: RefCell::default(), overtaken: Cell::default() }
    }

    /// Makes this run the one owner of the grant; `false`: another run is.
    pub async fn take_lease(&self, source: &SourceName) -> Result<bool, SourceError> {
        let state = &self.world.state;
        let lease = Lease {
            run_id: self.at_work.run_id.clone(),
            nonce: self.world.random.unique(),
            taken_at: Some(self.world.clock.now().trunc_subsecs(0)),
            expires_at: (self.deadline.end + LEASE_GRACE).trunc_subsecs(0),
        };
        let mut expected = None;
        for _ in 0..WRITE_ATTEMPTS {
            let taken = state.take_lease(source, &lease, expected.as_deref()).await.map_err(store_failed)?;
            if taken.is_some() {
                self.lease.replace(taken);
                return Ok(true);
            }
            let Some(current) = state.read_lease(source).await.map_err(store_failed)? else {
                expected = None;
                continue;
            };
            if current.value == lease {
                // Our own write, whose reply was lost.
                self.lease.replace(Some(current));
                return Ok(true);
            }
            if current.value.expires_at > self.world.clock.now() {
                return Ok(false);
            }
            let ended_at = current.value.expires_at - LEASE_GRACE;
            self.overtaken.set(Some(Overtaken { taken_at: current.value.taken_at, ended_at }));
            expected = Some(current.etag);
        }
        Ok(false)
    }

    /// Whether this run is the owner.
    pub fn holds_lease(&self) -> bool {
        self.lease.borrow().is_some()
    }

    /// Gives the lease back, if it was taken. Trouble is only logged: the lease expires by itself.
    pub async fn give_back(&self, source: &SourceName) {
        let Some(lease) = self.lease.take() else { return };
        let time_left = Deadline::remaining(self.world.clock.now(), self.deadline.end);
        let release = self.world.state.release_lease(source, &lease);
        let problem = match tokio::time::timeout(time_left, release).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "no time was left".to_owned(),
        };
        warn!(
            run.id = self.at_work.run_id,
            source.name = self.at_work.source,
            error.message = problem,
            "lease not released, it will expire"
        );
    }

    /// When the run ended that may have lost an answer, whose lease was taken over.
    pub fn lost_by_former_holder(&self) -> Option<DateTime<Utc>> {
        self.overtaken.get().map(|overtaken| overtaken.ended_at)
    }

    /// What to refresh with: the connection that is stored, or the definition's own credential and what became of it. The
    /// error: the state bucket refused, or there is no connection, or none that is of use.
    pub async fn read(&self, source: &SourceName, root: Root<'_>) -> Result<CurrentGrant, SourceError> {
        let stored = self.world.state.read_grant(source).await.map_err(store_failed)?;
        let (stored, etag) = stored.map(|stored| (stored.value, stored.etag)).unzip();
        let state = match root {
            Root::Seed(seed) => GrantState::current(stored, seed, self.world.clock.now()),
            Root::Connection(rules) => GrantState::connected(stored, rules)?,
        };
        let is_saved_since = |taken_at| !state.is_seed && state.credential_issued_at >= taken_at;
        // A holder that saved its answer lost nothing, though it could not give back the lease.
        if self.overtaken.get().is_some_and(|overtaken| overtaken.taken_at.is_some_and(is_saved_since)) {
            self.overtaken.set(None);
        }
        Ok(CurrentGrant { state, etag })
    }

    /// Saves a credential that can't be had again, trying as long as the run lasts.
    pub async fn save(
        &self,
        source: &SourceName,
        next: &GrantState,
        before: &CurrentGrant,
    ) -> Result<Saved, StoreError> {
        self.save_over(source, next, before.etag.as_deref()).await
    }

    /// The same over whatever has that entity tag; `None`: over nothing.
    pub async fn save_over(
        &self,
        source: &SourceName,
        next: &GrantState,
        expected: Option<&str>,
    ) -> Result<Saved, StoreError> {
        let attempt = || async {
            let time_left = Deadline::remaining(self.world.clock.now(), self.deadline.saves);
            let save = tokio::time::timeout(time_left, self.save_once(source, next, expected));
            save.await.unwrap_or_else(|_elapsed| Err(StoreError("no time was left".to_owned())))
        };
        attempt
            .retry(RetryPolicy::save().ceilings())
            .adjust(|_: &StoreError, ceiling| {
                let remaining = Deadline::remaining(self.world.clock.now(), self.deadline.saves);
                retry::next_wait(ceiling, Repeat::AfterBackoff(None), self.world.random.unit(), remaining)
            })
            .notify(|error: &StoreError, wait: Duration| {
                warn!(
                    run.id = self.at_work.run_id,
                    source.name = self.at_work.source,
                    error.message = %error,
                    retry.wait_ms = wait.as_millis(),
                    "refresh token not saved, trying again"
                );
            })
            .await
    }

    async fn save_once(
        &self,
        source: &SourceName,
        next: &GrantState,
        expected: Option<&str>,
    ) -> Result<Saved, StoreError> {
        if self.world.state.save_grant(source, next, expected).await?.is_some() {
            return Ok(Saved::Ours);
        }
        let stored = self.world.state.read_grant(source).await?;
        if stored.as_ref().is_some_and(|stored| stored.value.same_credential(next)) {
            // Our own write, whose reply was lost.
            return Ok(Saved::Ours);
        }
        if stored.as_ref().map(|stored| stored.etag.as_str()) == expected {
            return Err(StoreError("S3 PutObject: it was refused, but nobody else has written".to_owned()));
        }
        let (saved, what) = match stored {
            Some(_) => (Saved::Theirs, "another run saved a newer grant, which stays"),
            None => (Saved::Gone, "the grant was removed meanwhile, and stays so"),
        };
        warn!(run.id = self.at_work.run_id, source.name = self.at_work.source, "{what}");
        Ok(saved)
    }
}

fn store_failed(error: StoreError) -> SourceError {
    SourceError::new(ErrorCode::GrantStoreFailed, error.0)
}
