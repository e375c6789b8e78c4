//! The golden bodies of this folder, as far as they are served or asked for. Tests and fuzz targets include this file by its path.
//!
//! Deliberately not here: what is done with them.

use bytes::Bytes;
use pagemark_wire::api::{Api, ApiInfo};

/// One body from the files.
#[derive(Debug, Clone)]
pub struct Golden {
    /// Of which API.
    pub info: &'static ApiInfo,
    /// In which version.
    pub version: i16,
    /// `full`, `null`, `empty`, `tagged` or `default`; Golden.java says what these are.
    pub variant: &'static str,
    /// The bytes.
    pub body: Bytes,
}

impl Golden {
    /// To be named by.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {} {}", self.info.name, self.version, self.variant)
    }
}

/// The requests that are served.
#[must_use]
pub fn requests() -> Vec<Golden> {
    read(include_str!("requests.txt"), Api::ALL)
}

/// The responses to them.
#[must_use]
pub fn responses() -> Vec<Golden> {
    read(include_str!("responses.txt"), Api::ALL)
}

/// The responses that are not served, but that our client reads from others.
#[must_use]
pub fn responses_of_others() -> Vec<Golden> {
    read(include_str!("responses.txt"), Api::ASKED)
}

/// The headers of a request in this version and of its response, without lengths.
#[must_use]
pub fn headers(info: &ApiInfo, version: i16) -> [Bytes; 2] {
    let version = version.to_string();
    let find = |direction| {
        let wanted = [info.name, &version, direction];
        let mut lines = include_str!("headers.txt").lines().map(parts::<4>);
        lines.find(|line| line[..3] == wanted).map(|line| unhex(line[3]))
    };
    ["request", "response"].map(|direction| find(direction).unwrap_or_else(|| panic!("{} {version}", info.name)))
}

/// Record batches, by name.
#[must_use]
pub fn batches() -> Vec<(&'static str, Bytes)> {
    let parse = |line: &'static str| {
        let [name, hex] = parts(line);
        (name, unhex(hex))
    };
    include_str!("batches.txt").lines().map(parse).collect()
}

fn read(text: &'static str, apis: &'static [ApiInfo]) -> Vec<Golden> {
    let mut all = Vec::new();
    for line in text.lines() {
        let [name, versions, variant, hex] = parts(line);
        let Some(info) = apis.iter().find(|info| info.name == name) else { continue };
        let (first, last) = versions.split_once('-').unwrap_or((versions, versions));
        let body = if hex == "-" { Bytes::new() } else { unhex(hex) };
        let versions = first.parse::<i16>().expect("a version")..=last.parse().expect("a version");
        let golden = |version| Golden { info, version, variant, body: body.clone() };
        all.extend(versions.filter(|v| info.serves(*v)).map(golden));
    }
    all
}

/// The words of a line.
#[must_use]
pub fn parts<const N: usize>(line: &'static str) -> [&'static str; N] {
    line.split(' ').collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("{N} parts: {line}"))
}

/// Bytes from hexadecimal digits.
#[must_use]
pub fn unhex(text: &str) -> Bytes {
    let digit = |c: u8| char::from(c).to_digit(16).expect("a hex digit") as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
