//! Many sockets from one process: open files and source addresses.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};

use rustix::net::{AddressFamily, SocketType, bind, connect as connect_socket, socket};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::failure::Failure;
use crate::http::{Target, request, response};
use crate::stage::Stage;

/// Connections from one source address: the ports that Linux gives out by itself are a few more.
const PER_SOURCE: u32 = 20_000;
/// Files open besides the connections.
const FILES_BESIDES: u64 = 128;

/// Raises the number of files that this process may have open; its hard limit, too, if it may.
pub(super) fn allow_files(connections: u64) -> Result<(), Failure> {
    let (wanted, has) = (connections + FILES_BESIDES, getrlimit(Resource::Nofile));
    if has.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let maximum = has.maximum.map(|maximum| maximum.max(wanted));
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).map_err(|error| Failure::Usage {
        flag: "--subscribers",
        rule: format!("{connections} connections need {wanted} open files, more than are allowed here: {error}"),
    })
}

/// Connection `number` of many. To an IPv4 loopback, later ones come from 127.0.0.2 and on when ports run out.
pub(super) fn connect(target: &Target, number: u32) -> Result<TcpStream, Failure> {
    let source = number / PER_SOURCE;
    let stream = match target.address {
        SocketAddr::V4(address) if source > 0 && address.ip().is_loopback() => {
            let from = SocketAddrV4::new(Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + source), 0);
            let open = || {
                let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
                bind(&socket, &from)?;
                connect_socket(&socket, &address)?;
                Ok(TcpStream::from(socket))
            };
            open().map_err(|error: rustix::io::Errno| Failure::system("connect")(error.into()))?
        }
        SocketAddr::V4(_) | SocketAddr::V6(_) => {
            TcpStream::connect(target.address).map_err(Failure::system("connect"))?
        }
    };
    stream.set_nodelay(true).map_err(Failure::system("socket"))?;
    Ok(stream)
}

/// Opens keep-alive connections each of which has made one request.
pub(super) fn idle_http(target: &Target, stage: &Stage, count: u32) -> Result<Vec<TcpStream>, Failure> {
    let mut asked = Vec::new();
    let path = ["/v1/events/", &stage.events[0].id, "/availability"];
    request::write(
        &mut asked,
        target,
        request::Head { method: "GET", path: &path, authorization: None, key: None },
        b"",
    );
    let mut scratch = vec![0; 64 * 1024];
    let open = |number| {
        let mut stream = connect(target, number)?;
        stream.write_all(&asked).map_err(Failure::system("send"))?;
        let mut filled = 0;
        loop {
            let count = stream.read(&mut scratch[filled..]).map_err(Failure::system("receive"))?;
            filled += count;
            let parsed = response::parse(&scratch[..filled]);
            match parsed {
                Ok(Some(answer)) if answer.status == 200 && !answer.close => return Ok(stream),
                Ok(None) if count > 0 => {}
                Ok(_) | Err(_) => {
                    let reason = "an idle connection got no usable answer".to_owned();
                    return Err(Failure::Unreadable { request: path.concat(), reason });
                }
            }
        }
    };
    (0..count).map(open).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::{IpAddr, TcpListener};

    use super::*;

    #[test]
    fn a_connection_beyond_the_ports_of_one_address_comes_from_another() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        for (number, source) in [(0, 1), (PER_SOURCE - 1, 1), (PER_SOURCE, 2), (PER_SOURCE * 3, 4)] {
            let stream = connect(&target, number).unwrap();
            assert_eq!(stream.local_addr().unwrap().ip(), IpAddr::from([127, 0, 0, source]));
        }
    }
}
