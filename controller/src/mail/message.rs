//! Messages as they go over the wire (RFC 5322, MIME).
//!
//! `lettre` writes the headers, which are encoded wherever they aren't plain ASCII; what goes in was cleaned by
//! [`super::text`] before. Date and `Message-ID` are those of the message's row: a message that a server took although
//! its answer was lost comes twice with the same id, and mail programs show it once.

use std::time::{Duration, SystemTime};

use lampas_api::MailKind;
use lampas_shared::{TextError, id::MailId, time::UnixMs};
use lettre::{
    Address, Message,
    message::{
        Mailbox, MultiPart,
        header::{HeaderName, HeaderValue},
    },
};

/// The longest address (RFC 5321, 4.5.3.1.3, without the brackets).
const ADDRESS: usize = 254;

/// Reads an address: `NAME@HOST`, in ASCII.
pub(super) fn address(text: &str) -> Result<Address, TextError> {
    let wrong = |why: &str| TextError::new("address", text, why);
    if text.len() > ADDRESS {
        return Err(wrong("is too long"));
    }
    if !text.bytes().all(|b| b.is_ascii_graphic() && !b"\"()<>[],;:\\".contains(&b)) || text.starts_with('-') {
        return Err(wrong("is no address: write NAME@HOST, in ASCII"));
    }
    text.parse().map_err(|_| wrong("is no address: write NAME@HOST"))
}

/// Reads a sender: an address, or `NAME <ADDRESS>`.
pub(super) fn sender(text: &str) -> Result<Mailbox, TextError> {
    lampas_shared::check_line("sender", text, 400)?;
    let wrong = |_| TextError::new("sender", text, "write lampas@example.com or LAMPAS <lampas@example.com>");
    let found: Mailbox = text.parse().map_err(wrong)?;
    address(found.email.as_ref())?;
    Ok(found)
}

/// A message, ready to be sent.
pub(super) struct Written<'m> {
    pub(super) id: MailId,
    pub(super) kind: MailKind,
    pub(super) subject: &'m str,
    pub(super) text: &'m str,
    pub(super) html: &'m str,
    pub(super) at: UnixMs,
    /// The name of the dashboard's host.
    pub(super) host: &'m str,
}

impl Written<'_> {
    /// Returns it as bytes, all of them ASCII.
    ///
    /// # Errors
    /// When it can't be written so; says why.
    pub(super) fn bytes(&self, from: &Mailbox, to: &Address) -> Result<Vec<u8>, String> {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(self.at.0.max(0).unsigned_abs());
        let message = Message::builder()
            .from(from.clone())
            .to(Mailbox::new(None, to.clone()))
            .subject(super::text::line(self.subject))
            .date(at)
            .message_id(Some(format!("<{}@{}>", self.id, from.email.domain())));
        let parts = MultiPart::alternative_plain_html(self.text.to_owned(), self.html.to_owned());
        let mut message = message.multipart(parts).map_err(|e| e.to_string())?;
        let host: String = self.host.chars().filter(|c| c.is_ascii_alphanumeric() || "-.".contains(*c)).collect();
        let list = format!("<{}.lampas.{host}>", self.kind.as_str());
        let fixed = [
            // RFC 3834, 5: nobody's holiday message answers.
            ("Auto-Submitted", "auto-generated".to_owned()),
            ("X-Auto-Response-Suppress", "All".to_owned()),
            ("List-Id", list),
            ("X-Lampas-Kind", self.kind.as_str().to_owned()),
        ];
        for (name, value) in fixed {
            message.headers_mut().insert_raw(HeaderValue::new(HeaderName::new_from_ascii_str(name), value));
        }
        Ok(message.formatted())
    }
}

#[cfg(test)]
mod tests {
    use lampas_runtime::random;

    use super::*;

    #[test]
    fn addresses_are_plain() {
        for good in ["anna@example.com", "a.b+c@mail.example.com", "root@localhost"] {
            address(good).expect(good);
        }
        let long = format!("{}@example.com", "a".repeat(260));
        for bad in
            ["", "anna", "@x", "a@", "a b@example.com", "a@b\r\nRCPT TO:<x@y>", "-f@x", "a@b,c@d", "ä@x.de", &long]
        {
            address(bad).expect_err(bad);
        }
        assert_eq!(sender("LAMPAS <l@example.com>").expect("a sender").email.to_string(), "l@example.com");
        for bad in ["", "LAMPAS", "L <l@example.com>\nBcc: <e@x>", "L <l@x\r\n>"] {
            sender(bad).expect_err(bad);
        }
    }

    #[test]
    fn headers_are_one_line_each_and_the_id_stays() {
        let (from, to) = (sender("LÄMPAS <l@example.com>").expect("a sender"), address("a@x.org").expect("an address"));
        let id = random::new_id();
        let written = Written {
            id,
            kind: MailKind::Rollout,
            subject: "web-1\r\nBcc: eve@example.com ü",
            text: "Ünï\n.\nend\n",
            html: "<p>Ü</p>",
            at: UnixMs(1_700_000_000_000),
            host: "fleet.example\r\nX: y",
        };
        let bytes = written.bytes(&from, &to).expect("written");
        assert!(bytes.is_ascii());
        let text = String::from_utf8(bytes).expect("ASCII");
        let head = text.split("\r\n\r\n").next().expect("a head");
        assert!(!head.lines().any(|l| l.starts_with("Bcc:") || l.starts_with("X:")), "{head}");
        for line in [
            "Auto-Submitted: auto-generated".to_owned(),
            "List-Id: <rollout.lampas.fleet.exampleXy>".to_owned(),
            format!("Message-ID: <{id}@example.com>"),
            "To: a@x.org".to_owned(),
        ] {
            assert!(head.lines().any(|l| l == line), "{line} in {head}");
        }
        assert!(head.contains("Date: Tue, 14 Nov 2023 22:13:20"), "{head}");
        assert!(text.contains("text/plain") && text.contains("text/html"));
    }
}
