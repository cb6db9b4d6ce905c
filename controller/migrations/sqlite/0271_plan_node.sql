-- The nodes of the plan of a change that is not applied.
CREATE TABLE plan_node (
    change_id VARCHAR(36) NOT NULL,
    node VARCHAR(36) NOT NULL,
    PRIMARY KEY (change_id, node)
);
