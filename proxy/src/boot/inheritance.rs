//! What a process hands to the one that follows it, over a socket between the two: listening sockets, the right to serve the
//! store, and its clock. One message, with the open files attached to it.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, ensure};
use picloud_manager::store::serve_lock::ServeLock;
use picloud_shared::clock::{Clock, SystemClock};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::sockets::{Label, Sockets};

/// Open files of one message: fewer than the kernel's 253.
const MOST_FILES: usize = 200;

/// Bytes of the message: some 50 for each socket.
const MOST_BYTES: usize = 32 * 1024;

/// What is handed over.
pub struct Inheritance {
    /// The listening sockets.
    pub sockets: Sockets,
    /// The right to serve the store, where it is a matter of a file.
    pub lock: Option<ServeLock>,
    /// How far the clock has come that measures spans: what is leased by it stays leased.
    pub clock: Duration,
}

/// What the message says of the files, which come in this order.
#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    /// Nanoseconds of the machine's monotonic clock at which the sender's began.
    clock_began_ns: u64,
    sockets: Vec<Label>,
    has_lock: bool,
}

/// Hands over.
///
/// # Errors
/// There are too many sockets, or the other process has gone.
pub fn send(to: &UnixStream, sockets: &[(Label, &TcpListener)], lock: Option<&ServeLock>) -> anyhow::Result<()> {
    let files: Vec<BorrowedFd<'_>> =
        sockets.iter().map(|(_, socket)| socket.as_fd()).chain(lock.map(ServeLock::as_fd)).collect();
    ensure!(files.len() <= MOST_FILES, "more than {MOST_FILES} sockets cannot be handed over");
    // In this order, so that the other clock is behind this one, by what lies between the two, and never ahead.
    let passed = SystemClock.monotonic();
    let listed = Listed {
        clock_began_ns: nanoseconds(machine_clock().saturating_sub(passed)),
        sockets: sockets.iter().map(|(label, _)| *label).collect(),
        has_lock: lock.is_some(),
    };
    let text = serde_json::to_vec(&listed)?;
    ensure!(text.len() <= MOST_BYTES, "what is to be handed over is too much");
    let message = SendAncillaryMessage::ScmRights(&files);
    let mut space = vec![MaybeUninit::uninit(); message.size()];
    let mut attached = SendAncillaryBuffer::new(&mut space);
    ensure!(attached.push(message), "the sockets cannot be attached");
    let sent = sendmsg(to, &[IoSlice::new(&text)], &mut attached, SendFlags::NOSIGNAL)?;
    ensure!(sent == text.len(), "the message was cut off");
    Ok(())
}

/// Takes what is handed over. No process that is started later has any of it.
///
/// # Errors
/// Whoever is at the other end says something else.
pub fn receive(from: &UnixStream) -> anyhow::Result<Inheritance> {
    let mut text = vec![0; MOST_BYTES];
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
    let mut attached = RecvAncillaryBuffer::new(&mut space);
    // A message of this size comes as a whole.
    let received = recvmsg(from, &mut [IoSliceMut::new(&mut text)], &mut attached, RecvFlags::CMSG_CLOEXEC)?;
    let listed: Listed = serde_json::from_slice(&text[..received.bytes]).context("the list of the sockets")?;
    let files = attached.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => Some(files),
        _ => None,
    });
    let files: Vec<OwnedFd> = files.flatten().collect();
    let count = listed.sockets.len() + usize::from(listed.has_lock);
    ensure!(files.len() == count, "{} files came, of {count}", files.len());
    let mut files = files.into_iter();
    let mut sockets = Sockets::default();
    for label in listed.sockets {
        let socket = files.next().context("a socket is missing")?;
        sockets.add(label, TcpListener::from(socket))?;
    }
    let clock = machine_clock().saturating_sub(Duration::from_nanos(listed.clock_began_ns));
    Ok(Inheritance { sockets, lock: files.next().map(ServeLock::handed_over), clock })
}

/// The time since the machine was started, by the clock that measures spans.
fn machine_clock() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::sockets::Purpose;

    #[test]
    fn sockets_arrive_with_their_labels_and_are_the_same() {
        let (here, there) = UnixStream::pair().unwrap();
        let http = TcpListener::bind("127.0.0.1:0").unwrap();
        let internal = TcpListener::bind("127.0.0.1:0").unwrap();
        let label = |purpose, of_systemd| Label { purpose, of_systemd };
        let sockets = [(label(Some(Purpose::Http), false), &http), (label(None, true), &internal)];
        send(&here, &sockets, None).unwrap();
        let inheritance = receive(&there).unwrap();
        assert!(inheritance.lock.is_none());
        assert!(inheritance.clock <= SystemClock.monotonic(), "the same clock, some time ago");
        let addresses = [&http, &internal].map(|socket| socket.local_addr().unwrap());
        assert_eq!(addresses.map(|address| inheritance.sockets.is_of_systemd(address)), [false, true]);
        drop((http, internal));
        for address in addresses {
            std::net::TcpStream::connect(address).unwrap();
        }
    }

    #[test]
    fn what_is_no_list_of_sockets_is_refused() {
        use std::io::Write as _;
        for said in [&b"{}"[..], b"", b"PING\n", br#"{"clock_began_ns":0,"sockets":[],"has_lock":true}"#] {
            let (mut here, there) = UnixStream::pair().unwrap();
            here.write_all(said).unwrap();
            drop(here);
            assert!(receive(&there).is_err(), "{}", String::from_utf8_lossy(said));
        }
        let (here, there) = UnixStream::pair().unwrap();
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let silent = TcpListener::from(OwnedFd::from(silent));
        send(&here, &[(Label { purpose: None, of_systemd: false }, &silent)], None).unwrap();
        assert!(receive(&there).is_err(), "it does not listen");
    }
}
