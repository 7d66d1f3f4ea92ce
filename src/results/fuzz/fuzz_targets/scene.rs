//! What all targets do: bytes of one format, kept in that format, under the eyes of the tests.

#[path = "../../tests/integration/scrutiny.rs"]
mod scrutiny;

/// Looks at the bytes, and where they are no result file behind a beginning that makes them one: few random changes
/// leave a beginning intact.
pub(crate) fn read_and_look(name: &str, beginning: &[u8], bytes: &[u8]) {
    if scrutiny::scrutinise(name, bytes) == scrutiny::Recognised::No {
        scrutiny::scrutinise(name, &[beginning, bytes].concat());
    }
}
