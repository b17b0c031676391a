//! Offloads as the rings and as the engine say them: the engine knows nothing of rings.

use crate::{Checksum, Gso, GsoKind};
use minios_rs::net;

/// What goes out with a frame: what it came with.
pub(crate) fn offload<P>(received: &net::Received<P>) -> net::Offload {
    net::Offload {
        checksum: received.checksum,
        gso: received.gso,
    }
}

/// What the ring says of a checksum, as the engine says it.
pub(crate) fn from_ring(checksum: net::Checksum) -> Checksum {
    match checksum {
        net::Checksum::Unknown => Checksum::Unknown,
        net::Checksum::Validated => Checksum::Validated,
        net::Checksum::Blank => Checksum::Blank,
    }
}

/// The other way round.
pub(crate) fn to_ring(checksum: Checksum) -> net::Checksum {
    match checksum {
        Checksum::Unknown => net::Checksum::Unknown,
        Checksum::Validated => net::Checksum::Validated,
        Checksum::Blank => net::Checksum::Blank,
    }
}

/// What the ring says of segmentation, as the engine says it.
pub(crate) fn gso_from_ring(gso: net::Gso) -> Gso {
    let kind = match gso.kind {
        net::GsoKind::TcpV4 => GsoKind::TcpV4,
        net::GsoKind::TcpV6 => GsoKind::TcpV6,
    };
    Gso {
        kind,
        size: gso.size,
    }
}

/// The other way round.
pub(crate) fn gso_to_ring(gso: Gso) -> net::Gso {
    let kind = match gso.kind {
        GsoKind::TcpV4 => net::GsoKind::TcpV4,
        GsoKind::TcpV6 => net::GsoKind::TcpV6,
    };
    net::Gso {
        kind,
        size: gso.size,
    }
}
