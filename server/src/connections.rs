//! Connections as they come in: how many there may be, how soon each has to say something, and how much whoever has proved
//! nothing may send.

use std::future::Future;
use std::io::{self, Error, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Extension;
use axum::middleware::AddExtension;
use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tower_layer::Layer as _;

/// How long the first bytes of a connection may take to come: what begins an HTTP/1 request, whose head has its own limit.
const FIRST_WITHIN: Duration = Duration::from_secs(30);
/// What begins an HTTP/2 connection and no HTTP/1 request. It is not spoken here: it would be one connection for any number of
/// requests, and one that says nothing would stay for ever.
const HTTP_2: &[u8; 3] = b"PRI";
/// Bytes of one request whose sender has proved nothing yet. A body has limits of its own; this one is for what they do not see.
const UNPROVED_BYTES_MAX: u64 = 1 << 20;
/// Whoever has proved who it is may send any number.
const ANY: u64 = u64::MAX;

/// What one connection may still send.
#[derive(Debug, Clone, Default)]
pub struct Allowance(Arc<AtomicU64>);

impl Allowance {
    /// A request begins, whose sender has not proved anything.
    pub fn begin(&self) {
        self.leave(UNPROVED_BYTES_MAX);
    }

    /// So many bytes more may be sent before a proof.
    pub fn leave(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    /// The sender has proved who it is.
    pub fn lift(&self) {
        self.leave(ANY);
    }

    /// Takes bytes off; false where there are more than may be sent.
    fn take(&self, bytes: u64) -> bool {
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| match left {
            ANY => Some(ANY),
            left => left.checked_sub(bytes),
        });
        left.is_ok()
    }
}

/// Accepts connections as another acceptor does, within these bounds.
#[derive(Debug, Clone)]
pub struct Bounded<A> {
    inner: A,
    free: Arc<Semaphore>,
}

impl<A> Bounded<A> {
    /// So many connections at once, over all acceptors that were given the same.
    pub fn new(inner: A, free: Arc<Semaphore>) -> Bounded<A> {
        Bounded { inner, free }
    }
}

/// What becomes of a connection that has come.
type Accepting<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

impl<A, S> Accept<TcpStream, S> for Bounded<A>
where
    A: Accept<TcpStream, S>,
    A::Future: Send + 'static,
{
    type Stream = Connection<A::Stream>;
    type Service = AddExtension<A::Service, Allowance>;
    type Future = Accepting<(Self::Stream, Self::Service)>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        // One too many is closed at once: what waits would hold a descriptor, too.
        let Ok(permit) = self.free.clone().try_acquire_owned() else {
            tracing::debug!("there are too many connections");
            return Box::pin(async { Err(Error::other("there are too many connections")) });
        };
        let inner = self.inner.accept(stream, service);
        Box::pin(async move {
            let (stream, service) = inner.await?;
            let connection = Connection::new(stream, permit, FIRST_WITHIN);
            let service = Extension(connection.allowance.clone()).layer(service);
            Ok((connection, service))
        })
    }
}

/// A connection within its bounds.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    allowance: Allowance,
    /// What it has begun with, until that is known to begin an HTTP/1 request.
    first: Option<First>,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct First {
    bytes: Vec<u8>,
    late: Pin<Box<Sleep>>,
}

impl<S> Connection<S> {
    fn new(stream: S, permit: OwnedSemaphorePermit, first_within: Duration) -> Connection<S> {
        let allowance = Allowance::default();
        allowance.begin();
        let first = First { bytes: Vec::with_capacity(HTTP_2.len()), late: Box::pin(sleep(first_within)) };
        Connection { stream, allowance, first: Some(first), _permit: permit }
    }

    /// Looks at what came; an error where it is not for here.
    fn came(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.allowance.take(bytes.len() as u64) {
            return Err(Error::other("more came than whoever has proved nothing may send"));
        }
        if let Some(first) = &mut self.first {
            let wanted = HTTP_2.len() - first.bytes.len();
            first.bytes.extend(bytes.iter().take(wanted));
            match first.bytes.as_slice() {
                begun if begun == HTTP_2 => {
                    return Err(Error::new(ErrorKind::Unsupported, "HTTP/2 is not spoken here"));
                }
                begun if begun.len() == HTTP_2.len() => self.first = None,
                _ => {}
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(context, buffer) {
            read?;
            let came = this.came(&buffer.filled()[before..]);
            if came.is_err() {
                // Where there is an error nothing was read.
                buffer.set_filled(before);
            }
            return Poll::Ready(came);
        }
        if let Some(first) = &mut this.first {
            ready!(first.late.as_mut().poll(context));
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    fn connection(first_within: Duration) -> (DuplexStream, Connection<DuplexStream>) {
        let (client, server) = duplex(1 << 20);
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        (client, Connection::new(server, permit, first_within))
    }

    #[tokio::test]
    async fn who_says_nothing_is_not_waited_for() {
        for begins in [&b""[..], b"P", b"PR"] {
            let (mut client, mut connection) = connection(Duration::ZERO);
            client.write_all(begins).await.unwrap();
            let mut said = Vec::new();
            let error = connection.read_to_end(&mut said).await.unwrap_err();
            assert_eq!((error.kind(), said.as_slice()), (ErrorKind::TimedOut, begins));
        }
        // Once a request has begun others see to it.
        let (mut client, mut connection) = connection(Duration::ZERO);
        client.write_all(b"GET").await.unwrap();
        let mut said = [0; 3];
        connection.read_exact(&mut said).await.unwrap();
        let silent = tokio::time::timeout(Duration::from_millis(20), connection.read_exact(&mut said)).await;
        assert!(silent.is_err(), "it is waited for: {silent:?}");
    }

    #[tokio::test]
    async fn http_2_is_not_spoken() {
        let (mut client, mut connection) = connection(FIRST_WITHIN);
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let error = connection.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }

    #[tokio::test]
    async fn who_has_proved_nothing_sends_little() {
        let (mut client, mut connection) = connection(FIRST_WITHIN);
        let mut buffer = vec![0; 1000];
        connection.allowance.leave(1500);
        client.write_all(&[b'x'; 3000]).await.unwrap();
        connection.read_exact(&mut buffer).await.unwrap();
        assert!(connection.read_exact(&mut buffer).await.is_err(), "it may send 1500");
        connection.allowance.lift();
        client.write_all(&[b'x'; 3000]).await.unwrap();
        connection.read_exact(&mut buffer).await.unwrap();
        connection.read_exact(&mut buffer).await.unwrap();
        connection.allowance.begin();
        assert!(connection.allowance.take(UNPROVED_BYTES_MAX) && !connection.allowance.take(1));
    }
}
