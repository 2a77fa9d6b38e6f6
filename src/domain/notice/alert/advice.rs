//! What each failure means, and the one next step: the words of a mail, as a table.
//!
//! `{credential}` stands for what the source keeps in words ("refresh token"), `{field}` for the field of its definition.

use crate::domain::credential::AuthorizationGrant;
use crate::domain::error::ErrorCode;

/// What a code means and the one next step, about what the source has.
pub(super) fn advice(code: ErrorCode, grant: AuthorizationGrant) -> (String, String) {
    let credential = grant.credential();
    let filled =
        |words: &str| words.replace("{credential}", credential.in_words()).replace("{field}", credential.field());
    let of_a_connection = (grant == AuthorizationGrant::Connection).then(|| template_of_a_connection(code)).flatten();
    let (meaning, next_step) = of_a_connection.unwrap_or_else(|| template(code, grant));
    (filled(meaning), filled(next_step))
}

/// The table. It is as long as there are codes, and a match, so that the compiler finds the code that has no words.
fn template(code: ErrorCode, grant: AuthorizationGrant) -> (&'static str, &'static str) {
    match code {
        ErrorCode::InvalidGrant => template_of_a_refusal(grant),
        ErrorCode::InvalidRequest => (
            "the server finds the request malformed or misses a parameter.",
            "compare the definition's params, headers and grant_type with the provider's documentation.",
        ),
        ErrorCode::InvalidClient => (
            "the server does not accept the client's id, secret or key.",
            "look up the client at the provider and put its current credentials into the definition.",
        ),
        ErrorCode::UnauthorizedClient => (
            "the server knows the client but does not let it use this grant type, or its secret is wrong.",
            "check the client's secret and its allowed grant types at the provider.",
        ),
        ErrorCode::UnsupportedGrantType => (
            "the server does not know the grant type.",
            "put a grant_type that the provider documents into the definition.",
        ),
        ErrorCode::InvalidScope => (
            "the server does not grant the scope to this client.",
            "grant the scope at the provider, or take it out of the definition.",
        ),
        ErrorCode::EndpointUnreachable => (
            "no connection to the server: its name, its network, its certificate, or our way out.",
            "see whether other sources fail too: if so, check the function's network; if not, the provider's status \
             page.",
        ),
        ErrorCode::EndpointTimeout => {
            ("the server did not answer in time.", "look at the provider's status page; the harvester goes on trying.")
        }
        ErrorCode::EndpointUnavailable => {
            ("the server is in trouble itself.", "look at the provider's status page; the harvester goes on trying.")
        }
        ErrorCode::EndpointRejected => (
            "the server refused the request without a standard reason.",
            "read the server's own words, then check the endpoint and the client in the definition.",
        ),
        ErrorCode::RateLimited => (
            "the server asks us to wait: too many requests.",
            "find out what else uses this client's quota, or have it raised at the provider.",
        ),
        ErrorCode::ResponseInvalid => (
            "the server answered, but not with a token.",
            "check the endpoint in the definition, and for a login or maintenance page in its place.",
        ),
        ErrorCode::DefinitionInvalid => (
            "the definition does not parse or contradicts itself.",
            "correct the field that is named above in the secret.",
        ),
        ErrorCode::SourceUnknown => (
            "a harvest was asked for a source that no secret defines, or that is switched off.",
            "correct the name in the event, or add the definition.",
        ),
        ErrorCode::SecretUnreadable => (
            "the secret that holds the definition can't be read.",
            "read the secret as the message says: check its JSON, or the function's rights to it and to its KMS key.",
        ),
        ErrorCode::TokenStoreFailed => (
            "the token bucket refused a read or a write.",
            "check the function's rights to the token bucket and to its KMS key.",
        ),
        ErrorCode::GrantStoreFailed => (
            "the state bucket refused a lease, a read or a save; what happened says whether a credential was lost.",
            "check the function's rights to the state bucket and to its KMS key; if a credential was lost, authorize \
             again and put the new {field} into the definition.",
        ),
        ErrorCode::VerificationFailed => (
            "the server gave a new token, but verify_url does not accept it; jobs keep the old one.",
            "call verify_url yourself, and check the token's scope and the API's status.",
        ),
        ErrorCode::ReauthorizationRequired => (
            "the grant is dead: no new token comes until a person authorizes again.",
            "authorize again at the provider and put the new {field} into the definition.",
        ),
        ErrorCode::NotConnected => (
            "nobody has connected the account yet, so there is nothing to get a token with.",
            "send whoever owns the account a link to connect it, or switch the source off until then.",
        ),
        ErrorCode::OutOfTime => (
            "the run's time was used up before this source was done, or another run held it.",
            "look for a server that answers slowly or a run that holds the source, or raise the function's timeout or \
             MAX_CONCURRENCY.",
        ),
        ErrorCode::Internal => (
            "a fault of the harvester itself.",
            "look for \"panicked\" with the source's name in the function's log, and report it to who maintains the \
             harvester.",
        ),
    }
}

/// The same of a grant that a person gave in a browser, where it is another than for others.
fn template_of_a_connection(code: ErrorCode) -> Option<(&'static str, &'static str)> {
    match code {
        ErrorCode::InvalidGrant => Some((
            "the server refused the connection: it has expired, was revoked or was used elsewhere.",
            "nothing at the first refusal; after the third in a row, or if the token ends sooner, connect the account \
             again.",
        )),
        ErrorCode::ReauthorizationRequired => Some((
            "the connection is dead: no new token comes until a person connects the account again.",
            "send whoever owns the account a link to connect it again.",
        )),
        ErrorCode::GrantStoreFailed => Some((
            "the state bucket refused a lease, a read or a save; what happened says whether a credential was lost.",
            "check the function's rights to the state bucket and to its KMS key; if a credential was lost, connect the \
             account again.",
        )),
        _ => None,
    }
}

/// The same where the server refused the grant itself.
fn template_of_a_refusal(grant: AuthorizationGrant) -> (&'static str, &'static str) {
    match grant {
        AuthorizationGrant::Kept(_) | AuthorizationGrant::Connection => (
            "the server refused the {credential}: it has expired, was revoked or was used before.",
            "nothing at the first refusal; after the third in a row, or if the token ends sooner, authorize again \
             and put the new {field} into the definition.",
        ),
        AuthorizationGrant::Assertion => (
            "the server refused the signed assertion: its key is not registered, its subject or audience is wrong, \
             or the consent is missing.",
            "see at the provider that the key is registered and that the subject has approved the client; then \
             correct private_key, key_id, assertion_subject or assertion_audience.",
        ),
        AuthorizationGrant::Password => (
            "the server refused the user's name or password: it was changed, or the user is locked.",
            "unlock the user at the provider, or put the current password into params.",
        ),
        AuthorizationGrant::Client => (
            "the server refuses this grant to the client.",
            "see at the provider what the client may request, and compare it with grant_type and params.",
        ),
    }
}
