//! Which format a file has, told by its first bytes.

use std::io::Read;

use super::options::Format;
use super::session::read_full;
use super::tar;

/// What the first bytes of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signature {
    Zip,
    Gzip,
    Zstd,
    Tar,
    Unknown,
}

/// Bytes needed to tell a format: one block of a tar and the beginning of the next.
pub(super) const HEAD_BYTES: usize = 2 * tar::BLOCK;

/// Judges the first bytes of a file: [`HEAD_BYTES`] of them, or all if there are fewer.
pub(super) fn signature(head: &[u8]) -> Signature {
    match head {
        // An ordinary local header; the end record of an empty archive; the mark of a once split
        // one.
        [b'P', b'K', 3, 4, ..]
        | [b'P', b'K', 5, 6, ..]
        | [b'P', b'K', 7, 8, b'P', b'K', 3, 4, ..] => Signature::Zip,
        [0x1f, 0x8b, 8, ..] => Signature::Gzip,
        // A frame, or a skippable one in front of it.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Signature::Zstd,
        _ if tar::begins(head) => Signature::Tar,
        _ => Signature::Unknown,
    }
}

/// The format of a tar behind `signature`.
pub(super) fn tar_format(signature: Signature) -> Format {
    match signature {
        Signature::Gzip => Format::TarGzip,
        Signature::Zstd => Format::TarZstd,
        Signature::Zip | Signature::Tar | Signature::Unknown => Format::Tar,
    }
}

/// Reads what [`signature`] needs.
pub(super) fn read_head(from: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut head = vec![0; HEAD_BYTES];
    let length = read_full(from, &mut head)?;
    head.truncate(length);
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_is_told_by_content() {
        let mut header = ::tar::Header::new_gnu();
        header.set_path("a").unwrap();
        header.set_size(0);
        header.set_cksum();
        for (head, expected) in [
            (b"PK\x03\x04rest".to_vec(), Signature::Zip),
            (b"PK\x05\x06rest".to_vec(), Signature::Zip),
            (b"PK\x07\x08PK\x03\x04".to_vec(), Signature::Zip),
            (b"PK\x01\x02".to_vec(), Signature::Unknown),
            (b"\x1f\x8b\x08rest".to_vec(), Signature::Gzip),
            (b"\x1f\x8b\x00rest".to_vec(), Signature::Unknown),
            (b"\x28\xb5\x2f\xfdrest".to_vec(), Signature::Zstd),
            (b"\x5a\x2a\x4d\x18rest".to_vec(), Signature::Zstd),
            (header.as_bytes().to_vec(), Signature::Tar),
            (vec![0; 1024], Signature::Tar),
            (vec![0; 512], Signature::Unknown),
            (vec![b'x'; 1024], Signature::Unknown),
            (Vec::new(), Signature::Unknown),
        ] {
            assert_eq!(
                signature(&head),
                expected,
                "{:?}",
                &head[..head.len().min(8)]
            );
        }
    }
}
