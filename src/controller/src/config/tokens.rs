//! `[[tokens]]`: who may use the REST API. The file holds digests, never tokens.

use helix_settings::{Complaint, Item, Section, Value, value};

use super::{Scope, TokenConfig};

/// The longest name of a bearer, in bytes.
const MAX_NAME_BYTES: usize = 128;

impl Scope {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Read,
        Self::Submit,
        Self::SubmitInternal,
        Self::Operate,
        Self::Admin,
    ];

    /// Its name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Submit => "submit",
            Self::SubmitInternal => "submit-internal",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

pub(super) fn read(root: &Section<'_>, tokens: &mut Vec<TokenConfig>) {
    for section in root.sections("tokens") {
        let name = section.require("name", value::plain_text(MAX_NAME_BYTES));
        let sha256 = section.require("sha256", sha256);
        let scopes = section.require(
            "scopes",
            value::list(value::named("scope", &Scope::ALL, Scope::name)),
        );
        section.finish();
        let (Some(name), Some(sha256), Some(scopes)) = (name, sha256, scopes) else {
            continue;
        };
        if tokens.iter().any(|token: &TokenConfig| token.name == name) {
            let message = format!("two tokens are called `{name}`");
            section.complain(section.span_of("name"), message, None);
        }
        tokens.push(TokenConfig {
            name,
            sha256,
            scopes,
        });
    }
}

/// A digest in hexadecimal. A wrong one is not repeated: it may be the token itself.
fn sha256(item: &Item<'_>) -> Result<[u8; 32], Complaint> {
    const HINT: &str = "printf %s \"$TOKEN\" | sha256sum";
    let Value::String(text) = item.value() else {
        let complaint = Complaint::expected("a string", item);
        return Err(complaint.hint(HINT).secret());
    };
    let wrong = || {
        let complaint = Complaint::new("must be 64 hexadecimal digits");
        complaint.hint(HINT).secret()
    };
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        })
        .collect();
    let digits = digits
        .filter(|digits| digits.len() == 64)
        .ok_or_else(wrong)?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    Ok(bytes)
}
