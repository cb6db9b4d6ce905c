//! The HTTP API and the dashboard's assets, over one table of calls.
