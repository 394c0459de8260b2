//! One HTTP request, as a scraper makes it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::node::Node;

/// Status, head and body.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// The address of the node's admin server, as its third line says it.
pub(crate) fn admin_address(node: &Node) -> String {
    let (_tuned, line) = (node.second_line(), node.second_line());
    let address = line.split_once("http://").and_then(|(_, rest)| rest.split_once('/'));
    address.unwrap_or_else(|| panic!("no address: {line}")).0.to_owned()
}

/// `None` if nobody is there any more.
pub(crate) fn request(address: &str, method: &str, path: &str) -> Option<Page> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let request = format!("{method} {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).ok()?;
    let (head, body) = reply.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Page { status, head: head.to_owned(), body: body.to_owned() })
}

/// A page that must be there.
pub(crate) fn get(address: &str, path: &str) -> Page {
    request(address, "GET", path).unwrap_or_else(|| panic!("nobody at {address}"))
}
