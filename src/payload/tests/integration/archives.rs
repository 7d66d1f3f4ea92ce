//! Archives made byte by byte, so that they can say anything; and looking at what came of them.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use helix_payload::{ArchiveProblem, Error, UnpackOptions, Unpacked, unpack_blocking};
use tokio_util::sync::CancellationToken;

/// A directory for one test, with an archive beside the destination and something to protect.
pub struct Scene {
    directory: tempfile::TempDir,
    pub options: UnpackOptions,
}

impl Scene {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("precious"), "untouched").unwrap();
        fs::set_permissions(
            directory.path().join("precious"),
            fs::Permissions::from_mode(0o600),
        )
        .unwrap();
        Self {
            directory,
            options: UnpackOptions::default(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn destination(&self) -> PathBuf {
        self.path("destination")
    }

    pub fn unpack(&self, archive: &[u8]) -> Result<Unpacked, Error> {
        let path = self.path("archive");
        fs::write(&path, archive).unwrap();
        let cancellation = CancellationToken::new();
        let result = unpack_blocking(&path, &self.destination(), &self.options, &cancellation);
        self.assert_nothing_escaped();
        result
    }

    pub fn unpack_fine(&self, archive: &[u8]) -> Unpacked {
        match self.unpack(archive) {
            Ok(unpacked) => unpacked,
            Err(error) => panic!("{}", error.chain()),
        }
    }

    /// The entry and the problem of the error that unpacking `archive` ends in.
    pub fn refused(&self, archive: &[u8]) -> (Option<String>, ArchiveProblem) {
        match self.unpack(archive) {
            Err(Error::Archive { entry, problem }) => (entry, problem),
            other => panic!("{other:?}"),
        }
    }

    pub fn read(&self, name: &str) -> String {
        String::from_utf8(fs::read(self.destination().join(name)).unwrap()).unwrap()
    }

    pub fn mode(&self, name: &str) -> u32 {
        fs::symlink_metadata(self.destination().join(name))
            .unwrap()
            .mode()
            & 0o7777
    }

    pub fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        collect(&self.destination(), &self.destination(), &mut names);
        names.sort();
        names
    }

    /// Nothing was made beside the destination, and every link in it stays inside.
    pub fn assert_nothing_escaped(&self) {
        let mut beside: Vec<_> = fs::read_dir(self.directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        beside.sort();
        let known = ["archive", "destination", "precious", "scratch"];
        assert!(
            beside.iter().all(|name| known.contains(&name.as_str())),
            "{beside:?}"
        );
        let precious = self.path("precious");
        assert_eq!(fs::read_to_string(&precious).unwrap(), "untouched");
        let metadata = fs::metadata(&precious).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.nlink()), (0o600, 1));
        if let Ok(root) = self.destination().canonicalize() {
            assert_links_stay(&root, &root);
        }
    }
}

fn assert_links_stay(root: &Path, directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_symlink() {
            // A link that leads nowhere is no way out either.
            if let Ok(resolved) = entry.path().canonicalize() {
                assert!(
                    resolved.starts_with(root),
                    "{:?} leads to {resolved:?}",
                    entry.path()
                );
            }
        } else if kind.is_dir() {
            assert_links_stay(root, &entry.path());
        }
    }
}

fn collect(root: &Path, directory: &Path, names: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries {
        let entry = entry.unwrap();
        let path = entry.path();
        names.push(
            path.strip_prefix(root)
                .unwrap()
                .to_string_lossy()
                .into_owned(),
        );
        if entry.file_type().unwrap().is_dir() {
            collect(root, &path, names);
        }
    }
}

