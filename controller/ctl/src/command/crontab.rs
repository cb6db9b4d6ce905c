//! `import crontab`: crontabs on this machine as manifests, or applied.

use std::{
    collections::BTreeSet,
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
};

use lampas_api::{Change, ChangeCreate, Draft, DraftAct};
use lampas_render::crontab::take;
use lampas_shared::{
    fleet::Scope,
    host::{CronTable, UserName},
    object::{Body, DriftPolicy, ObjectName, ObjectSpec},
    rollout::Strategy,
};

use super::{CommandError, Context, plan, progress};
use crate::{cli::ImportArgs, output};

/// The longest table that is read.
const MAX_BYTES: u64 = 4 << 20;

/// Runs `lampasctl import crontab FILE|DIR`.
pub(super) async fn import(context: &Context, args: &ImportArgs) -> Result<u8, CommandError> {
    let Some(scope) = &args.scope else {
        return Err(CommandError::Usage("give the scope of the jobs: --scope role:app".into()));
    };
    let user = args.user.as_deref().map(UserName::parse).transpose()?;
    let [from] = args.what.as_slice() else {
        return Err(CommandError::Usage("give one crontab or directory of crontabs, or - for standard input".into()));
    };
    let mut left = Vec::new();
    let specs = read(Path::new(from), scope, user.as_ref(), &mut left)?;
    for (place, why) in &left {
        output::note(format!("{place}: not taken: {why}"));
    }
    if specs.is_empty() {
        return Err(CommandError::Usage(format!("{from} holds no job that could be taken")));
    }
    if !args.apply {
        output::line(lampas_manifest::export(&specs).trim_end());
        return Ok(0);
    }
    let draft = |spec: ObjectSpec| Draft { act: DraftAct::Put(spec), base: None, previous_name: None };
    let reason = if args.reason.is_empty() { format!("imported from {from}") } else { args.reason.clone() };
    let request = ChangeCreate {
        drafts: specs.into_iter().map(draft).collect(),
        node_edits: Vec::new(),
        reason,
        apply: false,
        only_look: args.plan,
        allow_unplanned: false,
        rollout: Strategy::default(),
        set: None,
    };
    let key = uuid::Uuid::new_v4().to_string();
    let change: Change = context.client.post_once("/changes", &key, &request).await?;
    match &change.plan {
        Some(current) if !args.plan && current.blockers.is_empty() && current.unplanned.is_empty() => {
            if !context.is_json() {
                plan::print(&change);
            }
            let number = change.summary.number.to_string();
            progress::apply(context, &number, &current.id, (false, Strategy::default()), &args.wait).await
        }
        _ => super::change::shown_plan(context, &change),
    }
}

fn read(
    from: &Path,
    scope: &Scope,
    user: Option<&UserName>,
    left: &mut Vec<(String, String)>,
) -> Result<Vec<ObjectSpec>, CommandError> {
    let mut specs = Vec::new();
    let mut names = BTreeSet::new();
    for (path, bytes) in tables(from)? {
        let table = if user.is_some() { CronTable::User } else { CronTable::System };
        let taken = take(&bytes, table, user);
        for (line, why) in taken.left {
            left.push((if line == 0 { path.clone() } else { format!("{path}:{line}") }, why));
        }
        for job in taken.jobs {
            let tries = std::iter::once(job.hint.clone()).chain((2..).map(|n| format!("{}-{n}", job.hint)));
            let name = tries.filter_map(|t| ObjectName::parse(t).ok()).find(|n| !names.contains(n));
            let name = name.expect("there are more numbers than jobs");
            names.insert(name.clone());
            specs.push(ObjectSpec {
                name,
                scope: scope.clone(),
                drift: DriftPolicy::default(),
                body: Body::Cron(job.job),
            });
        }
    }
    Ok(specs)
}

/// Reads a table, those of a directory (what cron would take of it), or standard input.
fn tables(from: &Path) -> Result<Vec<(String, Vec<u8>)>, CommandError> {
    let io = |path: &Path| {
        let what = format!("read {}", path.display());
        move |e: io::Error| CommandError::Io(what, e)
    };
    let whole = |path: &Path| -> Result<Vec<u8>, CommandError> {
        let mut bytes = Vec::new();
        fs::File::open(path).and_then(|f| f.take(MAX_BYTES).read_to_end(&mut bytes)).map_err(io(path))?;
        Ok(bytes)
    };
    if from == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().take(MAX_BYTES).read_to_end(&mut bytes).map_err(io(from))?;
        return Ok(vec![("standard input".to_owned(), bytes)]);
    }
    if !from.is_dir() {
        return Ok(vec![(from.display().to_string(), whole(from)?)]);
    }
    let entries = fs::read_dir(from).map_err(io(from))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).filter(|p| p.is_file()).collect();
    paths.sort();
    // cron(8) takes only names of letters, digits, '_' and '-'.
    let is_taken = |p: &PathBuf| {
        p.file_name()
            .and_then(|n| n.to_str())
            .is_some_and(|n| n.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)))
    };
    paths.into_iter().filter(is_taken).map(|p| Ok((p.display().to_string(), whole(&p)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_crontabs_becomes_manifests_that_can_be_read_again() {
        let dir = std::env::temp_dir().join(format!("lampas-crontab-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        fs::write(dir.join("backup"), "MAILTO=\"\"\n0 3 * * * root /b --all\n5 3 * * * root /b --more\n")
            .expect("writes");
        fs::write(dir.join("ignored.dpkg-old"), "* * * * * root x\n").expect("writes");
        fs::write(dir.join("odd"), "* * * * * root mail%in\n").expect("writes");
        let scope: Scope = "role:app".parse().expect("a scope");
        let mut left = Vec::new();
        let specs = read(&dir, &scope, None, &mut left).expect("reads");
        fs::remove_dir_all(&dir).expect("removes");
        let names: Vec<_> = specs.iter().map(|s| s.name.to_string()).collect();
        assert_eq!(names, ["b", "b-2"]);
        assert_eq!(left.len(), 1);
        let text = lampas_manifest::export(&specs);
        let file = lampas_manifest::ManifestFile { name: "x", text: &text };
        let none = |_: &str, _: &str| Err("no sources".to_owned());
        let again = lampas_manifest::parse(&[file], &none).expect("parses");
        assert_eq!(again.into_iter().filter_map(|e| e.spec).collect::<Vec<_>>(), specs);
    }
}
