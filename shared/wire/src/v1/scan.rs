//! Scans of what stands unmanaged, and what is left of an ejected node.

use lampas_shared::{
    TextError, check_line, error,
    report::ObservedFile as DomainFile,
    scan::{self, MAX_CONTENT_BYTES, MAX_FILES, MAX_PACKAGES, MAX_USERS},
    time::UnixMs,
};
use serde::{Deserialize, Serialize};

use super::{
    Fault, Text, bounded, bounded_list, each,
    operation::{MAX_PATH, ObservedFile, notes_from_wire, notes_to_wire},
};
use crate::{
    codec::{DecodeError, EncodeError, from_body, to_body},
    message::{Kind as FrameKind, Reply},
};

/// The most paths that one scan is asked for.
const MAX_PATHS: usize = 256;
/// The most groups of one user.
const MAX_GROUPS: usize = 256;

pub(super) fn encode(kind: FrameKind, reply: &Reply) -> Result<Vec<u8>, EncodeError> {
    match reply {
        Reply::Scan(scan) => to_body(kind, &scan.as_ref().map(Scan::from).map_err(Fault::from)),
        Reply::Eject(ejected) => to_body(kind, &ejected.as_ref().map(Ejected::from).map_err(Fault::from)),
        _ => super::operation::encode(kind, reply),
    }
}

pub(super) fn decode(kind: FrameKind, body: &[u8]) -> Result<Reply, DecodeError> {
    let bad = |source| DecodeError::Value { kind, source };
    let fault = |fault: Fault| error::Fault::try_from(fault).map_err(bad);
    Ok(match kind {
        FrameKind::ScanReply => Reply::Scan(match from_body::<Result<Scan, Fault>>(kind, body)? {
            Ok(scan) => Ok(scan.try_into().map_err(bad)?),
            Err(error) => Err(fault(error)?),
        }),
        _ => Reply::Eject(match from_body::<Result<Ejected, Fault>>(kind, body)? {
            Ok(ejected) => Ok(ejected.try_into().map_err(bad)?),
            Err(error) => Err(fault(error)?),
        }),
    })
}

pub(super) fn request_to_wire(request: &scan::ScanRequest) -> Vec<Text> {
    request.paths.iter().map(|p| p.as_str().into()).collect()
}

pub(super) fn request_from_wire(paths: Vec<Text>) -> Result<scan::ScanRequest, TextError> {
    bounded_list("paths", paths.len(), MAX_PATHS)?;
    let check = |p: Text| check_line("path", &p.0, 1024).map(|()| p.0);
    Ok(scan::ScanRequest { paths: paths.into_iter().map(check).collect::<Result<_, _>>()? })
}

#[derive(Serialize, Deserialize)]
struct Scan {
    at_ms: i64,
    files: Vec<ForeignFile>,
    packages: Vec<(Text, Text)>,
    users: Vec<HumanUser>,
    managed: u32,
    notes: Vec<Text>,
}

