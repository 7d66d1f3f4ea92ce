//! Tar, in all the dialects that are about: old, ustar, GNU and pax.
//!
//! The fields of a header are decoded by the `tar` crate; the walk from header to header is done
//! here, because its own reads headers of any length into memory, cannot tell an archive that ends
//! from one that was cut off, and knows only one of the four ways to write a sparse file.

use std::io::Read;
use std::time::{Duration, SystemTime};

use ::tar::{EntryType, GnuExtSparseHeader, Header};

use crate::error::{ArchiveProblem, EntryKind, Error, Limit};

use super::name::{EntryName, Separators, Shape};
use super::pax::Extensions;
use super::root::Root;
use super::session::{Charged, Output, Session, read_full};
use super::sparse::{self, Map};

/// Size of a block; headers and content begin at multiples of it.
pub(super) const BLOCK: usize = 512;

/// Longest description of one entry besides its header: long names, pax records, sparse maps. Real
/// ones are a few hundred bytes.
pub(super) const MAX_DESCRIPTION_BYTES: u64 = 1 << 20;

const NO_SIZE: &str = "the size in a header is no number";
const NO_SEGMENT: &str = "a segment of a sparse file is no number";

/// Latest time that is set on a file, in seconds since 1970: the end of the year 9999.
const MAX_MODIFIED_SECONDS: u64 = 253_402_300_799;

/// Whether `head` is the beginning of a tar: a header with a right checksum, or the end of an empty
/// archive.
pub(super) fn begins(head: &[u8]) -> bool {
    match head.get(..BLOCK) {
        Some(block) if block.iter().any(|byte| *byte != 0) => {
            checksum_holds(Header::from_byte_slice(block))
        }
        Some(_) => head.len() >= 2 * BLOCK && head[..2 * BLOCK].iter().all(|byte| *byte == 0),
        None => false,
    }
}

/// Unpacks the tar in `from`, up to the end mark.
pub(super) fn unpack(
    from: &mut dyn Read,
    root: &mut Root,
    session: &mut Session<'_>,
) -> Result<(), Error> {
    let mut reader = Reader {
        from,
        session,
        last: None,
    };
    let mut described = Description::default();
    while let Some(header) = reader.header()? {
        match header.entry_type() {
            EntryType::GNULongName => described.name = Some(reader.long_name(&header)?),
            EntryType::GNULongLink => described.link = Some(reader.long_name(&header)?),
            EntryType::XHeader => {
                let records = reader.description(&header)?;
                described.pax = Extensions::parse(&records).map_err(|detail| {
                    reader.problem(ArchiveProblem::Corrupt {
                        detail: detail.to_owned(),
                    })
                })?;
            }
            // A global header carries comments and defaults; none of them matters here. A volume
            // header is the archive's label.
            EntryType::XGlobalHeader => drop(reader.description(&header)?),
            other if other.as_byte() == b'V' => drop(reader.description(&header)?),
            _ => reader.entry(&header, std::mem::take(&mut described), root)?,
        }
    }
    Ok(())
}

/// What extension headers say of the entry behind them.
#[derive(Debug, Default)]
struct Description {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Extensions,
}

struct Reader<'r, 's, 'o> {
    from: &'r mut dyn Read,
    session: &'s mut Session<'o>,
    /// The entry met last, named when the archive turns out to be cut off.
    last: Option<EntryName>,
}

