//! An API server that the kubeconfig has by its name.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::thread;

use anyhow::{Context, Result};
use e2e::api_server;
use e2e::program::output;
use e2e::solo::{self, Solo};

use crate::routes::{leads, v4};

/// One of the names that its certificate is valid for.
const HOST: &str = "kubernetes.default";

const RESOLVER: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 53);

/// The agent is static: no module of the machine's C library looks names up for it.
pub(crate) fn found(solo: &mut Solo) -> Result<()> {
    solo.end_agent()?;
    let text = fs::read_to_string(&solo.kubeconfig)?.replace(&api_server::host(), HOST);
    let by_name = solo.pki.path("by-name.kubeconfig");
    fs::write(&by_name, text)?;
    let before = std::mem::replace(&mut solo.kubeconfig, by_name);
    let file = solo.traces.folder().join("resolv.conf");
    fs::write(&file, format!("nameserver {}\n", RESOLVER.0))?;
    let file = file.to_str().context("a folder that is no text")?;
    output(solo.place.command("mount").args(["--bind", file, "/etc/resolv.conf"]))?;
    let followed = followed(solo);
    output(solo.place.command("umount").arg("/etc/resolv.conf"))?;
    solo.kubeconfig = before;
    solo.end_agent()?;
    solo.start_agent(&[])?;
    followed?;
    solo.api.delete_fakes()
}

fn followed(solo: &mut Solo) -> Result<()> {
    let address = api_server::host().parse()?;
    let socket = solo.place.netns.run(|| UdpSocket::bind(RESOLVER))??;
    thread::scope(|scope| {
        let resolver = scope.spawn(|| answer(&socket, address));
        let followed = follow(solo);
        solo.place.netns.run(|| UdpSocket::bind((RESOLVER.0, 0))?.send_to(&[], RESOLVER))??;
        resolver.join().ok().context("the resolver panicked")??;
        followed
    })
}

fn follow(solo: &mut Solo) -> Result<()> {
    solo.start_agent(&[])?;
    let cidr = "10.244.85.0/24";
    solo.api.observer.create_nodes(vec![solo::peer(85, &[cidr])])?;
    leads(solo, cidr, v4(85))
}

/// Answers whoever asks for whatever name, until it is asked for nothing.
fn answer(socket: &UdpSocket, address: Ipv4Addr) -> Result<()> {
    let mut query = [0; 512];
    loop {
        let (length, from) = socket.recv_from(&mut query)?;
        if length == 0 {
            return Ok(());
        }
        let answer = answer_to(&query[..length], address).context("no query")?;
        socket.send_to(&answer, from)?;
    }
}

/// The question again, and `address` if it is one for an A (RFC 1035, section 4).
fn answer_to(query: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    let labels = query.get(HEADER..)?.iter().position(|&length| length == 0)? + 1;
    let question = query.get(HEADER..HEADER + labels + 4)?;
    let is_a = question[labels..labels + 2] == [0, 1];
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    answer.extend(question);
    if is_a {
        // Name, type, class, seconds to live, length.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}
