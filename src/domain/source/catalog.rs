//! All sources of one reading of the definitions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::value::RawValue;

use super::json::{Members, not_an_object};
use super::{Definition, PlainHttp, Roster, Source, SourceName};
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::redact;

/// A secret as it was read.
#[derive(Debug)]
pub struct Secret {
    /// Its name without the prefix: the source's, unless the secret packs several.
    pub name: String,
    /// Its text, or why it could not be had.
    pub content: Result<SecretString, SourceError>,
}

/// All sources by name, each ready or with what is wrong with it.
#[derive(Debug, Default)]
pub struct Catalog {
    entries: BTreeMap<String, Result<Arc<Source>, SourceError>>,
    /// Which secret each name stands in.
    secret_of: BTreeMap<String, String>,
    disabled: BTreeSet<String>,
    /// Secrets that pack sources.
    packs: BTreeSet<String>,
    /// Names that this reading lacks though an earlier one had them.
    absent: BTreeSet<String>,
    /// Whether every secret could be read.
    is_complete: bool,
}

impl Catalog {
    /// Parses every secret, each either one definition or several packed under `sources`. There was no reading before.
    pub fn new(secrets: Vec<Secret>, plain_http: PlainHttp) -> Self {
        Self::after(&Roster::default(), None, secrets, true, plain_http)
    }

    /// The same after earlier readings, which held what `roster` says; `known` are the definitions of the last one.
    ///
    /// `is_whole`: whether the secrets were listed to the end.
    pub fn after(
        roster: &Roster,
        known: Option<&Self>,
        secrets: Vec<Secret>,
        is_whole: bool,
        plain_http: PlainHttp,
    ) -> Self {
        let mut catalog = Self::default();
        let mut unreadable = BTreeMap::new();
        for Secret { name, content } in secrets {
            let added = content.and_then(|content| catalog.add_secret(&name, content.expose_secret(), plain_http));
            if let Err(error) = added {
                unreadable.insert(name, error);
            }
        }
        catalog.is_complete = is_whole && unreadable.is_empty();
        for (secret, error) in &unreadable {
            catalog.add_unreadable(secret, error, roster);
        }
        // The roster may be unreadable where the definitions are known.
        let known_secrets = known.filter(|_| !is_whole).into_iter().flat_map(Self::secrets);
        for (name, secret) in roster.iter().chain(known_secrets) {
            if !catalog.entries.contains_key(name) && !catalog.disabled.contains(name) {
                catalog.add_lacking(name, secret, is_whole, roster, known);
            }
        }
        catalog
    }

    /// The source of that name.
    pub fn find(&self, name: &str) -> Option<&Result<Arc<Source>, SourceError>> {
        self.entries.get(name)
    }

    /// All names with their sources, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Result<Arc<Source>, SourceError>)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// Whether that name is defined but switched off.
    pub fn is_disabled(&self, name: &str) -> bool {
        self.disabled.contains(name)
    }

    /// Whether this reading lacks a source for the first time: the next one decides whether it is gone.
    pub fn is_absent(&self, name: &str) -> bool {
        self.absent.contains(name)
    }

    /// Whether that is the name of a secret that packs sources, and of no source.
    pub fn is_pack(&self, name: &str) -> bool {
        self.packs.contains(name) && !self.entries.contains_key(name)
    }

    /// Whether every secret could be read, so that what is not here is not defined.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether the reading held no source at all, not even one that is switched off.
    pub fn is_empty(&self) -> bool {
        self.disabled.is_empty() && self.entries.keys().all(|name| self.absent.contains(name))
    }

