//! Grants that are none, are somebody else's, or are not for what they are used for.

use super::liar::{DISCARD, ENTRIES, Keys, Liar, Outcome, Rings};
use alloc::format;
use alloc::vec::Vec;
use minios_rs::Pv;
use minios_rs::abi::io::netif::{NETTXF_CSUM_BLANK, RxRequest};
use minios_rs::xen::{Access, DomId, Granted, SharedPage};

/// A reference that nobody has.
const NOBODYS: u32 = 7_000_000;

/// As often a grant is wrong: more often than the firewall suffers it.
const OFTEN: u32 = 1200;

/// Waits until what was sent is answered, or the connection is lost.
async fn is_lost(liar: &mut Liar) -> bool {
    for _ in 0..400 {
        liar.rings.answers();
        liar.rings.take();
        if liar.rings.transmit.outstanding() < ENTRIES as u32 / 2 {
            return false;
        }
        liar.sleep(5).await;
        if liar.backend_state().await != super::CONNECTED {
            return true;
        }
    }
    true
}

pub(super) async fn sent(liar: &mut Liar, kind: &str) -> Outcome {
    liar.connect().await?;
    liar.must_be_heard().await?;
    // For dom0, which looks at nothing.
    let others = Granted::allocate(&Pv, DomId(0), Access::ReadOnly);
    let others = others.map_err(|error| format!("{error}"))?;
    let frame = liar.datagram(1000, DISCARD);
    others.page().write(0, &frame);
    // Of those that fail together, only some are looked into.
    let often = if kind == "others-tail" {
        8 * OFTEN
    } else {
        OFTEN
    };
    for _ in 0..often {
        if is_lost(liar).await {
            return Ok(());
        }
        match kind {
            "no-grant" | "others-grant" => {
                let gref = match kind {
                    "no-grant" => NOBODYS,
                    _ => others.reference().0,
                };
                liar.rings.push_one(gref, NETTXF_CSUM_BLANK, frame.len());
            }
            // The header is right, so that the frame goes on its way; the rest is found out when it is copied
            // to the one it is for.
            _ => {
                let (head, tail) = frame.split_at(400);
                let mut requests = liar.rings.requests(&[head, tail], NETTXF_CSUM_BLANK);
                requests[1].gref = others.reference().0;
                liar.rings.push(&requests);
            }
        }
        liar.rings.show();
    }
    let _ = is_lost(liar).await;
    Ok(())
}

/// What is under way is taken back at once: the header may be copied by then, or not, and the rest too.
pub(super) async fn revoked(liar: &mut Liar) -> Outcome {
    liar.connect().await?;
    let frame = liar.datagram(1500, DISCARD);
    for round in 0..OFTEN / 4 {
        if is_lost(liar).await {
            return Ok(());
        }
        let mut grants = Vec::new();
        for _ in 0..4 {
            let granted = Granted::allocate(&Pv, liar.backend(), Access::ReadOnly);
            let granted = granted.map_err(|error| format!("{error}"))?;
            granted.page().write(0, &frame);
            let gref = granted.reference().0;
            liar.rings.push_one(gref, NETTXF_CSUM_BLANK, frame.len());
            grants.push(granted);
        }
        liar.rings.show();
        for _ in 0..round % 64 * 100 {
            core::hint::spin_loop();
        }
        drop(grants);
        if round % 8 == 0 {
            liar.sleep(5).await;
        }
    }
    let _ = is_lost(liar).await;
    Ok(())
}

pub(super) async fn buffers(liar: &mut Liar, kind: &str) -> Outcome {
    let backend = liar.backend();
    match kind {
        "read-only-buffers" => liar.rings.post(backend, Access::ReadOnly)?,
        "revoked-buffers" => {
            liar.rings.post(backend, Access::ReadWrite)?;
            liar.rings
                .posted
                .iter_mut()
                .for_each(|buffer| *buffer = None);
        }
        "no-such-buffers" => post_nobodys(liar),
        _ => {}
    }
    liar.connect_as_it_is().await?;
    let ping = liar.ping(98, 1);
    for _ in 0..2 * OFTEN / 8 {
        liar.sleep(10).await;
        liar.rings.answers();
        match kind {
            "read-only-buffers" => {
                liar.rings.take();
            }
            "no-buffers" => {}
            _ => {
                while liar.rings.receive.pop().is_ok() {}
                post_nobodys(liar);
            }
        }
        for _ in 0..8 {
            if liar.rings.transmit.free() > 128 {
                liar.rings.send(&[&ping], 0, &[]);
            }
        }
        if liar.backend_state().await != super::CONNECTED {
            break;
        }
    }
    Ok(())
}

fn post_nobodys(liar: &mut Liar) {
    while liar.rings.receive.free() > 0 {
        let (id, pad, gref) = (liar.rings.receive.next_slot(), 0, NOBODYS);
        let _ = liar.rings.receive.push(&RxRequest { id, pad, gref });
    }
    liar.rings.show_buffers();
}

pub(super) async fn rings(liar: &mut Liar, kind: &str) -> Outcome {
    let backend = liar.backend();
    match kind {
        "others-ring" => liar.rings = Rings::new(backend, DomId(0), Access::ReadWrite)?,
        "read-only-ring" => liar.rings = Rings::new(backend, backend, Access::ReadOnly)?,
        _ => return liar.publish(Keys::But("rx-ring-ref", b"7000000")).await,
    }
    liar.publish(Keys::Honest).await
}
