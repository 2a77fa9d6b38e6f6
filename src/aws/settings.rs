//! What the adapters to AWS are told once, at start-up.

use secrecy::SecretString;

/// Where everything is, and by which rights it is used. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The region of all services.
    pub region: String,
    /// What requests are signed with.
    pub access_key: AccessKey,
    /// Where Secrets Manager is, if not at AWS.
    pub secrets_manager_url: Option<String>,
    /// Where S3 is, if not at AWS.
    pub s3_url: Option<String>,
    /// Where SNS is, if not at AWS.
    pub sns_url: Option<String>,
    /// The secrets whose names begin with it are sources.
    pub secret_prefix: String,
    /// Bucket of the token documents.
    pub token_bucket: String,
    /// Private bucket of grant state, incidents and leases.
    pub state_bucket: String,
    /// Id, ARN or alias of the KMS key for token documents; `None` leaves encryption to the bucket's default.
    pub token_kms_key_id: Option<String>,
    /// Likewise for the state bucket.
    pub state_kms_key_id: Option<String>,
    /// The SNS topic.
    pub topic_arn: String,
}

/// AWS's credentials, which are called by AWS's own name for them: a credential, here, is OAuth's.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_access-keys.html>
#[derive(Debug, Clone)]
pub struct AccessKey {
    /// The access key ID, which is no secret.
    pub id: String,
    /// The secret access key.
    pub secret: SecretString,
    /// The token that comes with a temporary access key, as every role's is.
    pub session_token: Option<SecretString>,
}
