//! The client against servers of this machine, on real sockets.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

fn rules(allow: &[&str]) -> Rules {
    let allow = allow.iter().map(|n| n.parse().expect(n)).collect();
    Rules { allow, allow_http: vec!["127.0.0.1".to_owned(), "localhost".to_owned()], ca_file: None }
}

fn client(allow: &[&str]) -> Egress {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Egress::new(&rules(allow))
}

/// Answers every connection with the same bytes, and holds it open afterwards if asked to.
async fn server(answer: impl Into<Vec<u8>>, holds: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let answer = answer.into();
    lampas_runtime::Tasks::default().spawn("test.server", async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&answer).await;
            if holds {
                held.push(stream);
            }
        }
    });
    address
}

fn plain(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn moved(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

#[tokio::test]
async fn what_is_listed_is_fetched_and_nothing_else() {
    let at = server(plain("hello"), false).await;
    let url = format!("http://127.0.0.1:{}/", at.port());
    let got = client(&["127.0.0.0/8"]).send(Ask::get(url.clone())).await.expect("fetched");
    assert_eq!((got.status.as_u16(), got.body.as_slice()), (200, b"hello".as_slice()));
    let refused = client(&["10.0.0.0/8"]).send(Ask::get(url)).await.expect_err("is not listed");
    assert!(matches!(refused, EgressError::Refused { .. }), "{refused}");
    // A name is judged by where it leads, in the resolver of the connection.
    let named = format!("http://localhost:{}/", at.port());
    let refused = client(&[]).send(Ask::get(named.clone())).await.expect_err("leads inside");
    assert!(matches!(refused, EgressError::Refused { .. }), "{refused}");
    assert_eq!(client(&["127.0.0.0/8"]).send(Ask::get(named)).await.expect("fetched").body, b"hello");
}

#[tokio::test]
async fn addresses_are_checked_however_they_are_written() {
    let client = client(&[]);
    for url in [
        "http://127.0.0.1/",
        "http://2130706433/",
        "https://0x7f.1/",
        "https://[::1]/",
        "https://[::ffff:169.254.169.254]/latest",
        "https://169.254.169.254/",
    ] {
        let refused = client.check(url).expect_err(url);
        assert!(matches!(refused, EgressError::Refused { .. } | EgressError::Scheme { .. }), "{url}: {refused}");
    }
    for url in ["ftp://example.com/", "file:///etc/passwd", "http://example.com/", "gopher://example.com", "", "x"] {
        let refused = client.check(url).expect_err(url);
        assert!(matches!(refused, EgressError::Url(_) | EgressError::Scheme { .. }), "{url}: {refused}");
    }
    client.check("https://example.com/x").expect("is public as far as that can be told");
}

#[tokio::test]
async fn redirects_are_followed_when_asked_and_checked_each() {
    let end = server(plain("end"), false).await;
    let inside = client(&["127.0.0.0/8"]);
    let at = server(moved(&format!("http://127.0.0.1:{}/x", end.port())), false).await;
    let url = format!("http://127.0.0.1:{}/", at.port());
    let refused = inside.send(Ask::get(url.clone())).await.expect_err("off by default");
    assert!(matches!(refused, EgressError::Redirect { .. }), "{refused}");
    assert_eq!(inside.send(Ask::get(url.clone()).follow(1)).await.expect("followed").body, b"end");
    let refused = inside.send(Ask::post(url, "secret").follow(1)).await.expect_err("a body is not sent on");
    assert!(matches!(refused, EgressError::Redirect { .. }), "{refused}");
    for (to, is_scheme) in [("http://169.254.169.254/latest/meta-data", true), ("https://169.254.169.254/", false)] {
        let at = server(moved(to), false).await;
        let ask = Ask::get(format!("http://127.0.0.1:{}/", at.port())).follow(3);
        let refused = inside.send(ask).await.expect_err("leads to credentials of the cloud");
        assert_eq!(matches!(refused, EgressError::Scheme { .. }), is_scheme, "{refused}");
        assert_eq!(matches!(refused, EgressError::Refused { .. }), !is_scheme, "{refused}");
    }
    // A loop ends.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let at = server(moved("/again"), false).await;
    let refused = inside.send(Ask::get(format!("http://127.0.0.1:{}/", at.port())).follow(5)).await;
    assert!(matches!(refused, Err(EgressError::Redirect { .. })), "{refused:?}");
    let refused = inside.send(Ask::get(format!("http://127.0.0.1:{port}/"))).await.expect_err("nobody listens");
    assert!(matches!(refused, EgressError::Failed { .. }), "{refused}");
}

#[tokio::test]
async fn answers_are_bounded_in_bytes_and_time() {
    let inside = client(&["127.0.0.0/8"]);
    let big = "x".repeat(5000);
    for answer in [plain(&big), format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{big}")] {
        let at = server(answer, false).await;
        let ask = Ask::get(format!("http://127.0.0.1:{}/", at.port())).at_most(4000);
        let refused = inside.send(ask).await.expect_err("is too long");
        assert!(matches!(refused, EgressError::TooLarge { limit: 4000, .. }), "{refused}");
    }
    let at = server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", true).await;
    let ask = Ask::get(format!("http://127.0.0.1:{}/", at.port())).within(Duration::from_millis(300));
    let refused = inside.send(ask).await.expect_err("never ends");
    assert!(matches!(refused, EgressError::Timeout { .. }), "{refused}");
}
