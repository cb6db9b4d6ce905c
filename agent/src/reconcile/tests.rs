//! The reconciler over a real root in a temporary directory, with a virtual controller that can be cut off.

mod block;
mod change;
mod cheap;
mod crash;
mod drift;
mod fixture;
mod halt;
mod lost;
mod meanwhile;
mod packages;
mod secret;
mod sources;
mod trial;
mod unejected;
