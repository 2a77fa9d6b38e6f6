//! What connecting keeps in the state bucket. Whatever is damaged there counts as none: nobody can go on with it.

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};

use super::{S3StateStore, tagged};
use crate::app::ports::{Advice, FlowStore, ParkedStore, Put, SessionStore, StoreError, Tagged, WRITE_ATTEMPTS};
use crate::aws::{connect_keys as keys, store_error};
use crate::domain::connect::{Claim, Flow, Parked, Session, SessionId};
use crate::domain::principal::Principal;

impl SessionStore for S3StateStore {
    async fn make_session(&self, session: &Session) -> Result<(), StoreError> {
        self.make(keys::session(&session.id), SecretString::from(session.to_json())).await?;
        // Whoever was given no session has none, so the mark may come second.
        self.make(keys::mark(session), SecretString::default()).await
    }

    async fn read_session(&self, id: &SessionId) -> Result<Option<Tagged<Session>>, StoreError> {
        let stored = self.0.get(keys::session(id), |json| Some(Session::parse(json))).await?;
        Ok(stored.and_then(Advice::understood))
    }

    async fn save_session(&self, session: &Session, expected: &str) -> Result<Option<Tagged<()>>, StoreError> {
        // A write whose reply was lost looks like another one's: whoever saves looks again, and finds it done.
        let json = SecretString::from(session.to_json());
        let put = self.0.put(keys::session(&session.id), json, Vec::new(), Some(expected)).await?;
        Ok(tagged(put, ()))
    }

    async fn live_sessions(&self, principal: &Principal, now: DateTime<Utc>) -> Result<usize, StoreError> {
        let list = self.0.client.list_objects_v2().bucket(&self.0.name).prefix(keys::sessions_of(principal));
        // Sessions that have ended come before: they are not listed, however many there are.
        let mut pages = list.start_after(keys::ending_by(principal, now)).into_paginator().send();
        let mut count = 0;
        while let Some(page) = pages.next().await {
            count += page.map_err(|error| store_error("S3 ListObjectsV2", &error))?.contents().len();
        }
        Ok(count)
    }
}

impl FlowStore for S3StateStore {
    async fn make_flow(&self, flow: &Flow) -> Result<(), StoreError> {
        self.make(keys::flow(&flow.state_sha256), flow.to_json()).await
    }

    async fn read_flow(&self, state_sha256: &str) -> Result<Option<Flow>, StoreError> {
        let stored = self.0.get(keys::flow(state_sha256), |json| Some(Flow::parse(json))).await?;
        Ok(stored.and_then(|stored| stored.value))
    }

    async fn claim(&self, state_sha256: &str, claim: &Claim) -> Result<bool, StoreError> {
        for _ in 0..WRITE_ATTEMPTS {
            let json = SecretString::from(claim.to_json());
            if let Put::Written { .. } = self.0.put(keys::claim(state_sha256), json, Vec::new(), None).await? {
                return Ok(true);
            }
            // Of a write whose reply was lost, what is stored is this very claim. Where nothing is, another write was under
            // way and has come to nothing.
            if let Some(stored) = self.0.get(keys::claim(state_sha256), |json| Some(Claim::parse(json))).await? {
                return Ok(stored.value.as_ref() == Some(claim));
            }
        }
        Err(StoreError(format!("a flow could not be claimed in {WRITE_ATTEMPTS} attempts")))
    }

    async fn read_claim(&self, state_sha256: &str) -> Result<Option<Claim>, StoreError> {
        let stored = self.0.get(keys::claim(state_sha256), |json| Some(Claim::parse(json))).await?;
        Ok(stored.and_then(|stored| stored.value))
    }
}

impl ParkedStore for S3StateStore {
    async fn park(&self, parked: &Parked) -> Result<(), StoreError> {
        let key = keys::parked(&parked.session);
        let mut expected = None;
        for _ in 0..WRITE_ATTEMPTS {
            if let Put::Written { .. } =
                self.0.put(key.clone(), parked.to_json(), Vec::new(), expected.as_deref()).await?
            {
                return Ok(());
            }
            // What another flow of the session brought is replaced: what a person gave last counts.
            let stored = self.0.get(key.clone(), |json| Some(SecretString::from(json))).await?;
            if stored.as_ref().is_some_and(|stored| is_same(&stored.value, &parked.to_json())) {
                return Ok(());
            }
            expected = stored.map(|stored| stored.etag);
        }
        Err(StoreError(format!("what was parked changed under {WRITE_ATTEMPTS} writes in a row")))
    }

    async fn read_parked(&self, session: &SessionId) -> Result<Option<Parked>, StoreError> {
        let stored = self.0.get(keys::parked(session), |json| Some(Parked::parse(json))).await?;
        Ok(stored.and_then(|stored| stored.value))
    }

    async fn drop_parked(&self, session: &SessionId) -> Result<(), StoreError> {
        match self.0.get(keys::parked(session), |_| Some(())).await? {
            Some(stored) => self.0.delete(keys::parked(session), &stored.etag).await,
            None => Ok(()),
        }
    }
}

impl S3StateStore {
    /// Writes an object that is there once. One that is there already and says the same is a write whose reply was lost.
    async fn make(&self, key: String, json: SecretString) -> Result<(), StoreError> {
        for _ in 0..WRITE_ATTEMPTS {
            if let Put::Written { .. } = self.0.put(key.clone(), json.clone(), Vec::new(), None).await? {
                return Ok(());
            }
            match self.0.get(key.clone(), |json| Some(SecretString::from(json))).await? {
                Some(stored) if is_same(&stored.value, &json) => return Ok(()),
                Some(_) => return Err(StoreError(format!("{key} is in the state bucket already"))),
                // Another write was under way and has come to nothing.
                None => {}
            }
        }
        Err(StoreError(format!("{key} could not be written in {WRITE_ATTEMPTS} attempts")))
    }
}

fn is_same(stored: &SecretString, json: &SecretString) -> bool {
    stored.expose_secret() == json.expose_secret()
}
