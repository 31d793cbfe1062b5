use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn check(url: &str, allowed_hosts: &[&str]) -> Result<(), Refused> {
    let allowed_hosts: Vec<String> = allowed_hosts
        .iter()
        .map(|host| (*host).to_owned())
        .collect();
    check_literal(&url.parse().unwrap(), &allowed_hosts)
}

#[test]
fn no_spelling_of_an_inner_address_is_let_through() {
    for host in [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "%31%32%37.0.0.1",
        "127。0。0。1",
        "0.0.0.0",
        "0",
        "10.1.2.3",
        "100.64.0.1",
        "100.127.255.255",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.19.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "255.255.255.255",
        "localhost",
        "LocalHost.",
        "api.localhost",
        "[::]",
        "[::1]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::10.0.0.1]",
        "[64:ff9b:1::8.8.8.8]",
        "[2002:7f00:1::]",
        "[2002:c0a8:101::1]",
        "[2001:0:1::1]",
        "[2001:db8::1]",
        "[3fff::1]",
        "[100::1]",
        "[fc00::1]",
        "[fd12:3456::1]",
        "[fe80::1]",
        "[fec0::1]",
        "[ff02::1]",
        "example.com@127.0.0.1",
        "example.com:80@127.0.0.1:8080",
        "127.0.0.1\\@example.com",
    ] {
        let url = format!("http://{host}/path");
        assert!(
            matches!(check(&url, &[]), Err(Refused::NotPublic { .. })),
            "{url}"
        );
    }
}

#[test]
fn public_addresses_and_names_pass() {
    for url in [
        "http://8.8.8.8/",
        "https://100.63.255.255",
        "https://100.128.0.0",
        "https://172.32.0.1",
        "https://example.com:8443/hook?a=1",
        "https://127.0.0.1@example.com/",
        "https://127.0.0.1.example.com/",
        "https://localhost.example.com/",
        "http://[2606:4700:4700::1111]/",
        "http://[::ffff:8.8.8.8]/",
        "http://[64:ff9b::8.8.8.8]/",
        "http://[2002:808:808::1]/",
    ] {
        assert_eq!(check(url, &[]), Ok(()), "{url}");
    }
}

#[test]
fn only_http_addresses_with_a_host_are_requests() {
    assert_eq!(
        check("file:///etc/passwd", &[]),
        Err(Refused::Scheme("file".into()))
    );
    assert_eq!(
        check("gopher://example.com/", &["example.com"]),
        Err(Refused::Scheme("gopher".into()))
    );
}

#[test]
fn a_host_that_the_configuration_names_is_allowed() {
    assert_eq!(check("http://127.0.0.1:9000/", &["127.0.0.1"]), Ok(()));
    assert_eq!(check("http://LOCALHOST./", &["localhost"]), Ok(()));
    assert_eq!(check("http://[::1]/", &["::1"]), Ok(()));
    assert_eq!(check("http://[::1]/", &["[::1]"]), Ok(()));
    for entry in ["127.0.0.1:9000", "LOCALHOST.:9000", "[::1]:9000"] {
        let host = entry.strip_suffix(":9000").unwrap();
        assert_eq!(check(&format!("http://{host}:9000/"), &[entry]), Ok(()));
        let other = check(&format!("http://{host}/"), &[entry]);
        assert!(
            matches!(other, Err(Refused::Port { port: 80, .. })),
            "{entry}"
        );
        assert_eq!(check(&format!("http://{host}/"), &[entry, host]), Ok(()));
    }
    // Without a port, to which a name leads is not known yet.
    assert_eq!(check("https://wiki.local/", &["wiki.local:443"]), Ok(()));
    assert!(check("http://wiki.local/", &["wiki.local:443"]).is_err());
    assert!(check("http://127.0.0.2/", &["127.0.0.1"]).is_err());
    assert!(check("http://a.localhost/", &["localhost"]).is_err());
}

