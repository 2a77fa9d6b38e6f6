//! Who asks for something, as API Gateway checked it.

use serde::{Deserialize, Serialize};

use crate::domain::redact;

/// An identity of AWS, or a user of the application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Principal {
    /// An identity of AWS, by a signature (IAM): a role's ARN, whatever the name of the session, or a user's. It sees
    /// everything.
    Iam(String),
    /// A user of the application, by a JSON Web Token.
    Jwt {
        /// The claim `iss`.
        issuer: String,
        /// The claim `sub`, unique with this issuer only.
        subject: String,
    },
}

impl Principal {
    /// Whether what belongs to `owner` is shown to this one.
    pub fn sees(&self, owner: &Self) -> bool {
        matches!(self, Self::Iam(_)) || self == owner
    }

    /// SHA-256 (hex), for what is kept by principal.
    pub fn sha256(&self) -> String {
        redact::sha256_hex(crate::domain::document::to_json(self).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_26_users_of_the_application_see_only_their_own() {
        let user = |subject: &str| Principal::Jwt { issuer: "https://idp".to_owned(), subject: subject.to_owned() };
        assert!(user("a").sees(&user("a")) && !user("a").sees(&user("b")));
        let role = Principal::Iam("arn".to_owned());
        assert!(role.sees(&user("a")) && !user("a").sees(&role));
        assert_ne!(user("a").sha256(), user("b").sha256());
    }
}
