-- The set of manifests that an object is in. One that was made by hand, or that a git source brings, has no row.
CREATE TABLE object_set (
    object VARCHAR(36) NOT NULL,
    name VARCHAR(64) NOT NULL,
    PRIMARY KEY (object),
    KEY object_set_by_name (name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