#[derive(Serialize, Deserialize)]
struct ForeignFile {
    place: Place,
    path: Text,
    file: Option<ObservedFile>,
    link: Option<Text>,
    fault: Text,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Place {
    Cron,
    CronScript,
    Crontab,
    Hosts,
    Script,
    Sudoers,
    File,
}

#[derive(Serialize, Deserialize)]
struct HumanUser {
    name: Text,
    uid: u32,
    groups: Vec<Text>,
    home: Text,
}

impl From<&scan::Scan> for Scan {
    /// Cuts what is over the limits: the agent keeps them, and a scan must never be what can't be sent.
    fn from(scan: &scan::Scan) -> Self {
        let text = |text: &str| Text(super::cut(text, MAX_PATH));
        Self {
            at_ms: scan.at.0,
            files: scan.files.iter().take(MAX_FILES).map(ForeignFile::from).collect(),
            packages: scan.packages.iter().take(MAX_PACKAGES).map(|p| (text(&p.name), text(&p.version))).collect(),
            users: scan.users.iter().take(MAX_USERS).map(HumanUser::from).collect(),
            managed: scan.managed,
            notes: notes_to_wire(&scan.notes),
        }
    }
}

impl TryFrom<Scan> for scan::Scan {
    type Error = TextError;
    fn try_from(scan: Scan) -> Result<Self, TextError> {
        bounded_list("files", scan.files.len(), MAX_FILES)?;
        bounded_list("packages", scan.packages.len(), MAX_PACKAGES)?;
        bounded_list("users", scan.users.len(), MAX_USERS)?;
        let files: Vec<scan::ForeignFile> = each(scan.files)?;
        let bytes = files.iter().filter_map(|f| f.file.as_ref()?.content.as_ref()).map(Vec::len).sum();
        bounded_list("scanned bytes", bytes, MAX_CONTENT_BYTES)?;
        let package = |(name, version): (Text, Text)| {
            check_line("package", &name.0, 256)?;
            check_line("version", &version.0, 256)?;
            Ok(scan::ForeignPackage { name: name.0, version: version.0 })
        };
        Ok(Self {
            at: UnixMs(scan.at_ms),
            files,
            packages: scan.packages.into_iter().map(package).collect::<Result<_, TextError>>()?,
            users: each(scan.users)?,
            managed: scan.managed,
            notes: notes_from_wire(scan.notes)?,
        })
    }
}

impl From<&scan::ForeignFile> for ForeignFile {
    fn from(file: &scan::ForeignFile) -> Self {
        Self {
            place: file.place.into(),
            path: Text(super::cut(&file.path, MAX_PATH)),
            file: file.file.as_ref().map(ObservedFile::from),
            link: file.link.as_ref().map(|l| Text(super::cut(l, MAX_PATH))),
            fault: Text(super::cut(&file.fault, MAX_PATH)),
        }
    }
}

impl TryFrom<ForeignFile> for scan::ForeignFile {
    type Error = TextError;
    fn try_from(file: ForeignFile) -> Result<Self, TextError> {
        bounded("path", &file.path.0, MAX_PATH)?;
        bounded("fault", &file.fault.0, MAX_PATH)?;
        if let Some(link) = &file.link {
            bounded("link", &link.0, MAX_PATH)?;
        }
        Ok(Self {
            place: file.place.into(),
            path: file.path.0,
            file: file.file.map(DomainFile::try_from).transpose()?,
            link: file.link.map(|l| l.0),
            fault: file.fault.0,
        })
    }
}

impl From<scan::Place> for Place {
    fn from(place: scan::Place) -> Self {
        match place {
            scan::Place::Cron => Self::Cron,
            scan::Place::CronScript => Self::CronScript,
            scan::Place::Crontab => Self::Crontab,
            scan::Place::Hosts => Self::Hosts,
            scan::Place::Script => Self::Script,
            scan::Place::Sudoers => Self::Sudoers,
            scan::Place::File => Self::File,
        }
    }
}

impl From<Place> for scan::Place {
    fn from(place: Place) -> Self {
        match place {
            Place::Cron => Self::Cron,
            Place::CronScript => Self::CronScript,
            Place::Crontab => Self::Crontab,
            Place::Hosts => Self::Hosts,
            Place::Script => Self::Script,
            Place::Sudoers => Self::Sudoers,
            Place::File => Self::File,
        }
    }
}

impl From<&scan::HumanUser> for HumanUser {
    fn from(user: &scan::HumanUser) -> Self {
        let text = |text: &str| Text(super::cut(text, MAX_PATH));
        Self {
            name: text(&user.name),
            uid: user.uid,
            groups: user.groups.iter().take(MAX_GROUPS).map(|g| text(g)).collect(),
            home: text(&user.home),
        }
    }
}

impl TryFrom<HumanUser> for scan::HumanUser {
    type Error = TextError;
    fn try_from(user: HumanUser) -> Result<Self, TextError> {
        check_line("user", &user.name.0, 256)?;
        check_line("home", &user.home.0, MAX_PATH)?;
        bounded_list("groups", user.groups.len(), MAX_GROUPS)?;
        for group in &user.groups {
            check_line("group", &group.0, 256)?;
        }
        Ok(Self {
            name: user.name.0,
            uid: user.uid,
            groups: user.groups.into_iter().map(|g| g.0).collect(),
            home: user.home.0,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Ejected {
    places: Vec<(Text, Text)>,
    manifests: Vec<Text>,
}

impl From<&scan::Ejected> for Ejected {
    fn from(ejected: &scan::Ejected) -> Self {
        let text = |text: &str| Text(super::cut(text, 1024));
        Self {
            places: ejected.places.iter().take(MAX_FILES / 4).map(|p| (text(&p.path), text(&p.what))).collect(),
            manifests: ejected.manifests.iter().take(MAX_PATHS).map(|m| text(m)).collect(),
        }
    }
}

impl TryFrom<Ejected> for scan::Ejected {
    type Error = TextError;
    fn try_from(ejected: Ejected) -> Result<Self, TextError> {
        bounded_list("places", ejected.places.len(), MAX_FILES)?;
        bounded_list("manifests", ejected.manifests.len(), MAX_PATHS)?;
        let place = |(path, what): (Text, Text)| {
            check_line("path", &path.0, 2048)?;
            check_line("what", &what.0, 2048)?;
            Ok(scan::EjectedPlace { path: path.0, what: what.0 })
        };
        let manifest = |m: Text| check_line("manifest", &m.0, 2048).map(|()| m.0);
        Ok(Self {
            places: ejected.places.into_iter().map(place).collect::<Result<_, TextError>>()?,
            manifests: ejected.manifests.into_iter().map(manifest).collect::<Result<_, _>>()?,
        })
    }
}
