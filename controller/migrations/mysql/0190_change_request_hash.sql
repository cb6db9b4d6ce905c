-- The hash of what was asked for under an idempotency key: the same key with another request is refused.
ALTER TABLE changes ADD COLUMN request_hash VARCHAR(64);
