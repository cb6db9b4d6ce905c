//! `/metrics`: figures in Prometheus' text format.

use axum::{extract::State, http::header, response::IntoResponse};

use super::{App, problem::Answer};
use crate::db::{DbError, Tx};

pub(super) async fn serve(State(app): State<App>) -> Answer<impl IntoResponse> {
    let (counts, last) = app
        .db
        .read(|mut tx: Tx| async move {
            let counts = crate::fleet::counts(&mut tx).await?;
            let last = crate::event::last_seq(&mut tx).await?;
            Ok::<_, DbError>(tx.done((counts, last)))
        })
        .await?;
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, rows: &[(&str, u64)]| {
        text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
        for (labels, value) in rows {
            text.push_str(&format!("{name}{labels} {value}\n"));
        }
    };
    let heard = [
        ("{state=\"online\"}", u64::from(counts.online)),
        ("{state=\"stale\"}", u64::from(counts.stale)),
        ("{state=\"offline\"}", u64::from(counts.offline)),
    ];
    gauge("lampas_nodes", "Nodes by whether they are heard.", &heard);
    let config = [
        ("{config=\"converged\"}", u64::from(counts.converged)),
        ("{config=\"applying\"}", u64::from(counts.applying)),
        ("{config=\"drifted\"}", u64::from(counts.drifted)),
        ("{config=\"failed\"}", u64::from(counts.failed)),
    ];
    gauge("lampas_nodes_config", "Nodes by the state of their configuration.", &config);
    gauge("lampas_objects", "Objects.", &[("", u64::from(counts.objects))]);
    gauge("lampas_event_seq", "The sequence of the last event.", &[("", last)]);
    let open = app.config.limits.event_streams - app.streams.available_permits();
    gauge("lampas_event_streams", "Event streams that are open.", &[("", open as u64)]);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
}
