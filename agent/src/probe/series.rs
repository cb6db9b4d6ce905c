//! Values of Prometheus text endpoints.

use lampas_shared::probe::{Method, Number, Scanner, SeriesProbe};

use super::{
    Answer, compared,
    http::{Asked, exchange},
    net::Stage,
    tls::Trust,
};

/// How much of an endpoint's text is read.
const MAX_TEXT: usize = 16 << 20;

/// Asks an endpoint, and compares what stands there.
pub(super) async fn look(probe: &SeriesProbe, before: Option<Number>, trust: Option<&Trust>, stage: &Stage) -> Answer {
    let asked = Asked {
        url: &probe.url,
        method: Method::Get,
        host: "",
        tls: &probe.tls,
        elsewhere: probe.elsewhere,
        trust,
        stage,
    };
    let mut scanner = Scanner::new(&probe.series);
    let mut size = 0;
    let answered = exchange(
        &asked,
        |head| head.0 == 200,
        |piece| {
            size += piece.len();
            scanner.push(piece);
            size <= MAX_TEXT
        },
    );
    match answered.await {
        Err(why) => return Answer::no(why),
        Ok((status, _)) if status != 200 => return Answer::no(format!("{} answers {status}, expected 200", probe.url)),
        Ok(_) if size > MAX_TEXT => {
            return Answer::no(format!("{} serves more than {} MiB", probe.url, MAX_TEXT >> 20));
        }
        Ok(_) => {}
    }
    let values = match scanner.finish() {
        Ok(values) => values,
        Err(why) => return Answer::no(why),
    };
    if values.count == 0 {
        return Answer::no(format!("{} has no {}", probe.url, probe.series));
    }
    if values.nan > 0 {
        return Answer::no(format!("NaN, expected {}", probe.bound.words(before)));
    }
    // Where several match, each must hold: the worst of them decides.
    let worst = if probe.bound.compare.is_upper() { values.greatest } else { values.least };
    let mut answer = compared(&probe.bound, worst, before, "");
    if values.count > 1 {
        let text = format!("{} (the worst of {} series)", answer.found.text, values.count);
        answer.found = lampas_shared::probe::Found::new(&text, answer.found.value);
    }
    answer
}
