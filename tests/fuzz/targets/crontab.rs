//! Tables of cron, as found on a node or edited by hand: read, checked, adopted, and every schedule in them asked for
//! its next runs.
#![no_main]

use lampas_render::{Zone, crontab, next_runs, slot_for};
use lampas_shared::{
    host::{CronJob, CronTable, UserName},
    id::ObjectId,
    time::UnixMs,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for table in [CronTable::System, CronTable::User] {
        let read = crontab::parse(bytes, table);
        assert_eq!(read.to_bytes(), bytes);
        let _ = crontab::lint(bytes, table);
        let once = crontab::replace_block(bytes, "root", "* * * * * true\n");
        assert_eq!(crontab::replace_block(&once, "root", "* * * * * true\n"), once);
        for (_, line) in read.jobs() {
            let crontab::LineContent::Job { schedule, .. } = &line.content else { continue };
            let now = UnixMs(1_792_888_200_000);
            let _ = next_runs(schedule, &Zone::utc(), now, 3);
            let _ = slot_for(&job(schedule.clone(), table), &Zone::utc(), now, None);
        }
        if let Ok(text) = std::str::from_utf8(bytes) {
            let current = job("*/5 * * * *".parse().expect("valid"), table);
            let object = ObjectId::parse("0199f2aa-0000-7000-8000-000000000001").expect("valid");
            let _ = crontab::read_back(text, object, &current, &Zone::utc());
        }
    }
});

fn job(schedule: lampas_shared::host::Schedule, table: CronTable) -> CronJob {
    CronJob {
        schedule,
        user: UserName::root(),
        command: "true".into(),
        environment: Default::default(),
        mailto: None,
        time_zone: None,
        table,
        timeout_secs: None,
        enabled: true,
        template: false,
    }
}
