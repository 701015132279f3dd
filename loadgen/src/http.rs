//! HTTP/1.1 as a client needs it: requests written into buffers that are kept, answers read where they lie.
//!
//! It must never wait and never copy a body: the engine calls it a million times a second. See [`response`] for reading,
//! [`request`] for writing.

pub mod request;
pub mod response;

use std::net::{SocketAddr, ToSocketAddrs};

use crate::failure::Failure;

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The address that is connected to.
    pub address: SocketAddr,
    /// What the `host` header says.
    pub host: String,
    /// As typed, without a slash at the end.
    pub url: String,
}

impl Target {
    /// Reads `http://host[:port]`. TLS and paths are refused: what is measured is the server, at its root.
    pub fn parse(url: &str) -> Result<Self, Failure> {
        let usage = |rule: String| Failure::Usage { flag: "--url", rule };
        let url = url.trim_end_matches('/');
        let Some(host) = url.strip_prefix("http://") else {
            return Err(usage(format!("`{url}` must begin with http:// (the load generator does not speak TLS)")));
        };
        if host.is_empty() || host.contains(['/', '?', '#', '@']) {
            return Err(usage(format!("`{url}` must be http://host:port without a path")));
        }
        let port_given = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let dialled = if port_given { host.to_owned() } else { format!("{host}:80") };
        let address = dialled
            .to_socket_addrs()
            .map_err(|error| usage(format!("`{host}` cannot be resolved: {error}")))?
            .next()
            .ok_or_else(|| usage(format!("`{host}` has no address")))?;
        Ok(Self { address, host: host.to_owned(), url: url.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_address_is_read_and_what_it_cannot_be_is_refused() {
        let target = Target::parse("http://127.0.0.1:8080/").unwrap();
        assert_eq!((target.address.port(), target.host.as_str()), (8080, "127.0.0.1:8080"));
        assert_eq!(Target::parse("http://127.0.0.1").unwrap().address.port(), 80);
        assert!(Target::parse("https://127.0.0.1").unwrap_err().to_string().contains("--url"));
        assert!(Target::parse("http://127.0.0.1:80/v1").unwrap_err().to_string().contains("without a path"));
        assert!(Target::parse("127.0.0.1:80").unwrap_err().to_string().contains("must begin with http://"));
    }
}
