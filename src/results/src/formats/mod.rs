//! One module per format: elements, objects or lines to cases.

pub(crate) mod helix_report;
pub(crate) mod junit;
mod junit_case;
mod suites;
pub(crate) mod tap;
mod words;
pub(crate) mod xunit;

use crate::json::{self, lexer::Layout};
use crate::model::Format;
use crate::session::Session;
use crate::source::Source;
use crate::xml;

/// Reads one document of `format`, on whose beginning `source` stands.
pub(crate) fn read(format: Format, source: &mut Source<'_>, session: &mut Session<'_>) {
    match format {
        Format::JUnit => xml::document::read_document(source, session, junit::JUnit::default()),
        Format::XUnit | Format::XUnitV1 => {
            xml::document::read_document(source, session, xunit::XUnit::default())
        }
        Format::HelixReport => {
            json::document::read_document(
                source,
                Layout::Document,
                session,
                helix_report::HelixReport::default(),
            );
        }
        _ => {}
    }
}