fn egress(allowed_hosts: &[&str]) -> Egress {
    // A second installation in the same process is refused, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Egress::new(EgressConfig {
        allowed_hosts: allowed_hosts
            .iter()
            .map(|host| (*host).to_owned())
            .collect(),
        timeout: Duration::from_millis(500),
        max_bytes: 1024,
    })
    .unwrap()
}

/// Answers one request with these bytes and gives the request back.
async fn server(answer: &str) -> (u16, tokio::task::JoinHandle<String>) {
    let answer = answer.to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let read = stream.read(&mut request).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request[..read].to_vec()).unwrap()
    });
    (port, served)
}

fn url(host: &str, port: u16) -> Url {
    format!("http://{host}:{port}/hook").parse().unwrap()
}

#[tokio::test]
async fn a_callback_is_posted_as_plain_json_and_its_status_comes_back() {
    let (port, served) = server("HTTP/1.1 204 No Content\r\n\r\n").await;
    let status = egress(&["127.0.0.1"])
        .post_json(&url("127.0.0.1", port), r#"{"a":1}"#)
        .await;
    assert_eq!(status.unwrap(), 204);
    let request = served.await.unwrap();
    assert!(request.starts_with("POST /hook HTTP/1.1\r\n"), "{request}");
    assert!(
        request.contains("content-type: application/json\r\n"),
        "{request}"
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (port, _) =
        server("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n")
            .await;
    let status = egress(&["localhost"])
        .post_json(&url("localhost", port), "{}")
        .await;
    assert_eq!(status.unwrap(), 302);
}

#[tokio::test]
async fn a_body_without_end_does_not_hold_the_status_back() {
    let (port, _) = server("HTTP/1.1 200 OK\r\ncontent-length: 999999\r\n\r\nonly this").await;
    let status = egress(&["127.0.0.1"])
        .post_json(&url("127.0.0.1", port), "{}")
        .await;
    assert_eq!(status.unwrap(), 200);
}

#[tokio::test]
async fn a_name_that_leads_to_this_machine_is_refused_when_it_is_looked_up() {
    let resolver = GuardedResolver {
        allowed_hosts: Arc::new([]),
    };
    let refused = resolver
        .resolve("localhost".parse().unwrap())
        .await
        .err()
        .unwrap();
    assert_eq!(
        refused.downcast_ref(),
        Some(&Refused::NotPublic {
            host: "localhost".into()
        })
    );
}

#[tokio::test]
async fn a_refusal_by_the_look_up_is_told_apart_from_a_failure() {
    let egress = egress(&[]);
    let port = 9;
    // Past the early check, as if it were some name that leads inside.
    let error = egress
        .client
        .get(url("localhost", port))
        .send()
        .await
        .unwrap_err();
    assert!(matches!(
        EgressError::from(error),
        EgressError::Refused(Refused::NotPublic { .. })
    ));
    assert!(matches!(
        egress.post_json(&url("10.0.0.1", port), "{}").await,
        Err(EgressError::Refused(_))
    ));
}

#[tokio::test]
async fn a_failure_names_its_cause_and_not_the_address() {
    let (port, served) = server("").await;
    served.abort();
    let _ = served.await;
    let error = egress(&["127.0.0.1"])
        .post_json(&url("127.0.0.1", port), "{}")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.to_lowercase().contains("connection refused") && !error.contains("127.0.0.1"),
        "{error}"
    );
}

#[tokio::test]
async fn a_fetch_follows_redirects_as_far_as_the_public_internet() {
    let fetch = async |first: &str| {
        let (port, _) = server(first).await;
        let address = url("127.0.0.1", port);
        let egress = egress(&["127.0.0.1"]);
        egress.fetch(&address, Duration::from_secs(5), 4).await
    };
    let good = "HTTP/1.1 200 OK\r\ncontent-type: image/PNG; q=1\r\ncontent-length: 4\r\n\r\nabcd";
    let fetched = fetch(good).await.unwrap();
    assert_eq!(fetched.media_type.as_deref(), Some("image/png"));
    assert_eq!(fetched.bytes, b"abcd");

    let (port, _) = server(good).await;
    let redirect = format!(
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{port}/there\r\ncontent-length: 0\r\n\r\n"
    );
    assert_eq!(fetch(&redirect).await.unwrap().bytes, b"abcd");

    let inside =
        "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n";
    assert!(matches!(fetch(inside).await, Err(EgressError::Refused(_))));
    let large = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabcde";
    assert!(matches!(fetch(large).await, Err(EgressError::TooLarge(4))));
    let missing = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
    assert!(matches!(
        fetch(missing).await,
        Err(EgressError::Status(404))
    ));
}

#[tokio::test]
async fn silence_is_a_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = egress(&["127.0.0.1"])
        .post_json(&url("127.0.0.1", port), "{}")
        .await;
    assert!(matches!(answer, Err(EgressError::TimedOut)), "{answer:?}");
}

