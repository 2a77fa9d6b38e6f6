//! The roster: which sources the last reading of the definitions held, and which token of each was announced last.
//!
//! Of a source with accounts it remembers each account's token besides, which is right for the few hundred accounts that
//! are worked on one by one: some 40 bytes each, in an object that is read once by a cold function and written every few
//! minutes by a warm one. Without that, each run would announce every account's token again. Accounts that are not
//! connected any more are left out with the next announcement.
//!
//! It is kept in the state bucket, so that a source does not vanish with a secret that can't be read, and no token stays
//! unannounced because a run was killed between storing and publishing it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{AccountName, Catalog};
use crate::domain::document;

/// Version of the layout.
const SCHEMA_VERSION: u32 = 1;

/// All sources by name. Holds no secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster(BTreeMap<String, Member>);

/// What is remembered of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Member {
    /// Name of the secret that it stands in, without the prefix.
    secret: String,
    /// Generation of the token that was announced last; 0: none was.
    #[serde(default)]
    announced: u64,
    /// Whether the last complete reading lacked it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    absent: bool,
    /// The same as `announced` of each of its accounts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    accounts: BTreeMap<String, u64>,
}

#[derive(Serialize, Deserialize)]
struct Json<T> {
    schema_version: u32,
    sources: T,
}

impl Roster {
    /// The JSON text.
    pub fn to_json(&self) -> String {
        document::to_json(&Json { schema_version: SCHEMA_VERSION, sources: &self.0 })
    }

    /// Reads the JSON text; `None` if it is damaged.
    pub fn parse(json: &str) -> Option<Self> {
        let json: Json<BTreeMap<String, Member>> = serde_json::from_str(json).ok()?;
        (json.schema_version == SCHEMA_VERSION).then_some(Self(json.sources))
    }

    /// Whether it names no source.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All names, each with the secret that it stood in.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, member)| (name.as_str(), member.secret.as_str()))
    }

    /// Whether the last complete reading lacked a source.
    pub fn is_absent(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|member| member.absent)
    }

    /// Generation of the token of a source, or of an account, that was announced last; 0: none was.
    pub fn announced(&self, name: &str) -> u64 {
        if let Some(member) = self.0.get(name) {
            return member.announced;
        }
        let of_account = |(source, account): (&str, &str)| self.0.get(source)?.accounts.get(account).copied();
        name.split_once('/').and_then(of_account).unwrap_or_default()
    }

    /// Whether both name the same sources, whatever was announced of them.
    pub fn names_the_same(&self, other: &Self) -> bool {
        let same = |(one, other): ((&String, &Member), (&String, &Member))| {
            one.0 == other.0 && one.1.secret == other.1.secret && one.1.absent == other.1.absent
        };
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(same)
    }

    /// The roster with what another one knows of announcements besides.
    #[must_use]
    pub fn with_announcements_of(mut self, other: &Self) -> Self {
        for (name, member) in &mut self.0 {
            member.announced = member.announced.max(other.announced(name));
            let others = other.0.get(name).map(|member| &member.accounts);
            for (account, announced) in others.into_iter().flatten() {
                note(&mut member.accounts, account, *announced);
            }
        }
        self
    }

    /// The roster without accounts of a source that are not among those that are connected.
    #[must_use]
    pub fn with_accounts(mut self, source: &str, connected: &BTreeSet<AccountName>) -> Self {
        if let Some(member) = self.0.get_mut(source).filter(|member| !member.accounts.is_empty()) {
            let connected: BTreeSet<_> = connected.iter().map(AccountName::as_str).collect();
            member.accounts.retain(|account, _| connected.contains(account.as_str()));
        }
        self
    }

    /// The roster after a reading, and after the announcement of some tokens: names with their generations.
    #[must_use]
    pub fn after<'a>(&self, catalog: &Catalog, announced: impl Iterator<Item = (&'a str, u64)>) -> Self {
        let mut members: BTreeMap<_, _> = catalog
            .secrets()
            .map(|(name, secret)| {
                let absent = if catalog.is_complete() { catalog.is_absent(name) } else { self.is_absent(name) };
                let announced = self.announced(name);
                let accounts = self.0.get(name).map(|member| member.accounts.clone()).unwrap_or_default();
                (name.to_owned(), Member { secret: secret.to_owned(), announced, absent, accounts })
            })
            .collect();
        for (name, generation) in announced {
            if let Some(member) = members.get_mut(name) {
                member.announced = member.announced.max(generation);
            } else if let Some((source, account)) = name.split_once('/')
                && let Some(member) = members.get_mut(source)
            {
                note(&mut member.accounts, account, generation);
            }
        }
        Self(members)
    }
}

