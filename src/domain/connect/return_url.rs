//! Return addresses: where a browser may be sent once a connection stands.

use url::Url;

/// An address that one of the deployment's prefixes allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnUrl(Url);

impl ReturnUrl {
    /// The address with what an application is told. `code` is the completion code, if there is one.
    pub fn with(&self, session: &str, status: &str, code: Option<&str>) -> Url {
        let mut url = self.0.clone();
        let mut query = url.query_pairs_mut();
        query.append_pair("session", session).append_pair("status", status);
        if let Some(code) = code {
            query.append_pair("code", code);
        }
        drop(query);
        url
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Of a session that was kept, which was checked when it was made.
    pub fn kept(text: &str) -> Option<Self> {
        Url::parse(text).ok().map(Self)
    }
}

/// The return addresses that a deployment allows: origin and path prefix each.
#[derive(Debug, Clone, Default)]
pub struct ReturnUrls(Vec<Url>);

impl ReturnUrls {
    /// Reads prefixes that are separated by commas; the error is the first that is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let prefixes = text.split(',').map(str::trim).filter(|prefix| !prefix.is_empty());
        let parsed = prefixes.map(|prefix| {
            let url = acceptable(prefix).filter(|url| url.query().is_none());
            url.ok_or_else(|| prefix.to_owned())
        });
        Ok(Self(parsed.collect::<Result<_, _>>()?))
    }

    /// The address, if it is allowed. A prefix ends at a segment: `/app` allows `/app/done` and not `/apple`.
    pub fn allow(&self, text: &str) -> Option<ReturnUrl> {
        let url = acceptable(text)?;
        let is_below = |prefix: &Url| {
            let path = prefix.path().trim_end_matches('/');
            let rest = url.path().strip_prefix(path);
            prefix.origin() == url.origin() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        // Percent-encoded dots and slashes mean other things to other servers.
        let is_plain = !url.path().contains('%');
        (is_plain && self.0.iter().any(is_below)).then_some(ReturnUrl(url))
    }
}

/// An address without what browsers and servers read differently: `https`, or `http` on loopback; no user name, no
/// fragment, no backslash, no control character.
fn acceptable(text: &str) -> Option<Url> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let url = Url::parse(text).ok().filter(|_| is_plain)?;
    let is_loopback = match url.host()? {
        url::Host::Domain(domain) => domain == "localhost",
        url::Host::Ipv4(address) => address.is_loopback(),
        url::Host::Ipv6(address) => address.is_loopback(),
    };
    let is_secure = url.scheme() == "https" || url.scheme() == "http" && is_loopback;
    let is_written_so = text.starts_with("https://") || text.starts_with("http://");
    let is_bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    (is_secure && is_written_so && is_bare && !text[8..].starts_with('/')).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed() -> ReturnUrls {
        ReturnUrls::parse("https://app.example.com/oauth/, http://127.0.0.1:3000").expect("prefixes")
    }

    #[test]
    fn an_address_below_a_prefix_is_allowed() {
        for url in [
            "https://app.example.com/oauth",
            "https://app.example.com/oauth/",
            "https://app.example.com/oauth/done?tab=2",
            "http://127.0.0.1:3000/anything",
        ] {
            assert!(allowed().allow(url).is_some(), "{url}");
        }
    }

    #[test]
    fn connect_14_every_other_address_is_refused() {
        for url in [
            "https://app.example.com/",
            "https://app.example.com/oauthx",
            "https://app.example.com/oauth/../admin",
            "https://app.example.com/oauth/%2e%2e/admin",
            "https://app.example.com:8443/oauth",
            "https://app.example.com.evil.example/oauth",
            "https://evil.example/oauth",
            "https://app.example.com@evil.example/oauth",
            "https://user:pass@app.example.com/oauth",
            "http://app.example.com/oauth",
            "https:\\\\app.example.com\\oauth",
            "https://app.example.com\\@evil.example/oauth",
            "//app.example.com/oauth",
            "https:///app.example.com/oauth",
            "https://app.example.com/oauth#x",
            "https://app.example.com/oauth\r\nX: y",
            "https://app.example.com/oauth x",
            "javascript:alert(1)",
            "http://127.0.0.1:3001/",
            "",
        ] {
            assert!(allowed().allow(url).is_none(), "{url}");
        }
        assert!(ReturnUrls::default().allow("https://app.example.com/").is_none());
    }

    #[test]
    fn what_is_no_prefix_is_named() {
        assert_eq!(ReturnUrls::parse("https://a.example, ftp://b").err(), Some("ftp://b".to_owned()));
        assert!(ReturnUrls::parse("").expect("none").0.is_empty());
    }

    #[test]
    fn what_an_application_is_told_is_appended() {
        let url = allowed().allow("https://app.example.com/oauth/done?tab=2").expect("allowed");
        assert_eq!(
            url.with("s1", "unconfirmed", Some("c")).as_str(),
            "https://app.example.com/oauth/done?tab=2&session=s1&status=unconfirmed&code=c"
        );
    }
}
