"""A mail server for tests: Debian's aiosmtpd with TLS and sign-in.

mail_server.py PORT CERT KEY DIR MODE: MODE is starttls, tls or plain. Each message that it takes is written to DIR as
JSON, whole. DIR/say tells how it behaves, read anew each time: `take`, `refuse` (the recipient) or `stall` (after DATA).
Whoever is called `gone` has no mailbox here, and that of `full` takes nothing now.
"""

import asyncio
import email
import email.policy
import json
import os
import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, SMTP

port, cert, key, folder, mode = sys.argv[1:]
USER, PASSWORD = b"lampas", b"canary-of-mail-7x"


def say():
    with open(os.path.join(folder, "say"), encoding="utf-8") as file:
        return file.read().strip()


class Handler:
    count = 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        if say() == "refuse" or address.startswith("gone@"):
            return "550 5.1.1 no such mailbox here"
        if address.startswith("full@"):
            return "452 4.2.2 the mailbox is full"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if say() == "stall":
            await asyncio.sleep(3600)
        message = email.message_from_bytes(envelope.content, policy=email.policy.SMTP)
        part = lambda kind: message.get_body(preferencelist=(kind,)).get_content()
        told = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "is_encrypted": session.ssl is not None or mode == "tls",
            "is_signed_in": session.authenticated,
            "headers": {name.lower(): str(value) for name, value in message.items()},
            "text": part("plain"),
            "html": part("html"),
        }
        Handler.count += 1
        path = os.path.join(folder, f"{os.getpid()}-{Handler.count:03}.json")
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(told, file)
        os.rename(path + ".new", path)
        return "250 2.0.0 taken as 42"


def sign_in(server, session, envelope, mechanism, data):
    return AuthResult(success=data.login == USER and data.password == PASSWORD)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
if mode != "plain":
    context.load_cert_chain(cert, key)


class Server(Controller):
    def factory(self):
        if mode == "starttls":
            return SMTP(self.handler, hostname="mail.test", tls_context=context, require_starttls=True,
                        authenticator=sign_in, auth_required=True)
        return SMTP(self.handler, hostname="mail.test", authenticator=sign_in, auth_required=mode == "tls",
                    auth_require_tls=False)


server = Server(Handler(), hostname="127.0.0.1", port=int(port), ssl_context=context if mode == "tls" else None)
server.start()
print("ready", flush=True)
sys.stdin.read()
server.stop()
