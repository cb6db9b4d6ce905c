//! The reconciler over a real root in a temporary directory, with a virtual controller that can be cut off.

mod change;
mod cheap;
mod crash;
mod drift;
mod fixture;
mod lost;
mod secret;
mod trial;