    /// All names with the secrets that they stand in.
    pub fn secrets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.secret_of.iter().map(|(name, secret)| (name.as_str(), secret.as_str()))
    }

    /// The sources of a secret that can't be read fail under their own names, where they are known.
    fn add_unreadable(&mut self, secret: &str, error: &SourceError, roster: &Roster) {
        let held: Vec<_> = roster.iter().filter(|(name, holder)| *holder == secret && *name != secret).collect();
        if held.is_empty() {
            return self.add(secret, secret, Err(error.clone()));
        }
        let message = format!("the secret `{secret}`, which holds it, can't be read: {}", error.message);
        let error =
            SourceError { retryable: error.retryable, ..SourceError::new(ErrorCode::SecretUnreadable, message) };
        for (name, _) in held {
            if !self.entries.contains_key(name) && !self.disabled.contains(name) {
                self.insert(name, secret, Err(error.clone()));
            }
        }
    }

    /// A source that an earlier reading had and this one lacks.
    fn add_lacking(&mut self, name: &str, secret: &str, is_whole: bool, roster: &Roster, known: Option<&Self>) {
        let lost = |message: &str| Err(SourceError::new(ErrorCode::SecretUnreadable, message));
        if self.is_pack(name) {
            // It stood for its secret, while that could not be read.
        } else if !is_whole {
            let entry = known.and_then(|known| known.find(name)).cloned();
            let entry = entry.unwrap_or_else(|| lost("the definitions could not be read to the end"));
            self.insert(name, secret, entry);
        } else if !self.is_complete || !roster.is_absent(name) {
            self.absent.insert(name.to_owned());
            let message =
                "the definitions lack it, though they had it before; if the next reading lacks it too, it is gone";
            self.insert(name, secret, lost(message));
        }
    }

    fn insert(&mut self, name: &str, secret: &str, entry: Result<Arc<Source>, SourceError>) {
        self.secret_of.insert(name.to_owned(), secret.to_owned());
        self.entries.insert(name.to_owned(), entry);
    }

    /// The error is about the secret as a whole: nothing in it can be read.
    fn add_secret(&mut self, secret: &str, content: &str, plain_http: PlainHttp) -> Result<(), SourceError> {
        let members: Members<&RawValue> = serde_json::from_str(content).map_err(|error| not_an_object(&error))?;
        let (packed, others): (Vec<_>, Vec<_>) = members.0.into_iter().partition(|(name, _)| name == "sources");
        if packed.is_empty() {
            self.add(secret, secret, Definition::parse(content, plain_http));
            return Ok(());
        }
        let invalid = |fault: String| SourceError::new(ErrorCode::DefinitionInvalid, fault);
        let mut faults = Vec::new();
        if packed.len() > 1 {
            faults.push("`sources` is given twice".to_owned());
        }
        if let Some((other, _)) = others.first() {
            faults.push(format!("`{}` can't stand beside `sources`", redact::printable(other, 64)));
        }
        for (_, packed) in packed {
            let definitions: Members<&RawValue> = serde_json::from_str(packed.get())
                .map_err(|_| invalid("`sources` must be an object of names and definitions".to_owned()))?;
            for (name, definition) in definitions.0 {
                self.add(secret, &name, Definition::parse(definition.get(), plain_http));
            }
        }
        self.packs.insert(secret.to_owned());
        if !faults.is_empty() {
            self.add(secret, secret, Err(invalid(faults.join("; "))));
        }
        Ok(())
    }

    fn add(&mut self, secret: &str, name: &str, parsed: Result<Option<Definition>, SourceError>) {
        let Some(parsed) = parsed.transpose() else {
            self.disabled.insert(name.to_owned());
            return;
        };
        // The definition's own fault comes first: a secret that packs sources may have any name.
        let entry = parsed.and_then(|definition| match SourceName::parse(name) {
            Some(name) => Ok(Arc::new(Source { name, definition: Arc::new(definition) })),
            None => Err(SourceError::new(
                ErrorCode::DefinitionInvalid,
                "a source's name must be 1 to 64 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter or digit",
            )),
        });
        // Names that are no source's are shown all the same, in reports and in message attributes, which can't be empty.
        let shown = Some(redact::printable(name, 64)).filter(|name| !name.is_empty());
        let shown = shown.unwrap_or_else(|| "(no name)".to_owned());
        let entry = match self.secret_of.insert(shown.clone(), secret.to_owned()) {
            Some(other) if other == secret => {
                Err(SourceError::new(ErrorCode::DefinitionInvalid, format!("defined twice in the secret `{secret}`")))
            }
            Some(other) => Err(SourceError::new(
                ErrorCode::DefinitionInvalid,
                format!("defined twice: in the secrets `{other}` and `{secret}`"),
            )),
            None => entry,
        };
        self.entries.insert(shown, entry);
    }
}
