//! Signing in with identity providers (OpenID Connect): the Authorization Code flow with PKCE.
//!
//! A browser *begins*: it gets a cookie, in which all that the rest is bound to stands sealed ([`flow`]), and the address
//! of the provider's page. The provider sends it back to a page of the dashboard with a code, which the browser hands in
//! with the cookie: state and issuer are compared, the code is exchanged over the egress client ([`client`]), and the ID
//! token is verified ([`token`]). Who somebody is, is (provider, subject), never a name or an e-mail address; whom that
//! makes here stands in the store ([`identity`]): linked by an administrator, by an invitation, by the owner from within a session, or
//! made at the first sign-in where the provider may. What the provider's groups give here is refreshed at each sign-in
//! ([`member`]), and is bounded by what whoever set the provider had ([`provider`]). The rest of a sign-in is that of one
//! by password: barred users stay out, the second factor is asked for unless the provider vouches for one, and
//! the session is the same. A provider may end what it opened ([`logout`]).

pub(crate) mod api;
mod client;
mod flow;
mod identity;
mod logout;
mod member;
mod provider;
pub(super) mod store;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod token;

use std::path::Path;

use client::{Directory, ProviderError};

use super::Access;
use crate::{api::problem::Refusal, config::Config, egress::Egress, vault::Vault};

/// What signing in with providers needs.
#[derive(Debug)]
pub(super) struct Oidc {
    egress: Egress,
    directory: Directory,
    /// Seals clients' secrets.
    secrets: Vault,
    /// Seals the cookies of what was begun.
    flows: Vault,
    /// Where the dashboard is reached, without a slash at the end.
    url: String,
}

/// The page of the dashboard that providers send browsers back to.
const RETURN_PAGE: &str = "/sign-in/provider";

/// What a provider is to be told as the address that it ends sessions at.
fn logout_uri(url: &str, name: &lampas_shared::access::ProviderName) -> String {
    format!("{url}/api/v1/providers/{name}/logout")
}

impl Oidc {
    pub(super) fn new(config: &Config) -> Self {
        let vault = |dir: &Path, purpose| Vault::new(dir, "provider-key", purpose);
        Self {
            egress: Egress::new(&config.egress),
            directory: Directory::default(),
            secrets: vault(&config.data_dir, "provider-secret/1"),
            flows: vault(&config.data_dir, "provider-flow/1"),
            url: config.dashboard_url(config.listen.port()),
        }
    }

    /// Returns where the dashboard is reached, without a slash at the end.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn at(self, url: &str) -> Self {
        Self { url: url.trim_end_matches('/').to_owned(), ..self }
    }
}

impl Access {
    /// Forgets all attempts that were counted.
    #[cfg(test)]
    fn forgive_all(&self) {
        self.throttle.forget();
    }

    fn redirect_uri(&self) -> String {
        format!("{}{RETURN_PAGE}", self.oidc.url)
    }
}

impl From<ProviderError> for Refusal {
    fn from(error: ProviderError) -> Self {
        let code = if matches!(error, ProviderError::Code(_)) { "sign_in_failed" } else { "provider.failed" };
        Self::new(code, error.to_string())
    }
}
