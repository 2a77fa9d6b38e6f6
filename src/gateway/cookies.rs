//! The cookies by which a browser is known again when its provider sends it back: one for each flow.
//!
//! A cookie's value is the flow's handle and, after a dot, the token of the link by which the browser came, so that a page
//! of an error can lead back there.
//!
//! On plain `http`, which is for tests on loopback, there is neither `__Host-` nor `Secure`: browsers refuse the one
//! without the other, and not all of them take `Secure` from `http://127.0.0.1`.

use secrecy::{ExposeSecret as _, SecretString};

use crate::app::connect::Cookie;
use crate::domain::connect::{Flow, Handle};

/// How many flows of one browser may be under way.
const MOST: usize = 5;

/// How long a browser keeps one, in seconds: as long as a flow lives.
const MAX_AGE: u32 = 600;

/// What ties a cookie to this host and to https.
const TIED: &str = "__Host-";

/// Cookies of flows, as this deployment gives them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cookies {
    is_https: bool,
}

/// The cookie of a flow, as it came back.
pub(super) struct FlowCookie {
    /// Its name, with `__Host-` wherever it came from.
    pub(super) name: String,
    /// The flow's handle, as it was sent.
    pub(super) value: SecretString,
    /// The link by which the browser came.
    pub(super) link: Option<Handle>,
}

impl FlowCookie {
    /// What tells a flow by its cookie.
    pub(super) fn pair(&self) -> (String, String) {
        (self.name.clone(), self.value.expose_secret().to_owned())
    }
}

impl Cookies {
    /// For a gateway that browsers reach by https, or not.
    pub(super) fn new(is_https: bool) -> Self {
        Self { is_https }
    }

    /// Those of flows, in the browser's order: the oldest first (RFC 6265 section 5.4).
    pub(super) fn read(self, cookies: &[(String, String)]) -> Vec<FlowCookie> {
        let read = |(name, value): &(String, String)| {
            let name = if self.is_https { name.clone() } else { format!("{TIED}{name}") };
            let (value, link) =
                value.split_once('.').map_or((value.as_str(), None), |(value, link)| (value, Some(link)));
            let is_of_flow = name.starts_with(Flow::COOKIE_PREFIX);
            is_of_flow.then(|| FlowCookie { name, value: value.into(), link: link.and_then(Handle::parse) })
        };
        cookies.iter().filter_map(read).collect()
    }

    /// Values of `Set-Cookie` for a new flow. Beside it the browser keeps the newest that it has, up to the limit.
    pub(super) fn give(self, cookie: &Cookie, link: &str, known: &[FlowCookie]) -> Vec<String> {
        let Some(value) = &cookie.value else { return vec![self.forget(&cookie.name)] };
        let too_many = (known.len() + 1).saturating_sub(MOST);
        let mut set: Vec<_> = known[..too_many].iter().map(|known| self.forget(&known.name)).collect();
        set.push(self.set(&cookie.name, &format!("{}.{link}", value.expose_secret()), MAX_AGE));
        set
    }

    /// The value of `Set-Cookie` that removes one.
    pub(super) fn forget(self, name: &str) -> String {
        self.set(name, "", 0)
    }

    fn set(self, name: &str, value: &str, max_age: u32) -> String {
        let always = format!("HttpOnly; SameSite=Lax; Path=/; Max-Age={max_age}");
        if self.is_https {
            format!("{name}={value}; Secure; {always}")
        } else {
            format!("{}={value}; {always}", name.trim_start_matches(TIED))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
    const LINK: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI";

    fn cookie(name: &str) -> Cookie {
        Cookie { name: format!("{}{name}", Flow::COOKIE_PREFIX), value: Some(VALUE.into()) }
    }

    fn sent(set: &str) -> (String, String) {
        let (name, rest) = set.split_once('=').expect("a name");
        (name.to_owned(), rest.split(';').next().expect("a value").to_owned())
    }

    #[test]
    fn connect_5_a_cookie_is_tied_to_host_https_and_top_level_navigation_and_comes_back_as_it_was() {
        for is_https in [true, false] {
            let cookies = Cookies::new(is_https);
            let set = cookies.give(&cookie("0123456789ab"), LINK, &[]);
            let expected = if is_https {
                format!(
                    "__Host-connect-0123456789ab={VALUE}.{LINK}; Secure; HttpOnly; SameSite=Lax; Path=/; Max-Age=600"
                )
            } else {
                format!("connect-0123456789ab={VALUE}.{LINK}; HttpOnly; SameSite=Lax; Path=/; Max-Age=600")
            };
            assert_eq!(set, [expected]);

            let read = cookies.read(&[("theme".to_owned(), "dark".to_owned()), sent(&set[0])]);
            let [read] = &read[..] else { panic!("one") };
            assert_eq!((read.name.as_str(), read.value.expose_secret()), ("__Host-connect-0123456789ab", VALUE));
            assert_eq!(read.link.as_ref().map(|link| link.secret().expose_secret()), Some(LINK));
        }
    }

    #[test]
    fn connect_5_a_browser_keeps_five_and_the_oldest_goes() {
        let cookies = Cookies::new(true);
        let known = |count: usize| {
            let sent: Vec<_> = (0..count).map(|index| (cookie(&index.to_string()).name, VALUE.to_owned())).collect();
            cookies.read(&sent)
        };
        assert_eq!(cookies.give(&cookie("new"), LINK, &known(4)).len(), 1);
        for (count, gone) in [(5, 1), (8, 4)] {
            let set = cookies.give(&cookie("new"), LINK, &known(count));
            assert_eq!(set.len(), gone + 1);
            for (index, set) in set[..gone].iter().enumerate() {
                let expected = format!("__Host-connect-{index}=; Secure; HttpOnly; SameSite=Lax; Path=/; Max-Age=0");
                assert_eq!(set, &expected);
            }
        }
    }

    #[test]
    fn a_value_without_a_link_or_with_something_else_in_its_place_has_none() {
        let name = cookie("a").name;
        for value in [VALUE.to_owned(), format!("{VALUE}."), format!("{VALUE}.../../v1"), format!("{VALUE}.{LINK}.x")] {
            let read = Cookies::new(true).read(&[(name.clone(), value)]);
            assert_eq!((read[0].value.expose_secret(), read[0].link.is_none()), (VALUE, true));
        }
    }
}
