//! Lies about one frame: its slots, its lengths, its extra infos, its bytes.

use super::liar::{DISCARD, Liar, Outcome};
use super::ring::Random;
use alloc::vec;
use alloc::vec::Vec;
use minios_rs::abi::io::netif::{
    ExtraInfo, NETTXF_CSUM_BLANK, NETTXF_DATA_VALIDATED, NETTXF_EXTRA_INFO, NETTXF_MORE_DATA,
    TxRequest, XEN_NETIF_EXTRA_FLAG_MORE, XEN_NETIF_EXTRA_TYPE_GSO, XEN_NETIF_EXTRA_TYPE_HASH,
    XEN_NETIF_GSO_TYPE_TCPV4,
};

/// Wrong frames that are answered, one after the other, before the liar asks whether it is heard.
const OFTEN: usize = 200;

/// Frames of bytes without sense.
const NONSENSE: usize = 5000;

pub(super) async fn one(liar: &mut Liar, kind: &str) -> Outcome {
    liar.connect().await?;
    liar.must_be_heard().await?;
    let ping = liar.ping(98, 1);
    let rings = &mut liar.rings;
    match kind {
        "runt" => return often(liar, &[&ping[..13]], |_| {}).await,
        "sizes" => return sizes(liar, &ping).await,
        "chain-19" => return often(liar, &[&ping[..5]; 19], |_| {}).await,
        "split-header" => return split_header(liar, &ping).await,
        "crossing" => {
            let request = rings.requests(&[&ping], 0)[0];
            rings.push(&[TxRequest {
                offset: 4000,
                ..request
            }]);
        }
        "crossing-later" => {
            let mut requests = rings.requests(&[&ping[..60], &ping[60..]], 0);
            requests[1].offset = u16::MAX;
            rings.push(&requests);
        }
        "chain-22" => {
            let requests = rings.requests(&[&ping[..5]; 22], 0);
            rings.push(&requests);
        }
        "chain-all" => {
            let mut requests = rings.requests(&[&ping[..5]; 256], 0);
            for request in &mut requests {
                request.flags |= NETTXF_MORE_DATA;
            }
            rings.push(&requests);
        }
        "endless" => {
            let request = rings.requests(&[&ping], NETTXF_MORE_DATA)[0];
            rings.push(&[request]);
        }
        "extra-missing" => {
            let request = rings.requests(&[&ping], NETTXF_EXTRA_INFO)[0];
            rings.push(&[request]);
        }
        _ => {
            let gso = |gso_size, gso_type| ExtraInfo {
                kind: XEN_NETIF_EXTRA_TYPE_GSO,
                gso_size,
                gso_type,
                ..ExtraInfo::default()
            };
            let hash = ExtraInfo {
                kind: XEN_NETIF_EXTRA_TYPE_HASH,
                flags: XEN_NETIF_EXTRA_FLAG_MORE,
                ..ExtraInfo::default()
            };
            let infos = match kind {
                "extra-loop" => vec![hash; 200],
                "extra-twice" => vec![gso(1400, XEN_NETIF_GSO_TYPE_TCPV4); 2],
                "extra-unknown" => vec![ExtraInfo { kind: 77, ..hash }],
                "gso-none" => vec![gso(0, XEN_NETIF_GSO_TYPE_TCPV4)],
                _ => vec![gso(1400, 9)],
            };
            rings.send(&[&ping], NETTXF_CSUM_BLANK, &infos);
        }
    }
    liar.rings.show();
    Ok(())
}

/// Sends a wrong frame many times. Each request of each has to have its answer, and that an error.
async fn often(liar: &mut Liar, slots: &[&[u8]], change: impl Fn(&mut [TxRequest])) -> Outcome {
    let mut errors = 0;
    for _ in 0..OFTEN {
        while liar.rings.transmit.free() < slots.len() as u32 {
            liar.sleep(1).await;
            errors += liar.rings.answers().error as usize;
        }
        let mut requests = liar.rings.requests(slots, 0);
        change(&mut requests);
        liar.rings.push(&requests);
        liar.rings.show();
    }
    for _ in 0..1000 {
        errors += liar.rings.answers().error as usize;
        if errors >= OFTEN * slots.len() {
            break;
        }
        liar.sleep(2).await;
    }
    match errors == OFTEN * slots.len() {
        true => Ok(()),
        false => Err(alloc::format!(
            "{errors} errors, and not {}",
            OFTEN * slots.len()
        )),
    }
}

