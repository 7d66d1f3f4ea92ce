//! How much of a hostile file is looked at and kept.

/// Bounds on one file. Whatever is beyond a bound is counted and reported as a [`crate::Problem`], never silently lost.
///
/// The defaults keep the whole reading of any file below 16 MiB of memory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes read from the input at most. Default 2 GiB.
    pub file_bytes: u64,
    /// Test cases handed out at most. Default 5 million.
    pub cases: u64,
    /// Problems handed out at most, beside the one that says how the reading ended; later ones are only counted.
    /// Default 100.
    pub problems: u64,
    /// Nesting that is understood; deeper elements are skipped and said to be. Default 50,000, at most 65,536.
    pub depth: u32,
    /// Bytes of a name kept (test, class, suite, trait, path). Longer ones are cut and end in a hash of the whole.
    /// Default 16 KiB.
    pub name_bytes: usize,
    /// Bytes of a message kept, head and tail. Default 64 KiB.
    pub message_bytes: usize,
    /// Bytes of a stack trace kept, head and tail. Default 256 KiB.
    pub stack_bytes: usize,
    /// Bytes of standard output or of standard error kept per test, head and tail. Default 512 KiB.
    pub output_bytes: usize,
    /// Bytes kept for one test in all, its attempts and parts included. Default 2 MiB.
    pub case_bytes: usize,
    /// Entries kept in each list of one test: attempts, parts, attachments, traits. Default 1,000.
    pub list_entries: usize,
    /// Bytes of results held back at most, for formats that say the name or the verdict of a test long after the
    /// test. Default 4 MiB.
    pub held_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 2 << 30,
            cases: 5_000_000,
            problems: 100,
            depth: 50_000,
            name_bytes: 16 << 10,
            message_bytes: 64 << 10,
            stack_bytes: 256 << 10,
            output_bytes: 512 << 10,
            case_bytes: 2 << 20,
            list_entries: 1_000,
            held_bytes: 4 << 20,
        }
    }
}
