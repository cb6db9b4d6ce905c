//! The layout of packages, in `Spec::Other`.

use lampas_shared::{
    TextError, desired,
    host::{self, PackageEnsure, PackageName, PackageVersion},
    object::{Body, Kind, ObjectName},
};
use serde::{Deserialize, Serialize};

use super::{Text, checked};

#[derive(Serialize, Deserialize)]
pub(super) struct Package {
    name: Text,
    ensure: Presence,
    version: Option<Text>,
    held: Option<bool>,
    recommends: bool,
    allow_removals: bool,
}

/// A package that units are to take up, under a word of its own: an older agent must not install it without that.
#[derive(Serialize, Deserialize)]
pub(super) struct Followed {
    package: Package,
    on_change: Vec<Text>,
}

/// The word for it.
pub(super) const FOLLOWED: &str = "package with on_change";

pub(super) fn followed(spec: &desired::Spec, on_change: Vec<Text>) -> Option<Followed> {
    Some(Followed { package: to_wire(spec)?, on_change })
}

/// Reads what is to be installed, and the words of what follows.
pub(super) fn followed_from_wire(
    followed: Followed,
    object: &ObjectName,
) -> Result<(Kind, desired::Spec, Vec<Text>), TextError> {
    let (kind, spec) = from_wire(followed.package, object)?;
    Ok((kind, spec, followed.on_change))
}

#[derive(Serialize, Deserialize)]
enum Presence {
    Present,
    Absent,
    Purged,
}

/// Returns what stands on the wire for a package; `None` for another kind.
pub(super) fn to_wire(spec: &desired::Spec) -> Option<Package> {
    let desired::Spec::Package { name, want } = spec else { return None };
    Some(Package {
        name: name.as_str().into(),
        ensure: match want.ensure {
            PackageEnsure::Present => Presence::Present,
            PackageEnsure::Absent => Presence::Absent,
            PackageEnsure::Purged => Presence::Purged,
        },
        version: want.version.as_ref().map(|v| v.as_str().into()),
        held: want.held,
        recommends: want.recommends,
        allow_removals: want.allow_removals,
    })
}

/// Reads a package, through the checks of the object that it came from.
pub(super) fn from_wire(package: Package, object: &ObjectName) -> Result<(Kind, desired::Spec), TextError> {
    let name = PackageName::parse(package.name.0)?;
    let want = host::Package {
        package: Some(name.clone()),
        ensure: match package.ensure {
            Presence::Present => PackageEnsure::Present,
            Presence::Absent => PackageEnsure::Absent,
            Presence::Purged => PackageEnsure::Purged,
        },
        version: package.version.map(|v| PackageVersion::parse(v.0)).transpose()?,
        held: package.held,
        recommends: package.recommends,
        allow_removals: package.allow_removals,
        on_change: Vec::new(),
    };
    checked(object, Body::Package(want.clone()))?;
    Ok((Kind::Package, desired::Spec::Package { name, want }))
}
