-- The set of manifests that an object is in. One that was made by hand, or that a git source brings, has no row.
CREATE TABLE object_set (
    object VARCHAR(36) NOT NULL,
    name VARCHAR(64) NOT NULL,
    PRIMARY KEY (object)
);
CREATE INDEX object_set_by_name ON object_set (name);
