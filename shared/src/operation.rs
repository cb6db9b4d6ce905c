//! Operations: a command or a support script that runs once on a selection of nodes.
//!
//! An operation is resolved when it starts: its selection becomes a list of nodes, each with one **run** and a
//! [`RunOrder`]. From there [`step()`] decides, from what is stored and the time alone, what happens next: who starts, who
//! is passed over, who is lost. It keeps no memory of its own, so that a controller may die and come back between any two
//! of its actions. A run is started at most once: the node remembers the run's id.

mod parameter;
mod run;
mod step;
mod work;

pub use parameter::{Parameter, ParameterKind, ParameterName, check_declarations, fill, fill_with};
pub use run::{
    OperationRun, OutputChunk, OutputPart, OutputStream, ProbeOrder, RunEnd, RunOrder, RunState, RunStatus, SecretUse,
};
pub use step::{Action, Cause, NodeView, OperationView, deadline, step};
pub use work::{Away, Limits, OperationSpec, OperationState, Strategy, Work};
