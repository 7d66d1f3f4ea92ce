//! Any bytes are a request or none, and any request is a work item or refused with a reason, as a
//! status that can be sent. `cargo +nightly fuzz run work_item` in `src/proto`.
#![no_main]

use std::sync::LazyLock;
use std::time::SystemTime;

use helix_model::admission::Refusal;
use helix_model::ids::QueueName;
use helix_proto::agent::v1::RunRequest;
use libfuzzer_sys::fuzz_target;
use prost::Message;

static QUEUE: LazyLock<QueueName> =
    LazyLock::new(|| QueueName::new("default").expect("a good name"));

fuzz_target!(|bytes: &[u8]| {
    let Ok(request) = RunRequest::decode(bytes) else {
        return;
    };
    let _ = format!("{request:?}");
    match helix_proto::work_item::work_item(request.work_item, &QUEUE) {
        Ok(work_item) => assert!(work_item.delivery.number() > work_item.delivery.retries_used()),
        Err(problems) => {
            assert!(!problems.is_empty());
            let refusal = Refusal::BadRequest { problems };
            let status = helix_proto::refusal::status(&refusal, SystemTime::UNIX_EPOCH);
            let headers = status.into_http::<()>();
            let bytes: usize = headers.headers().values().map(|value| value.len()).sum();
            assert!(bytes < 8192, "{bytes} bytes of headers");
        }
    }
});
