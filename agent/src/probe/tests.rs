//! Probes against real listeners: those that answer, stall, redirect, and speak garbage.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
};

use lampas_shared::probe::Compare;

use super::{net::Stage, *};

/// Answers every connection with these bytes, and then keeps it open or not.
fn serve(answer: impl Into<Vec<u8>>, closes: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let answer = answer.into();
    thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&answer);
            if !closes {
                open.push(stream);
            }
        }
    });
    address
}

fn probe(words: &[&str]) -> Probe {
    Probe::from_words(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>()).expect("a probe")
}

/// One look, without giving up the power of the tests.
fn look(words: &[&str]) -> Answer {
    let probe = probe(words);
    let paths = Paths::new("/");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let stage = Stage::default();
    let trust = |tls| Some(tls::Trust::load(tls, &paths));
    let look = async {
        match &probe.what {
            What::Tcp(tcp) => http::tcp(tcp, tcp.tls.as_ref().and_then(trust).as_ref(), &stage).await,
            What::Http(url) if url.url.is_tls() => http::http(url, trust(&url.tls).as_ref(), &stage).await,
            What::Http(url) => http::http(url, None, &stage).await,
            What::Series(series) => series::look(series, Number::new(100.0), None, &stage).await,
            _ => look_here(&probe, None, &paths),
        }
    };
    let limit = Duration::from_secs(u64::from(probe.timeout_secs));
    let answer = runtime.block_on(async { tokio::time::timeout(limit, look).await });
    answer.unwrap_or_else(|_| Answer::no(format!("no answer ({})", stage.word())))
}

fn says(words: &[&str], holds: bool, text: &str) {
    let answer = look(words);
    assert!(answer.holds == holds && answer.found.text.contains(text), "{words:?}: {answer:?}");
}

#[test]
fn a_url_is_judged_by_its_status_and_body() {
    let ok = serve("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nall is well", true);
    let url = format!("http://{ok}/health");
    says(&["http", &url], true, "200, in ");
    says(&["http", &url, "contains=is well"], true, "200");
    says(&["http", &url, "contains=is bad"], false, "\"is bad\" is not in its body, which begins with \"all is well\"");
    says(&["http", &url, "status=204"], false, "200, expected 204");
    let chunked =
        serve("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n8\r\n is well\r\n0\r\n\r\n", false);
    says(&["http", &format!("http://{chunked}/"), "contains=all is well"], true, "200");
    let ill = serve("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", true);
    says(&["http", &format!("http://{ill}/")], false, "503, expected 200-299");
    let moved = serve("HTTP/1.1 301 Moved\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n", true);
    says(&["http", &format!("http://{moved}/")], false, "301 to http://169.254.169.254/, expected 200-299");
}

#[test]
fn what_stalls_or_speaks_garbage_is_bounded_and_told() {
    let silent = serve("", false);
    says(&["http", &format!("http://{silent}/"), "timeout=1s"], false, "waiting for its answer");
    let half = serve("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhal", false);
    says(&["http", &format!("http://{half}/"), "contains=x", "timeout=1s"], false, "reading its answer");
    let garbage = serve("SSH-2.0-OpenSSH_9.6\r\n", true);
    says(&["http", &format!("http://{garbage}/")], false, "is no HTTP");
    let endless = serve(vec![b'x'; 1 << 20], true);
    says(&["http", &format!("http://{endless}/")], false, "is no HTTP");
    let head = serve([b"HTTP/1.1 200 OK\r\n".to_vec(), b"X: y\r\n".repeat(100_000), b"\r\n".to_vec()].concat(), true);
    says(&["http", &format!("http://{head}/")], false, "is no HTTP");
    let nothing = serve("", true);
    says(&["http", &format!("http://{nothing}/")], false, "the connection ended");
    says(&["tcp", &garbage.port().to_string(), "tls", "insecure"], false, "TLS with 127.0.0.1 failed");
    let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port nobody has");
    says(&["tcp", &free.port().to_string()], false, "nothing listens on");
    says(&["tcp", &garbage.port().to_string()], true, "accepts");
    says(&["http", "http://192.0.2.1/"], false, "neither this node nor a node of the fleet");
}

