//! Downloads from servers that are busy, refuse, lie, fall silent or lead elsewhere.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use helix_payload::{ArchiveSource, Error, HttpProblem, Kind, Progress, Sha256};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::caching::{Den, assert_no_secret, content, eventually, quick_options, request};
use crate::server::{Server, Step, by_range, chunked, cut, head, status, whole};

const MIB: usize = 1 << 20;

#[tokio::test]
async fn server_that_is_busy_is_obeyed_and_tried_again() {
    let den = Den::new();
    let served = content(1000, 10);
    let expected = served.clone();
    let server = Server::start(move |_, number| match number {
        0 => status("503 Service Unavailable", &[("Retry-After", "1")]),
        1 => status("429 Too Many Requests", &[]),
        _ => whole(&served, None),
    })
    .await;
    let lease = den.fetch(&request(&server.url("a"), None)).await.unwrap();
    assert_eq!(lease.sha256(), Sha256::of(&expected));
    let asked = server.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked[1].at - asked[0].at >= Duration::from_secs(1));
}

#[tokio::test]
async fn server_that_stays_busy_is_a_transient_failure_after_the_tries_allowed() {
    let den = Den::new();
    let server = Server::start(|_, _| status("503 Service Unavailable", &[])).await;
    let error = den
        .fetch(&request(&server.url("a.zip"), None))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Transient);
    assert_eq!(server.asked().len(), 4);
    let text = error.chain();
    assert!(text.starts_with("download `http://localhost:"), "{text}");
    assert!(
        text.ends_with("/a.zip`: the server answered 503 Service Unavailable"),
        "{text}"
    );
    assert!(den.files("partial").is_empty());
}

#[tokio::test]
async fn refusals_are_permanent_and_not_tried_again() {
    for code in [400, 401, 403, 404, 410, 204, 304] {
        let den = Den::new();
        let server = Server::start(move |_, _| status(&format!("{code} Answer"), &[])).await;
        let error = den
            .fetch(&request(&server.url("a"), None))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Permanent, "{code}");
        assert_eq!(server.asked().len(), 1, "{code}");
        assert_eq!(
            error.hint().is_some(),
            [401, 403, 404, 410].contains(&code),
            "{code}"
        );
    }
}

#[tokio::test]
async fn wrong_content_is_permanent_after_one_clean_download() {
    let den = Den::new();
    let (good, bad) = (content(1000, 11), content(1000, 12));
    let served = bad.clone();
    let server = Server::start(move |_, _| whole(&served, Some("\"tag\""))).await;
    let expected = Sha256::of(&good);
    let error = den
        .fetch(&request(&server.url("a"), Some(expected)))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::DigestMismatch { expected: e, found, .. }
            if *e == expected && *found == Sha256::of(&bad)),
        "{error:?}"
    );
    assert_eq!(error.kind(), Kind::Permanent);
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|asked| asked.range_start().is_none()));
    assert!(den.files("partial").is_empty() && den.files("archives").is_empty());

    // Wrong once only, as with a half from before that was not what it seemed.
    let served = good.clone();
    let server = Server::start(move |_, number| match number {
        0 => whole(&bad, None),
        _ => whole(&served, None),
    })
    .await;
    den.fetch(&request(&server.url("a"), Some(expected)))
        .await
        .unwrap();
}

#[tokio::test]
async fn server_that_announces_less_than_it_sends_gives_wrong_content() {
    let den = Den::new();
    let content = content(1000, 13);
    let served = content.clone();
    let server = Server::start(move |_, _| {
        vec![
            head("200 OK", &[("Content-Length", "900")]),
            Step::Send(served.to_vec()),
        ]
    })
    .await;
    let request = request(&server.url("a"), Some(Sha256::of(&content)));
    let error = den.fetch(&request).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error:?}");
}

#[tokio::test]
async fn server_that_announces_more_than_it_sends_is_interrupted_each_time() {
    let den = Den::new();
    let served = content(1000, 14);
    let server = Server::start(move |_, _| cut(&served, None, 900)).await;
    let error = den
        .fetch(&request(&server.url("a"), None))
        .await
        .unwrap_err();
    let Error::Http {
        problem: HttpProblem::Interrupted { bytes, .. },
        ..
    } = &error
    else {
        panic!("{error:?}")
    };
    assert!(*bytes <= 900);
    assert_eq!(error.kind(), Kind::Transient);
    assert_eq!(server.asked().len(), 4);
}

#[tokio::test]
async fn progress_begins_the_tries_anew() {
    let den = Den::new();
    let content = content(8 * 100_000, 15);
    let served = content.clone();
    // More breaks than tries are allowed, but each brings something.
    let server = Server::start(move |asked, _| {
        let mut reply = by_range(asked, &served, "\"tag\"");
        let Some(Step::Send(rest)) = reply.last_mut() else {
            panic!()
        };
        rest.truncate(100_000);
        reply
    })
    .await;
    let request = request(&server.url("a"), Some(Sha256::of(&content)));
    assert!(fs::read(den.fetch(&request).await.unwrap().path()).unwrap() == *content);
    assert_eq!(server.asked().len(), 8);
}

