-- How a message ended that was not sent: the server refused it, it was tried for too long, or nobody wants it any more.
ALTER TABLE mail_message ADD COLUMN ended VARCHAR(16);
