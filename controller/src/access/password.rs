//! Passwords: the rules, and argon2id with a bound on how many are hashed at once.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use argon2::{Argon2, PasswordHash, PasswordHasher as _, PasswordVerifier as _};
use lampas_runtime::random;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::api::problem::Refusal;

/// Hashes and checks passwords with argon2id (RFC 9106): 19 MiB, two passes, one lane, OWASP's first choice of 2024.
#[derive(Debug, Clone)]
pub struct Passwords {
    permits: Arc<Semaphore>,
}

/// How long a sign-in waits for its turn.
const TURN: Duration = Duration::from_secs(10);

impl Passwords {
    /// Makes a hasher that works on at most `at_once` passwords.
    pub fn new(at_once: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(at_once)) }
    }

    /// Returns the hash of a password, in PHC format.
    pub async fn hash(&self, password: &str) -> Result<String, Refusal> {
        let password = Zeroizing::new(password.to_owned());
        self.blocking(move || hash(&password)).await
    }

    /// Returns whether a password is the one that was hashed. Without a hash (there is no such user) it takes the same
    /// time and is false.
    pub async fn is_right(&self, password: &str, hash: Option<String>) -> Result<bool, Refusal> {
        let password = Zeroizing::new(password.to_owned());
        self.blocking(move || {
            let known = hash.is_some();
            let text = hash.unwrap_or_else(|| decoy().to_owned());
            let is_right = PasswordHash::new(&text)
                .is_ok_and(|parsed| Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok());
            is_right && known
        })
        .await
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
        let busy = || Refusal::new("busy", "many people are signing in; try again in some seconds").retry_after(5);
        let turn = tokio::time::timeout(TURN, self.permits.clone().acquire_owned()).await;
        let permit = turn.map_err(|_| busy())?.map_err(|_| busy())?;
        let done = tokio::task::spawn_blocking(move || {
            let value = work();
            drop(permit);
            value
        });
        done.await.map_err(|e| Refusal::internal(&e))
    }
}

fn hash(password: &str) -> String {
    let salt: [u8; 16] = random::bytes();
    let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt);
    hash.expect("the default parameters and a salt of 16 bytes are valid").to_string()
}

/// The hash that unknown users are checked against.
fn decoy() -> &'static str {
    static DECOY: OnceLock<String> = OnceLock::new();
    DECOY.get_or_init(|| hash(&super::secret::make()))
}

/// Checks the rules: 10 to 256 characters, not the name, not one character over and over. Length is what makes
/// passwords strong (NIST SP 800-63B, section 5.1.1.2), so there is no rule about kinds of characters.
pub(crate) fn check(pointer: &str, password: &str, login: &str) -> Result<(), Refusal> {
    let length = password.chars().count();
    let mut characters = password.chars();
    let first = characters.next();
    let wrong = if length < 10 {
        "a password has at least 10 characters"
    } else if length > 256 {
        "a password has at most 256 characters"
    } else if password.to_lowercase().contains(&login.to_lowercase()) && length < login.chars().count() + 6 {
        "the password is hardly more than the user's name"
    } else if characters.all(|c| Some(c) == first) {
        "the password is one character over and over"
    } else {
        return Ok(());
    };
    Err(Refusal::field(pointer, wrong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_known_again_and_a_wrong_one_is_not() {
        let passwords = Passwords::new(1);
        let hash = passwords.hash("correct horse battery").await.expect("hashes");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(passwords.is_right("correct horse battery", Some(hash.clone())).await.expect("checks"));
        assert!(!passwords.is_right("correct horse batterz", Some(hash)).await.expect("checks"));
        assert!(!passwords.is_right("correct horse battery", None).await.expect("checks"));
    }

    #[test]
    fn weak_passwords_are_refused_by_name() {
        for wrong in ["short", "aaaaaaaaaaaaaa", "admin12345", &"x1".repeat(200)] {
            let refusal = check("/password", wrong, "admin").expect_err(wrong);
            assert_eq!(refusal.fields[0].pointer, "/password");
        }
        assert!(check("/password", "zwölf Zeichen", "admin").is_ok());
    }
}
