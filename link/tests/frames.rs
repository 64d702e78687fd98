//! Stories of two ends that talk, and of ends that misbehave.

use std::time::Duration;

use formats::Crc32c;
use formats::wire::{Ack, FrameHeader, FrameKind, HashRequest, MAX_BODY, Message, Refuse, RefuseCode};
use link::{FrameReader, FrameWriter, HELLO_BODY_LIMIT, LinkError, Listener, TcpTransport, Transport, connect};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const SHORT: Duration = Duration::from_millis(80);
const LONG: Duration = Duration::from_secs(10);

async fn pair() -> (TcpTransport, TcpTransport) {
    let listener = Listener::bind("127.0.0.1:0", false).await.unwrap();
    let address = listener.local_addr().to_string();
    let (client, server) = tokio::join!(connect(&address, false, LONG), listener.accept());
    (client.unwrap(), server.unwrap())
}

/// A raw client and the framed server end of it.
async fn stranger() -> (TcpStream, FrameReader<<TcpTransport as Transport>::Reader>) {
    let listener = Listener::bind("127.0.0.1:0", false).await.unwrap();
    let client = TcpStream::connect(listener.local_addr()).await.unwrap();
    let server = listener.accept().await.unwrap();
    (client, server.into_frames().0)
}

#[tokio::test]
async fn messages_and_many_parts_arrive_whole() {
    let (client, server) = pair().await;
    let (_, mut writer) = client.into_frames();
    let (mut reader, _) = server.into_frames();
    let ack = Ack { durable: 7, ..Ack::default() };
    // More parts than one system call takes.
    let parts: Vec<Vec<u8>> = (0..3000u32).map(|i| vec![i as u8; (i % 700) as usize]).collect();
    let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let sending = async {
        writer.send_message(&ack).await.unwrap();
        writer.send_keepalive().await.unwrap();
        writer.send_frame(FrameKind::Entries, 42, &slices).await.unwrap();
        writer.close().await.unwrap();
    };
    let receiving = async {
        assert_eq!(reader.read_message_within::<Ack>(LONG).await.unwrap(), ack);
        let (header, body) = reader.read_frame().await.unwrap();
        assert_eq!((header.kind, body.len()), (FrameKind::KeepAlive, 0));
        reader.accept_large_bodies();
        let (header, body) = reader.read_frame_idle(LONG).await.unwrap();
        assert_eq!((header.kind, header.number), (FrameKind::Entries, 42));
        assert_eq!(body, parts.concat());
        assert!(matches!(reader.read_frame().await, Err(LinkError::Closed { .. })));
    };
    tokio::join!(sending, receiving);
}

#[tokio::test]
async fn a_cancelled_read_loses_nothing() {
    let (mut client, mut reader) = stranger().await;
    let body = HashRequest { id: 9, volume: 0, offset: 0, len: 4096, chunk: 512 }.to_body();
    let mut bytes = FrameHeader::for_body(FrameKind::HashRequest, 0, &[&body]).encode().to_vec();
    bytes.extend_from_slice(&body);
    for byte in bytes {
        assert!(tokio::time::timeout(Duration::from_millis(2), reader.read_frame()).await.is_err());
        client.write_all(&[byte]).await.unwrap();
    }
    assert_eq!(reader.read_message_within::<HashRequest>(LONG).await.unwrap().id, 9);
}

