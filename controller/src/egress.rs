//! The one client for what the controller fetches by itself: keys of identity providers, repositories, webhooks.
//!
//! Where it goes is what somebody typed, or what a server said: without care it is a way for strangers to whatever only
//! this machine reaches. So each address is looked at after its name was resolved and before it is connected to
//! ([`address`]), by the resolver that the connection itself uses: there is no second look-up that could say something
//! else. Redirects are followed only when asked for, each checked like the first address. Every fetch has a limit of time and of
//! bytes. No proxy from the environment is used, and no cookie kept.

mod address;

use std::{
    error::Error as StdError,
    fmt, io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::http::{HeaderMap, Method, StatusCode, header};
use reqwest::{
    Certificate, Client, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use thiserror::Error;

pub(crate) use address::may_serve_mail;

use crate::config::{Egress as Rules, Network};

/// Fetches within the configuration's rules. Clones share connections.
#[derive(Debug, Clone)]
pub struct Egress(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rules: Rules,
    /// Made when first used: it reads the system's certificates.
    client: OnceLock<Result<Client, EgressError>>,
}

/// Why nothing was fetched. None of it holds what the other side said.
#[derive(Debug, Clone, Error)]
pub enum EgressError {
    /// It is no address.
    #[error("{0:?} is no address: write https://HOST/PATH")]
    Url(String),
    /// The scheme is neither https, nor http where that is allowed.
    #[error("{host} may not be reached by {scheme}: use https, or list the host in egress.allow_http")]
    Scheme {
        /// The host.
        host: String,
        /// The scheme.
        scheme: String,
    },
    /// The address is private, loopback, link-local or the like.
    #[error("{host} is at {address}, which is not a public address: list it in egress.allow to permit it")]
    Refused {
        /// The host.
        host: String,
        /// The address.
        address: IpAddr,
    },
    /// The name has no address.
    #[error("{host} can't be resolved: {why}")]
    Resolve {
        /// The host.
        host: String,
        /// Why.
        why: String,
    },
    /// No answer came.
    #[error("no answer from {host}: {why}")]
    Failed {
        /// The host.
        host: String,
        /// Why.
        why: String,
    },
    /// It redirects, and that is not followed, or too often.
    #[error("{host} redirects elsewhere, which is not followed here")]
    Redirect {
        /// The host.
        host: String,
    },
    /// It took too long.
    #[error("{host} did not answer in full within {secs} s")]
    Timeout {
        /// The host.
        host: String,
        /// The limit.
        secs: u64,
    },
    /// The answer is too long.
    #[error("{host} answers with more than {limit} bytes")]
    TooLarge {
        /// The host.
        host: String,
        /// The limit.
        limit: usize,
    },
    /// The client can't be made.
    #[error("the certificates of authorities can't be read from {}: {why}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The client can't be made.
    #[error("TLS can't be set up: {0}")]
    Tls(String),
}

/// What to fetch.
#[derive(Debug, Clone)]
pub struct Ask {
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Vec<u8>,
    time: Duration,
    limit: usize,
    redirects: u8,
}

impl Ask {
    /// Asks for what stands at an address: within ten seconds, a MiB at most, without following redirects.
    pub fn get(url: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            url: url.into(),
            headers: HeaderMap::new(),
            body: Vec::new(),
            time: Duration::from_secs(10),
            limit: 1 << 20,
            redirects: 0,
        }
    }

    /// Sends something, with the same limits.
    pub fn post(url: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self { method: Method::POST, body: body.into(), ..Self::get(url) }
    }

    /// Adds headers.
    #[must_use]
    pub fn headers(mut self, headers: impl IntoIterator<Item = (header::HeaderName, header::HeaderValue)>) -> Self {
        self.headers.extend(headers);
        self
    }

    /// Takes as much time as this for all of it.
    #[must_use]
    pub fn within(self, time: Duration) -> Self {
        Self { time, ..self }
    }

    /// Takes as many bytes as this.
    #[must_use]
    pub fn at_most(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// Follows as many redirects as this; a request with a body is never sent on.
    #[must_use]
    pub fn follow(self, redirects: u8) -> Self {
        Self { redirects, ..self }
    }
}

/// What came.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: Vec<u8>,
}

/// An address that was resolved once: for programs that connect by themselves and are told where to.
#[derive(Debug, Clone)]
pub struct Pinned {
    /// What was asked for.
    pub url: Url,
    /// The host as the address names it.
    pub host: String,
    /// Where it is; all of them may be connected to.
    pub addresses: Vec<SocketAddr>,
}

impl Egress {
    /// Makes a client by the configuration.
    pub fn new(rules: &Rules) -> Self {
        Self(Arc::new(Inner { rules: rules.clone(), client: OnceLock::new() }))
    }

    /// Checks an address as far as that can be done without a look-up: scheme, and a host that is an address itself.
    ///
    /// # Errors
    /// When it may not be reached.
    pub fn check(&self, url: &str) -> Result<Url, EgressError> {
        let wrong = || EgressError::Url(url.chars().take(200).collect());
        let parsed = Url::parse(url).map_err(|_| wrong())?;
        self.check_parsed(parsed).map_err(|e| if matches!(e, EgressError::Url(_)) { wrong() } else { e })
    }

    fn check_parsed(&self, url: Url) -> Result<Url, EgressError> {
        let host = host_of(&url).ok_or_else(|| EgressError::Url(String::new()))?;
        let is_plain = self.0.rules.allow_http.iter().any(|h| h.eq_ignore_ascii_case(&host));
        match url.scheme() {
            "https" => {}
            "http" if is_plain => {}
            scheme => return Err(EgressError::Scheme { host, scheme: scheme.to_owned() }),
        }
        if let Ok(address) = host.parse::<IpAddr>()
            && !address::is_allowed(address, &self.0.rules.allow)
        {
            return Err(EgressError::Refused { host, address });
        }
        Ok(url)
    }

    /// Resolves the host of an address once, and returns where it may be connected to.
    ///
    /// # Errors
    /// When it may not be reached, or has no address.
    pub async fn pin(&self, url: &str) -> Result<Pinned, EgressError> {
        let url = self.check(url)?;
        let host = host_of(&url).ok_or_else(|| EgressError::Url(String::new()))?;
        let port = url.port_or_known_default().unwrap_or(443);
        let mut addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => resolve(&host, &self.0.rules.allow).await?,
        };
        for address in &mut addresses {
            address.set_port(port);
        }
        Ok(Pinned { url, host, addresses })
    }

    /// Fetches something. Any status is an answer; redirects are errors unless they are followed.
    ///
    /// # Errors
    /// When it may not be reached, doesn't answer, or answers with too much.
    pub async fn send(&self, ask: Ask) -> Result<Fetched, EgressError> {
        let mut url = self.check(&ask.url)?;
        let host = host_of(&url).unwrap_or_default();
        let time = ask.time;
        let whole = async {
            let mut left = ask.redirects;
            loop {
                let response = self.once(&ask, &url).await?;
                let status = response.status();
                let is_redirect = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
                if !is_redirect {
                    return self.body(response, &url, ask.limit).await;
                }
                let refused = || EgressError::Redirect { host: host_of(&url).unwrap_or_default() };
                let target = response.headers().get(header::LOCATION).and_then(|v| v.to_str().ok());
                let next = target.and_then(|t| url.join(t).ok()).filter(|_| left > 0 && ask.body.is_empty());
                let next = self.check_parsed(next.ok_or_else(refused)?)?;
                // What is meant for one host is told to no other.
                if next.origin() != url.origin() && ask.headers.contains_key(header::AUTHORIZATION) {
                    return Err(refused());
                }
                left -= 1;
                url = next;
            }
        };
        let late = || EgressError::Timeout { host, secs: time.as_secs() };
        tokio::time::timeout(time, whole).await.map_err(|_| late())?
    }

    async fn once(&self, ask: &Ask, url: &Url) -> Result<reqwest::Response, EgressError> {
        let client = self.client()?;
        let request = client.request(ask.method.clone(), url.clone()).headers(ask.headers.clone());
        let request = if ask.body.is_empty() { request } else { request.body(ask.body.clone()) };
        request.send().await.map_err(|e| failed(url, &e))
    }

    async fn body(&self, mut response: reqwest::Response, url: &Url, limit: usize) -> Result<Fetched, EgressError> {
        let too_large = || EgressError::TooLarge { host: host_of(url).unwrap_or_default(), limit };
        if response.content_length().is_some_and(|n| n > limit as u64) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|e| failed(url, &e))? {
            if body.len() + piece.len() > limit {
                return Err(too_large());
            }
            body.extend_from_slice(&piece);
        }
        Ok(Fetched { status: response.status(), headers: response.headers().clone(), body })
    }

    fn client(&self) -> Result<&Client, EgressError> {
        self.0.client.get_or_init(|| make(&self.0.rules)).as_ref().map_err(Clone::clone)
    }
}