#[tokio::test]
async fn archive_beyond_the_limit_is_refused_announced_or_not() {
    let mut options = quick_options();
    options.limits.max_archive_bytes = 100_000;
    let den = Den::with(options);
    let content = content(100_001, 16);
    let (served, sent) = (content.clone(), Arc::new(AtomicUsize::new(0)));
    let server = Server::start(move |asked, _| {
        sent.fetch_add(1, Ordering::Relaxed);
        if asked.path.starts_with("/told") {
            whole(&served, None)
        } else {
            chunked(&served)
        }
    })
    .await;
    for (path, announced) in [("told", Some(100_001)), ("untold", None)] {
        let error = den
            .fetch(&request(&server.url(path), None))
            .await
            .unwrap_err();
        assert!(
            matches!(&error, Error::TooLarge { limit_bytes: 100_000, announced_bytes, .. }
                if *announced_bytes == announced),
            "{error:?}"
        );
        assert_eq!(error.kind(), Kind::Permanent);
    }
    assert_eq!(server.asked().len(), 2);
    assert!(den.files("partial").is_empty());
}

#[tokio::test]
async fn archive_of_untold_length_arrives() {
    let den = Den::new();
    let content = content(MIB + 1, 17);
    let served = content.clone();
    let server = Server::start(move |_, _| chunked(&served)).await;
    let lease = den.fetch(&request(&server.url("a"), None)).await.unwrap();
    assert!(fs::read(lease.path()).unwrap() == *content);
}

#[tokio::test]
async fn server_that_falls_silent_is_given_up_and_tried_again() {
    let mut options = quick_options();
    options.http.stall_timeout = Duration::from_millis(100);
    let den = Den::with(options);
    let content = content(MIB, 18);
    let served = content.clone();
    let server = Server::start(move |asked, number| match number {
        0 => vec![Step::Stall],
        1 => {
            let mut reply = cut(&served, Some("\"tag\""), 1000);
            reply.push(Step::Stall);
            reply
        }
        _ => by_range(asked, &served, "\"tag\""),
    })
    .await;
    let lease = den.fetch(&request(&server.url("a"), None)).await.unwrap();
    assert!(fs::read(lease.path()).unwrap() == *content);
    assert_eq!(server.asked()[2].range_start(), Some(1000));
}

#[tokio::test]
async fn deadline_ends_it_and_tells_what_went_wrong_last() {
    let mut options = quick_options();
    options.http.deadline = Duration::from_millis(400);
    options.http.retry.tries = 1000;
    options.http.retry.first_pause = Duration::from_millis(50);
    options.http.retry.longest_pause = Duration::from_millis(50);
    let den = Den::with(options);
    let server = Server::start(|_, _| status("500 Internal Server Error", &[])).await;
    let started = Instant::now();
    let error = den
        .fetch(&request(&server.url("a"), None))
        .await
        .unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(error.kind(), Kind::Transient);
    let Error::Deadline {
        last: Some(last), ..
    } = &error
    else {
        panic!("{error:?}")
    };
    assert!(matches!(
        &**last,
        Error::Http {
            problem: HttpProblem::Status { code: 500, .. },
            ..
        }
    ));

    let server = Server::start(|_, _| vec![Step::Stall]).await;
    let error = den
        .fetch(&request(&server.url("a"), None))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Deadline { last: None, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn caller_with_an_address_of_its_own_is_not_failed_by_that_of_another() {
    let den = Den::new();
    let content = content(1000, 19);
    let gate = Arc::new(Semaphore::new(0));
    let (served, closed) = (content.clone(), gate.clone());
    let server = Server::start(move |asked, _| {
        if asked.path.starts_with("/expired") {
            [
                vec![Step::Gate(closed.clone())],
                status("403 Forbidden", &[]),
            ]
            .concat()
        } else {
            whole(&served, None)
        }
    })
    .await;
    let sha256 = Some(Sha256::of(&content));
    let first = {
        let (cache, request) = (den.cache.clone(), request(&server.url("expired"), sha256));
        tokio::spawn(async move { cache.fetch(&request, &CancellationToken::new()).await })
    };
    eventually("the first has asked", || server.asked().len() == 1).await;
    let second = {
        let (cache, request) = (den.cache.clone(), request(&server.url("fresh"), sha256));
        tokio::spawn(async move { cache.fetch(&request, &CancellationToken::new()).await })
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    gate.add_permits(1);
    let error = first.await.unwrap().unwrap_err();
    assert!(matches!(
        error,
        Error::Http {
            problem: HttpProblem::Status { code: 403, .. },
            ..
        }
    ));
    assert!(second.await.unwrap().is_ok());
}

#[tokio::test]
async fn redirects_are_followed_without_telling_where_from() {
    let den = Den::new();
    let served = content(1000, 20);
    let server = Server::start(move |asked, _| match asked.path.split('?').next() {
        Some("/here") => status("302 Found", &[("Location", "/there?sig=other")]),
        _ => whole(&served, None),
    })
    .await;
    den.fetch(&request(&server.url("here"), None))
        .await
        .unwrap();
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1].path, "/there?sig=other");
    assert_eq!(asked[1].header("referer"), None);
}

#[tokio::test]
async fn redirects_without_end_or_to_elsewhere_are_permanent_failures() {
    for location in [
        "/round?x=hunter2hunter2",
        "ftp://a.example/hunter2hunter2",
        "file:///etc/passwd",
    ] {
        let den = Den::new();
        let server =
            Server::start(move |_, _| status("307 Again", &[("Location", location)])).await;
        let error = den
            .fetch(&request(&server.url("round"), None))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Permanent, "{error:?}");
        assert!(server.asked().len() <= 11);
    }
}

