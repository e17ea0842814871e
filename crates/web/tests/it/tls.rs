//! HTTPS: keys and versions, files that change, clients that forgot the `s`, and the supervisor's question.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Version};
use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use web::axum::body::Body;
use web::axum::routing::get;
use web::test::Client;
use web::{Options, Pair, Tls};

use super::rig::{Running, good, rest, said, soon, start};

struct Files {
    _dir: tempfile::TempDir,
    certificate: PathBuf,
    key: PathBuf,
    /// How often the server has looked.
    read: Arc<AtomicUsize>,
}

impl Files {
    fn new() -> Files {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        Files { _dir: dir, certificate, key, read: Arc::default() }
    }

    /// Writes a new pair, and returns the certificate.
    fn put(&self, key: &KeyPair) -> String {
        let certificate = CertificateParams::new(vec!["flow.api".into()]).unwrap().self_signed(key).unwrap().pem();
        fs::write(&self.certificate, &certificate).unwrap();
        fs::write(&self.key, key.serialize_pem()).unwrap();
        certificate
    }

    fn serve(&self) -> Running {
        let (certificate, key, read) = (self.certificate.clone(), self.key.clone(), self.read.clone());
        let source = move || {
            read.fetch_add(1, Ordering::SeqCst);
            let text = |path: &PathBuf| fs::read_to_string(path).map_err(|error| error.to_string());
            Ok(Pair { certificate: text(&certificate)?.into(), key: text(&key)?.into() })
        };
        let tls = Tls::of(source).unwrap().every(Duration::from_millis(20));
        let version = get(|version: Version| async move { format!("{version:?}") });
        let torn = get(|| async {
            let pieces = [Ok("piece"), Err(std::io::Error::other("the database went away"))];
            Body::from_stream(futures_util::stream::iter(pieces))
        });
        let router = good().route("/version", version).route("/torn", torn);
        start(router, Options { tls: Some(tls), ..Options::default() })
    }
}

impl Files {
    /// Once the server has looked at them as they are now, and is done with what it saw: it looks again.
    async fn are_read(&self) {
        let before = self.read.load(Ordering::SeqCst);
        soon(async {
            while self.read.load(Ordering::SeqCst) < before + 3 {
                tokio::time::sleep(Duration::from_millis(5)).await
            }
        })
        .await;
    }
}