/// The ways in which people have written an IPv4 address to slip it past a check.
fn spellings(address: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = address.octets();
    let number = address.to_bits();
    let (high, low) = (number >> 16, number & 0xffff);
    let wide: String = address
        .to_string()
        .chars()
        .map(|c| match c.to_digit(10) {
            Some(digit) => char::from_u32(0xff10 + digit).unwrap(),
            None => c,
        })
        .collect();
    vec![
        format!("{address}"),
        format!("{address}."),
        format!("{number}"),
        format!("0x{number:x}"),
        format!("0X{number:08X}"),
        format!("0{number:o}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}"),
        format!("0x{a:02x}.{b}.0{c:o}.{d}"),
        format!("{a}.{}", number & 0x00ff_ffff),
        format!("{a}.{b}.{low}"),
        wide,
        format!(
            "%{:02x}{}",
            a.to_string().as_bytes()[0],
            &address.to_string()[1..]
        ),
        format!("[::ffff:{address}]"),
        format!("[::ffff:{high:x}:{low:x}]"),
        format!("[0:0:0:0:0:ffff:{high:x}:{low:x}]"),
        format!("[64:ff9b::{high:x}:{low:x}]"),
        format!("[2002:{high:x}:{low:x}::1]"),
        format!("user:secret@{address}"),
    ]
}

#[tokio::test]
async fn no_spelling_of_an_address_inside_is_reached() {
    let gate = Gate::new(Vec::new());
    let mut tried = 0;
    for inside in [
        [127, 0, 0, 1],
        [10, 1, 2, 3],
        [172, 31, 255, 254],
        [192, 168, 1, 1],
        [169, 254, 169, 254],
        [100, 100, 100, 200],
        [168, 63, 129, 16],
        [198, 18, 0, 1],
        [224, 0, 0, 1],
        [255, 255, 255, 255],
    ] {
        for spelling in spellings(Ipv4Addr::from(inside)) {
            tried += 1;
            // What is no address at all cannot be reached either.
            let Ok(url) = format!("http://{spelling}/").parse() else {
                continue;
            };
            let refused = check_literal(&url, &[]);
            assert!(
                matches!(refused, Err(Refused::NotPublic { .. })),
                "{spelling}: {refused:?}"
            );
            let bare = spelling.trim_matches(['[', ']']);
            assert!(gate.dial(bare, 80).await.is_err(), "{spelling}");
        }
    }
    for inside in [
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[fc00::1]",
        "[fd12::1]",
        "[ff02::1]",
        "[2001:db8::1]",
        "localhost",
        "LOCALHOST.",
        "a.localhost",
    ] {
        tried += 1;
        let url = format!("https://{inside}/").parse().unwrap();
        assert!(check_literal(&url, &[]).is_err(), "{inside}");
    }
    assert!(tried >= 80, "{tried}");
    for public in ["1.1.1.1", "[2606:4700::1111]", "example.com"] {
        let url = format!("https://{public}/").parse().unwrap();
        assert_eq!(check_literal(&url, &[]), Ok(()));
    }
}
