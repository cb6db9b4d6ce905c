//! The signer: a process of its own that holds the signing keys.
//!
//! The controller faces the network; the signer faces only the controller, over a Unix socket whose peer it checks. It
//! signs what is recorded and nothing else: an enrolment names the token that allowed it, a renewal the certificate
//! that it follows. It keeps its own log of what it signed, appended and synced before the certificate leaves, and
//! refuses what contradicts it. So a taken controller can't mint identities for nodes that never enrolled beyond what
//! live tokens allow, and what it did shows in a log that it can't write.
//!
//! [`Authority`] decides and holds the files, [`run`] is the process, [`Signer`] the controller's end, and
//! [`supervise()`] keeps a signer of the controller's own running where no other is configured.

mod authority;
mod client;
mod ledger;
mod protocol;
mod serve;
mod supervise;

pub use authority::{Authority, AuthorityError};
pub use client::{Signer, SignerError};
pub use protocol::{AuthorityInfo, Enrolment, Issued, Renewal};
pub use serve::{ServeError, SignerOptions, run};
pub use supervise::{SuperviseError, supervise};

#[cfg(test)]
mod tests;
