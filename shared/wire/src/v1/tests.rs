//! Golden vectors and properties of version 1.
