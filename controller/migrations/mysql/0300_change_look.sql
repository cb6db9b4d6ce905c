-- Whether a change was only planned to look at it: it waits for nobody until somebody asks to have it applied.
ALTER TABLE changes ADD COLUMN is_look BIGINT NOT NULL DEFAULT 0;
