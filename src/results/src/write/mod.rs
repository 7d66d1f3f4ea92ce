//! Writers: the model to a file again.
//!
//! Each is a [`crate::Sink`], so that a file of any size passes from one format to another without being held.
//! What a format has no place for is left out; the module of each says what that is.

pub(crate) mod ctrf;
pub(crate) mod json;
pub(crate) mod junit;
mod output;
mod xml_text;
