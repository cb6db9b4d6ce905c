//! The fleet's certificate authorities.
