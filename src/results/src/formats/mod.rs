//! One module per format: elements, objects or lines to cases.

mod assembly;
pub(crate) mod helix_report;
pub(crate) mod junit;
mod junit_case;
pub(crate) mod nunit;
mod nunit_outcome;
mod suites;
pub(crate) mod tap;
pub(crate) mod trx;
mod trx_definitions;
mod words;
pub(crate) mod xunit;

pub(crate) use assembly::assembly_name;

use crate::formats::nunit_outcome::Version;
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
        Format::Trx => xml::document::read_document(source, session, trx::Trx::default()),
        Format::NUnit3 => {
            xml::document::read_document(source, session, nunit::NUnit::new(Version::Three));
        }
        Format::NUnit2 => {
            xml::document::read_document(source, session, nunit::NUnit::new(Version::Two));
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
