//! One probe of one port: a connection by TCP, or a datagram by UDP. Neither blocks longer than the scan's clock allows.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, getsockname, recv, send, socket_with,
    sockopt::socket_error,
};

use super::failure::Failure;
use super::pace::Pace;

/// How long an answer may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(3);
/// What a datagram holds: who looks at it shall know what it is.
const DATAGRAM: &[u8] = b"canvass ping\n";

/// How long one probe took, or why it did not come back.
pub(super) type Outcome = Result<Duration, Failure>;

pub(super) fn open(address: SocketAddr, kind: SocketType) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

/// Opens a connection, and closes it again.
pub(super) fn tcp(address: SocketAddr, pace: &mut Pace<'_>) -> ControlFlow<(), Outcome> {
    let begun = pace.before_sending()?;
    let connected = connected(address, begun, TIMEOUT, pace)?;
    ControlFlow::Continue(connected.map(|_| begun.elapsed()))
}

/// A connection by TCP that was opened in time.
pub(super) fn connected(
    address: SocketAddr,
    begun: Instant,
    timeout: Duration,
    pace: &mut Pace<'_>,
) -> ControlFlow<(), Result<OwnedFd, Failure>> {
    let socket = match open(address, SocketType::STREAM) {
        Ok(socket) => socket,
        Err(error) => return ControlFlow::Continue(Err(error.into())),
    };
    match connect(&socket, &address) {
        Err(Errno::INPROGRESS) => {
            if !pace.ready(socket.as_fd(), PollFlags::OUT, begun + timeout)? {
                return ControlFlow::Continue(Err(Failure::TimedOut));
            }
        }
        Err(error) => return ControlFlow::Continue(Err(error.into())),
        Ok(()) => {}
    }
    let opened = match socket_error(&socket) {
        Ok(Ok(())) if is_own_end(&socket, address) => Err(Failure::Refused),
        Ok(Ok(())) => Ok(socket),
        Ok(Err(error)) | Err(error) => Err(error.into()),
    };
    ControlFlow::Continue(opened)
}

/// Whether a socket was given the very port that it was to connect to, where nobody listens: TCP then connects it with itself.
fn is_own_end(socket: &OwnedFd, address: SocketAddr) -> bool {
    getsockname(socket).and_then(SocketAddr::try_from) == Ok(address)
}

/// Sends a datagram and takes whatever comes back for an answer.
pub(super) fn udp(address: SocketAddr, pace: &mut Pace<'_>) -> ControlFlow<(), Outcome> {
    let begun = pace.before_sending()?;
    let sent = open(address, SocketType::DGRAM).and_then(|socket| {
        connect(&socket, &address)?;
        send(&socket, DATAGRAM, SendFlags::empty())?;
        Ok(socket)
    });
    let socket = match sent {
        Ok(socket) => socket,
        Err(error) => return ControlFlow::Continue(Err(error.into())),
    };
    while pace.ready(socket.as_fd(), PollFlags::IN, begun + TIMEOUT)? {
        match recv(&socket, &mut [0_u8; 1][..], RecvFlags::empty()) {
            Ok(_) => return ControlFlow::Continue(Ok(begun.elapsed())),
            // A datagram whose checksum is wrong is dropped only when it is read.
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return ControlFlow::Continue(Err(error.into())),
        }
    }
    ControlFlow::Continue(Err(Failure::NoReply))
}