/// Notes what was announced of an account, unless a newer one was.
fn note(accounts: &mut BTreeMap<String, u64>, account: &str, generation: u64) {
    let announced = accounts.entry(account.to_owned()).or_default();
    *announced = generation.max(*announced);
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::domain::error::{ErrorCode, SourceError};
    use crate::domain::source::{PlainHttp, Secret};

    const DEFINITION: &str =
        r#"{"token_endpoint": "https://as.example.com/token", "client_id": "c", "client_secret": "s"}"#;

    fn single(name: &str) -> Secret {
        Secret { name: name.to_owned(), content: Ok(SecretString::from(DEFINITION)) }
    }

    fn packed(name: &str, sources: &[&str]) -> Secret {
        let sources: Vec<_> = sources.iter().map(|source| format!(r#""{source}": {DEFINITION}"#)).collect();
        let content = Ok(SecretString::from(format!(r#"{{"sources": {{{}}}}}"#, sources.join(", "))));
        Secret { name: name.to_owned(), content }
    }

    fn unreadable(name: &str) -> Secret {
        let error = SourceError::new(ErrorCode::SecretUnreadable, "AccessDenied");
        Secret { name: name.to_owned(), content: Err(error) }
    }

    fn damaged(name: &str) -> Secret {
        Secret { name: name.to_owned(), content: Ok(SecretString::from(r#"{"sources": {"a": {},}"#)) }
    }

    /// One reading after the other, all of them to the end.
    fn read(readings: Vec<Vec<Secret>>) -> (Catalog, Roster) {
        readings.into_iter().fold((Catalog::default(), Roster::default()), |(_, roster), secrets| {
            let catalog = Catalog::after(&roster, None, secrets, true, PlainHttp::Refused);
            let roster = roster.after(&catalog, std::iter::empty());
            (catalog, roster)
        })
    }

    fn names(roster: &Roster) -> Vec<&str> {
        roster.iter().map(|(name, _)| name).collect()
    }

    fn code(catalog: &Catalog, name: &str) -> Option<&'static str> {
        catalog.find(name)?.as_ref().err().map(|error| error.code.as_str())
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let (catalog, roster) = read(vec![vec![single("a"), packed("pack", &["b"])], vec![single("a")]]);
        let roster = roster.after(&catalog, [("a", 7)].into_iter());
        assert_eq!(
            roster.to_json(),
            r#"{"schema_version":1,"sources":{"a":{"secret":"a","announced":7},"b":{"secret":"pack","announced":0,"absent":true}}}"#
        );
        assert_eq!(Roster::parse(&roster.to_json()), Some(roster));
        assert_eq!(Roster::parse("{}"), None);
    }

    #[test]
    fn the_sources_of_an_unreadable_secret_fail_under_their_own_names() {
        for trouble in [unreadable("pack"), damaged("pack")] {
            let (catalog, roster) = read(vec![vec![packed("pack", &["a", "b"])], vec![trouble]]);
            assert_eq!(
                (code(&catalog, "a"), code(&catalog, "b")),
                (Some("secret_unreadable"), Some("secret_unreadable"))
            );
            assert!(catalog.find("pack").is_none());
            assert_eq!(names(&roster), ["a", "b"]);
        }
    }

    #[test]
    fn a_secret_that_was_never_readable_or_holds_one_source_fails_under_its_own_name() {
        let (catalog, _) = read(vec![vec![unreadable("pack")], vec![unreadable("pack")]]);
        assert_eq!(code(&catalog, "pack"), Some("secret_unreadable"));
        let (catalog, _) = read(vec![vec![single("a")], vec![damaged("a")]]);
        assert_eq!(code(&catalog, "a"), Some("definition_invalid"), "a slip in one definition is that source's");
    }

    #[test]
    fn a_pack_that_becomes_readable_is_no_source_any_more() {
        let (catalog, roster) = read(vec![vec![unreadable("pack")], vec![packed("pack", &["a"])]]);
        assert!(catalog.find("pack").is_none() && catalog.is_pack("pack"));
        assert_eq!(names(&roster), ["a"]);
    }

    #[test]
    fn a_slip_does_not_mend_itself_but_a_refusal_may() {
        let retryable = |trouble| {
            let (catalog, _) = read(vec![vec![packed("pack", &["a", "b"])], vec![trouble]]);
            catalog.find("a").and_then(|entry| entry.as_ref().err()).map(|error| error.retryable)
        };
        assert_eq!((retryable(unreadable("pack")), retryable(damaged("pack"))), (Some(true), Some(false)));
    }

    #[test]
    fn a_source_is_gone_after_two_complete_readings_without_it() {
        let both = || vec![single("a"), single("b")];
        let (catalog, roster) = read(vec![both(), vec![single("a")]]);
        assert!(catalog.is_absent("b") && catalog.find("b").is_some());
        assert_eq!(names(&roster), ["a", "b"]);
        let (catalog, roster) = read(vec![both(), vec![single("a")], vec![single("a")]]);
        assert!(catalog.find("b").is_none());
        assert_eq!(names(&roster), ["a"]);
        let (catalog, roster) = read(vec![both(), vec![single("a")], both(), vec![single("a")]]);
        assert!(catalog.is_absent("b") && roster.is_absent("b"), "in a row");
    }

    #[test]
    fn an_incomplete_reading_neither_counts_nor_resets() {
        let first = || vec![single("a"), single("b"), single("c")];
        let incomplete = || vec![single("a"), unreadable("c")];
        let (catalog, roster) = read(vec![first(), incomplete(), incomplete()]);
        assert!(catalog.is_absent("b") && !roster.is_absent("b"));
        let (catalog, _) = read(vec![first(), vec![single("a"), single("c")], incomplete()]);
        assert!(catalog.find("b").is_some());
        let (catalog, _) =
            read(vec![first(), vec![single("a"), single("c")], incomplete(), vec![single("a"), single("c")]]);
        assert!(catalog.find("b").is_none());
    }

    #[test]
    fn a_reading_that_broke_off_goes_on_with_what_was_known() {
        let (known, roster) = read(vec![vec![single("a"), packed("pack", &["b"])]]);
        let warm = Catalog::after(&roster, Some(&known), vec![single("a")], false, PlainHttp::Refused);
        assert!(warm.find("b").is_some_and(Result::is_ok) && !warm.is_complete());
        let without_roster = Catalog::after(&Roster::default(), Some(&known), Vec::new(), false, PlainHttp::Refused);
        assert!(without_roster.find("a").is_some_and(Result::is_ok));
        let cold = Catalog::after(&roster, None, vec![single("a")], false, PlainHttp::Refused);
        assert_eq!((code(&cold, "a"), code(&cold, "b")), (None, Some("secret_unreadable")));
    }

    #[test]
    fn what_was_announced_of_accounts_stands_with_their_source_as_long_as_they_are_connected() {
        let (catalog, roster) = read(vec![vec![single("a")]]);
        let before = roster.clone();
        let roster = roster.after(&catalog, [("a/x", 3), ("a/Y", 1), ("b/x", 1)].into_iter());
        let roster = roster.after(&catalog, [("a/x", 2)].into_iter());
        let announced = |roster: &Roster| ["a", "a/x", "a/Y", "b/x"].map(|name| roster.announced(name));
        assert_eq!(announced(&roster), [0, 3, 1, 0]);
        assert_eq!(
            roster.to_json(),
            r#"{"schema_version":1,"sources":{"a":{"secret":"a","announced":0,"accounts":{"Y":1,"x":3}}}}"#
        );
        assert_eq!(Roster::parse(&roster.to_json()).as_ref(), Some(&roster));
        assert!(roster.names_the_same(&before), "which is kept now and then");
        assert_eq!(announced(&before.with_announcements_of(&roster)), [0, 3, 1, 0]);
        let connected = AccountName::parse("Y").into_iter().collect();
        assert_eq!(announced(&roster.with_accounts("a", &connected)), [0, 0, 1, 0]);
    }

    #[test]
    fn what_was_announced_never_counts_back() {
        let (catalog, roster) = read(vec![vec![single("a")]]);
        let roster = roster.after(&catalog, [("a", 3), ("nobody", 1)].into_iter());
        let roster = roster.after(&catalog, [("a", 2)].into_iter());
        assert_eq!((roster.announced("a"), roster.announced("nobody")), (3, 0));
    }
}
