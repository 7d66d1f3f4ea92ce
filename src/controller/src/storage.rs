//! The object store: long logs and payloads, in a local folder or in a service.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::prefix::PrefixStore;
use url::Url;

/// Where objects are kept. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Storage {
    objects: Arc<dyn ObjectStore>,
    shown: Arc<str>,
}

/// Why an object store cannot be used. No variant shows an option's value.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The local folder cannot be made or opened.
    #[error("open the folder `{path}`", path = path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The URL, or an option.
    #[error("use `{url}`: {reason}")]
    Unusable {
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Storage {
    /// A local folder, made if need be.
    pub(crate) fn folder(path: &Path) -> Result<Self, StorageError> {
        let error = |source| StorageError::Folder {
            path: path.to_owned(),
            source,
        };
        std::fs::create_dir_all(path).map_err(error)?;
        let store = LocalFileSystem::new_with_prefix(path)
            .map_err(|source| error(std::io::Error::other(source)))?
            // What the store says is kept survives a power cut.
            .with_fsync(true);
        Ok(Self {
            objects: Arc::new(store),
            shown: path.display().to_string().into(),
        })
    }

    /// `file:///folder`, `az://container/prefix` or `s3://bucket/prefix`. Nothing is sent yet.
    pub(crate) fn open(
        url: &str,
        options: &BTreeMap<String, String>,
    ) -> Result<Self, StorageError> {
        let unusable = |reason: String| StorageError::Unusable {
            url: url.to_owned(),
            reason,
        };
        let parsed = Url::parse(url).map_err(|error| unusable(error.to_string()))?;
        let prefix = Key::from_url_path(parsed.path())
            .map_err(|error| unusable(format!("its prefix cannot be used: {error}")))?;
        let container = parsed.host_str().unwrap_or_default();
        let objects: Arc<dyn ObjectStore> = match parsed.scheme() {
            "file" => {
                let path = parsed
                    .to_file_path()
                    .map_err(|()| unusable("it has no absolute path".to_owned()))?;
                return Self::folder(&path);
            }
            "az" => {
                let mut builder = MicrosoftAzureBuilder::new().with_container_name(container);
                for (name, value) in options {
                    let key: AzureConfigKey = name
                        .parse()
                        .map_err(|_| unusable(format!("unknown option `{name}`")))?;
                    builder = builder.with_config(key, value);
                }
                let built = builder.build().map_err(|error| unusable(plain(&error)))?;
                Arc::new(PrefixStore::new(built, prefix))
            }
            "s3" => {
                let mut builder = AmazonS3Builder::new().with_bucket_name(container);
                for (name, value) in options {
                    let key: AmazonS3ConfigKey = name
                        .parse()
                        .map_err(|_| unusable(format!("unknown option `{name}`")))?;
                    builder = builder.with_config(key, value);
                }
                let built = builder.build().map_err(|error| unusable(plain(&error)))?;
                Arc::new(PrefixStore::new(built, prefix))
            }
            other => return Err(unusable(format!("unknown scheme `{other}`"))),
        };
        Ok(Self {
            objects,
            shown: url.into(),
        })
    }

    /// The objects themselves.
    pub(crate) fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }
}

/// The kind of an error of a builder, whose text may repeat a value.
fn plain(error: &object_store::Error) -> String {
    match error {
        object_store::Error::Generic { store, .. } => {
            format!("an option for {store} is missing or cannot be understood")
        }
        object_store::Error::UnknownConfigurationKey { key, .. } => {
            format!("unknown option `{key}`")
        }
        _ => "the options cannot be used".to_owned(),
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Storage({})", self.shown)
    }
}
