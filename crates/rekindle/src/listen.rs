//! The addresses of a server: bound at the start, listened to when there is something to serve.
//!
//! Invariants: an address that cannot be had is refused before anything is recovered; a bound
//! address that is not listened to refuses connections, so nobody waits in a queue for a recovery.

use std::io;
use std::net::SocketAddr;

use rekindle_env::{Env, LockMode};
use rekindle_recovery::exit;
use tokio::net::{TcpListener, TcpSocket};

use crate::boot::Refused;
use crate::config::Config;

/// Connections that the system holds until they are accepted.
const BACKLOG: u32 = 1_024;

/// Where a server can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The gRPC front.
    pub grpc: SocketAddr,
    /// The HTTP front.
    pub http: SocketAddr,
}

/// An address that is ours and not listened to.
#[derive(Debug)]
pub(crate) struct Bound {
    socket: TcpSocket,
    flag: &'static str,
    address: SocketAddr,
}

impl Bound {
    /// Binds an address; `flag` is the one that chooses it.
    pub(crate) fn new(
        config: &Config,
        flag: &'static str,
        address: SocketAddr,
    ) -> Result<Self, Refused> {
        let bind = || {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            // A restart must not wait until the last connections of the run before are forgotten.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(Self { socket, flag, address })
        };
        bind().map_err(|error| not_bound(config, flag, address, &error))
    }

    /// The address, with the port that the system chose.
    pub(crate) fn local(&self) -> Result<SocketAddr, Refused> {
        own(self.socket.local_addr())
    }

    /// Lets connections in.
    pub(crate) fn listen(self, config: &Config) -> Result<TcpListener, Refused> {
        let Self { socket, flag, address } = self;
        socket.listen(BACKLOG).map_err(|error| not_bound(config, flag, address, &error))
    }
}

/// A listener's own address.
pub(crate) fn local(listener: &TcpListener) -> Result<SocketAddr, Refused> {
    own(listener.local_addr())
}

fn own(address: io::Result<SocketAddr>) -> Result<SocketAddr, Refused> {
    address.map_err(|error| {
        Refused::new(exit::IO, format!("a listener does not know its own address: {error}"))
    })
}

/// Why an address cannot be had. When the directory is in use as well, that is the reason to name:
/// it is the same server, started twice.
fn not_bound(config: &Config, flag: &str, address: SocketAddr, error: &io::Error) -> Refused {
    if error.kind() != io::ErrorKind::AddrInUse {
        return Refused::configuration(format!("cannot listen on {address} ({flag}): {error}"));
    }
    let data = config.data.display();
    if let Ok(None) = Env::real().disk.lock(&config.data, LockMode::Shared) {
        let message = format!(
            "{data} is locked by another process, which serves it already; stop that one first, or \
             use another directory (--data) and other addresses"
        );
        return Refused::new(exit::LOCKED, message);
    }
    Refused::configuration(format!(
        "{address} is in use by another process. Choose another address with {flag} (port 0 picks \
         a free one), or stop that process"
    ))
}
