//! Tells JSON reports apart by the keys at their top.

use std::collections::BTreeSet;

use crate::json::lexer::{Layout, Lexer, Token};
use crate::model::Format;
use crate::source::Source;

/// Keys looked at before a document is given up.
const MOST_KEYS: usize = 4096;

/// The format of the JSON text that `window` begins with, or what it looks like.
pub(crate) fn sniff(window: &[u8]) -> Result<Format, String> {
    classify(&top_keys(window)).map_err(|what| what.unwrap_or("JSON of an unknown kind").to_owned())
}

/// Keys of the first object, as `key` at the top and `key.inner` in the objects right below it.
fn top_keys(window: &[u8]) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let mut input = window;
    let Ok((mut source, _)) = Source::open(&mut input, &|| false, u64::MAX) else {
        return keys;
    };
    let mut lexer = Lexer::new(&mut source, Layout::Document);
    let mut top = String::new();
    let mut seen = 0;
    loop {
        lexer.keep(0);
        match lexer.next() {
            Token::InputEnd | Token::Flaw => return keys,
            Token::End if lexer.depth() == 0 => return keys,
            Token::Key => {
                seen += 1;
                if seen > MOST_KEYS {
                    return keys;
                }
                let key = String::from_utf8_lossy(lexer.key()).into_owned();
                match lexer.depth() {
                    1 => {
                        keys.insert(key.clone());
                        top = key;
                    }
                    2 => {
                        keys.insert(format!("{top}.{key}"));
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

fn classify(keys: &BTreeSet<String>) -> Result<Format, Option<&'static str>> {
    let has = |key: &str| keys.contains(key);
    if has("Action") && (has("Package") || has("ImportPath")) {
        Ok(Format::GoTest)
    } else if has("type") && has("event") {
        Ok(Format::Libtest)
    } else if has("results.tests") || has("results.tool") || (has("reportFormat") && has("results"))
    {
        Ok(Format::Ctrf)
    } else if has("schema_version") && has("results") {
        Ok(Format::HelixReport)
    } else if has("testsuites") {
        Ok(Format::GoogleTestJson)
    } else if has("numTotalTests") {
        Err(Some("a Jest report"))
    } else if has("stats") && has("passes") {
        Err(Some("a Mocha report"))
    } else if has("config") && has("suites") {
        Err(Some("a Playwright report"))
    } else if has("examples") && has("summary_line") {
        Err(Some("an RSpec report"))
    } else if has("protocolVersion") {
        Err(Some("a Dart report"))
    } else if has("uuid") && has("status") && has("stage") {
        Err(Some("an Allure result"))
    } else {
        Err(None)
    }
}
