//! A connection to a broker, by TCP or TLS, out of what the HTTP client brings: names are resolved in Rust, and the system's
//! authorities are believed.
//!
//! lapin can do this too, and would bring PKCS #12, CMS and another reader of certificates into a program that has to be
//! small.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures::{AsyncRead, AsyncWrite, Stream};
use hickory_resolver::{ResolverBuilder, TokioResolver};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{AsyncTcpStream, Connection, ConnectionProperties, Error};
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::compat::TokioAsyncReadCompatExt as _;

/// How long a broker may take to be found, to accept and to prove who it is.
const OPEN_WITHIN: Duration = Duration::from_secs(30);
/// How long what was sent may go without the broker's machine saying that it came; then the connection is lost.
const UNHEARD_MAX: Duration = Duration::from_secs(60);

/// A stream of either kind.
type Duplex = Box<dyn ReadWrite>;

trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ReadWrite for T {}

/// Connects to the broker at an `amqp://` or `amqps://` address.
pub async fn connect(address: &str) -> lapin::Result<Connection> {
    let uri: AMQPUri = address.parse().map_err(io::Error::other::<String>)?;
    let runtime = Runtime::new(RuntimeParts::new(Tokio::current(), Network(Tokio::current())));
    let open = async |uri: AMQPUri, _| {
        // lapin opens on a thread of its own, which ends with this and not with whoever waits for it.
        let opened = timeout(OPEN_WITHIN, open(&uri)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        opened.map(AsyncTcpStream::Plain).map_err(Error::from)
    };
    Connection::connector(uri, runtime, open, ConnectionProperties::default()).await
}

async fn open(uri: &AMQPUri) -> io::Result<Duplex> {
    let host = uri.authority.host.trim_start_matches('[').trim_end_matches(']');
    let addresses = resolve(host, uri.authority.port).await?;
    let stream = reach(&addresses).await?;
    if uri.scheme == AMQPScheme::AMQP {
        return Ok(Box::new(stream.compat()));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(BuilderVerifierExt::with_platform_verifier)
        .map_err(io::Error::other)?
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    Ok(Box::new(stream.compat()))
}

async fn reach(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addresses).await?;
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_user_timeout(Some(UNHEARD_MAX))?;
    Ok(stream)
}

async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let resolver = TokioResolver::builder_tokio().and_then(ResolverBuilder::build).map_err(io::Error::other)?;
    let found = resolver.lookup_ip(host).await.map_err(io::Error::other)?;
    Ok(found.iter().map(|address| SocketAddr::new(address, port)).collect())
}

/// What lapin needs of a runtime beside its tasks: tokio's, but for the kind of its streams.
#[derive(Debug, Clone)]
struct Network(Tokio);

impl Reactor for Network {
    type TcpStream = Duplex;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<Duplex, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, time: Duration) -> Self::Sleep {
        self.0.sleep(time)
    }

    fn interval(&self, time: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(time)
    }

    fn tcp_connect_addr(&self, address: SocketAddr) -> impl Future<Output = io::Result<Duplex>> + Send + 'static {
        let connecting = self.0.tcp_connect_addr(address);
        async move { connecting.await.map(|stream| Box::new(stream) as Duplex) }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_broker_that_is_not_heard_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = reach(&[listener.local_addr().unwrap()]).await.unwrap();
        assert_eq!(SockRef::from(&stream).tcp_user_timeout().unwrap(), Some(UNHEARD_MAX));
        assert!(stream.nodelay().unwrap());
    }
}
