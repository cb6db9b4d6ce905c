//! Texts of probes, bounds, and the text of Prometheus in pieces.

use proptest::prelude::*;

use super::*;

fn words(text: &[&str]) -> Result<Probe, TextError> {
    Probe::from_words(&text.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
}

#[test]
fn what_is_typed_is_what_is_read_back() {
    let check = |text: &[&str], title: &str| {
        let probe = words(text).unwrap_or_else(|e| panic!("{text:?}: {e}"));
        assert_eq!(probe.title(), title);
        assert_eq!(Probe::from_words(&probe.words()).expect("its own words"), probe, "{:?}", probe.words());
        let json = serde_json::to_string(&probe).expect("JSON");
        assert_eq!(serde_json::from_str::<Probe>(&json).expect("its own JSON"), probe, "{json}");
    };
    check(&["tcp", "5432"], "TCP 127.0.0.1:5432");
    check(&["tcp", "[::1]:443", "tls", "server-name=a.example", "insecure", "days=14"], "TLS on [::1]:443");
    check(&["http", "http://127.0.0.1:8080/health?a=1"], "GET http://127.0.0.1:8080/health?a=1");
    check(
        &["https://db-1/", "method=HEAD", "status=204", "ca=/etc/ssl/own.pem", "host=app.example", "elsewhere"],
        "HEAD https://db-1/",
    );
    check(
        &["http", "http://localhost", "contains=all is well", "within=30s", "for=1m", "every=2s"],
        "GET http://localhost",
    );
    check(&["unit", "nginx"], "unit nginx.service");
    check(&["process", "nginx"], "process nginx");
    check(&["metric", "load_per_core", "<", "2", "for=1m"], "load_per_core");
    check(&["metric", "disk_free_percent:/var", ">", "10"], "disk_free_percent of /var");
    check(
        &["metric", "http://127.0.0.1:9100/metrics", r#"errors{code="5\"0",x!="y"}"#, "<=", "before+10%"],
        r#"errors{code="5\"0",x!="y"} of http://127.0.0.1:9100/metrics"#,
    );
    check(&["metric", "memory_available_percent", ">=", "before-2.5%"], "memory_available_percent");
}

#[test]
fn what_is_wrong_is_named() {
    let check = |text: &[&str], expected: &str| {
        let error = words(text).expect_err("wrong").to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
    };
    check(&[], "lacks what is asked");
    check(&["ping", "web-1"], "is none of tcp, http, unit, process and metric");
    check(&["tcp", "127.0.0.1"], "write HOST:PORT");
    check(&["tcp", "127.1:80"], "neither an address nor a host name");
    check(&["tcp", "80", "insecure"], "say tls as well");
    check(&["http", "ftp://a/"], "only http and https");
    check(&["http", "http://user:secret@a/"], "no user and no password");
    check(&["http", "http://a/#x"], "fragment");
    check(&["http", "http://a/ b"], "must be written as %XX");
    check(&["http", "http://a:0/"], "has no host, or a port that is none");
    check(&["http", "http://a/", "insecure"], "is not https");
    check(&["http", "https://a/", "insecure", "ca=/etc/own.pem"], "takes any certificate");
    check(&["http", "http://a/", "status=99"], "must be 100 to 599");
    check(&["http", "http://a/", "status=300-200"], "the lesser first");
    check(&["http", "http://a/", "method=HEAD", "contains=x"], "has no body");
    check(&["http", "http://a/", "host=a b"], "neither an address nor a host name");
    check(&["http", "http://a/", "colour=red"], "is not known here");
    check(&["http", "http://a/", "for=2h"], "must be 0 to 3600 seconds");
    check(&["http", "http://a/", "for=soon"], "write 30s");
    check(&["process", "/usr/sbin/nginx"], "without a path");
    check(&["metric", "load", "<", "1"], "is neither a URL nor one of load_per_core");
    check(&["metric", "load_per_core:/var", "<", "1"], "is not of a disk");
    check(&["metric", "load_per_core", "==", "1"], "is none of <, <=, > and >=");
    check(&["metric", "load_per_core", "<", "NaN"], "is not a number");
    check(&["metric", "load_per_core", "<", "before-5%"], "before+10%");
    check(&["metric", "http://a/", "1x", "<", "1"], "must begin with a metric's name");
}

#[test]
fn some_addresses_are_never_reached() {
    for never in [
        "169.254.169.254",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "fe80::1",
        "::",
        "ff02::1",
        "::ffff:169.254.0.1",
        "168.63.129.16",
        "::ffff:100.100.100.200",
        "fd00:ec2::254",
    ] {
        assert!(is_never_reached(never.parse().expect("an address")), "{never}");
    }
    for fine in ["127.0.0.1", "10.0.0.1", "192.168.1.1", "::1", "fd00::1", "203.0.113.9"] {
        assert!(!is_never_reached(fine.parse().expect("an address")), "{fine}");
    }
}

#[test]
fn a_bound_of_before_is_a_distance() {
    let bound = |compare, percent| Bound { compare, number: None, worse_percent: Number::new(percent) };
    let check = |bound: Bound, before: f64, value: f64, expected: bool| {
        let limit = bound.limit(Number::new(before)).expect("there is a value from before");
        assert_eq!(bound.compare.holds(value, limit), expected, "{value} {} {limit}", bound.compare.as_str());
    };
    check(bound(Compare::AtMost, 10.0), 100.0, 110.0, true);
    check(bound(Compare::AtMost, 10.0), 100.0, 110.1, false);
    check(bound(Compare::AtLeast, 10.0), 100.0, 90.0, true);
    check(bound(Compare::AtLeast, 10.0), 100.0, 89.9, false);
    check(bound(Compare::AtMost, 10.0), -100.0, -90.0, true);
    check(bound(Compare::AtMost, 0.0), 0.0, 0.0, true);
    assert_eq!(bound(Compare::AtMost, 10.0).limit(None), None);
    assert_eq!(bound(Compare::AtMost, 10.0).words(Number::new(1.0)), "<= 1.1 (10 % over 1 before the change)");
    for value in [f64::NAN, f64::INFINITY] {
        assert!(!Compare::Less.holds(value, 1e300) && Number::new(value).is_none());
    }
}

fn scan(series: &str, pieces: &[&[u8]]) -> Result<Values, String> {
    let series: Series = series.parse().expect("a series");
    let mut scanner = Scanner::new(&series);
    for piece in pieces {
        scanner.push(piece);
    }
    scanner.finish()
}

const TEXT: &str = r#"# HELP up Whether it is up.
# TYPE up gauge
up 1
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400"}    3 1395066363000
http_requests_total_more 99
msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9
metric_without_timestamp_and_labels 12.47
something_weird{problem="division by zero"} +Inf -3982045
odd{a="}",b="x,y"} NaN
latency_bucket{le="+Inf"} 4 # {trace_id="x"} 0.67
"#;

#[test]
fn the_examples_of_the_format_are_read() {
    let check = |series: &str, count, least: f64, greatest: f64| {
        let found = scan(series, &[TEXT.as_bytes()]).expect("text");
        assert_eq!((found.count, found.least, found.greatest), (count, least, greatest), "{series}");
    };
    check("up", 1, 1.0, 1.0);
    check("http_requests_total", 2, 3.0, 1027.0);
    check(r#"http_requests_total{code="400"}"#, 1, 3.0, 3.0);
    check(r#"http_requests_total{code!="400",method="post"}"#, 1, 1027.0, 1027.0);
    check(r#"http_requests_total{zone=""}"#, 2, 3.0, 1027.0);
    check(r#"msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT"}"#, 1, 1_458_255_915.0, 1_458_255_915.0);
    check("something_weird", 1, f64::INFINITY, f64::INFINITY);
    check("latency_bucket", 1, 4.0, 4.0);
    assert_eq!(scan("absent", &[TEXT.as_bytes()]).expect("text").count, 0);
    let nan = scan(r#"odd{b="x,y"}"#, &[TEXT.as_bytes()]).expect("text");
    assert_eq!((nan.count, nan.nan), (1, 1));
}

#[test]
fn garbage_of_the_wanted_name_is_told_and_other_garbage_skipped() {
    for bad in ["up\n", "up x\n", "up{a=} 1\n", "up{a=\"1} 1\n", "up{a=\"1\" b=\"2\"} 1\n", "up{=\"\"} 1", "up \u{0}1"]
    {
        assert!(scan("up", &[bad.as_bytes()]).is_err(), "{bad:?}");
    }
    assert!(scan("up", &[b"up \xff\n"]).is_err());
    assert_eq!(scan("up", &[b"\xff\xfe{\n<html>\nup 1"]).expect("text").count, 1);
}

#[test]
fn size_is_bounded() {
    // A line of ten megabytes, in pieces: skipped when it is another's, told when it is ours.
    let long = vec![b'x'; 10 << 20];
    let found = scan("up", &[b"other{a=\"", &long, b"\"} 1\nup 2\n"]).expect("text");
    assert_eq!((found.count, found.greatest), (1, 2.0));
    let told = scan("up", &[b"up{a=\"", &long, b"\"} 1\nup 2\n"]).expect_err("too long");
    assert!(told.contains("longer than"), "{told}");
    // A million values of one label.
    let series: Series = r#"hits{user!="7"}"#.parse().expect("a series");
    let mut scanner = Scanner::new(&series);
    for user in 0..1_000_000_u32 {
        scanner.push(format!("hits{{user=\"{user}\"}} {user}\n").as_bytes());
    }
    let found = scanner.finish().expect("text");
    assert_eq!((found.count, found.least, found.greatest), (999_999, 0.0, 999_999.0));
}

#[test]
fn what_was_found_is_one_plain_line() {
    let found = Found::new(&format!("500,\r\n\u{202e}expected{}", "é".repeat(900)), None);
    assert!(
        found.text.len() <= Found::MAX_TEXT && found.text.starts_with("500,   expected") && found.text.ends_with('…')
    );
}

proptest! {
    /// However the text is cut, the same is found; and nothing makes it panic.
    #[test]
    fn pieces_make_no_difference(
        mut lines in prop::collection::vec("(up|down)?(\\{[a-c=\",!]{0,9}\\})? ?[0-9+.eNaIif-]{0,5}[\u{0}-\u{ff}]{0,3}", 0..8),
        cuts in prop::collection::vec(0_usize..200, 0..6),
    ) {
        lines.push("up{a=\"b\"} 3".to_owned());
        let text = lines.join("\n").into_bytes();
        let whole = scan("up", &[&text]);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(text.len())).chain([0, text.len()]).collect();
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect();
        prop_assert_eq!(whole, scan("up", &pieces));
    }

    /// Hostile words make an error, never a panic; and what is taken reads back.
    #[test]
    fn any_words_are_read_or_refused(words in prop::collection::vec("tcp|http|metric|unit|<|tls|for=[0-9]{1,5}[smh]?|https?://[a-z0-9:/.\\[\\]@#-]{0,12}|load_per_core|[\\PC]{0,12}", 0..8)) {
        if let Ok(probe) = Probe::from_words(&words) {
            prop_assert_eq!(Probe::from_words(&probe.words()).expect("its own words"), probe);
        }
    }
}
