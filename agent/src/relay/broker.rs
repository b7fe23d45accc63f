//! A connection to a broker, by TCP or TLS, out of what the HTTP client brings: names are resolved in Rust, and the system's
//! authorities are believed.
//!
//! lapin can do this too, and would bring PKCS #12, CMS and another reader of certificates into a program that has to be
//! small.

mod intake;

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
use url::Url;

use self::intake::Intake;
pub use self::intake::{FRAME_BYTES_MAX, Waiting};

/// How long a broker may take to be found, to accept and to prove who it is.
const OPEN_WITHIN: Duration = Duration::from_secs(30);
/// How long what was sent may go without the broker's machine saying that it came; then the connection is lost.
const UNHEARD_MAX: Duration = Duration::from_secs(60);

/// A stream of either kind.
type Duplex = Box<dyn ReadWrite>;

trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ReadWrite for T {}

/// Connects to the broker at an `amqp://` or `amqps://` address. What it sends waits in `waiting`, within bounds.
pub async fn connect(address: &Url, waiting: Arc<Waiting>) -> lapin::Result<Connection> {
    let uri: AMQPUri = address.as_str().parse().map_err(io::Error::other::<String>)?;
    // The client library takes an address of IPv6 for no host at all, and would connect to this machine.
    let host = address.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let runtime = Runtime::new(RuntimeParts::new(Tokio::current(), Network(Tokio::current())));
    let open = async move |uri: AMQPUri, _| {
        // lapin opens on a thread of its own, which ends with this and not with whoever waits for it.
        let opened =
            timeout(OPEN_WITHIN, open(&host, &uri)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let bounded = |stream| AsyncTcpStream::Plain(Box::new(Intake::new(stream, waiting.clone())) as Duplex);
        opened.map(bounded).map_err(Error::from)
    };
    Connection::connector(uri, runtime, open, ConnectionProperties::default()).await
}

async fn open(host: &str, uri: &AMQPUri) -> io::Result<Duplex> {
    let addresses = resolve(host, uri.authority.port).await?;
    // A name stands for what it is resolved to.
    let is_plain = uri.scheme == AMQPScheme::AMQP;
    if is_plain && addresses.iter().any(|address| !address.ip().is_loopback()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is spoken to in the clear on this machine only"));
    }
    let stream = reach(&addresses).await?;
    if is_plain {
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

    /// A name that this machine does not know itself by is no way around it.
    #[tokio::test]
    async fn elsewhere_it_is_spoken_to_by_tls_only() {
        for address in ["amqp://a:b@192.0.2.1:5672", "amqp://a:b@[2001:db8::1]:5672"] {
            let error = connect(&Url::parse(address).unwrap(), Arc::default()).await.err().unwrap().to_string();
            assert!(error.contains("on this machine only"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_broker_that_is_not_heard_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = reach(&[listener.local_addr().unwrap()]).await.unwrap();
        assert_eq!(SockRef::from(&stream).tcp_user_timeout().unwrap(), Some(UNHEARD_MAX));
        assert!(stream.nodelay().unwrap());
    }
}
