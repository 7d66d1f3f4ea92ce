//! Opens the stores behind HTTP: Azure Blob and S3.

use std::str::FromStr;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::path::Path as Key;
use object_store::{ClientConfigKey, RetryConfig};
use url::Url;

use crate::destination::OpenError;
use crate::options::Options;
use crate::problem::Scrubber;
use crate::transport::Connector;

/// Account and key that every Azure emulator has; both are public knowledge.
const EMULATOR_ACCOUNT: &str = "devstoreaccount1";
const EMULATOR_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const EMULATOR_ENDPOINT: &str = "http://127.0.0.1:10000";

/// A store that has been set up but not spoken to.
pub(crate) struct Remote {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// URL of the container or bucket.
    pub(crate) base: Url,
    pub(crate) prefix: Key,
    pub(crate) scrubber: Scrubber,
}

/// `az://container/prefix`.
pub(crate) fn azure(url: &Url, options: &Options) -> Result<Remote, OpenError> {
    let place = Place::of(url, "container")?;
    let mut builder = MicrosoftAzureBuilder::new()
        .with_container_name(place.container)
        .with_retry(no_retries())
        .with_http_connector(place.connector()?);
    let mut emulator = false;
    let mut allow_http = false;
    for (name, value) in options.iter() {
        let key = AzureConfigKey::from_str(name).map_err(|_| place.unknown_option("az", name))?;
        match key {
            AzureConfigKey::Client(ClientConfigKey::AllowHttp) => {
                allow_http = place.switch(name, value)?;
            }
            AzureConfigKey::UseEmulator => emulator = place.switch(name, value)?,
            // The URL says which container, and the HTTP client is this room's own.
            AzureConfigKey::Client(_) | AzureConfigKey::ContainerName => {
                return Err(place.unknown_option("az", name));
            }
            key => builder = builder.with_config(key, value),
        }
    }
    let given = |builder: &MicrosoftAzureBuilder, key| builder.get_config_value(&key);
    if emulator {
        // The library's own emulator mode takes the endpoint from the process environment.
        let account = given(&builder, AzureConfigKey::AccountName)
            .unwrap_or_else(|| EMULATOR_ACCOUNT.to_owned());
        let endpoint = given(&builder, AzureConfigKey::Endpoint)
            .unwrap_or_else(|| format!("{EMULATOR_ENDPOINT}/{account}"));
        let credentials = [
            AzureConfigKey::AccessKey,
            AzureConfigKey::SasKey,
            AzureConfigKey::Token,
        ];
        if credentials
            .into_iter()
            .all(|key| given(&builder, key).is_none())
        {
            builder = builder.with_access_key(EMULATOR_KEY);
        }
        builder = builder.with_account(account).with_endpoint(endpoint);
    }
    let account = given(&builder, AzureConfigKey::AccountName)
        .ok_or_else(|| place.invalid("`account_name` is missing"))?;
    let endpoint = given(&builder, AzureConfigKey::Endpoint)
        .unwrap_or_else(|| format!("https://{account}.blob.core.windows.net"));
    let base = place.base(&endpoint, Some(place.container), allow_http || emulator)?;
    let scrubber = Scrubber::new(options);
    let store = builder
        .build()
        .map_err(|error| place.invalid(&scrubber.reason(&error.to_string())))?;
    Ok(Remote {
        store: Arc::new(store),
        base,
        prefix: place.prefix,
        scrubber,
    })
}

