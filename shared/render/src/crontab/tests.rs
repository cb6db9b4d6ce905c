//! Rendered files as pictures, reading by cron's rules, and the way there and back.

use std::collections::BTreeMap;

use lampas_shared::{
    host::{CronJob, EnvName, TimeZoneName},
    id::ObjectId,
    object::ObjectName,
};
use proptest::prelude::*;

use super::*;
use crate::schedule::Zone;

const WRAPPER: &str = "/usr/bin/lampas-agent";

fn object() -> ObjectId {
    ObjectId::parse("0199f2aa-0000-7000-8000-000000000001").expect("an id")
}

fn name() -> ObjectName {
    ObjectName::parse("hello").expect("a name")
}

fn berlin() -> Zone {
    Zone::parse(TimeZoneName::parse("Europe/Berlin").expect("a name")).expect("a zone")
}

fn job(schedule: &str, command: &str) -> CronJob {
    CronJob {
        schedule: schedule.parse().expect("a schedule"),
        user: UserName::parse("www-data").expect("a user"),
        command: command.to_owned(),
        environment: BTreeMap::new(),
        mailto: None,
        time_zone: None,
        table: CronTable::System,
        timeout_secs: None,
        enabled: true,
        template: false,
    }
}

fn with_env(mut job: CronJob, variables: &[(&str, &str)]) -> CronJob {
    for (name, value) in variables {
        job.environment.insert(EnvName::parse(*name).expect("a name"), (*value).to_owned());
    }
    job
}

fn render(job: &CronJob) -> String {
    render_system(job, &name(), object(), WRAPPER, &berlin(), None).expect("renders")
}

#[test]
fn a_simple_job() {
    insta::assert_snapshot!("simple", render(&job("*/5 * * * *", "date +%F\\ %T >> /var/log/hello.log")));
}

#[test]
fn a_job_with_everything() {
    let mut full = job("30 2 * * 1-5", "/usr/local/bin/import --all");
    full.mailto = Some(String::new());
    full.time_zone = Some(TimeZoneName::parse("Asia/Kathmandu").expect("a name"));
    let variables = [
        ("PATH", "/opt/bin:/usr/bin"),
        ("SHELL", "/bin/bash"),
        ("GREETING", " two words "),
        ("EMPTY", ""),
        ("Q", "\"'"),
    ];
    let text =
        render_system(&with_env(full, &variables), &name(), object(), WRAPPER, &berlin(), Some("/tmp/demo root/100%"));
    insta::assert_snapshot!("everything", text.expect("renders"));
}

#[test]
fn a_disabled_job_and_a_user_s_block() {
    let mut off = job("@daily", "true");
    off.enabled = false;
    insta::assert_snapshot!("disabled", render(&off));
    let first = job("*/5 * * * *", "date +%s");
    let name = name();
    let jobs = [&first, &off].map(|job| BlockJob { job, name: &name, object: object() });
    let block = render_user_block(&jobs, WRAPPER, &berlin(), None).expect("renders");
    let text = replace_block(b"MAILTO=me\n0 0 * * * own job", "www-data", &block);
    insta::assert_snapshot!("user_block", String::from_utf8(text).expect("text"));
}

#[test]
fn a_long_command_is_shortened_in_the_line_and_a_path_that_can_t_stand_there_is_refused() {
    let text = render(&job("* * * * *", &"ü%".repeat(2000)));
    let longest = text.lines().map(str::len).max().expect("lines");
    assert!((990..MAX_LINE_BYTES).contains(&longest), "{longest}");
    assert_eq!(lint(&text, CronTable::System), []);
    let with = |wrapper: &str| render_system(&job("* * * * *", "x"), &name(), object(), wrapper, &berlin(), None);
    assert_eq!(with("lampas-agent"), Err(RenderError::Path("lampas-agent".into())));
    assert!(matches!(with(&format!("/{}", "x".repeat(1000))), Err(RenderError::LineTooLong { .. })));
}

