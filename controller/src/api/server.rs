//! The HTTPS listener: accepts, serves, and ends without cutting anybody off.

use std::{io, net::SocketAddr, time::Duration};

use axum_server::{Handle, tls_rustls::RustlsConfig};
use hyper_util::rt::TokioTimer;
use lampas_runtime::Tasks;
use thiserror::Error;
use tracing::{info, warn};

use super::App;
use crate::{
    ca::{WebTls, WebTlsError},
    config::{Config, host_name},
};

/// How long requests that are under way may take to end when the process stops.
const GRACE: Duration = Duration::from_secs(10);

/// How long a client may take to send the head of a request.
const HEAD: Duration = Duration::from_secs(15);

/// Why the listener could not be started.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The address can't be bound.
    #[error("listen on {address} (TCP)")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// There is no certificate to serve with.
    #[error(transparent)]
    Tls(#[from] WebTlsError),
}

/// A bound TCP listener: its port is known before anything is served.
#[derive(Debug)]
pub struct Listener {
    socket: std::net::TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds an address; port 0 takes a free one.
    ///
    /// # Errors
    /// When it can't be bound.
    pub fn bind(address: SocketAddr) -> Result<Self, ServeError> {
        let bind = || {
            let socket = std::net::TcpListener::bind(address)?;
            socket.set_nonblocking(true)?;
            let address = socket.local_addr()?;
            Ok(Self { socket, address })
        };
        bind().map_err(|source| ServeError::Bind { address, source })
    }

    /// Returns the address with its port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the tasks stop; then finishes what is under way, within a limit.
    ///
    /// # Errors
    /// When there is no certificate to serve with.
    pub fn serve(self, app: &App, tasks: &Tasks) -> Result<(), ServeError> {
        let rustls = RustlsConfig::from_config(web_tls(&app.config)?.config);
        let handle: Handle<SocketAddr> = Handle::new();
        let source = self.address;
        let mut server = axum_server::from_tcp_rustls(self.socket, rustls.clone())
            .map_err(|e| ServeError::Bind { address: source, source: e })?
            .handle(handle.clone());
        let builder = server.http_builder();
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Some(Duration::from_secs(30)))
            .max_concurrent_streams(128);
        let service = app.router().into_make_service_with_connect_info::<SocketAddr>();
        tasks.spawn("https", async move {
            if let Err(error) = server.serve(service).await {
                warn!(%error, "the HTTPS listener failed");
            }
        });
        let stopping = tasks.stopping();
        let config = app.config.clone();
        let mut hangup = lampas_runtime::lifecycle::reload_signals().ok();
        tasks.spawn("https-stop", async move {
            loop {
                // SIGHUP, and once a day: the controller's own certificate is made anew before it ends.
                let reload = async {
                    let hangup = async {
                        match &mut hangup {
                            Some(signal) => drop(signal.recv().await),
                            None => std::future::pending().await,
                        }
                    };
                    let _ = tokio::time::timeout(Duration::from_secs(24 * 3600), hangup).await;
                };
                // Both arms are cancel-safe: a signal that is not taken stays pending in its stream.
                tokio::select! {
                    () = stopping.cancelled() => break,
                    () = reload => match web_tls(&config) {
                        Ok(tls) => {
                            rustls.reload_from_config(tls.config);
                            info!("read the dashboard's certificate again");
                        }
                        Err(error) => warn!(error = %lampas_shared::error::Chain(&error), "kept the dashboard's certificate"),
                    },
                }
            }
            handle.graceful_shutdown(Some(GRACE));
        });
        info!(address = %self.address, "serving dashboard and API");
        Ok(())
    }
}

/// Returns the dashboard's certificate: the configured one, or the controller's own. Blocking.
pub(crate) fn web_tls(config: &Config) -> Result<WebTls, WebTlsError> {
    match (&config.web.certificate, &config.web.key) {
        (Some(certificate), Some(key)) => WebTls::load(certificate, key),
        _ => WebTls::load_or_make(&config.data_dir.join("web"), &names(config), lampas_runtime::clock::now()),
    }
}

/// Returns every name and address that a browser may call this controller by.
fn names(config: &Config) -> Vec<String> {
    let mut names = config.names.clone();
    names.extend(config.web.allowed_hosts.iter().cloned());
    names.extend([host_name(), "localhost".into(), "127.0.0.1".into(), "::1".into()]);
    if !config.listen.ip().is_unspecified() {
        names.push(config.listen.ip().to_string());
    }
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|n| seen.insert(n.clone()));
    names
}