fn make(rules: &Rules) -> Result<Client, EgressError> {
    let mut builder = Client::builder()
        .user_agent(concat!("lampas-controller/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(Duration::from_secs(10))
        .pool_idle_timeout(Duration::from_secs(30))
        .pool_max_idle_per_host(2)
        .dns_resolver(Arc::new(Resolver { allow: rules.allow.clone() }));
    if let Some(path) = &rules.ca_file {
        let failed = |why: String| EgressError::Authorities { path: path.clone(), why };
        let pem = std::fs::read(path).map_err(|e| failed(e.to_string()))?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|e| failed(e.to_string()))?;
        if certificates.is_empty() {
            return Err(failed("it holds no certificate (PEM)".to_owned()));
        }
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(|e| EgressError::Tls(chain(&e)))
}

/// Resolves names for connections, and passes on what may be connected to.
#[derive(Debug)]
struct Resolver {
    allow: Vec<Network>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (host, allow) = (name.as_str().to_owned(), self.allow.clone());
        Box::pin(async move {
            let found = resolve(&host, &allow).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Returns those addresses of a name that may be connected to, with port 0.
async fn resolve(host: &str, allow: &[Network]) -> Result<Vec<SocketAddr>, EgressError> {
    let failed = |e: io::Error| EgressError::Resolve { host: host.to_owned(), why: e.to_string() };
    let all: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await.map_err(failed)?.collect();
    let refused = all.iter().map(|a| a.ip()).find(|ip| !address::is_allowed(*ip, allow));
    let found: Vec<SocketAddr> = all.into_iter().filter(|a| address::is_allowed(a.ip(), allow)).collect();
    match (found.is_empty(), refused) {
        (false, _) => Ok(found),
        (true, Some(address)) => Err(EgressError::Refused { host: host.to_owned(), address }),
        (true, None) => Err(EgressError::Resolve { host: host.to_owned(), why: "it has no address".to_owned() }),
    }
}

/// Returns the host of an address; one that is an IPv6 address without its brackets.
fn host_of(url: &Url) -> Option<String> {
    url.host_str().filter(|h| !h.is_empty()).map(|h| h.trim_matches(['[', ']']).to_owned())
}

/// Says why a request failed; what the resolver refused comes through as it was.
fn failed(url: &Url, error: &reqwest::Error) -> EgressError {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(one) = cause {
        if let Some(own) = one.downcast_ref::<EgressError>() {
            return own.clone();
        }
        cause = one.source();
    }
    EgressError::Failed { host: host_of(url).unwrap_or_default(), why: chain(error) }
}

/// Writes the causes below an error: its own line repeats the address, which may hold a secret.
fn chain(error: &reqwest::Error) -> String {
    struct Causes<'e>(&'e reqwest::Error);
    impl fmt::Display for Causes<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let mut cause = self.0.source();
            let mut last = String::new();
            while let Some(one) = cause {
                let text = one.to_string();
                if !text.is_empty() && text != last {
                    write!(f, "{}{text}", if last.is_empty() { "" } else { ": " })?;
                    last = text;
                }
                cause = one.source();
            }
            if last.is_empty() { f.write_str("the connection failed") } else { Ok(()) }
        }
    }
    Causes(error).to_string().chars().take(400).collect()
}

#[cfg(test)]
mod tests;
