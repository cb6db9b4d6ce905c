//! A browser's session, without the browser: signed in by name and password, with its cookie and its CSRF token.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{Controller, HttpAnswer};

/// Somebody who is signed in to the API.
#[derive(Debug)]
pub struct Session<'c> {
    controller: &'c Controller,
    login: String,
    csrf: String,
}

impl<'c> Session<'c> {
    /// Signs in as the first administrator.
    pub fn admin(controller: &'c Controller) -> Result<Self> {
        Self::sign_in(controller, "admin", "correct horse battery")
    }

    /// Makes a user with a preset over the whole fleet, and signs in as them.
    pub fn new(admin: &Session<'c>, login: &str, preset: &str) -> Result<Self> {
        let password = format!("correct horse of {login}");
        admin.ok("POST", "/users", &json!({"login": login, "preset": preset, "password": password}))?;
        Self::sign_in(admin.controller, login, &password)
    }

    /// Signs in.
    pub fn sign_in(controller: &'c Controller, login: &str, password: &str) -> Result<Self> {
        let mut session = Self { controller, login: login.to_owned(), csrf: String::new() };
        let opened = session.ok("POST", "/session", &json!({"login": login, "password": password}))?;
        session.csrf = opened["csrf_token"].as_str().context("a token")?.to_owned();
        Ok(session)
    }

    /// Sends a request to a path below `/api/v1`; `null` is no body.
    pub fn send(&self, method: &str, path: &str, body: &Value) -> Result<HttpAnswer> {
        let (jar, file) = (self.file("jar").display().to_string(), self.file("body"));
        let csrf = format!("X-CSRF-Token: {}", self.csrf);
        let mut more = vec!["--cookie", &jar, "--cookie-jar", &jar, "--header", &csrf];
        let data = format!("@{}", file.display());
        if !body.is_null() {
            std::fs::write(&file, body.to_string())?;
            more.extend(["--header", "Content-Type: application/json", "--data-binary", &data]);
        }
        self.controller.https("", method, &format!("/api/v1{path}"), &more)
    }

    /// Sends a request that must be answered with what was asked for.
    pub fn ok(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let answer = self.send(method, path, body)?;
        ensure!(answer.status < 300, "{} {method} {path}: {answer:#?}", self.login);
        Ok(answer.body)
    }

    /// Sends a request that must be refused; returns what the problem says.
    pub fn refused(&self, method: &str, path: &str, body: &Value, code: &str) -> Result<String> {
        let answer = self.send(method, path, body)?;
        ensure!(answer.status >= 400 && answer.body["code"] == code, "{} {method} {path}: {answer:#?}", self.login);
        Ok(answer.body["detail"].as_str().unwrap_or_default().to_owned())
    }

    fn file(&self, what: &str) -> PathBuf {
        self.controller.path(format!("{what}-{}", self.login))
    }
}
