//! Unpacks bytes and looks at what came of it: nothing beside the destination, no link out of it.

use std::fs;
use std::path::Path;

use helix_payload::{UnpackLimits, UnpackOptions, unpack_blocking};
use tokio_util::sync::CancellationToken;

/// Unpacks `archive` into a directory of its own and panics if anything got out.
pub fn unpack_and_look(archive: &[u8]) {
    let scene = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap();
    let path = scene.path().join("archive");
    fs::write(&path, archive).unwrap();
    let destination = scene.path().join("destination");
    let limits = UnpackLimits {
        max_total_bytes: 8 << 20,
        max_file_bytes: 4 << 20,
        max_entries: 300,
        max_ratio: 100,
        ratio_free_bytes: 1 << 20,
        max_depth: 24,
    };
    let options = UnpackOptions {
        limits,
        ..UnpackOptions::default()
    };
    // An error is as good an end as any; only what is on disk counts.
    let result = unpack_blocking(&path, &destination, &options, &CancellationToken::new());
    if let Err(error) = result {
        assert!(!error.chain().contains(char::is_control), "{error:?}");
    }
    for entry in fs::read_dir(scene.path()).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(
            name == "archive" || name == "destination",
            "{name:?} was made"
        );
    }
    assert_eq!(fs::read(&path).unwrap(), archive);
    if let Ok(root) = destination.canonicalize() {
        look(&root, &root);
    }
}

fn look(root: &Path, directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_symlink() {
            if let Ok(resolved) = path.canonicalize() {
                assert!(resolved.starts_with(root), "{path:?} leads to {resolved:?}");
            }
        } else if metadata.is_dir() {
            look(root, &path);
        } else {
            assert!(metadata.is_file(), "{path:?} is special");
        }
    }
}
