//! Messages out of events: who is told of what.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lampas_api::{MailKind, RolloutMail, RolloutView};
use lampas_runtime::clock;
use lampas_shared::{
    access::Permission,
    event::{Event, EventKind},
    id::ChangeId,
};

use super::{
    outbox::{self, NewMessage},
    person::Person,
    store,
    text::Letter,
};
use crate::{
    access::Reach,
    api::{App, problem::Answer},
    audit::Principal,
    db::{DbError, Tx},
};

/// As many events are taken at once.
const AT_ONCE: u32 = 200;
/// So long after an event the output of a gate may come in.
const OUTPUT_MS: i64 = 20_000;
/// So many events without a message are passed over before that is noted.
const PASSED_OVER: u64 = 5_000;

/// Makes messages of what was committed since the last time. `looked` is up to where this process has looked. Returns
/// whether something waits for a gate's output.
pub(super) async fn pass(app: &App, looked: &mut u64) -> Answer<bool> {
    let from = *looked;
    let (setting, events, last) = app
        .db
        .read(|mut tx: Tx| async move {
            let setting = store::setting(&mut tx).await?;
            let last = crate::event::last_seq(&mut tx).await?;
            let events = match &setting {
                Some(setting) => store::events(&mut tx, setting.seen.max(from), AT_ONCE).await?,
                None => Vec::new(),
            };
            Ok::<_, DbError>(tx.done((setting, events, last)))
        })
        .await?;
    let Some(setting) = setting else {
        *looked = 0;
        return Ok(false);
    };
    if events.is_empty() && last < setting.seen + PASSED_OVER {
        *looked = last;
        return Ok(false);
    }
    let people = if events.is_empty() { Vec::new() } else { Person::all(app).await? };
    let mut told = Told { app, people: &people, known: BTreeMap::new(), has_approvals: false };
    let mut messages = Vec::new();
    let (mut upto, mut is_waiting) = (if events.len() == AT_ONCE as usize { 0 } else { last }, false);
    for event in &events {
        match told.of(event).await? {
            Some(new) => messages.extend(new),
            None => {
                (upto, is_waiting) = (event.seq - 1, true);
                break;
            }
        }
        if events.len() == AT_ONCE as usize {
            upto = event.seq;
        }
    }
    // Also events of which nobody wanted to hear are done with: whoever wants to later is not told of them then.
    if upto <= setting.seen {
        *looked = upto;
        return Ok(is_waiting);
    }
    let (messages, now, seen) = (&messages, clock::now(), setting.seen);
    let has_won = app
        .db
        .write(|mut tx: Tx| async move {
            let has_won = store::advance(&mut tx, seen, upto).await?;
            if has_won {
                outbox::enqueue(&mut tx, messages, now).await?;
            }
            Ok::<_, DbError>(tx.done(has_won))
        })
        .await?;
    // Another controller was here, and may not have come as far: what it left is to be looked at again.
    *looked = if has_won { upto } else { 0 };
    Ok(is_waiting)
}

/// What one pass tells.
struct Told<'p> {
    app: &'p App,
    people: &'p [Person],
    /// The changes that it was about already: thousands of nodes may undo the same one.
    known: BTreeMap<ChangeId, Option<Arc<About>>>,
    /// Whether it told of the plans that wait: it tells of all of them, as they stand.
    has_approvals: bool,
}

