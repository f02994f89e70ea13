//! Bytes that are no requests: refused as the caller's mistake, and nobody else notices.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use futures::StreamExt as _;
use rekindle_wire::error::kind;
use rekindle_wire::v1::Kind;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::harness::{DEADLINE, Server, block_on, create};

/// Sends and receives bytes as they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, bytes: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(into, &bytes);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let bytes = bytes::Buf::copy_to_bytes(from, bytes::Buf::remaining(from));
        Ok(Some(bytes.to_vec()))
    }
}

async fn channel(address: SocketAddr) -> Grpc<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut grpc = Grpc::new(endpoint.connect().await.unwrap());
    grpc.ready().await.unwrap();
    grpc
}

/// Lengths that lie, varints without an end, wrong types, invalid UTF-8.
const BODIES: [&[u8]; 6] = [
    &[0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F],
    &[0x0A, 0x05, b'q'],
    &[0xFF; 11],
    &[0x09, 0x01],
    &[0x0A, 0x02, 0xFF, 0xFE],
    &[0x0B, 0x0B, 0x0B],
];

/// A body that is no message is invalid, also in a stream; it is no internal error.
///
/// fault: P1
#[test]
fn a_body_that_is_no_message_is_invalid() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    block_on(async {
        let mut queues = server.queues().await;
        create(&mut queues, "q").await;
        for body in BODIES {
            for method in ["Send", "Receive", "Create", "Ack"] {
                let mut grpc = channel(server.grpc).await;
                let path = format!("/rekindle.v1.Queues/{method}").parse().unwrap();
                let refused = grpc.unary(Request::new(body.to_vec()), path, Raw).await.unwrap_err();
                assert_eq!(refused.code(), Code::InvalidArgument, "{method} {body:?}: {refused}");
                assert_eq!(kind(&refused), Some(Kind::Invalid));
            }
            let mut grpc = channel(server.grpc).await;
            let path = "/rekindle.v1.Queues/SendStream".parse().unwrap();
            let batches = futures::stream::iter([body.to_vec()]);
            let answer = grpc.streaming(Request::new(batches), path, Raw).await;
            let refused = match answer {
                Ok(answers) => answers.into_inner().next().await.unwrap().unwrap_err(),
                Err(refused) => refused,
            };
            assert_eq!(refused.code(), Code::InvalidArgument, "{body:?}: {refused}");
        }
        create(&mut queues, "others-are-served").await;
    });
    assert_eq!(server.stop(), 0);
}

/// Bytes that are not even the protocol end their connection and nothing else.
///
/// fault: P1
#[test]
fn garbage_ends_its_connection_only() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    // Frames: settings of length 3, data of length 2^24 - 1, headers that cannot be decompressed.
    let frames: [&[u8]; 3] = [
        b"\0\0\x03\x04\0\0\0\0\0abc",
        b"\xFF\xFF\xFF\0\0\0\0\0\x01",
        b"\0\0\0\x04\0\0\0\0\0\0\0\x04\x01\x05\0\0\0\x01\xFF\xFF\xFF\xFF",
    ];
    let mut inputs: Vec<Vec<u8>> = frames.map(|frame| [preface.as_slice(), frame].concat()).into();
    inputs.push(vec![0xFF; 4_096]);
    inputs.push(b"GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n".to_vec());
    inputs.push(b"GET / HTTP/9.9\r\n\r\n".to_vec());
    inputs.push(vec![b'\r'; 4_096]);
    for input in &inputs {
        for address in [server.grpc, server.http] {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            // It may be closed before everything is written.
            let _ = stream.write_all(input);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let ended = std::io::copy(&mut stream.take(1 << 20), &mut std::io::sink());
            let timed_out = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
            assert!(!ended.as_ref().is_err_and(timed_out), "{address}: {input:?}");
        }
    }
    assert_eq!(server.get("/readyz").status, 200);
    block_on(async {
        create(&mut server.queues().await, "q").await;
    });
    assert_eq!(server.stop(), 0);
}
