//! Archives, good ones and such as no good tool makes.

use tar::{EntryType, Header};

fn header(kind: EntryType, size: usize) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(size as u64);
    header.set_mode(0o644);
    header
}

/// A tar archive with these files.
///
/// # Panics
///
/// Never, as it is made in memory of what the test gives.
#[must_use]
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = header(EntryType::Regular, content.len());
        builder
            .append_data(&mut header, name, *content)
            .expect("written");
    }
    builder.into_inner().expect("finished")
}

/// A tar archive whose entries have exactly these kinds, names, targets and
/// contents.
///
/// # Panics
///
/// If a name or a target is longer than 100 bytes.
#[must_use]
pub fn raw_tar(entries: &[(EntryType, &str, &str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, name, target, content) in entries {
        let mut header = header(*kind, content.len());
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// A zip archive with one stored file of exactly this name.
///
/// # Panics
///
/// If name or content are too long for the format.
#[must_use]
pub fn raw_zip(name: &str, content: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(content);
    let size = u32::try_from(content.len()).expect("small").to_le_bytes();
    let length = u16::try_from(name.len()).expect("short").to_le_bytes();
    let common = [
        &[20, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
        &crc.sum().to_le_bytes(),
        &size,
        &size,
        &length,
        &[0, 0],
    ]
    .concat();
    let local = [b"PK\x03\x04", &common[..], name.as_bytes(), content].concat();
    let central = [
        b"PK\x01\x02\x14\x03",
        &common[..],
        &[0; 14],
        name.as_bytes(),
    ]
    .concat();
    let central_size = u32::try_from(central.len()).expect("small").to_le_bytes();
    let offset = u32::try_from(local.len()).expect("small").to_le_bytes();
    let end = [
        b"PK\x05\x06",
        &[0, 0, 0, 0, 1, 0, 1, 0][..],
        &central_size,
        &offset,
        &[0, 0],
    ]
    .concat();
    [local, central, end].concat()
}
