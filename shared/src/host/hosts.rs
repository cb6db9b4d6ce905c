//! Entries of `/etc/hosts`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{
    TextError,
    fleet::Scope,
    text::{check_line, check_name, text_newtype},
};

text_newtype!(
    /// A host name for hosts(5): labels of `A-Z a-z 0-9 - _`, at most 253 characters, compared without case.
    HostName,
    |text| {
        check_name(
            "host name",
            text,
            253,
            |_, c| c.is_ascii_alphanumeric() || "-_.".contains(c),
            "use letters, digits, '-', '_' and '.'",
        )?;
        let label_ok = |l: &str| !l.is_empty() && l.len() <= 63 && !l.starts_with('-') && !l.ends_with('-');
        if !text.split('.').all(label_ok) {
            return Err(TextError::new("host name", text, "each part between dots has 1 to 63 characters and no '-' at its ends"));
        }
        if text.parse::<IpAddr>().is_ok() {
            return Err(TextError::new("host name", text, "is an address"));
        }
        Ok(())
    }
);

/// One entry: either an address with names (`address`, `names`), or one line for each node of a scope (`nodes`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HostsEntry {
    /// The address, IPv4 or IPv6; together with `names`.
    #[serde(default, deserialize_with = "address", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, example = "10.0.0.5"))]
    pub address: Option<IpAddr>,
    /// The canonical name first, then its aliases; 1 to 32 when there is an address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<HostName>,
    /// Generates one line for each node of this scope that has an address which an operator set or approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Scope>,
    /// With `nodes`: each node is listed as `NAME.DOMAIN NAME`; only `NAME` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<HostName>,
    /// A comment at the end of the line, one line, at most 200 bytes; empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

/// Reads an address so that a mistake names its field.
fn address<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<IpAddr>, D::Error> {
    if !from.is_human_readable() {
        return Option::deserialize(from);
    }
    let text = Option::<String>::deserialize(from)?;
    let parse = |t: String| t.parse().map_err(|_| TextError::new("address", &t, "is no IPv4 or IPv6 address"));
    text.map(parse).transpose().map_err(serde::de::Error::custom)
}

/// Where the lines of an entry come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostsSource<'a> {
    /// One line that an operator wrote.
    Line(IpAddr, &'a [HostName]),
    /// One line for each node of a scope, with the domain.
    Nodes(&'a Scope, Option<&'a HostName>),
}

impl HostsEntry {
    /// Returns where the lines come from.
    ///
    /// # Errors
    /// When it has neither or both of `address` and `nodes`, or what goes with the other.
    pub fn source(&self) -> Result<HostsSource<'_>, TextError> {
        match (self.address, &self.nodes) {
            (Some(address), None) if self.domain.is_none() => Ok(HostsSource::Line(address, &self.names)),
            (None, Some(scope)) if self.names.is_empty() => Ok(HostsSource::Nodes(scope, self.domain.as_ref())),
            (Some(_), None) => Err(TextError::new("domain", "", "goes with nodes, not with address")),
            (None, Some(_)) => Err(TextError::new("names", "", "go with address, not with nodes")),
            (Some(_), Some(_)) => Err(TextError::new("address", "", "give either address and names, or nodes")),
            (None, None) => Err(TextError::new("address", "", "is missing: give either address and names, or nodes")),
        }
    }

    pub(crate) fn check(&self) -> Result<(), TextError> {
        check_line("comment", &self.comment, 200)?;
        if let HostsSource::Line(address, names) = self.source()? {
            if names.is_empty() || names.len() > 32 {
                return Err(TextError::new("names", &names.len().to_string(), "an entry has 1 to 32 names"));
            }
            if address.is_unspecified() || address.is_multicast() {
                return Err(TextError::new("address", &address.to_string(), "is not the address of a host"));
            }
            for (i, name) in names.iter().enumerate() {
                if names[..i].iter().any(|n| n.as_str().eq_ignore_ascii_case(name.as_str())) {
                    return Err(TextError::new("names", name.as_str(), "stands twice"));
                }
            }
        }
        Ok(())
    }
}