#[tokio::test]
async fn garbage_is_foreign() {
    let (mut client, mut reader) = stranger().await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: standby\r\nConnection: close\r\n\r\n").await.unwrap();
    let error = reader.read_frame_idle(LONG).await.unwrap_err();
    assert!(matches!(error, LinkError::Foreign { .. }), "{error}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn half_a_hello_then_silence_is_a_time_out() {
    let (mut client, mut reader) = stranger().await;
    let header = FrameHeader::for_body(FrameKind::Ack, 0, &[&[1, 2, 3]]).encode();
    client.write_all(&header[..20]).await.unwrap();
    assert!(matches!(reader.read_frame_idle(SHORT).await, Err(LinkError::Silent { .. })));
    client.write_all(&header[20..]).await.unwrap();
    assert!(matches!(reader.read_message_within::<Ack>(SHORT).await, Err(LinkError::Silent { .. })));
}

#[tokio::test]
async fn dripping_bytes_do_not_extend_a_deadline() {
    let (mut client, mut reader) = stranger().await;
    let drip = tokio::spawn(async move {
        let header = FrameHeader::for_body(FrameKind::Ack, 0, &[&[0; 200]]).encode();
        for byte in header {
            let _ = client.write_all(&[byte]).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let error = reader.read_message_within::<Ack>(SHORT).await.unwrap_err();
    assert!(matches!(error, LinkError::Silent { .. }), "{error}");
    drip.abort();
}

#[tokio::test]
async fn a_frame_cut_off_says_where() {
    let (mut client, mut reader) = stranger().await;
    let header = FrameHeader::for_body(FrameKind::Ack, 0, &[&[0; 200]]).encode();
    client.write_all(&header).await.unwrap();
    client.write_all(&[0; 50]).await.unwrap();
    drop(client);
    assert!(matches!(reader.read_frame().await, Err(LinkError::CutOff { have: 50, want: 200, .. })));
}

#[tokio::test]
async fn large_bodies_only_after_the_hello() {
    let (mut client, mut reader) = stranger().await;
    let header = |len| FrameHeader { kind: FrameKind::Hello, number: 0, body_len: len, body_crc: Crc32c(0) }.encode();
    client.write_all(&header(HELLO_BODY_LIMIT + 1)).await.unwrap();
    assert!(matches!(reader.read_frame().await, Err(LinkError::TooLong { limit: 65536, .. })));
    let (mut client, mut reader) = stranger().await;
    reader.accept_large_bodies();
    client.write_all(&header(MAX_BODY + 1)).await.unwrap();
    assert!(matches!(reader.read_frame().await, Err(LinkError::TooLong { .. })));
}

#[tokio::test]
async fn a_flipped_bit_in_a_body_is_damage() {
    let (mut client, mut reader) = stranger().await;
    let body = Ack::default().to_body();
    let header = FrameHeader::for_body(FrameKind::Ack, 0, &[&body]).encode();
    let mut bad = body.clone();
    bad[3] ^= 1;
    client.write_all(&[&header[..], &bad].concat()).await.unwrap();
    let error = reader.read_frame().await.unwrap_err();
    assert!(matches!(error, LinkError::Damaged { .. }) && error.is_transient(), "{error}");
}

#[tokio::test]
async fn a_refusal_comes_back_with_its_words() {
    let (client, server) = pair().await;
    let (_, mut writer) = client.into_frames();
    let (mut reader, _) = server.into_frames();
    let refuse = Refuse { code: RefuseCode::Busy, text: "detach the other one".into() };
    writer.send_message(&refuse).await.unwrap();
    match reader.read_message_within::<Ack>(LONG).await.unwrap_err() {
        LinkError::Refused { code, text, .. } => assert_eq!((code, &*text), (RefuseCode::Busy, "detach the other one")),
        other => panic!("{other}"),
    }
    writer.send_message(&Ack::default()).await.unwrap();
    let error = reader.read_message_within::<HashRequest>(LONG).await.unwrap_err();
    assert!(matches!(error, LinkError::Unexpected { got: FrameKind::Ack, .. }), "{error}");
}

#[tokio::test]
async fn only_loopback_without_the_word_for_more() {
    let error = Listener::bind("0.0.0.0:0", false).await.unwrap_err();
    assert!(error.to_string().contains("--insecure"), "{error}");
    assert!(Listener::bind("0.0.0.0:0", true).await.is_ok());
    let error = connect("192.0.2.1:9", false, SHORT).await.unwrap_err();
    assert!(matches!(error, LinkError::InsecureAddress { .. }), "{error}");
    assert!(Listener::bind("[::1]:0", false).await.is_ok() || Listener::bind("localhost:0", false).await.is_ok());
}

#[tokio::test]
async fn taken_ports_dead_ports_and_nonsense_have_their_own_words() {
    let listener = Listener::bind("127.0.0.1:0", false).await.unwrap();
    let address = listener.local_addr().to_string();
    let error = Listener::bind(&address, false).await.unwrap_err();
    assert!(matches!(error, LinkError::AddressInUse { .. }), "{error}");
    drop(listener);
    let error = connect(&address, false, LONG).await.unwrap_err();
    assert!(matches!(error, LinkError::ConnectionRefused { .. }), "{error}");
    for nonsense in ["", "host", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999"] {
        let error = connect(nonsense, false, LONG).await.unwrap_err();
        assert!(matches!(error, LinkError::Resolve { .. }), "{nonsense:?}: {error}");
    }
}

#[tokio::test]
async fn a_body_above_the_limit_is_not_sent() {
    let (near, _far) = tokio::io::duplex(64);
    let mut writer = FrameWriter::new(near, "peer");
    let part = vec![0; MAX_BODY as usize];
    let error = writer.send_frame(FrameKind::Entries, 1, &[&part, &[0]]).await.unwrap_err();
    assert!(matches!(error, LinkError::TooLong { .. }), "{error}");
}
