//! The calls of mail.

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use lampas_api::{
    Mail, MailAccount, MailAccountPut, MailDelivery, MailKind, MailPut, MailQuery, MailState, MailTest, MorningPreview,
    Page,
};
use lampas_runtime::{clock, random};
use lampas_shared::{access::Permission, id::MailId};

use super::{morning, person::Person, text::Letter};
use crate::{
    api::{
        App,
        extract::{Json, MaybeJson, Query, limit, param},
        guard::Caller,
        problem::{Answer, Refusal},
        table::{Access, Call, Scoped, act, get},
    },
    db::{DbError, Tx},
};

const OWN: Access = Access::Needs(Permission::OwnAccount);
const USERS: Access = Access::Needs(Permission::ManageUsers);

const SETTING: &str = "/api/v1/mail";
const ACCOUNT: &str = "/api/v1/session/mail";
const MORNING: &str = "/api/v1/session/mail/morning";

/// The rows of the table.
pub(crate) fn calls() -> Vec<Call> {
    let own = [
        get(ACCOUNT, OWN, "Which mail one gets", account).gives::<MailAccount>(),
        act("PUT", ACCOUNT, OWN, "mail.account", "Choose which mail one gets, and where", put_account)
            .takes::<MailAccountPut>()
            .gives::<MailAccount>(),
        get(MORNING, OWN, "The morning mail as one would get it now", preview).gives::<MorningPreview>(),
        act("POST", MORNING, OWN, "mail.morning", "Send the morning mail to oneself now", morning_now),
    ];
    let mut calls: Vec<Call> = own.into_iter().map(|c| c.scoped(Scoped::Own)).collect();
    calls.extend([
        get(SETTING, USERS, "The mail server, the morning mail, and how mail goes", show).gives::<Mail>(),
        act("PUT", SETTING, USERS, "mail.update", "Set the mail server and the morning mail", put)
            .takes::<MailPut>()
            .gives::<Mail>()
            .grave(),
        act("DELETE", SETTING, USERS, "mail.remove", "Switch mail off, and forget its server", remove).grave(),
        act("POST", "/api/v1/mail/test", USERS, "mail.test", "Send a test, and wait for the server's answer", test)
            .may_take::<MailTest>()
            .gives::<MailDelivery>()
            .long(),
        get("/api/v1/mail/deliveries", USERS, "Messages and what became of them, newest first", deliveries)
            .query::<MailQuery>()
            .gives_page::<MailDelivery>(),
    ]);
    calls
}

async fn show(State(app): State<App>) -> Answer<axum::Json<Mail>> {
    Ok(axum::Json(app.mail.shown().await?))
}

async fn put(State(app): State<App>, caller: Caller, Json(wanted): Json<MailPut>) -> Answer<axum::Json<Mail>> {
    Ok(axum::Json(app.mail.put(&caller.as_principal(), &caller.reason, &wanted).await?))
}

async fn remove(State(app): State<App>, caller: Caller) -> Answer<StatusCode> {
    app.mail.remove(&caller.as_principal(), &caller.reason).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn test(
    State(app): State<App>,
    caller: Caller,
    MaybeJson(wanted): MaybeJson<MailTest>,
) -> Answer<axum::Json<MailDelivery>> {
    let user = caller.identity()?.user;
    Ok(axum::Json(app.mail.test(&caller.as_principal(), user, wanted.to.as_deref()).await?))
}

async fn deliveries(State(app): State<App>, Query(query): Query<MailQuery>) -> Answer<axum::Json<Page<MailDelivery>>> {
    let limit = limit(query.limit)?;
    let state = query.state.as_deref().map(str::parse::<MailState>).transpose();
    let state = state.map_err(|why| Refusal::field("/state", why))?;
    let before = match &query.after {
        Some(after) => param::<MailId>("message", after)?.to_string(),
        None => "~".to_owned(),
    };
    let items = app.mail.deliveries(state, &before, limit).await?;
    let next = (items.len() == limit as usize).then(|| items.last().map(|d| d.id.to_string())).flatten();
    Ok(axum::Json(Page { items, next, total: None }))
}

async fn account(State(app): State<App>, caller: Caller) -> Answer<axum::Json<MailAccount>> {
    Ok(axum::Json(app.mail.shown_account(caller.identity()?.user).await?))
}

async fn put_account(
    State(app): State<App>,
    caller: Caller,
    Json(wanted): Json<MailAccountPut>,
) -> Answer<axum::Json<MailAccount>> {
    Ok(axum::Json(app.mail.put_account(&caller, &wanted).await?))
}

/// Returns the caller's morning mail, as they themselves would get it; what is shown here a token's bounds bound.
async fn own_morning(app: &App, caller: &Caller, is_shown: bool) -> Answer<(Person, Letter)> {
    let mut account = app.mail.account(caller.identity()?.user).await?;
    if account.address.is_none() {
        if !is_shown {
            return Err(Refusal::new(
                "mail.no_address",
                "give an address first: under your account, or with lampasctl mail account",
            ));
        }
        account.address = Some(String::new());
    }
    let person = Person::of(app, account).await?;
    let mut person = person.ok_or_else(|| Refusal::new("mail.no_address", "give an address first"))?;
    if is_shown {
        person.reach = crate::access::Reach::of(app, caller, Permission::View).await?;
        person.caller = caller.clone();
    }
    let tallies = morning::runs(app, clock::now()).await?;
    let letter = morning::letter(app, &person, &tallies).await?;
    Ok((person, letter))
}

async fn preview(State(app): State<App>, caller: Caller) -> Answer<axum::Json<MorningPreview>> {
    let (_, letter) = own_morning(&app, &caller, true).await?;
    Ok(axum::Json(MorningPreview { subject: letter.subject().to_owned(), text: letter.text() }))
}

async fn morning_now(State(app): State<App>, caller: Caller) -> Answer<impl IntoResponse> {
    if app.mail.setting().await?.is_none() {
        return Err(Refusal::new("mail.unset", "no mail server is set: an administrator sets one under Mail"));
    }
    app.mail.must_be_whole(&caller, "send its owner the morning mail").await?;
    let (person, letter) = own_morning(&app, &caller, false).await?;
    let wanted: MailId = random::new_id();
    let message = person.message(MailKind::Morning, &format!("morning-now:{wanted}"), &letter);
    let (user, since) = (person.account.user, clock::now().plus_ms(-3_600_000));
    let many = app
        .db
        .read(|mut tx: Tx| async move {
            let many = super::outbox::mornings_now(&mut tx, user, since).await?;
            Ok::<_, DbError>(tx.done(many))
        })
        .await?;
    if many >= 10 {
        return Err(Refusal::new("throttled", "ten were sent within the hour").retry_after(600));
    }
    morning::put(&app, &[message]).await?;
    app.access.audit_done(&caller, "mail.morning", &person.address).await?;
    Ok(StatusCode::ACCEPTED)
}
