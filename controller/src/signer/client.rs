//! The controller's end of the signer.

use std::{io, path::PathBuf, time::Duration};

use lampas_runtime::backoff::Backoff;
use lampas_shared::{
    error::Fault,
    id::{ControllerId, FleetId},
};
use thiserror::Error;
use tokio::{
    net::UnixStream,
    time::{Instant, sleep, timeout},
};

use super::protocol::{Answer, Ask, AuthorityInfo, Enrolment, Issued, Renewal, read_frame, write_frame};

/// One question and its answer, a sync of the log included.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How long a signer that is being started is waited for.
const START_LIMIT: Duration = Duration::from_secs(15);

/// Asks the signer. Clones ask the same one; each question has a connection of its own, so that many are signed together.
#[derive(Debug, Clone)]
pub struct Signer {
    socket: PathBuf,
}

/// Why the signer gave no certificate.
#[derive(Debug, Error)]
pub enum SignerError {
    /// It can't be reached.
    #[error("asking the signer at {path}")]
    Unreachable {
        /// Its socket.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It doesn't answer.
    #[error("the signer at {path} did not answer within {} s", ANSWER_LIMIT.as_secs())]
    Hung {
        /// Its socket.
        path: String,
    },
    /// It refused, or failed.
    #[error("the signer refused: {0}")]
    Refused(Fault),
    /// It answered something else.
    #[error("the signer answered something that was not asked")]
    Confused,
}

impl SignerError {
    /// Returns what a node or operator is told.
    pub fn to_fault(&self) -> Fault {
        match self {
            Self::Refused(fault) => fault.clone(),
            _ => Fault::passing("signer.unreachable", "the controller's signer does not answer; try again shortly"),
        }
    }
}

impl Signer {
    /// Names the signer that listens at a socket.
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// Returns the authorities, and makes them when there are none yet. Waits for a signer that is being started.
    ///
    /// # Errors
    /// When it can't be reached, or holds another fleet's authorities.
    pub async fn open(&self, fleet: FleetId) -> Result<AuthorityInfo, SignerError> {
        let end = Instant::now() + START_LIMIT;
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));
        loop {
            match self.authority(Ask::Open { fleet }).await {
                Err(SignerError::Unreachable { .. }) if Instant::now() < end => {
                    sleep(backoff.next_delay(u32::MAX)).await;
                }
                answer => return answer,
            }
        }
    }

    /// Has a certificate signed for a node that enrols.
    ///
    /// # Errors
    /// When the signer can't be reached or refuses.
    pub async fn enrol(&self, record: Enrolment, csr: Vec<u8>) -> Result<Issued, SignerError> {
        self.issued(Ask::Enrol { record, csr }).await
    }

    /// Has a certificate signed for a node that holds one.
    ///
    /// # Errors
    /// When the signer can't be reached or refuses.
    pub async fn renew(&self, record: Renewal, csr: Vec<u8>) -> Result<Issued, SignerError> {
        self.issued(Ask::Renew { record, csr }).await
    }

    /// Has a certificate signed for a controller.
    ///
    /// # Errors
    /// When the signer can't be reached or refuses.
    pub async fn controller(&self, controller: ControllerId, csr: Vec<u8>) -> Result<Issued, SignerError> {
        self.issued(Ask::Controller { controller, csr }).await
    }

    /// Has a new root made; both are trusted from here on.
    ///
    /// # Errors
    /// When the signer can't be reached or refuses.
    pub async fn rotate(&self) -> Result<AuthorityInfo, SignerError> {
        self.authority(Ask::Rotate).await
    }

    /// Ends the trust in all roots but the newest.
    ///
    /// # Errors
    /// When the signer can't be reached or refuses.
    pub async fn retire(&self) -> Result<AuthorityInfo, SignerError> {
        self.authority(Ask::Retire).await
    }

    async fn authority(&self, ask: Ask) -> Result<AuthorityInfo, SignerError> {
        match self.ask(ask).await? {
            Answer::Authority(info) => Ok(info),
            Answer::Fault(fault) => Err(SignerError::Refused(fault)),
            Answer::Issued(_) => Err(SignerError::Confused),
        }
    }

    async fn issued(&self, ask: Ask) -> Result<Issued, SignerError> {
        match self.ask(ask).await? {
            Answer::Issued(issued) => Ok(issued),
            Answer::Fault(fault) => Err(SignerError::Refused(fault)),
            Answer::Authority(_) => Err(SignerError::Confused),
        }
    }

    async fn ask(&self, ask: Ask) -> Result<Answer, SignerError> {
        let path = || self.socket.display().to_string();
        let exchange = async {
            let mut stream = UnixStream::connect(&self.socket).await?;
            write_frame(&mut stream, &ask).await?;
            read_frame(&mut stream).await
        };
        let answer = timeout(ANSWER_LIMIT, exchange).await.map_err(|_| SignerError::Hung { path: path() })?;
        answer.map_err(|source| SignerError::Unreachable { path: path(), source })
    }
}
