//! Keeps what was acknowledged.

mod ownership;

pub use ownership::{Owned, Standing};
