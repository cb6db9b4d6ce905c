-- The edits of nodes that a change asks for: what shall be, and how the node was when the edit was made.
CREATE TABLE change_node_edit (
    change_id VARCHAR(36) NOT NULL,
    position BIGINT NOT NULL,
    node VARCHAR(36) NOT NULL,
    base_revision BIGINT NOT NULL,
    asked TEXT NOT NULL,
    was TEXT NOT NULL,
    PRIMARY KEY (change_id, position)
);
