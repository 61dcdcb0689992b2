use std::io;
use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;

use super::private_address::is_private_address;

/// Where a host is, and what counts as private there: the world that redirects lead into.
#[async_trait]
pub(super) trait Names: Send + Sync {
    /// All addresses of a host.
    async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;

    fn is_private(&self, address: IpAddr) -> bool;
}

/// The operating system's resolver, and the internet's private addresses.
#[derive(Debug)]
pub(super) struct SystemNames;

#[async_trait]
impl Names for SystemNames {
    async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }

    fn is_private(&self, address: IpAddr) -> bool {
        is_private_address(address)
    }
}
