//! Secrets that stand in addresses and cookies.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};

use crate::domain::redact;

/// Random bytes of a handle.
const BYTES: usize = 32;

/// 256 random bits in base64url: a link's token, a state, a cookie, a proof key's verifier. `Debug` does not show it.
#[derive(Debug, Clone)]
pub struct Handle(SecretString);

impl Handle {
    /// Of random bytes.
    pub fn of(bytes: [u8; BYTES]) -> Self {
        Self(SecretString::from(BASE64_URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// One that came from outside; `None`: it has not the form of one, so nobody was given it.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; BYTES];
        let decoded = BASE64_URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        (decoded == BYTES).then(|| Self(SecretString::from(text)))
    }

    /// The text itself.
    pub fn secret(&self) -> &SecretString {
        &self.0
    }

    /// Its SHA-256 (hex), by which it is kept, found and logged.
    pub fn sha256(&self) -> String {
        redact::sha256_hex(self.0.expose_secret().as_bytes())
    }

    /// The completion code of a flow, whose cookie this is. Every delivery of the flow's callback has cookie and state, so
    /// each can tell the same code, though only its hash is kept.
    #[must_use]
    pub fn completion_code(&self, state: &Handle) -> Handle {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, self.0.expose_secret().as_bytes());
        let mut message = b"completion code of ".to_vec();
        message.extend(state.0.expose_secret().as_bytes());
        let tag = aws_lc_rs::hmac::sign(&key, &message);
        Self(SecretString::from(BASE64_URL_SAFE_NO_PAD.encode(tag)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_1_a_handle_has_256_bits_in_base64url() {
        let handle = Handle::of([0xfb; BYTES]);
        let text = handle.secret().expose_secret();
        assert_eq!(text.len(), 43);
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)), "{text}");
        assert!(!format!("{handle:?}").contains(text));
        assert_eq!(Handle::parse(text).expect("a handle").sha256(), handle.sha256());
    }

    #[test]
    fn what_has_not_the_form_of_a_handle_is_none() {
        for text in
            ["", "a", &"a".repeat(42), &"a".repeat(44), &format!("{}=", "A".repeat(43)), &"ä".repeat(22), "../../x"]
        {
            assert!(Handle::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_completion_code_follows_from_cookie_and_state_only() {
        let code =
            |cookie: u8, state: u8| Handle::of([cookie; BYTES]).completion_code(&Handle::of([state; BYTES])).sha256();
        assert_eq!(code(1, 2), code(1, 2));
        assert_ne!(code(1, 2), code(1, 3));
        assert_ne!(code(1, 2), code(2, 2));
        assert!(
            Handle::parse(Handle::of([1; BYTES]).completion_code(&Handle::of([2; BYTES])).secret().expose_secret())
                .is_some()
        );
    }
}
