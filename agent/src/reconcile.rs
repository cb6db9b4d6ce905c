//! Makes the desired state true.

mod upstream;

pub use upstream::Upstream;
