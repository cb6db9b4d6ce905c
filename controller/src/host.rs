//! Objects of the host area and their revisions.
