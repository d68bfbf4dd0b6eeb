//! Ports that the kernel chooses and nobody else gets, not even while the server that uses one is down.
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A port of the loopback interface, reserved while this lives.
///
/// The socket is bound but never listens, so servers can listen on the port (all of them set SO_REUSEADDR), while the
/// kernel gives it to no one who asks for any port and to no outgoing connection.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _reserved: TcpSocket,
}

impl Port {
    /// Reserves a free one.
    pub fn reserve() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("SO_REUSEADDR");
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        let number = socket.local_addr().expect("the port's number").port();
        Port { number, _reserved: socket }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}
