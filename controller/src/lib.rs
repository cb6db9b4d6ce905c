//! The Management Console: store, API, dashboard, link.
