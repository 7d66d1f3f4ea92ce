//! What the tests of the cache share: one in a directory of its own, with short times.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use helix_payload::{
    ArchiveSource, Cache, CacheLimits, CacheOptions, Error, HttpOptions, Lease, LocalFiles, Proxy,
    Request, RetryPolicy, Scope, Sha256,
};
use tokio_util::sync::CancellationToken;

use crate::server::SECRET;

pub struct Den {
    pub directory: tempfile::TempDir,
    pub options: CacheOptions,
    pub cache: Cache,
}

/// Options with which nothing takes long.
pub fn quick_options() -> CacheOptions {
    let mut http = HttpOptions::default();
    http.stall_timeout = Duration::from_secs(20);
    http.proxy = Proxy::None;
    http.retry = RetryPolicy {
        tries: 4,
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(5),
        longest_requested_pause: Duration::from_secs(5),
    };
    let limits = CacheLimits {
        min_free_bytes: 0,
        ..CacheLimits::default()
    };
    CacheOptions {
        limits,
        http,
        local_files: LocalFiles::Refused,
    }
}

impl Den {
    pub fn new() -> Self {
        Self::with(quick_options())
    }

    pub fn with(options: CacheOptions) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(&directory.path().join("cache"), options.clone()).unwrap();
        Self {
            directory,
            options,
            cache,
        }
    }

    /// Another process, after this one has ended.
    pub fn restarted(self) -> Self {
        self.restarted_after(|_| {})
    }

    pub fn restarted_after(self, meanwhile: impl FnOnce(&PathBuf)) -> Self {
        let Self {
            directory,
            options,
            cache,
        } = self;
        drop(cache);
        let root = directory.path().join("cache");
        meanwhile(&root);
        let cache = Cache::open(&root, options.clone()).unwrap();
        Self {
            directory,
            options,
            cache,
        }
    }

    pub fn root(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    pub async fn fetch(&self, request: &Request) -> Result<Lease, Error> {
        let result = self.cache.fetch(request, &CancellationToken::new()).await;
        if let Err(error) = &result {
            assert_no_secret(error);
        }
        result
    }

    /// Names of the files in one of the cache's directories.
    pub fn files(&self, directory: &str) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.root().join(directory))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

pub fn assert_no_secret(error: &Error) {
    let shown = format!("{error} {error:?} {} {:?}", error.chain(), error.hint());
    assert!(!shown.contains(SECRET), "{shown}");
}

pub fn request(url: &str, sha256: Option<Sha256>) -> Request {
    Request {
        source: ArchiveSource::parse(url).unwrap(),
        sha256,
        scope: Scope::new("job"),
        progress: None,
    }
}

/// Content that is not the same anywhere twice.
pub fn content(bytes: usize, seed: u64) -> Arc<Vec<u8>> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    Arc::new(std::iter::repeat_with(next).take(bytes).collect())
}

/// Waits for `condition`, and says what it waited for when it never comes.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never came to this: {what}");
}