impl Told<'_> {
    /// Returns what is to be said of an event, and to whom; nothing while something of it is still to come.
    async fn of(&mut self, event: &Event) -> Answer<Option<Vec<NewMessage>>> {
        match event.kind {
            EventKind::RolloutMoved => self.rollout(event).await,
            EventKind::GenerationQuarantined => self.quarantine(event).await.map(Some),
            EventKind::ProtectionChanged => self.approvals().await.map(Some),
            EventKind::ChangeMoved if event.details.get("state").is_some_and(|s| s == "planned") => {
                self.approvals().await.map(Some)
            }
            _ => Ok(Some(Vec::new())),
        }
    }

    async fn about(&mut self, id: ChangeId) -> Answer<Option<Arc<About>>> {
        if let Some(known) = self.known.get(&id) {
            return Ok(known.clone());
        }
        let about = About::of(self.app, id, self.people).await?.map(Arc::new);
        self.known.insert(id, about.clone());
        Ok(about)
    }

    async fn approvals(&mut self) -> Answer<Vec<NewMessage>> {
        if std::mem::replace(&mut self.has_approvals, true) {
            return Ok(Vec::new());
        }
        approvals(self.app, self.people).await
    }

    async fn rollout(&mut self, event: &Event) -> Answer<Option<Vec<NewMessage>>> {
        let (app, people) = (self.app, self.people);
        let detail = |name: &str| event.details.get(name).map(String::as_str).unwrap_or_default();
        let (state, what) = match detail("state") {
            "paused" => ("paused", "stopped and waits for a decision"),
            "aborted" => ("aborted", "was ended; who did not have the change does not get it"),
            "reverted" => ("reverted", "was reverted: what stood before is put back"),
            _ => return Ok(Some(Vec::new())),
        };
        let Some(id) = event.change else { return Ok(Some(Vec::new())) };
        let Some(about) = self.about(id).await? else { return Ok(Some(Vec::new())) };
        let reason = detail("reason");
        // Who said so themselves knows.
        let by = reason.rsplit_once(" by ").map(|(_, who)| login(who)).filter(|_| is_order(reason));
        let audience: Vec<&Person> = about.audience(people).filter(|p| by != Some(p.account.login.as_str())).collect();
        if audience.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let gate = if reason.contains("a gate says no") {
            let is_late = clock::now().since(event.at) > OUTPUT_MS;
            match gate(app, id, is_late).await? {
                Found::Waits => return Ok(None),
                Found::Gate(gate) => Some(gate),
                Found::Nothing => None,
            }
        } else {
            None
        };
        let (wave, waves) = (detail("wave"), detail("waves"));
        let mut messages = Vec::new();
        for person in audience {
            let subject = format!("Change {}: the rollout {} - {}", about.number, past(state), about.title);
            let mut letter = Letter::new(&subject)
                .line(&format!(
                    "The rollout of change {} ({}) {what}, in wave {wave} of {waves}.",
                    about.number, about.title
                ))
                .line(&if reason.is_empty() {
                    String::new()
                } else {
                    format!("Why: {}", visible(&person.reach, reason))
                });
            if let Some(gate) = gate.as_ref().filter(|g| person.reach.has_node(g.node)) {
                letter = letter.line(&format!(
                    "The gate: {} on {}, operation {}: {}.",
                    gate.title, gate.name, gate.operation, gate.ended
                ));
                if gate.is_readable(app, person).await? {
                    letter = letter.output("What it wrote:", &gate.output);
                }
                letter =
                    letter.link("The gate's operation", &app.mail.page(&format!("/operations/{}", gate.operation)));
            }
            letter = letter
                .link(&format!("Change {}", about.number), &app.mail.page(&format!("/changes/{}", about.number)))
                .line(&format!("In a terminal: lampasctl change show {}", about.number));
            messages.push(person.message(MailKind::Rollout, &format!("rollout:{}", event.seq), &letter));
        }
        Ok(Some(messages))
    }

    async fn quarantine(&mut self, event: &Event) -> Answer<Vec<NewMessage>> {
        let (app, people) = (self.app, self.people);
        let (Some(node), Some(generation)) = (event.node, event.details.get("generation")) else {
            return Ok(Vec::new());
        };
        let parts =
            generation.split_once('.').and_then(|(e, c)| Some((e.parse::<u64>().ok()?, c.parse::<u64>().ok()?)));
        let Some(parts) = parts else { return Ok(Vec::new()) };
        let found = app
            .db
            .read(|mut tx: Tx| async move {
                let found = store::change_of(&mut tx, node, parts).await?;
                Ok::<_, DbError>(tx.done(found))
            })
            .await?;
        let view = app.desired.view().await?;
        let name = view.all.names.get(&node).map_or_else(|| node.to_string(), ToString::to_string);
        let about = match &found {
            Some((change, _)) => self.about(*change).await?,
            None => None,
        };
        let said = found.map(|(_, message)| message).unwrap_or_default();
        let mut messages = Vec::new();
        let audience: Vec<&Person> = match &about {
            Some(about) => about.audience(people).collect(),
            None => people.iter().filter(|p| p.account.rollouts == RolloutMail::All).collect(),
        };
        for person in audience.into_iter().filter(|p| p.reach.has_node(node)) {
            let what = about
                .as_ref()
                .map_or_else(|| format!("generation {generation}"), |a| format!("change {} ({})", a.number, a.title));
            let subject = match &about {
                Some(a) => format!("Change {}: {name} undid it - {}", a.number, a.title),
                None => format!("{name} undid generation {generation}"),
            };
            let mut letter = Letter::new(&subject)
                .line(&format!(
                    "{name} undid {what}: with it, it could not reach the controller. What was in force before is again; the \
                     generation is quarantined and is not tried by itself."
                ))
                .line(&if said.is_empty() { String::new() } else { format!("The node says: {said}") })
                .line("Should others do the same with this change, no further mail tells of it: its page does.")
                .link(&name, &app.mail.page(&format!("/nodes/{name}")));
            let mut key = format!("quarantine:{node}:{generation}");
            if let Some(about) = &about {
                letter = letter
                    .link(&format!("Change {}", about.number), &app.mail.page(&format!("/changes/{}", about.number)))
                    .line(&format!("In a terminal: lampasctl change show {}", about.number));
                key = format!("quarantine:{}", about.id);
            }
            messages.push(person.message(MailKind::Quarantine, &key, &letter));
        }
        Ok(messages)
    }
}