fn check_line(text: &str, table: CronTable, expected: LineContent) {
    assert_eq!(parse(text, table).lines[0].content, expected, "{text:?}");
}

#[test]
fn lines_are_read_as_cron_reads_them() {
    let variable = |name: &str, value: &str| LineContent::Variable { name: name.into(), value: value.into() };
    check_line("A=b c  \n", CronTable::System, variable("A", "b c"));
    check_line("  A = \" b \"  \n", CronTable::System, variable("A", " b "));
    check_line("'A B'='$x'\n", CronTable::System, variable("A B", "$x"));
    check_line("A=it's\n", CronTable::System, variable("A", "it's"));
    check_line("A=\"\"\n", CronTable::System, variable("A", ""));
    check_line(" \t\n", CronTable::System, LineContent::Blank);
    check_line("  # x\n", CronTable::System, LineContent::Comment);
    check_line(
        "A=\n",
        CronTable::System,
        LineContent::Invalid("schedule: 1 field, cron needs 5 (minute hour day month weekday)".into()),
    );
    let job = |schedule: &str, user: Option<&str>, command: &str| LineContent::Job {
        schedule: schedule.parse().expect("valid"),
        user: user.map(|u| UserName::parse(u).expect("valid")),
        command: command.into(),
    };
    check_line("*/5\t*  * * * root  A=b run  it\n", CronTable::System, job("*/5 * * * *", Some("root"), "A=b run  it"));
    check_line("@daily run it", CronTable::User, job("@daily", None, "run it"));
    check_line("* * * * * root\n", CronTable::System, LineContent::Invalid("there is no command".into()));
    check_line(
        "* * * * * ro!ot x\n",
        CronTable::System,
        LineContent::Invalid(
            "user \"ro!ot\": '!' is not allowed; use letters, digits, '_', '-' and '.', starting with a letter or '_'"
                .into(),
        ),
    );
}

#[test]
fn percent_signs_are_escaped_and_unescaped_as_cron_does() {
    for (shell, line) in [("date +%F", "date +\\%F"), ("a\\b", "a\\b"), ("100%%", "100\\%\\%")] {
        assert_eq!(escape(shell), line);
        assert_eq!(unescape(line), (shell.to_owned(), None));
    }
    assert_eq!(unescape("mail me%hello%you"), ("mail me".to_owned(), Some("hello%you")));
    assert_eq!(unescape("a\\\\%b"), ("a\\\\".to_owned(), Some("b")), "an escaped backslash escapes no more");
}

#[test]
fn lint_names_columns() {
    let column = |text: &str| lint(text, CronTable::User)[0].column;
    assert_eq!(column("@daily écho %F\n"), Some(13));
    assert_eq!(column("@daily date +\\%F %x\n"), Some(18));
    assert_eq!(column("A=$HOME\n"), Some(3));
    assert_eq!(column("@daily true"), Some(12));
    assert_eq!(column("* * * true\n"), None);
}

#[test]
fn lint_names_lines() {
    let check = |text: &str, table, expected: &[&str]| {
        let found: Vec<_> = lint(text, table).iter().map(Finding::to_string).collect();
        assert_eq!(found, expected, "{text:?}");
    };
    check("A=b\n* * * * * root true\n", CronTable::System, &[]);
    check(
        "* * * * * root true",
        CronTable::System,
        &["line 1: the last line has no newline: cron ignores the whole file"],
    );
    check(
        "\n* * * * * true\r\n",
        CronTable::User,
        &["line 2: ends with a carriage return, which becomes part of the value or command"],
    );
    check(
        "CRON_TZ=UTC\nP=$HOME\n* * * * * x%y\n* * * *\n",
        CronTable::User,
        &[
            "line 1: CRON_TZ does not change when jobs run: cron goes by the node's zone",
            "line 2: cron does not expand variables: '$' stays as it is",
            "line 3: cron ends the command at '%' and gives it the rest as input; write '\\%' for a percent sign",
            "line 4: schedule: 4 fields, cron needs 5 (minute hour day month weekday)",
        ],
    );
    check(
        "bad\n",
        CronTable::System,
        &["line 1: schedule: 1 field, cron needs 5 (minute hour day month weekday); cron ignores the whole file"],
    );
    assert_eq!(lint_file_name("lampas-hello_2"), None);
    assert!(lint_file_name("hello.sh").is_some_and(|m| m.contains("ignores")));
}

