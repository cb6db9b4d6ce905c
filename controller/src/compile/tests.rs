//! Properties of the compiler.