/// `s3://bucket/prefix`.
pub(crate) fn s3(url: &Url, options: &Options) -> Result<Remote, OpenError> {
    let place = Place::of(url, "bucket")?;
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(place.container)
        .with_retry(no_retries())
        .with_http_connector(place.connector()?);
    let mut allow_http = false;
    let mut virtual_hosted = false;
    for (name, value) in options.iter() {
        let key =
            AmazonS3ConfigKey::from_str(name).map_err(|_| place.unknown_option("s3", name))?;
        match key {
            AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp) => {
                allow_http = place.switch(name, value)?;
                continue;
            }
            AmazonS3ConfigKey::Client(_) | AmazonS3ConfigKey::Bucket => {
                return Err(place.unknown_option("s3", name));
            }
            AmazonS3ConfigKey::VirtualHostedStyleRequest => {
                virtual_hosted = place.switch(name, value)?;
            }
            _ => {}
        }
        builder = builder.with_config(key, value);
    }
    let given = |key| builder.get_config_value(&key);
    let endpoint = given(AmazonS3ConfigKey::S3Endpoint).or(given(AmazonS3ConfigKey::Endpoint));
    let region = given(AmazonS3ConfigKey::Region)
        .or(given(AmazonS3ConfigKey::DefaultRegion))
        .unwrap_or_else(|| "us-east-1".to_owned());
    let bucket = place.container;
    // A virtual-hosted endpoint that is given already names the bucket.
    let base = match (endpoint, virtual_hosted) {
        (Some(endpoint), true) => place.base(&endpoint, None, allow_http)?,
        (Some(endpoint), false) => place.base(&endpoint, Some(bucket), allow_http)?,
        (None, true) => place.base(
            &format!("https://{bucket}.s3.{region}.amazonaws.com"),
            None,
            false,
        )?,
        (None, false) => place.base(
            &format!("https://s3.{region}.amazonaws.com"),
            Some(bucket),
            false,
        )?,
    };
    let scrubber = Scrubber::new(options);
    let store = builder
        .build()
        .map_err(|error| place.invalid(&scrubber.reason(&error.to_string())))?;
    Ok(Remote {
        store: Arc::new(store),
        base,
        prefix: place.prefix,
        scrubber,
    })
}

/// The library sends each request once: this room's transport repeats requests.
fn no_retries() -> RetryConfig {
    RetryConfig {
        max_retries: 0,
        ..RetryConfig::default()
    }
}

/// What the URL of a destination says, and errors about it.
struct Place<'a> {
    destination: String,
    container: &'a str,
    prefix: Key,
}

impl<'a> Place<'a> {
    fn of(url: &'a Url, what: &'static str) -> Result<Self, OpenError> {
        let container =
            url.host_str()
                .filter(|host| !host.is_empty())
                .ok_or(OpenError::InvalidUrl {
                    reason: if what == "bucket" {
                        "it names no bucket"
                    } else {
                        "it names no container"
                    },
                })?;
        if url.port().is_some() {
            return Err(OpenError::InvalidUrl {
                reason: "it has a port",
            });
        }
        let prefix = Key::from_url_path(url.path()).map_err(|_| OpenError::InvalidUrl {
            reason: "its path cannot be a prefix",
        })?;
        Ok(Self {
            destination: url.to_string(),
            container,
            prefix,
        })
    }

    fn connector(&self) -> Result<Connector, OpenError> {
        Connector::new().map_err(|error| self.invalid(&format!("no HTTP client: {error}")))
    }

    fn invalid(&self, reason: &str) -> OpenError {
        OpenError::InvalidOptions {
            destination: self.destination.clone(),
            reason: reason.to_owned(),
        }
    }

    fn unknown_option(&self, scheme: &'static str, name: &str) -> OpenError {
        OpenError::UnknownOption {
            name: name.to_owned(),
            scheme,
        }
    }

    fn switch(&self, name: &str, value: &str) -> Result<bool, OpenError> {
        match value.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(self.invalid(&format!("`{name}` is neither `true` nor `false`"))),
        }
    }

    /// The URL of the container or bucket, spoken to in the clear only if allowed, or if it never
    /// leaves the machine.
    fn base(
        &self,
        endpoint: &str,
        container: Option<&str>,
        allow_http: bool,
    ) -> Result<Url, OpenError> {
        let mut base = Url::parse(endpoint).map_err(|_| self.invalid("`endpoint` is not a URL"))?;
        match base.scheme() {
            "https" => {}
            "http" if allow_http || is_loopback(&base) => {}
            "http" => {
                return Err(OpenError::PlainHttp {
                    destination: self.destination.clone(),
                });
            }
            _ => return Err(self.invalid("`endpoint` is neither `https` nor `http`")),
        }
        let carries_more = !base.username().is_empty()
            || base.password().is_some()
            || base.query().is_some()
            || base.fragment().is_some();
        if carries_more {
            return Err(self.invalid("`endpoint` carries more than host and path"));
        }
        if let (Some(container), Ok(mut segments)) = (container, base.path_segments_mut()) {
            segments.pop_if_empty().push(container);
        }
        Ok(base)
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