fn adopt(current: &CronJob, edit: impl FnOnce(String) -> String) -> Result<Adopted, AdoptError> {
    read_back(&edit(render(current)), object(), current, &berlin())
}

fn check_adopt(edit: impl FnOnce(String) -> String, expected: CronJob, notes: usize) {
    let current = with_env(job("*/5 * * * *", "date +%F"), &[("LANG", "C")]);
    let adopted = adopt(&current, edit).expect("can be adopted");
    assert_eq!(adopted.job, expected);
    assert_eq!(adopted.notes.len(), notes, "{:?}", adopted.notes);
}

#[test]
fn an_edited_file_is_adopted() {
    let current = with_env(job("*/5 * * * *", "date +%F"), &[("LANG", "C")]);
    let changed = |edit: fn(&mut CronJob)| {
        let mut job = current.clone();
        edit(&mut job);
        job
    };
    check_adopt(|text| text, current.clone(), 0);
    check_adopt(
        |text| text.replace("*/5 * * * * www-data", "0 4 * * * root"),
        changed(|job| {
            job.schedule = "0 4 * * *".parse().expect("valid");
            job.user = UserName::root();
        }),
        0,
    );
    check_adopt(
        |text| text.replace("LANG=C", "MAILTO=ops@example\nTERM='a b'"),
        changed(|job| {
            job.environment = BTreeMap::from([(EnvName::parse("TERM").expect("valid"), "a b".to_owned())]);
            job.mailto = Some("ops@example".into());
        }),
        0,
    );
    let call = format!("{WRAPPER} job run {}  # date +\\%F", object());
    check_adopt(
        |text| text.replace(&call, "date +\\%T # seconds"),
        changed(|job| job.command = "date +%T # seconds".into()),
        0,
    );
    check_adopt(|text| text.replace("# date +\\%F", "# date +\\%T"), changed(|job| job.command = "date +%T".into()), 1);
    check_adopt(|text| text.replace("*/5 *", "#*/5 *"), changed(|job| job.enabled = false), 1);
}

#[test]
fn what_can_t_be_adopted_says_why() {
    let current = job("*/5 * * * *", "date +%F");
    let check = |edit: &dyn Fn(String) -> String, part: &str| {
        let error = adopt(&current, edit).expect_err(part);
        let text = lampas_shared::error::Chain(&error).to_string();
        assert!(text.contains(part), "{text}");
    };
    check(&|text| text + "* * * * * root other\n", "it has 2 jobs");
    check(&|text| text.replace("*/5 * * * *", "*/5 * * *"), "line 5 can't be adopted: schedule");
    check(&|text| text.replace("  # ", " >/dev/null # "), "something was added to the call");
    check(&|text| text.replace("# date +\\%F", "# mail x%y"), "input after '%'");
    check(&|text| text.replace("SHELL=", "USER=root\nSHELL="), "is set by cron");
}

#[test]
fn an_edit_of_a_line_for_another_zone_goes_by_the_node_s_zone() {
    let mut current = job("30 2 * * *", "true");
    current.time_zone = Some(TimeZoneName::parse("Asia/Tokyo").expect("a name"));
    let adopted = adopt(&current, |text| text).expect("adoptable");
    assert_eq!((adopted.job, adopted.notes.len()), (current.clone(), 0));
    let adopted = adopt(&current, |text| text.replace("30 * * * *", "15 * * * *")).expect("adoptable");
    assert_eq!(adopted.job.schedule.as_str(), "15 * * * *");
    assert_eq!((adopted.job.time_zone, adopted.notes.len()), (None, 1));
}

