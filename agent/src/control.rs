//! The agent's Unix socket.
