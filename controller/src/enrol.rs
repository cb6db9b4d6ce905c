//! Enrolment tokens, and how a node gets its certificate.
//!
//! An operator makes a token; it pins the authority, is stored as a hash, and lets in as many nodes as it says, one by
//! default, within its life. A node draws its key and shows token and signing request:
//!
//! 1. *reserve*: one transaction binds the token to the node's key and to a node id. From here on the token is used:
//!    another key is refused, the same key may try again within the token's life;
//! 2. *sign*: the signer signs for the record, and holds the token to the same rule by its own log;
//! 3. *settle*: one transaction makes the node with the token's name, roles and labels, and records the certificate.
//!    Then the fleet is compiled for those who joined.
//!
//! Who manages a part of the fleet makes tokens for that part alone (`bounds`), and sees and withdraws those; what they may
//! is asked again when a node shows the token.
//!
//! So an enrolment that dies half-way leaves no node behind and can be tried again. Renewal asks the signer with the
//! certificate that was shown; revocation is the fleet's ([`crate::fleet::revoke`]), and the link ends what is open.

pub(crate) mod api;
mod bounds;
mod limit;
mod network;
mod service;
mod store;
mod token;

pub use network::{Network, NetworkError};
pub use service::{EnrolError, Enrolments};
pub use store::{get, list, withdraw};
pub use token::{Maker, NewToken, TokenError, create};

#[cfg(test)]
mod tests;