impl Reader<'_, '_, '_> {
    /// The next header; `None` at the end mark.
    fn header(&mut self) -> Result<Option<Header>, Error> {
        self.session.check_cancelled()?;
        let mut header = Header::new_old();
        self.fill(header.as_mut_bytes())?;
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if !checksum_holds(&header) {
            return Err(self.corrupt("the checksum of a header is wrong"));
        }
        Ok(Some(header))
    }

    /// Unpacks the entry that `header` begins.
    fn entry(
        &mut self,
        header: &Header,
        described: Description,
        root: &mut Root,
    ) -> Result<(), Error> {
        self.session.begin_entry()?;
        let raw_name = described
            .pax
            .sparse
            .name
            .as_deref()
            .or(described.pax.path.as_deref())
            .or(described.name.as_deref())
            .map_or_else(|| header.path_bytes().into_owned(), <[u8]>::to_vec);
        let max_depth = self.session.options.limits.max_depth;
        let name = EntryName::parse(&raw_name, Separators::Slash, max_depth)
            .map_err(|problem| Error::entry(&raw_name, problem))?;
        self.last = Some(name.clone());
        // Some writers leave it blank.
        let is_directory = header.entry_type().is_dir() || name.shape() == Shape::Directory;
        let mode = header
            .mode()
            .unwrap_or(if is_directory { 0o755 } else { 0o644 });

        match header.entry_type() {
            EntryType::Directory => root.directory(&name, mode),
            EntryType::Regular if name.shape() == Shape::Directory => {
                // Before there was a type for directories, they were files with a slash behind.
                root.directory(&name, mode)
            }
            EntryType::Regular | EntryType::Continuous => {
                let size = self.size(header, &described)?;
                self.regular_file(header, &name, &described, size, mode, root)
            }
            EntryType::GNUSparse => {
                let size = self.size(header, &described)?;
                let map = self.gnu_map(header, &name)?;
                self.sparse_file(&name, &map, size, mode, header, &described, root)
            }
            EntryType::Symlink => root.symlink(&name, &self.link_target(header, &described)),
            EntryType::Link => {
                let raw_target = self.link_target(header, &described);
                let target = EntryName::parse(&raw_target, Separators::Slash, max_depth)
                    .map_err(|problem| name.refuse(problem))?;
                root.hard_link(&name, &target)
            }
            EntryType::Char => {
                Err(name.refuse(ArchiveProblem::SpecialFile(EntryKind::CharacterDevice)))
            }
            EntryType::Block => {
                Err(name.refuse(ArchiveProblem::SpecialFile(EntryKind::BlockDevice)))
            }
            EntryType::Fifo => Err(name.refuse(ArchiveProblem::SpecialFile(EntryKind::Fifo))),
            other => Err(name.refuse(ArchiveProblem::Unsupported {
                feature: format!(
                    "tar entry type `{}`",
                    char::from(other.as_byte()).escape_debug()
                ),
            })),
        }
    }

    fn regular_file(
        &mut self,
        header: &Header,
        name: &EntryName,
        described: &Description,
        size: u64,
        mode: u32,
        root: &mut Root,
    ) -> Result<(), Error> {
        let corrupt = |detail: &str| {
            name.refuse(ArchiveProblem::Corrupt {
                detail: detail.to_owned(),
            })
        };
        if let Some(in_front) = described.pax.sparse.map_is_in_front() {
            let in_front = in_front.map_err(corrupt)?;
            if in_front {
                let (map, map_bytes) = self.map_in_front(name, described, size)?;
                let stored = size
                    .checked_sub(map_bytes)
                    .ok_or_else(|| corrupt("the sparse map is longer than the entry"))?;
                return self.sparse_file(name, &map, stored, mode, header, described, root);
            }
            let map = described.pax.sparse.map().map_err(corrupt)?;
            return self.sparse_file(name, &map, size, mode, header, described, root);
        }

        self.session.check_file(name, size)?;
        let place = root.place(name);
        let mut file = root.file(name, mode)?;
        let mut output = Output {
            file: &mut file,
            place: &place,
            charged: Charged::AsCopied,
        };
        let copied =
            self.session
                .copy(name, &mut Read::take(&mut *self.from, size), &mut output)?;
        if copied < size {
            return Err(name.refuse(ArchiveProblem::Truncated));
        }
        self.skip_padding(size)?;
        set_modified(&file, &place, header, described)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one entry, used once each"
    )]
    fn sparse_file(
        &mut self,
        name: &EntryName,
        map: &Map,
        stored: u64,
        mode: u32,
        header: &Header,
        described: &Description,
        root: &mut Root,
    ) -> Result<(), Error> {
        map.check(stored).map_err(|detail| {
            name.refuse(ArchiveProblem::Corrupt {
                detail: detail.to_owned(),
            })
        })?;
        self.session.check_file(name, map.file_bytes)?;
        self.session
            .charge(map.file_bytes)
            .map_err(|limit| name.refuse(ArchiveProblem::Limit(limit)))?;
        let place = root.place(name);
        let mut file = root.file(name, mode)?;
        sparse::write(self.session, name, self.from, map, &mut file, &place)?;
        self.skip_padding(stored)?;
        set_modified(&file, &place, header, described)
    }

    /// The map of an old GNU sparse file: in its header and in more blocks right behind it.
    fn gnu_map(&mut self, header: &Header, name: &EntryName) -> Result<Map, Error> {
        let corrupt = |detail: &str| {
            name.refuse(ArchiveProblem::Corrupt {
                detail: detail.to_owned(),
            })
        };
        let Some(gnu) = header.as_gnu() else {
            return Err(corrupt("a sparse file without a GNU header"));
        };
        let file_bytes = gnu.real_size().map_err(|_| corrupt(NO_SIZE))?;
        let mut map = Map {
            file_bytes,
            segments: Vec::new(),
        };
        let mut add = |sparse: &::tar::GnuSparseHeader| -> std::io::Result<()> {
            if !sparse.is_empty() {
                map.segments.push((sparse.offset()?, sparse.length()?));
            }
            Ok(())
        };
        gnu.sparse
            .iter()
            .try_for_each(&mut add)
            .map_err(|_| corrupt(NO_SEGMENT))?;
        let mut continued = gnu.is_extended();
        let mut description_bytes = 0;
        while continued {
            description_bytes += BLOCK as u64;
            if description_bytes > MAX_DESCRIPTION_BYTES {
                return Err(name.refuse(ArchiveProblem::Limit(Limit::HeaderBytes {
                    bytes: MAX_DESCRIPTION_BYTES,
                })));
            }
            let mut more = GnuExtSparseHeader::new();
            self.fill(more.as_mut_bytes())?;
            more.sparse()
                .iter()
                .try_for_each(&mut add)
                .map_err(|_| corrupt(NO_SEGMENT))?;
            continued = more.is_extended();
        }
        Ok(map)
    }

    /// The map in front of the content, as the newest of the pax ways has it, and its length.
    fn map_in_front(
        &mut self,
        name: &EntryName,
        described: &Description,
        size: u64,
    ) -> Result<(Map, u64), Error> {
        let corrupt = |detail: &str| {
            name.refuse(ArchiveProblem::Corrupt {
                detail: detail.to_owned(),
            })
        };
        let file_bytes = described
            .pax
            .sparse
            .file_bytes
            .ok_or_else(|| corrupt("a sparse file without its real size"))?;
        let mut text = Vec::new();
        loop {
            if text.len() as u64 + BLOCK as u64 > size.min(MAX_DESCRIPTION_BYTES) {
                return Err(corrupt(
                    "the sparse map is longer than the entry or than 1 MiB",
                ));
            }
            let start = text.len();
            text.resize(start + BLOCK, 0);
            self.fill(&mut text[start..])?;
            if let Some(segments) = sparse::parse_lines(&text).map_err(corrupt)? {
                return Ok((
                    Map {
                        file_bytes,
                        segments,
                    },
                    text.len() as u64,
                ));
            }
        }
    }

    /// The content of an extension header.
    fn description(&mut self, header: &Header) -> Result<Vec<u8>, Error> {
        let size = header.entry_size().map_err(|_| self.corrupt(NO_SIZE))?;
        if size > MAX_DESCRIPTION_BYTES {
            let bytes = MAX_DESCRIPTION_BYTES;
            return Err(self.problem(ArchiveProblem::Limit(Limit::HeaderBytes { bytes })));
        }
        let mut content = Vec::new();
        Read::take(&mut *self.from, size)
            .read_to_end(&mut content)
            .map_err(|error| self.session.read_failed(self.last.as_ref(), error))?;
        if (content.len() as u64) < size {
            return Err(self.problem(ArchiveProblem::Truncated));
        }
        self.skip_padding(size)?;
        Ok(content)
    }

    fn long_name(&mut self, header: &Header) -> Result<Vec<u8>, Error> {
        let mut name = self.description(header)?;
        // It ends in a NUL byte. One in the middle stays, to be refused with the name.
        while name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    fn link_target(&self, header: &Header, described: &Description) -> Vec<u8> {
        described
            .pax
            .link_path
            .as_deref()
            .or(described.link.as_deref())
            .map(<[u8]>::to_vec)
            .or_else(|| header.link_name_bytes().map(|target| target.into_owned()))
            .unwrap_or_default()
    }

    fn size(&self, header: &Header, described: &Description) -> Result<u64, Error> {
        match described.pax.size {
            Some(size) => Ok(size),
            None => header.entry_size().map_err(|_| self.corrupt(NO_SIZE)),
        }
    }

    /// Reads up to the next block behind `size` bytes of content.
    fn skip_padding(&mut self, size: u64) -> Result<(), Error> {
        let mut padding = [0; BLOCK];
        let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
        if over > 0 {
            self.fill(&mut padding[over..])?;
        }
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        let length = read_full(self.from, buffer)
            .map_err(|error| self.session.read_failed(self.last.as_ref(), error))?;
        if length < buffer.len() {
            return Err(self.problem(ArchiveProblem::Truncated));
        }
        Ok(())
    }

    fn corrupt(&self, detail: &str) -> Error {
        self.problem(ArchiveProblem::Corrupt {
            detail: detail.to_owned(),
        })
    }

    fn problem(&self, problem: ArchiveProblem) -> Error {
        match &self.last {
            Some(name) => name.refuse(problem),
            None => Error::archive(problem),
        }
    }
}

fn checksum_holds(header: &Header) -> bool {
    let bytes = header.as_bytes();
    // The field itself counts as eight spaces.
    let sum = bytes
        .iter()
        .enumerate()
        .map(|(index, byte)| {
            if (148..156).contains(&index) {
                32
            } else {
                u32::from(*byte)
            }
        })
        .sum::<u32>();
    header.cksum().is_ok_and(|expected| expected == sum)
}

fn set_modified(
    file: &std::fs::File,
    place: &std::path::Path,
    header: &Header,
    described: &Description,
) -> Result<(), Error> {
    let modified = match described.pax.modified {
        Some(modified) => Some(modified),
        None => header.mtime().ok().map(Duration::from_secs),
    };
    let Some(modified) = modified.filter(|time| time.as_secs() <= MAX_MODIFIED_SECONDS) else {
        return Ok(());
    };
    let Some(modified) = SystemTime::UNIX_EPOCH.checked_add(modified) else {
        return Ok(());
    };
    file.set_modified(modified)
        .map_err(|error| Error::io("set the time of", place, error))
}
