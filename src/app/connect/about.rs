//! What pages say of a source that a person connects.

use super::{Connectable, Connector, Refusal};
use crate::app::ports::{ConnectStore, Ports};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Who asks: the definition's owner, else the gateway's host.
    pub application: String,
    /// The provider's name for people, else the source's.
    pub provider: String,
    /// What is asked for. Empty: the provider decides.
    pub scopes: Vec<String>,
}

impl<P: Ports> Connector<P>
where
    P::State: ConnectStore,
{
    /// What pages say of a source.
    pub async fn about(&self, source: &str) -> Result<About, Refusal> {
        let Connectable { source, rules } = self.connectable(source).await?;
        let host = self.settings.public_url.host_str().unwrap_or_default();
        let scopes = rules.scope.as_deref().unwrap_or_default();
        Ok(About {
            application: source.definition.owner.clone().unwrap_or_else(|| host.to_owned()),
            provider: rules.provider.clone().unwrap_or_else(|| source.name.source().to_owned()),
            scopes: scopes.split_ascii_whitespace().map(str::to_owned).collect(),
        })
    }
}
