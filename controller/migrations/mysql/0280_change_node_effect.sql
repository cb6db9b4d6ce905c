-- What the change makes otherwise on the node, as in change_effect; absent where it waits, and where an earlier version gave it.
ALTER TABLE change_node ADD COLUMN effect VARCHAR(64);