fn ec() -> KeyPair {
    KeyPair::generate().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_http_are_spoken_and_names_are_held_to_https() {
    let files = Files::new();
    let certificate = files.put(&ec());
    let server = files.serve();
    let client = Client::to(server.address).tls(&certificate);
    let one = client.get("/version").await;
    let two = client.clone().two().get("/version").await;
    assert_eq!((one.text(), two.text()), ("HTTP/1.1", "HTTP/2.0"));
    for client in [client.clone(), client.clone().two()] {
        let torn = client.try_send(Request::get("/torn").body(Bytes::new()).unwrap()).await;
        assert!(torn.is_err(), "what broke off is not whole: {torn:?}");
    }
    for answer in [one, two] {
        assert_eq!(answer.header("strict-transport-security"), Some("max-age=31536000"));
    }
    let local = client.host("localhost").get("/version").await;
    assert_eq!(local.header("strict-transport-security"), None);
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Headers without end, requests that are taken back at once, bodies that bring nothing: each connection is ended by the
/// server, soon, and who is good is served meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_end_their_own_connection_alone() {
    const BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    // GET or POST, https, a path and a host.
    let head = |method: u8| [&[method, 0x87][..], b"\0\x05:path\x05/good", b"\0\x0a:authority\x08flow.api"].concat();
    let (get, post) = (head(0x82), head(0x83));
    type Flood = Box<dyn Fn(u32) -> Vec<u8> + Send>;
    let first = |begin: Vec<u8>, then: Vec<u8>| -> Flood {
        Box::new(move |n| if n == 0 { begin.clone() } else { then.clone() })
    };
    let floods: [(&str, Flood); 4] = [
        ("continuations", first(frame(1, 1, 1, &get), frame(9, 0, 1, b""))),
        ("resets", Box::new(move |n| [frame(1, 5, 2 * n + 1, &get), frame(3, 0, 2 * n + 1, &[0, 0, 0, 8])].concat())),
        ("empty data", first(frame(1, 4, 1, &post), frame(0, 0, 1, b""))),
        ("bodies", Box::new(move |n| frame(1, 4, 2 * n + 1, &post))),
    ];
    let files = Files::new();
    let certificate = files.put(&ec());
    let server = files.serve();
    let client = Client::to(server.address).tls(&certificate).two();
    for (name, flood) in floods {
        let (mut reading, mut writing) = tokio::io::split(client.connect().await.unwrap());
        let flooding = tokio::spawn(async move {
            let mut sent = writing.write_all(BEGIN).await;
            // As many as can be sent until the server ends it, which it does by time: a million are not enough for a quick machine.
            for n in 0..100_000_000 {
                if sent.is_err() {
                    return n;
                }
                sent = writing.write_all(&flood(n)).await;
            }
            panic!("{name}: no end of them was taken");
        });
        assert_eq!(soon(client.get("/good")).await.text(), "good", "during {name}");
        let mut told = [0; 4096];
        while soon(reading.read(&mut told)).await.is_ok_and(|read| read > 0) {}
        assert!(soon(flooding).await.unwrap() > 1, "{name} did not begin");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_rsa_key_and_texts_in_base64_are_served() {
    use base64::Engine as _;
    use rsa::pkcs8::EncodePrivateKey as _;
    let key = rsa::PrivateKey::new(&mut rand::rng(), 2048).unwrap();
    let key = key.to_pkcs8_pem(rsa::pkcs8::LineEnding::LF).unwrap();
    let files = Files::new();
    let certificate = files.put(&KeyPair::from_pem(&key).unwrap());
    let wrap = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        fs::write(path, base64::engine::general_purpose::STANDARD.encode(text)).unwrap();
    };
    wrap(&files.certificate);
    wrap(&files.key);
    let server = files.serve();
    assert_eq!(Client::to(server.address).tls(&certificate).get("/good").await.text(), "good");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_pair_is_taken_over_and_a_broken_one_is_not() {
    let files = Files::new();
    let old = files.put(&ec());
    let server = files.serve();
    let serves = async |certificate: &str| {
        let request = http::Request::get("/good").body(bytes::Bytes::new()).unwrap();
        Client::to(server.address).tls(certificate).try_send(request).await.is_ok()
    };
    assert!(serves(&old).await);
    let new = files.put(&ec());
    soon(async {
        while !serves(&new).await {
            tokio::time::sleep(Duration::from_millis(10)).await
        }
    })
    .await;
    assert!(!serves(&old).await);
    // The certificate of another key, then nothing at all: the pair that works stays.
    fs::write(&files.certificate, &old).unwrap();
    files.are_read().await;
    assert!(serves(&new).await);
    fs::remove_file(&files.key).unwrap();
    files.are_read().await;
    assert!(serves(&new).await);
    let newest = files.put(&ec());
    soon(async {
        while !serves(&newest).await {
            tokio::time::sleep(Duration::from_millis(10)).await
        }
    })
    .await;
}

#[test]
fn what_is_wrong_at_the_start_is_named() {
    let files = Files::new();
    let told = |files: &Files| Tls::files(&files.certificate, &files.key).err().unwrap().to_string();
    assert!(
        told(&files).ends_with("cert.pem can't be read: No such file or directory (os error 2)"),
        "{}",
        told(&files)
    );
    files.put(&ec());
    fs::write(&files.key, ec().serialize_pem()).unwrap();
    assert_eq!(told(&files), "the key is not that of the certificate");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_forgot_the_s_is_told() {
    let files = Files::new();
    let certificate = files.put(&ec());
    let server = files.serve();
    let mut plain = said(server.address, "GET /good HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let answer = rest(&mut plain).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("begin the address with https://"), "{answer}");
    let mut noise = said(server.address, "\0\0\0\0").await;
    assert_eq!(rest(&mut noise).await, "");
    assert_eq!(Client::to(server.address).tls(&certificate).get("/good").await.text(), "good");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_supervisors_question_is_answered_by_our_certificate_only() {
    let files = Files::new();
    files.put(&ec());
    let server = files.serve();
    let address = server.address;
    let ask = |path: &'static str, certificate: String| {
        let asked = move || {
            let get = https::Get::https(address, path, move || Ok(certificate.clone()));
            get.ask(|to, wait| TcpStream::connect_timeout(&to, wait), Duration::from_secs(30))
        };
        async { tokio::task::spawn_blocking(asked).await.unwrap() }
    };
    let own = fs::read_to_string(&files.certificate).unwrap();
    assert_eq!(ask("/good", own.clone()).await, Ok(()));
    assert_eq!(ask("/nothing", own).await, Err("GET /nothing answers 404".to_owned()));
    let other = Files::new().put(&ec());
    let refused = ask("/good", other).await.unwrap_err();
    assert!(refused.contains("the server shows another certificate than ours"), "{refused}");
}
