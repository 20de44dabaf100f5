// SPDX-License-Identifier: Apache-2.0 OR MIT

use std::net::Shutdown;

use proptest::prelude::*;

use super::*;

const BODY: &str = "adit_up 1\n";

fn start() -> MetricsServer {
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    MetricsServer::start(any_port, || BODY.to_owned()).unwrap()
}

fn connect(server: &MetricsServer) -> TcpStream {
    let client = TcpStream::connect(server.address()).unwrap();
    client.set_read_timeout(Some(30 * TIMEOUT)).unwrap();
    client
}

fn exchange(server: &MetricsServer, request: &str) -> String {
    let mut client = connect(server);
    // A server that refuses early may close the connection before the whole request is written.
    let _ = client.write_all(request.as_bytes());
    let mut reply = String::new();
    let _ = client.read_to_string(&mut reply);
    reply
}

#[test]
fn serves_metrics_and_nothing_else() {
    let server = start();
    for path in ["/metrics", "/metrics?name=x"] {
        let reply = exchange(&server, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8"));
        assert!(head.contains(&format!("Content-Length: {}\r\n", BODY.len())));
        assert_eq!(body, BODY);
    }
    let head = exchange(&server, "HEAD /metrics HTTP/1.0\r\n\r\n");
    assert!(head.contains("200 OK") && head.ends_with("\r\n\r\n"));
    assert!(exchange(&server, "GET / HTTP/1.1\r\n\r\n").contains(" 404 "));
    let post = exchange(&server, "POST /metrics HTTP/1.1\r\n\r\n");
    assert!(post.contains(" 405 ") && post.contains("Allow: GET, HEAD\r\n"));
    assert!(exchange(&server, "\0\0\0\0\r\n\r\n").contains(" 400 "));
}

#[test]
fn a_request_without_end_is_refused() {
    let server = start();
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(MAX_REQUEST_LEN - 5));
    // Unread data may turn the close into a reset that overtakes the response.
    let reply = exchange(&server, &long[..MAX_REQUEST_LEN]);
    assert!(reply.contains(" 431 "), "{reply}");
    let many = format!(
        "GET /metrics HTTP/1.1\r\n{}\r\n",
        "a: b\r\n".repeat(MAX_HEADERS + 1)
    );
    assert!(exchange(&server, &many).contains(" 431 "));
}

#[test]
fn a_silent_client_does_not_keep_the_next_one_out() {
    let server = start();
    let start = Instant::now();
    let mut silent = connect(&server);
    let mut gone = connect(&server);
    gone.write_all(b"GET /met").unwrap();
    gone.shutdown(Shutdown::Both).unwrap();
    assert!(exchange(&server, "GET /metrics HTTP/1.1\r\n\r\n").ends_with(BODY));
    assert!(start.elapsed() >= TIMEOUT);
    assert_eq!(
        silent.read(&mut [0]).unwrap(),
        0,
        "the silent one was hung up on"
    );
}

#[test]
fn stops_at_once_even_with_a_client() {
    // One of several times: the machine may stand still.
    let mut took = (0..5).map(|_| {
        let server = start();
        let _silent = connect(&server);
        std::thread::sleep(Duration::from_millis(50));
        let start = Instant::now();
        drop(server);
        start.elapsed()
    });
    assert!(took.any(|it| it < TIMEOUT / 2));
}

proptest! {
    #[test]
    fn any_bytes_are_a_request_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let request = [b"GET /metrics HTTP/1.1\r\n".as_slice(), &bytes].concat();
        for bytes in [&bytes, &request] {
            if let Some(Request::Metrics { .. }) = parse(bytes) {
                prop_assert!(bytes.starts_with(b"GET ") || bytes.starts_with(b"HEAD "));
            }
        }
    }
}
