//! Sources of packages for apt(8): a file of `/etc/apt/sources.list.d`, and the key that signs what comes from it.
//!
//! Each source trusts its own key and no other (`Signed-By`): a key that is trusted for one repository can't sign for the
//! rest. Keys are read here as far as needed to say whose they are (RFC 9580, sections 4 to 6).

mod openpgp;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ManagedPath, user::check_list};
use crate::{
    TextError,
    text::{check_line, check_name, text_newtype},
};

/// The most entries of one list.
const MAX_LIST: usize = 32;
/// Keyrings of distributions are some 60 KiB.
const MAX_KEY_BYTES: usize = 256 << 10;
const KEYRINGS: &str = "/etc/apt/keyrings";
const LISTS: &str = "/etc/apt/sources.list.d";

text_newtype!(
    /// The fingerprint of a key: 40 hexadecimal digits.
    Fingerprint,
    |text| {
        if text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(());
        }
        let rule = "write its 40 hexadecimal digits without blanks, as gpg --show-keys prints them";
        Err(TextError::new("fingerprints", text, rule))
    }
);

/// A source of packages. The object's name is that of its files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AptSource {
    /// Where the repository is: `https://…`, `http://…` or `file:/…`. Several are mirrors of each other.
    pub uris: Vec<String>,
    /// The suites, as in `bookworm`; one that ends with `/` is a path, and has no components.
    pub suites: Vec<String>,
    /// The components, as in `main`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
    /// The architectures, as in `amd64`; the node's own when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<String>,
    /// The public key that the repository is signed with: as armored text, or the keyring's bytes in base64.
    pub key: String,
    /// Whose keys these must be, each and no other; whatever is in `key` when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fingerprints: Vec<Fingerprint>,
}

impl AptSource {
    /// Returns where the source of this name stands.
    ///
    /// # Errors
    /// When apt would not read a file of this name.
    pub fn list_path(name: &str) -> Result<ManagedPath, TextError> {
        ManagedPath::parse(format!("{LISTS}/{}.sources", checked(name)?))
    }

    /// Returns where its key stands: apt goes by the name whether it is armored.
    ///
    /// # Errors
    /// When apt would not read a file of this name.
    pub fn key_path(&self, name: &str) -> Result<ManagedPath, TextError> {
        Self::key_path_of(name, self.is_armored())
    }

    /// Returns where a key of this name and form stands.
    ///
    /// # Errors
    /// When apt would not read a file of this name.
    pub fn key_path_of(name: &str, is_armored: bool) -> Result<ManagedPath, TextError> {
        let extension = if is_armored { "asc" } else { "gpg" };
        ManagedPath::parse(format!("{KEYRINGS}/{}.{extension}", checked(name)?))
    }

    /// Returns whether a path is where keys stand.
    pub fn is_key_path(path: &str) -> bool {
        path.strip_prefix(KEYRINGS).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Returns the name of the source whose file a path is.
    pub fn name_of_list(path: &str) -> Option<&str> {
        path.strip_prefix(LISTS)?.strip_prefix('/')?.strip_suffix(".sources")
    }

    fn is_armored(&self) -> bool {
        openpgp::is_armored(&self.key)
    }

    /// Returns the bytes of the key's file.
    ///
    /// # Errors
    /// When it is neither armored text nor base64.
    pub fn key_bytes(&self) -> Result<Vec<u8>, TextError> {
        if self.is_armored() {
            return Ok(format!("{}\n", self.key.trim_end()).into_bytes());
        }
        openpgp::base64(&self.key).ok_or_else(|| {
            let rule = "write the armored text (-----BEGIN PGP PUBLIC KEY BLOCK-----), or the keyring in base64";
            TextError::new("key", "…", rule)
        })
    }

    /// Takes the bytes of a key's file as this source's key.
    pub fn with_key_bytes(bytes: &[u8]) -> String {
        match std::str::from_utf8(bytes) {
            Ok(text) if openpgp::is_armored(text) => text.to_owned(),
            _ => super::base64_encode(bytes),
        }
    }

    /// Returns the fingerprints of its keys, sorted.
    ///
    /// # Errors
    /// When it holds no public key, a private one, or can't be read.
    pub fn key_fingerprints(&self) -> Result<Vec<String>, TextError> {
        let wrong = |reason: &str| TextError::new("key", "…", reason);
        let binary = if self.is_armored() {
            openpgp::dearmor(&self.key).map_err(|reason| wrong(&reason))?
        } else {
            self.key_bytes()?
        };
        openpgp::fingerprints(&binary).map_err(|reason| wrong(&reason))
    }

    /// Returns the text of its file, in the format of sources.list(5) that is called deb822.
    ///
    /// # Errors
    /// When the name is none of a file that apt reads.
    pub fn list_text(&self, name: &str) -> Result<String, TextError> {
        let mut text = format!("Types: deb\nURIs: {}\nSuites: {}\n", self.uris.join(" "), self.suites.join(" "));
        for (field, words) in [("Components", &self.components), ("Architectures", &self.architectures)] {
            if !words.is_empty() {
                text.push_str(&format!("{field}: {}\n", words.join(" ")));
            }
        }
        text.push_str(&format!("Signed-By: {}\n", self.key_path(name)?));
        Ok(text)
    }

    /// Takes what a file of one source says, but for its key.
    ///
    /// # Errors
    /// With why not, when it says what an object can't.
    pub fn take_list(&mut self, text: &str) -> Result<(), String> {
        let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            if line.trim().is_empty() {
                return Err("it has more than one source, or empty lines".to_owned());
            }
            let (field, words) = line.split_once(':').ok_or_else(|| format!("{line:?} is no field"))?;
            fields.insert(field.to_ascii_lowercase(), words.split_whitespace().map(str::to_owned).collect());
        }
        if fields.remove("types").is_some_and(|types| types != ["deb"]) {
            return Err("it is of another type than deb".to_owned());
        }
        fields.remove("signed-by");
        let mut take = |field: &str| fields.remove(field).unwrap_or_default();
        (self.uris, self.suites) = (take("uris"), take("suites"));
        (self.components, self.architectures) = (take("components"), take("architectures"));
        match fields.keys().next() {
            Some(field) => Err(format!("no object can say what its field {field} does")),
            None => Ok(()),
        }
    }