#[test]
fn a_job_is_found_in_a_user_s_block() {
    let mut current = job("*/5 * * * *", "true");
    current.table = CronTable::User;
    let other = ObjectId::parse("0199f2aa-0000-7000-8000-000000000002").expect("an id");
    let (name, other_job) = (name(), job("0 0 * * *", "false"));
    let jobs = [(&other_job, other), (&current, object())].map(|(job, object)| BlockJob { job, name: &name, object });
    let block = render_user_block(&jobs, WRAPPER, &berlin(), None).expect("renders");
    let read = |text: &str| read_back(text, object(), &current, &berlin()).map(|a| a.job);
    assert_eq!(read(&block), Ok(current.clone()));
    let edited = read(&block.replace("*/5", "*/7")).expect("adoptable");
    assert_eq!(edited.schedule.as_str(), "*/7 * * * *");
    assert!(!read(&block.replace("*/5", "#*/5")).expect("adoptable").enabled);
    assert_eq!(read(&block.replace(&object().to_string(), "x")), Err(AdoptError::NotFound));
}

fn any_job() -> impl Strategy<Value = CronJob> {
    let value = "[ -~ü]{0,40}";
    let env = prop::collection::btree_map("[A-Z_][A-Z0-9_]{0,6}", value, 0..4);
    let zone = prop::option::of(prop::sample::select(vec!["UTC", "Europe/Vienna", "Asia/Kathmandu"]));
    (
        "[!-~ü][ -~ü]{0,200}",
        env,
        prop::option::of("[a-z@., ]{0,20}"),
        zone,
        prop::sample::select(vec!["@daily", "*/7 3 * * 1,5", "0 0 1 1 *"]),
    )
        .prop_map(|(command, env, mailto, zone, schedule)| {
            let mut job = job(schedule, &command);
            for (name, value) in env {
                if !matches!(name.as_str(), "LOGNAME" | "USER" | "MAILTO" | "CRON_TZ") {
                    job.environment.insert(EnvName::parse(name).expect("a name"), value);
                }
            }
            job.mailto = mailto;
            job.time_zone = zone.map(|z| TimeZoneName::parse(z).expect("a name"));
            job
        })
}

proptest! {
    #[test]
    fn a_rendered_file_is_sound_and_reads_back_as_its_job(job in any_job()) {
        let text = render(&job);
        let severe: Vec<_> = lint(&text, CronTable::System).into_iter().filter(|f| f.severity == Severity::Error).collect();
        prop_assert_eq!(severe, vec![]);
        let (_, line) = parse(&text, CronTable::System).jobs().next().map(|(n, l)| (n, l.clone())).expect("a job");
        let LineContent::Job { command, .. } = line.content else { panic!("a job") };
        prop_assert_eq!(unescape(&command).1, None, "nothing is cut at a percent sign");
        prop_assert_eq!(read_back(&text, object(), &job, &berlin()), Ok(Adopted { job, notes: vec![] }));
    }

    #[test]
    fn any_bytes_are_read_and_come_back(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for table in [CronTable::System, CronTable::User] {
            prop_assert_eq!(parse(&bytes, table).to_bytes(), bytes.clone());
            let _ = lint(&bytes, table);
        }
    }

    #[test]
    fn near_crontabs_are_read_and_adopted_without_panic(text in "([-A-Z*/,0-9@a-z \t'\"=%\\\\#\n]{0,60}\n?){0,3}") {
        for table in [CronTable::System, CronTable::User] {
            prop_assert_eq!(parse(&text, table).to_string(), text.clone());
            let mut current = job("* * * * *", "true");
            current.table = table;
            let _ = read_back(&text, object(), &current, &berlin());
        }
    }
}
