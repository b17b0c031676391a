//! Lies in the words of the rings.

use super::liar::{DISCARD, ENTRIES, Liar, Outcome};
use core::sync::atomic::Ordering;
use minios_rs::abi::io::netif::NETTXF_CSUM_BLANK;
use minios_rs::abi::io::ring::REQ_PROD;
use minios_rs::xen::{PAGE_SIZE, SharedPage};

/// A port that no rule lets anybody reach.
const FORBIDDEN: u16 = 666;

const TRANSMIT: usize = 0;
const RECEIVE: usize = 1;

/// How long lies go on that are told again and again.
const LONG_MS: u64 = 3000;

/// What of it is left to others: a lie is not to be a load.
const PAUSE_US: u64 = 3000;

/// Numbers without rhyme or reason, and always the same.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

pub(super) async fn index(liar: &mut Liar, kind: &str) -> Outcome {
    liar.connect().await?;
    liar.must_be_heard().await?;
    let which = match kind {
        "tx-ahead" | "tx-back" => TRANSMIT,
        _ => RECEIVE,
    };
    let page = liar.rings.grants[which].page().clone();
    let now = page.word(REQ_PROD).load(Ordering::SeqCst);
    let wrong = match kind {
        "tx-ahead" | "rx-ahead" => now.wrapping_add(ENTRIES as u32 + 1),
        // Behind what the backend has taken already: the pings above went through both rings.
        "tx-back" => now.wrapping_sub(1),
        _ => 0,
    };
    let ping = liar.ping(98, 1);
    if which == RECEIVE {
        // What comes for it is what makes the backend look. Nothing is posted from here on, which would
        // put the index right.
        let requests = liar.rings.requests(&[&ping], 0);
        liar.rings.push(&requests);
        liar.rings.poke(which, REQ_PROD, wrong);
        liar.rings.show();
    } else {
        liar.rings.poke(which, REQ_PROD, wrong);
        let _ = liar.rings.port.notify();
    }
    Ok(())
}

/// Anything anywhere, indices included.
pub(super) async fn scribble(liar: &mut Liar) -> Outcome {
    liar.connect().await?;
    let mut random = Random(1);
    liar.keep_on(LONG_MS, PAUSE_US, |liar| {
        for _ in 0..100 {
            let which = random.below(2);
            // Mostly entries: an index that cannot be ends it.
            let words = if random.below(50) == 0 { 0 } else { 16 };
            let word = words + random.below(PAGE_SIZE / 4 - words);
            let value = match random.below(3) {
                0 => random.next() as u32,
                1 => random.below(300) as u32,
                _ => liar.rings.page().reference().0,
            };
            liar.rings.poke(which, word * 4, value);
        }
        let _ = liar.rings.port.notify();
    })
    .await;
    Ok(())
}

/// Each field of a request is now this and now that, and any of both together is right.
pub(super) async fn restless(liar: &mut Liar) -> Outcome {
    liar.connect().await?;
    let ping = liar.ping(98, 1);
    let faces = [0, 1].map(|_| {
        let page = liar.rings.page();
        page.page().write(0, &ping);
        page.page().write(1024, &ping);
        page.reference().0
    });
    let mut random = Random(2);
    let mut number = 0_usize;
    liar.keep_on(LONG_MS, PAUSE_US, |liar| {
        liar.rings.answers();
        liar.rings.take();
        if liar.rings.transmit.free() < 64 {
            return;
        }
        let first = number;
        for _ in 0..16 {
            liar.rings.push_one(faces[0], 0, ping.len());
            number += 1;
        }
        liar.rings.show();
        for _ in 0..500 {
            let entry = (first + random.below(16)) % ENTRIES;
            let at = 64 + entry * 12;
            let choice = random.below(4);
            let offset = [0, 1024][choice % 2];
            liar.rings.poke(TRANSMIT, at, faces[choice / 2]);
            liar.rings.poke(TRANSMIT, at + 4, offset);
        }
    })
    .await;
    Ok(())
}

/// The port in a datagram is now one that is let through, and now one that is not.
pub(super) async fn two_faced(liar: &mut Liar) -> Outcome {
    liar.connect().await?;
    // Where the port lies, with the length behind it.
    const PORT: usize = 36;
    let word = |frame: &[u8]| {
        let bytes = [
            frame[PORT],
            frame[PORT + 1],
            frame[PORT + 2],
            frame[PORT + 3],
        ];
        u32::from_ne_bytes(bytes)
    };
    let frame = liar.datagram(600, DISCARD);
    let faces = [DISCARD, FORBIDDEN].map(|port| word(&liar.datagram(600, port)));
    liar.keep_on(LONG_MS, PAUSE_US, |liar| {
        liar.rings.answers();
        liar.rings.take();
        if liar.rings.transmit.free() < 192 {
            return;
        }
        let pages = [(); 8].map(|()| {
            let requests = liar.rings.requests(&[&frame], NETTXF_CSUM_BLANK);
            liar.rings.push(&requests);
            liar.rings.last_page()
        });
        liar.rings.show();
        for round in 0..2000 {
            for page in &pages {
                page.word(PORT).store(faces[round % 2], Ordering::Relaxed);
            }
        }
    })
    .await;
    Ok(())
}

/// The ring of buffers is filled once, and what comes is never taken.
pub(super) async fn unconsumed(liar: &mut Liar) -> Outcome {
    liar.connect().await?;
    let ping = liar.ping(98, 1);
    liar.keep_on(LONG_MS, PAUSE_US, |liar| {
        liar.rings.answers();
        for _ in 0..8 {
            if liar.rings.transmit.free() > 192 {
                liar.rings.send(&[&ping], 0, &[]);
            }
        }
    })
    .await;
    Ok(())
}

/// Events without end, and without reason.
pub(super) async fn storm(liar: &mut Liar) -> Outcome {
    liar.connect().await?;
    liar.keep_on(LONG_MS, 100, |liar| {
        for _ in 0..1000 {
            let _ = liar.rings.port.notify();
        }
    })
    .await;
    Ok(())
}