    /// Checks the name and the rules between the fields.
    ///
    /// # Errors
    /// When apt would not take it, or the key is not what it should be.
    pub fn check(&self, name: &str) -> Result<(), TextError> {
        checked(name)?;
        list("uris", &self.uris, check_uri)?;
        list("suites", &self.suites, check_suite)?;
        list("components", &self.components, check_component)?;
        list("architectures", &self.architectures, check_architecture)?;
        let wrong = |what: &'static str, reason: &str| Err(TextError::new(what, "", reason));
        if self.uris.is_empty() {
            return wrong("uris", "is empty; write where the repository is, as in \"https://deb.example.org/debian\"");
        }
        if self.suites.is_empty() {
            return wrong("suites", "is empty; write a suite, as in \"bookworm\", or \"./\" for a repository without");
        }
        match (self.suites.iter().all(|s| s.ends_with('/')), self.suites.iter().any(|s| s.ends_with('/'))) {
            (true, _) if !self.components.is_empty() => {
                return wrong("components", "a suite that ends with '/' is a path, and has no components");
            }
            (false, true) => return wrong("suites", "paths (with '/' at their end) and suites don't go together"),
            (false, false) if self.components.is_empty() => {
                return wrong("components", "is empty; write a component, as in \"main\"");
            }
            _ => {}
        }
        if self.key.len() > MAX_KEY_BYTES {
            let reason = format!("{} bytes, at most {MAX_KEY_BYTES} are allowed", self.key.len());
            return Err(TextError::new("key", "…", reason));
        }
        let found = self.key_fingerprints()?;
        check_list("fingerprints", &self.fingerprints)?;
        let mut wanted: Vec<String> = self.fingerprints.iter().map(|f| f.as_str().to_ascii_uppercase()).collect();
        wanted.sort();
        if !wanted.is_empty() && wanted != found {
            let reason = format!("the key is another: it holds {}", found.join(" and "));
            return Err(TextError::new("fingerprints", &wanted.join(" "), reason));
        }
        Ok(())
    }
}

/// Checks a name: that of both files.
fn checked(name: &str) -> Result<&str, TextError> {
    check_name(
        "name",
        name,
        64,
        |i, c| c.is_ascii_alphanumeric() || (i > 0 && "._-".contains(c)),
        "a source has a name of letters, digits, '.', '_' and '-', since apt skips files with others",
    )?;
    Ok(name)
}

fn list(what: &'static str, words: &[String], check: impl Fn(&str) -> Result<(), TextError>) -> Result<(), TextError> {
    if words.len() > MAX_LIST {
        let reason = format!("{} entries, at most {MAX_LIST} are allowed", words.len());
        return Err(TextError::new(what, "…", reason));
    }
    check_list(what, words)?;
    words.iter().try_for_each(|word| check(word))
}

fn check_uri(text: &str) -> Result<(), TextError> {
    let wrong = |reason: &str| Err(TextError::new("uris", text, reason));
    check_line("uris", text, 500)?;
    if !text.chars().all(|c| c.is_ascii_graphic()) {
        return wrong("must not have blanks or other characters than ASCII's");
    }
    let Some((scheme, rest)) = text.split_once(':') else {
        return wrong("begin it with https://, http:// or file:/");
    };
    match scheme {
        "file" if rest.starts_with('/') => Ok(()),
        "http" | "https" => {
            let host = rest.strip_prefix("//").map(|r| r.split('/').next().unwrap_or_default());
            match host {
                Some(host) if host.contains('@') => {
                    let reason = "holds a password, which everybody on the node could read; put it into /etc/apt/auth.conf.d \
                                  by a file with a secret (apt_auth.conf(5))";
                    Err(TextError::new("uris", "…", reason))
                }
                Some(host) if !host.is_empty() => Ok(()),
                _ => wrong("names no host"),
            }
        }
        _ => wrong("begin it with https://, http:// or file:/"),
    }
}