/// A change that people may be told of.
struct About {
    id: ChangeId,
    number: u64,
    title: String,
    /// Who made or applied it, by name.
    owners: BTreeSet<String>,
    /// Those who see all that it is about.
    seen_by: BTreeSet<String>,
}

impl About {
    async fn of(app: &App, id: ChangeId, people: &[Person]) -> Answer<Option<Self>> {
        let Ok(row) = app.changes.find(&id.to_string()).await else { return Ok(None) };
        let title = app.changes.brief(id).await?.summary.title;
        let scopes = app.changes.scopes(&[id]).await?.remove(&id).unwrap_or_default();
        let number = row.number;
        let applied = app
            .db
            .read(|mut tx: Tx| async move {
                let applied = store::applied_by(&mut tx, number).await?;
                Ok::<_, DbError>(tx.done(applied))
            })
            .await?;
        let sees =
            |p: &&Person| p.reach.is_all() || (!scopes.is_empty() && scopes.iter().all(|s| p.reach.has_scope(s)));
        Ok(Some(Self {
            id,
            number,
            title,
            owners: [Some(row.author), applied].into_iter().flatten().map(|who| login(&who).to_owned()).collect(),
            seen_by: people.iter().filter(sees).map(|p| p.account.login.to_string()).collect(),
        }))
    }

    /// Returns those who want to be told how it goes.
    fn audience<'p>(&'p self, people: &'p [Person]) -> impl Iterator<Item = &'p Person> {
        people.iter().filter(|p| {
            let login = p.account.login.as_str();
            let wants = match p.account.rollouts {
                RolloutMail::Off => false,
                RolloutMail::Mine => self.owners.contains(login),
                RolloutMail::All => true,
            };
            wants && self.seen_by.contains(login)
        })
    }
}

/// Returns the user's name out of how somebody is written: `anna`, `user:anna`, `token:ci of anna`, `source:main of anna`.
fn login(who: &str) -> &str {
    let who = who.rsplit_once(" of ").map_or(who, |(_, owner)| owner);
    who.strip_prefix("user:").unwrap_or(who)
}

fn past(state: &str) -> &str {
    match state {
        "paused" => "stopped",
        "aborted" => "was ended",
        _ => "was reverted",
    }
}

/// Whether a reason says that somebody wanted it so.
fn is_order(reason: &str) -> bool {
    ["paused by ", "aborted by ", "reverted by "].iter().any(|start| reason.starts_with(start))
}

/// Says why, without the name of a node that somebody may not see.
fn visible(reach: &Reach, reason: &str) -> String {
    // It may name any node of the change, whatever else is known of it.
    if reach.is_named_beyond(reason) { BEYOND.to_owned() } else { reason.to_owned() }
}

