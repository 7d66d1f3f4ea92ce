//! Signed addresses of payloads: agents have no token, and what they fetch is not for everybody.
//!
//! The key lies in the object store beside the payloads that it guards, so that every controller that
//! shares the store signs and checks alike, before and after a restart.

use std::time::{Duration, SystemTime};

use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use crate::core::PayloadAddresses;
use crate::storage::Storage;

/// Where the key lies.
const KEY_OBJECT: &str = "keys/payload-addresses";
/// Long enough for an agent that installs something first, and fetches slowly.
const LIFETIME: Duration = Duration::from_secs(6 * 60 * 60);
const KEY_BYTES: usize = 32;

/// Signs addresses and checks signatures.
#[derive(Debug, Clone)]
pub(super) struct Signer {
    key: hmac::Key,
}

/// Signs the addresses at which agents reach this controller.
#[derive(Debug)]
pub(super) struct Addresses {
    signer: Signer,
    base: String,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyError {
    /// The object store.
    #[error("reach the key of payload addresses in the object store")]
    Objects(#[from] object_store::Error),
    /// What lies there is none.
    #[error("the key of payload addresses in the object store is damaged")]
    Damaged,
    /// The system's randomness.
    #[error("draw the key of payload addresses")]
    Random,
}

impl Signer {
    /// The key that lies in the object store; made there if there is none.
    pub(super) async fn open(storage: &Storage) -> Result<Self, KeyError> {
        let objects = storage.objects();
        let place = Key::from(KEY_OBJECT);
        let mut fresh = [0; KEY_BYTES];
        SystemRandom::new()
            .fill(&mut fresh)
            .map_err(|_| KeyError::Random)?;
        let mode = PutMode::Create.into();
        let made = objects.put_opts(&place, fresh.to_vec().into(), mode).await;
        match made {
            Ok(_) => return Ok(Self::new(&fresh)),
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. },
            ) => {}
            Err(error) => return Err(error.into()),
        }
        let kept = objects.get(&place).await?.bytes().await?;
        if kept.len() != KEY_BYTES {
            return Err(KeyError::Damaged);
        }
        Ok(Self::new(&kept))
    }

    pub(super) fn new(key: &[u8]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
        }
    }

    /// The query of an address that is good for a time from now on.
    pub(super) fn query(&self, sha256: &str, now: SystemTime) -> String {
        let expires = seconds(now + LIFETIME);
        let tag = hmac::sign(&self.key, &message(sha256, expires));
        format!(
            "expires={expires}&signature={}",
            super::wire::hex(tag.as_ref())
        )
    }

    /// Whether a query is good for this payload now.
    pub(super) fn check(&self, sha256: &str, query: &str, now: SystemTime) -> bool {
        let mut fields = url::form_urlencoded::parse(query.as_bytes());
        let mut field = |name: &str| {
            let (found, value) = fields.next()?;
            (found == name).then_some(value)
        };
        let (Some(expires), Some(signature)) = (field("expires"), field("signature")) else {
            return false;
        };
        let (Ok(expires), Some(tag)) = (expires.parse(), super::wire::unhex(&signature)) else {
            return false;
        };
        let good = hmac::verify(&self.key, &message(sha256, expires), &tag).is_ok();
        good && seconds(now) <= expires
    }
}

impl Addresses {
    /// `base` is where agents reach the API from outside, without a slash at the end.
    pub(super) fn new(signer: Signer, base: String) -> Self {
        Self { signer, base }
    }
}

impl PayloadAddresses for Addresses {
    fn address(&self, sha256: &str, now: SystemTime) -> String {
        let path = helix_api::Endpoint::GetPayload.fill(&[sha256]);
        format!("{}{path}?{}", self.base, self.signer.query(sha256, now))
    }
}

fn message(sha256: &str, expires: u64) -> Vec<u8> {
    format!("payload\n{}\n{expires}", sha256.to_ascii_lowercase()).into_bytes()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |passed| passed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn an_address_is_good_for_its_payload_until_it_expires() {
        let signer = Signer::new(&[1; 32]);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let query = signer.query(DIGEST, now);
        assert!(signer.check(DIGEST, &query, now));
        assert!(signer.check(DIGEST, &query, now + LIFETIME));
        assert!(!signer.check(DIGEST, &query, now + LIFETIME + Duration::from_secs(1)));
        assert!(!signer.check(&DIGEST.replace('e', "f"), &query, now));
        assert!(!Signer::new(&[2; 32]).check(DIGEST, &query, now));
    }

    #[test]
    fn nothing_but_the_very_query_is_good() {
        let signer = Signer::new(&[1; 32]);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let query = signer.query(DIGEST, now);
        let (expires, signature) = query.split_once('&').unwrap();
        for wrong in [
            String::new(),
            expires.to_owned(),
            signature.to_owned(),
            format!("{expires}0&{signature}"),
            format!("{expires}&{}", signature.replace("signature", "sig")),
            format!("{expires}&signature="),
            format!("{expires}&{}", &signature[..signature.len() - 2]),
            format!("expires=-1&{signature}"),
            format!("expires=99999999999999999999&{signature}"),
        ] {
            assert!(!signer.check(DIGEST, &wrong, now), "{wrong}");
        }
    }

    #[tokio::test]
    async fn controllers_that_share_a_store_share_the_key() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::folder(directory.path()).unwrap();
        let (first, second) = (
            Signer::open(&storage).await.unwrap(),
            Signer::open(&storage).await.unwrap(),
        );
        let now = SystemTime::now();
        assert!(second.check(DIGEST, &first.query(DIGEST, now), now));
        let place = Key::from(KEY_OBJECT);
        let objects = storage.objects();
        objects.put(&place, vec![1].into()).await.unwrap();
        assert!(matches!(
            Signer::open(&storage).await,
            Err(KeyError::Damaged)
        ));
    }
}