/// One entry of a zip, and every lie it may tell.
#[derive(Clone)]
pub struct ZipEntry {
    pub name: Vec<u8>,
    pub stored: Vec<u8>,
    pub size: u64,
    pub crc: u32,
    pub method: u16,
    pub flags: u16,
    pub made_by: u16,
    pub external: u32,
    pub descriptor: Descriptor,
    pub width: Width,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Descriptor {
    /// Sizes and checksum are in the local header.
    None,
    /// They come behind the content, as a writer has it that cannot seek.
    Behind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Width {
    Zip32,
    Zip64,
}

impl ZipEntry {
    pub fn stored(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref();
        Self {
            name: name.as_ref().to_vec(),
            stored: content.to_vec(),
            size: content.len() as u64,
            crc: crc(content),
            method: 0,
            flags: 0,
            made_by: 20,
            external: 0,
            descriptor: Descriptor::None,
            width: Width::Zip32,
        }
    }

    pub fn deflated(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref();
        let mut encoder =
            flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(content).unwrap();
        Self {
            stored: encoder.finish().unwrap(),
            method: 8,
            ..Self::stored(name, content)
        }
    }

    /// As Unix tools write it, with a whole mode.
    pub fn mode(self, mode: u32) -> Self {
        Self {
            made_by: 3 << 8 | 20,
            external: mode << 16,
            ..self
        }
    }
}

pub fn crc(content: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(content);
    crc.sum()
}

fn half(number: usize) -> u16 {
    u16::try_from(number).unwrap()
}

fn narrow(size: u64, width: Width) -> u32 {
    match width {
        Width::Zip32 => u32::try_from(size).unwrap(),
        Width::Zip64 => u32::MAX,
    }
}

pub fn zip(entries: &[ZipEntry]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut directory = Vec::new();
    for entry in entries {
        let offset = out.len() as u64;
        let flags = entry.flags
            | if entry.descriptor == Descriptor::Behind {
                8
            } else {
                0
            };
        let stored = entry.stored.len() as u64;
        let behind = entry.descriptor == Descriptor::Behind;
        let mut local_extra = Vec::new();
        if entry.width == Width::Zip64 {
            local_extra.extend([1, 0, 16, 0]);
            for size in [entry.size, stored] {
                local_extra.extend(if behind { 0 } else { size }.to_le_bytes());
            }
        }
        out.extend(b"PK\x03\x04");
        for half in [20, flags, entry.method, 0, 0x21] {
            out.extend(half.to_le_bytes());
        }
        for word in [
            if behind { 0 } else { entry.crc },
            if behind && entry.width == Width::Zip32 {
                0
            } else {
                narrow(stored, entry.width)
            },
            if behind && entry.width == Width::Zip32 {
                0
            } else {
                narrow(entry.size, entry.width)
            },
        ] {
            out.extend(word.to_le_bytes());
        }
        out.extend(half(entry.name.len()).to_le_bytes());
        out.extend(half(local_extra.len()).to_le_bytes());
        out.extend(&entry.name);
        out.extend(local_extra);
        out.extend(&entry.stored);
        if behind {
            out.extend(b"PK\x07\x08");
            out.extend(entry.crc.to_le_bytes());
            for size in [stored, entry.size] {
                match entry.width {
                    Width::Zip32 => out.extend(narrow(size, Width::Zip32).to_le_bytes()),
                    Width::Zip64 => out.extend(size.to_le_bytes()),
                }
            }
        }

        let mut extra = Vec::new();
        if entry.width == Width::Zip64 {
            extra.extend([1, 0, 24, 0]);
            for number in [entry.size, stored, offset] {
                extra.extend(number.to_le_bytes());
            }
        }
        directory.extend(b"PK\x01\x02");
        for half in [entry.made_by, 20, flags, entry.method, 0, 0x21] {
            directory.extend(half.to_le_bytes());
        }
        for word in [
            entry.crc,
            narrow(stored, entry.width),
            narrow(entry.size, entry.width),
        ] {
            directory.extend(word.to_le_bytes());
        }
        for half in [half(entry.name.len()), half(extra.len()), 0, 0, 0] {
            directory.extend(half.to_le_bytes());
        }
        directory.extend(entry.external.to_le_bytes());
        directory.extend(narrow(offset, entry.width).to_le_bytes());
        directory.extend(&entry.name);
        directory.extend(extra);
    }
    let start = out.len() as u64;
    let length = directory.len() as u64;
    out.extend(directory);
    let wide = entries.iter().any(|entry| entry.width == Width::Zip64);
    if wide {
        let end64 = out.len() as u64;
        out.extend(b"PK\x06\x06");
        out.extend(44_u64.to_le_bytes());
        out.extend([45, 0, 45, 0]);
        out.extend([0; 8]);
        for number in [entries.len() as u64, entries.len() as u64, length, start] {
            out.extend(number.to_le_bytes());
        }
        out.extend(b"PK\x06\x07");
        out.extend(0_u32.to_le_bytes());
        out.extend(end64.to_le_bytes());
        out.extend(1_u32.to_le_bytes());
    }
    out.extend(b"PK\x05\x06");
    out.extend([0; 4]);
    let count = if wide { u16::MAX } else { half(entries.len()) };
    out.extend(count.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(
        if wide {
            u32::MAX
        } else {
            narrow(length, Width::Zip32)
        }
        .to_le_bytes(),
    );
    out.extend(
        if wide {
            u32::MAX
        } else {
            narrow(start, Width::Zip32)
        }
        .to_le_bytes(),
    );
    out.extend([0; 2]);
    out
}

/// A tar made block by block.
#[derive(Default)]
pub struct Tar(Vec<u8>);

impl Tar {
    pub fn header(kind: u8, name: &[u8], size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(0o644);
        header.set_mtime(1_000_000_000);
        header.set_size(size);
        header
    }

    pub fn raw(mut self, mut header: tar::Header, content: &[u8]) -> Self {
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn entry(self, kind: u8, name: &str, content: &[u8]) -> Self {
        self.raw(
            Self::header(kind, name.as_bytes(), content.len() as u64),
            content,
        )
    }

    pub fn file(self, name: &str, content: &str) -> Self {
        self.entry(b'0', name, content.as_bytes())
    }

    pub fn mode(self, name: &str, mode: u32) -> Self {
        let kind = if name.ends_with('/') { b'5' } else { b'0' };
        let mut header = Self::header(kind, name.as_bytes(), 0);
        header.set_mode(mode);
        self.raw(header, b"")
    }

    pub fn link(self, kind: u8, name: &str, target: &str) -> Self {
        let mut header = Self::header(kind, name.as_bytes(), 0);
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        self.raw(header, b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.link(b'2', name, target)
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.link(b'1', name, target)
    }

    pub fn pax(self, records: &[(&str, &str)]) -> Self {
        let mut text = Vec::new();
        for (keyword, value) in records {
            let body = format!(" {keyword}={value}\n");
            let mut length = body.len() + 1;
            while length != body.len() + length.to_string().len() {
                length += 1;
            }
            text.extend(format!("{length}{body}").into_bytes());
        }
        self.entry(b'x', "pax", &text)
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

pub fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(content, 1).unwrap()
}
