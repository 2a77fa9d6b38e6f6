//! Signed assertions (RFC 7523): client authentication by `private_key_jwt`, and the JWT bearer grant.

use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Map, Value};

/// `client_assertion_type` of a JWT (RFC 7523 section 2.2).
pub const CLIENT_ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The grant type whose credential is an assertion (RFC 7523 section 2.1).
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The longest that a definition may have an assertion be valid.
pub const LONGEST_LIFETIME: TimeDelta = TimeDelta::minutes(5);

/// The smallest RSA key that RFC 7518 section 3.3 lets sign.
const SMALLEST_RSA_KEY_BITS: usize = 2_048;

/// A private key and the algorithm that it signs with. `Debug` shows only the algorithm.
#[derive(Clone)]
pub struct SigningKey {
    algorithm: Algorithm,
    key: EncodingKey,
}

impl SigningKey {
    /// Reads a PEM private key: PKCS#8, PKCS#1 (RSA) or SEC1 (EC).
    ///
    /// `algorithm` is `RS256`, `PS256` or `ES256`; without one it is `RS256` for RSA, `ES256` for P-256.
    pub fn from_pem(pem: &str, algorithm: Option<Algorithm>) -> Result<Self, KeyRejected> {
        if pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || pem.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(KeyRejected("is encrypted: give it without a passphrase"));
        }
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| KeyRejected("is no PEM private key (PKCS#8, PKCS#1 or SEC1)"))?;

        if let Ok(pair) = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_der()) {
            if !matches!(algorithm, None | Some(Algorithm::ES256)) {
                return Err(KeyRejected("is a P-256 key, which signs ES256 only"));
            }
            let pkcs8 = pair.to_pkcs8v1().map_err(|_| KeyRejected("can't be used"))?;
            return Ok(Self { algorithm: Algorithm::ES256, key: EncodingKey::from_ec_der(pkcs8.as_ref()) });
        }
        let rsa = match &der {
            PrivateKeyDer::Pkcs1(key) => aws_lc_rs::rsa::KeyPair::from_der(key.secret_pkcs1_der()),
            other => aws_lc_rs::rsa::KeyPair::from_pkcs8(other.secret_der()),
        }
        .map_err(|_| KeyRejected("must be an RSA key of at least 2048 bits or a P-256 key"))?;
        if rsa.public_modulus_len() * 8 < SMALLEST_RSA_KEY_BITS {
            return Err(KeyRejected("must have at least 2048 bits"));
        }
        match algorithm.unwrap_or(Algorithm::RS256) {
            algorithm @ (Algorithm::RS256 | Algorithm::PS256) => Ok(Self {
                algorithm,
                key: EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| KeyRejected("can't be used"))?,
            }),
            _ => Err(KeyRejected("is an RSA key, which signs RS256 or PS256")),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// What an assertion says, and the key that signs it.
#[derive(Debug, Clone)]
pub struct Assertion {
    /// What it is signed with.
    pub key: SigningKey,
    /// `kid`, by which the server finds the public key (RFC 7515 section 4.1.4); `None`: it has to try.
    pub key_id: Option<String>,
    /// `iss`: the client.
    pub issuer: String,
    /// `sub`: on whose behalf; `None`: the claim is left out.
    pub subject: Option<String>,
    /// `aud`; `None`: the token endpoint as called.
    pub audience: Option<String>,
    /// `scope`, where it is a claim instead of a parameter.
    pub scope: Option<String>,
    /// Names and values of the definition's further claims.
    pub claims: Vec<(String, String)>,
    /// The time from `iat` to `exp`.
    pub lifetime: TimeDelta,
    /// DER of the leaf certificate, whose SHA-256 becomes `x5t#S256` (RFC 7515 section 4.1.8).
    pub certificate: Option<Vec<u8>>,
}

impl Assertion {
    /// The signed JWT for a request to `token_endpoint`.
    ///
    /// `jti` must never have been used before: servers refuse a replay (RFC 7523 section 3, item 7).
    pub fn sign(&self, token_endpoint: &str, jti: &str, now: DateTime<Utc>) -> Result<String, KeyRejected> {
        let mut header = Header::new(self.key.algorithm);
        header.kid.clone_from(&self.key_id);
        header.x5t_s256 = self.certificate.as_deref().map(sha256_thumbprint);

        let further = self.claims.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
        let mut claims: Map<String, Value> = further.collect();
        let mut claim = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        claim("iss", self.issuer.as_str().into());
        claim("aud", self.audience.as_deref().unwrap_or(token_endpoint).into());
        claim("iat", now.timestamp().into());
        claim("exp", (now + self.lifetime).timestamp().into());
        claim("jti", jti.into());
        if let Some(subject) = &self.subject {
            claim("sub", subject.as_str().into());
        }
        if let Some(scope) = &self.scope {
            claim("scope", scope.as_str().into());
        }
        jsonwebtoken::encode(&header, &claims, &self.key.key).map_err(|_| KeyRejected("could not sign"))
    }
}

