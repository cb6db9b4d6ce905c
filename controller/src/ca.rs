//! The fleet's certificate authorities as the controller sees them, and its own certificate.
//!
//! Keys are the signer's. This holds the set of roots that is trusted, makes and renews the controller's own identity,
//! and rotates: a new root is trusted beside the old one until every agent has reported it, then the old one retires.
//! The dashboard's certificate is apart from all this: [`WebTls`].

mod web;

use std::path::{Path, PathBuf};

use lampas_runtime::{
    clock, files,
    identity::{Identity, IdentityError, PrivateKey, Trust, pin},
};
use lampas_shared::{
    desired::ContentHash,
    fleet::NodeName,
    id::{ControllerId, FleetId},
    time::UnixMs,
};
use rustls::pki_types::CertificateDer;
use thiserror::Error;

pub use web::{WebTls, WebTlsError};

use crate::{
    db::{Db, DbError, Tx},
    fleet,
    signer::{AuthorityInfo, Signer, SignerError},
};

/// Why the authorities or the controller's own certificate can't be had.
#[derive(Debug, Error)]
pub enum CaError {
    /// The signer.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The store.
    #[error(transparent)]
    Store(#[from] DbError),
    /// A key or certificate.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The directory for the controller's own key.
    #[error("the directory {path}")]
    Directory {
        /// The directory.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// The authorities and the controller's identity.
#[derive(Debug, Clone)]
pub struct Ca {
    signer: Signer,
    fleet: FleetId,
    controller: ControllerId,
    file: PathBuf,
}

/// One state of it: what a QUIC endpoint is configured with.
#[derive(Debug)]
pub struct Credentials {
    /// The controller's key and certificate.
    pub identity: Identity,
    /// The fleet and the roots that are trusted.
    pub trust: Trust,
    /// The pin that enrolment tokens carry: of the newest root.
    pub pin: ContentHash,
}

impl Ca {
    /// Names the authorities of a fleet. The controller's own key and certificate stand in `data_dir/identity`.
    pub fn new(signer: Signer, fleet: FleetId, controller: ControllerId, data_dir: &Path) -> Self {
        Self { signer, fleet, controller, file: data_dir.join("identity/controller.pem") }
    }

    /// Returns the signer.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Returns what `lampas-controller ca show` prints.
    ///
    /// # Errors
    /// When the signer can't be reached.
    pub async fn show(&self) -> Result<AuthorityInfo, CaError> {
        Ok(self.signer.open(self.fleet).await?)
    }

    /// Returns the credentials; the authorities and the controller's certificate are made or renewed as needed. Call it
    /// at start, then daily and after a rotation, and hand the result to the endpoint.
    ///
    /// # Errors
    /// When the signer can't be reached, or a file can't be written.
    pub async fn credentials(&self) -> Result<Credentials, CaError> {
        let info = self.signer.open(self.fleet).await?;
        let now = clock::now();
        let (file, fleet, controller) = (self.file.clone(), self.fleet, self.controller);
        let held = blocking(move || Identity::load(&file)).await?;
        let expected = lampas_runtime::identity::Subject::controller(fleet, controller);
        let intermediate_is_current = |identity: &Identity| is_signed_under(identity, &info);
        let held = held.filter(|i| i.info().subject == expected && !i.is_due(now) && intermediate_is_current(i));
        let identity = match held {
            Some(identity) => identity,
            None => self.issue().await?,
        };
        Ok(credentials(identity, &info))
    }

    /// Makes a new root: both are trusted from here on, and the controller's certificate is signed under the new one
    /// only after agents had a day to learn it. Returns the authorities.
    ///
    /// # Errors
    /// When the signer can't be reached or refuses.
    pub async fn rotate(&self) -> Result<AuthorityInfo, CaError> {
        Ok(self.signer.rotate().await?)
    }

    /// Returns the nodes that would lose their connection if only the newest root were trusted: those that have not said
    /// that they trust the set as it is, or have no certificate of the intermediate that signs.
    ///
    /// # Errors
    /// When signer or store can't be reached.
    pub async fn behind(&self, db: &Db) -> Result<Vec<NodeName>, CaError> {
        let info = self.show().await?;
        if info.roots.len() < 2 {
            return Ok(Vec::new());
        }
        let (trust, issuer) = (lampas_wire::Trust::new(info.roots).hash(), info.issuer.as_str());
        let read = db.read(|mut tx: Tx| async move {
            let behind = fleet::behind(&mut tx, trust, issuer).await?;
            Ok::<_, DbError>(tx.done(behind))
        });
        Ok(read.await?)
    }

    /// Ends the trust in the old roots. Agents that have not reported the new set by then must enrol anew.
    ///
    /// # Errors
    /// When the signer can't be reached or refuses.
    pub async fn retire(&self) -> Result<AuthorityInfo, CaError> {
        Ok(self.signer.retire().await?)
    }

    async fn issue(&self) -> Result<Identity, CaError> {
        let key = PrivateKey::generate()?;
        let issued = self.signer.controller(self.controller, key.request()?).await?;
        let identity = Identity::new(key, issued.chain.into_iter().map(CertificateDer::from).collect())?;
        let file = self.file.clone();
        let dir = file.parent().expect("it has a directory").to_owned();
        let stored = blocking(move || {
            files::private_dir(&dir)
                .map_err(|source| CaError::Directory { path: dir.display().to_string(), source })?;
            identity.store(&file)?;
            Ok::<_, CaError>(identity)
        });
        stored.await
    }
}

/// Returns whether a certificate was signed under one of the trusted roots: its intermediate names the root.
fn is_signed_under(identity: &Identity, info: &AuthorityInfo) -> bool {
    let Some(intermediate) = identity.chain().get(1) else { return false };
    let Ok((_, intermediate)) = x509_parser::parse_x509_certificate(intermediate) else { return false };
    info.roots.iter().any(|root| {
        x509_parser::parse_x509_certificate(root).is_ok_and(|(_, root)| root.subject() == intermediate.issuer())
    })
}

fn credentials(identity: Identity, info: &AuthorityInfo) -> Credentials {
    let roots: Vec<_> = info.roots.iter().map(|r| CertificateDer::from(r.clone())).collect();
    // While roots rotate, the controller may still show the old one: a token pins the root that leads to what it shows.
    let shown = roots.iter().rev().find(|root| {
        let one = AuthorityInfo { roots: vec![root.to_vec()], ..info.clone() };
        is_signed_under(&identity, &one)
    });
    let pin = pin(shown.or(roots.last()).expect("the signer holds at least one root"));
    Credentials { identity, trust: Trust { fleet: info.fleet, roots }, pin }
}

/// Returns the authorities as they go over the wire.
pub fn wire_trust(trust: &Trust) -> lampas_wire::Trust {
    lampas_wire::Trust::new(trust.roots.iter().map(|r| r.to_vec()).collect())
}

/// Returns the days that are left until a time; negative when it has passed.
pub fn days_left(end: UnixMs, now: UnixMs) -> i64 {
    end.since(now).div_euclid(24 * 3600 * 1000)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("the work does not panic, and the runtime outlives it")
}
