//! Who calls: bearer tokens and what they are good for.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use helix_api::Scope;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::{self, TokenConfig};

/// Who is behind a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// The token's name; `local` where there are no tokens.
    pub(super) name: String,
    scopes: Vec<Scope>,
}

/// Who may call at all.
#[derive(Debug)]
pub(super) struct Tokens(Vec<TokenConfig>);

/// Why nobody is known by a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stranger {
    /// There is no token.
    Silent,
    /// There is something else than one token.
    Unreadable,
    /// There is a token that nobody has.
    Unknown,
}

impl Caller {
    /// Whether the caller may do what needs this scope.
    pub(super) fn may(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|own| own.includes(scope))
    }

    /// Whoever reaches a controller without tokens, which is on loopback.
    fn local() -> Self {
        Self {
            name: "local".to_owned(),
            scopes: vec![Scope::Admin],
        }
    }

    /// Somebody with a signed address.
    pub(super) fn bearer_of_address() -> Self {
        Self {
            name: String::new(),
            scopes: Vec::new(),
        }
    }
}

impl Tokens {
    pub(super) fn new(tokens: Vec<TokenConfig>) -> Self {
        Self(tokens)
    }

    /// Whether anybody who gets through may call.
    pub(super) fn are_absent(&self) -> bool {
        self.0.is_empty()
    }

    /// Who sends these headers.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Result<Caller, Stranger> {
        if self.are_absent() {
            return Ok(Caller::local());
        }
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = match (values.next(), values.next()) {
            (None, _) => return Err(Stranger::Silent),
            (Some(value), None) => value.to_str().map_err(|_| Stranger::Unreadable)?,
            (Some(_), Some(_)) => return Err(Stranger::Unreadable),
        };
        let (scheme, token) = value.split_once(' ').ok_or(Stranger::Unreadable)?;
        if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
            return Err(Stranger::Unreadable);
        }
        let digest: [u8; 32] = Sha256::digest(token.trim().as_bytes()).into();
        // Every digest is compared, and each in a time that does not depend on where they differ.
        let mut found = None;
        for token in &self.0 {
            if bool::from(token.sha256.ct_eq(&digest)) {
                found = Some(token);
            }
        }
        let token = found.ok_or(Stranger::Unknown)?;
        Ok(Caller {
            name: token.name.clone(),
            scopes: token.scopes.iter().copied().map(scope).collect(),
        })
    }
}

fn scope(scope: config::Scope) -> Scope {
    match scope {
        config::Scope::Read => Scope::Read,
        config::Scope::Submit => Scope::Submit,
        config::Scope::SubmitInternal => Scope::SubmitInternal,
        config::Scope::Operate => Scope::Operate,
        config::Scope::Admin => Scope::Admin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        let token = |name: &str, text: &str, scopes: &[config::Scope]| TokenConfig {
            name: name.to_owned(),
            sha256: Sha256::digest(text).into(),
            scopes: scopes.to_vec(),
        };
        Tokens::new(vec![
            token("reader", "r-secret", &[config::Scope::Read]),
            token("boss", "b-secret", &[config::Scope::Admin]),
        ])
    }

    fn check(values: &[&str], expected: Result<&str, Stranger>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        let found = tokens().caller(&headers).map(|caller| caller.name);
        assert_eq!(
            found.as_deref().map_err(|error| *error),
            expected,
            "{values:?}"
        );
    }

    #[test]
    fn a_token_is_known_by_its_digest() {
        check(&["Bearer r-secret"], Ok("reader"));
        check(&["bearer  b-secret "], Ok("boss"));
        check(&[], Err(Stranger::Silent));
        check(&["Bearer r-secre"], Err(Stranger::Unknown));
        check(&["Bearer r-secret2"], Err(Stranger::Unknown));
        check(&["Basic r-secret"], Err(Stranger::Unreadable));
        check(&["Bearer"], Err(Stranger::Unreadable));
        check(&["Bearer  "], Err(Stranger::Unreadable));
        check(
            &["Bearer r-secret", "Bearer b-secret"],
            Err(Stranger::Unreadable),
        );
    }

    #[test]
    fn scopes_say_what_may_be_done() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, "Bearer r-secret".parse().unwrap());
        let caller = tokens().caller(&headers).unwrap();
        assert!(caller.may(Scope::Read));
        assert!(!caller.may(Scope::Submit));
        let local = Tokens::new(Vec::new()).caller(&headers).unwrap();
        assert!(local.may(Scope::Operate));
        assert!(!Caller::bearer_of_address().may(Scope::Read));
    }
}
