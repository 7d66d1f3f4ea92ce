//! Where files go: a local folder, an Azure Blob container or an S3 bucket, behind one type.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use url::Url;

use crate::key;
use crate::name::ArtifactName;
use crate::options::Options;
use crate::problem::Scrubber;
use crate::remote;
use crate::store::Tuning;

/// A place that files are stored beneath. Cheap to clone.
#[derive(Clone)]
pub struct Destination {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) kind: DestinationKind,
    pub(crate) scrubber: Arc<Scrubber>,
    pub(crate) tuning: Tuning,
    /// URL of the folder, container or bucket, without the prefix.
    base: Url,
    prefix: Key,
}

/// What differs between stores beyond their interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DestinationKind {
    /// Files of this machine: no content types, and an error is not worth a retry.
    Local,
    /// A service behind HTTP.
    Remote,
}

/// Why a destination cannot be used. No variant shows an option's value.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not a URL, or one with a user, a password, a query or a fragment, where tokens hide.
    #[error("destination is not a plain URL: {reason}")]
    InvalidUrl {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Neither `file`, `az` nor `s3`.
    #[error("destination has scheme `{scheme}`; known are `file`, `az` and `s3`")]
    UnknownScheme {
        /// The scheme.
        scheme: String,
    },
    /// An option that this kind of destination does not know.
    #[error("unknown option `{name}` for `{scheme}:`")]
    UnknownOption {
        /// The option's name.
        name: String,
        /// The destination's scheme.
        scheme: &'static str,
    },
    /// Options that do not fit together, or a value that is not understood.
    #[error("cannot use the options for `{destination}`: {reason}")]
    InvalidOptions {
        /// The destination.
        destination: String,
        /// What is wrong, without any value.
        reason: String,
    },
    /// The service would be spoken to in the clear over a network.
    #[error("endpoint of `{destination}` is not `https`; option `allow_http` permits that")]
    PlainHttp {
        /// The destination.
        destination: String,
    },
    /// The local folder cannot be made or opened.
    #[error("cannot open folder `{path}`", path = path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Destination {
    /// Opens a destination by URL:
    ///
    /// - `file:///absolute/folder`, made if need be;
    /// - `az://container/prefix`, with at least the option `account_name` or `use_emulator`;
    /// - `s3://bucket/prefix`.
    ///
    /// Nothing is sent yet: wrong credentials show with the first file.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(url: &str, options: &Options) -> Result<Self, OpenError> {
        let url = Url::parse(url).map_err(|_| OpenError::InvalidUrl {
            reason: "it cannot be parsed",
        })?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(OpenError::InvalidUrl {
                reason: "it names a user",
            });
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(OpenError::InvalidUrl {
                reason: "it has a query or a fragment",
            });
        }
        match url.scheme() {
            "file" => {
                if let Some(name) = options.names().next() {
                    return Err(OpenError::UnknownOption {
                        name: name.to_owned(),
                        scheme: "file",
                    });
                }
                let folder = url.to_file_path().map_err(|()| OpenError::InvalidUrl {
                    reason: "it is not `file:///` and an absolute path",
                })?;
                Self::folder(&folder)
            }
            "az" => Self::remote(remote::azure(&url, options)?),
            "s3" => Self::remote(remote::s3(&url, options)?),
            scheme => Err(OpenError::UnknownScheme {
                scheme: scheme.to_owned(),
            }),
        }
    }

    /// Opens a local folder, made if need be.
    ///
    /// # Errors
    ///
    /// [`OpenError::Folder`], and [`OpenError::InvalidUrl`] if the path is not absolute.
    pub fn folder(path: &Path) -> Result<Self, OpenError> {
        let folder_error = |source| OpenError::Folder {
            path: path.to_owned(),
            source,
        };
        if !path.is_absolute() {
            return Err(OpenError::InvalidUrl {
                reason: "the path is not absolute",
            });
        }
        std::fs::create_dir_all(path).map_err(folder_error)?;
        let path = path.canonicalize().map_err(folder_error)?;
        let base = Url::from_directory_path(&path).map_err(|()| OpenError::InvalidUrl {
            reason: "the path is not absolute",
        })?;
        let store = LocalFileSystem::new_with_prefix(&path)
            .map_err(|error| folder_error(std::io::Error::other(error)))?
            // A file that was reported as stored survives a power cut.
            .with_fsync(true);
        Ok(Self {
            store: Arc::new(store),
            kind: DestinationKind::Local,
            scrubber: Arc::new(Scrubber::default()),
            tuning: Tuning::default(),
            base,
            prefix: Key::default(),
        })
    }

    fn remote(remote: remote::Remote) -> Result<Self, OpenError> {
        let remote::Remote {
            store,
            base,
            prefix,
            scrubber,
        } = remote;
        Ok(Self {
            store,
            kind: DestinationKind::Remote,
            scrubber: Arc::new(scrubber),
            tuning: Tuning::default(),
            base,
            prefix,
        })
    }

    /// The same destination, working at another pace.
    #[must_use]
    pub fn with_tuning(mut self, tuning: Tuning) -> Self {
        self.tuning = tuning;
        self
    }

    /// The place `name` beneath this one: what is stored there has `name` in front of its own
    /// name in the URL, not in [`Stored::name`](crate::Stored::name).
    #[must_use]
    pub fn beneath(&self, name: &ArtifactName) -> Self {
        Self {
            prefix: key::key(&self.prefix, name),
            ..self.clone()
        }
    }

    /// Where the destination is. Carries no token.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of_key(&self.prefix)
    }

    /// Where a file of this name can be fetched once it is stored. Carries no token.
    #[must_use]
    pub fn url_of(&self, name: &ArtifactName) -> String {
        self.url_of_key(&self.key_of(name))
    }

    pub(crate) fn key_of(&self, name: &ArtifactName) -> Key {
        key::key(&self.prefix, name)
    }

    fn url_of_key(&self, key: &Key) -> String {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(key.parts());
        }
        url.into()
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Destination")
            .field("url", &self.url())
            .field("tuning", &self.tuning)
            .finish_non_exhaustive()
    }
}
