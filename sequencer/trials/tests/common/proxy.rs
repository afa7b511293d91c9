//! Somebody in the way of a member's API, who passes on and changes what it answers.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What is answered instead to a path: from the answer's status and body.
pub type Lie = dyn Fn(&str, u16, Vec<u8>) -> (u16, Vec<u8>) + Send + Sync;

/// A server between clients and one member.
pub struct Proxy {
    /// As a client names it.
    pub url: String,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Starts on any port of 127.0.0.1.
    pub async fn start(
        member: SocketAddr,
        lie: impl Fn(&str, u16, Vec<u8>) -> (u16, Vec<u8>) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let lie: Arc<Lie> = Arc::new(lie);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                // A client or a member that is gone ends its connection, and nothing else.
                tokio::spawn(pass(client, member, Arc::clone(&lie)));
            }
        });
        Self { url, task }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(mut client: TcpStream, member: SocketAddr, lie: Arc<Lie>) -> std::io::Result<()> {
    let (head, body) = read_message(&mut client).await?;
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut upstream = TcpStream::connect(member).await?;
    let (first, rest) = head.split_once("\r\n").unwrap_or((&head, ""));
    let request = format!("{first}\r\nconnection: close\r\n{rest}");
    upstream.write_all(request.as_bytes()).await?;
    upstream.write_all(&body).await?;
    let (head, body) = read_message(&mut upstream).await?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let (status, body) = lie(&path, status.unwrap_or(500), body);
    let of_type = head
        .lines()
        .find(|line| line.to_ascii_lowercase().starts_with("content-type:"))
        .unwrap_or("content-type: application/octet-stream");
    let answer = format!(
        "HTTP/1.1 {status} X\r\n{of_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    client.write_all(answer.as_bytes()).await?;
    client.write_all(&body).await
}

/// A head with its empty line, and a body of the length that it names.
async fn read_message(stream: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|part| part == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    };
    let body = bytes.split_off(end);
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then_some(value)
    });
    let length: usize = length.map_or(0, |value| value.trim().parse().unwrap_or(0));
    let mut body = body;
    while body.len() < length {
        if stream.read_buf(&mut body).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok((head, body))
}