fn check_suite(text: &str) -> Result<(), TextError> {
    let rule =
        "a suite has letters, digits and . _ - + ~ /, as in \"bookworm\", or \"./\" for a repository without suites";
    let is_allowed = |_, c: char| c.is_ascii_alphanumeric() || "._-+~/".contains(c);
    check_name("suites", text, 100, is_allowed, rule)?;
    if text.starts_with('-') || text.split('/').any(|part| part == "..") {
        return Err(TextError::new("suites", text, rule));
    }
    Ok(())
}

fn check_component(text: &str) -> Result<(), TextError> {
    let rule = "a component has letters, digits and . _ - /, as in \"main\"";
    check_name("components", text, 100, |i, c| c.is_ascii_alphanumeric() || (i > 0 && "._-/".contains(c)), rule)
}

fn check_architecture(text: &str) -> Result<(), TextError> {
    let is_allowed = |i, c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || (i > 0 && c == '-');
    check_name("architectures", text, 30, is_allowed, "an architecture is written as dpkg does, as in \"amd64\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key of Ed25519 that was made for this test.
    const KEY: &str = include_str!("apt/test-key.asc");

    fn source(json: serde_json::Value) -> AptSource {
        let mut whole = serde_json::json!({
            "uris": ["https://deb.example.org/debian"], "suites": ["bookworm"], "components": ["main"], "key": KEY,
        });
        for (field, value) in json.as_object().expect("an object") {
            whole[field] = value.clone();
        }
        serde_json::from_value(whole).expect("a source")
    }

    #[test]
    fn a_source_is_written_with_its_own_key_and_read_back() {
        let found = source(serde_json::json!({ "architectures": ["amd64", "arm64"] }));
        found.check("example").expect("is right");
        let text = found.list_text("example").expect("a text");
        assert_eq!(
            text,
            "Types: deb\nURIs: https://deb.example.org/debian\nSuites: bookworm\nComponents: main\nArchitectures: amd64 \
             arm64\nSigned-By: /etc/apt/keyrings/example.asc\n"
        );
        let mut again = AptSource { key: found.key.clone(), ..AptSource::default() };
        again.take_list(&text).expect("reads");
        assert_eq!(again, found);
        again.take_list(&format!("{text}Trusted: yes\n")).expect_err("what it can't say");
        again.take_list(&format!("{text}\n{text}")).expect_err("two");
    }

    #[test]
    fn what_apt_would_not_take_is_refused() {
        let check = |json: serde_json::Value, wrong: Option<&str>| match (source(json.clone()).check("example"), wrong)
        {
            (Ok(()), None) => {}
            (Err(error), Some(part)) => assert!(error.to_string().contains(part), "{json}: {error}"),
            (got, _) => panic!("{json}: {got:?}"),
        };
        check(serde_json::json!({}), None);
        check(serde_json::json!({ "uris": ["file:/srv/repository"], "suites": ["./"], "components": [] }), None);
        check(serde_json::json!({ "suites": ["./"] }), Some("has no components"));
        check(serde_json::json!({ "components": [] }), Some("write a component"));
        check(serde_json::json!({ "suites": ["./", "bookworm"] }), Some("don't go together"));
        check(serde_json::json!({ "uris": [] }), Some("uris"));
        check(serde_json::json!({ "uris": ["ftp://a/b"] }), Some("begin it with"));
        check(serde_json::json!({ "uris": ["https:///b"] }), Some("no host"));
        check(serde_json::json!({ "uris": ["https://a/b c"] }), Some("blanks"));
        check(serde_json::json!({ "uris": ["https://ann:hunter2@a/b"] }), Some("auth.conf.d"));
        check(serde_json::json!({ "suites": ["../x"] }), Some("a suite has"));
        check(serde_json::json!({ "key": "hunter2!" }), Some("armored"));
        check(serde_json::json!({ "key": KEY.replace("PUBLIC", "PRIVATE") }), Some("private"));
        check(serde_json::json!({ "key": &KEY[..KEY.len() / 2] }), Some("cut off"));
        let own = source(serde_json::json!({})).key_fingerprints().expect("read")[0].clone();
        check(serde_json::json!({ "fingerprints": [own.to_lowercase()] }), None);
        check(serde_json::json!({ "fingerprints": ["0".repeat(40)] }), Some(&own));
        source(serde_json::json!({})).check("a/b").expect_err("a name of a file");
    }

    #[test]
    fn a_keyring_in_base64_is_the_same_key() {
        let armored = source(serde_json::json!({}));
        let binary = openpgp::dearmor(KEY).expect("armored");
        let plain = source(serde_json::json!({ "key": AptSource::with_key_bytes(&binary) }));
        assert_eq!(plain.key_bytes().expect("bytes"), binary);
        assert_eq!(plain.key_fingerprints().expect("read"), armored.key_fingerprints().expect("read"));
        assert!(plain.key_path("a").expect("a path").as_str().ends_with("a.gpg"));
    }
}
