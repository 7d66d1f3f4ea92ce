//! What is said about a failed request: short, on one line, and without a secret.

use crate::options::Options;

/// Longest text made of a service's answer, in characters.
const LONGEST_REASON: usize = 600;

/// Knows the secrets of a destination and takes them out of text.
#[derive(Default)]
pub(crate) struct Scrubber {
    /// Longest first, so that a secret that is part of another does not break it.
    secrets: Vec<String>,
}

impl Scrubber {
    /// A scrubber for the values of all options that can hold a secret.
    pub(crate) fn new(options: &Options) -> Self {
        let mut secrets = Vec::new();
        for (name, value) in options.iter() {
            if !["key", "secret", "token", "sas", "password"]
                .iter()
                .any(|word| name.contains(word))
            {
                continue;
            }
            secrets.push(value.to_owned());
            // A shared access signature is sent in pieces; the signature is its secret one.
            for pair in value.trim_start_matches('?').split('&') {
                if let Some((_, signature)) = pair.split_once('=') {
                    secrets.push(signature.to_owned());
                    secrets.push(percent_decoded(signature));
                }
            }
        }
        secrets.retain(|secret| secret.len() >= 8);
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { secrets }
    }

    /// The text on one line, shortened, each secret replaced by `***`.
    pub(crate) fn reason(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), "***");
            }
        }
        let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some((end, _)) = line.char_indices().nth(LONGEST_REASON) {
            line.truncate(end);
            line.push('…');
        }
        line
    }
}

impl std::fmt::Debug for Scrubber {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Scrubber({} secrets)", self.secrets.len())
    }
}

fn percent_decoded(text: &str) -> String {
    url::form_urlencoded::parse(format!("x={}", text.replace('+', "%2B")).as_bytes())
        .next()
        .map_or_else(String::new, |(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_out_whole_and_in_pieces() {
        let scrubber = Scrubber::new(
            &Options::new()
                .with("account_name", "buildstuff")
                .with("sas_token", "?sv=2024-01-01&sig=ab%2Bcd%3Defgh12")
                .with("account_key", "c2VjcmV0LWtleQ=="),
        );
        let reason = scrubber.reason(
            "PUT https://buildstuff.x/y?sv=1&sig=ab%2Bcd%3Defgh12\nab+cd=efgh12 c2VjcmV0LWtleQ==",
        );
        assert_eq!(reason, "PUT https://buildstuff.x/y?sv=1&sig=*** *** ***");
        assert!(!format!("{scrubber:?}").contains("efgh12"));
    }

    #[test]
    fn long_answers_are_cut_between_characters() {
        let reason = Scrubber::default().reason(&"é".repeat(5000));
        assert_eq!(reason.chars().count(), LONGEST_REASON + 1);
    }
}
