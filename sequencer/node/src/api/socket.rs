//! A socket that does not wait for ever for a reader.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::server::Connection;

/// A reader that is slow must take so many bytes in each period, or all there are.
const WRITE_STEP_BYTES: usize = 64 << 10;

/// Cuts off a reader that leaves answers lying. Streams have a limit of their own, which tells
/// the reader why first.
pub(crate) struct Socket {
    stream: TcpStream,
    time_max: Duration,
    connection: Arc<Connection>,
    /// Runs while the reader owes us a step.
    owed: Option<Pin<Box<Sleep>>>,
    taken: usize,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, time_max: Duration, connection: Arc<Connection>) -> Self {
        Self {
            stream,
            time_max,
            connection,
            owed: None,
            taken: 0,
        }
    }

    /// Holds a write against the time that the reader has.
    fn paced(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(bytes)) => {
                self.taken += bytes;
                if self.taken >= WRITE_STEP_BYTES {
                    self.settle();
                }
                return written;
            }
            Poll::Ready(Err(_)) => return written,
            Poll::Pending => {}
        }
        let time_max = self.time_max;
        let owed = self
            .owed
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(time_max)));
        while owed.as_mut().poll(context).is_ready() {
            if !self.connection.is_streaming() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            owed.as_mut().reset(Instant::now() + time_max);
        }
        Poll::Pending
    }

    fn settle(&mut self) {
        (self.owed, self.taken) = (None, 0);
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.paced(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.paced(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Asked for when everything is written.
        self.settle();
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
