//! The daemon's part of a tool's network: it connects for the call, to where the gate lets it, and carries the bytes. The
//! call has no sockets; what it gets is one end of a local pair.

use crate::egress::Gate;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram as Questions, UnixStream as Pair};
use std::sync::Arc;
use tokio::io::{AsyncWriteExt, Interest, copy_bidirectional};
use tokio::net::{UnixDatagram, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Connections of one call at once; more of them wait.
const MOST_CONNECTIONS: usize = 32;
/// Bytes of a question: a port and a host.
const MOST_QUESTION: usize = 1 << 10;

/// The socket over which a call asks for connections: the first thing it sends. `None` when it sends something else.
pub(super) async fn question_socket(channel: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let read = || receive(channel, &mut [0; 1]).map(|(_, socket)| socket);
    loop {
        channel.readable().await?;
        match channel.try_io(Interest::READABLE, read) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
            received => return received,
        }
    }
}

/// Answers questions until the call has ended. Dropping the future ends every connection.
pub(super) async fn serve(questions: OwnedFd, gate: Gate) -> io::Result<()> {
    let questions = Questions::from(questions);
    questions.set_nonblocking(true)?;
    let questions = UnixDatagram::from_std(questions)?;
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let mut text = [0; MOST_QUESTION];
        questions.readable().await?;
        let read = || receive(&questions, &mut text);
        let (length, socket) = match questions.try_io(Interest::READABLE, read) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            received => received?,
        };
        while connections.try_join_next().is_some() {}
        let question = String::from_utf8_lossy(&text[..length]).into_owned();
        if let Some(socket) = socket {
            let (gate, room) = (gate.clone(), room.clone());
            connections.spawn(async move {
                let _place = room.acquire().await;
                connect(&question, socket, &gate).await
            });
        }
    }
}

/// Says how it went, one byte of length and the reason where there is one, and then carries bytes to and fro.
async fn connect(question: &str, socket: OwnedFd, gate: &Gate) -> io::Result<()> {
    let near = Pair::from(socket);
    near.set_nonblocking(true)?;
    let mut near = UnixStream::from_std(near)?;
    let asked = question.split_once(' ');
    let asked = asked.and_then(|(port, host)| Some((port.parse().ok()?, host)));
    let dialled = match asked {
        Some((port, host)) => gate
            .dial(host, port)
            .await
            .map_err(|error| error.to_string()),
        None => Err("this is no address".to_owned()),
    };
    match dialled {
        Ok(mut far) => {
            near.write_all(&[0]).await?;
            copy_bidirectional(&mut near, &mut far).await?;
        }
        Err(reason) => {
            let reason = reason.as_bytes();
            let reason = &reason[..reason.len().min(usize::from(u8::MAX))];
            let length = u8::try_from(reason.len()).unwrap_or(u8::MAX);
            near.write_all(&[&[length], reason].concat()).await?;
        }
    }
    Ok(())
}

/// One message, and the descriptor beside it.
fn receive(from: impl AsFd, text: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(text)];
    // Elsewhere nothing is isolated, and this is not come to.
    #[cfg(target_os = "linux")]
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    #[cfg(not(target_os = "linux"))]
    let flags = RecvFlags::DONTWAIT;
    let received = recvmsg(from, &mut parts, &mut beside, flags)?;
    let mut found = None;
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(sockets) = message {
            found = sockets.last();
        }
    }
    Ok((received.bytes, found))
}