#[test]
fn a_series_is_compared_and_the_worst_decides() {
    let text = "errors{code=\"500\"} 3\nerrors{code=\"502\"} 7\nodd NaN\nload 109\n";
    let answer = |text: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
    let url = format!("http://{}/metrics", serve(answer(text), true));
    says(&["metric", &url, "errors", "<", "8"], true, "7, as expected < 8 (the worst of 2 series)");
    says(&["metric", &url, "errors", "<", "5"], false, "7, expected < 5");
    says(&["metric", &url, "errors{code=\"500\"}", "<", "5"], true, "3, as expected < 5");
    says(&["metric", &url, "absent", "<", "5"], false, "has no absent");
    says(&["metric", &url, "odd", "<", "5"], false, "NaN, expected < 5");
    says(&["metric", &url, "load", "<=", "before+10%"], true, "<= 110 (10 % over 100 before the change)");
    says(&["metric", &url, "load", "<=", "before+5%"], false, "109, expected <= 105");
    // Endless text ends at the bound; what it says of the series before doesn't count.
    let endless = [b"HTTP/1.1 200 OK\r\n\r\nup 1\n".to_vec(), b"other 1\n".repeat(3 << 20)].concat();
    says(&["metric", &format!("http://{}/", serve(endless, false)), "up", ">", "0"], false, "serves more than 16 MiB");
    let html = serve(answer("<html>up</html>\n"), true);
    says(&["metric", &format!("http://{html}/"), "up", ">", "0"], false, "has no up");
}

#[test]
fn certificates_are_judged() {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let not_after = lampas_runtime::clock::now().0 / 1000 + 10 * 86_400 + 3600;
    params.not_after = time::OffsetDateTime::from_unix_timestamp(not_after).expect("a time");
    let cert = params.self_signed(&key).expect("a certificate");
    let dir = tempfile::tempdir_in("/tmp").expect("a directory");
    let ca = dir.path().join("own.pem");
    std::fs::write(&ca, cert.pem()).expect("written");
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![cert.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
        )
        .expect("a configuration");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let config = Arc::new(config);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Ok(tls) = rustls::ServerConnection::new(Arc::clone(&config)) else { return };
            let mut stream = rustls::StreamOwned::new(tls, stream);
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    let (url, ca) = (format!("https://localhost:{port}/"), format!("ca={}", ca.display()));
    says(&["http", &url, &ca, "contains=ok"], true, "200");
    says(&["http", &url, &ca, "days=9"], true, "200");
    says(&["http", &url, &ca, "days=14"], false, "is valid for 10 days, expected at least 14 days");
    says(&["http", &url], false, "TLS with localhost failed");
    says(&["http", &url, "insecure"], true, "200");
    says(&["http", &format!("https://127.0.0.1:{port}/"), &ca], false, "TLS with 127.0.0.1 failed");
    says(&["http", &format!("https://127.0.0.1:{port}/"), &ca, "host=localhost"], true, "200");
    says(
        &["tcp", &port.to_string(), "tls", &ca, "server-name=localhost"],
        true,
        "its certificate is valid for 10 days",
    );
}

#[test]
fn the_node_measures_itself() {
    for measure in lampas_shared::probe::Measure::ALL {
        let answer = look(&["metric", measure.as_str(), ">=", "0"]);
        assert!(answer.holds && answer.found.value.is_some(), "{}: {answer:?}", measure.as_str());
    }
    says(&["metric", "disk_free_percent:/no/such/place", ">", "0"], false, "/no/such/place can't be measured");
    says(&["metric", "memory_available_percent", ">", "100"], false, "%, expected > 100");
    let own = std::fs::read_to_string("/proc/self/comm").expect("a name");
    says(&["process", own.trim()], true, " run");
    says(&["process", "no-such-program"], false, "no process of this name runs");
}

#[test]
fn it_may_take_a_while_and_then_must_hold() {
    let decided = |words: &[&str], answers: &[bool]| {
        let mut left = answers.iter().copied();
        let mut last = false;
        let mut lines = Vec::new();
        let answer = until_decided(&probe(words), &mut lines, || {
            last = left.next().unwrap_or(last);
            if last { Answer::yes("up") } else { Answer::no("down") }
        });
        (answer.holds, answer.found.text, String::from_utf8(lines).expect("text"))
    };
    assert_eq!(decided(&["tcp", "1"], &[true, false]), (true, "up".into(), "up\n".into()));
    assert_eq!(decided(&["tcp", "1"], &[false, true]), (false, "down".into(), "down\n".into()));
    let patient = ["tcp", "1", "within=30s", "every=1s"];
    assert_eq!(decided(&patient, &[false, true]), (true, "up".into(), "down\nup\n".into()));
    let lasting = ["tcp", "1", "for=1s", "every=1s"];
    assert_eq!(decided(&lasting, &[true]), (true, "up, for 1 s".into(), "up\n".into()));
    let (holds, text, _) = decided(&lasting, &[true, false]);
    assert!(!holds && text.starts_with("down, after it had held for"), "{text}");
}

#[test]
fn nothing_is_compared_with_nothing() {
    let bound = Bound { compare: Compare::AtMost, number: None, worse_percent: Number::new(10.0) };
    let measured = compared(&bound, 4.25, None, "");
    assert_eq!((measured.holds, measured.found.text.as_str(), measured.found.value), (true, "4.25", Number::new(4.25)));
    assert!(!compared(&bound, f64::INFINITY, None, "").holds);
}