const BEYOND: &str = "who sees all of the change's nodes reads why";

/// A gate that said no, on the first node where it did.
struct Gate {
    operation: u64,
    title: String,
    node: lampas_shared::id::NodeId,
    name: String,
    run: lampas_shared::id::RunId,
    ended: String,
    output: String,
}

enum Found {
    Gate(Gate),
    /// Its output is on the way.
    Waits,
    Nothing,
}

impl Gate {
    async fn is_readable(&self, app: &App, person: &Person) -> Answer<bool> {
        crate::operation::api::may_read(app, &person.caller, self.operation, self.run).await
    }
}

async fn gate(app: &App, change: ChangeId, is_late: bool) -> Answer<Found> {
    let view: Option<RolloutView> = app
        .db
        .read(|mut tx: Tx| async move {
            let view = crate::change::rollout::view(&mut tx, change).await?;
            Ok::<_, DbError>(tx.done(view))
        })
        .await?;
    let gates = view.into_iter().flat_map(|v| v.waves).flat_map(|w| w.gates);
    let Some(number) = gates.filter(|g| g.failed > 0).map(|g| g.operation).next_back() else {
        return Ok(Found::Nothing);
    };
    let Some(bad) = crate::operation::api::failed_run(app, number).await? else { return Ok(Found::Nothing) };
    if !bad.run.is_output_complete && !is_late {
        return Ok(Found::Waits);
    }
    let mut output = Vec::new();
    for piece in &bad.output {
        output.extend(STANDARD.decode(&piece.data).unwrap_or_default());
    }
    let word = bad.run.state.as_str().replace('_', " ");
    let exit = bad.run.exit_status.map_or_else(|| bad.run.detail.clone(), |code| format!("exit status {code}"));
    Ok(Found::Gate(Gate {
        operation: number,
        title: bad.title,
        node: bad.run.node.id,
        name: bad.run.node.name,
        run: bad.run.run,
        ended: if exit.is_empty() { word } else { format!("{word}, {exit}") },
        output: String::from_utf8_lossy(&output).into_owned(),
    }))
}

/// Tells of all plans that wait, each of them once: those who may approve it.
async fn approvals(app: &App, people: &[Person]) -> Answer<Vec<NewMessage>> {
    if app.changes.approvals(&Principal::system()).await?.is_empty() {
        return Ok(Vec::new());
    }
    let mut messages = Vec::new();
    for person in people.iter().filter(|p| p.account.approvals && p.caller.may_somewhere(Permission::Approve)) {
        for wanted in crate::change::approval::api::waiting(app, &person.caller, &person.reach).await? {
            if !wanted.may_approve {
                continue;
            }
            let change = &wanted.change;
            let protections: Vec<String> =
                wanted.protections.iter().map(|p| format!("{}: {}", p.scope, p.reason)).collect();
            let letter = Letter::new(&format!("Change {} waits for your approval - {}", change.number, change.title))
                .line(&format!("Change {} of {} waits for an approval: {}", change.number, change.author, change.title))
                .line(&if change.reason.is_empty() { String::new() } else { format!("Why: {}", change.reason) })
                .list("What is protected:", &protections)
                .line(&format!(
                    "The plan is {}. When something moves it is over, and another one may wait.",
                    wanted.plan
                ))
                .link("Look at the plan", &app.mail.page(&format!("/changes/{}", change.number)))
                .line(&format!("In a terminal: lampasctl change show {}", change.number));
            messages.push(person.message(
                MailKind::Approval,
                &format!("approval:{}:{}", change.id, wanted.plan),
                &letter,
            ));
        }
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_found_behind_their_credentials() {
        for (who, expected) in [
            ("anna", "anna"),
            ("user:anna", "anna"),
            ("token:ci of anna", "anna"),
            ("source:main of anna", "anna"),
            ("system", "system"),
        ] {
            assert_eq!(login(who), expected);
        }
        assert!(is_order("paused by anna") && is_order("aborted by ci"));
        assert!(!is_order("wave 1 of 2: a gate says no: x paused by y"));
    }
}
