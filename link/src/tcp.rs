//! TCP: connecting, listening, and the rule for addresses of other machines.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::time::timeout;

use crate::error::LinkError;
use crate::transport::Transport;

/// A TCP connection with Nagle's delay switched off.
#[derive(Debug)]
pub struct TcpTransport {
    stream: TcpStream,
    peer: SocketAddr,
}

impl TcpTransport {
    fn new(stream: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        // Acknowledgements are small and somebody waits for them.
        stream.set_nodelay(true)?;
        Ok(Self { stream, peer })
    }

    /// The peer's address.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }
}

impl Transport for TcpTransport {
    type Reader = OwnedReadHalf;
    type Writer = OwnedWriteHalf;

    fn peer(&self) -> String {
        self.peer.to_string()
    }

    fn split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        self.stream.into_split()
    }
}

/// Connects to `address` (`HOST:PORT`), trying each address that the name stands for, each for at most `within`.
///
/// Without `insecure` only loopback addresses are tried.
///
/// # Errors
/// [`LinkError`] of the last attempt, or of the address itself.
pub async fn connect(address: &str, insecure: bool, within: Duration) -> Result<TcpTransport, LinkError> {
    let mut last = None;
    for candidate in resolve(address, insecure).await? {
        match connect_one(candidate, within).await {
            Ok(transport) => return Ok(transport),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| no_address(address)))
}

async fn connect_one(address: SocketAddr, within: Duration) -> Result<TcpTransport, LinkError> {
    let text = address.to_string();
    match timeout(within, TcpStream::connect(address)).await {
        Err(_) => Err(LinkError::ConnectTimeout { address: text, after: within }),
        Ok(Err(source)) if source.kind() == io::ErrorKind::ConnectionRefused => {
            Err(LinkError::ConnectionRefused { address: text })
        }
        Ok(Err(source)) => Err(LinkError::Connect { address: text, source }),
        Ok(Ok(stream)) => {
            TcpTransport::new(stream, address).map_err(|source| LinkError::Connect { address: text, source })
        }
    }
}

/// The addresses that may be used for `address`, never empty.
async fn resolve(address: &str, insecure: bool) -> Result<Vec<SocketAddr>, LinkError> {
    let found = lookup_host(address).await;
    let found: Vec<SocketAddr> =
        found.map_err(|source| LinkError::Resolve { address: address.to_owned(), source })?.collect();
    if found.is_empty() {
        return Err(no_address(address));
    }
    let allowed: Vec<SocketAddr> = found.iter().copied().filter(|a| insecure || a.ip().is_loopback()).collect();
    match allowed.is_empty() {
        true => Err(LinkError::InsecureAddress { address: format!("{address} ({})", found[0].ip()) }),
        false => Ok(allowed),
    }
}

fn no_address(address: &str) -> LinkError {
    let source = io::Error::new(io::ErrorKind::NotFound, "the name stands for no address");
    LinkError::Resolve { address: address.to_owned(), source }
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    inner: TcpListener,
    local: SocketAddr,
}

impl Listener {
    /// Listens on `address` (`HOST:PORT`; port 0 lets the system choose). Without `insecure` only a loopback address
    /// is accepted.
    ///
    /// # Errors
    /// Says whether the address is taken, foreign or not allowed.
    pub async fn bind(address: &str, insecure: bool) -> Result<Self, LinkError> {
        let candidates = resolve(address, insecure).await?;
        let inner = TcpListener::bind(candidates.as_slice()).await.map_err(|source| listen_error(address, source))?;
        let local = inner.local_addr().map_err(|source| listen_error(address, source))?;
        Ok(Self { inner, local })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The next connection. Dropping the future loses none.
    ///
    /// # Errors
    /// The system's, for example too many open files; the listener stays usable, the caller should pause a moment.
    pub async fn accept(&self) -> Result<TcpTransport, LinkError> {
        let broken = |source| LinkError::Io { peer: format!("a client of {}", self.local), source };
        let (stream, peer) = self.inner.accept().await.map_err(broken)?;
        TcpTransport::new(stream, peer).map_err(broken)
    }
}

fn listen_error(address: &str, source: io::Error) -> LinkError {
    let address = address.to_owned();
    match source.kind() {
        io::ErrorKind::AddrInUse => LinkError::AddressInUse { address },
        _ => LinkError::Listen { address, source },
    }
}
