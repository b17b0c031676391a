//! The nodes, and what changing them changes.

use crate::xen::DomId;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

pub(super) type Nodes = BTreeMap<String, Vec<u8>>;

#[derive(Clone)]
pub(super) enum Change {
    Set(String),
    Removed(String),
}

pub(super) fn set(nodes: &mut Nodes, path: &str, value: &[u8]) -> Vec<Change> {
    // Those above come into being as well.
    for (at, _) in path.match_indices('/').skip(1) {
        nodes.entry(path[..at].to_string()).or_default();
    }
    nodes.insert(path.to_string(), value.to_vec());
    Vec::from([Change::Set(path.to_string())])
}

pub(super) fn remove(nodes: &mut Nodes, path: &str) -> Option<Change> {
    nodes.remove(path)?;
    let below = format!("{path}/");
    nodes.retain(|other, _| !other.starts_with(&below));
    Some(Change::Removed(path.to_string()))
}

pub(super) fn is_at_or_below(path: &str, ancestor: &str) -> bool {
    path == ancestor
        || path
            .strip_prefix(ancestor)
            .is_some_and(|rest| rest.starts_with('/'))
        || ancestor == "/"
}

pub(super) fn home(domain: DomId) -> String {
    format!("/local/domain/{}", domain.0)
}

pub(super) fn absolute(domain: DomId, path: &str) -> String {
    if path.starts_with(['/', '@']) {
        path.to_string()
    } else {
        format!("{}/{path}", home(domain))
    }
}

pub(super) fn list(nodes: &Nodes, path: &str) -> Result<Vec<u8>, &'static str> {
    if path != "/" && !nodes.contains_key(path) {
        return Err("ENOENT");
    }
    let below = if path == "/" {
        String::from("/")
    } else {
        format!("{path}/")
    };
    let mut names = Vec::new();
    for node in nodes.keys() {
        if let Some(name) = node.strip_prefix(&below)
            && !name.is_empty()
            && !name.contains('/')
        {
            names.extend_from_slice(name.as_bytes());
            names.push(0);
        }
    }
    Ok(names)
}
