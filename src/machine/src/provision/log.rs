//! The log file of one installation: its beginning and its end, and how much is missing between.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::fs::{self, File, OpenOptions};
use tokio::io::AsyncWriteExt;

use crate::process::{Sink, last_words};

/// How much of the beginning is kept, in bytes.
const HEAD_BYTES: usize = 4 * 1024 * 1024;

/// How much of the end is kept, in bytes.
const TAIL_BYTES: usize = 256 * 1024;

/// How much of the end is looked at for the last line, in bytes.
const LAST_WORDS_BYTES: usize = 4 * 1024;

/// How many logs of one provisioner are kept.
const KEPT_LOGS: usize = 10;

/// A log file that is being written.
///
/// A file that cannot be made or written loses the log, not the installation.
#[derive(Debug)]
pub(super) struct Log {
    file: Option<(PathBuf, File)>,
    head_room: usize,
    /// The last bytes, those that the file has too among them.
    tail: VecDeque<u8>,
    /// How many bytes of the tail the file does not have.
    unwritten: usize,
    /// How many bytes are neither in the file nor in the tail.
    dropped: u64,
}

impl Log {
    /// Makes a log file with a heading, and removes old ones.
    pub(super) async fn create(
        directory: &Path,
        stem: &str,
        heading: &str,
        now: SystemTime,
    ) -> Self {
        let file = match open(directory, stem, now).await {
            Ok(file) => Some(file),
            Err(error) => {
                tracing::warn!(
                    path = %directory.display(),
                    error = %error,
                    "installation log cannot be made",
                );
                None
            }
        };
        remove_old(directory).await;
        let mut log = Self {
            file,
            head_room: HEAD_BYTES,
            tail: VecDeque::new(),
            unwritten: 0,
            dropped: 0,
        };
        log.write(format!("{heading}\n").as_bytes()).await;
        log
    }

    /// Where it is; none if it could not be made.
    pub(super) fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|(path, _)| path.as_path())
    }

    /// The last line of the output.
    pub(super) fn last_words(&self) -> Option<String> {
        let skipped = self.tail.len().saturating_sub(LAST_WORDS_BYTES);
        let bytes: Vec<u8> = self.tail.iter().skip(skipped).copied().collect();
        last_words(&String::from_utf8_lossy(&bytes))
    }

    /// Writes the end of the output and how it ended.
    pub(super) async fn finish(mut self, ending: &str) {
        if self.dropped > 0 {
            let mark = format!("\n[... {} bytes left out ...]\n", self.dropped);
            self.write(mark.as_bytes()).await;
        }
        let skipped = self.tail.len() - self.unwritten;
        let tail: Vec<u8> = self.tail.iter().skip(skipped).copied().collect();
        self.write(&tail).await;
        self.write(format!("\n{ending}\n").as_bytes()).await;
        if let Some((path, mut file)) = self.file.take()
            && let Err(error) = file.flush().await
        {
            warn_of_write(&path, &error);
        }
    }

    async fn write(&mut self, bytes: &[u8]) {
        let Some((path, file)) = &mut self.file else {
            return;
        };
        if let Err(error) = file.write_all(bytes).await {
            warn_of_write(path, &error);
            self.file = None;
        }
    }
}

impl Sink for Log {
    async fn take(&mut self, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(bytes.len().min(self.head_room));
        self.head_room -= head.len();
        self.write(head).await;
        self.tail.extend(bytes);
        self.unwritten += rest.len();
        let surplus = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..surplus);
        let lost = self.unwritten.saturating_sub(self.tail.len());
        self.unwritten -= lost;
        self.dropped += lost as u64;
    }
}

fn warn_of_write(path: &Path, error: &io::Error) {
    tracing::warn!(path = %path.display(), error = %error, "installation log cannot be written");
}

