//! PEM files that a configuration names: whether they are there, with what they should have, and no
//! key is open to everybody. Whether they are any good shows when they are used.

use std::path::PathBuf;

use crate::complaint::Complaint;
use crate::item::Item;
use crate::sources::{SmallFile, Sources};
use crate::value;

/// The absolute path of a file with a certificate in it.
pub fn certificate(sources: &dyn Sources) -> impl Fn(&Item<'_>) -> Result<PathBuf, Complaint> {
    move |item| read(item, "CERTIFICATE", sources).map(|(path, _)| path)
}

/// The absolute path of a file with a private key in it that not everybody can read.
pub fn private_key(sources: &dyn Sources) -> impl Fn(&Item<'_>) -> Result<PathBuf, Complaint> {
    move |item| {
        let (path, file) = read(item, "PRIVATE KEY", sources)?;
        if file.is_public() {
            let shown = path.display();
            return Err(
                Complaint::new(format!("is the file `{shown}`, which everybody can read"))
                    .hint(format!("chmod 0640 {shown}")),
            );
        }
        Ok(path)
    }
}

fn read(
    item: &Item<'_>,
    kind: &str,
    sources: &dyn Sources,
) -> Result<(PathBuf, SmallFile), Complaint> {
    let path = value::path(item)?;
    let shown = path.display();
    let file = sources
        .file(&path)
        .map_err(|error| Complaint::new(format!("cannot be read from `{shown}`: {error}")))?;
    let end = format!("{kind}-----");
    let begins = |line: &str| line.starts_with("-----BEGIN ") && line.ends_with(&end);
    if file.text.lines().any(|line| begins(line.trim())) {
        return Ok((path, file));
    }
    Err(
        Complaint::new(format!("is in `{shown}`, which has no `{kind}` in it"))
            .hint("it must be a PEM file; `openssl` turns other formats into one"),
    )
}
