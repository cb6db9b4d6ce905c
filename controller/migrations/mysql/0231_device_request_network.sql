-- What all addresses of the host that asked have in common: an IPv6 host commands a whole /64.
ALTER TABLE device_request ADD COLUMN network VARCHAR(64);