async fn open(directory: &Path, stem: &str, now: SystemTime) -> io::Result<(PathBuf, File)> {
    fs::create_dir_all(directory).await?;
    let millis = now
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis();
    // The number comes first, so that the order of names is that of time.
    let path = directory.join(format!("{millis:015}-{stem}.log"));
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(&path)
        .await?;
    Ok((path, file))
}

/// Removes all but the newest logs. What fails is tried again the next time.
async fn remove_old(directory: &Path) {
    let Ok(mut entries) = fs::read_dir(directory).await else {
        return;
    };
    let mut names = Vec::new();
    while let Ok(Some(entry)) = entries.next_entry().await {
        if entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "log")
        {
            names.push(entry.file_name());
        }
    }
    names.sort_unstable();
    names.truncate(names.len().saturating_sub(KEPT_LOGS));
    for name in names {
        let _ = fs::remove_file(directory.join(name)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use super::{HEAD_BYTES, KEPT_LOGS, Log, TAIL_BYTES};
    use crate::process::Sink;

    async fn log(directory: &Path) -> Log {
        Log::create(directory, "tool-1.0", "install 1.0", SystemTime::UNIX_EPOCH).await
    }

    fn only_text(directory: &Path) -> Vec<u8> {
        let mut entries = fs::read_dir(directory).expect("it was made");
        let entry = entries
            .next()
            .expect("it has a log")
            .expect("it can be read");
        fs::read(entry.path()).expect("it can be read")
    }

    #[tokio::test]
    async fn short_output_is_kept_whole_between_heading_and_ending() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let directory = directory.path().join("made/on/demand");
        let mut log = log(&directory).await;
        log.take(b"fetching\n").await;
        log.take(b"no net").await;
        log.take(b"work\n").await;
        assert_eq!(log.last_words().as_deref(), Some("no network"));
        log.finish("exit code 1").await;
        assert_eq!(
            only_text(&directory),
            b"install 1.0\nfetching\nno network\n\nexit code 1\n"
        );
    }

    #[tokio::test]
    async fn long_output_keeps_both_ends_and_says_what_is_missing() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut log = log(directory.path()).await;
        let total = HEAD_BYTES + 3 * TAIL_BYTES;
        let mut left = total;
        while left > 0 {
            let length = left.min(60_001);
            log.take(&vec![b'x'; length]).await;
            left -= length;
        }
        log.take(b"\nlast line").await;
        assert!(log.tail.capacity() < 2 * (TAIL_BYTES + 60_001));
        log.finish("done").await;
        let text = String::from_utf8(only_text(directory.path())).expect("it is text");
        let dropped = total + "\nlast line".len() - HEAD_BYTES - TAIL_BYTES;
        assert!(
            text.contains(&format!("x\n[... {dropped} bytes left out ...]\nx")),
            "{dropped}"
        );
        assert!(text.ends_with("x\nlast line\ndone\n"));
        assert!(text.len() < HEAD_BYTES + TAIL_BYTES + 200);
    }

    #[tokio::test]
    async fn only_the_newest_logs_are_kept() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for number in 0..KEPT_LOGS + 5 {
            let now = SystemTime::UNIX_EPOCH + Duration::from_millis(number as u64);
            Log::create(directory.path(), "tool", "", now)
                .await
                .finish("")
                .await;
        }
        let mut names: Vec<_> = fs::read_dir(directory.path())
            .expect("it is there")
            .map(|entry| {
                entry
                    .expect("it can be read")
                    .file_name()
                    .into_string()
                    .expect("text")
            })
            .collect();
        names.sort_unstable();
        assert_eq!(names.len(), KEPT_LOGS);
        assert_eq!(
            names.first().map(String::as_str),
            Some("000000000000005-tool.log")
        );
    }

    #[tokio::test]
    async fn log_that_cannot_be_made_is_done_without() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("file");
        fs::write(&file, "").expect("it can be written");
        let mut log = log(&file.join("below")).await;
        assert_eq!(log.path(), None);
        log.take(b"still heard").await;
        assert_eq!(log.last_words().as_deref(), Some("still heard"));
        log.finish("done").await;
    }
}
