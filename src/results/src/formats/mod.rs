//! One module per format: elements, objects or lines to cases.

mod assembly;
mod base64;
pub(crate) mod ctest;
pub(crate) mod ctrf;
pub(crate) mod ctrf_outcome;
pub(crate) mod googletest_json;
pub(crate) mod gotest;
mod gotest_output;
mod gotest_state;
pub(crate) mod helix_report;
pub(crate) mod junit;
mod junit_case;
pub(crate) mod libtest;
mod libtest_suite;
pub(crate) mod nunit;
mod nunit_outcome;
mod rust_panic;
mod suites;
pub(crate) mod tap;
mod tap_details;
mod tap_line;
mod tap_parts;
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
        Format::CTest => xml::document::read_document(source, session, ctest::CTest::default()),
        Format::GoTest => {
            json::document::read_document(
                source,
                Layout::Lines,
                session,
                gotest::GoTest::default(),
            );
        }
        Format::Libtest => {
            json::document::read_document(
                source,
                Layout::Lines,
                session,
                libtest::Libtest::default(),
            );
        }
        Format::Ctrf => {
            json::document::read_document(source, Layout::Document, session, ctrf::Ctrf::default());
        }
        Format::GoogleTestJson => {
            let reader = googletest_json::GoogleTestJson::default();
            json::document::read_document(source, Layout::Document, session, reader);
        }
        Format::HelixReport => {
            json::document::read_document(
                source,
                Layout::Document,
                session,
                helix_report::HelixReport::default(),
            );
        }
        Format::Tap => tap::read(source, session),
    }
}