#[tokio::test]
async fn nobody_there_is_a_transient_failure_without_secrets() {
    let den = Den::new();
    let gone = Server::start(|_, _| Vec::new()).await;
    let url = gone.url("a");
    drop(gone);
    for url in [
        url,
        "https://u:hunter2hunter2@no-such-host.invalid/?s=hunter2hunter2".to_owned(),
    ] {
        let error = den.fetch(&request(&url, None)).await.unwrap_err();
        assert!(
            matches!(
                error,
                Error::Http {
                    problem: HttpProblem::Connect { .. },
                    ..
                }
            ),
            "{error:?}"
        );
        assert_eq!(error.kind(), Kind::Transient);
    }
    // Something that does not speak the protocol.
    let server = Server::start(|_, _| vec![Step::Send(b"SSH-2.0-OpenSSH\r\n".to_vec())]).await;
    let error = den
        .fetch(&request(&server.url("a"), None))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Transient, "{error:?}");
}

#[tokio::test]
async fn progress_is_told_to_everybody_who_waits() {
    let den = Den::new();
    let content = content(2 * MIB, 21);
    let gate = Arc::new(Semaphore::new(0));
    let (served, closed) = (content.clone(), gate.clone());
    let server = Server::start(move |_, _| {
        let mut reply = cut(&served, None, MIB);
        reply.push(Step::Gate(closed.clone()));
        reply.push(Step::Send(served[MIB..].to_vec()));
        reply
    })
    .await;
    let mut watchers = Vec::new();
    let mut callers = Vec::new();
    for _ in 0..3 {
        let (progress, watcher) = watch::channel(Progress::Waiting);
        watchers.push(watcher);
        let cache = den.cache.clone();
        let mut request = request(&server.url("a"), Some(Sha256::of(&content)));
        request.progress = Some(progress);
        callers.push(tokio::spawn(async move {
            cache.fetch(&request, &CancellationToken::new()).await
        }));
    }
    let total = 2 * MIB as u64;
    let half = Progress::Fetching {
        bytes: MIB as u64,
        total: Some(total),
    };
    eventually("all see half of it", || {
        watchers.iter().all(|watcher| *watcher.borrow() == half)
    })
    .await;
    gate.add_permits(1);
    for (caller, watcher) in callers.into_iter().zip(watchers) {
        caller.await.unwrap().unwrap();
        assert_eq!(*watcher.borrow(), Progress::Fetched { bytes: total });
    }
}

#[tokio::test]
async fn untrusted_server_is_refused_and_a_trusted_one_is_not() {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let tls = || {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![key.cert.der().clone()],
                rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der())
                    .unwrap(),
            )
            .unwrap()
    };
    let served = content(1000, 22);
    let plain = Server::start(|_, _| whole(b"plain", None)).await;
    let down = format!("http://localhost/?sig=hunter2hunter2#{}", plain.url(""));
    let server = Server::start_tls(tls(), move |asked, _| {
        if asked.path.starts_with("/down") {
            status("302 Found", &[("Location", &down)])
        } else {
            whole(&served, None)
        }
    })
    .await;
    let den = Den::new();
    let error = den
        .fetch(&request(&server.url("a"), None))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Http {
                problem: HttpProblem::Certificate { .. },
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(error.kind(), Kind::Permanent);

    let mut options = quick_options();
    options.http.trust_pem(key.cert.pem().as_bytes()).unwrap();
    assert!(options.http.trust_pem(b"nothing").is_err());
    let den = Den::with(options);
    den.fetch(&request(&server.url("a"), None)).await.unwrap();
    let error = den
        .fetch(&request(&server.url("down"), None))
        .await
        .unwrap_err();
    assert!(
        error.chain().ends_with("it leads from HTTPS to HTTP"),
        "{}",
        error.chain()
    );
    assert_eq!(error.kind(), Kind::Permanent);
    assert!(plain.asked().is_empty());
}

#[tokio::test]
async fn request_shows_no_secret() {
    let request = request(
        "https://u:hunter2hunter2@a.example/x?s=hunter2hunter2",
        None,
    );
    assert!(!format!("{request:?}").contains("hunter2"), "{request:?}");
    let error = Error::TooLarge {
        origin: ArchiveSource::parse("https://a.example/x?s=hunter2hunter2").unwrap(),
        limit_bytes: 1,
        announced_bytes: None,
    };
    assert_no_secret(&error);
}