/// The whole is shorter than its part, as long as it, or has a part of nothing or with infos of its own.
async fn sizes(liar: &mut Liar, ping: &[u8]) -> Outcome {
    let halves = [&ping[..49], &ping[49..]];
    for (whole, part, flags) in [
        (10, 49, 0),
        (49, 49, 0),
        (98, 0, 0),
        (98, 49, NETTXF_EXTRA_INFO),
    ] {
        often(liar, &halves, |requests| {
            requests[0].size = whole;
            requests[1].size = part;
            requests[1].flags = flags;
        })
        .await?;
    }
    Ok(())
}

/// A byte in each slot: allowed, and to be answered as the ping that it is.
async fn split_header(liar: &mut Liar, ping: &[u8]) -> Outcome {
    liar.room(256).await?;
    let mut slots: Vec<&[u8]> = ping[..17].chunks(1).collect();
    slots.push(&ping[17..]);
    liar.rings.send(&slots, 0, &[]);
    for _ in 0..100 {
        liar.sleep(20).await;
        liar.rings.answers();
        if liar.rings.take() > 0 {
            return Ok(());
        }
    }
    Err("a ping in 18 slots has no answer".into())
}

/// Segments that the frame is not to be cut into: of one byte, of more than there are, of what is no TCP, of
/// what has a checksum; with blank checksums where there are none.
pub(super) async fn gso_lies(liar: &mut Liar) -> Outcome {
    liar.connect().await?;
    let mut random = Random(3);
    for _ in 0..2000 {
        liar.room(8).await?;
        let len = 60 + random.below(3900);
        let mut frame = liar.datagram(len, DISCARD);
        // Sometimes TCP, with a header of any length.
        if random.below(2) == 0 {
            frame[23] = 6;
            frame[46] = random.next() as u8;
        }
        let info = ExtraInfo {
            kind: XEN_NETIF_EXTRA_TYPE_GSO,
            gso_size: [1, 8, 536, 1448, 9000, u16::MAX][random.below(6)],
            gso_type: XEN_NETIF_GSO_TYPE_TCPV4,
            gso_features: random.next() as u16,
            ..ExtraInfo::default()
        };
        let flags = [0, NETTXF_CSUM_BLANK, NETTXF_DATA_VALIDATED][random.below(3)];
        let middle = 1 + random.below(frame.len() - 1);
        let (first, second) = frame.split_at(middle);
        liar.rings.send(&[first, second], flags, &[info]);
    }
    Ok(())
}

/// Frames whose sender is right, or they would be thrown away at once, and nothing else.
pub(super) async fn nonsense(liar: &mut Liar) -> Outcome {
    liar.connect().await?;
    let mut random = Random(4);
    for _ in 0..NONSENSE {
        liar.room(8).await?;
        let len = 43 + random.below(1500);
        let mut frame = match random.below(2) {
            0 => liar.datagram(len, DISCARD),
            _ => liar.ping(len, 1),
        };
        // Header bytes behind the Ethernet header, but for the addresses: lengths, fragments, options, ports.
        for _ in 0..1 + random.below(4) {
            let at = match random.below(4) {
                0 => 34 + random.below(frame.len() - 34),
                _ => 14 + random.below(12),
            };
            frame[at] = random.next() as u8;
        }
        let flags = [0, NETTXF_CSUM_BLANK, NETTXF_DATA_VALIDATED][random.below(3)];
        let end = 14 + random.below(frame.len() - 14);
        let frame = if random.below(4) == 0 {
            &frame[..end]
        } else {
            &frame
        };
        liar.rings.send(&[frame], flags, &[]);
    }
    Ok(())
}
