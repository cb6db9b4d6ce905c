//! The store: one pool over SQLite or MariaDB/MySQL.
