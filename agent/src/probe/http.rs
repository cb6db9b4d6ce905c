//! TCP ports and URLs: asked once, redirects not followed, heads and bodies bounded.

use std::{pin::pin, time::Instant};

use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{ACCEPT, CONNECTION, HOST, LOCATION, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use lampas_shared::probe::{HttpProbe, Method, ProbeUrl, TcpProbe, Tls};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Answer,
    net::{self, Stage},
    tls::Trust,
};

/// How much of a body is searched.
const SEARCHED: usize = 1 << 20;
/// The longest head of an answer.
const MAX_HEAD: usize = 64 << 10;

/// Asks whether a port accepts.
pub(super) async fn tcp(probe: &TcpProbe, trust: Option<&Trust>, stage: &Stage) -> Answer {
    let began = Instant::now();
    let stream = match net::connect(&probe.host, probe.port, probe.elsewhere, stage).await {
        Ok(stream) => stream,
        Err(why) => return Answer::no(why),
    };
    let (Some(tls), Some(trust)) = (&probe.tls, trust) else {
        return Answer::yes(format!("accepts, in {} ms", began.elapsed().as_millis()));
    };
    match trust.handshake(stream, probe.host.as_str(), tls, stage).await {
        Ok((_, days)) => Answer::yes(format!(
            "speaks TLS, its certificate is valid for {days} days, in {} ms",
            began.elapsed().as_millis()
        )),
        Err(why) => Answer::no(why),
    }
}

/// Asks whether a URL answers as it should.
pub(super) async fn http(probe: &HttpProbe, trust: Option<&Trust>, stage: &Stage) -> Answer {
    let began = Instant::now();
    let asked = Asked {
        url: &probe.url,
        method: probe.method,
        host: &probe.host,
        tls: &probe.tls,
        elsewhere: probe.elsewhere,
        trust,
        stage,
    };
    let expected = if probe.status_from == probe.status_to {
        probe.status_from.to_string()
    } else {
        format!("{}-{}", probe.status_from, probe.status_to)
    };
    let is_searched = !probe.contains.is_empty();
    let mut body: Vec<u8> = Vec::new();
    let answered = exchange(
        &asked,
        |response| (probe.status_from..=probe.status_to).contains(&response.0) && is_searched,
        |piece| {
            body.extend_from_slice(&piece[..piece.len().min(SEARCHED - body.len())]);
            body.len() < SEARCHED
        },
    );
    match answered.await {
        Err(why) => Answer::no(why),
        Ok((status, location)) if !(probe.status_from..=probe.status_to).contains(&status) => {
            let to = if location.is_empty() { String::new() } else { format!(" to {location}") };
            Answer::no(format!("{status}{to}, expected {expected}"))
        }
        Ok((status, _)) if is_searched && !contains(&body, &probe.contains) => {
            let start: String = String::from_utf8_lossy(&body[..body.len().min(200)]).chars().take(80).collect();
            Answer::no(format!("{status}, and {:?} is not in its body, which begins with {start:?}", probe.contains))
        }
        Ok((status, _)) => Answer::yes(format!("{status}, in {} ms", began.elapsed().as_millis())),
    }
}

/// One request.
pub(super) struct Asked<'a> {
    pub(super) url: &'a ProbeUrl,
    pub(super) method: Method,
    pub(super) host: &'a str,
    pub(super) tls: &'a Tls,
    pub(super) elsewhere: bool,
    pub(super) trust: Option<&'a Trust>,
    pub(super) stage: &'a Stage,
}

/// What stands in the head of an answer: the status, and where it points.
pub(super) type Head = (u16, String);

/// Asks, and gives the body to `take` in pieces until that has enough, if it is wanted.
pub(super) async fn exchange(
    asked: &Asked<'_>,
    wants_body: impl Fn(&Head) -> bool,
    take: impl FnMut(&[u8]) -> bool,
) -> Result<Head, String> {
    let url = asked.url;
    let stream = net::connect(url.host(), url.port(), asked.elsewhere, asked.stage).await?;
    match asked.trust {
        None => speak(stream, asked, wants_body, take).await,
        Some(trust) => {
            // What is asked for by another name shows that name's certificate.
            let name = asked.host.rsplit_once(':').filter(|(_, p)| p.bytes().all(|b| b.is_ascii_digit()));
            let name = name.map_or(asked.host, |(name, _)| name);
            let name = if name.is_empty() { url.host().as_str() } else { name };
            let (stream, _) = trust.handshake(stream, name, asked.tls, asked.stage).await?;
            speak(stream, asked, wants_body, take).await
        }
    }
}

async fn speak<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    asked: &Asked<'_>,
    wants_body: impl Fn(&Head) -> bool,
    mut take: impl FnMut(&[u8]) -> bool,
) -> Result<Head, String> {
    asked.stage.set("waiting for its answer");
    let failed = |error: hyper::Error| {
        if error.is_parse() {
            format!("what it answered is no HTTP: {}", chain(&error))
        } else {
            format!("the connection ended before it had answered: {}", chain(&error))
        }
    };
    let mut client = http1::Builder::new();
    client.max_buf_size(MAX_HEAD).max_headers(200);
    let (mut sender, connection) = client.handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let host = if asked.host.is_empty() { asked.url.authority() } else { asked.host.to_owned() };
    let request = Request::builder()
        .method(asked.method.as_str())
        .uri(asked.url.path())
        .header(HOST, host)
        .header(USER_AGENT, concat!("lampas-agent/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|e| format!("it can't be asked so: {e}"))?;
    let asking = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let head = head(&response);
        if wants_body(&head) {
            asked.stage.set("reading its answer");
            let mut body = response.into_body();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(failed)?;
                if let Some(piece) = frame.data_ref()
                    && !take(piece)
                {
                    break;
                }
            }
        }
        Ok(head)
    };
    let (mut asking, mut connection) = (pin!(asking), pin!(connection));
    // The connection moves the bytes; when it is over, what came of it is still to be taken. Both arms are polled again.
    tokio::select! {
        biased;
        answer = &mut asking => answer,
        _ = &mut connection => asking.await,
    }
}

fn head(response: &Response<Incoming>) -> Head {
    let location = response.headers().get(LOCATION).map(|l| String::from_utf8_lossy(l.as_bytes()).into_owned());
    (response.status().as_u16(), location.unwrap_or_default().chars().take(200).collect())
}

fn chain(error: &dyn std::error::Error) -> String {
    lampas_shared::error::Chain(error).to_string()
}

fn contains(body: &[u8], text: &str) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text.as_bytes())
}