fn sha256_thumbprint(certificate: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
    BASE64_URL_SAFE_NO_PAD.encode(digest)
}

/// What is wrong with a private key, without any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyRejected(&'static str);

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN_ENDPOINT: &str = "https://as.example.com/token";

    fn assertion(key: SigningKey) -> Assertion {
        Assertion {
            key,
            key_id: Some("key-1".to_owned()),
            issuer: "client".to_owned(),
            subject: Some("client".to_owned()),
            audience: None,
            scope: None,
            claims: Vec::new(),
            lifetime: TimeDelta::minutes(4),
            certificate: None,
        }
    }

    fn part(jwt: &str, index: usize) -> serde_json::Value {
        let part = jwt.split('.').nth(index).expect("a part");
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
    }

    fn pem(label: &str, der: &[u8]) -> String {
        let body = base64::prelude::BASE64_STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    }

    fn p256() -> EcdsaKeyPair {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key")
    }

    #[test]
    fn rfc7523_3_the_claims_name_client_audience_and_a_short_life() {
        let key = SigningKey::from_pem(&pem("PRIVATE KEY", p256().to_pkcs8v1().unwrap().as_ref()), None)
            .expect("a usable key");
        let now = DateTime::from_timestamp(1_700_000_000, 0).expect("a time");
        let jwt = assertion(key.clone()).sign(TOKEN_ENDPOINT, "once", now).expect("an assertion");

        assert_eq!(part(&jwt, 0), serde_json::json!({"typ": "JWT", "alg": "ES256", "kid": "key-1"}));
        assert_eq!(
            part(&jwt, 1),
            serde_json::json!({
                "iss": "client", "sub": "client", "aud": "https://as.example.com/token",
                "iat": 1_700_000_000, "exp": 1_700_000_240, "jti": "once",
            })
        );

        let further = Assertion {
            subject: None,
            audience: Some("https://login.example.com".to_owned()),
            scope: Some("read write".to_owned()),
            claims: vec![("box_sub_type".to_owned(), "enterprise".to_owned())],
            lifetime: TimeDelta::seconds(45),
            ..assertion(key)
        };
        assert_eq!(
            part(&further.sign(TOKEN_ENDPOINT, "twice", now).expect("an assertion"), 1),
            serde_json::json!({
                "iss": "client", "aud": "https://login.example.com", "scope": "read write",
                "box_sub_type": "enterprise", "iat": 1_700_000_000, "exp": 1_700_000_045, "jti": "twice",
            })
        );
    }

    #[test]
    fn a_sec1_key_is_read() {
        use aws_lc_rs::encoding::{AsDer as _, EcPrivateKeyRfc5915Der};
        let sec1: EcPrivateKeyRfc5915Der<'_> = p256().private_key().as_der().expect("SEC1");
        let key = SigningKey::from_pem(&pem("EC PRIVATE KEY", sec1.as_ref()), None).expect("a usable key");
        assert_eq!(key.algorithm, Algorithm::ES256);
    }

    #[test]
    fn a_key_signs_only_with_its_own_kind_of_algorithm() {
        let ec = pem("PRIVATE KEY", p256().to_pkcs8v1().unwrap().as_ref());
        assert_eq!(
            SigningKey::from_pem(&ec, Some(Algorithm::PS256)).map(|_| ()),
            Err(KeyRejected("is a P-256 key, which signs ES256 only"))
        );
    }

    #[test]
    fn what_is_no_usable_key_is_refused_with_the_reason() {
        for (pem, reason) in [
            ("hunter2", "is no PEM private key (PKCS#8, PKCS#1 or SEC1)"),
            (
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
                "is encrypted: give it without a passphrase",
            ),
            (
                "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                "must be an RSA key of at least 2048 bits or a P-256 key",
            ),
        ] {
            assert_eq!(SigningKey::from_pem(pem, None).map(|_| ()), Err(KeyRejected(reason)));
        }
    }
}
